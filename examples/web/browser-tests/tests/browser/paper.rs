//! The sheet outside the page: on paper, copied by hand, read aloud.

use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::browser::Scheme;
use crate::driver::{Script, play};

/// Returns the colours of every visible element.
const COLOURS: &str = "
const seen = [...document.querySelectorAll('body, body *')].filter((it) => it.checkVisibility());
const styles = seen.map((it) => getComputedStyle(it));
return ['color', 'backgroundColor'].map((what) => [...new Set(styles.map((it) => it[what]))].sort());
";

#[tokio::test]
async fn paper_has_the_sheet_and_nothing_else() {
    play("paper", async |stage| {
        let alice = stage.browser(Script::On).await;
        let recorder = "window.printed = 0; window.print = () => { window.printed += 1; };";
        let recorder = json!({ "source": recorder });
        alice
            .chromium("Page.addScriptToEvaluateOnNewDocument", recorder)
            .await;
        alice.log_in("alice").await;
        let codes = alice.sheet("alice").await;
        let label = alice.text("#label").await;
        alice.click("#print").await;
        let printed = alice.run("return window.printed;", Vec::new()).await;
        assert_eq!(printed, json!(1));

        let mut lines = vec!["Your backup codes", "Account", "alice on example.org"];
        lines.extend(["Sheet", &*label, "Made on", "24 Nov 2026, 10:00 UTC"]);
        let numbers: Vec<String> = (1..=10).map(|number| format!("{number}.")).collect();
        for (number, code) in numbers.iter().zip(&codes) {
            lines.extend([&**number, &**code]);
        }
        lines.push("Each code works once, in any order. Keep this sheet apart from your password.");
        for scheme in [Scheme::Light, Scheme::Dark] {
            alice.medium("print", scheme).await;
            let text = alice.text("body").await;
            let words: Vec<&str> = text.lines().map(str::trim).collect();
            assert_eq!(words, lines, "{scheme:?}");
            let colours = alice.run(COLOURS, Vec::new()).await;
            let black_on_white =
                json!([["rgb(0, 0, 0)"], ["rgb(255, 255, 255)", "rgba(0, 0, 0, 0)"]]);
            assert_eq!(colours, black_on_white, "{scheme:?}");
            assert_eq!(alice.printed_pages().await, 1, "{scheme:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_row_copied_by_hand_lets_in() {
    play("a row copied by hand", async |stage| {
        let alice = stage.browser(Script::On).await;
        alice.log_in("alice").await;
        let codes = alice.sheet("alice").await;
        let places = "
            const [number, code] = document.querySelectorAll('#codes li:nth-child(3) > *');
            const [from, to] = [number.getBoundingClientRect(), code.getBoundingClientRect()];
            return [from.left, from.top + from.height / 2, to.right, to.top + to.height / 2];";
        let places = alice.run(places, Vec::new()).await;
        let place = |number: usize| places[number].as_f64().unwrap();
        // Drags over the number and the code: from the number's left edge to beyond the code.
        alice
            .drag((place(0) + 1.0, place(1)), (place(2) + 4.0, place(3)))
            .await;
        alice.keys(Some(Key::Control), "c").await;
        alice.follow("#activate button").await;
        alice.log_out().await;
        alice.log_in("alice").await;
        alice.click("#code").await;
        alice.keys(Some(Key::Control), "v").await;
        let pasted = alice.value("#code").await;
        assert_eq!(
            pasted.replace(' ', ""),
            format!("3.{}", codes[2]),
            "{pasted}"
        );
        alice.follow("#login-code button").await;
        alice
            .says(
                "#message",
                "You are logged in. Code 3 is spent, 9 codes left.",
            )
            .await;
    })
    .await;
}

/// Collects the texts below a node of the accessibility tree, in order.
fn heard(nodes: &[Value], node: &Value, texts: &mut Vec<String>) {
    if node["role"]["value"] == "StaticText" {
        texts.push(node["name"]["value"].as_str().unwrap().trim().to_owned());
        return;
    }
    for child in node["childIds"].as_array().into_iter().flatten() {
        let child = nodes.iter().find(|node| node["nodeId"] == *child);
        heard(nodes, child.unwrap(), texts);
    }
}

#[tokio::test]
async fn a_screen_reader_hears_each_number_with_its_code() {
    play("a sheet read aloud", async |stage| {
        let alice = stage.browser(Script::On).await;
        alice.log_in("alice").await;
        let codes = alice.sheet("alice").await;
        let tree = alice
            .chromium("Accessibility.getFullAXTree", json!({}))
            .await;
        let nodes = tree["nodes"].as_array().unwrap();
        let items = nodes
            .iter()
            .filter(|node| node["role"]["value"] == "listitem" && node["ignored"] == json!(false));
        let items: Vec<String> = items
            .map(|item| {
                let mut texts = Vec::new();
                heard(nodes, item, &mut texts);
                texts.join(" ")
            })
            .filter(|text| text != "Profile")
            .collect();
        let numbered = |(number, code): (usize, &String)| format!("{}. {code}", number + 1);
        let expected: Vec<String> = codes.iter().enumerate().map(numbered).collect();
        assert_eq!(items, expected);
    })
    .await;
}
