//! The handlers over the memory repository and over SQLite, request by request, in this process.
#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "the program's own start")]
#[path = "../src/main.rs"]
mod app;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context as TaskContext, Wake, Waker};
use std::{fs, future::Future as _};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use backup_codes::hash::PoolSize;
use backup_codes::testing::TestKit;
use backup_codes::{
    BackupCodes, Context, HashParams, Hashing, Keyring, MemoryRepository, Settings, Subject,
    Timestamp, UserId,
};
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tower::ServiceExt as _;

const WRONG_PASSWORD: &str = "The user name or the password is wrong.";
const NOT_ACCEPTED: &str = "This code was not accepted. Try another one, or ask an administrator.";
const TYPING_ERROR: &str = "Please correct the code – there is probably a typing error in this \
                            code: compare it with your sheet.";
const NO_CODE: &str = "Please correct the code – this does not look like a backup code: type one \
                       code as it is printed.";
const ACTIVE: &str = "Your new backup codes are active. Older ones are invalid.";

fn site(codes: BackupCodes) -> Router {
    let users = app::demo_users().unwrap();
    app::app(app::AppState { codes, users })
}

/// Runs a test over the memory repository, and over SQLite as the program opens it.
async fn over_both(test: impl AsyncFn(Browser)) {
    test(Browser::new(site(TestKit::new().codes))).await;
    let folder = TempDir::new().unwrap();
    let codes = app::open(&folder.path().join("login.db")).await.unwrap();
    test(Browser::new(site(codes))).await;
}

/// Keeps one cookie and the last sheet that it was shown.
#[derive(Clone)]
struct Browser {
    site: Router,
    cookie: String,
    from: &'static str,
    codes: Vec<String>,
    activate: String,
}

#[derive(Debug)]
struct Page {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Page {
    fn header(&self, name: header::HeaderName) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    fn leads_to(&self, path: &str) {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.body);
        assert_eq!(self.header(header::LOCATION), path);
    }

    #[track_caller]
    fn says(&self, text: &str) {
        assert!(self.body.contains(text), "{text}: {}", self.body);
    }

    /// A field was wrong: the page says so, at the field too.
    #[track_caller]
    fn rejects(&self, text: &str) {
        assert_eq!(self.status, StatusCode::UNPROCESSABLE_ENTITY);
        self.says(&format!("id=\"error\" role=\"alert\">{text}</p>"));
        self.says("aria-invalid=\"true\"");
        self.says("aria-describedby=\"error");
        self.says("<title>Error: ");
    }
}

impl Browser {
    fn new(site: Router) -> Self {
        Self {
            site,
            cookie: String::new(),
            from: "same-origin",
            codes: Vec::new(),
            activate: String::new(),
        }
    }

    async fn send(&mut self, method: Method, path: &str, fields: &[(&str, &str)]) -> Page {
        let pairs = fields.iter().map(|(name, value)| {
            let escaped = value.bytes().map(|byte| format!("%{byte:02x}"));
            format!("{name}={}", escaped.collect::<String>())
        });
        let peer: SocketAddr = "203.0.113.7:50000".parse().unwrap();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("sec-fetch-site", self.from)
            .header(header::COOKIE, &self.cookie)
            .extension(ConnectInfo(peer))
            .body(Body::from(pairs.collect::<Vec<_>>().join("&")))
            .unwrap();
        let response = self.site.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let page = Page {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        };
        assert_eq!(page.header(header::CACHE_CONTROL), "no-store", "{path}");
        let cookie = page.header(header::SET_COOKIE).split(';').next();
        if let Some(cookie) = cookie.filter(|cookie| !cookie.is_empty()) {
            self.cookie = cookie.to_owned();
        }
        page
    }

    async fn get(&mut self, path: &str) -> Page {
        self.send(Method::GET, path, &[]).await
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.send(Method::POST, path, fields).await
    }

    async fn password(&mut self, user: &str) -> Page {
        let mut known = app::DEMO_USERS.into_iter();
        let (_, password) = known.find(|(name, _)| *name == user).unwrap();
        let fields = [("user", user), ("password", password)];
        self.post("/login", &fields).await
    }

    async fn code(&mut self, code: &str) -> Page {
        self.post("/login/code", &[("code", code)]).await
    }

    /// Makes a sheet and looks at it.
    async fn sheet(&mut self, user: &str) -> Page {
        let mut known = app::DEMO_USERS.into_iter();
        let (_, password) = known.find(|(name, _)| *name == user).unwrap();
        let fields = [("user", user), ("password", password)];
        let page = self.post("/codes/prepare", &fields).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        let codes = page.body.split("<code>").skip(1);
        let codes = codes.map(|rest| rest.split('<').next().unwrap().to_owned());
        self.codes = codes.collect();
        assert_eq!(self.codes.len(), 10);
        let form = page.body.split("action=\"").nth(1).unwrap();
        self.activate = form.split('"').next().unwrap().to_owned();
        page
    }

    async fn activate(&mut self) -> Page {
        let form = self.activate.clone();
        self.post(&form, &[]).await.leads_to("/");
        self.get("/").await
    }

    /// A user with a new active sheet, signed out.
    async fn with_codes(&mut self, user: &str) {
        self.password(user).await.leads_to("/");
        self.sheet(user).await;
        self.activate().await.says(ACTIVE);
        self.post("/logout", &[]).await.leads_to("/login");
    }
}

#[tokio::test]
async fn a_user_makes_a_sheet_and_signs_in_with_its_codes() {
    over_both(async |mut alice| {
        alice.get("/").await.leads_to("/login");
        alice.get("/login").await.says("<h1>Sign in</h1>");
        let wrong = [("user", "alice"), ("password", "wrong")];
        alice.post("/login", &wrong).await.rejects(WRONG_PASSWORD);
        let nobody = [("user", "\"><b>"), ("password", "wrong")];
        alice.post("/login", &nobody).await.rejects(WRONG_PASSWORD);
        alice.get("/").await.leads_to("/login");

        alice.password("alice").await.leads_to("/");
        let profile = alice.get("/").await;
        profile.says("You have no backup codes. Two-factor authentication is off");
        let wrong = [("user", "alice"), ("password", "wrong")];
        alice.post("/codes/prepare", &wrong).await.leads_to("/");
        let error = "role=\"alert\">This is not your password. Nothing was changed.</p>";
        alice.get("/").await.says(error);

        alice.sheet("alice").await.says("they are not shown again");
        let profile = alice.get("/").await;
        profile.says("was shown but not confirmed");
        assert!(!alice.codes.iter().any(|code| profile.body.contains(code)));
        let again = alice.get("/codes/prepare").await;
        assert_eq!(again.status, StatusCode::METHOD_NOT_ALLOWED);
        let page = alice.activate().await;
        page.says(ACTIVE);
        page.says("<strong>10 of 10</strong> backup codes are left");
        let again = alice.activate().await;
        again.says("These backup codes are active already.");
        alice.post("/logout", &[]).await.leads_to("/login");
        alice.get("/").await.leads_to("/login");

        alice.password("alice").await.leads_to("/login/code");
        let page = alice.get("/login/code").await;
        page.says("<h1>Two-factor authentication</h1>");
        page.says("autocomplete=\"one-time-code\"");
        let code = alice.codes[2].clone();
        alice.code(&code).await.leads_to("/");
        let profile = alice.get("/").await;
        profile.says("You are signed in. Codes left: 9.");
        profile.says("<strong>9 of 10</strong>");
        alice.post("/logout", &[]).await.leads_to("/login");

        alice.password("alice").await.leads_to("/login/code");
        alice.code(&code).await.rejects(NOT_ACCEPTED);
        alice.get("/").await.leads_to("/login");
        let mut typo = alice.codes[3].clone();
        let last = typo.pop().unwrap();
        typo.push(if last == '0' { '1' } else { '0' });
        alice.code(&typo).await.rejects(TYPING_ERROR);
        // However it is typed.
        let messy = format!(" 4. {}\n", alice.codes[3].to_lowercase().replace('-', " "));
        alice.code(&messy).await.leads_to("/");
    })
    .await;
}

#[tokio::test]
async fn an_unconfirmed_sheet_leaves_the_old_one_active() {
    over_both(async |mut alice| {
        alice.with_codes("alice").await;
        let old = alice.codes.clone();
        alice.password("alice").await.leads_to("/login/code");
        alice.code(&old[0]).await.leads_to("/");
        let sheet = alice.sheet("alice").await;
        sheet.says("The codes are not active yet.");
        let abandoned = alice.codes.clone();
        let profile = alice.get("/").await;
        profile.says("<strong>9 of 10</strong>");
        profile.says("Your old codes stay active until you confirm the new ones.");
        alice.post("/logout", &[]).await;
        alice.password("alice").await.leads_to("/login/code");
        alice.code(&abandoned[1]).await.rejects(NOT_ACCEPTED);
        alice.code(&old[1]).await.leads_to("/");

        // A newer one replaces it, and then the old one too.
        let form = alice.activate.clone();
        alice.sheet("alice").await;
        alice.post(&form, &[]).await.leads_to("/");
        alice
            .get("/")
            .await
            .says("This sheet is not valid any more");
        alice.activate().await.says(ACTIVE);
        alice.post("/logout", &[]).await;
        alice.password("alice").await.leads_to("/login/code");
        alice.code(&old[2]).await.rejects(NOT_ACCEPTED);
        let new = alice.codes[2].clone();
        alice.code(&new).await.leads_to("/");
    })
    .await;
}

#[tokio::test]
async fn the_password_alone_is_not_enough_when_all_codes_are_used() {
    over_both(async |mut alice| {
        alice.with_codes("alice").await;
        for (used, code) in alice.codes.clone().iter().enumerate() {
            alice.password("alice").await.leads_to("/login/code");
            alice.code(code).await.leads_to("/");
            let profile = alice.get("/").await;
            let few = profile.body.contains("Few backup codes are left.");
            assert_eq!(few, (6..9).contains(&used), "{used}");
            let none = profile.body.contains("No backup code is left.");
            assert_eq!(none, used == 9, "{used}");
            alice.post("/logout", &[]).await;
        }
        alice.password("alice").await.leads_to("/login/code");
        let first = alice.codes[0].clone();
        alice.code(&first).await.rejects(NOT_ACCEPTED);
    })
    .await;
}

#[tokio::test]
async fn half_a_sign_in_opens_nothing() {
    over_both(async |mut alice| {
        alice.get("/login/code").await.leads_to("/login");
        alice.code("anything").await.leads_to("/login");
        alice.with_codes("alice").await;
        alice.password("alice").await.leads_to("/login/code");
        alice.get("/").await.leads_to("/login");
        let password = [
            ("user", "alice"),
            ("password", "correct horse battery staple"),
        ];
        let page = alice.post("/codes/prepare", &password).await;
        page.leads_to("/login");
        let form = alice.activate.clone();
        alice.post(&form, &[]).await.leads_to("/login");

        // Each step has a session id of its own, and the one before is worthless.
        let half = alice.clone();
        let code = alice.codes[0].clone();
        alice.code(&code).await.leads_to("/");
        assert_ne!(half.cookie, alice.cookie);
        let mut half = half;
        half.get("/login/code").await.leads_to("/login");
        assert_eq!(alice.get("/").await.status, StatusCode::OK);
        let mut stolen = alice.clone();
        alice.post("/logout", &[]).await;
        stolen.get("/").await.leads_to("/login");
    })
    .await;
}

#[tokio::test]
async fn codes_belong_to_their_user() {
    over_both(async |mut alice| {
        let mut bob = Browser::new(alice.site.clone());
        alice.with_codes("alice").await;
        bob.with_codes("bob").await;
        bob.password("bob").await.leads_to("/login/code");
        bob.code(&alice.codes[0]).await.rejects(NOT_ACCEPTED);
        let own = bob.codes[0].clone();
        bob.code(&own).await.leads_to("/");
        alice.password("alice").await;
        let code = alice.codes[0].clone();
        alice.code(&code).await.leads_to("/");
        alice.sheet("alice").await;
        bob.activate.clone_from(&alice.activate);
        bob.activate()
            .await
            .says("This sheet is not valid any more");
        alice.activate().await.says(ACTIVE);
    })
    .await;
}

#[tokio::test]
async fn a_form_of_another_site_does_nothing() {
    over_both(async |mut alice| {
        alice.with_codes("alice").await;
        alice.password("alice").await;
        let code = alice.codes[0].clone();
        alice.from = "cross-site";
        for path in ["/login", "/login/code", "/logout", "/codes/prepare"] {
            let page = alice.post(path, &[("code", &code)]).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{path}");
        }
        alice.from = "same-origin";
        alice.code(&code).await.leads_to("/");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    over_both(async |mut alice| {
        let page = alice.get("/nowhere").await;
        assert_eq!(page.status, StatusCode::NOT_FOUND);
        page.says("There is no such page.");
        let style = alice.get("/style.css").await;
        assert_eq!(style.header(header::CONTENT_TYPE), "text/css");
        let page = alice.post("/login", &[("user", "alice")]).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        alice.password("alice").await;
        let page = alice.post("/codes/nonsense/activate", &[]).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        alice.with_codes("alice").await;
        alice.password("alice").await;
        for typed in ["", "\0", &"x".repeat(100_000)] {
            alice.code(typed).await.rejects(NO_CODE);
        }
    })
    .await;
}

#[tokio::test]
async fn ten_wrong_codes_lock_with_the_same_words_for_a_right_one() {
    let mut alice = Browser::new(site(TestKit::new().codes));
    alice.with_codes("alice").await;
    let mut bob = Browser::new(alice.site.clone());
    bob.with_codes("bob").await;
    alice.password("alice").await;
    for wrong in &bob.codes[..9] {
        alice.code(wrong).await.rejects(NOT_ACCEPTED);
    }
    let locked = "This code was not accepted. Try again in 30 minutes.";
    alice.code(&bob.codes[9]).await.rejects(locked);
    let right = alice.codes[0].clone();
    alice.code(&right).await.rejects(locked);
}

#[tokio::test]
async fn passwords_are_limited_by_address() {
    let mut browser = Browser::new(site(TestKit::new().codes));
    let wrong = [("user", "alice"), ("password", "wrong")];
    for tries in 1..1000 {
        let page = browser.post("/login", &wrong).await;
        if page.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(tries > 20, "{tries}");
            assert_eq!(page.header(header::RETRY_AFTER), "10");
            page.says("There were too many passwords.");
            return;
        }
        page.rejects(WRONG_PASSWORD);
    }
    panic!("never limited");
}

/// A worker of the pool calls it when it has an answer, and waits here.
struct HoldUp(mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>);

impl Wake for HoldUp {
    fn wake(self: Arc<Self>) {
        self.0.send(()).ok();
        self.1.lock().unwrap().recv().ok();
    }
}

#[tokio::test]
async fn a_full_pool_is_a_503_and_spends_nothing() {
    // One computes, one waits, and the next is turned away.
    let params = HashParams::new(Keyring::without_pepper()).unwrap();
    let pool = Hashing::pool_with(params, PoolSize::new(1, 1).unwrap()).unwrap();
    let codes = BackupCodes::new(MemoryRepository::new(), Settings::default(), pool);
    let mut alice = Browser::new(site(codes.clone()));
    alice.with_codes("alice").await;
    alice.password("alice").await;

    let now = Timestamp::from_unix_millis(1_790_000_000_000).unwrap();
    let other = Subject::new(UserId::new("other").unwrap(), ["customer"]);
    let cx = Context::new(now, &other);
    let (reached, has_reached) = mpsc::channel();
    let (release, held_up) = mpsc::channel();
    let waker = Waker::from(Arc::new(HoldUp(reached, Mutex::new(held_up))));
    let mut held = TaskContext::from_waker(&waker);
    // An answer that is there before its future waits for it holds nobody up: once more then.
    let mut running = Box::pin(codes.prepare(&other, &cx));
    while running.as_mut().poll(&mut held).is_ready() {
        running = Box::pin(codes.prepare(&other, &cx));
    }
    has_reached.recv().unwrap();
    let mut waiting = pin!(codes.prepare(&other, &cx));
    let mut idle = TaskContext::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut idle).is_pending());

    let code = alice.codes[0].clone();
    let page = alice.code(&code).await;
    assert_eq!(
        page.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        page.body
    );
    assert_eq!(page.header(header::RETRY_AFTER), "10");
    page.says("Nothing was counted: try again in a few seconds.");
    drop(release);
    let _ = waiting.await;
    alice.code(&code).await.leads_to("/");
}

#[tokio::test]
async fn codes_outlive_a_restart_and_only_with_their_key() {
    let folder = TempDir::new().unwrap();
    let db = folder.path().join("login.db");
    let start = async || app::open(&db).await;
    let mut alice = Browser::new(site(start().await.unwrap()));
    alice.with_codes("alice").await;
    let codes = alice.codes.clone();
    alice.password("alice").await.leads_to("/login/code");
    alice.code(&codes[0]).await.leads_to("/");

    let mut alice = Browser::new(site(start().await.unwrap()));
    alice.password("alice").await.leads_to("/login/code");
    alice.code(&codes[0]).await.rejects(NOT_ACCEPTED);
    alice.code(&codes[1]).await.leads_to("/");

    let log = fs::read_to_string(db.with_extension("audit.jsonl")).unwrap();
    let accepted = log.matches("\"event.action\":\"redeem\"").count();
    assert_eq!(accepted, 3, "{log}");
    let files = ["login.db", "login.db-wal", "login.audit.jsonl"];
    for file in files.map(|name| fs::read(folder.path().join(name)).unwrap()) {
        let text = String::from_utf8_lossy(&file);
        assert!(!codes.iter().any(|code| text.contains(code)));
    }

    let key = db.with_extension("key");
    fs::rename(&key, folder.path().join("lost")).unwrap();
    let error = start().await.unwrap_err().to_string();
    assert!(error.contains("is there: restore"), "{error}");
    assert!(!key.exists());
    fs::write(&key, "short").unwrap();
    let error = start().await.unwrap_err().to_string();
    assert!(error.contains("is damaged: restore it"), "{error}");
}

#[test]
fn a_moment_that_cannot_be_read_is_an_error_at_start() {
    let folder = TempDir::new().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_backup-codes-login"))
        .env("BACKUP_CODES_DB", folder.path().join("login.db"))
        .env("BACKUP_CODES_LISTEN", "127.0.0.1:0")
        .env("BACKUP_CODES_VOID_BEFORE", "yesterday")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("BACKUP_CODES_VOID_BEFORE"), "{said}");
    assert!(said.contains("rfc 3339"), "{said}");
}
