//! Every page, by axe-core: light and dark, on a phone and a desktop.

use crate::driver::{Script, play};

#[tokio::test]
async fn every_page_of_a_user_is_accessible() {
    play("accessibility for users", async |stage| {
        let alice = stage.browser(Script::On).await;
        alice.goto("/login").await;
        alice.is_accessible("the login").await;
        alice.password("alice", "wrong").await;
        alice.is_accessible("the login, refused").await;
        alice.log_in("alice").await;
        alice.is_accessible("the profile").await;
        alice.goto("/profile/backup-codes").await;
        alice.is_accessible("no codes").await;
        let dropped = alice.sheet("alice").await;
        alice.is_accessible("a sheet").await;
        alice.goto("/profile/backup-codes").await;
        alice.is_accessible("a sheet that waits").await;
        let codes = alice.active_sheet("alice").await;
        alice.goto("/profile").await;
        alice
            .fill("#prepare-password", crate::site::password("alice"))
            .await;
        alice.follow("#authenticator-prepare button").await;
        alice.is_accessible("an authenticator app's secret").await;
        alice.goto("/profile").await;
        alice
            .is_accessible("the profile, with an app to confirm")
            .await;
        alice.follow("#log-out").await;
        alice.log_in("alice").await;
        alice.is_accessible("the second step").await;
        alice.code(&codes[0]).await;
        for code in &dropped {
            alice.fill("#code", code).await;
            alice.follow("#check button").await;
        }
        alice.is_accessible("locked codes").await;

        let dave = stage.browser(Script::On).await;
        dave.log_in("dave").await;
        dave.goto("/profile/backup-codes").await;
        dave.is_accessible("codes that are not permitted").await;
        dave.goto("/audit").await;
        dave.is_accessible("an error").await;
    })
    .await;
}

#[tokio::test]
async fn every_page_of_an_administrator_is_accessible() {
    play("accessibility for administrators", async |stage| {
        let carol = stage.browser(Script::On).await;
        carol.log_in("carol").await;
        carol.goto("/settings/backup-codes").await;
        carol.is_accessible("settings without users").await;
        carol.goto("/audit?user=alice").await;
        carol.is_accessible("no events").await;
        stage.site.populate().await;
        carol.goto("/settings/backup-codes?q=alice").await;
        carol.is_accessible("a user found elsewhere").await;
        carol.goto("/settings/backup-codes").await;
        carol.click("details summary").await;
        carol.is_accessible("settings").await;
        carol.goto("/settings/backup-codes/users/elif").await;
        carol.is_accessible("a user").await;
        carol.follow("#override button").await;
        carol.is_accessible("an override code").await;
        carol.follow("a.button").await;
        carol.is_accessible("a user with an override code").await;
        carol.goto("/settings/backup-codes/users/carol").await;
        carol.is_accessible("oneself").await;
        carol.goto("/audit").await;
        carol.is_accessible("the audit log").await;
    })
    .await;
}
