//! No block of memory that the console gives back holds a code or its key.
//!
//! Lines are handed to its session and answers drawn, as the console does with what it reads and
//! shows: what the line editor and the standard streams keep is not in here.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../examples/console/account.rs"]
mod account;
#[path = "../examples/console/answer.rs"]
mod answer;
#[path = "../examples/console/code.rs"]
mod code;
#[path = "../examples/console/command.rs"]
mod command;
#[path = "../examples/console/editor.rs"]
#[expect(dead_code, reason = "lines come from the test")]
mod editor;
#[path = "../examples/console/failure.rs"]
mod failure;
#[path = "../../../tests/support/freed.rs"]
mod freed;
#[path = "../examples/console/key.rs"]
mod key;
#[path = "../examples/console/moment.rs"]
mod moment;
#[path = "../examples/console/report.rs"]
mod report;
#[path = "../examples/console/session.rs"]
mod session;
#[path = "../examples/console/settings.rs"]
mod settings;
#[path = "../examples/console/sheet.rs"]
mod sheet;

use std::fs;

use jiff::tz::TimeZone;
use tempfile::TempDir;
use zeroize::Zeroizing;

use answer::render;
use command::may_be_kept;
use freed::{Watching, search, secret};
use session::Session;

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// What the console says to a line, on a terminal and to a pipe.
async fn say(session: &mut Session, parts: &[&str]) -> Zeroizing<String> {
    let mut line = Zeroizing::new(String::with_capacity(1024));
    parts.iter().for_each(|part| line.push_str(part));
    drop(session.names().await);
    may_be_kept(&line);
    match session.run(&line).await {
        Ok(answers) => {
            drop(render(&answers, Some(80)));
            render(&answers, None)
        }
        Err(failure) => Zeroizing::new(failure.to_string()),
    }
}

/// Searches while this is done by root, who has logged in and may have codes.
#[track_caller]
fn clean(work: impl AsyncFnOnce(&mut Session, &TempDir)) {
    let found = search(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let folder = TempDir::new().unwrap();
            let session = Session::open(&folder.path().join("codes.db"), TimeZone::UTC).await;
            let mut session = session.ok().unwrap();
            for line in ["user add root administrator staff", "login root"] {
                say(&mut session, &[line]).await;
            }
            work(&mut session, &folder).await;
            session.accounts.close().await;
        });
    });
    assert!(
        found.is_empty(),
        "in freed blocks of these sizes: {found:?}"
    );
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

/// The codes that stand at the ends of the lines of a sheet.
fn codes(sheet: &str) -> Vec<&str> {
    let numbered = sheet.lines().filter_map(|line| line.split_once(". "));
    let codes: Vec<&str> = numbered
        .map(|(_, code)| code)
        .filter(|code| code.len() == 19 && !code.contains(' '))
        .collect();
    assert_eq!(codes.len(), 10);
    codes.iter().for_each(|code| is_secret(code));
    codes
}

#[test]
fn showing_a_sheet_leaves_no_code() {
    clean(async |session, _| {
        codes(&say(session, &["prepare"]).await);
    });
}

#[test]
fn exporting_a_sheet_leaves_no_code() {
    clean(async |session, folder| {
        codes(&say(session, &["prepare"]).await);
        let file = folder.path().join("sheet.txt");
        say(session, &["sheet export ", file.to_str().unwrap()]).await;
        assert!(file.exists());
    });
}

#[test]
fn typing_a_code_leaves_none() {
    clean(async |session, _| {
        let sheet = say(session, &["prepare"]).await;
        let codes = codes(&sheet);
        for (command, number, said) in [
            ("activate ", 0, "is active"),
            ("check ", 1, "is valid and unused"),
            ("redeem ", 2, "accepted code 3"),
            ("redeem ", 2, "not accepted"),
            ("burn ", 3, "it is invalid now"),
            // Without a command.
            ("", 4, "no such command"),
        ] {
            let answer = say(session, &[command, codes[number]]).await;
            assert!(answer.contains(said), "{command}{said}");
        }
    });
}

#[test]
fn showing_an_override_leaves_no_code() {
    clean(async |session, _| {
        say(session, &["logout"]).await;
        let answer = say(session, &["override root"]).await;
        is_secret(answer.split(' ').next().unwrap());
    });
}

#[test]
fn reading_the_key_file_leaves_no_key() {
    clean(async |_, folder| {
        let file = folder.path().join("codes.db.key");
        let key = || Zeroizing::new(fs::read(&file).unwrap());
        secret(&key());
        assert!(key::keyring(&file, false).is_ok());
        // One that is refused is wiped too.
        fs::write(&file, &key()[..31]).unwrap();
        assert!(key::keyring(&file, false).is_err());
    });
}
