//! No block of memory that this application gives back holds a code, a password or the pepper.
//!
//! Requests go to the router itself: what a server and a connection keep of them is not in here.
//! Nor is what decoding a form leaves, which is another crate's: these forms have nothing to decode.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../../tests/support/freed.rs"]
mod freed;

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode, header};
use backup_codes::hash::Cost;
use backup_codes_web::{App, Cookies, DEMO_USERS, Options, router};
use freed::{Watching, search, secret};
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tower::ServiceExt as _;
use zeroize::Zeroizing;

#[global_allocator]
static ALLOCATOR: Watching = Watching;

fn options(folder: &TempDir) -> Options {
    Options {
        code_cost: Cost::MIB_12,
        password_cost: Cost::LEAST,
        cookies: Cookies::PlainLoopback,
        ..Options::new(folder.path().join("web.db"))
    }
}

fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    runtime.unwrap().block_on(work);
}

/// Searches while this is done to an application.
#[track_caller]
fn clean(work: impl AsyncFnOnce(Router)) {
    let found = search(|| {
        run(async {
            let folder = TempDir::new().unwrap();
            let app = App::open(options(&folder)).await.unwrap();
            work(router(Arc::new(app))).await;
        });
    });
    assert!(
        found.is_empty(),
        "in freed blocks of these sizes: {found:?}"
    );
}

/// A browser that keeps one cookie. What it sends is wiped.
struct Browser {
    router: Router,
    cookie: Option<String>,
}

struct Page {
    status: StatusCode,
    /// The body, where the application has put it.
    body: Vec<Bytes>,
}

impl Browser {
    async fn signed_in(router: &Router, user: &str) -> Self {
        let mut browser = Self {
            router: router.clone(),
            cookie: None,
        };
        let page = browser
            .post("/login", &["user=", user, "&password=", password(user)])
            .await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{user}");
        browser
    }

    async fn post(&mut self, path: &str, form: &[&str]) -> Page {
        let mut body = Zeroizing::new(String::with_capacity(form.iter().map(|it| it.len()).sum()));
        form.iter().for_each(|part| body.push_str(part));
        let mut request = Request::post(path)
            .header(header::HOST, "localhost")
            .header("sec-fetch-site", "same-origin")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let mut request = request.body(Body::from(Bytes::from_owner(body))).unwrap();
        let peer: SocketAddr = "203.0.113.7:50000".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, mut body) = response.into_parts();
        if let Some(cookie) = parts.headers.get(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap().split(';').next();
            self.cookie = cookie.map(str::to_owned);
        }
        let mut page = Page {
            status: parts.status,
            body: Vec::new(),
        };
        while let Some(frame) = body.frame().await {
            page.body.extend(frame.unwrap().into_data());
        }
        page
    }

    async fn sheet(&mut self, user: &str) -> Page {
        let path = "/profile/backup-codes/prepare";
        let page = self.post(path, &["password=", password(user)]).await;
        assert_eq!(page.status, StatusCode::OK);
        let codes = page.between("<code>", "</code>");
        assert_eq!(codes.len(), 10);
        codes.into_iter().for_each(is_secret);
        page
    }
}

impl Page {
    /// Everything that stands between these two.
    fn between(&self, before: &str, after: &str) -> Vec<&str> {
        let [body] = &*self.body else {
            panic!("a page is one piece");
        };
        let parts = std::str::from_utf8(body).unwrap().split(before).skip(1);
        parts
            .map(|part| part.split(after).next().unwrap())
            .collect()
    }
}

fn password(user: &str) -> &'static str {
    let user = DEMO_USERS.iter().find(|demo| demo.id == user).unwrap();
    user.password
}

/// Names a code as a secret, as shown and without hyphens.
fn is_secret(code: &str) {
    assert_eq!(code.len(), 19, "a code as shown");
    secret(code.as_bytes());
    // Wiped: a value that is moved may take what the stack held before with it.
    let mut symbols = Zeroizing::new([0; 16]);
    let bytes = code.bytes().filter(|byte| *byte != b'-');
    symbols
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, byte)| *to = byte);
    secret(&*symbols);
}

#[test]
fn showing_a_sheet_leaves_no_code() {
    clean(async |router| {
        let mut alice = Browser::signed_in(&router, "alice").await;
        drop(alice.sheet("alice").await);
    });
}

#[test]
fn giving_a_sheet_back_as_a_file_leaves_no_code() {
    clean(async |router| {
        let mut alice = Browser::signed_in(&router, "alice").await;
        let sheet = alice.sheet("alice").await;
        let [set, ..] = sheet.between("name=\"set\" value=\"", "\"")[..] else {
            panic!("no set");
        };
        let code = sheet.between("<code>", "</code>")[0];
        let form = ["set=", set, "&text=a\r\n", code, "\r\n", code, "\r\n"];
        let file = alice.post("/profile/backup-codes/download", &form).await;
        assert_eq!(file.status, StatusCode::OK);
        assert_eq!(file.between("a\n", "\n"), [code]);
    });
}

#[test]
fn typing_a_code_leaves_none() {
    clean(async |router| {
        let mut alice = Browser::signed_in(&router, "alice").await;
        let sheet = alice.sheet("alice").await;
        let [set, ..] = sheet.between("name=\"set\" value=\"", "\"")[..] else {
            panic!("no set");
        };
        let path = "/profile/backup-codes/activate";
        let page = alice.post(path, &["set=", set]).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER);
        let codes = sheet.between("<code>", "</code>");
        let path = "/profile/backup-codes/check";
        let page = alice.post(path, &["code=", codes[3]]).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER);
        let mut phone = Browser::signed_in(&router, "alice").await;
        // Once right, once used, and once with a symbol too few.
        for code in [codes[0], &codes[1][..18]] {
            let page = phone.post("/login/code", &["code=", code]).await;
            assert_eq!(page.status, StatusCode::SEE_OTHER);
        }
    });
}

#[test]
fn showing_an_override_leaves_no_code() {
    clean(async |router| {
        let mut carol = Browser::signed_in(&router, "carol").await;
        let path = "/settings/backup-codes/users/alice/override";
        let page = carol.post(path, &["minutes=60"]).await;
        assert_eq!(page.status, StatusCode::OK);
        let code = page.between("id=\"override-code\" translate=\"no\">", "<");
        is_secret(code[0]);
    });
}

#[test]
fn typing_a_password_leaves_none() {
    clean(async |router| {
        secret(password("alice").as_bytes());
        let mut alice = Browser::signed_in(&router, "alice").await;
        let path = "/profile/backup-codes/revoke";
        let page = alice.post(path, &["password=", password("alice")]).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER);
    });
}

#[test]
fn opening_the_application_leaves_no_key() {
    let found = search(|| {
        run(async {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("web.db.key");
            let key = || Zeroizing::new(fs::read(&path).unwrap());
            for _ in 0..2 {
                drop(App::open(options(&folder)).await.unwrap());
                secret(&key());
            }
            // A key that is refused is wiped too.
            fs::write(&path, &key()[..31]).unwrap();
            App::open(options(&folder)).await.unwrap_err();
        });
    });
    assert!(
        found.is_empty(),
        "in freed blocks of these sizes: {found:?}"
    );
}
