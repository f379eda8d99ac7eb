//! Tests of the pages where they may not run scripts.

use std::time::Duration;

use crate::authenticator::secret;
use crate::driver::{Script, play};
use crate::site::password;

const CODES: &str = "/profile/backup-codes";
const SETTINGS: &str = "/settings/backup-codes";

#[tokio::test]
async fn a_user_needs_no_script() {
    play("a user without script", async |stage| {
        let alice = stage.browser(Script::Off).await;
        alice.log_in("alice").await;
        alice.sheet("alice").await;
        alice.follow("#discard button").await;
        assert!(!alice.shows("#prepared").await);
        let codes = alice.sheet("alice").await;
        assert_eq!(codes.len(), 10);
        // Controls that need a script are not shown; the others are.
        assert!(!alice.shows("#copy").await && !alice.shows("#print").await);
        let name = format!("backup-codes-{}.txt", alice.text("#label").await);
        alice.click("#download button").await;
        assert!(alice.download(&name).await.contains(&codes[9]));
        alice.follow("#activate button").await;
        alice.says("#left", "10").await;
        let wrong = alice.sheet("alice").await;
        alice.goto(CODES).await;
        alice.follow("#prepared-discard button").await;

        alice.fill("#code", &codes[1]).await;
        alice.follow("#check button").await;
        alice.says("#message", "Code 2 is valid and unused.").await;
        alice.fill("#code", &wrong[1]).await;
        alice.follow("#check button").await;
        alice
            .says("#message", "This code was not accepted. 9 tries are left.")
            .await;
        alice.log_out().await;
        alice.log_in("alice").await;
        alice.follow("#cancel").await;
        alice.log_in("alice").await;
        alice.code(&codes[0]).await;
        alice
            .says(
                "#message",
                "You are logged in. Code 1 is spent, 9 codes left.",
            )
            .await;
        alice.fill("#revoke-password", password("alice")).await;
        alice.follow("#revoke button").await;
        alice
            .says(
                "#message",
                "All your backup codes are invalid. You are logged out everywhere else.",
            )
            .await;
        alice.log_out().await;
        alice.goto(CODES).await;
        assert_eq!(alice.path().await, "/login");
    })
    .await;
}

#[tokio::test]
async fn an_app_needs_no_script() {
    play("an authenticator app without script", async |stage| {
        let bob = stage.browser(Script::Off).await;
        bob.log_in("bob").await;
        secret(&bob, "bob").await;
        let secret = secret(&bob, "bob").await;
        bob.goto("/profile").await;
        bob.fill("#activate-code", &stage.site.app_code(&secret))
            .await;
        bob.follow("#authenticator-activate button").await;
        bob.says("#authenticator-state", "Set up").await;
        bob.log_out().await;
        stage.site.wait(Duration::from_secs(30)).await;
        bob.log_in("bob").await;
        bob.fill("#authenticator-code", &stage.site.app_code(&secret))
            .await;
        bob.follow("#login-authenticator button").await;
        bob.says("#message", "You are logged in.").await;
        bob.click("summary").await;
        bob.fill("#remove-password", password("bob")).await;
        bob.follow("#authenticator-remove button").await;
        bob.says("#authenticator-state", "Not set up").await;
    })
    .await;
}

#[tokio::test]
async fn settings_and_the_list_need_no_script() {
    play("settings without script", async |stage| {
        stage.site.populate().await;
        let carol = stage.browser(Script::Off).await;
        carol.log_in("carol").await;
        carol.follow("nav a[href='/settings/backup-codes']").await;
        carol.fill("#low-threshold", "4").await;
        carol.follow("#select-all").await;
        carol
            .says(
                "#message",
                "All roles are selected. Save the changes to apply them.",
            )
            .await;
        assert!(carol.ticked("#role-guest").await);
        carol.follow("#save").await;
        carol
            .says("#message", "The changes are saved and in effect.")
            .await;
        carol.goto(SETTINGS).await;
        assert!(carol.ticked("#role-guest").await);
        assert_eq!(carol.value("#low-threshold").await, "4");
        carol.follow("#remove-all").await;
        assert!(!carol.ticked("#role-guest").await);
        // The browser does not ask, and nothing is saved.
        carol.follow("nav a[href='/profile']").await;
        carol.goto(SETTINGS).await;
        assert!(carol.ticked("#role-guest").await);

        let names = async || carol.texts("#users-table tbody .hint").await;
        carol.click("#filter option[value=all]").await;
        carol.click("#sort option[value=left]").await;
        carol.follow("#search button").await;
        let first = names().await;
        assert_eq!((first.len(), &*first[0]), (25, "daan"));
        carol.follow("#next-page").await;
        let second = names().await;
        assert_eq!(second.len(), 5);
        carol.follow("#refresh").await;
        assert_eq!(names().await, second);
        carol.follow("#first-page").await;
        assert_eq!(names().await, first);
        carol.fill("#q", "malik").await;
        carol.follow("#search button").await;
        assert_eq!(names().await, ["malik"]);
        assert_eq!(carol.value("#sort").await, "left");

        carol.follow("a[aria-label='Manage malik']").await;
        carol.follow("#override button").await;
        assert!(carol.shows("#override-code").await);
        carol.follow("a.button").await;
        carol.follow("#override-revoke button").await;
        carol
            .says("#message", "The override code is revoked.")
            .await;
        carol.follow("#unlock button").await;
        carol
            .says(
                "#message",
                "No wrong codes were counted against Malik Diallo.",
            )
            .await;
        // The browser itself requires the tick.
        carol.click("#revoke button").await;
        assert!(carol.shows("#left").await);
        carol.click("#revoke-sure").await;
        carol.follow("#revoke button").await;
        carol
            .says("#message", "All backup codes of Malik Diallo are invalid.")
            .await;

        carol.goto(&format!("{SETTINGS}?q=alice")).await;
        carol.follow("#others a").await;
        carol.says("h1", "Alice Arnold").await;
    })
    .await;
}

#[tokio::test]
async fn the_audit_log_needs_no_script() {
    play("the audit log without script", async |stage| {
        stage.site.populate().await;
        let carol = stage.browser(Script::Off).await;
        carol.log_in("carol").await;
        carol.follow("nav a[href='/audit']").await;
        carol.fill("#user", "malik").await;
        carol.click("#event option[value=redeem]").await;
        carol.follow("#filters button").await;
        let kinds = carol.texts("#events tbody th").await;
        assert_eq!(kinds, ["redeem"; 4]);
        carol.click("#csv").await;
        assert_eq!(carol.download("audit.csv").await.lines().count(), 5);
        carol.click("#jsonl").await;
        assert_eq!(carol.download("audit.jsonl").await.lines().count(), 4);
        carol.goto("/audit").await;
        carol.follow("#next-page").await;
        carol.follow("#first-page").await;
        assert_eq!(carol.count("#events tbody tr").await, 50);
        carol.log_out().await;
        carol.goto("/audit").await;
        assert_eq!(carol.path().await, "/login");
    })
    .await;
}
