//! What an administrator does.

use crate::driver::{Browser, Script, play};

const SETTINGS: &str = "/settings/backup-codes";

async fn ticked_roles(browser: &Browser) -> Vec<&'static str> {
    let mut ticked = Vec::new();
    for role in ["administrator", "editor", "guest", "staff"] {
        if browser.ticked(&format!("#role-{role}")).await {
            ticked.push(role);
        }
    }
    ticked
}

#[tokio::test]
async fn settings_are_a_draft_until_they_are_saved() {
    play("settings", async |stage| {
        let carol = stage.browser(Script::On).await;
        carol.log_in("carol").await;
        carol.follow("a[href='/settings/backup-codes']").await;
        let first = ["administrator", "editor", "staff"];
        assert_eq!(ticked_roles(&carol).await, first);
        carol.click("#remove-all").await;
        assert_eq!(ticked_roles(&carol).await, [""; 0]);
        carol.click("#select-all").await;
        assert_eq!(ticked_roles(&carol).await.len(), 4);

        // Unsaved changes are asked about, and stay when the answer is no.
        carol.click("a[href='/profile']").await;
        carol.asked().await;
        carol.client.dismiss_alert().await.unwrap();
        assert_eq!(carol.path().await, SETTINGS);
        assert_eq!(ticked_roles(&carol).await.len(), 4);
        carol.click("a[href='/profile']").await;
        carol.asked().await;
        carol.client.accept_alert().await.unwrap();
        carol.becomes("h1", "Profile").await;
        // Nothing was saved, and nothing unchanged is asked about.
        carol.goto(SETTINGS).await;
        assert_eq!(ticked_roles(&carol).await, first);
        carol.follow("a[href='/profile']").await;

        carol.goto(SETTINGS).await;
        carol.click("#select-all").await;
        carol.click("#role-editor").await;
        carol.fill("#low-threshold", "5").await;
        carol.follow("#save").await;
        carol
            .says("#message", "The changes are saved and in force.")
            .await;
        assert_eq!(
            ticked_roles(&carol).await,
            ["administrator", "guest", "staff"]
        );
        assert_eq!(carol.value("#low-threshold").await, "5");
        let dave = stage.browser(Script::On).await;
        dave.log_in("dave").await;
        dave.goto("/profile/backup-codes").await;
        assert!(dave.shows("#generate").await);

        // Off, while a page of before is still open elsewhere.
        let other = stage.browser(Script::On).await;
        other.log_in("carol").await;
        other.goto(SETTINGS).await;
        carol.click("#switch").await;
        carol.follow("#save").await;
        assert!(!carol.ticked("#switch").await);
        dave.goto("/profile/backup-codes").await;
        dave.says(
            "#not-permitted",
            "Backup codes are switched off for this site.",
        )
        .await;
        other.fill("#low-threshold", "7").await;
        other.follow("#save").await;
        let text = other.text("#message").await;
        assert!(
            text.starts_with("Nothing of yours was saved: somebody else saved before you.")
                && text.ends_with("low threshold 7."),
            "{text}"
        );
        assert!(!other.ticked("#switch").await);
        other.click("#switch").await;
        other.follow("#save").await;
        other
            .says("#message", "The changes are saved and in force.")
            .await;
    })
    .await;
}

#[tokio::test]
async fn figures_are_read_and_users_found() {
    play("figures", async |stage| {
        stage.site.populate().await;
        let alice = stage.browser(Script::On).await;
        alice.log_in("alice").await;
        let codes = alice.active_sheet("alice").await;
        alice.follow("#log-out").await;
        alice.log_in("alice").await;
        alice.code(&codes[0]).await;

        let carol = stage.browser(Script::On).await;
        carol.log_in("carol").await;
        carol.goto(SETTINGS).await;
        carol.says("#users-with-codes", "31").await;
        carol.says("#users-low", "6").await;
        carol.says("#users-exhausted", "2").await;
        let chart = carol.text("#chart-title").await;
        assert!(
            chart.starts_with("Codes used in the last 30 days: 93, at most "),
            "{chart}"
        );
        carol.click("details summary").await;
        let days = carol.texts("#chart-table td").await;
        let days = days.iter().map(|day| day.parse::<u32>().unwrap());
        assert_eq!((days.len(), days.sum()), (30, 93));
        carol.click("details summary").await;
        carol.picture("administrator.png", (1000, 1560)).await;

        let names = async || -> Vec<String> { carol.texts("#users-table tbody .hint").await };
        let page = names().await;
        // Who has none left is not in this list.
        assert_eq!(page.len(), 25);
        assert_eq!(page[..3], ["alice", "amara", "anton"]);
        carol.follow("#next-page").await;
        assert_eq!(names().await, ["rosa", "samir", "tove", "yara"]);
        carol.follow("#first-page").await;
        assert_eq!(names().await, page);

        carol.follow(".figures a[href='?filter=low#users']").await;
        assert_eq!(names().await.len(), 6);
        carol.click("#sort option[value=left]").await;
        carol.follow("#search button").await;
        assert_eq!(carol.value("#filter").await, "low");
        let left = carol.texts("#users-table td.right").await;
        assert_eq!(
            left,
            [
                "0 of 10", "0 of 10", "2 of 10", "2 of 10", "3 of 10", "3 of 10"
            ]
        );

        carol.click("#filter option[value=all]").await;
        carol.click("#sort option[value=used]").await;
        carol.fill("#q", "ali").await;
        carol.follow("#search button").await;
        assert_eq!(names().await, ["alice", "malik", "nadia"]);
        // Refresh keeps what was asked for, and shows what has happened.
        carol.fill("#q", "alice").await;
        carol.follow("#search button").await;
        assert_eq!(names().await, ["alice"]);
        alice
            .fill("#revoke-password", crate::site::password("alice"))
            .await;
        alice.follow("#revoke button").await;
        carol.follow("#refresh").await;
        assert_eq!(carol.value("#q").await, "alice");
        assert!(carol.shows("#no-users").await);
        carol.says("#others", "Alice Arnold alice Manage").await;
    })
    .await;
}

#[tokio::test]
async fn a_locked_out_user_is_unlocked_or_let_in_by_an_override_code() {
    play("a locked out user", async |stage| {
        let alice = stage.browser(Script::On).await;
        alice.log_in("alice").await;
        let dropped = alice.sheet("alice").await;
        let codes = alice.active_sheet("alice").await;
        alice.follow("#log-out").await;
        let lock = async || {
            alice.log_in("alice").await;
            for code in &dropped {
                alice.code(code).await;
            }
            let text = alice.text("#message").await;
            assert!(
                text.ends_with("Too many were wrong: wait 30 minutes."),
                "{text}"
            );
        };
        lock().await;

        let carol = stage.browser(Script::On).await;
        carol.log_in("carol").await;
        carol.goto(SETTINGS).await;
        carol.follow("a[aria-label='Manage alice']").await;
        assert!(carol.shows("#locked").await);
        carol.says("#wrong-in-a-row", "10").await;
        carol.follow("#unlock button").await;
        carol.says("#wrong-in-a-row", "0").await;
        assert!(!carol.shows("#locked").await);
        alice.code(&codes[0]).await;
        alice
            .says(
                "#message",
                "You are signed in. Code 1 is spent, 9 codes left.",
            )
            .await;
        alice.follow("#log-out").await;
        lock().await;

        let issue = async || {
            carol.goto(&format!("{SETTINGS}/users/alice")).await;
            carol.click("#minutes option[value='480']").await;
            carol.follow("#override button").await;
            let code = carol.text("#override-code").await;
            carol.follow("a.button").await;
            assert!(carol.shows("#override-waits").await);
            code
        };
        let void = issue().await;
        carol.follow("#override-revoke button").await;
        carol.says("#message", "The override code is void.").await;
        assert!(!carol.shows("#override-waits").await);
        let code = issue().await;
        alice.code(&void).await;
        assert_eq!(alice.path().await, "/login/second");
        alice.code(&code).await;
        alice
            .says("#message", "You are signed in. The override code is spent.")
            .await;

        carol.goto(&format!("{SETTINGS}/users/alice")).await;
        carol.click("#revoke-sure").await;
        carol.follow("#revoke button").await;
        carol
            .says("#message", "All backup codes of Alice Arnold are void.")
            .await;
        carol.says("#no-codes", "There are no backup codes.").await;
        carol.goto(&format!("{SETTINGS}/users/carol")).await;
        assert!(!carol.shows("#override").await && !carol.shows("#unlock").await);
    })
    .await;
}

#[tokio::test]
async fn the_audit_log_is_filtered_paged_and_saved() {
    play("the audit log", async |stage| {
        stage.site.populate().await;
        // A browser that would like to be calculated.
        let alice = stage.browser(Script::On).await;
        let agent = serde_json::json!({ "userAgent": "=1+1" });
        alice
            .chromium("Emulation.setUserAgentOverride", agent)
            .await;
        alice.log_in("alice").await;
        alice.active_sheet("alice").await;

        let carol = stage.browser(Script::On).await;
        carol.log_in("carol").await;
        carol.follow("a[href='/audit']").await;
        assert_eq!(carol.count("#events tbody tr").await, 50);
        carol.follow("#next-page").await;
        assert_eq!(carol.count("#events tbody tr").await, 50);
        carol.follow("#first-page").await;
        carol.fill("#user", "malik").await;
        carol.click("#event option[value=redeem]").await;
        carol.follow("#filters button").await;
        let kinds = carol.texts("#events tbody th").await;
        assert_eq!(kinds, ["redeem"; 4]);
        carol.fill("#day", "02292020").await;
        carol.follow("#filters button").await;
        carol.says("#no-events", "No events.").await;

        carol.goto("/audit").await;
        carol.fill("#user", "alice").await;
        carol.follow("#filters button").await;
        let rows = carol.count("#events tbody tr").await;
        carol.click("#csv").await;
        let csv = carol.download("audit.csv").await;
        assert_eq!(csv.lines().count(), rows + 1);
        assert_eq!(csv.matches("\"'=1+1\"").count(), rows, "{csv}");
        for cell in csv.lines().flat_map(|line| line.split(',')) {
            let first = cell.trim_start_matches('"').chars().next();
            assert!(!first.is_some_and(|first| "=+-@".contains(first)), "{cell}");
        }
        carol.click("#jsonl").await;
        let jsonl = carol.download("audit.jsonl").await;
        assert_eq!(jsonl.lines().count(), rows);
        for line in jsonl.lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(
                event.to_string().contains("\"=1+1\"") && !line.contains("\"="),
                "{line}"
            );
        }
    })
    .await;
}
