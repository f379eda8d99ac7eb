//! Tests of the user's pages.

use fantoccini::Locator;
use serde_json::json;

use crate::driver::{Script, play};

#[tokio::test]
async fn a_sheet_is_made_saved_and_lets_its_user_in() {
    play("a sheet", async |stage| {
        let alice = stage.browser(Script::On).await;
        alice.goto("/").await;
        assert_eq!(alice.path().await, "/login");
        alice.password("alice", "wrong").await;
        alice
            .says("#message", "The user name or the password is wrong.")
            .await;
        assert_eq!(alice.value("#user").await, "alice");
        alice.log_in("alice").await;
        alice.says("#signed-in-user", "Alice Arnold").await;
        alice.says("#codes-state", "None").await;
        alice.follow("a[href='/profile/backup-codes']").await;
        alice.says("#no-codes", "There are no backup codes.").await;

        alice.fill("#password", "wrong").await;
        alice.follow("#generate button").await;
        alice
            .says(
                "#message",
                "This is not your password. Nothing was changed.",
            )
            .await;
        let dropped = alice.sheet("alice").await;
        alice.follow("#discard button").await;
        assert!(!alice.shows("#prepared").await);
        // A prepared sheet can be discarded later too.
        alice.sheet("alice").await;
        let label = alice.text("#label").await;
        alice.goto("/profile/backup-codes").await;
        alice
            .says(
                "#prepared",
                &format!(
                    "Sheet {label} is not active yet\nYou were shown this sheet on 24 Nov 2026, 10:00 UTC. \
                     Its codes become active when you confirm that you have saved them.\nI have \
                     saved these codes\nDiscard this sheet"
                ),
            )
            .await;
        alice.follow("#prepared-discard button").await;
        alice
            .says(
                "#message",
                &format!("Sheet {label} is discarded. Throw it away."),
            )
            .await;
        assert!(!alice.shows("#prepared").await);
        alice.says("#no-codes", "There are no backup codes.").await;
        let codes = alice.sheet("alice").await;
        let numbers: Vec<String> = (1..=10).map(|number| format!("{number}.")).collect();
        assert_eq!(alice.texts("#codes .number").await, numbers);
        assert!(codes.iter().all(|code| code.len() == 19), "{codes:?}");
        alice.picture("sheet.png", (1000, 840)).await;

        // The file holds the sheet, and so does the clipboard.
        let label = alice.text("#label").await;
        alice.click("#download button").await;
        let text = alice.download(&format!("backup-codes-{label}.txt")).await;
        let line = |(number, code): (usize, &String)| format!("{:2}. {code}", number + 1);
        let listed: Vec<String> = codes.iter().enumerate().map(line).collect();
        let of_text = text
            .lines()
            .filter(|line| line.contains(". ") && line.contains('-'));
        let of_text: Vec<&str> = of_text.filter(|line| line.len() == 23).collect();
        assert_eq!(of_text, listed, "{text}");
        assert!(text.starts_with("Backup codes for example.org\nAccount: alice\n"));
        let grant = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
        alice.chromium("Browser.grantPermissions", grant).await;
        alice.click("#copy").await;
        alice.becomes("#copy", "Copied").await;
        let read = "const done = arguments[0]; navigator.clipboard.readText().then(done, done);";
        assert_eq!(alice.run_async(read, Vec::new()).await, json!(text));

        // The codes are shown once.
        alice.goto("/profile/backup-codes").await;
        assert!(alice.shows("#prepared").await && !alice.shows("#codes").await);
        alice.follow("#prepared-activate button").await;
        alice
            .says(
                "#message",
                &format!("Sheet {label} is active now. Codes of older sheets are invalid."),
            )
            .await;
        alice.log_out().await;

        alice.log_in("alice").await;
        assert_eq!(alice.path().await, "/login/second");
        let typo = format!(
            "{}{}",
            &codes[2][..18],
            if codes[2].ends_with('7') { '8' } else { '7' }
        );
        alice.code(&typo).await;
        let text = alice.text("#message").await;
        assert!(
            text.contains("typing error") && text.ends_with("This was not counted as a wrong code."),
            "{text}"
        );
        alice.code(&dropped[2]).await;
        alice
            .says("#message", "This code was not accepted. 9 tries are left.")
            .await;
        let messy = format!(" 3.  {} ", codes[2].to_lowercase().replace('-', " – "));
        alice.code(&messy).await;
        alice
            .says(
                "#message",
                "You are logged in. Code 3 is spent, 9 codes left.",
            )
            .await;
        let third = alice.text(".slots li:nth-child(3)").await;
        assert!(third.starts_with("3. used "), "{third}");

        let phone = stage.browser(Script::On).await;
        phone.log_in("alice").await;
        phone.code(&codes[2]).await;
        phone.says("#message", "This code was not accepted.").await;
        phone.goto("/profile").await;
        assert_eq!(phone.path().await, "/login/second");
        phone.follow("#cancel").await;
        assert_eq!(phone.path().await, "/login");

        // Checking a code does not consume it.
        for _ in 0..2 {
            alice.fill("#code", &codes[4]).await;
            alice.follow("#check button").await;
            alice
                .says("#message", "Code 5 is valid and unused.")
                .await;
        }
        alice.says("#left", "9").await;

        // The browser itself asks for the missing password.
        alice.click("#revoke button").await;
        alice.says("#left", "9").await;
        alice
            .fill("#revoke-password", crate::site::password("alice"))
            .await;
        alice.follow("#revoke button").await;
        alice
            .says("#message", "All your backup codes are invalid. You are logged out everywhere else.")
            .await;
        alice.follow("#log-out").await;
        alice.log_in("alice").await;
        assert_eq!(alice.path().await, "/profile");
    })
    .await;
}

#[tokio::test]
async fn after_logging_out_back_shows_nothing() {
    play("back after logging out", async |stage| {
        let alice = stage.browser(Script::On).await;
        alice.log_in("alice").await;
        alice.follow("a[href='/profile/backup-codes']").await;
        alice.log_out().await;
        alice.client.back().await.unwrap();
        alice.becomes("h1", "Log in").await;

        // A sheet is the response to a form, which browsers do not keep for Back, with script or
        // without.
        for script in [Script::On, Script::Off] {
            let alice = stage.browser(script).await;
            alice.log_in("alice").await;
            let codes = alice.sheet("alice").await;
            alice.log_out().await;
            alice.client.back().await.unwrap();
            let page = alice.client.source().await.unwrap();
            let shown = codes.iter().filter(|code| page.contains(&***code));
            assert_eq!(shown.count(), 0, "{script:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_tabs_with_a_sheet_the_later_counts() {
    play("two tabs", async |stage| {
        let alice = stage.browser(Script::On).await;
        alice.log_in("alice").await;
        let first = alice.client.window().await.unwrap();
        alice.sheet("alice").await;
        let old = alice.text("#label").await;
        let second = alice.client.new_window(true).await.unwrap().handle;
        alice
            .client
            .switch_to_window(second.clone())
            .await
            .unwrap();
        let codes = alice.sheet("alice").await;
        let new = alice.text("#label").await;

        alice.client.switch_to_window(first).await.unwrap();
        alice.follow("#activate button").await;
        alice
            .says(
                "#message",
                &format!(
                    "Sheet {old} cannot be activated: it was replaced or discarded, is older than an \
                     hour, or is no longer accepted. Throw it away."
                ),
            )
            .await;
        alice.says("#no-codes", "There are no backup codes.").await;
        alice.client.switch_to_window(second).await.unwrap();
        alice.follow("#activate button").await;
        alice
            .says(
                "#message",
                &format!("Sheet {new} is active now. Codes of older sheets are invalid."),
            )
            .await;
        alice.says("#label", &new).await;
        alice.log_out().await;
        alice.log_in("alice").await;
        alice.code(&codes[0]).await;
        alice
            .says(
                "#message",
                "You are logged in. Code 1 is spent, 9 codes left.",
            )
            .await;
    })
    .await;
}

#[tokio::test]
async fn the_head_of_a_page_leads_to_the_others() {
    play("the head of a page", async |stage| {
        let carol = stage.browser(Script::On).await;
        carol.log_in("carol").await;
        assert_eq!(
            carol.texts(".top nav a").await,
            ["Profile", "Settings", "Audit log"]
        );
        for (link, path, part) in [
            ("Settings", "/settings/backup-codes", "Settings"),
            ("Audit log", "/audit", "Audit log"),
            ("Profile", "/profile", "Profile"),
        ] {
            let link = carol.client.find(Locator::LinkText(link)).await.unwrap();
            let click = async { link.click().await.unwrap() };
            carol.leads_on(part, click).await;
            assert_eq!(carol.path().await, path);
            assert_eq!(carol.texts(".top nav [aria-current]").await, [part]);
        }
        // The navigation marks the part of the site for the pages below it, too.
        carol.goto("/settings/backup-codes/users/bob").await;
        assert_eq!(carol.texts(".top nav [aria-current]").await, ["Settings"]);
        carol.follow(".brand").await;
        assert_eq!(carol.path().await, "/profile");
    })
    .await;
}

#[tokio::test]
async fn a_guest_reads_why_there_are_no_codes() {
    play("a guest", async |stage| {
        let dave = stage.browser(Script::On).await;
        dave.log_in("dave").await;
        assert_eq!(dave.texts(".top nav a").await, ["Profile"]);
        dave.goto("/profile/backup-codes").await;
        dave.says(
            "#not-permitted",
            "Your role does not include backup codes. An administrator decides which roles do.",
        )
        .await;
        assert!(!dave.shows("#generate").await);
        for page in ["/settings/backup-codes", "/audit"] {
            dave.goto(page).await;
            dave.says("h1", "Not allowed").await;
        }
        dave.follow("a.button").await;
        assert_eq!(dave.path().await, "/profile");
    })
    .await;
}

#[tokio::test]
async fn a_double_click_sends_a_form_once() {
    play("a double click", async |stage| {
        let alice = stage.browser(Script::On).await;
        alice.log_in("alice").await;
        alice.goto("/profile/backup-codes").await;
        // Tests the page's handling of clicks without the browser's own: it sends no form for these
        // clicks.
        let twice = "const click = () => document.getElementById('generate') \
                     .dispatchEvent(new Event('submit', { cancelable: true })); \
                     return [click(), click()];";
        assert_eq!(alice.run(twice, Vec::new()).await, json!([true, false]));
    })
    .await;
}
