//! The pages as a browser without script uses them, in process.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use backup_codes::{
    Cost, Expected, OnRoleLoss, PermittedRoles, PoolSize, PutOutcome, Revision, Role,
    SettingsStore as _,
};
use backup_codes_sqlx::SqliteStore;
use backup_codes_web::{App, Cookies, DEMO_USERS, Options, router};
use http_body_util::BodyExt as _;
use sqlx::SqlitePool;
use tempfile::TempDir;
use tokio::task::JoinSet;
use totp_rs::{Builder, Secret};
use tower::ServiceExt as _;

const CODES: &str = "/profile/backup-codes";
const SETTINGS: &str = "/settings/backup-codes";

/// A running application.
struct Site {
    folder: TempDir,
    router: Router,
}

fn options(folder: &TempDir) -> Options {
    Options {
        code_cost: Cost::MIB_12,
        password_cost: Cost::LEAST,
        trusted_proxies: BTreeSet::from(["10.0.0.1".parse().unwrap()]),
        ..Options::new(folder.path().join("web.db"))
    }
}

impl Site {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Options)) -> Self {
        Self::start(TempDir::new().unwrap(), change).await
    }

    async fn start(folder: TempDir, change: impl FnOnce(&mut Options)) -> Self {
        log();
        let mut options = options(&folder);
        change(&mut options);
        let router = router(Arc::new(App::open(options).await.unwrap()));
        Self { folder, router }
    }

    fn browser(&self) -> Browser {
        Browser {
            router: self.router.clone(),
            cookie: None,
            headers: vec![("sec-fetch-site", "same-origin".to_owned())],
            peer: "203.0.113.7:50000".parse().unwrap(),
            seen: Vec::new(),
        }
    }

    /// A browser in which this user has logged in by the password alone.
    async fn signed_in(&self, user: &str) -> Browser {
        let mut browser = self.browser();
        let page = browser.password(user).await;
        assert_eq!(page.location(), "/profile", "{user}");
        browser
    }

    async fn sql(&self, sql: &'static str) {
        let file = self.folder.path().join("web.db");
        let pool = SqlitePool::connect(file.to_str().unwrap()).await.unwrap();
        sqlx::query(sql).execute(&pool).await.unwrap();
    }

    /// Everything the database holds, log and all.
    fn stored(&self) -> String {
        let files = fs::read_dir(self.folder.path()).unwrap();
        let read = |file: std::io::Result<fs::DirEntry>| fs::read(file.unwrap().path()).unwrap();
        String::from_utf8_lossy(&files.flat_map(read).collect::<Vec<u8>>()).into_owned()
    }
}

fn password(user: &str) -> &'static str {
    DEMO_USERS
        .iter()
        .find(|demo| demo.id == user)
        .unwrap()
        .password
}

/// Keeps one cookie, as a browser does.
#[derive(Clone)]
struct Browser {
    router: Router,
    cookie: Option<String>,
    headers: Vec<(&'static str, String)>,
    peer: SocketAddr,
    /// Headers of every answer.
    seen: Vec<HeaderMap>,
}

struct Page {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Browser {
    async fn send(&mut self, method: Method, path: &str, kind: &str, body: String) -> Page {
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
        if let Some(cookie) = parts.headers.get(header::SET_COOKIE) {
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

    async fn get(&mut self, path: &str) -> Page {
        self.send(Method::GET, path, "", String::new()).await
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let kind = "application/x-www-form-urlencoded";
        self.send(Method::POST, path, kind, encoded(fields)).await
    }

    /// Posts a form and goes where its answer leads.
    async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let page = self.post(path, fields).await;
        self.get(&page.location()).await
    }

    async fn password(&mut self, user: &str) -> Page {
        let fields = [("user", user), ("password", password(user))];
        self.post("/login", &fields).await
    }

    /// Makes a sheet and shows it.
    async fn sheet(&mut self, user: &str) -> Sheet {
        let path = format!("{CODES}/prepare");
        let page = self.post(&path, &[("password", password(user))]).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        Sheet::of(page)
    }

    /// Makes a sheet and confirms it.
    async fn active_sheet(&mut self, user: &str) -> Sheet {
        let sheet = self.sheet(user).await;
        let page = self.activate(&sheet).await;
        assert!(page.says("count from now on"), "{}", page.body);
        sheet
    }

    async fn activate(&mut self, sheet: &Sheet) -> Page {
        let path = format!("{CODES}/activate");
        self.submit(&path, &[("set", &sheet.set)]).await
    }

    async fn settings(&mut self, based_on: &str, more: &[(&str, &str)]) -> Page {
        let mut fields = vec![("based_on", based_on), ("low_threshold", "3")];
        fields.extend(more);
        self.post(SETTINGS, &fields).await
    }
}

impl Page {
    fn location(&self) -> String {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.body);
        self.headers[header::LOCATION].to_str().unwrap().to_owned()
    }

    fn says(&self, text: &str) -> bool {
        self.body.contains(text)
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The text between two others.
    fn between(&self, start: &str, end: &str) -> &str {
        let Some((_, rest)) = self.body.split_once(start) else {
            panic!("no {start} in {}", self.body)
        };
        rest.split(end).next().unwrap()
    }

    /// The text of the element with this id.
    fn text(&self, id: &str) -> &str {
        let element = self.between(&format!("id=\"{id}\""), "</");
        element.split_once('>').unwrap().1.trim()
    }
}

struct Sheet {
    set: String,
    codes: Vec<String>,
    page: Page,
}

impl Sheet {
    fn of(page: Page) -> Self {
        let codes = page.body.split("<code>").skip(1);
        let codes = codes.map(|rest| rest.split('<').next().unwrap().to_owned());
        Self {
            set: page.between("name=\"set\" value=\"", "\"").to_owned(),
            codes: codes.collect(),
            page,
        }
    }
}

fn encoded(fields: &[(&str, &str)]) -> String {
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
const PAGES: [&str; 7] = [
    "/profile",
    CODES,
    SETTINGS,
    "/settings/backup-codes/users/bob",
    "/audit",
    "/audit.csv",
    "/audit.jsonl",
];

/// Every form for somebody signed in, with its fields.
const FORMS: [(&str, &[&str]); 15] = [
    ("/profile/authenticator/prepare", &["password"]),
    ("/profile/authenticator/activate", &["code"]),
    ("/profile/authenticator/remove", &["password"]),
    ("/profile/backup-codes/prepare", &["password"]),
    ("/profile/backup-codes/download", &["set", "text"]),
    ("/profile/backup-codes/activate", &["set"]),
    ("/profile/backup-codes/discard", &["set"]),
    ("/profile/backup-codes/revoke", &["sure"]),
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

fn filled<'a>(fields: &[&'a str], value: &'a str) -> Vec<(&'a str, &'a str)> {
    fields.iter().map(|field| (*field, value)).collect()
}

/// Collects what is logged.
#[derive(Clone)]
struct Log(Arc<Mutex<Vec<u8>>>);

/// What all tests here have logged. Codes are found in it wherever they are from.
fn log() -> &'static Log {
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

#[tokio::test]
async fn a_user_makes_a_sheet_gets_in_with_a_code_once_and_sees_it_used() {
    let site = Site::new().await;
    let mut alice = site.signed_in("alice").await;
    assert!(alice.get(CODES).await.says("There are no backup codes."));

    let sheet = alice.sheet("alice").await;
    assert_eq!(sheet.codes.len(), 10);
    assert_eq!(sheet.page.header("cache-control"), "no-store");
    // Nothing counts before she says so.
    let page = alice.get(CODES).await;
    assert!(page.says("There are no backup codes.") && page.says("waits for you"));
    let page = alice.activate(&sheet).await;
    assert_eq!((page.text("left"), page.text("total")), ("10", "10"));

    let mut phone = site.browser();
    assert_eq!(phone.password("alice").await.location(), "/login/second");
    // In any spelling, with the number before it.
    let messy = format!(
        " 3. {} \r\n",
        sheet.codes[2].to_lowercase().replace('-', " – ")
    );
    let page = phone.submit("/login/code", &[("code", &messy)]).await;
    assert_eq!(
        page.text("message"),
        "You are signed in. Code 3 is spent, 9 codes left."
    );
    assert_eq!(page.text("left"), "9");
    assert!(
        page.between("<span class=\"number\">3</span>", "</li>")
            .contains("used <time")
    );
    assert!(
        !page
            .between("<span class=\"number\">4</span>", "</li>")
            .contains("used <time")
    );

    let mut thief = site.browser();
    thief.password("alice").await;
    let page = thief
        .submit("/login/code", &[("code", &sheet.codes[2])])
        .await;
    assert_eq!(page.text("message"), "This code was not accepted.");
    assert_eq!(thief.get("/profile").await.location(), "/login/second");

    // Trying one spends nothing.
    for _ in 0..2 {
        let check = format!("{CODES}/check");
        let page = phone.submit(&check, &[("code", &sheet.codes[4])]).await;
        assert_eq!(
            page.text("message"),
            "This is code 5. It is right, and still unused."
        );
    }

    let logged = String::from_utf8_lossy(&log().0.lock().unwrap()).into_owned();
    assert!(
        logged.contains("mail") && logged.contains("alice"),
        "{logged}"
    );
    let headers = format!("{:?}{:?}{:?}", alice.seen, phone.seen, thief.seen);
    let stored = site.stored();
    assert!(
        stored.contains("argon2id"),
        "the search looks where things are"
    );
    let places = [&logged, &headers, &stored];
    assert!(!places.iter().any(|place| place.contains(messy.trim())));
    for code in &sheet.codes {
        for spelling in [code.clone(), code.replace('-', ""), code.to_lowercase()] {
            assert!(!places.iter().any(|place| place.contains(&spelling)));
        }
    }
}

#[tokio::test]
async fn the_old_sheet_counts_until_the_new_one_is_confirmed() {
    let site = Site::new().await;
    let mut alice = site.signed_in("alice").await;
    let old = alice.active_sheet("alice").await;
    // A borrowed session makes none: the password is asked for anew.
    let prepare = format!("{CODES}/prepare");
    for wrong in ["", "wrong", password("bob")] {
        let page = alice.submit(&prepare, &[("password", wrong)]).await;
        assert!(page.says("This is not your password.") && !page.says("waits for you"));
    }
    let new = alice.sheet("alice").await;
    assert!(
        new.page
            .says("Your old codes work until you confirm below.")
    );
    let check = format!("{CODES}/check");
    for (sheet, right) in [(&old, true), (&new, false)] {
        let page = alice.submit(&check, &[("code", &sheet.codes[0])]).await;
        assert_eq!(page.says("It is right"), right);
    }
    alice.activate(&new).await;
    for (sheet, right) in [(&old, false), (&new, true)] {
        let page = alice.submit(&check, &[("code", &sheet.codes[1])]).await;
        assert_eq!(page.says("It is right"), right);
    }
    let dropped = alice.sheet("alice").await;
    let page = alice
        .submit(&format!("{CODES}/discard"), &[("set", &dropped.set)])
        .await;
    assert!(page.says("is dropped") && !page.says("waits for you"));
    assert!(alice.activate(&dropped).await.says("counts for nothing"));
    let page = alice.submit(&format!("{CODES}/revoke"), &[]).await;
    assert!(page.says("Tick the box") && page.text("left") == "10");
    let page = alice
        .submit(&format!("{CODES}/revoke"), &[("sure", "yes")])
        .await;
    assert!(
        page.says("All your backup codes are void.") && page.says("There are no backup codes.")
    );
}

#[tokio::test]
async fn the_file_is_the_sheet_and_only_the_latest_is_given_back() {
    let site = Site::new().await;
    let mut alice = site.signed_in("alice").await;
    let first = alice.sheet("alice").await;
    let sheet = alice.sheet("alice").await;
    let text = sheet
        .page
        .between("id=\"sheet-text\" value=\"", "\"")
        .to_owned();
    let path = format!("{CODES}/download");
    // A browser ends the lines of a form with CR LF.
    let sent = text.replace('\n', "\r\n");
    let file = alice
        .post(&path, &[("set", &sheet.set), ("text", &sent)])
        .await;
    assert_eq!(file.body, text);
    for (number, code) in sheet.codes.iter().enumerate() {
        assert!(file.says(&format!("{:>2}. {code}\n", number + 1)));
    }
    let name = sheet.page.text("label");
    assert_eq!(
        file.header("content-disposition"),
        format!("attachment; filename=\"backup-codes-{name}.txt\"")
    );
    assert_eq!(file.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(file.header("cache-control"), "no-store");
    let old = alice
        .post(&path, &[("set", &first.set), ("text", &sent)])
        .await;
    assert_eq!(old.status, StatusCode::UNPROCESSABLE_ENTITY);
    let mut bob = site.signed_in("bob").await;
    let other = bob
        .post(&path, &[("set", &sheet.set), ("text", &sent)])
        .await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_sent_to_the_login() {
    let site = Site::new().await;
    let mut stranger = site.browser();
    for path in PAGES {
        assert_eq!(stranger.get(path).await.location(), "/login", "{path}");
    }
    for (path, fields) in FORMS.iter().filter(|(path, _)| *path != "/login") {
        let page = stranger.post(path, &filled(fields, "1")).await;
        assert_eq!(page.location(), "/login", "{path}");
    }
    for path in ["/login/code", "/login/authenticator"] {
        assert_eq!(
            stranger.post(path, &[("code", "1")]).await.location(),
            "/login"
        );
    }
    // The password alone opens nothing either, once there are codes.
    site.signed_in("alice").await.active_sheet("alice").await;
    let mut half = site.browser();
    half.password("alice").await;
    for path in PAGES {
        assert_eq!(half.get(path).await.location(), "/login/second", "{path}");
    }
    for (path, fields) in FORMS.iter().filter(|(path, _)| *path != "/login") {
        let page = half.post(path, &filled(fields, "1")).await;
        assert_eq!(page.location(), "/login/second", "{path}");
    }
    // After the log-out its cookie is worth nothing.
    let mut alice = site.signed_in("bob").await;
    let kept = alice.cookie.clone();
    assert_eq!(alice.post("/logout", &[]).await.location(), "/login");
    assert_eq!(alice.cookie, None);
    alice.cookie = kept;
    assert_eq!(alice.get("/profile").await.location(), "/login");
}

#[tokio::test]
async fn the_administrators_pages_are_closed_to_other_roles() {
    let site = Site::new().await;
    site.signed_in("bob").await.active_sheet("bob").await;
    for user in ["alice", "dave"] {
        let mut other = site.signed_in(user).await;
        assert!(!other.get("/profile").await.says("/settings/backup-codes"));
        for path in &PAGES[2..] {
            let page = other.get(path).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{path}");
            assert!(page.says("<h1>Not allowed</h1>") && !page.says("Bob"));
        }
        for (path, fields) in FORMS
            .iter()
            .filter(|(path, _)| path.starts_with("/settings"))
        {
            let page = other.post(path, &filled(fields, "1")).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{path}");
        }
        // Whether there is such a user is not said either.
        let page = other.get("/settings/backup-codes/users/nobody").await;
        assert_eq!(page.status, StatusCode::FORBIDDEN);
    }
    let mut carol = site.signed_in("carol").await;
    let page = carol.get("/settings/backup-codes/users/bob").await;
    assert_eq!(page.text("left"), "10");
    let page = carol.get("/audit?event=read_reports").await;
    assert!(page.says("not administrator") && page.says("<td>alice</td>"));
    // Nobody helps themselves past the second factor.
    for action in ["unlock", "override"] {
        let path = format!("{SETTINGS}/users/carol/{action}");
        let page = carol.post(&path, &[("minutes", "60")]).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn a_form_from_elsewhere_is_refused_on_every_address() {
    let site = Site::new().await;
    let mut bob = site.signed_in("bob").await;
    bob.active_sheet("bob").await;
    let mut carol = site.signed_in("carol").await;
    let before = carol.get("/audit").await.body.matches("<tr>").count();
    let own = carol.headers.clone();
    for headers in [
        vec![],
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
        vec![("origin", "http://localhost.evil.example")],
        vec![("origin", "null")],
    ] {
        carol.headers = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let logins = [("/logout", &[][..]), ("/login/code", &["code"])];
        for (path, fields) in FORMS.iter().chain(&logins) {
            let page = carol.post(path, &filled(fields, "60")).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{path} {headers:?}");
            assert!(page.says("did not come from a page of this site"));
        }
    }
    carol.headers = own;
    let after = carol.get("/audit").await.body.matches("<tr>").count();
    assert_eq!(after, before, "nothing was done, and nobody was logged out");
    // A browser without Sec-Fetch-Site says where it is by Origin.
    carol.headers = vec![("origin", "http://localhost".to_owned())];
    let page = carol
        .submit(&format!("{SETTINGS}/users/bob/unlock"), &[])
        .await;
    assert!(page.says("are cleared"));
}

#[tokio::test]
async fn a_form_sent_twice_does_once() {
    let site = Site::new().await;
    let mut alice = site.signed_in("alice").await;
    let sheet = alice.active_sheet("alice").await;
    let page = alice.activate(&sheet).await;
    assert!(page.says("count already") && page.text("left") == "10");

    let mut phone = site.browser();
    phone.password("alice").await;
    let half = phone.cookie.clone();
    let first = phone
        .post("/login/code", &[("code", &sheet.codes[0])])
        .await;
    assert_eq!(first.location(), CODES);
    // By the same browser, which is signed in by now.
    let again = phone
        .post("/login/code", &[("code", &sheet.codes[0])])
        .await;
    assert_eq!(again.location(), "/profile");
    // With the session of before, which is gone.
    phone.cookie = half;
    let again = phone
        .post("/login/code", &[("code", &sheet.codes[0])])
        .await;
    assert_eq!(again.location(), "/login");
    assert_eq!(alice.get(CODES).await.text("left"), "9");

    let revoke = format!("{CODES}/revoke");
    let page = alice.submit(&revoke, &[("sure", "yes")]).await;
    assert!(page.says("All your backup codes are void."));
    let page = alice.submit(&revoke, &[("sure", "yes")]).await;
    assert!(page.says("There were no backup codes to revoke."));
}

#[tokio::test]
async fn of_two_tabs_that_generate_at_once_one_sheet_counts() {
    let site = Site::new().await;
    let mut alice = site.signed_in("alice").await;
    let (mut one, mut other) = (alice.clone(), alice.clone());
    let (first, second) = tokio::join!(one.sheet("alice"), other.sheet("alice"));
    let waiting = alice
        .get(CODES)
        .await
        .between("name=\"set\" value=\"", "\"")
        .to_owned();
    let (counts, lost) = if waiting == first.set {
        (first, second)
    } else {
        (second, first)
    };
    assert_eq!(waiting, counts.set);
    assert!(alice.activate(&lost).await.says("counts for nothing"));
    assert!(alice.activate(&counts).await.says("count from now on"));
    let check = format!("{CODES}/check");
    let right = alice.submit(&check, &[("code", &counts.codes[0])]).await;
    let wrong = alice.submit(&check, &[("code", &lost.codes[0])]).await;
    assert!(right.says("It is right") && wrong.says("was not accepted"));
}

#[tokio::test]
async fn every_refusal_reads_the_same_and_a_typo_is_told_as_one() {
    let site = Site::new().await;
    let others = site.signed_in("bob").await.active_sheet("bob").await;
    let sheet = site.signed_in("alice").await.active_sheet("alice").await;
    let mut alice = site.browser();
    alice.password("alice").await;
    for (typed, text) in [
        (
            "hello",
            "This does not look like a backup code: type one code as it is printed. Nothing was counted.",
        ),
        (
            "",
            "This does not look like a backup code: type one code as it is printed. Nothing was counted.",
        ),
        (
            &*swapped(&sheet.codes[0]),
            "There is probably a typing error in this code: compare it with your sheet. Nothing was counted.",
        ),
        (
            &*others.codes[0],
            "This code was not accepted. 9 tries are left.",
        ),
        (
            &*others.codes[1],
            "This code was not accepted. 8 tries are left.",
        ),
    ] {
        let page = alice.submit("/login/code", &[("code", typed)]).await;
        assert_eq!(page.text("message"), text);
    }
    for code in &others.codes[2..] {
        alice.submit("/login/code", &[("code", code)]).await;
    }
    let locked = "This code was not accepted. Too many were wrong: wait 30 minutes.";
    let page = alice
        .submit("/login/code", &[("code", &sheet.codes[0])])
        .await;
    assert_eq!(page.text("message"), locked);

    // The password: one text for both, and the same page.
    let mut stranger = site.browser();
    let wrong = stranger
        .post("/login", &[("user", "alice"), ("password", "x")])
        .await;
    let unknown = stranger
        .post("/login", &[("user", "nobody"), ("password", "x")])
        .await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(unknown.status, wrong.status);
    assert_eq!(unknown.body.replace("nobody", "alice"), wrong.body);
    assert_eq!(stranger.cookie, None);

    // An administrator unlocks; an override code gets in, once.
    let mut carol = site.signed_in("carol").await;
    let user = format!("{SETTINGS}/users/alice");
    assert!(carol.get(&user).await.says("id=\"locked\""));
    let over = carol
        .post(&format!("{user}/override"), &[("minutes", "60")])
        .await;
    assert_eq!(
        (over.status, over.header("cache-control")),
        (StatusCode::OK, "no-store")
    );
    let over = over.text("override-code").to_owned();
    let page = alice.submit("/login/code", &[("code", &over)]).await;
    assert!(
        page.text("message")
            .starts_with("You are signed in. The override code is spent.")
    );
    let mut again = site.browser();
    again.password("alice").await;
    let page = again.submit("/login/code", &[("code", &over)]).await;
    assert!(
        page.text("message")
            .starts_with("This code was not accepted.")
    );
    let page = carol.submit(&format!("{user}/unlock"), &[]).await;
    assert!(page.says("are cleared") && page.text("wrong-in-a-row") == "0");
    let page = carol
        .submit(&format!("{user}/revoke"), &[("sure", "yes")])
        .await;
    assert!(page.says("All backup codes of Alice Arnold are void."));
    // No second factor is left, so the password is enough again.
    site.signed_in("alice").await;
}

/// Two neighbours that differ, swapped.
fn swapped(code: &str) -> String {
    let mut symbols: Vec<char> = code.chars().collect();
    let differ = |i: &usize| {
        let (a, b) = (symbols[*i], symbols[i + 1]);
        a != b && a != '-' && b != '-'
    };
    let place = (2..symbols.len() - 1).find(differ).unwrap();
    symbols.swap(place, place + 1);
    symbols.into_iter().collect()
}

const HOSTILE: [&str; 9] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'; DROP TABLE web_users; --",
    "{{7*7}}${7*7}",
    "a\0b\r\nSet-Cookie: x=y",
    "\u{202e}\u{2066}ä漢字🙂",
    "../../etc/passwd",
    "=cmd|' /C calc'!A0",
    "99999999999999999999",
];

#[tokio::test]
async fn hostile_input_in_any_field_breaks_nothing_and_comes_back_escaped() {
    let site = Site::new().await;
    let mut carol = site.signed_in("carol").await;
    // Somebody half way through a login.
    let mut alice = site.signed_in("alice").await;
    alice.active_sheet("alice").await;
    let mut half_way = site.browser();
    assert_eq!(half_way.password("alice").await.location(), "/login/second");
    let long = "x".repeat(8_000);
    let check = |page: &Page, place: &str| {
        assert!(!page.status.is_server_error(), "{place}: {}", page.body);
        // The file of a sheet is text, and saved: it comes back as it was.
        let html = page.header("content-type").starts_with("text/html");
        let escaped = !page.says("<script>alert") && !page.says("<img src=x");
        assert!(!html || escaped, "{place}");
        assert!(
            page.headers
                .get("set-cookie")
                .is_none_or(|it| !it.as_bytes().starts_with(b"x="))
        );
    };
    let sheet = carol.sheet("carol").await;
    for value in HOSTILE.iter().copied().chain([&*long]) {
        for (path, fields) in FORMS {
            // Each field in turn, the others as a browser sends them.
            for hostile in fields {
                let page = carol.get(SETTINGS).await;
                let based_on = page.between("name=\"based_on\" value=\"", "\"");
                let usual = |field| match field {
                    "role" => "staff",
                    "low_threshold" => "3",
                    "based_on" => based_on,
                    "set" => &sheet.set,
                    "switch" => "on",
                    _ => "60",
                };
                let fields: Vec<_> = fields
                    .iter()
                    .map(|field| {
                        (
                            *field,
                            if field == hostile {
                                value
                            } else {
                                usual(*field)
                            },
                        )
                    })
                    .collect();
                let page = carol.post(path, &fields).await;
                // Wrong passwords run out of tries.
                check(&page, &format!("{path} {hostile} {value}"));
            }
        }
        for path in ["/login/code", "/login/authenticator"] {
            check(&half_way.post(path, &[("code", value)]).await, path);
            check(&half_way.get("/login/second").await, path);
        }
        let mut half = site.browser();
        half.headers.push(("user-agent", "=1+1\",<b>".to_owned()));
        for field in ["user", "password"] {
            let other = if field == "user" { "password" } else { "user" };
            let page = half
                .post("/login", &[(field, value), (other, "dave")])
                .await;
            check(&page, "/login");
        }
        let value = encoded(&[(value, "")]);
        let value = value.trim_end_matches('=');
        for path in [
            format!("{SETTINGS}?q={value}"),
            format!("{SETTINGS}?after={value}"),
            format!("{SETTINGS}?filter={value}&sort={value}"),
            format!("{SETTINGS}/users/{value}"),
            format!("/audit?user={value}"),
            format!("/audit?event={value}"),
            format!("/audit?day={value}"),
            format!("/audit?after={value}"),
            format!("/{value}"),
        ] {
            check(&carol.get(&path).await, &path);
        }
    }
    // The administrator is still one, and the tables are still there.
    assert_eq!(carol.get(SETTINGS).await.status, StatusCode::OK);
    site.signed_in("bob").await;
}

#[tokio::test]
async fn every_error_is_a_page_with_safe_headers() {
    let site = Site::with(|options| options.password_cost = Cost::LEAST).await;
    let mut bob = site.signed_in("bob").await;
    let form = "application/x-www-form-urlencoded";
    let check = format!("{CODES}/check");
    let send = |method, path: &str, kind: &str, body: &str| {
        let (path, kind, body) = (path.to_owned(), kind.to_owned(), body.to_owned());
        (method, path, kind, body)
    };
    for (request, status, title) in [
        (send(Method::GET, "/nothing", "", ""), 404, "Not found"),
        (send(Method::GET, &check, "", ""), 405, "Not this way"),
        (send(Method::DELETE, CODES, "", ""), 405, "Not this way"),
        (
            send(Method::POST, &check, form, &"code=".repeat(5000)),
            413,
            "Too long",
        ),
        (
            send(Method::POST, &check, "application/json", "{}"),
            415,
            "Not a form",
        ),
        (
            send(Method::POST, &check, form, "kode=1"),
            422,
            "Not accepted",
        ),
        (
            send(Method::POST, &format!("{CODES}/activate"), form, "set=1"),
            422,
            "Not accepted",
        ),
        (
            send(Method::GET, "/audit?user=a&user=b", "", ""),
            400,
            "Not understood",
        ),
        (send(Method::GET, SETTINGS, "", ""), 403, "Not allowed"),
    ] {
        let (method, path, kind, body) = request;
        let page = bob.send(method, &path, &kind, body).await;
        assert_eq!(page.status.as_u16(), status, "{path}");
        assert!(
            page.says(&format!("<h1>{title}</h1>")),
            "{path}: {}",
            page.body
        );
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("cache-control"), "no-store");
        assert!(
            page.header("content-security-policy")
                .contains("default-src 'none'")
        );
        assert!(!page.says("style=") && !page.says("onclick"));
    }
    // Too many tries of a password.
    let mut stranger = site.browser();
    let fields = [("user", "dave"), ("password", "wrong")];
    for _ in 0..20 {
        assert_eq!(stranger.post("/login", &fields).await.status.as_u16(), 422);
    }
    let page = stranger.post("/login", &fields).await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(page.says("<h1>Too many tries</h1>"));
    let wait: u64 = page.header("retry-after").parse().unwrap();
    assert!((1..=900).contains(&wait));
    // The right one is not looked at either.
    assert_eq!(
        stranger.password("dave").await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    // Its owner is somewhere else.
    let mut dave = site.browser();
    dave.peer = "198.51.100.4:50000".parse().unwrap();
    assert_eq!(dave.password("dave").await.location(), "/profile");
}

#[tokio::test]
async fn a_session_by_password_alone_ends_where_a_second_factor_is_set_up_elsewhere() {
    let site = Site::new().await;
    let mut thief = site.signed_in("alice").await;
    let mut alice = site.signed_in("alice").await;
    let sheet = alice.active_sheet("alice").await;
    // Whoever set it up goes on, the other owes it.
    assert_eq!(alice.get(CODES).await.status, StatusCode::OK);
    assert_eq!(thief.get(CODES).await.location(), "/login/second");
    let path = format!("{CODES}/prepare");
    let page = thief.post(&path, &[("password", password("alice"))]).await;
    assert_eq!(page.location(), "/login/second");
    let page = thief
        .submit("/login/code", &[("code", &sheet.codes[0])])
        .await;
    assert!(page.says("Code 1 is spent"), "{}", page.body);
}

#[tokio::test]
async fn whoever_runs_the_program_can_let_somebody_in() {
    let site = Site::new().await;
    let mut carol = site.signed_in("carol").await;
    let sheet = carol.active_sheet("carol").await;
    for code in &sheet.codes {
        let mut browser = site.browser();
        assert_eq!(browser.password("carol").await.location(), "/login/second");
        let page = browser.submit("/login/code", &[("code", code)]).await;
        assert!(page.says("You are signed in"), "{}", page.body);
    }
    let app = App::open(options(&site.folder)).await.unwrap();
    let code = app.issue_override("carol").await.unwrap();
    let mut browser = site.browser();
    browser.password("carol").await;
    let page = browser
        .submit("/login/code", &[("code", &code.expose())])
        .await;
    assert!(page.says("The override code is spent"), "{}", page.body);
    let error = app.issue_override("nobody").await.unwrap_err();
    assert_eq!(error.to_string(), "looking for the user");
}

#[tokio::test]
async fn roles_that_the_form_does_not_show_and_newer_settings_are_kept() {
    let site = Site::new().await;
    let mut carol = site.signed_in("carol").await;
    let page = carol.get(SETTINGS).await;
    let based_on = page.between("name=\"based_on\" value=\"", "\"").to_owned();
    // Another node saves: a role this site does not have, and the strict rule.
    let file = site.folder.path().join("web.db");
    let pool = SqlitePool::connect(file.to_str().unwrap()).await.unwrap();
    let store = SqliteStore::new(pool);
    let (mut settings, revision) = store.load_settings().await.unwrap().unwrap();
    settings.permit_roles(["staff", "contractor"]);
    settings.set_on_role_loss(OnRoleLoss::StopRedeeming);
    let (expected, next) = (Expected::At(revision), Revision::from_bytes([9; 16]));
    let saved = store.save_settings(expected, next, &settings, &[]).await;
    assert_eq!(saved.unwrap(), PutOutcome::Applied);
    // The form from before is overtaken, whatever this node's copy says.
    let page = carol.settings(&based_on, &[("switch", "on")]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    let based_on = page.between("name=\"based_on\" value=\"", "\"").to_owned();
    let fields = [("switch", "on"), ("role", "staff"), ("role", "editor")];
    assert_eq!(
        carol.settings(&based_on, &fields).await.location(),
        SETTINGS
    );
    let (settings, _) = store.load_settings().await.unwrap().unwrap();
    let roles = ["staff", "editor", "contractor"].map(Role::from);
    assert_eq!(
        settings.permitted(),
        &PermittedRoles::Chosen(BTreeSet::from(roles))
    );
    assert_eq!(settings.on_role_loss(), OnRoleLoss::StopRedeeming);
}

#[tokio::test]
async fn a_full_pool_is_a_503_that_says_when_to_come_again() {
    let site = Site::with(|options| options.code_pool = PoolSize::new(1, 1).unwrap()).await;
    let alice = site.signed_in("alice").await;
    let mut turned_away = false;
    for _ in 0..100 {
        // One runs, one waits, and some have to go.
        let mut tabs = JoinSet::new();
        for _ in 0..8 {
            let mut tab = alice.clone();
            let path = format!("{CODES}/prepare");
            tabs.spawn(async move { tab.post(&path, &[("password", password("alice"))]).await });
        }
        let pages = tabs.join_all().await;
        let busy = pages.iter().find(|page| page.status != StatusCode::OK);
        if let Some(page) = busy {
            assert_eq!(
                page.status,
                StatusCode::SERVICE_UNAVAILABLE,
                "{}",
                page.body
            );
            assert_eq!(page.header("retry-after"), "5");
            assert!(page.says("Nothing was counted against you."));
            turned_away = true;
            break;
        }
    }
    assert!(turned_away, "the pool was never full");
    // It leaves nothing behind.
    let mut alice = alice;
    alice.active_sheet("alice").await;
}

#[tokio::test]
async fn the_cookie_is_strict_and_its_id_changes_at_each_step() {
    let site = Site::new().await;
    let sheet = site.signed_in("alice").await.active_sheet("alice").await;
    let mut alice = site.browser();
    assert!(!alice.get("/login").await.headers.contains_key("set-cookie"));
    alice.cookie = Some("__Host-session=AAAAAAAAAAAAAAAAAAAAAA".to_owned());
    let fixed = alice.cookie.clone();
    let page = alice.password("alice").await;
    let cookie = page.header("set-cookie").to_owned();
    for part in [
        "__Host-session=",
        "HttpOnly",
        "SameSite=Strict",
        "Secure",
        "Path=/",
    ] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    assert!(!cookie.contains("Domain"));
    let half = alice.cookie.clone();
    assert_ne!(half, fixed);
    alice
        .post("/login/code", &[("code", &sheet.codes[0])])
        .await;
    let complete = alice.cookie.clone();
    assert_ne!(complete, half);
    for old in [fixed, half] {
        alice.cookie = old;
        assert_eq!(alice.get("/profile").await.location(), "/login");
    }
    alice.cookie = complete;
    assert_eq!(alice.get("/profile").await.status, StatusCode::OK);
    // It ends, whatever was written to it meanwhile.
    site.sql("UPDATE web_sessions SET data = json_set(data, '$.sign_in.until', 1)")
        .await;
    assert_eq!(alice.get("/profile").await.location(), "/login");

    let plain = Site::with(|options| options.cookies = Cookies::PlainLoopback).await;
    let page = plain.browser().password("bob").await;
    let cookie = page.header("set-cookie");
    assert!(cookie.starts_with("session=") && !cookie.contains("Secure"));
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
}

#[tokio::test]
async fn settings_are_in_force_when_saved_and_an_overtaken_save_is_shown() {
    let site = Site::new().await;
    let mut carol = site.signed_in("carol").await;
    let mut dave = site.signed_in("dave").await;
    assert!(
        dave.get(CODES)
            .await
            .text("not-permitted")
            .contains("Your role does not include")
    );
    let prepare = format!("{CODES}/prepare");
    let page = dave.post(&prepare, &[("password", password("dave"))]).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);

    let page = carol.get(SETTINGS).await;
    let based_on = page.between("name=\"based_on\" value=\"", "\"").to_owned();
    let on = ("switch", "on");
    // Without script the boxes are ticked by the server, and nothing is saved.
    let page = carol.settings(&based_on, &[on, ("do", "select_all")]).await;
    assert_eq!(page.body.matches("name=\"role\"").count(), 4);
    assert_eq!(ticked(&page), ["administrator", "editor", "guest", "staff"]);
    assert!(page.says("data-changed"));
    let page = carol
        .settings(&based_on, &[on, ("role", "staff"), ("do", "remove_all")])
        .await;
    assert_eq!(ticked(&page), [""; 0]);
    let page = carol.get(SETTINGS).await;
    assert_eq!(ticked(&page), ["administrator", "editor", "staff"]);

    for threshold in ["32", "-1", "", "three", "1e1"] {
        let fields = [("based_on", &*based_on), on, ("low_threshold", threshold)];
        let page = carol.post(SETTINGS, &fields).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{threshold}");
        assert!(page.says("the low threshold is a number from 0 to 31"));
    }

    let all = ["administrator", "editor", "guest", "staff"].map(|role| ("role", role));
    let mut saving = vec![on];
    saving.extend(all);
    let page = carol.settings(&based_on, &saving).await;
    assert_eq!(page.location(), SETTINGS);
    assert!(
        carol
            .get(SETTINGS)
            .await
            .says("The changes are saved and in force.")
    );
    assert!(!dave.get(CODES).await.says("not-permitted"));

    // The second tab still shows the state of before.
    let page = carol.settings(&based_on, &[("role", "staff")]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert!(page.says("You wanted: switched off; roles Staff; low threshold 3."));
    assert_eq!(ticked(&page), ["administrator", "editor", "guest", "staff"]);
    let fresh = page.between("name=\"based_on\" value=\"", "\"").to_owned();
    assert_ne!(fresh, based_on);
    assert!(!dave.get(CODES).await.says("not-permitted"));

    // An administrator does not lock themselves out.
    carol.active_sheet("carol").await;
    let page = carol.settings(&fresh, &all).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.says("you could not log in again"));
    carol
        .submit(&format!("{CODES}/revoke"), &[("sure", "yes")])
        .await;
    let page = carol.settings(&fresh, &all).await;
    assert_eq!(page.location(), SETTINGS);
    assert!(
        dave.get(CODES)
            .await
            .text("not-permitted")
            .contains("switched off")
    );
}

/// The roles whose boxes are ticked.
fn ticked(page: &Page) -> Vec<&str> {
    let boxes = page.body.split("name=\"role\" value=\"").skip(1);
    boxes
        .map(|rest| rest.split('>').next().unwrap())
        .filter(|tag| tag.ends_with(" checked"))
        .map(|tag| tag.split('"').next().unwrap())
        .collect()
}

#[tokio::test]
async fn figures_and_lists_follow_what_users_do() {
    let site = Site::new().await;
    let mut carol = site.signed_in("carol").await;
    let page = carol.get(SETTINGS).await;
    assert!(page.says("No user to show here."));
    assert_eq!(page.text("users-with-codes"), "0");

    let sheet = site.signed_in("alice").await.active_sheet("alice").await;
    site.signed_in("bob").await.active_sheet("bob").await;
    for code in &sheet.codes[..7] {
        let mut phone = site.browser();
        phone.password("alice").await;
        phone.post("/login/code", &[("code", code)]).await;
    }
    let page = carol.get(SETTINGS).await;
    let figures = [
        "users-with-codes",
        "users-low",
        "users-exhausted",
        "used-today",
    ];
    assert_eq!(figures.map(|id| page.text(id)), ["2", "1", "0", "7"]);
    assert_eq!(page.text("used-this-month"), "7");
    assert!(page.says("Codes used in the last 30 days: 7, at most 7 a day"));
    assert_eq!(page.body.matches("class=\"bar\"").count(), 30);
    assert!(page.says("height=\"100\""), "today's bar is the tallest");
    let users = |page: &Page| -> Vec<String> {
        let links = page.body.split("aria-label=\"Manage ").skip(1);
        links
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(users(&page), ["alice", "bob"]);
    assert!(page.says("3 of 10") && page.says("<td>Staff</td>"));
    assert_eq!(
        users(&carol.get(&format!("{SETTINGS}?filter=low")).await),
        ["alice"]
    );
    assert_eq!(
        users(&carol.get(&format!("{SETTINGS}?sort=generated")).await),
        ["bob", "alice"]
    );
    let page = carol.get(&format!("{SETTINGS}?q=o")).await;
    assert_eq!(users(&page), ["bob"]);
    let page = carol.get(&format!("{SETTINGS}?q=dave")).await;
    assert!(page.says("contains “dave”") && page.says("users/dave"));
}

#[tokio::test]
async fn events_that_cannot_be_read_are_not_passed_over_in_silence() {
    let site = Site::new().await;
    let mut bob = site.signed_in("bob").await;
    bob.active_sheet("bob").await;
    let mut carol = site.signed_in("carol").await;
    assert!(!carol.get("/audit").await.says("cannot be read"));
    site.sql("UPDATE backup_codes_events SET body = '{}' WHERE kind = 'prepare'")
        .await;
    let page = carol.get("/audit").await;
    assert_eq!(
        page.text("unreadable"),
        "1 event of this page cannot be read."
    );
    assert!(page.says("activate"));
}

#[tokio::test]
async fn the_audit_log_has_filters_pages_and_tame_exports() {
    let site = Site::new().await;
    let mut bob = site.browser();
    bob.headers
        .push(("user-agent", "=cmd|' /C calc'!A0, \"x\"".to_owned()));
    // By a proxy that is not trusted, then by one that is.
    bob.headers.push(("x-forwarded-for", "6.6.6.6".to_owned()));
    bob.password("bob").await;
    for _ in 0..60 {
        bob.post(&format!("{CODES}/check"), &[("code", "hello")])
            .await;
    }
    bob.peer = "10.0.0.1:50000".parse().unwrap();
    bob.active_sheet("bob").await;

    let mut carol = site.signed_in("carol").await;
    let page = carol.get("/audit?user=bob").await;
    assert_eq!(
        page.body.matches("<tr>").count(),
        51,
        "the head and fifty events"
    );
    assert!(page.says("<th scope=\"row\">activate</th>") && page.says("<td>6.6.6.6</td>"));
    let link = page
        .between("id=\"next-page\" href=\"", "\"")
        .replace("&#38;", "&")
        .replace("&amp;", "&");
    let next = carol.get(&link).await;
    assert_eq!(next.body.matches("<tr>").count(), 1 + 62 - 50);
    assert!(next.says("<td>203.0.113.7</td>") && !next.says("6.6.6.6"));
    let page = carol.get("/audit?event=activate").await;
    assert_eq!(page.body.matches("<tr>").count(), 2);
    let day = page.between("<time datetime=\"", "T").to_owned();
    let page = carol.get(&format!("/audit?day={day}")).await;
    assert!(page.says("<th scope=\"row\">activate</th>"));
    assert!(carol.get("/audit?day=2020-02-29").await.says("No events."));
    assert!(carol.get("/audit?user=alice").await.says("No events."));

    let csv = carol.get("/audit.csv?user=bob").await;
    assert_eq!(
        csv.header("content-disposition"),
        "attachment; filename=\"audit.csv\""
    );
    let lines: Vec<&str> = csv.body.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 63);
    assert!(lines[0].starts_with("\"time\",\"event\",\"outcome\""));
    for line in &lines[1..] {
        assert!(
            line.contains(",\"'=cmd|' /C calc'!A0, \"\"x\"\"\","),
            "{line}"
        );
    }
    let jsonl = carol.get("/audit.jsonl?user=bob&event=check").await;
    assert_eq!(
        jsonl.header("content-disposition"),
        "attachment; filename=\"audit.jsonl\""
    );
    assert_eq!(jsonl.body.lines().count(), 60);
    for line in jsonl.body.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event.to_string().contains("=cmd|' /C calc'!A0"));
        assert!(!line.contains("=cmd"));
    }
}

/// What an authenticator app shows, this many steps from now.
fn app_code(secret: &str, steps: u64) -> String {
    let secret = Secret::try_from_base32(secret).unwrap();
    let totp = Builder::new().with_secret(secret).build().unwrap();
    totp.generate(totp.next_step_current() - 30 + 30 * steps)
        .to_string()
}

#[tokio::test]
async fn an_authenticator_app_stands_beside_the_codes_and_takes_them_with_it() {
    let site = Site::new().await;
    let mut alice = site.signed_in("alice").await;
    let path = |action: &str| format!("/profile/authenticator/{action}");
    let page = alice
        .submit(&path("prepare"), &[("password", "wrong")])
        .await;
    assert!(page.says("This is not your password."));
    let page = alice
        .post(&path("prepare"), &[("password", password("alice"))])
        .await;
    let secret = page.text("secret").to_owned();
    assert_eq!(page.header("cache-control"), "no-store");
    // Not in force before it is confirmed.
    site.signed_in("alice").await;
    let code = app_code(&secret, 0);
    let page = alice.submit(&path("activate"), &[("code", &code)]).await;
    assert!(
        page.says("The authenticator app is set up."),
        "{}",
        page.body
    );
    alice.active_sheet("alice").await;

    let mut phone = site.browser();
    phone.password("alice").await;
    assert!(
        phone
            .get("/login/second")
            .await
            .says("Code of your authenticator app")
    );
    // Each of the app's codes counts once.
    let page = phone
        .submit("/login/authenticator", &[("code", &code)])
        .await;
    assert!(page.says("This code was not accepted."));
    let code = app_code(&secret, 1);
    let page = phone
        .submit("/login/authenticator", &[("code", &code)])
        .await;
    assert!(page.says("You are signed in."));

    let mut thief = site.browser();
    thief.password("alice").await;
    for _ in 0..5 {
        let page = thief
            .post("/login/authenticator", &[("code", "000000")])
            .await;
        assert_eq!(page.location(), "/login/second");
    }
    let page = thief
        .post("/login/authenticator", &[("code", "000000")])
        .await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);

    let page = alice
        .submit(&path("remove"), &[("password", password("alice"))])
        .await;
    assert!(page.says("and your backup codes with it"));
    assert!(alice.get(CODES).await.says("There are no backup codes."));
    site.signed_in("alice").await;
}

#[tokio::test]
async fn a_second_start_keeps_users_codes_settings_and_sessions() {
    let site = Site::new().await;
    let mut alice = site.signed_in("alice").await;
    let sheet = alice.active_sheet("alice").await;
    let site = Site::start(site.folder, |_| {}).await;
    let mut again = site.browser();
    again.cookie = alice.cookie;
    assert_eq!(again.get(CODES).await.text("left"), "10");
    let mut phone = site.browser();
    phone.password("alice").await;
    let page = phone
        .submit("/login/code", &[("code", &sheet.codes[9])])
        .await;
    assert!(page.says("Code 10 is spent"));
    // Without the key no code could be compared: it does not start, rather than with a new key.
    fs::remove_file(site.folder.path().join("web.db.key")).unwrap();
    assert!(App::open(options(&site.folder)).await.is_err());
    assert!(App::open(options(&site.folder)).await.is_err());
}

#[tokio::test]
async fn assets_are_kept_and_pages_hold_no_script_or_style_of_their_own() {
    let site = Site::new().await;
    let mut carol = site.signed_in("carol").await;
    for (path, kind) in [
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/assets/script.js", "text/javascript; charset=utf-8"),
        ("/assets/icon.svg", "image/svg+xml"),
    ] {
        let asset = carol.get(path).await;
        assert_eq!(
            (asset.status, asset.header("content-type")),
            (StatusCode::OK, kind)
        );
        assert!(asset.header("cache-control").contains("immutable"));
        assert!(carol.get("/profile").await.says(&format!("{path}?v=")));
    }
    carol.active_sheet("carol").await;
    for path in PAGES.iter().filter(|path| !path.contains("audit.")) {
        let page = carol.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("x-frame-options"), "DENY");
        assert_eq!(page.header("referrer-policy"), "same-origin");
        for own in [" style=", " onclick=", "<style", "javascript:"] {
            assert!(!page.says(own), "{own} on {path}");
        }
        assert_eq!(page.body.matches("<script").count(), 1, "{path}");
        let csp = page.header("content-security-policy");
        assert!(csp.contains("default-src 'none'") && !csp.contains("unsafe"));
    }
}
