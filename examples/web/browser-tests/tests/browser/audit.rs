//! The audit log.

use crate::driver::{Script, play};

#[tokio::test]
async fn the_audit_log_is_filtered_paged_and_saved() {
    play("the audit log", async |stage| {
        stage.site.populate().await;
        // A user agent that a spreadsheet would calculate.
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
        carol.click("#csv").await;
        assert_eq!(carol.download("audit.csv").await.lines().count(), 5);
        carol.click("#jsonl").await;
        assert_eq!(carol.download("audit.jsonl").await.lines().count(), 4);
        carol.fill("#day", "02292020").await;
        carol.follow("#filters button").await;
        carol.says("#no-events", "No events.").await;
        // A day that has events; the filters stay as they are chosen.
        carol.fill("#day", "11192026").await;
        carol.follow("#filters button").await;
        assert_eq!(carol.count("#events tbody tr").await, 1);
        let times = carol.texts("#events time").await;
        assert_eq!(times, ["2026-11-19 10:00:00 UTC"]);
        assert_eq!(
            [
                carol.value("#user").await,
                carol.value("#event").await,
                carol.value("#day").await
            ],
            ["malik", "redeem", "2026-11-19"]
        );
        carol.says("#events td:nth-child(4)", "malik").await;
        // The exported files have the same day, user and event.
        carol.click("#csv").await;
        let csv = carol.download("audit.csv").await;
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 2, "{csv}");
        assert!(
            lines[0].contains("\"time\"") && lines[1].contains("2026-11-19T10:00:00"),
            "{csv}"
        );
        carol.click("#jsonl").await;
        let jsonl = carol.download("audit.jsonl").await;
        let event: serde_json::Value = serde_json::from_str(&jsonl).unwrap();
        assert_eq!(event["event.action"], "redeem", "{event}");

        // The next pages keep the filters.
        carol.goto("/audit").await;
        carol.click("#event option[value=redeem]").await;
        carol.follow("#filters button").await;
        carol.follow("#next-page").await;
        assert_eq!(carol.value("#event").await, "redeem");
        let kinds = carol.texts("#events tbody th").await;
        assert_eq!(kinds, ["redeem"; 42]);
        assert!(!carol.shows("#next-page").await);
        carol.follow("#first-page").await;
        let kinds = carol.texts("#events tbody th").await;
        assert_eq!(kinds, ["redeem"; 50]);

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
