//! Tests of the page of one user, as an administrator sees it.

use serde_json::json;

use crate::driver::{Script, play};

const SETTINGS: &str = "/settings/backup-codes";

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
                text.ends_with("Too many wrong codes: wait 30 minutes."),
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
                "You are logged in. Code 1 is spent, 9 codes left.",
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
        carol
            .says("#message", "The override code is revoked.")
            .await;
        assert!(!carol.shows("#override-waits").await);
        let code = issue().await;
        alice.code(&void).await;
        assert_eq!(alice.path().await, "/login/second");
        alice.code(&code).await;
        alice
            .says("#message", "You are logged in. The override code is spent.")
            .await;

        carol.goto(&format!("{SETTINGS}/users/alice")).await;
        // Without the tick the browser does not send the form.
        carol.click("#revoke button").await;
        let missing = "return document.querySelector('#revoke-sure').matches(':invalid:focus');";
        assert_eq!(carol.run(missing, Vec::new()).await, json!(true));
        carol.says("#left", "9").await;
        carol.click("#revoke-sure").await;
        carol.follow("#revoke button").await;
        carol
            .says("#message", "All backup codes of Alice Arnold are invalid.")
            .await;
        carol.says("#no-codes", "There are no backup codes.").await;
        carol.goto(&format!("{SETTINGS}/users/carol")).await;
        assert!(!carol.shows("#override").await && !carol.shows("#unlock").await);
    })
    .await;
}

#[tokio::test]
async fn somebody_without_a_sheet_is_found_and_let_in() {
    play("a user without a sheet", async |stage| {
        let carol = stage.browser(Script::On).await;
        carol.log_in("carol").await;
        carol.follow("nav a[href='/settings/backup-codes']").await;
        carol
            .says("#no-users", "There is no user with codes left.")
            .await;
        carol.fill("#q", "bob").await;
        carol.follow("#search button").await;
        carol.says("#others", "Bob Becker bob Manage").await;
        carol.follow("#others a").await;
        carol.says("h1", "Bob Becker").await;
        carol.says("#no-codes", "There are no backup codes.").await;
        carol.says("#wrong-in-a-row", "0").await;
        carol.follow("#unlock button").await;
        carol
            .says(
                "#message",
                "No wrong codes were counted against Bob Becker.",
            )
            .await;
        carol.click("#revoke-sure").await;
        carol.follow("#revoke button").await;
        carol
            .says("#message", "Bob Becker had no backup codes to revoke.")
            .await;
        assert_eq!(
            carol.texts("#minutes option").await,
            ["1 hour", "8 hours", "1 day"]
        );
        carol.click("#minutes option[value='60']").await;
        carol.follow("#override button").await;
        let code = carol.text("#override-code").await;
        carol.says("h1", "Override code for Bob Becker").await;
        carol.says("time", "24 Nov 2026, 11:00 UTC").await;
        carol.follow("a.button").await;
        carol
            .says(
                "#override-waits",
                "An override code works until 24 Nov 2026, 11:00 UTC.",
            )
            .await;
        carol.follow(".crumbs a").await;
        assert_eq!(carol.path().await, SETTINGS);

        let bob = stage.browser(Script::On).await;
        bob.log_in("bob").await;
        bob.code(&code).await;
        bob.says(
            "#message",
            "You are logged in. The override code is spent. Make a new sheet now.",
        )
        .await;
        bob.follow(".crumbs a").await;
        assert_eq!(bob.path().await, "/profile");
        bob.log_out().await;
        bob.log_in("bob").await;
        assert_eq!(bob.path().await, "/profile");
    })
    .await;
}

#[tokio::test]
async fn a_name_and_an_id_are_text_whatever_is_in_them() {
    play("hostile names", async |stage| {
        const NAME: &str = "<img src=x onerror=alert(1)>";
        stage.site.add("a/b?c", NAME).await;
        let carol = stage.browser(Script::On).await;
        let nothing_ran = async || {
            assert!(carol.client.get_alert_text().await.is_err());
            assert_eq!(carol.count("img").await, 1, "but for the icon");
        };
        carol.log_in("carol").await;
        carol.goto(SETTINGS).await;
        carol
            .says("#users-table tbody th", &format!("{NAME} a/b?c"))
            .await;
        nothing_ran().await;
        carol.fill("#q", "a/b?c").await;
        carol.follow("#search button").await;
        carol.follow("a[aria-label='Manage a/b?c']").await;
        carol.says("h1", NAME).await;
        carol.says(".lead strong", "a/b?c").await;
        carol.says("#left", "10").await;
        nothing_ran().await;
        carol.follow("#override button").await;
        carol.says("h1", &format!("Override code for {NAME}")).await;
        nothing_ran().await;
        carol.follow("a.button").await;
        carol.follow("#override-revoke button").await;
        carol
            .says("#message", "The override code is revoked.")
            .await;
        carol.follow("#unlock button").await;
        carol
            .says(
                "#message",
                &format!("No wrong codes were counted against {NAME}."),
            )
            .await;
        carol.click("#revoke-sure").await;
        carol.follow("#revoke button").await;
        carol
            .says(
                "#message",
                &format!("All backup codes of {NAME} are invalid."),
            )
            .await;
        carol.says("#no-codes", "There are no backup codes.").await;
        nothing_ran().await;
        carol.goto(SETTINGS).await;
        carol.fill("#q", "a/b?c").await;
        carol.follow("#search button").await;
        carol.says("#others", &format!("{NAME} a/b?c Manage")).await;
        carol.follow("#others a").await;
        carol.says("h1", NAME).await;

        // The search term comes back as it was typed.
        let typed = format!("\"'>{NAME}");
        carol.goto(SETTINGS).await;
        carol.fill("#q", &typed).await;
        carol.follow("#search button").await;
        assert_eq!(carol.value("#q").await, typed);
        let none = format!("There is no user with codes left whose name contains “{typed}”.");
        carol.says("#no-users", &none).await;
        nothing_ran().await;
        carol.goto("/audit").await;
        carol.fill("#user", "a/b?c").await;
        carol.follow("#filters button").await;
        let users = carol.texts("#events td:nth-child(4)").await;
        assert!(
            users.len() > 4 && users.iter().all(|user| user == "a/b?c"),
            "{users:?}"
        );
        carol.fill("#user", &typed).await;
        carol.follow("#filters button").await;
        assert_eq!(carol.value("#user").await, typed);
        nothing_ran().await;
        carol.log_out().await;
        carol.password(&typed, "wrong").await;
        assert_eq!(carol.value("#user").await, typed);
        nothing_ran().await;
    })
    .await;
}
