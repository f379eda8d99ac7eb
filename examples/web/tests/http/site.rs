//! The application, in this process, under a clock that stands until a test moves it; and a browser.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use backup_codes::Timestamp;
use backup_codes::hash::Cost;
use backup_codes::testing::hashing;
use backup_codes_web::{App, Clock, DEMO_USERS, Options, router};
use http_body_util::BodyExt as _;
use sqlx::SqlitePool;
use tempfile::TempDir;
use tower::ServiceExt as _;

pub(crate) const CODES: &str = "/profile/backup-codes";
pub(crate) const SETTINGS: &str = "/settings/backup-codes";

/// 24 November 2026, 10:00 UTC, in milliseconds.
const START: i64 = 1_795_514_400_000;

/// A running application.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) app: Arc<App>,
    router: Router,
    clock: Arc<AtomicI64>,
}

pub(crate) fn options(folder: &TempDir) -> Options {
    Options {
        code_hashing: |params, _| Ok(hashing(params)),
        password_cost: Cost::LEAST,
        trusted_proxies: BTreeSet::from(["10.0.0.1".parse().unwrap()]),
        ..Options::new(folder.path().join("web.db"))
    }
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        Self::start(TempDir::new().unwrap(), change).await
    }

    pub(crate) async fn start(folder: TempDir, change: impl FnOnce(&mut Options)) -> Self {
        log();
        let clock = Arc::new(AtomicI64::new(START));
        let mut options = options(&folder);
        let hand = Arc::clone(&clock);
        options.clock = Clock::new(move || at(hand.load(Ordering::Relaxed)));
        change(&mut options);
        let app = Arc::new(App::open(options).await.unwrap());
        Self {
            folder,
            router: router(Arc::clone(&app)),
            app,
            clock,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        at(self.clock.load(Ordering::Relaxed))
    }

    /// Sets the clock to this moment, in milliseconds.
    pub(crate) fn set_clock(&self, millis: i64) {
        self.clock.store(millis, Ordering::Relaxed);
    }

    /// Lets so much time pass.
    pub(crate) fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap();
        self.clock.fetch_add(millis, Ordering::Relaxed);
    }

    /// Lets so much time pass, while the settings are read.
    pub(crate) async fn wait(&self, time: Duration) {
        self.pass(time);
        // As its schedule does every ten seconds.
        self.app.refresh_settings().await.unwrap();
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser {
            router: self.router.clone(),
            cookie: None,
            headers: vec![("sec-fetch-site", "same-origin".to_owned())],
            peer: "203.0.113.7:50000".parse().unwrap(),
            seen: Vec::new(),
        }
    }

    /// A browser in which this user has logged in by the password alone.
    pub(crate) async fn signed_in(&self, user: &str) -> Browser {
        let mut browser = self.browser();
        let page = browser.password(user).await;
        assert_eq!(page.location(), "/profile", "{user}");
        browser
    }

    /// Sets the clock back.
    pub(crate) fn set_back(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap();
        self.clock.fetch_sub(millis, Ordering::Relaxed);
    }

    /// Another connection to the same database.
    pub(crate) async fn database(&self) -> SqlitePool {
        let file = self.folder.path().join("web.db");
        SqlitePool::connect(file.to_str().unwrap()).await.unwrap()
    }

    pub(crate) async fn sql(&self, sql: &'static str) {
        sqlx::query(sql)
            .execute(&self.database().await)
            .await
            .unwrap();
    }

    /// Everything the database holds, log and all.
    pub(crate) fn stored(&self) -> String {
        let files = fs::read_dir(self.folder.path()).unwrap();
        let read = |file: std::io::Result<fs::DirEntry>| fs::read(file.unwrap().path()).unwrap();
        String::from_utf8_lossy(&files.flat_map(read).collect::<Vec<u8>>()).into_owned()
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).unwrap()
}

pub(crate) fn password(user: &str) -> &'static str {
    DEMO_USERS
        .iter()
        .find(|demo| demo.id == user)
        .unwrap()
        .password
}

/// Keeps one cookie, as a browser does.
#[derive(Clone)]
pub(crate) struct Browser {
    router: Router,
    pub(crate) cookie: Option<String>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) peer: SocketAddr,
    /// Headers of every answer.
    pub(crate) seen: Vec<HeaderMap>,
}

pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Browser {
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        kind: &str,
        body: String,
    ) -> Page {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, kind);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let mut request = request.body(Body::from(body)).unwrap();
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let mut cookies = parts.headers.get_all(header::SET_COOKIE).iter();
        if let Some(cookie) = cookies.next() {
            assert_eq!(cookies.next(), None, "{path} sets a second cookie");
            let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
            let (_, value) = cookie.split_once('=').unwrap();
            self.cookie = Some(cookie.to_owned()).filter(|_| !value.is_empty());
        }
        self.seen.push(parts.headers.clone());
        let body = body.collect().await.unwrap().to_bytes();
        Page {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Page {
        self.send(Method::GET, path, "", String::new()).await
    }

    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let kind = "application/x-www-form-urlencoded";
        self.send(Method::POST, path, kind, encoded(fields)).await
    }

    /// Posts a form and goes where its answer leads.
    pub(crate) async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let page = self.post(path, fields).await;
        self.get(&page.location()).await
    }

    pub(crate) async fn password(&mut self, user: &str) -> Page {
        let fields = [("user", user), ("password", password(user))];
        self.post("/login", &fields).await
    }

    /// Makes a sheet and shows it.
    pub(crate) async fn sheet(&mut self, user: &str) -> Sheet {
        let path = format!("{CODES}/prepare");
        let page = self.post(&path, &[("password", password(user))]).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        Sheet::of(page)
    }

    /// Makes a sheet and confirms it.
    pub(crate) async fn active_sheet(&mut self, user: &str) -> Sheet {
        let sheet = self.sheet(user).await;
        let page = self.activate(&sheet).await;
        assert!(page.says("is active now"), "{}", page.body);
        sheet
    }

    pub(crate) async fn activate(&mut self, sheet: &Sheet) -> Page {
        let path = format!("{CODES}/activate");
        self.submit(&path, &[("set", &sheet.set)]).await
    }

    pub(crate) async fn settings(&mut self, based_on: &str, more: &[(&str, &str)]) -> Page {
        let mut fields = vec![("based_on", based_on), ("low_threshold", "3")];
        fields.extend(more);
        self.post(SETTINGS, &fields).await
    }
}

impl Page {
    pub(crate) fn location(&self) -> String {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.body);
        self.headers[header::LOCATION].to_str().unwrap().to_owned()
    }

    pub(crate) fn says(&self, text: &str) -> bool {
        self.body.contains(text)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The text between two others.
    pub(crate) fn between(&self, start: &str, end: &str) -> &str {
        let Some((_, rest)) = self.body.split_once(start) else {
            panic!("no {start} in {}", self.body)
        };
        rest.split(end).next().unwrap()
    }

    /// The text of the element with this id.
    pub(crate) fn text(&self, id: &str) -> &str {
        let element = self.between(&format!("id=\"{id}\""), "</");
        element.split_once('>').unwrap().1.trim()
    }
}

pub(crate) struct Sheet {
    pub(crate) set: String,
    pub(crate) codes: Vec<String>,
    pub(crate) page: Page,
}

impl Sheet {
    pub(crate) fn of(page: Page) -> Self {
        let codes = page.body.split("<code>").skip(1);
        let codes = codes.map(|rest| rest.split('<').next().unwrap().to_owned());
        Self {
            set: page.between("name=\"set\" value=\"", "\"").to_owned(),
            codes: codes.collect(),
            page,
        }
    }
}

pub(crate) fn encoded(fields: &[(&str, &str)]) -> String {
    let mut form = String::new();
    for (name, value) in fields {
        for (text, after) in [(name, '='), (value, '&')] {
            for byte in text.bytes() {
                form += &format!("%{byte:02x}");
            }
            form.push(after);
        }
    }
    form.pop();
    form
}

/// Every address that shows something, for somebody signed in.
pub(crate) const PAGES: [&str; 7] = [
    "/profile",
    CODES,
    SETTINGS,
    "/settings/backup-codes/users/bob",
    "/audit",
    "/audit.csv",
    "/audit.jsonl",
];

/// Every form for somebody signed in, with its fields.
pub(crate) const FORMS: [(&str, &[&str]); 15] = [
    ("/profile/authenticator/prepare", &["password"]),
    ("/profile/authenticator/activate", &["code"]),
    ("/profile/authenticator/remove", &["password"]),
    ("/profile/backup-codes/prepare", &["password"]),
    ("/profile/backup-codes/download", &["set", "text"]),
    ("/profile/backup-codes/activate", &["set"]),
    ("/profile/backup-codes/discard", &["set"]),
    ("/profile/backup-codes/revoke", &["password"]),
    ("/profile/backup-codes/check", &["code"]),
    (
        SETTINGS,
        &["role", "low_threshold", "based_on", "do", "switch"],
    ),
    ("/settings/backup-codes/users/bob/revoke", &["sure"]),
    ("/settings/backup-codes/users/bob/unlock", &[]),
    ("/settings/backup-codes/users/bob/override", &["minutes"]),
    ("/settings/backup-codes/users/bob/override/revoke", &[]),
    ("/login", &["user", "password"]),
];

/// Every form that is not for somebody signed in alone.
pub(crate) const OTHER_FORMS: [(&str, &[&str]); 3] = [
    ("/login/code", &["code"]),
    ("/login/authenticator", &["code"]),
    ("/logout", &[]),
];

pub(crate) fn filled<'a>(fields: &[&'a str], value: &'a str) -> Vec<(&'a str, &'a str)> {
    fields.iter().map(|field| (*field, value)).collect()
}

/// Collects what is logged.
#[derive(Clone)]
pub(crate) struct Log(pub(crate) Arc<Mutex<Vec<u8>>>);

/// What all tests here have logged. Codes are found in it wherever they are from.
pub(crate) fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log(Arc::default());
        let sink = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || sink.clone())
            .init();
        log
    })
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
