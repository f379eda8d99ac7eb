//! Chromium, driven by chromedriver.

use std::cell::RefCell;
use std::env;
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use futures_util::FutureExt as _;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::browser::{Browser, DESKTOP, Scheme};
use crate::site::Site;

/// The setting of the browser for scripts in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    On,
    Off,
}

/// The tools that the tests need besides a Rust toolchain.
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

/// Returns the path at which `npm install` puts axe-core.
pub(crate) fn axe_file() -> PathBuf {
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

/// Runs a test on a stage of its own, and closes its browsers, even if the test fails. Without a
/// browser the test is skipped, and a line says so.
pub(crate) async fn play(name: &str, test: impl AsyncFnOnce(&Stage)) {
    let tools = match tools() {
        Ok(tools) => tools,
        Err(why) => {
            let required = env::var_os("BACKUP_CODES_BROWSER").is_some_and(|it| it == "required");
            assert!(!required, "{why}");
            // Written directly, because the output of a passing test is captured.
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
            // Without a reader, chromedriver would end at its next line of output.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (driver, address);
        }
    }
    panic!("chromedriver names no port");
}

impl Stage {
    /// Starts a new browser, with a profile of its own.
    pub(crate) async fn browser(&self, script: Script) -> Browser {
        let folder = self
            .folder
            .path()
            .join(self.open.borrow().len().to_string());
        let downloads = folder.join("downloads");
        fs::create_dir_all(&downloads).unwrap();
        let javascript = if script == Script::On { 1 } else { 2 };
        let capabilities = json!({
            // The test answers the question before unsaved changes are left. Without the second
            // line chromedriver answers yes by itself.
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
                    // Chromium warns of passwords that are publicly known, as those of the demo
                    // users are.
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
