//! Who is let in, what is refused, and how.

use std::fs;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use backup_codes::hash::PoolSize;
use backup_codes::{BackupCodes, Context, HashParams, Hashing, Keyring, Settings, Subject, UserId};
use backup_codes_sqlx::SqliteRepository;
use backup_codes_web::{App, Cookies};
use tokio::task::JoinSet;

use crate::site::{
    Browser, CODES, FORMS, OTHER_FORMS, PAGES, Page, SETTINGS, Site, encoded, filled, options,
    password,
};
use crate::user::set_app_up;

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
    let mut bob = site.signed_in("bob").await;
    let kept = bob.cookie.clone();
    let page = bob.post("/logout", &[]).await;
    assert_eq!(page.location(), "/login");
    let removal = page.header("set-cookie");
    assert!(removal.starts_with("__Host-session=;") && removal.contains("Max-Age=0"));
    assert!(removal.contains("; Secure") && removal.contains("; Path=/"));
    assert_eq!(bob.cookie, None);
    bob.cookie = kept;
    assert_eq!(bob.get("/profile").await.location(), "/login");
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
        for (path, fields) in FORMS.iter().chain(&OTHER_FORMS) {
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
    assert!(page.says("No wrong codes were counted"));
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
    // Somebody half way through a login, and codes that a form about bob takes away.
    for user in ["alice", "bob"] {
        site.signed_in(user).await.active_sheet(user).await;
    }
    let mut half_way = site.browser();
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
        // Wrong passwords and wrong codes of an app are forgotten by then.
        site.wait(Duration::from_secs(15 * 60)).await;
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
                assert_ne!(page.status, StatusCode::TOO_MANY_REQUESTS, "{path}");
                check(&page, &format!("{path} {hostile} {value}"));
            }
        }
        assert_eq!(half_way.password("alice").await.location(), "/login/second");
        for path in ["/login/code", "/login/authenticator"] {
            check(&half_way.post(path, &[("code", value)]).await, path);
            check(&half_way.get("/login/second").await, path);
        }
        let mut half = site.browser();
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
    let site = Site::new().await;
    let mut bob = site.signed_in("bob").await;
    let form = "application/x-www-form-urlencoded";
    let check = format!("{CODES}/check");
    let send = |method, path: &str, kind: &str, body: &str| {
        let (path, kind, body) = (path.to_owned(), kind.to_owned(), body.to_owned());
        (method, path, kind, body)
    };
    for (request, status, title) in [
        (send(Method::GET, "/nothing", "", ""), 404, "Not found"),
        (send(Method::GET, &check, "", ""), 405, "Method not allowed"),
        (
            send(Method::DELETE, CODES, "", ""),
            405,
            "Method not allowed",
        ),
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
            "Request not understood",
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
    let mut before = alice.clone();
    let sheet = alice.active_sheet("alice").await;
    // Whoever set it up goes on, under a new id; the other logs in again, with it.
    assert_eq!(before.get(CODES).await.location(), "/login");
    assert_eq!(alice.get(CODES).await.status, StatusCode::OK);
    assert_eq!(thief.get(CODES).await.location(), "/login");
    let path = format!("{CODES}/prepare");
    let page = thief.post(&path, &[("password", password("alice"))]).await;
    assert_eq!(page.location(), "/login");
    let page = thief
        .post("/login/code", &[("code", &sheet.codes[0])])
        .await;
    assert_eq!(page.location(), "/login");

    // Who is half way when the second factor is taken away begins anew, and needs none.
    assert_eq!(thief.password("alice").await.location(), "/login/second");
    let own = [("password", password("alice"))];
    alice.post(&format!("{CODES}/revoke"), &own).await;
    assert_eq!(thief.get("/login/second").await.location(), "/login");
    assert_eq!(thief.get("/login").await.status, StatusCode::OK);
    assert_eq!(thief.password("alice").await.location(), "/profile");
}

#[tokio::test]
async fn a_full_pool_is_a_503_that_says_when_to_come_again() {
    let site = Site::with(|options| {
        options.code_pool = PoolSize::new(1, 1).unwrap();
        options.code_hashing = Hashing::pool_with;
    })
    .await;
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
            assert!(page.says("Too many codes are being checked at this moment."));
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
    // Somebody has slipped their own session into her browser.
    alice.cookie = site.signed_in("bob").await.cookie;
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

    let plain = Site::with(|options| options.cookies = Cookies::PlainLoopback).await;
    let mut bob = plain.browser();
    let page = bob.password("bob").await;
    let cookie = page.header("set-cookie");
    assert!(cookie.starts_with("session=") && !cookie.contains("Secure"));
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
    let page = bob.post("/logout", &[]).await;
    let removal = page.header("set-cookie");
    assert!(removal.starts_with("session=;") && removal.contains("Max-Age=0"));
    assert!(!removal.contains("Secure"));
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

/// Users' own ids and names, as a site with a sign-up might let them be.
const HOSTILE_USERS: [(&str, &str); 5] = [
    ("<b>x</b>", "<script>alert(1)</script>"),
    ("a/b?c#d%2e&e=f", "\"><img src=x onerror=alert(1)>"),
    ("=1+1", "=cmd|' /C calc'!A0"),
    ("zoë o'hara", "'; DROP TABLE web_users; --"),
    ("{{7*7}}", "\u{202e}drowssap"),
];

#[tokio::test]
async fn users_with_hostile_names_are_shown_as_text_and_can_be_managed() {
    let site = Site::new().await;
    let database = site.database().await;
    for (id, name) in HOSTILE_USERS {
        let insert = "INSERT INTO web_users (id, name, password, roles)
                      SELECT ?1, ?2, password, roles FROM web_users WHERE id = 'alice'";
        let insert = sqlx::query(insert).bind(id).bind(name);
        insert.execute(&database).await.unwrap();
        let mut user = site.browser();
        let fields = [("user", id), ("password", password("alice"))];
        assert_eq!(
            user.post("/login", &fields).await.location(),
            "/profile",
            "{id}"
        );
        assert!(!user.get("/profile").await.says("<script>alert"));
        let own = [("password", password("alice"))];
        let sheet = user.post(&format!("{CODES}/prepare"), &own).await;
        let set = sheet.between("name=\"set\" value=\"", "\"").to_owned();
        let page = user
            .submit(&format!("{CODES}/activate"), &[("set", &set)])
            .await;
        assert_eq!(page.text("left"), "10", "{id}");
    }
    let mut carol = site.signed_in("carol").await;
    let list = carol.get(SETTINGS).await;
    assert_eq!(list.text("users-with-codes"), "5");
    let links: Vec<String> = list
        .body
        .split("<a href=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .filter(|link| link.contains("/users/"))
        .collect();
    assert_eq!(links.len(), HOSTILE_USERS.len());
    for link in &links {
        let page = carol.get(link).await;
        assert_eq!(page.status, StatusCode::OK, "{link}");
        assert_eq!(page.text("left"), "10", "{link}");
        let action = page.between("action=\"/settings", "/override\"").to_owned();
        let over = format!("/settings{action}/override");
        let shown = carol.post(&over, &[("minutes", "60")]).await;
        assert_eq!(shown.text("override-code").len(), 19, "{link}");
        let page = carol.submit(&format!("{link}/unlock"), &[]).await;
        assert!(
            page.says("No wrong codes were counted") && page.says("override-waits"),
            "{link}"
        );
        for page in [&page, &shown] {
            assert!(!page.says("<script>alert") && !page.says("<img src=x") && !page.says("<b>x"));
        }
    }
    let log = carol.get("/audit").await;
    assert!(!list.says("<script>alert") && !list.says("<img src=x") && !list.says("<b>x"));
    assert!(!log.says("<b>x") && log.says("=1+1"));
    let csv = carol.get("/audit.csv").await;
    assert!(csv.says("\"'=1+1\"") && !csv.says("\"=1+1\""));
}

#[tokio::test]
async fn what_the_store_refuses_or_cannot_do_is_a_page_that_says_what_to_do() {
    let site = Site::new().await;
    let mut alice = site.signed_in("alice").await;
    let mut carol = site.signed_in("carol").await;
    // Erased by another program on the same database.
    let store = SqliteRepository::open(site.database().await).await.unwrap();
    let others = BackupCodes::new(
        store,
        Settings::default(),
        Hashing::inline(HashParams::new(Keyring::without_pepper()).unwrap()),
    );
    let subject = Subject::new(UserId::new("alice").unwrap(), ["staff"]);
    let _ = others
        .erase(&subject, &Context::system(site.now()))
        .await
        .unwrap();
    let prepare = format!("{CODES}/prepare");
    let page = alice
        .post(&prepare, &[("password", password("alice"))])
        .await;
    assert_eq!(page.status, StatusCode::CONFLICT, "{}", page.body);
    assert!(page.says("<h1>Not possible now</h1>") && page.says("This user was erased"));

    let no_database = |page: &Page| {
        assert_eq!(
            page.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{}",
            page.body
        );
        assert_eq!(page.header("retry-after"), "10");
        assert!(page.says("check whether your change was made"));
        assert!(!page.says("backup_codes_") && !page.says("web_users"));
    };
    site.sql(
        "CREATE TRIGGER full BEFORE INSERT ON web_sessions BEGIN SELECT RAISE(FAIL, 'full'); END",
    )
    .await;
    let mut bob = site.browser();
    no_database(&bob.password("bob").await);
    assert_eq!(bob.get("/profile").await.location(), "/login");
    site.sql("ALTER TABLE backup_codes_records RENAME TO gone")
        .await;
    no_database(&alice.get(CODES).await);
    no_database(&carol.get(SETTINGS).await);
    let post = carol
        .post(&format!("{SETTINGS}/users/bob/unlock"), &[])
        .await;
    no_database(&post);
    site.sql("ALTER TABLE web_users RENAME TO gone_too").await;
    no_database(&site.browser().password("bob").await);
    no_database(&carol.get("/profile").await);
}

#[test]
fn every_address_of_the_router_is_in_these_lists() {
    let router = include_str!("../../src/router.rs");
    let routes = router.split(".route(").skip(1).map(|route| {
        let mut quoted = route.split('"');
        (quoted.nth(1).unwrap(), quoted.next().unwrap())
    });
    let mut numbers = (0, 0);
    // Two of these are of the router's own test.
    for (path, handlers) in routes.filter(|(path, _)| !["/panics", "/waits"].contains(path)) {
        let path = path.replace("{user}", "bob");
        let handlers = handlers.split(".route").next().unwrap();
        if handlers.contains("post(") {
            let mut forms = FORMS.iter().chain(&OTHER_FORMS);
            assert!(forms.any(|(form, _)| *form == path), "{path}");
            numbers.0 += 1;
        }
        let elsewhere = ["/", "/login", "/login/second"].contains(&&*path);
        if handlers.contains("get(") && !elsewhere && !path.starts_with("/assets/") {
            assert!(PAGES.contains(&&*path), "{path}");
            numbers.1 += 1;
        }
    }
    assert_eq!(numbers, (FORMS.len() + OTHER_FORMS.len(), PAGES.len()));
}

#[tokio::test]
async fn who_only_knows_the_password_gains_nothing_by_confirming_somebody_elses_sheet() {
    let site = Site::new().await;
    let mut thief = site.signed_in("alice").await;
    let mut alice = site.signed_in("alice").await;
    let sheet = alice.sheet("alice").await;
    let page = thief.get(CODES).await;
    let waiting = page.between("name=\"set\" value=\"", "\"").to_owned();
    assert_eq!(waiting, sheet.set);
    let page = thief
        .post(&format!("{CODES}/activate"), &[("set", &waiting)])
        .await;
    assert_eq!(page.location(), CODES);
    assert_eq!(thief.get(CODES).await.location(), "/login");
    // Had it been her own phone, she would know why.
    let page = thief.get("/login").await;
    assert!(
        page.text("message")
            .ends_with("is active now. Codes of older sheets are invalid.")
    );
    assert!(page.says(&format!("<title>{} · Log in", page.text("message"))));
    // She confirms too, and goes on.
    let page = alice.activate(&sheet).await;
    assert!(page.says("is already active") && page.text("left") == "10");
}

#[tokio::test]
async fn nobody_voids_their_own_codes_as_an_administrator() {
    let site = Site::new().await;
    let mut carol = site.signed_in("carol").await;
    carol.active_sheet("carol").await;
    let own = format!("{SETTINGS}/users/carol");
    for (form, fields) in [
        ("revoke", &[("sure", "yes")][..]),
        ("override/revoke", &[]),
        ("override", &[("minutes", "60")]),
        ("unlock", &[]),
    ] {
        let page = carol.post(&format!("{own}/{form}"), fields).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{form}");
    }
    let page = carol.get(&own).await;
    assert_eq!(page.text("left"), "10");
    assert_eq!(page.body.matches("<form").count(), 1, "the log-out's");
}

#[tokio::test]
async fn after_a_restore_older_codes_are_refused_and_newer_ones_accepted() {
    let site = Site::new().await;
    let sheet = site.signed_in("alice").await.active_sheet("alice").await;
    let restored = site.now().saturating_add(Duration::from_secs(1));
    let site = Site::start(site.folder, |options| options.void_before = Some(restored)).await;
    site.pass(Duration::from_secs(60));
    let mut phone = site.browser();
    phone.password("alice").await;
    let page = phone
        .submit("/login/code", &[("code", &sheet.codes[0])])
        .await;
    assert_eq!(page.text("message"), "This code was not accepted.");
    let newer = site.signed_in("bob").await.active_sheet("bob").await;
    let mut phone = site.browser();
    phone.password("bob").await;
    let page = phone
        .submit("/login/code", &[("code", &newer.codes[0])])
        .await;
    assert!(page.says("Code 1 is spent, 9 codes left."), "{}", page.body);
}

#[tokio::test]
async fn with_another_key_file_codes_are_refused_and_none_is_counted_wrong() {
    let site = Site::new().await;
    let sheet = site.signed_in("alice").await.active_sheet("alice").await;
    let key = site.folder.path().join("web.db.key");
    let right = fs::read(&key).unwrap();
    fs::write(&key, [7; 32]).unwrap();
    let site = Site::start(site.folder, |_| {}).await;
    let mut phone = site.browser();
    phone.password("alice").await;
    for code in &sheet.codes {
        let page = phone.submit("/login/code", &[("code", code)]).await;
        assert_eq!(page.text("message"), "This code was not accepted.");
    }
    // Nor does an administrator read that there are ten.
    let mut carol = site.signed_in("carol").await;
    let page = carol.get("/settings/backup-codes/users/alice").await;
    assert_eq!(page.text("left"), "0");
    assert_eq!(page.text("wrong-in-a-row"), "0");
    assert!(
        page.says("None of these codes is accepted"),
        "{}",
        page.body
    );
    fs::write(&key, right).unwrap();
    let site = Site::start(site.folder, |_| {}).await;
    let mut phone = site.browser();
    phone.password("alice").await;
    let page = phone
        .submit("/login/code", &[("code", &sheet.codes[0])])
        .await;
    assert!(page.says("Code 1 is spent, 9 codes left."), "{}", page.body);
}

#[tokio::test]
async fn what_changes_a_second_factor_ends_the_users_other_sessions() {
    let site = Site::new().await;
    let mut alice = site.signed_in("alice").await;
    // Somebody who has found the sheet.
    let thief = async |code: &str| {
        let mut thief = site.browser();
        thief.password("alice").await;
        thief.post("/login/code", &[("code", code)]).await;
        assert_eq!(thief.get(CODES).await.status, StatusCode::OK);
        thief
    };
    let is_out = async |mut thief: Browser| thief.get(CODES).await.location() == "/login";
    let own = [("password", password("alice"))];

    let sheet = alice.active_sheet("alice").await;
    let old = thief(&sheet.codes[0]).await;
    let sheet = alice.active_sheet("alice").await;
    assert!(is_out(old).await, "a new sheet");

    let old = thief(&sheet.codes[0]).await;
    set_app_up(&site, &mut alice, "alice").await;
    assert!(is_out(old).await, "an app");

    let old = thief(&sheet.codes[1]).await;
    let page = alice.submit(&format!("{CODES}/revoke"), &own).await;
    assert!(page.says("You are logged out everywhere else."));
    assert!(is_out(old).await, "revoking");

    let sheet = alice.active_sheet("alice").await;
    let old = thief(&sheet.codes[0]).await;
    let page = alice.submit("/profile/authenticator/remove", &own).await;
    assert!(page.says("The authenticator app is removed"));
    assert!(is_out(old).await, "the app's end");

    let sheet = alice.active_sheet("alice").await;
    let old = thief(&sheet.codes[0]).await;
    let mut carol = site.signed_in("carol").await;
    let revoke = format!("{SETTINGS}/users/alice/revoke");
    carol.post(&revoke, &[("sure", "yes")]).await;
    assert!(
        is_out(old).await && is_out(alice).await,
        "an administrator's revoking"
    );
}

#[tokio::test]
async fn a_clock_that_was_ahead_neither_keeps_users_out_nor_sessions_alive() {
    const YEAR: i64 = 365 * 24 * 60 * 60 * 1000;
    let set_clock = async |site: &Site, millis| {
        site.set_clock(millis);
        site.app.refresh_settings().await.unwrap();
    };
    for (ahead, lasts) in [
        (4 * 60 * 1000, true),
        (6 * 60 * 1000, false),
        (60 * 60 * 1000, false),
        (YEAR, false),
        // Not far from the year 9999.
        (7970 * YEAR, false),
    ] {
        let site = Site::new().await;
        let right = site.now().unix_millis();
        let wrong = right + ahead;
        set_clock(&site, wrong).await;
        let mut alice = site.signed_in("alice").await;
        // Ends her other sessions.
        let sheet = alice.active_sheet("alice").await;
        assert_eq!(alice.get(CODES).await.status, StatusCode::OK);
        set_clock(&site, right).await;
        let status = alice.get(CODES).await.status;
        assert_eq!(status == StatusCode::OK, lasts, "{ahead}");
        let mut again = site.browser();
        again.password("alice").await;
        again
            .post("/login/code", &[("code", &sheet.codes[0])])
            .await;
        assert_eq!(again.get(CODES).await.status, StatusCode::OK, "{ahead}");
        set_clock(&site, wrong).await;
        let status = alice.get(CODES).await.status;
        assert_eq!(status == StatusCode::OK, lasts, "it came back: {ahead}");
        // A clock that is behind takes a session for one of the future, and ends it.
        for behind in [0, right] {
            set_clock(&site, behind).await;
            assert_eq!(again.get(CODES).await.location(), "/login", "{ahead}");
        }
    }
}

#[tokio::test]
async fn a_code_sent_twice_at_once_lets_its_user_in() {
    let site = Site::new().await;
    let sheet = site.signed_in("alice").await.active_sheet("alice").await;
    for code in &sheet.codes[..5] {
        let mut phone = site.browser();
        phone.password("alice").await;
        let half = phone.cookie.clone();
        let (mut one, mut other) = (phone.clone(), phone.clone());
        let code = [("code", code.as_str())];
        let answers = tokio::join!(
            one.post("/login/code", &code),
            other.post("/login/code", &code)
        );
        // Whichever answer comes last: one of them gives a cookie, none the old one or a removal.
        let given = [answers.0, answers.1];
        let given: Vec<_> = given.iter().map(|it| it.header("set-cookie")).collect();
        assert_eq!(
            given.iter().filter(|it| !it.is_empty()).count(),
            1,
            "{given:?}"
        );
        phone.cookie = [one.cookie, other.cookie]
            .into_iter()
            .find(|it| *it != half)
            .unwrap();
        assert_eq!(phone.get(CODES).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn who_logs_in_after_somebody_else_sees_nothing_of_theirs() {
    let site = Site::new().await;
    for user in ["alice", "bob"] {
        site.signed_in(user).await.active_sheet(user).await;
    }
    let mut shared = site.browser();
    shared.password("alice").await;
    shared.post("/login/code", &[("code", "hello")]).await;
    shared.password("bob").await;
    let page = shared.get("/login/second").await;
    assert!(page.says("Logging in as Bob Becker") && !page.says("id=\"message\""));
}
