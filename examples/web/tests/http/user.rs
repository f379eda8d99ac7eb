//! What a user does.

use std::time::Duration;

use axum::http::StatusCode;
use backup_codes::Timestamp;
use totp_rs::{Builder, Secret};

use crate::site::{Browser, CODES, SETTINGS, Site, log, password};

#[tokio::test]
async fn a_sheet_that_another_tab_has_activated_is_not_said_to_be_dropped() {
    let site = Site::new().await;
    let mut alice = site.signed_in("alice").await;
    let sheet = alice.active_sheet("alice").await;
    let page = alice
        .submit(&format!("{CODES}/discard"), &[("set", &sheet.set)])
        .await;
    assert!(
        page.says("was not discarded: it is active. Keep it."),
        "{}",
        page.body
    );
    assert!(!page.says("Throw it away") && page.text("left") == "10");
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
    assert!(page.says("There are no backup codes.") && page.says("is not active yet"));
    let page = alice.activate(&sheet).await;
    assert_eq!((page.text("left"), page.text("total")), ("10", "10"));

    let mut phone = site.browser();
    assert_eq!(phone.password("alice").await.location(), "/login/second");
    // In any spelling, with the number before it.
    let messy = format!(
        " ٣) {}. \r\n",
        sheet.codes[2].to_lowercase().replace('-', "ー")
    );
    let page = phone.submit("/login/code", &[("code", &messy)]).await;
    assert_eq!(
        page.text("message"),
        "You are logged in. Code 3 is spent, 9 codes left."
    );
    assert_eq!(page.text("left"), "9");
    assert!(
        page.between("<span class=\"number\">3.</span>", "</li>")
            .contains("used <time")
    );
    assert!(
        !page
            .between("<span class=\"number\">4.</span>", "</li>")
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
        assert_eq!(page.text("message"), "Code 5 is valid and unused.");
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
        assert!(page.says("This is not your password.") && !page.says("is not active yet"));
    }
    let new = alice.sheet("alice").await;
    assert!(
        new.page
            .says("Your old codes work until you confirm below.")
    );
    let check = format!("{CODES}/check");
    for (sheet, right) in [(&old, true), (&new, false)] {
        let page = alice.submit(&check, &[("code", &sheet.codes[0])]).await;
        assert_eq!(page.says("is valid and unused"), right);
    }
    alice.activate(&new).await;
    for (sheet, right) in [(&old, false), (&new, true)] {
        let page = alice.submit(&check, &[("code", &sheet.codes[1])]).await;
        assert_eq!(page.says("is valid and unused"), right);
    }
    let dropped = alice.sheet("alice").await;
    let page = alice
        .submit(&format!("{CODES}/discard"), &[("set", &dropped.set)])
        .await;
    assert!(page.says("is discarded") && !page.says("is not active yet"));
    assert!(alice.activate(&dropped).await.says("cannot be activated"));
    // Nor does a borrowed session take the second factor away.
    let revoke = format!("{CODES}/revoke");
    let page = alice.submit(&revoke, &[("password", "wrong")]).await;
    assert!(page.says("This is not your password.") && page.text("left") == "10");
    assert!(page.says("your password alone is enough to log in"));
    let own = [("password", password("alice"))];
    let page = alice.submit(&revoke, &own).await;
    assert!(
        page.says("All your backup codes are invalid.") && page.says("There are no backup codes.")
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
async fn a_form_sent_twice_does_once() {
    let site = Site::new().await;
    let mut alice = site.signed_in("alice").await;
    let sheet = alice.active_sheet("alice").await;
    let page = alice.activate(&sheet).await;
    assert!(page.says("is already active") && page.text("left") == "10");

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
    // With the session of before, which is gone. It takes no cookie that the first answer gave.
    phone.cookie = half;
    let again = phone
        .post("/login/code", &[("code", &sheet.codes[0])])
        .await;
    assert_eq!(again.location(), "/login");
    assert!(!again.headers.contains_key("set-cookie"));
    assert_eq!(alice.get(CODES).await.text("left"), "9");

    let revoke = format!("{CODES}/revoke");
    let own = [("password", password("alice"))];
    let page = alice.submit(&revoke, &own).await;
    assert!(page.says("All your backup codes are invalid."));
    let page = alice.submit(&revoke, &own).await;
    assert!(page.says("There were no backup codes to revoke."));

    let dropped = alice.sheet("alice").await;
    let discard = format!("{CODES}/discard");
    let page = alice.submit(&discard, &[("set", &dropped.set)]).await;
    assert!(page.says("is discarded") && !page.says("is not active yet"));
    let page = alice.submit(&discard, &[("set", &dropped.set)]).await;
    assert!(
        page.says("was discarded, replaced or purged before"),
        "{}",
        page.body
    );
    // What an administrator sends twice.
    alice.active_sheet("alice").await;
    let mut carol = site.signed_in("carol").await;
    let user = format!("{SETTINGS}/users/alice");
    carol
        .post(&format!("{user}/override"), &[("minutes", "60")])
        .await;
    for (form, says) in [
        ("unlock", "No wrong codes were counted"),
        ("override/revoke", "The override code is revoked."),
        ("override/revoke", "There was no override code to revoke"),
    ] {
        let page = carol.submit(&format!("{user}/{form}"), &[]).await;
        assert!(page.says(says) && page.text("left") == "10", "{form}");
    }
    let page = carol.get(SETTINGS).await;
    let based_on = page.between("name=\"based_on\" value=\"", "\"").to_owned();
    let page = carol.settings(&based_on, &[("switch", "on")]).await;
    assert_eq!(page.location(), SETTINGS);
    let page = carol.settings(&based_on, &[("switch", "on")]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
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
    assert!(alice.activate(&lost).await.says("cannot be activated"));
    assert!(alice.activate(&counts).await.says("is active now"));
    let check = format!("{CODES}/check");
    let right = alice.submit(&check, &[("code", &counts.codes[0])]).await;
    let wrong = alice.submit(&check, &[("code", &lost.codes[0])]).await;
    assert!(right.says("is valid and unused") && wrong.says("was not accepted"));
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
            "This does not look like a backup code: type one code as it is printed. This was not counted as a wrong code.",
        ),
        (
            "",
            "This does not look like a backup code: type one code as it is printed. This was not counted as a wrong code.",
        ),
        (
            &*swapped(&sheet.codes[0]),
            "There is probably a typing error in this code: compare it with your sheet. This was not counted as a wrong code.",
        ),
        (
            &*sheet.codes[0].replacen('1', "Ж", 1),
            "This has letters of another alphabet: switch the keyboard to Latin letters. This was not counted as a wrong code.",
        ),
        (
            "1140-4239-2772-2271-0588-7026",
            "This looks like a code of an older kind, which is no longer accepted: compare it with your newest sheet. This was not counted as a wrong code.",
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
    let locked = "This code was not accepted. Too many wrong codes: wait 30 minutes.";
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
            .starts_with("You are logged in. The override code is spent.")
    );
    let mut again = site.browser();
    again.password("alice").await;
    let page = again.submit("/login/code", &[("code", &over)]).await;
    assert!(
        page.text("message")
            .starts_with("This code was not accepted.")
    );
    let page = carol.submit(&format!("{user}/unlock"), &[]).await;
    assert!(page.says("No wrong codes were counted") && page.text("wrong-in-a-row") == "0");
    let page = carol
        .submit(&format!("{user}/revoke"), &[("sure", "yes")])
        .await;
    assert!(page.says("All backup codes of Alice Arnold are invalid."));
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

/// What an authenticator app shows at this time.
fn app_code(secret: &str, at: Timestamp) -> String {
    let secret = Secret::try_from_base32(secret).unwrap();
    let totp = Builder::new().with_secret(secret).build().unwrap();
    let seconds = u64::try_from(at.unix_millis() / 1000).unwrap();
    totp.generate(seconds).to_string()
}

/// A step of an authenticator app.
const STEP: Duration = Duration::from_secs(30);
const QUARTER: Duration = Duration::from_secs(15 * 60);

/// Sets an authenticator app up, and tells its secret.
pub(crate) async fn set_app_up(site: &Site, browser: &mut Browser, user: &str) -> String {
    let path = |action: &str| format!("/profile/authenticator/{action}");
    let page = browser
        .post(&path("prepare"), &[("password", password(user))])
        .await;
    let secret = page.text("secret").to_owned();
    let code = app_code(&secret, site.now());
    let page = browser.submit(&path("activate"), &[("code", &code)]).await;
    assert!(
        page.says("The authenticator app is set up."),
        "{}",
        page.body
    );
    secret
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
    let code = app_code(&secret, site.now());
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
            .says("Code from your authenticator app")
    );
    // Each of the app's codes counts once.
    let page = phone
        .submit("/login/authenticator", &[("code", &code)])
        .await;
    assert!(page.says("This code was not accepted."));
    site.wait(STEP).await;
    let code = app_code(&secret, site.now());
    let page = phone
        .submit("/login/authenticator", &[("code", &code)])
        .await;
    assert!(page.says("You are logged in."));

    let mut thief = site.browser();
    thief.password("alice").await;
    let wrong = [("code", "wrong")];
    for _ in 0..5 {
        let page = thief.submit("/login/authenticator", &wrong).await;
        assert!(page.says("This code was not accepted."));
    }
    // The right one is not looked at any more, until an administrator helps.
    let refused = "Try again in 14 minutes, or use a backup code.";
    site.wait(STEP).await;
    let code = app_code(&secret, site.now());
    for code in ["wrong", &code] {
        let page = thief
            .submit("/login/authenticator", &[("code", code)])
            .await;
        assert!(page.says(refused), "{}", page.body);
    }
    let mut carol = site.signed_in("carol").await;
    carol
        .post(&format!("{SETTINGS}/users/alice/unlock"), &[])
        .await;
    let page = thief
        .submit("/login/authenticator", &[("code", &code)])
        .await;
    assert!(page.says("You are logged in."), "{}", page.body);

    let page = alice
        .submit(&path("remove"), &[("password", password("alice"))])
        .await;
    assert!(page.says("and your backup codes are revoked"));
    assert!(alice.get(CODES).await.says("There are no backup codes."));
    let mut alice = site.signed_in("alice").await;
    // Sent once more, it takes no codes that were made since.
    alice.active_sheet("alice").await;
    let page = alice
        .submit(&path("remove"), &[("password", password("alice"))])
        .await;
    assert!(page.says("There is no authenticator app."));
    assert_eq!(alice.get(CODES).await.text("left"), "10");
    let page = alice.submit(&path("activate"), &[("code", &code)]).await;
    assert!(page.says("Nothing was changed: wait for the next one."));
}

#[tokio::test]
async fn a_hundred_wrong_codes_of_an_app_in_a_row_end_it_until_somebody_helps() {
    let site = Site::new().await;
    let mut alice = site.signed_in("alice").await;
    let secret = set_app_up(&site, &mut alice, "alice").await;
    let sheet = alice.active_sheet("alice").await;
    let mut thief = site.browser();
    let tries = async |thief: &mut Browser, many: usize| {
        for number in 0..many {
            if number % 5 == 0 {
                site.wait(QUARTER).await;
                thief.password("alice").await;
            }
            let page = thief
                .submit("/login/authenticator", &[("code", "wrong")])
                .await;
            assert!(page.says("This code was not accepted."), "{number}");
        }
        site.wait(QUARTER).await;
        thief.password("alice").await;
    };
    // A right one forgets the wrong ones before it; a backup code does not.
    tries(&mut thief, 99).await;
    let code = app_code(&secret, site.now());
    let page = thief
        .submit("/login/authenticator", &[("code", &code)])
        .await;
    assert!(page.says("You are logged in."));
    let mut thief = site.browser();
    tries(&mut thief, 100).await;
    for code in [app_code(&secret, site.now()), "wrong".to_owned()] {
        let page = thief
            .submit("/login/authenticator", &[("code", &code)])
            .await;
        assert!(page.says("the app no longer gives access"), "{}", page.body);
    }
    let page = thief
        .submit("/login/code", &[("code", &sheet.codes[0])])
        .await;
    assert!(page.says("Code 1 is spent"));
    let mut again = site.browser();
    again.password("alice").await;
    let code = app_code(&secret, site.now());
    let page = again
        .submit("/login/authenticator", &[("code", &code)])
        .await;
    assert!(page.says("the app no longer gives access"));

    let mut carol = site.signed_in("carol").await;
    carol
        .post(&format!("{SETTINGS}/users/alice/unlock"), &[])
        .await;
    let code = app_code(&secret, site.now());
    let page = again
        .submit("/login/authenticator", &[("code", &code)])
        .await;
    assert!(page.says("You are logged in."), "{}", page.body);
}

#[tokio::test]
async fn locks_sheets_and_logins_end_with_time() {
    let site = Site::new().await;
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let others = site.signed_in("bob").await.active_sheet("bob").await;
    let mut alice = site.signed_in("alice").await;
    let sheet = alice.active_sheet("alice").await;

    // A sheet that nobody confirmed for an hour.
    let old = alice.sheet("alice").await;
    site.wait(minutes(60)).await;
    assert!(!alice.get(CODES).await.says("is not active yet"));
    assert!(alice.activate(&old).await.says("cannot be activated"));

    // Half a login, for ten minutes.
    let mut phone = site.browser();
    phone.password("alice").await;
    site.wait(minutes(10)).await;
    assert_eq!(phone.get("/login/second").await.location(), "/login");
    let late = phone
        .post("/login/code", &[("code", &sheet.codes[0])])
        .await;
    assert_eq!(late.location(), "/login");

    // A lock, for half an hour: neither the time before its end nor the right code opens it.
    phone.password("alice").await;
    for code in &others.codes {
        phone.submit("/login/code", &[("code", code)]).await;
    }
    for (wait, text) in [(0, "wait 30 minutes."), (29, "wait a minute.")] {
        site.wait(minutes(wait)).await;
        phone.password("alice").await;
        let page = phone
            .submit("/login/code", &[("code", &sheet.codes[0])])
            .await;
        assert!(page.text("message").ends_with(text), "{}", page.body);
    }
    assert!(
        alice
            .get(CODES)
            .await
            .text("locked")
            .contains("24 Nov 2026, 11:40 UTC")
    );
    site.wait(minutes(1)).await;
    let page = phone
        .submit("/login/code", &[("code", &sheet.codes[0])])
        .await;
    assert!(page.says("Code 1 is spent, 9 codes left."), "{}", page.body);

    // A session, for eight hours.
    site.wait(minutes(8 * 60 - 1)).await;
    assert_eq!(phone.get("/profile").await.status, StatusCode::OK);
    site.wait(minutes(1)).await;
    assert_eq!(phone.get("/profile").await.location(), "/login");
}

#[tokio::test]
async fn an_app_set_up_anew_works_whatever_the_clock_was() {
    let site = Site::new().await;
    let ahead = Duration::from_secs(30 * 24 * 60 * 60);
    site.wait(ahead).await;
    let mut bob = site.signed_in("bob").await;
    let secret = set_app_up(&site, &mut bob, "bob").await;
    site.set_back(ahead);
    site.app.refresh_settings().await.unwrap();
    // The session is one of the future, and so is the app's last step.
    assert_eq!(bob.get("/profile").await.location(), "/login");
    let code = app_code(&secret, site.now());
    for to in ["/profile", "/login/second"] {
        bob = site.browser();
        bob.password("bob").await;
        let page = bob.post("/login/authenticator", &[("code", &code)]).await;
        assert_eq!(page.location(), to);
    }
    site.wait(STEP).await;
    let code = app_code(&secret, site.now());
    bob.post("/login/authenticator", &[("code", &code)]).await;
    let page = bob
        .submit(
            "/profile/authenticator/remove",
            &[("password", password("bob"))],
        )
        .await;
    assert!(page.says("The authenticator app is removed"));
    let mut bob = site.signed_in("bob").await;
    set_app_up(&site, &mut bob, "bob").await;
}

#[tokio::test]
async fn an_app_that_is_set_up_anew_has_its_tries_and_is_not_set_up_twice() {
    let site = Site::new().await;
    let mut bob = site.signed_in("bob").await;
    set_app_up(&site, &mut bob, "bob").await;
    let prepare = "/profile/authenticator/prepare";
    let own = [("password", password("bob"))];
    let page = bob.submit(prepare, &own).await;
    assert!(page.says("Remove the authenticator app first."));
    site.sql("UPDATE web_users SET totp_tries = 100 WHERE id = 'bob'")
        .await;
    bob.post("/profile/authenticator/remove", &own).await;
    site.wait(STEP).await;
    let secret = set_app_up(&site, &mut bob, "bob").await;
    site.wait(STEP).await;
    let mut phone = site.browser();
    phone.password("bob").await;
    let code = app_code(&secret, site.now());
    let page = phone
        .submit("/login/authenticator", &[("code", &code)])
        .await;
    assert!(page.says("You are logged in."), "{}", page.body);
}

#[tokio::test]
async fn a_database_that_is_away_uses_up_no_tries_of_the_app() {
    let site = Site::new().await;
    let mut bob = site.signed_in("bob").await;
    let secret = set_app_up(&site, &mut bob, "bob").await;
    site.wait(STEP).await;
    let code = app_code(&secret, site.now());
    let mut phone = site.browser();
    phone.password("bob").await;
    for column in ["totp_tries", "totp_last_step"] {
        let away = match column {
            "totp_tries" => {
                "CREATE TRIGGER away BEFORE UPDATE OF totp_tries ON web_users \
                             BEGIN SELECT RAISE(FAIL, 'away'); END"
            }
            _ => {
                "CREATE TRIGGER away BEFORE UPDATE OF totp_last_step ON web_users \
                  BEGIN SELECT RAISE(FAIL, 'away'); END"
            }
        };
        site.sql(away).await;
        for _ in 0..6 {
            let page = phone.post("/login/authenticator", &[("code", &code)]).await;
            assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{column}");
        }
        site.sql("DROP TRIGGER away").await;
    }
    let page = phone
        .submit("/login/authenticator", &[("code", &code)])
        .await;
    assert!(page.says("You are logged in."), "{}", page.body);
}

#[tokio::test]
async fn advice_and_badges_are_those_of_the_user() {
    let site = Site::new().await;
    let mut bob = site.signed_in("bob").await;
    let sheet = bob.active_sheet("bob").await;
    let badge = "<span class=\"badge good\">10 of 10 left</span>";
    assert!(bob.get("/profile").await.says(badge));
    let log_in = async |code: &str| {
        let mut phone = site.browser();
        phone.password("bob").await;
        let page = phone.submit("/login/code", &[("code", code)]).await;
        page.text("message").to_owned()
    };
    for code in &sheet.codes[..6] {
        assert!(log_in(code).await.ends_with("left."));
    }
    assert!(
        log_in(&sheet.codes[6])
            .await
            .ends_with("Few are left: make a new sheet soon.")
    );
    let badge = "<span class=\"badge warn\">3 of 10 left</span>";
    assert!(bob.get("/profile").await.says(badge));
    // A guest keeps the codes in hand, and gets no new ones.
    site.sql("UPDATE web_users SET roles = 'guest' WHERE id = 'bob'")
        .await;
    assert!(log_in(&sheet.codes[7]).await.ends_with("2 codes left."));
    site.sql("UPDATE web_users SET roles = 'editor' WHERE id = 'bob'")
        .await;
    log_in(&sheet.codes[8]).await;
    assert!(
        log_in(&sheet.codes[9])
            .await
            .ends_with("Make a new sheet now.")
    );
    let badge = "<span class=\"badge bad\">0 of 10 left</span>";
    assert!(bob.get("/profile").await.says(badge));
    let others = site.signed_in("alice").await.active_sheet("alice").await;
    for code in &others.codes {
        log_in(code).await;
    }
    assert!(bob.get("/profile").await.says("Locked</span>"));
}
