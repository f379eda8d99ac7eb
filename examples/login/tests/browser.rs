//! The program, once through in Chromium.
//!
//! Without a browser it prints that it is skipped. With `BACKUP_CODES_BROWSER=required` a missing one
//! is a failure.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::env;
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

#[tokio::test]
async fn a_sheet_is_made_confirmed_and_used() {
    let (chromium, chromedriver, axe) = match tools() {
        Ok(tools) => tools,
        Err(why) => {
            let required = env::var_os("BACKUP_CODES_BROWSER").is_some_and(|it| it == "required");
            assert!(!required, "{why}");
            // Past the capture of a passing test's output.
            writeln!(std::io::stderr(), "skipped: {why}").unwrap();
            return;
        }
    };
    let folder = TempDir::new().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_backup-codes-login"));
    program
        .env("BACKUP_CODES_DB", folder.path().join("login.db"))
        .env("BACKUP_CODES_LISTEN", "127.0.0.1:0");
    let (_program, port) = start(&mut program, "http://localhost:").await;
    let mut driver = Command::new(chromedriver);
    let (_driver, driver_port) = start(driver.arg("--port=0"), "successfully on port ").await;

    let profile = format!(
        "--user-data-dir={}",
        folder.path().join("profile").display()
    );
    let capabilities = json!({ "goog:chromeOptions": {
        "binary": chromium,
        "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--disable-background-networking", "--no-first-run", profile],
        "prefs": {
            // Chromium warns of passwords known to everybody, as those here are.
            "profile.password_manager_leak_detection": false,
            "credentials_enable_service": false,
        },
    } });
    let Value::Object(capabilities) = capabilities else {
        unreachable!()
    };
    let client = ClientBuilder::new(HttpConnector::new())
        .capabilities(Capabilities::from_iter(capabilities))
        .connect(&format!("http://localhost:{driver_port}"))
        .await
        .unwrap();
    let axe = std::fs::read_to_string(axe).unwrap();
    let origin = format!("http://localhost:{port}");
    let browser = Browser {
        client,
        axe,
        origin,
    };
    let outcome = AssertUnwindSafe(walk(&browser)).catch_unwind().await;
    browser.client.close().await.unwrap();
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

async fn walk(alice: &Browser) {
    alice.client.goto(&alice.origin).await.unwrap();
    alice.shows("Sign in", "Sign in · Example").await;
    alice.fill("#user", "alice").await;
    alice.fill("#password", "wrong").await;
    alice.follow("#login button").await;
    alice.shows("Sign in", "Error: Sign in · Example").await;
    alice
        .says("#error", "The user name or the password is wrong.")
        .await;
    alice.password().await;
    alice.shows("Profile", "Profile · Example").await;

    alice
        .fill("#password", "correct horse battery staple")
        .await;
    alice.follow("#prepare button").await;
    let title = "Your new backup codes · Example";
    alice.shows("Your new backup codes", title).await;
    let mut codes = Vec::new();
    for code in alice
        .client
        .find_all(Locator::Css("#codes code"))
        .await
        .unwrap()
    {
        codes.push(code.text().await.unwrap());
    }
    assert_eq!(codes.len(), 10);
    alice.follow("#activate button").await;
    let active = "Your new backup codes are active. Older ones are invalid.";
    alice.says("#message", active).await;
    // Back on the page of the codes, the browser does not show them again.
    alice.client.back().await.unwrap();
    let page = alice.client.source().await.unwrap();
    assert!(!codes.iter().any(|code| page.contains(code)), "{page}");
    alice.client.goto(&alice.origin).await.unwrap();
    alice.follow("#log-out").await;

    alice.password().await;
    let title = "Two-factor authentication · Example";
    alice.shows("Two-factor authentication", title).await;
    alice.fill("#code", "1234").await;
    alice.follow("#login-code button").await;
    let title = "Error: Two-factor authentication · Example";
    alice.shows("Two-factor authentication", title).await;
    alice.fill("#code", &codes[4].to_lowercase()).await;
    alice.follow("#login-code button").await;
    alice
        .says("#message", "You are signed in. Codes left: 9.")
        .await;
    alice.shows("Profile", "Profile · Example").await;
    let nowhere = format!("{}/nowhere", alice.origin);
    alice.client.goto(&nowhere).await.unwrap();
    alice.shows("Not Found", "Not Found · Example").await;
}

struct Browser {
    client: Client,
    axe: String,
    origin: String,
}

impl Browser {
    async fn password(&self) {
        self.fill("#user", "alice").await;
        self.fill("#password", "correct horse battery staple").await;
        self.follow("#login button").await;
    }

    async fn fill(&self, css: &str, text: &str) {
        let field = self.client.find(Locator::Css(css)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Clicks, and waits for the page it leads to.
    async fn follow(&self, css: &str) {
        let page = self.client.find(Locator::Css("html")).await.unwrap();
        let button = self.client.find(Locator::Css(css)).await.unwrap();
        button.click().await.unwrap();
        // The old page is gone when its root cannot be asked any more.
        while page.tag_name().await.is_ok() {
            tokio::task::yield_now().await;
        }
        let main = self.client.wait().for_element(Locator::Css("#main")).await;
        main.unwrap();
    }

    async fn says(&self, css: &str, text: &str) {
        let element = self.client.find(Locator::Css(css)).await.unwrap();
        assert_eq!(element.text().await.unwrap(), text, "{css}");
    }

    /// The page with this heading and title, and nothing that axe-core finds on it.
    async fn shows(&self, heading: &str, title: &str) {
        self.says("h1", heading).await;
        assert_eq!(self.client.title().await.unwrap(), title);
        let run = "const done = arguments[arguments.length - 1]; axe.run().then((found) => \
                   done(found.violations.map((it) => it.id + ': ' + it.help)), (error) => \
                   done([String(error)]));";
        self.client.execute(&self.axe, Vec::new()).await.unwrap();
        let violations = self.client.execute_async(run, Vec::new()).await.unwrap();
        assert_eq!(violations, json!([]), "{title}");
    }
}

/// What the test needs beside a Rust toolchain.
fn tools() -> Result<(PathBuf, PathBuf, PathBuf), String> {
    let program = |name: &str| {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
            .ok_or_else(|| format!("there is no {name}"))
    };
    let axe = "../web/browser-tests/node_modules/axe-core/axe.min.js";
    let axe = Path::new(env!("CARGO_MANIFEST_DIR")).join(axe);
    if !axe.is_file() {
        return Err("there is no axe-core: npm install in examples/web/browser-tests".to_owned());
    }
    Ok((program("chromium")?, program("chromedriver")?, axe))
}

/// Starts a program on a free port, which it prints.
async fn start(program: &mut Command, before: &str) -> (Child, u16) {
    let mut child = program
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, port)) = line.split_once(before) {
            let port = port.trim_end_matches('.').parse().unwrap();
            // Without a reader the program's next line would end it.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (child, port);
        }
    }
    panic!("it names no port");
}
