//! What an administrator does.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::StatusCode;
use backup_codes::audit::is_forging;
use backup_codes::policy::{OnRoleLoss, PermittedRoles, Role};
use backup_codes::repository::{Expected, PutOutcome, Revision, SettingsStore as _};
use backup_codes::{BackupCodes, Context, HashParams, Hashing, Keyring, Settings, Subject, UserId};
use backup_codes_sqlx::SqliteRepository;
use jiff::tz::TimeZone;
use tokio::time::timeout;

use crate::site::{Browser, CODES, Page, SETTINGS, Site, password};

#[tokio::test]
async fn whoever_runs_the_program_can_let_somebody_in() {
    let site = Site::new().await;
    let mut carol = site.signed_in("carol").await;
    let sheet = carol.active_sheet("carol").await;
    for code in &sheet.codes {
        let mut browser = site.browser();
        assert_eq!(browser.password("carol").await.location(), "/login/second");
        let page = browser.submit("/login/code", &[("code", code)]).await;
        assert!(page.says("You are logged in"), "{}", page.body);
    }
    let code = site.app.issue_override("carol").await.unwrap();
    let mut browser = site.browser();
    browser.password("carol").await;
    let page = browser
        .submit("/login/code", &[("code", &code.expose())])
        .await;
    assert!(page.says("The override code is spent"), "{}", page.body);
    let error = site.app.issue_override("nobody").await.unwrap_err();
    assert_eq!(error.to_string(), "looking for the user");

    // Switched off by somebody who has an app, all the same.
    let page = browser.get(SETTINGS).await;
    let based_on = page.between("name=\"based_on\" value=\"", "\"").to_owned();
    site.sql(
        "UPDATE web_users SET totp_secret = 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP' WHERE id = 'carol'",
    )
    .await;
    let page = browser.settings(&based_on, &[("role", "staff")]).await;
    assert_eq!(page.location(), SETTINGS);
    assert!(site.app.issue_override("carol").await.is_err());
    site.app.switch_on().await.unwrap();
    assert!(site.app.issue_override("carol").await.is_ok());
    let page = browser.get(SETTINGS).await;
    assert!(page.says("id=\"switch\" aria-describedby=\"switch-hint\" checked"));
    assert_eq!(ticked(&page), ["staff"], "the rest is as it was");
    let page = browser.get("/audit?event=save_settings").await;
    assert!(page.says("<td>the application</td>"));
    // Once more it is no change.
    let events = page.body.matches("<tr>").count();
    site.app.switch_on().await.unwrap();
    let page = browser.get("/audit?event=save_settings").await;
    assert_eq!(page.body.matches("<tr>").count(), events);
}

#[tokio::test]
async fn roles_that_the_form_does_not_show_and_newer_settings_are_kept() {
    let site = Site::new().await;
    let mut carol = site.signed_in("carol").await;
    let page = carol.get(SETTINGS).await;
    let based_on = page.between("name=\"based_on\" value=\"", "\"").to_owned();
    // Another node saves: a role this site does not have, and the strict rule.
    let store = SqliteRepository::new(site.database().await);
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
    let page = carol.get(SETTINGS).await;
    assert!(page.says("The codes of users who no longer have a selected role stop working until they have one again."));

    // A form that was drawn by a node which is ahead of this one.
    let (mut settings, revision) = store.load_settings().await.unwrap().unwrap();
    settings.set_on_role_loss(OnRoleLoss::KeepRedeeming);
    let (expected, next) = (Expected::At(revision), Revision::from_bytes([10; 16]));
    let saved = store.save_settings(expected, next, &settings, &[]).await;
    assert_eq!(saved.unwrap(), PutOutcome::Applied);
    let page = carol.settings(&next.to_string(), &fields).await;
    assert_eq!(page.location(), SETTINGS);
    let (settings, _) = store.load_settings().await.unwrap().unwrap();
    assert_eq!(settings.on_role_loss(), OnRoleLoss::KeepRedeeming);
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
            .says("The changes are saved and in effect.")
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
    // An app that lets nobody in is no way back.
    site.sql("UPDATE web_users SET totp_secret = 'JBSWY3DP', totp_tries = 100 WHERE id = 'carol'")
        .await;
    let page = carol.settings(&fresh, &all).await;
    assert!(page.says("you could not log in again"));
    site.sql("UPDATE web_users SET totp_secret = NULL WHERE id = 'carol'")
        .await;
    carol
        .submit(
            &format!("{CODES}/revoke"),
            &[("password", password("carol"))],
        )
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
    assert!(page.says("There is no user with codes left."));
    assert_eq!(page.text("users-with-codes"), "0");

    let sheet = site.signed_in("alice").await.active_sheet("alice").await;
    site.wait(Duration::from_secs(1)).await;
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
    let today = page.body.rsplit("class=\"bar\"").next().unwrap();
    assert!(today.contains("height=\"100\"") && today.contains("<title>24 Nov: 7</title>"));

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
    let page = carol.get(&format!("{SETTINGS}?q=bo")).await;
    assert_eq!(users(&page), ["bob"]);
    for (link, expected) in [
        ("sort=left", &["alice", "bob"][..]),
        ("sort=used", &["alice", "bob"]),
        ("filter=exhausted", &[]),
        ("filter=all&sort=generated", &["bob", "alice"]),
    ] {
        let page = carol.get(&format!("{SETTINGS}?{link}")).await;
        assert_eq!(users(&page), expected, "{link}");
    }
    // By name as by login name, and who has no codes is found too.
    let page = carol.get(&format!("{SETTINGS}?q=BECK")).await;
    assert_eq!(users(&page), ["bob"]);
    assert!(!page.says("Matching users who are not in this list"));
    let page = carol.get(&format!("{SETTINGS}?q=diaz&filter=all")).await;
    assert_eq!(
        page.text("no-users"),
        "There is no user with a sheet whose name contains “diaz”."
    );
    assert!(page.says("Matching users who are not in this list") && page.says("users/dave"));
    let page = carol.get(&format!("{SETTINGS}?q=%25")).await;
    assert_eq!(users(&page), [""; 0], "a sign of patterns is a sign");
    let page = carol.get(&format!("{SETTINGS}?q=a&filter=low")).await;
    assert_eq!(users(&page), ["alice", "carol", "dave"]);

    // Deleted by somebody who did not think of the codes.
    site.sql("UPDATE web_users SET id = 'robert' WHERE id = 'bob'")
        .await;
    let page = carol.get(SETTINGS).await;
    assert_eq!(users(&page), ["alice"]);
    assert!(page.says("<span class=\"hint\">bob</span>") && page.says("User no longer exists"));

    // More names than are looked at.
    site.sql(
        "INSERT INTO web_users (id, name, password, roles)
         WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many LIMIT 1000)
         SELECT 'many' || n, 'One of many', '', 'staff' FROM many",
    )
    .await;
    let page = carol.get(&format!("{SETTINGS}?q=many")).await;
    assert!(!page.says("id=\"too-many\""));
    let page = carol.get(&format!("{SETTINGS}?q=a")).await;
    assert!(page.says("More than a thousand users match."));
    let page = carol.get(&format!("{SETTINGS}?q=one%20of%20many")).await;
    assert_eq!(users(&page).len(), 25);
    assert_eq!(
        page.text("more-others"),
        "And 975 more. Type more of the name."
    );
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
        "1 event on this page cannot be read."
    );
    assert!(page.says("activate"));
    // An export says so too.
    let csv = carol.get("/audit.csv").await;
    let line = "\"\",\"unreadable events\",\"\",\"1\",\"\",\"\",\"\",\"\",\"\",\"\"\r\n";
    assert!(csv.body.ends_with(line), "{}", csv.body);
    let jsonl = carol.get("/audit.jsonl").await;
    assert!(
        jsonl.body.ends_with("{\"unreadable\":1}\n"),
        "{}",
        jsonl.body
    );
}

#[tokio::test]
async fn events_of_a_tampered_database_forge_no_line() {
    let site = Site::new().await;
    let mut bob = site.signed_in("bob").await;
    bob.active_sheet("bob").await;
    site.sql(
        "UPDATE backup_codes_events SET body = json_set(
            body,
            '$.user_agent', 'x' || char(10, 127, 133, 1564, 8207, 8232, 8238, 65279, 917569) || 'y',
            '$.actor', json_object('user', 'x' || char(10, 133, 8207, 8238, 917569) || 'y')
         ) WHERE kind = 'prepare'",
    )
    .await;
    let mut carol = site.signed_in("carol").await;
    let forging = |c: char| is_forging(c) && !"\r\n".contains(c);
    let actor = r"x\n\u{85}\u{200f}\u{202e}\u{e0041}y";
    let page = carol.get("/audit?event=prepare").await;
    assert!(page.says(&format!("<td>{actor}</td>")), "{}", page.body);
    assert!(!page.body.contains(forging));
    let csv = carol.get("/audit.csv?event=prepare").await;
    assert!(!csv.body.contains(forging), "{:?}", csv.body);
    assert_eq!(csv.body.matches('\n').count(), 2);
    assert!(csv.says(&format!("\"x{}y\"", "\u{fffd}".repeat(9))));
    let jsonl = carol.get("/audit.jsonl?event=prepare").await;
    assert!(!jsonl.body.contains(forging), "{:?}", jsonl.body);
    assert_eq!(jsonl.body.lines().count(), 1);
    let event: serde_json::Value = serde_json::from_str(&jsonl.body).unwrap();
    assert_eq!(
        event["user_agent.original"],
        "x\n\u{7f}\u{85}\u{61c}\u{200f}\u{2028}\u{202e}\u{feff}\u{e0041}y"
    );
    assert_eq!(event["user.id"], actor);
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

#[tokio::test]
async fn days_and_times_are_those_of_the_sites_zone() {
    // Five and a half hours ahead of UTC, where the clock starts at 10:00 on 24 November.
    let india = TimeZone::get("Asia/Kolkata").unwrap();
    let site = Site::with(|options| options.zone = india).await;
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let sheet = site.signed_in("alice").await.active_sheet("alice").await;
    // The sheet and its export say the same.
    let made = "24 Nov 2026, 15:30 UTC+05:30";
    assert!(sheet.page.says(&format!(">{made}</time>")));
    let exported = sheet.page.between("id=\"sheet-text\" value=\"", "\"");
    assert!(
        exported.contains(&format!("\nMade on: {made}\n")),
        "{exported}"
    );
    let log_in = async |code: &str| {
        let mut phone = site.browser();
        phone.password("alice").await;
        let page = phone.submit("/login/code", &[("code", code)]).await;
        assert!(page.says("You are logged in."));
        page
    };
    let figures = async || {
        let page = site.signed_in("carol").await.get(SETTINGS).await;
        let figures = ["used-today", "used-this-month"].map(|id| page.text(id).to_owned());
        (figures, page)
    };
    let page = log_in(&sheet.codes[0]).await;
    let used = page.between("<span class=\"number\">1.</span>", "</li>");
    assert!(used.contains(
        "<time datetime=\"2026-11-24T10:00:00.000Z\">24 Nov 2026, 15:30 UTC+05:30</time>"
    ));
    // 23:59 there.
    site.wait(minutes(8 * 60 + 29)).await;
    log_in(&sheet.codes[1]).await;
    assert_eq!(figures().await.0, ["2", "2"]);
    // Midnight there, half past six in the evening in UTC.
    site.wait(minutes(1)).await;
    assert_eq!(figures().await.0, ["0", "2"]);
    log_in(&sheet.codes[2]).await;
    let (counts, page) = figures().await;
    assert_eq!(counts, ["1", "3"]);
    assert!(page.says("days of Asia/Kolkata"));
    assert!(page.says("<title>24 Nov: 2</title>") && page.says("<title>25 Nov: 1</title>"));

    let mut carol = site.signed_in("carol").await;
    let uses = async |carol: &mut Browser, day: &str| {
        let page = carol.get(&format!("/audit?event=redeem&day={day}")).await;
        page.body.matches("<th scope=\"row\">redeem</th>").count()
    };
    assert_eq!(uses(&mut carol, "2026-11-24").await, 2);
    assert_eq!(uses(&mut carol, "2026-11-25").await, 1);
    let page = carol.get("/audit?event=redeem").await;
    assert!(
        page.says(">2026-11-25 00:00:00 UTC+05:30</time>") && page.says("times of Asia/Kolkata")
    );

    // December there is still November in UTC.
    site.wait(minutes(6 * 24 * 60 - 1)).await;
    assert_eq!(figures().await.0, ["0", "3"]);
    site.wait(minutes(1)).await;
    assert_eq!(figures().await.0, ["0", "0"]);
}

#[tokio::test]
async fn a_day_that_the_zone_skipped_is_an_empty_day_of_the_chart() {
    let apia = TimeZone::get("Pacific/Apia").unwrap();
    let site = Site::with(|options| options.zone = apia).await;
    // Noon of 31 December 2011 there; the day before was the 29th.
    site.set_clock(1_325_282_400_000);
    site.wait(Duration::ZERO).await;
    let sheet = site.signed_in("alice").await.active_sheet("alice").await;
    let mut phone = site.browser();
    phone.password("alice").await;
    phone
        .submit("/login/code", &[("code", &sheet.codes[0])])
        .await;
    let page = site.signed_in("carol").await.get(SETTINGS).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert_eq!(page.text("used-today"), "1");
    for (day, count) in [("29 Dec", 0), ("30 Dec", 0), ("31 Dec", 1)] {
        let bar = format!("<title>{day}: {count}</title>");
        assert_eq!(page.body.matches(&bar).count(), 1, "{day}");
    }
    let carol = &mut site.signed_in("carol").await;
    for (day, events) in [("2011-12-30", false), ("2011-12-31", true)] {
        let page = carol.get(&format!("/audit?event=redeem&day={day}")).await;
        assert_eq!(page.status, StatusCode::OK, "{day}");
        assert_ne!(page.says("No events."), events, "{day}");
    }
}

#[tokio::test]
async fn an_override_code_works_until_it_expires_or_is_revoked() {
    let site = Site::new().await;
    site.signed_in("alice").await.active_sheet("alice").await;
    let mut carol = site.signed_in("carol").await;
    let user = format!("{SETTINGS}/users/alice");
    let issue = async |carol: &mut Browser, minutes: &str| {
        let page = carol
            .post(&format!("{user}/override"), &[("minutes", minutes)])
            .await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        page.text("override-code").to_owned()
    };
    let log_in = async |code: &str| {
        let mut phone = site.browser();
        phone.password("alice").await;
        phone.submit("/login/code", &[("code", code)]).await
    };
    for wrong in ["0", "99999", "-1", "1e3", ""] {
        let page = carol
            .post(&format!("{user}/override"), &[("minutes", wrong)])
            .await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
    assert!(!carol.get(&user).await.says("override-waits"));

    let replaced = issue(&mut carol, "60").await;
    let code = issue(&mut carol, "60").await;
    assert!(
        carol
            .get(&user)
            .await
            .text("override-waits")
            .contains("24 Nov 2026, 11:00 UTC")
    );
    assert!(log_in(&replaced).await.says("This code was not accepted."));
    site.wait(Duration::from_secs(60 * 60)).await;
    assert!(!carol.get(&user).await.says("override-waits"));
    assert!(log_in(&code).await.says("This code was not accepted."));

    let code = issue(&mut carol, "480").await;
    let page = carol.submit(&format!("{user}/override/revoke"), &[]).await;
    assert!(page.says("The override code is revoked.") && !page.says("override-waits"));
    assert!(log_in(&code).await.says("This code was not accepted."));

    // The box first; then nothing is left, and the page has said what that means.
    let page = carol.submit(&format!("{user}/revoke"), &[]).await;
    assert!(page.says("Tick the box") && page.text("left") == "10");
    assert!(page.says("the password alone is then enough to log in"));
    let page = carol
        .submit(&format!("{user}/revoke"), &[("sure", "yes")])
        .await;
    assert!(page.says("All backup codes of Alice Arnold are invalid."));
    let page = carol
        .submit(&format!("{user}/revoke"), &[("sure", "yes")])
        .await;
    assert!(page.says("Alice Arnold had no backup codes to revoke."));
    site.signed_in("alice").await;
}

#[tokio::test]
async fn what_is_due_is_done_without_anybody_asking() {
    let site = Site::new().await;
    let mut bob = site.signed_in("bob").await;
    bob.active_sheet("bob").await;
    // Another program on the same database: it erases bob, and changes the settings.
    let store = SqliteRepository::open(site.database().await).await.unwrap();
    let others = BackupCodes::new(
        store.clone(),
        Settings::default(),
        Hashing::inline(HashParams::new(Keyring::without_pepper()).unwrap()),
    );
    let subject = Subject::new(UserId::new("bob").unwrap(), ["editor"]);
    let system = Context::system(site.now());
    let _ = others.erase(&subject, &system).await.unwrap();
    let (mut settings, revision) = store.load_settings().await.unwrap().unwrap();
    settings.permit_all_roles();
    let (expected, next) = (Expected::At(revision), Revision::from_bytes([9; 16]));
    let saved = store.save_settings(expected, next, &settings, &[]).await;
    assert_eq!(saved.unwrap(), PutOutcome::Applied);
    site.sql("UPDATE web_sessions SET expires_at = 1").await;
    let database = site.database().await;
    let count = async |sql: &'static str| -> i64 {
        let count = sqlx::query_scalar(sql).fetch_one(&database).await;
        count.unwrap()
    };
    assert_eq!(count("SELECT count(*) FROM backup_codes_records").await, 1);
    assert_ne!(count("SELECT count(*) FROM backup_codes_events").await, 0);
    assert_ne!(count("SELECT count(*) FROM web_sessions").await, 0);
    let mut dave = site.browser();
    assert_eq!(dave.password("dave").await.location(), "/profile");
    assert!(dave.get(CODES).await.says("Your role does not include"));

    // More than a year later all of it is old. That it is later shows in what happens then.
    site.pass(Duration::from_secs(401 * 24 * 60 * 60));
    site.app.refresh_settings().await.unwrap();
    site.signed_in("alice").await.active_sheet("alice").await;
    site.app.start_tasks();
    let done = async {
        for sql in [
            "SELECT count(*) FROM backup_codes_records WHERE user_key = CAST('bob' AS BLOB)",
            "SELECT count(*) FROM backup_codes_events WHERE user_key = CAST('bob' AS BLOB)",
            "SELECT count(*) FROM web_sessions WHERE expires_at = 1",
        ] {
            while count(sql).await > 0 {}
        }
        dave.password("dave").await;
        while !dave.get(CODES).await.says("Make a sheet") {}
    };
    let done = timeout(Duration::from_secs(60), done).await;
    assert!(done.is_ok(), "waited in vain");
}
