//! Chromium, driven by chromedriver.

use std::cell::RefCell;
use std::env;
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::wd::{Capabilities, PrintConfiguration, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use futures_util::FutureExt as _;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::site::Site;

/// Whether pages may run scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    On,
    Off,
}

/// What the tests need beside a Rust toolchain.
struct Tools {
    chromium: PathBuf,
    chromedriver: PathBuf,
}

fn program(name: &str) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("there is no {name}"))
}

fn axe_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node_modules/axe-core/axe.min.js")
}

fn tools() -> Result<Tools, String> {
    if !axe_file().is_file() {
        return Err("there is no axe-core: npm install in examples/web/browser-tests".to_owned());
    }
    Ok(Tools {
        chromium: program("chromium")?,
        chromedriver: program("chromedriver")?,
    })
}

/// The application with a driver for any number of browsers.
pub(crate) struct Stage {
    pub(crate) site: Site,
    tools: Tools,
    address: String,
    folder: TempDir,
    open: RefCell<Vec<Client>>,
}

/// Plays a test on a stage of its own, and closes its browsers whatever comes of it. Says that it
/// is skipped where there is no browser.
pub(crate) async fn play(name: &str, test: impl AsyncFnOnce(&Stage)) {
    let tools = match tools() {
        Ok(tools) => tools,
        Err(why) => {
            let required = env::var_os("BACKUP_CODES_BROWSER").is_some_and(|it| it == "required");
            assert!(!required, "{why}");
            // Past the capture of a passing test's output.
            let mut stderr = std::io::stderr();
            writeln!(stderr, "skipped: {name}: {why}").unwrap();
            return;
        }
    };
    let (_driver, address) = start(&tools.chromedriver).await;
    let stage = Stage {
        site: Site::start().await,
        tools,
        address,
        folder: TempDir::new().unwrap(),
        open: RefCell::default(),
    };
    let outcome = AssertUnwindSafe(test(&stage)).catch_unwind().await;
    for client in stage.open.take() {
        if outcome.is_err() {
            let page = client.find(Locator::Css("body")).await;
            let text = match &page {
                Ok(page) => page.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            let url = client.current_url().await.map(|url| url.to_string());
            println!("{}\n{text}\n", url.unwrap_or_default());
        }
        client.close().await.unwrap();
    }
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// Starts chromedriver on a free port, which it prints.
async fn start(chromedriver: &Path) -> (Child, String) {
    let mut driver = Command::new(chromedriver)
        .arg("--port=0")
        .env("LANGUAGE", "en-US")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, port)) = line.split_once("successfully on port ") {
            let address = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
            // Without a reader the driver's next line would end it.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (driver, address);
        }
    }
    panic!("chromedriver names no port");
}

impl Stage {
    /// A new browser, with a profile of its own.
    pub(crate) async fn browser(&self, script: Script) -> Browser {
        let folder = self
            .folder
            .path()
            .join(self.open.borrow().len().to_string());
        let downloads = folder.join("downloads");
        fs::create_dir_all(&downloads).unwrap();
        let javascript = if script == Script::On { 1 } else { 2 };
        let capabilities = json!({
            // The question before unsaved changes are left is answered by the test. Without the
            // second line chromedriver says yes by itself.
            "unhandledPromptBehavior": { "beforeUnload": "ignore" },
            "webSocketUrl": true,
            "goog:chromeOptions": {
                "binary": self.tools.chromium,
                "args": [
                    "--headless=new",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-quic",
                    "--disable-sync",
                    "--disable-dev-shm-usage",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--no-first-run",
                    "--hide-scrollbars",
                    "--lang=en-US",
                    format!("--user-data-dir={}", folder.join("profile").display()),
                ],
                "prefs": {
                    "download.default_directory": downloads,
                    "profile.managed_default_content_settings.javascript": javascript,
                    // Chromium warns of passwords known to everybody, which are all there are here.
                    "profile.password_manager_leak_detection": false,
                    "credentials_enable_service": false,
                },
            },
        });
        let Value::Object(capabilities) = capabilities else {
            unreachable!()
        };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(Capabilities::from_iter(capabilities))
            .connect(&self.address)
            .await
            .unwrap();
        self.open.borrow_mut().push(client.clone());
        let browser = Browser {
            client,
            origin: self.site.origin(),
            downloads,
        };
        browser.window(DESKTOP, Scheme::Light).await;
        browser
    }
}

/// CSS pixels.
pub(crate) type Size = (u32, u32);
pub(crate) const DESKTOP: Size = (1280, 900);
pub(crate) const PHONE: Size = (390, 844);
/// WCAG 2.2, 1.4.10.
pub(crate) const NARROWEST: Size = (320, 640);

/// What the user prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

/// A browser as somebody uses it. Every step waits for what it needs, and fails when it does not
/// come.
pub(crate) struct Browser {
    pub(crate) client: Client,
    origin: String,
    downloads: PathBuf,
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

/// Asks until there is an answer, for a minute at the most.
async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
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

    /// Whether it is there and can be seen.
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
        let page = self.element("html").await;
        self.click(css).await;
        until(&format!("a page after {css}"), async || {
            page.tag_name().await.err()
        })
        .await;
        self.element("#main").await;
    }

    /// Fails unless this is all that the element says.
    pub(crate) async fn says(&self, css: &str, text: &str) {
        assert_eq!(self.text(css).await, text, "{css}");
    }

    /// Waits for the element to say this.
    pub(crate) async fn becomes(&self, css: &str, text: &str) {
        until(&format!("{css} says {text}"), async || {
            let element = self.client.find(Locator::Css(css)).await.ok()?;
            element.text().await.ok().filter(|it| it == text)
        })
        .await;
    }

    /// How many pages of paper this page takes.
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

    /// The question that the browser asks before it leaves a page.
    pub(crate) async fn asked(&self) {
        until("a question", async || {
            self.client.get_alert_text().await.ok()
        })
        .await;
    }

    /// What is in the file of this name, once it was saved; then removes it.
    pub(crate) async fn download(&self, name: &str) -> String {
        let file = self.downloads.join(name);
        // A file on its way has another name.
        let text = until(name, async || fs::read_to_string(&file).ok()).await;
        fs::remove_file(file).unwrap();
        text
    }

    /// Fails unless axe-core finds nothing on this page, in light and dark, on a phone and a
    /// desktop, and nothing is to be scrolled sideways on the narrowest screen.
    pub(crate) async fn is_accessible(&self, page: &str) {
        self.run(&fs::read_to_string(axe_file()).unwrap(), Vec::new())
            .await;
        for scheme in [Scheme::Light, Scheme::Dark] {
            for size in [DESKTOP, PHONE] {
                self.window(size, scheme).await;
                let found = self.run_async(AXE, Vec::new()).await;
                assert_eq!(found, json!([]), "{page}, {scheme:?}, {size:?}: {found:#}");
            }
        }
        self.window(NARROWEST, Scheme::Light).await;
        let root = "const root = document.documentElement; \
                    return [root.scrollWidth, root.clientWidth];";
        let widths = self.run(root, Vec::new()).await;
        assert_eq!(widths, json!([NARROWEST.0, NARROWEST.0]), "{page}");
        self.window(DESKTOP, Scheme::Light).await;
    }

    /// A picture of the page's beginning, for the README.
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

    pub(crate) async fn password(&self, user: &str, password: &str) {
        self.fill("#user", user).await;
        self.fill("#password", password).await;
        self.follow("#login button").await;
    }

    pub(crate) async fn code(&self, typed: &str) {
        self.fill("#code", typed).await;
        self.follow("#login-code button").await;
    }

    /// Generates codes, which are on the page then.
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

const AXE: &str = r#"
const done = arguments[arguments.length - 1];
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
axe.run(document, { runOnly: tags, resultTypes: ["violations"] }).then(
  (results) => done(results.violations.map((violation) => ({
    rule: violation.id,
    help: violation.help,
    nodes: violation.nodes.map((node) => node.html + " " + node.failureSummary),
  }))),
  (error) => done([String(error)]),
);
"#;
