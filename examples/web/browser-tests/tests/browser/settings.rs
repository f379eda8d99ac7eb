//! Settings: the switch, the roles, the low threshold.

use serde_json::json;

use crate::browser::{Browser, until};
use crate::driver::{Script, play};

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

        // The browser asks about unsaved changes, and they stay when the answer is no.
        carol.click("a[href='/profile']").await;
        carol.asked().await;
        carol.client.dismiss_alert().await.unwrap();
        assert_eq!(carol.path().await, SETTINGS);
        assert_eq!(ticked_roles(&carol).await.len(), 4);
        carol.click("a[href='/profile']").await;
        carol.asked().await;
        carol.client.accept_alert().await.unwrap();
        carol.becomes("h1", "Profile").await;
        // The changes were not saved; without changes the browser does not ask.
        carol.goto(SETTINGS).await;
        assert_eq!(ticked_roles(&carol).await, first);
        carol.follow("a[href='/profile']").await;

        carol.goto(SETTINGS).await;
        carol.click("#select-all").await;
        carol.click("#role-editor").await;
        // The browser does not send a threshold out of bounds.
        carol.fill("#low-threshold", "32").await;
        carol.click("#save").await;
        let wrong = "return document.querySelector('#low-threshold').matches(':invalid:focus');";
        assert_eq!(carol.run(wrong, Vec::new()).await, json!(true));
        carol.fill("#low-threshold", "5").await;
        carol.follow("#save").await;
        carol
            .says("#message", "The changes are saved and in effect.")
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

        // Switches codes off, while an older page is still open in another browser.
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
            text.starts_with("Your changes were not saved: another administrator saved first.")
                && text.ends_with("low threshold 7."),
            "{text}"
        );
        assert!(!other.ticked("#switch").await);
        other.click("#switch").await;
        other.follow("#save").await;
        other
            .says("#message", "The changes are saved and in effect.")
            .await;
    })
    .await;
}

#[tokio::test]
async fn back_and_forward_ask_about_unsaved_changes_too() {
    play("back and forward", async |stage| {
        let carol = stage.browser(Script::On).await;
        carol.log_in("carol").await;
        carol.follow("a[href='/settings/backup-codes']").await;
        let first = ["administrator", "editor", "staff"];
        let back = async || {
            // The command waits for a page, which does not come while the question is open.
            carol
                .run("setTimeout(() => history.back())", Vec::new())
                .await;
        };
        carol.click("#role-guest").await;
        back().await;
        carol.asked().await;
        carol.client.dismiss_alert().await.unwrap();
        assert_eq!(carol.path().await, SETTINGS);
        assert!(carol.ticked("#role-guest").await);
        back().await;
        carol.asked().await;
        carol.client.accept_alert().await.unwrap();
        carol.becomes("h1", "Profile").await;

        // The browser may have kept the page as it was left; it has to show the saved settings all
        // the same.
        carol.client.forward().await.unwrap();
        let guest_is = async |ticked: bool| {
            let guest = "return document.getElementById('role-guest').checked;";
            until("what is saved", async || {
                let answer = carol.client.execute(guest, Vec::new()).await.ok()?;
                (answer == json!(ticked)).then_some(())
            })
            .await;
        };
        guest_is(false).await;
        carol.follow("a[href='/profile']").await;

        carol.goto(SETTINGS).await;
        assert_eq!(ticked_roles(&carol).await, first);
        carol.click("#role-guest").await;
        carol.follow("#save").await;
        carol.client.back().await.unwrap();
        carol.client.forward().await.unwrap();
        guest_is(true).await;
    })
    .await;
}
