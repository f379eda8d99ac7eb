//! A browser and its steps, used as a user would.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fantoccini::actions::{InputSource as _, KeyAction, KeyActions, MouseActions, PointerAction};
use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::wd::{PrintConfiguration, WebDriverCompatibleCommand};
use fantoccini::{Client, Locator};
use serde_json::{Value, json};

/// A width and a height in CSS pixels.
pub(crate) type Size = (u32, u32);
pub(crate) const DESKTOP: Size = (1280, 900);
pub(crate) const PHONE: Size = (390, 844);
/// The narrowest screen that a page has to fit (WCAG 2.2, 1.4.10).
pub(crate) const NARROWEST: Size = (320, 640);

/// The colour scheme that the user prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

/// A browser, used as a user would. Every step waits for what it needs, and fails when that does
/// not come.
pub(crate) struct Browser {
    pub(crate) client: Client,
    pub(crate) origin: String,
    pub(crate) downloads: PathBuf,
}

/// A command of Chromium's own protocol.
#[derive(Debug)]
struct Chromium(&'static str, Value);

impl WebDriverCompatibleCommand for Chromium {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/goog/cdp/execute"))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        let body = json!({ "cmd": self.0, "params": self.1 });
        (http::Method::POST, Some(body.to_string()))
    }
}

/// Asks until there is an answer, for a minute at most.
pub(crate) async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..3000 {
        if let Some(answer) = ask().await {
            return answer;
        }
        ticks.tick().await;
    }
    panic!("waited in vain: {what}");
}

impl Browser {
    pub(crate) async fn chromium(&self, command: &'static str, parameters: Value) -> Value {
        let command = Chromium(command, parameters);
        self.client.issue_cmd(command).await.unwrap()
    }

    pub(crate) async fn window(&self, (width, height): Size, scheme: Scheme) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.chromium("Emulation.setDeviceMetricsOverride", size)
            .await;
        self.medium("screen", scheme).await;
    }

    pub(crate) async fn medium(&self, medium: &str, scheme: Scheme) {
        let value = if scheme == Scheme::Dark {
            "dark"
        } else {
            "light"
        };
        let features = [json!({ "name": "prefers-color-scheme", "value": value })];
        let media = json!({ "media": medium, "features": features });
        self.chromium("Emulation.setEmulatedMedia", media).await;
    }

    pub(crate) async fn goto(&self, path: &str) {
        let address = format!("{}{path}", self.origin);
        self.client.goto(&address).await.unwrap();
    }

    pub(crate) async fn path(&self) -> String {
        let url = self.client.current_url().await.unwrap();
        url.path().to_owned()
    }

    /// Returns the fragment of the address.
    pub(crate) async fn fragment(&self) -> String {
        let url = self.client.current_url().await.unwrap();
        url.fragment().unwrap_or_default().to_owned()
    }

    pub(crate) async fn element(&self, css: &str) -> Element {
        let found = self.client.wait().for_element(Locator::Css(css)).await;
        found.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    async fn all(&self, css: &str) -> Vec<Element> {
        self.client.find_all(Locator::Css(css)).await.unwrap()
    }

    pub(crate) async fn count(&self, css: &str) -> usize {
        self.all(css).await.len()
    }

    /// Returns whether the element exists and is visible.
    pub(crate) async fn shows(&self, css: &str) -> bool {
        for element in self.all(css).await {
            if element.is_displayed().await.unwrap() {
                return true;
            }
        }
        false
    }

    pub(crate) async fn text(&self, css: &str) -> String {
        self.element(css).await.text().await.unwrap()
    }

    pub(crate) async fn texts(&self, css: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for element in self.all(css).await {
            texts.push(element.text().await.unwrap());
        }
        texts
    }

    pub(crate) async fn value(&self, css: &str) -> String {
        let value = self.element(css).await.prop("value").await.unwrap();
        value.unwrap_or_default()
    }

    pub(crate) async fn ticked(&self, css: &str) -> bool {
        self.element(css).await.is_selected().await.unwrap()
    }

    pub(crate) async fn click(&self, css: &str) {
        let clicked = self.element(css).await.click().await;
        clicked.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let field = self.element(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Clicks, and waits for the page it leads to.
    pub(crate) async fn follow(&self, css: &str) {
        self.leads_on(css, self.click(css)).await;
    }

    /// Does a step, and waits for the page it leads to.
    pub(crate) async fn leads_on(&self, what: &str, step: impl Future<Output = ()>) {
        let page = self.element("html").await;
        step.await;
        until(&format!("a page after {what}"), async || {
            page.tag_name().await.err()
        })
        .await;
        self.element("#main").await;
    }

    /// Presses keys one after the other, while `held` is down.
    pub(crate) async fn keys(&self, held: Option<Key>, keys: &str) {
        let mut actions = KeyActions::new("keys".to_owned());
        let held = held.map(char::from);
        if let Some(value) = held {
            actions = actions.then(KeyAction::Down { value });
        }
        for value in keys.chars() {
            actions = actions.then(KeyAction::Down { value });
            actions = actions.then(KeyAction::Up { value });
        }
        if let Some(value) = held {
            actions = actions.then(KeyAction::Up { value });
        }
        self.client.perform_actions(actions).await.unwrap();
    }

    pub(crate) async fn press(&self, key: Key) {
        self.keys(None, &char::from(key).to_string()).await;
    }

    /// Presses the key on the focused element, and waits for the page it leads to.
    pub(crate) async fn press_on(&self, key: Key) {
        self.leads_on("a key", self.press(key)).await;
    }

    /// Drags the mouse, with its button down, from one place of the window to another.
    pub(crate) async fn drag(&self, from: (f64, f64), to: (f64, f64)) {
        let to_place = |(x, y)| PointerAction::MoveTo {
            duration: None,
            x,
            y,
        };
        let button = fantoccini::actions::MOUSE_BUTTON_LEFT;
        let drag = MouseActions::new("mouse".to_owned())
            .then(to_place(from))
            .then(PointerAction::Down { button })
            .then(to_place(to))
            .then(PointerAction::Up { button });
        self.client.perform_actions(drag).await.unwrap();
    }

    /// Fails unless this is the whole text of the element.
    pub(crate) async fn says(&self, css: &str, text: &str) {
        assert_eq!(self.text(css).await, text, "{css}");
    }

    /// Waits for the element to have this text.
    pub(crate) async fn becomes(&self, css: &str, text: &str) {
        until(&format!("{css} says {text}"), async || {
            let element = self.client.find(Locator::Css(css)).await.ok()?;
            element.text().await.ok().filter(|it| it == text)
        })
        .await;
    }

    /// Returns the number of pages of paper that this page takes.
    pub(crate) async fn printed_pages(&self) -> usize {
        let pdf = self.client.print(PrintConfiguration::default()).await;
        let pdf = String::from_utf8_lossy(&pdf.unwrap()).into_owned();
        pdf.matches("/Type /Page\n").count()
    }

    pub(crate) async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.client.execute(script, arguments).await.unwrap()
    }

    pub(crate) async fn run_async(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.client.execute_async(script, arguments).await.unwrap()
    }

    /// Waits for the question that the browser asks before it leaves a page.
    pub(crate) async fn asked(&self) {
        until("a question", async || {
            self.client.get_alert_text().await.ok()
        })
        .await;
    }

    /// Returns the content of the file of this name, once it is saved, and removes the file.
    pub(crate) async fn download(&self, name: &str) -> String {
        let file = self.downloads.join(name);
        // Chromium writes under another name, and may reserve this one with an empty file. So the
        // download is complete when its file is alone in the folder and not empty.
        let text = until(name, async || {
            let alone = fs::read_dir(&self.downloads).unwrap().count() == 1;
            let text = fs::read_to_string(&file).ok()?;
            (alone && !text.is_empty()).then_some(text)
        })
        .await;
        fs::remove_file(file).unwrap();
        text
    }

    /// Takes a picture of the top of the page, for the README.
    pub(crate) async fn picture(&self, name: &str, size: Size) {
        let Some(folder) = env::var_os("BACKUP_CODES_SCREENSHOTS") else {
            return;
        };
        self.window(size, Scheme::Light).await;
        self.run("scrollTo(0, 0); document.activeElement.blur()", Vec::new())
            .await;
        let png = self.client.screenshot().await.unwrap();
        fs::write(Path::new(&folder).join(name), png).unwrap();
        self.window(DESKTOP, Scheme::Light).await;
    }

    pub(crate) async fn log_in(&self, user: &str) {
        self.goto("/login").await;
        self.password(user, crate::site::password(user)).await;
    }

    pub(crate) async fn log_out(&self) {
        self.follow("#log-out").await;
        assert_eq!(self.path().await, "/login");
    }

    pub(crate) async fn password(&self, user: &str, password: &str) {
        self.fill("#user", user).await;
        self.fill("#password", password).await;
        self.follow("#login button").await;
    }

    pub(crate) async fn code(&self, typed: &str) {
        self.fill("#code", typed).await;
        self.follow("#login-code button").await;
    }

    /// Generates codes, and returns those on the page.
    pub(crate) async fn sheet(&self, user: &str) -> Vec<String> {
        self.goto("/profile/backup-codes").await;
        self.fill("#password", crate::site::password(user)).await;
        self.follow("#generate button").await;
        self.texts("#codes code").await
    }

    pub(crate) async fn active_sheet(&self, user: &str) -> Vec<String> {
        let codes = self.sheet(user).await;
        self.follow("#activate button").await;
        codes
    }
}
