//! The authenticator app.

use std::time::Duration;

use crate::browser::Browser;
use crate::driver::{Script, play};
use crate::site::password;

const STEP: Duration = Duration::from_secs(30);

/// Lets the page show a secret, and returns it.
pub(crate) async fn secret(browser: &Browser, user: &str) -> String {
    browser.goto("/profile").await;
    browser.fill("#prepare-password", password(user)).await;
    browser.follow("#authenticator-prepare button").await;
    browser.text("#secret").await
}

#[tokio::test]
async fn an_app_is_set_up_used_and_removed() {
    play("an authenticator app", async |stage| {
        let site = &stage.site;
        let bob = stage.browser(Script::On).await;
        bob.log_in("bob").await;
        bob.fill("#prepare-password", "wrong").await;
        bob.follow("#authenticator-prepare button").await;
        bob.says(
            "#message",
            "This is not your password. Nothing was changed.",
        )
        .await;
        let first = secret(&bob, "bob").await;
        bob.follow("main a").await;
        assert_eq!(bob.path().await, "/profile");
        bob.says("#authenticator-state", "Not set up").await;
        bob.says("#authenticator-prepare button", "Show another secret")
            .await;

        // A second secret makes the first one invalid.
        let second = secret(&bob, "bob").await;
        assert_ne!(first, second);
        bob.fill("#code", &site.app_code(&first)).await;
        bob.follow("form.stack button").await;
        bob.says(
            "#message",
            "This is not the app's current code. Nothing was changed: wait for the next one.",
        )
        .await;
        bob.fill("#activate-code", &site.app_code(&second)).await;
        bob.follow("#authenticator-activate button").await;
        bob.says("#message", "The authenticator app is set up.")
            .await;
        bob.says("#authenticator-state", "Set up").await;
        bob.active_sheet("bob").await;
        bob.log_out().await;

        bob.log_in("bob").await;
        assert!(bob.shows("#login-code").await);
        let app = async |code: &str| {
            bob.fill("#authenticator-code", code).await;
            bob.follow("#login-authenticator button").await;
        };
        // A code of the app is valid once.
        app(&site.app_code(&second)).await;
        bob.says(
            "#message",
            "This code was not accepted. Wait for the app's next one and type that.",
        )
        .await;
        site.wait(STEP).await;
        app(&site.app_code(&second)).await;
        bob.says("#message", "You are logged in.").await;

        bob.click("summary").await;
        bob.fill("#remove-password", "wrong").await;
        bob.follow("#authenticator-remove button").await;
        bob.says("#authenticator-state", "Set up").await;
        bob.click("summary").await;
        bob.fill("#remove-password", password("bob")).await;
        bob.follow("#authenticator-remove button").await;
        bob.says(
            "#message",
            "The authenticator app is removed, and your backup codes are revoked.",
        )
        .await;
        bob.says("#authenticator-state", "Not set up").await;
        bob.says("#codes-state", "None").await;
    })
    .await;
}
