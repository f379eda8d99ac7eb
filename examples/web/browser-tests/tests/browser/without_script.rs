//! The main paths where pages may run no scripts.

use crate::driver::{Script, play};

#[tokio::test]
async fn the_main_paths_need_no_script() {
    play("without script", async |stage| {
        let alice = stage.browser(Script::Off).await;
        alice.log_in("alice").await;
        let codes = alice.sheet("alice").await;
        assert_eq!(codes.len(), 10);
        // What needs a script is not offered; what does not is.
        assert!(!alice.shows("#copy").await && !alice.shows("#print").await);
        let name = format!("backup-codes-{}.txt", alice.text("#label").await);
        alice.click("#download button").await;
        assert!(alice.download(&name).await.contains(&codes[9]));
        alice.follow("#activate button").await;
        alice.says("#left", "10").await;
        alice.follow("#log-out").await;
        alice.log_in("alice").await;
        alice.code(&codes[0]).await;
        alice
            .says(
                "#message",
                "You are signed in. Code 1 is spent, 9 codes left.",
            )
            .await;

        let carol = stage.browser(Script::Off).await;
        carol.log_in("carol").await;
        carol.goto("/settings/backup-codes").await;
        carol.fill("#low-threshold", "4").await;
        carol.follow("#select-all").await;
        assert!(carol.ticked("#role-guest").await);
        carol.follow("#save").await;
        carol
            .says("#message", "The changes are saved and in force.")
            .await;
        carol.goto("/settings/backup-codes").await;
        assert!(carol.ticked("#role-guest").await);
        assert_eq!(carol.value("#low-threshold").await, "4");
        carol.follow("#remove-all").await;
        assert!(!carol.ticked("#role-guest").await);
    })
    .await;
}
