//! The checks of `checks.rs`, on every page in each of its states.

use std::time::Duration;

use crate::authenticator::secret;
use crate::browser::Browser;
use crate::driver::{Script, play};

const CODES: &str = "/profile/backup-codes";
const SETTINGS: &str = "/settings/backup-codes";

async fn checks(browser: &Browser, code: &str) {
    browser.fill("#code", code).await;
    browser.follow("#check button").await;
}

#[tokio::test]
async fn login_and_codes() {
    play("accessibility of login and codes", async |stage| {
        let alice = stage.browser(Script::On).await;
        alice.goto("/login").await;
        alice.is_accessible("the login").await;
        alice.password("alice", "wrong").await;
        alice.is_accessible("the login, refused").await;
        alice.log_in("alice").await;
        alice.is_accessible("the profile").await;
        alice.goto(CODES).await;
        alice.is_accessible("no codes").await;
        let dropped = alice.sheet("alice").await;
        alice.is_accessible("a sheet").await;
        alice.goto(CODES).await;
        alice.is_accessible("a sheet that waits").await;
        let codes = alice.active_sheet("alice").await;
        alice.is_accessible("codes").await;
        alice.log_out().await;

        alice.log_in("alice").await;
        alice.is_accessible("the second step").await;
        alice.code("0").await;
        alice.is_accessible("the second step, mistyped").await;
        alice.code(&dropped[0]).await;
        alice.is_accessible("the second step, refused").await;
        for code in &codes[..8] {
            alice.code(code).await;
            alice.log_out().await;
            alice.log_in("alice").await;
        }
        alice.code(&codes[8]).await;
        alice.is_accessible("few codes").await;
        alice.sheet("alice").await;
        alice.is_accessible("a sheet in place of another").await;
        alice.goto(CODES).await;
        alice
            .is_accessible("few codes, and a sheet that waits")
            .await;
        alice.follow("#prepared-discard button").await;
        for code in &dropped {
            checks(&alice, code).await;
        }
        assert!(alice.shows("#locked").await);
        alice.is_accessible("locked codes").await;
        alice.log_out().await;
        alice.log_in("alice").await;
        alice.code(&codes[9]).await;
        alice.is_accessible("the second step, locked").await;
        stage.site.wait(Duration::from_secs(30 * 60)).await;
        alice.log_in("alice").await;
        alice.code(&codes[9]).await;
        alice.is_accessible("no code left").await;
    })
    .await;
}

#[tokio::test]
async fn the_app_and_errors() {
    play("accessibility of the app and errors", async |stage| {
        let site = &stage.site;
        let bob = stage.browser(Script::On).await;
        bob.log_in("bob").await;
        let secret = secret(&bob, "bob").await;
        bob.is_accessible("an authenticator app's secret").await;
        bob.goto("/profile").await;
        bob.is_accessible("the profile, with an app to confirm")
            .await;
        bob.fill("#activate-code", &site.app_code(&secret)).await;
        bob.follow("#authenticator-activate button").await;
        bob.is_accessible("the profile, with an app").await;
        bob.click("summary").await;
        bob.is_accessible("an app to remove").await;
        bob.goto(CODES).await;
        bob.is_accessible("no codes beside an app").await;
        bob.log_out().await;
        bob.log_in("bob").await;
        bob.is_accessible("the second step with an app").await;
        let app = async || {
            bob.fill("#authenticator-code", "wrong").await;
            bob.follow("#login-authenticator button").await;
        };
        app().await;
        bob.is_accessible("the second step with an app, refused")
            .await;
        for _ in 0..4 {
            app().await;
        }
        app().await;
        let text = bob.text("#message").await;
        assert!(text.starts_with("Too many codes of the app"), "{text}");
        bob.is_accessible("the second step with an app, shut").await;
        let stranger = stage.browser(Script::On).await;
        stranger.goto("/login").await;
        for _ in 0..20 {
            stranger.password("nobody", "wrong").await;
        }
        stranger.says("h1", "Log in").await;
        stranger.password("nobody", "wrong").await;
        stranger.says("h1", "Too many tries").await;
        stranger.is_accessible("too many tries").await;

        let dave = stage.browser(Script::On).await;
        dave.log_in("dave").await;
        dave.goto(CODES).await;
        dave.is_accessible("codes that are not permitted").await;
        dave.goto("/audit").await;
        dave.says("h1", "Not allowed").await;
        dave.is_accessible("what is not allowed").await;
        dave.goto("/nowhere").await;
        dave.says("h1", "Not found").await;
        dave.is_accessible("what is not there").await;
        site.sql("ALTER TABLE web_users RENAME TO elsewhere").await;
        dave.goto("/profile").await;
        dave.says("h1", "Temporarily unavailable").await;
        dave.is_accessible("a database that does not answer").await;
    })
    .await;
}

#[tokio::test]
async fn settings() {
    play("accessibility of settings", async |stage| {
        let carol = stage.browser(Script::On).await;
        carol.log_in("carol").await;
        carol.goto(SETTINGS).await;
        carol.is_accessible("settings without users").await;
        // Otherwise the browser would not send an invalid form.
        carol
            .run(
                "document.getElementById('settings').noValidate = true",
                Vec::new(),
            )
            .await;
        carol.fill("#low-threshold", "32").await;
        carol.follow("#save").await;
        assert!(carol.shows("#message.bad").await);
        carol.is_accessible("settings, refused").await;
        let other = stage.browser(Script::On).await;
        other.log_in("carol").await;
        other.goto(SETTINGS).await;
        // The page as it is without script, where axe-core cannot run.
        let all = "const [form, all] = ['settings', 'select-all'].map((id) => \
                   document.getElementById(id)); form.requestSubmit(all);";
        let submit = async { drop(other.run(all, Vec::new()).await) };
        other.leads_on("#select-all", submit).await;
        assert!(other.ticked("#role-guest").await);
        other.is_accessible("all roles ticked without script").await;
        carol.fill("#low-threshold", "3").await;
        carol.click("#switch").await;
        carol.follow("#save").await;
        carol.is_accessible("codes switched off").await;
        other.follow("#save").await;
        assert!(other.shows("#message.bad").await);
        other.is_accessible("settings, overtaken").await;

        let alice = stage.browser(Script::On).await;
        alice.log_in("alice").await;
        alice.goto(CODES).await;
        alice.is_accessible("codes, switched off").await;
    })
    .await;
}

#[tokio::test]
async fn users_and_events() {
    play("accessibility of users and events", async |stage| {
        let carol = stage.browser(Script::On).await;
        carol.log_in("carol").await;
        carol.goto("/audit?user=alice").await;
        carol.is_accessible("no events").await;
        stage.site.populate().await;
        carol.goto(SETTINGS).await;
        carol.click("details summary").await;
        carol
            .is_accessible("settings, users, the chart as a table")
            .await;
        carol.goto(&format!("{SETTINGS}?q=alice")).await;
        carol.is_accessible("a user found elsewhere").await;
        stage
            .site
            .sql("UPDATE web_users SET id = 'ali' WHERE id = 'alice'")
            .await;
        carol.goto(&format!("{SETTINGS}?q=ali&sort=used")).await;
        assert_eq!(carol.count("#users-table tbody tr").await, 2);
        assert!(carol.shows("#others").await);
        carol
            .is_accessible("a hit, and a user found elsewhere")
            .await;
        carol.goto(&format!("{SETTINGS}/users/bob")).await;
        carol.is_accessible("a user without codes").await;
        for (user, state) in [("farah", "few codes"), ("daan", "no code left")] {
            carol.goto(&format!("{SETTINGS}/users/{user}")).await;
            carol.is_accessible(&format!("a user with {state}")).await;
        }
        carol.goto(&format!("{SETTINGS}/users/elif")).await;
        carol.follow("#override button").await;
        carol.is_accessible("an override code").await;
        carol.follow("a.button").await;
        carol.is_accessible("a user with an override code").await;
        stage.site.disable("elif").await;
        carol.goto(&format!("{SETTINGS}/users/elif")).await;
        assert!(carol.shows("#disabled").await);
        carol.is_accessible("a user whose codes are disabled").await;
        carol.goto(&format!("{SETTINGS}/users/carol")).await;
        carol.is_accessible("oneself").await;
        stage
            .site
            .sql(
                "UPDATE backup_codes_events SET body = '{}' \
                 WHERE seq = (SELECT max(seq) FROM backup_codes_events)",
            )
            .await;
        carol.goto("/audit").await;
        carol
            .says("#unreadable", "1 event on this page cannot be read.")
            .await;
        carol.is_accessible("the audit log").await;
        carol.follow("#next-page").await;
        carol.is_accessible("the audit log's second page").await;
    })
    .await;
}
