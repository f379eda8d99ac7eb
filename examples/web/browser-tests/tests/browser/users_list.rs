//! Tests of the usage figures and the list of users.

use std::time::Duration;

use crate::browser::Browser;
use crate::driver::{Script, play};

const SETTINGS: &str = "/settings/backup-codes";

/// Returns the user names on this page.
async fn names(browser: &Browser) -> Vec<String> {
    browser.texts("#users-table tbody .hint").await
}

/// Returns the choices for the list shown: search, filter, order.
async fn choices(browser: &Browser) -> [String; 3] {
    [
        browser.value("#q").await,
        browser.value("#filter").await,
        browser.value("#sort").await,
    ]
}

#[tokio::test]
async fn figures_lead_to_their_users() {
    play("figures", async |stage| {
        stage.site.populate().await;
        let alice = stage.browser(Script::On).await;
        alice.log_in("alice").await;
        let codes = alice.active_sheet("alice").await;
        alice.log_out().await;
        alice.log_in("alice").await;
        alice.code(&codes[0]).await;

        let carol = stage.browser(Script::On).await;
        carol.log_in("carol").await;
        carol.goto(SETTINGS).await;
        carol.says("#users-with-codes", "31").await;
        carol.says("#users-low", "6").await;
        carol.says("#users-exhausted", "2").await;
        carol.says("#used-today", "1").await;
        carol.says("#used-this-month", "87").await;
        carol
            .says(
                "#chart-title",
                "Codes used in the last 30 days: 93, at most 9 a day (days of UTC)",
            )
            .await;
        assert!(!carol.shows("#chart-table").await);
        carol.click("details summary").await;
        let days = carol.texts("#chart-table tbody th").await;
        assert_eq!((&*days[0], &*days[29]), ("26 Oct", "24 Nov"));
        let counts = carol.texts("#chart-table td").await;
        assert_eq!(counts[29], "1");
        let counts = counts.iter().map(|count| count.parse::<u32>().unwrap());
        assert_eq!((counts.len(), counts.sum()), (30, 93));
        carol.click("details summary").await;
        carol.picture("administrator.png", (1000, 1560)).await;

        for (filter, count) in [("all", 25), ("low", 6), ("exhausted", 2)] {
            carol.goto(SETTINGS).await;
            let link = format!(".figures a[href='?filter={filter}#users']");
            carol.follow(&link).await;
            assert_eq!(choices(&carol).await, ["", filter, "user"]);
            assert_eq!(names(&carol).await.len(), count, "{filter}");
            assert_eq!(carol.fragment().await, "users");
        }
    })
    .await;
}

#[tokio::test]
async fn the_list_is_filtered_sorted_searched_and_paged() {
    play("the list of users", async |stage| {
        stage.site.populate().await;
        let alice = stage.browser(Script::On).await;
        alice.log_in("alice").await;
        alice.active_sheet("alice").await;
        let carol = stage.browser(Script::On).await;
        carol.log_in("carol").await;
        carol.goto(SETTINGS).await;
        let page = names(&carol).await;
        // Users without codes left are not in this list.
        assert_eq!(page.len(), 25);
        assert_eq!(page[..3], ["alice", "amara", "anton"]);
        carol.follow("#next-page").await;
        assert_eq!(names(&carol).await, ["rosa", "samir", "tove", "yara"]);
        carol.follow("#first-page").await;
        assert_eq!(names(&carol).await, page);

        // The pages of a list that is filtered and sorted.
        carol.click("#filter option[value=all]").await;
        carol.click("#sort option[value=left]").await;
        carol.follow("#search button").await;
        let left = async || carol.texts("#users-table td.right").await;
        let (first, page) = (left().await, names(&carol).await);
        assert_eq!(first[..3], ["0 of 10", "0 of 10", "2 of 10"]);
        carol.follow("#next-page").await;
        assert_eq!(choices(&carol).await, ["", "all", "left"]);
        let second = names(&carol).await;
        assert_eq!(second.len(), 6);
        assert!(second.iter().all(|name| !page.contains(name)), "{second:?}");
        let mut sorted: Vec<String> = [first, left().await].concat();
        let number = |text: &String| text.split(' ').next().unwrap().parse::<u8>().unwrap();
        assert!(sorted.is_sorted_by_key(number), "{sorted:?}");
        sorted.dedup();
        assert_eq!(sorted.len(), 9, "{sorted:?}");
        assert!(!carol.shows("#next-page").await);
        // Refresh stays on this page, however often it is used.
        stage.site.wait(Duration::from_secs(1)).await;
        carol.follow("#refresh").await;
        assert_eq!(names(&carol).await, second);
        assert_eq!(choices(&carol).await, ["", "all", "left"]);
        carol.follow("#refresh").await;
        assert_eq!(names(&carol).await, second);
        carol.follow("#first-page").await;
        assert_eq!(choices(&carol).await, ["", "all", "left"]);
        assert_eq!(names(&carol).await, page);

        carol.click("#filter option[value=low]").await;
        carol.follow("#search button").await;
        let low = [
            "0 of 10", "0 of 10", "2 of 10", "2 of 10", "3 of 10", "3 of 10",
        ];
        assert_eq!(left().await, low);
        assert!(!carol.shows("#next-page").await && !carol.shows("#first-page").await);
        carol.click("#filter option[value=all]").await;
        for (sort, column) in [
            ("generated", "td:nth-child(4)"),
            ("used", "td:nth-child(5)"),
        ] {
            carol.click(&format!("#sort option[value={sort}]")).await;
            carol.follow("#search button").await;
            let times = format!(
                "return [...document.querySelectorAll('#users-table {column} time')]\
                 .map((time) => time.dateTime);"
            );
            let times = carol.run(&times, Vec::new()).await;
            let times = times.as_array().unwrap();
            let newest_first = |one: &serde_json::Value, next: &serde_json::Value| {
                one.as_str().unwrap() >= next.as_str().unwrap()
            };
            assert!(
                times.len() > 20 && times.is_sorted_by(newest_first),
                "{times:?}"
            );
        }
        assert_eq!(names(&carol).await.len(), 25);
        carol.fill("#q", "ali").await;
        carol.follow("#search button").await;
        assert_eq!(names(&carol).await, ["malik", "nadia", "alice"]);

        // Refresh keeps search, filter and order, and shows new events.
        carol.fill("#q", "alice").await;
        carol.follow("#search button").await;
        assert_eq!(names(&carol).await, ["alice"]);
        alice
            .fill("#revoke-password", crate::site::password("alice"))
            .await;
        alice.follow("#revoke button").await;
        carol.follow("#refresh").await;
        assert_eq!(choices(&carol).await, ["alice", "all", "used"]);
        carol
            .says(
                "#no-users",
                "There is no user with a sheet whose name contains “alice”.",
            )
            .await;
        carol.says("#others", "Alice Arnold alice Manage").await;
    })
    .await;
}
