//! The application used with the keyboard alone, with the focus visible.

use std::collections::BTreeSet;

use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::browser::{Browser, DESKTOP, PHONE, Scheme, Size};
use crate::driver::{Script, play};
use crate::site::password;

/// Returns the focused element, and the faults in how its focus shows: WCAG 2.2, 2.4.7, 2.4.11 and,
/// for the colour of the outline, 1.4.11.
const FOCUS: &str = r"
const focused = document.activeElement;
const style = getComputedStyle(focused);
const rgb = (colour) => colour.match(/[\d.]+/g).map(Number);
const light = (colour) => {
  const [r, g, b] = rgb(colour).map((part) => {
    const share = part / 255;
    return share <= .04045 ? share / 12.92 : ((share + .055) / 1.055) ** 2.4;
  });
  return .2126 * r + .7152 * g + .0722 * b;
};
let around = focused.parentElement;
while (rgb(getComputedStyle(around).backgroundColor)[3] === 0) around = around.parentElement;
const lights = [light(style.outlineColor), light(getComputedStyle(around).backgroundColor)].sort();
const place = focused.getBoundingClientRect();
const middle = (from, to, end) => (Math.max(from, 0) + Math.min(to, end)) / 2;
const hit = document.elementFromPoint(
  middle(place.left, place.right, innerWidth), middle(place.top, place.bottom, innerHeight));
const faults = [];
// The parts of a date are the browser's own, and so is how they show.
if (!focused.matches(':focus')) return [[...document.querySelectorAll('*')].indexOf(focused), '', []];
if (style.outlineStyle !== 'solid' || parseFloat(style.outlineWidth) < 2) faults.push('no outline');
if ((Math.max(...lights) + .05) / (Math.min(...lights) + .05) < 3) faults.push('a faint outline');
if (!hit || !(focused.contains(hit) || hit.contains(focused))) faults.push('covered or out of sight');
const all = [...document.querySelectorAll('*')];
return [all.indexOf(focused), focused.outerHTML.slice(0, 120), faults];
";

impl Browser {
    /// Presses Tab, and returns the number and the beginning of the element that has the focus
    /// then.
    async fn tab(&self) -> (u64, String) {
        self.press(Key::Tab).await;
        let focus = self.run(FOCUS, Vec::new()).await;
        let element = focus[1].as_str().unwrap();
        assert_eq!(focus[2], json!([]), "{element}");
        (focus[0].as_u64().unwrap(), element.to_owned())
    }

    async fn has_focus(&self, css: &str) -> bool {
        let script = "return document.activeElement.matches(arguments[0]);";
        self.run(script, vec![json!(css)]).await == json!(true)
    }

    /// Presses Tab until this element has the focus.
    async fn tab_to(&self, css: &str) {
        let mut passed = Vec::new();
        while !self.has_focus(css).await {
            assert!(passed.len() < 30, "{css} is not reached: {passed:#?}");
            passed.push(self.tab().await.1);
        }
    }

    async fn types(&self, css: &str, text: &str) {
        self.tab_to(css).await;
        self.keys(None, text).await;
    }
}

#[tokio::test]
async fn the_main_path_needs_no_mouse() {
    play("the keyboard", async |stage| {
        let alice = stage.browser(Script::On).await;
        let log_in = async || {
            alice.types("#user", "alice").await;
            alice.types("#password", password("alice")).await;
            alice.tab_to("#login button").await;
            alice.press_on(Key::Enter).await;
        };
        alice.goto("/login").await;
        log_in().await;
        assert_eq!(alice.path().await, "/profile");

        // The first stop is the link that skips the head of the page.
        alice.tab().await;
        assert!(alice.has_focus(".skip").await);
        alice.press(Key::Enter).await;
        assert!(alice.has_focus("#main").await);
        assert_eq!(alice.fragment().await, "main");
        alice.tab().await;
        assert!(alice.has_focus("#prepare-password").await);

        alice.tab_to("a[href='/profile/backup-codes']").await;
        alice.press_on(Key::Enter).await;
        alice.types("#password", password("alice")).await;
        alice.tab_to("#generate button").await;
        alice.press_on(Key::Space).await;
        let codes = alice.texts("#codes code").await;
        alice.tab_to("#copy").await;
        alice.press(Key::Space).await;
        alice.becomes("#copy", "Copied").await;
        alice.tab_to("#print").await;
        alice.tab_to("#activate button").await;
        alice.press_on(Key::Enter).await;
        alice.says("#left", "10").await;
        alice.tab_to("#log-out").await;
        alice.press_on(Key::Space).await;
        assert_eq!(alice.path().await, "/login");

        log_in().await;
        alice.types("#code", &codes[0]).await;
        alice.press_on(Key::Enter).await;
        alice
            .says(
                "#message",
                "You are logged in. Code 1 is spent, 9 codes left.",
            )
            .await;
        alice.types("#code", &codes[1]).await;
        alice.tab_to("#check button").await;
        alice.press_on(Key::Space).await;
        alice.says("#message", "Code 2 is valid and unused.").await;
    })
    .await;
}

/// Fails unless Tab reaches every element that can be used, and leaves the page again.
async fn is_walked_through(browser: &Browser, path: &str, size: Size, scheme: Scheme) {
    const STOPS: &str = "
        const all = [...document.querySelectorAll('*')];
        const stops = 'a[href], button, input:not([type=hidden]), select, summary, [tabindex=\"0\"]';
        return all.flatMap((it, number) => it.matches(stops) && it.checkVisibility() ? [number] : []);";
    browser.window(size, scheme).await;
    browser.goto(path).await;
    let stops = browser.run(STOPS, Vec::new()).await;
    let stops: BTreeSet<u64> = stops
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_u64)
        .collect();
    let mut seen = BTreeSet::new();
    let (first, _) = browser.tab().await;
    let mut stop = first;
    loop {
        seen.insert(stop);
        browser.press(Key::Tab).await;
        // After the last element the focus goes to the browser itself.
        if browser.has_focus("body").await {
            break;
        }
        let focus = browser.run(FOCUS, Vec::new()).await;
        assert_eq!(focus[2], json!([]), "{path}: {}", focus[1]);
        stop = focus[0].as_u64().unwrap();
        if stop == first {
            break;
        }
    }
    assert_eq!(seen, stops, "{path}");
    browser.window(DESKTOP, Scheme::Light).await;
}

#[tokio::test]
async fn the_focus_comes_by_everything_and_shows() {
    play("the focus", async |stage| {
        stage.site.populate().await;
        let carol = stage.browser(Script::On).await;
        carol.log_in("carol").await;
        carol.active_sheet("carol").await;
        carol.sheet("carol").await;
        for path in ["/profile/backup-codes", "/audit"] {
            is_walked_through(&carol, path, DESKTOP, Scheme::Light).await;
        }
        let user = "/settings/backup-codes/users/elif";
        is_walked_through(&carol, user, PHONE, Scheme::Light).await;
        is_walked_through(&carol, "/settings/backup-codes", PHONE, Scheme::Dark).await;
    })
    .await;
}
