//! What a user does.

use crate::driver::{Scheme, Script, play};
use serde_json::json;
use totp_rs::{Builder, Secret};

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
        assert!(!alice.shows("#pending").await);
        let codes = alice.sheet("alice").await;
        let numbers: Vec<String> = (1..=10).map(|number| format!("{number}.")).collect();
        assert_eq!(alice.texts("#codes .number").await, numbers);
        assert!(codes.iter().all(|code| code.len() == 19), "{codes:?}");
        alice.picture("sheet.png", (1000, 840)).await;

        // The file is the sheet, and so is what is copied.
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

        // Paper gets the codes, and none of the buttons.
        assert!(alice.shows("#print").await);
        alice.medium("print", Scheme::Light).await;
        assert!(alice.shows("#codes code").await && alice.shows("#label").await);
        for hidden in [".top", "#print", "#download", "#activate", ".message"] {
            assert!(!alice.shows(hidden).await, "{hidden}");
        }
        assert_eq!(alice.printed_pages().await, 1);
        alice.medium("screen", Scheme::Light).await;

        // Shown once.
        alice.goto("/profile/backup-codes").await;
        assert!(alice.shows("#pending").await && !alice.shows("#codes").await);
        alice.follow("#pending-activate button").await;
        alice
            .says(
                "#message",
                &format!("The codes of sheet {label} count from now on, and no others."),
            )
            .await;
        alice.follow("#log-out").await;
        assert_eq!(alice.path().await, "/login");

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
            text.contains("typing error") && text.ends_with("Nothing was counted."),
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
                "You are signed in. Code 3 is spent, 9 codes left.",
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

        // Trying one spends nothing.
        for _ in 0..2 {
            alice.fill("#code", &codes[4]).await;
            alice.follow("#check button").await;
            alice
                .says("#message", "This is code 5. It is right, and still unused.")
                .await;
        }
        alice.says("#left", "9").await;

        // The password has to be typed, which the browser says by itself.
        alice.click("#revoke button").await;
        alice.says("#left", "9").await;
        alice
            .fill("#revoke-password", crate::site::password("alice"))
            .await;
        alice.follow("#revoke button").await;
        alice
            .says("#message", "All your backup codes are void.")
            .await;
        alice.follow("#log-out").await;
        alice.log_in("alice").await;
        assert_eq!(alice.path().await, "/profile");
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

/// What an authenticator app shows, this many steps from now.
fn app_code(secret: &str, steps: u64) -> String {
    let secret = Secret::try_from_base32(secret).unwrap();
    let totp = Builder::new().with_secret(secret).build().unwrap();
    totp.generate(totp.next_step_current() - 30 + 30 * steps)
        .to_string()
}

#[tokio::test]
async fn an_authenticator_app_is_set_up_used_and_removed() {
    play("an authenticator app", async |stage| {
        let bob = stage.browser(Script::On).await;
        bob.log_in("bob").await;
        bob.fill("#prepare-password", crate::site::password("bob"))
            .await;
        bob.follow("#authenticator-prepare button").await;
        let secret = bob.text("#secret").await;
        bob.fill("#code", "000000").await;
        bob.follow("form.stack button").await;
        assert!(bob.shows("#message.bad").await);
        bob.fill("#activate-code", &app_code(&secret, 0)).await;
        bob.follow("#authenticator-activate button").await;
        bob.says("#authenticator-state", "Set up").await;
        bob.active_sheet("bob").await;
        bob.follow("#log-out").await;

        bob.log_in("bob").await;
        assert!(bob.shows("#login-code").await);
        bob.fill("#authenticator-code", &app_code(&secret, 1)).await;
        bob.follow("#login-authenticator button").await;
        bob.says("#message", "You are signed in.").await;

        bob.click("summary").await;
        bob.fill("#remove-password", crate::site::password("bob"))
            .await;
        bob.follow("#authenticator-remove button").await;
        bob.says("#authenticator-state", "Not set up").await;
        bob.says("#codes-state", "None").await;
    })
    .await;
}
