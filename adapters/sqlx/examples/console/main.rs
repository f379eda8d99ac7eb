//! A console for backup codes in an SQLite database, for a person or a pipe: an example of an
//! application on [`backup_codes`] and [`backup_codes_sqlx`].
//!
//! `cargo run -p backup-codes-sqlx --example console -- --db codes.db`, then `help`.

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use backup_codes::{BackupCodes, Directory, Hashing, SharedSettings, UserFilter, UsersQuery};
use backup_codes_sqlx::SqliteStore;
use clap::Parser;
use jiff::tz::TimeZone;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

use account::Accounts;
use answer::{Answer, render, tame};
use editor::LineEditor;
use failure::{Failure, complain};
use session::Session;

mod account;
mod answer;
mod code;
mod command;
mod editor;
mod failure;
mod key;
mod moment;
mod report;
mod session;
mod settings;
mod sheet;

/// How long a copy of the settings may be used. Each command reads them anew.
const SETTINGS_AGE: Duration = Duration::from_secs(60);

/// Single-use 2FA backup codes in an SQLite database: type commands, or pipe them in, one a line
#[derive(Parser)]
#[command(
    name = "console",
    after_help = "\
Start with: user add root administrator; then: login root; then: help.
Beside FILE stand FILE.key, the pepper that its codes need, and FILE.history.

Exit codes:
  0  everything was done
  1  a line of a pipe failed, or its code was not accepted; the others were done
  2  these arguments are wrong
  3  the database cannot be used"
)]
struct Arguments {
    /// The database; made if it is not there
    #[arg(long, value_name = "FILE")]
    db: PathBuf,
    /// Act as this account from the start, instead of as the operator
    #[arg(long = "as", value_name = "NAME")]
    account: Option<String>,
    /// The time zone of days, and of times without an offset [default: this machine's]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    zone: Option<TimeZone>,
}

fn zone(name: &str) -> Result<TimeZone, &'static str> {
    TimeZone::get(name).map_err(|_| "there is no such time zone, type one like Europe/Zurich")
}

const FAILED_LINE: u8 = 1;
const WRONG_ARGUMENTS: u8 = 2;
const NO_DATABASE: u8 = 3;

// One thread: there is one line at a time, and reading it may block. Codes are hashed elsewhere.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(help) if !help.use_stderr() => {
            let _ = write!(io::stdout(), "{help}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            let text = wrong.to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            let words: Vec<&str> = first.split_whitespace().skip(1).collect();
            complain(format!("{}; type --db FILE, or --help", words.join(" ")));
            return WRONG_ARGUMENTS.into();
        }
    };
    let zone = arguments.zone.unwrap_or_else(TimeZone::system);
    let mut session = match open(&arguments.db, zone).await {
        Ok(session) => session,
        Err(failure) => {
            complain(format!("{}: {failure}", arguments.db.display()));
            return NO_DATABASE.into();
        }
    };
    if let Some(name) = &arguments.account
        && let Err(failure) = session.log_in(name).await
    {
        complain(failure);
        return WRONG_ARGUMENTS.into();
    }
    let ended = if io::stdin().is_terminal() && io::stdout().is_terminal() {
        converse(&mut session, beside(&arguments.db, ".history")).await
    } else {
        pipe(&mut session).await
    };
    session.accounts.close().await;
    ended.unwrap_or_else(|error| {
        complain(Failure::from(error));
        FAILED_LINE.into()
    })
}

/// The file of this name with something after it.
fn beside(db: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(db);
    name.push(suffix);
    name.into()
}

/// Opens the database with all that stands on it.
async fn open(db: &Path, zone: TimeZone) -> Result<Session, Failure> {
    if db.is_dir() {
        return Err(Failure::new(
            "this is a directory: type --db with a file in it",
        ));
    }
    if db
        .metadata()
        .is_ok_and(|found| found.permissions().readonly())
    {
        let text = "this file is read-only: make it writable, or type --db with another";
        return Err(Failure::new(text));
    }
    let options = SqliteConnectOptions::new()
        .filename(db)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new().connect_with(options).await;
    let pool = pool.map_err(|error| {
        let why = Failure::from(backup_codes_sqlx::Error::of_sqlite(error));
        let advice = "check the file and its folder, or type --db with another";
        Failure::new(format!("{why}; {advice}"))
    })?;
    // The events table is the audit log; the sink adds what is not stored with a record.
    let store = SqliteStore::open(pool.clone()).await?.without_forwarding();
    let now = moment::now()?;
    let any = UsersQuery::new(now).filter(UserFilter::Every).limit(1);
    let without_codes = Directory::users(&store, &any).await?.is_empty();
    let keyring = key::keyring(&beside(db, ".key"), without_codes)?;
    let settings = SharedSettings::new(SETTINGS_AGE);
    let codes = BackupCodes::new(store.clone(), settings, Hashing::pool(keyring)?)
        .with_audit(store.audit_sink());
    codes.refresh_settings(now).await?;
    let _ = codes.deliver_pending().await?;
    let accounts = Accounts::open(pool).await?;
    if accounts.all().await?.is_empty() {
        complain("no accounts yet: type user add root administrator, then login root, then help");
    }
    Ok(Session {
        codes,
        accounts,
        zone,
        acting: None,
        sheet: None,
    })
}

/// Reads commands from a person.
async fn converse(session: &mut Session, history: PathBuf) -> io::Result<ExitCode> {
    let mut editor = LineEditor::new(history).map_err(io::Error::other)?;
    loop {
        let prompt = tame(session.acting.as_deref().unwrap_or("operator")) + "> ";
        let Some(line) = editor.read(&prompt, session.names().await)? else {
            return Ok(ExitCode::SUCCESS);
        };
        match line.trim() {
            "" => {}
            "quit" => return Ok(ExitCode::SUCCESS),
            line => match session.run(line).await {
                Ok(answers) => print(&answers, editor.width())?,
                Err(failure) => complain(failure),
            },
        }
    }
}

/// Reads commands from a pipe or a file: all of them, whatever becomes of one.
async fn pipe(session: &mut Session) -> io::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for (number, line) in (1..).zip(io::stdin().lock().split(b'\n')) {
        let line = line?;
        let said = match std::str::from_utf8(&line).map(str::trim) {
            Ok("quit") => break,
            Ok(line) if line.is_empty() || line.starts_with('#') => continue,
            Ok(line) => session.run(line).await,
            Err(_) => Err(Failure::new(
                "this is no UTF-8 text: type help to see all commands",
            )),
        };
        match said.map(|answers| print(&answers, None)) {
            Ok(Ok(())) => {}
            // Whoever reads the answers has read enough.
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Ok(Err(error)) => return Err(error),
            Err(failure) => {
                complain(format!("line {number}: {failure}"));
                code = FAILED_LINE.into();
            }
        }
    }
    Ok(code)
}

fn print(answers: &[Answer], width: Option<u16>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(render(answers, width).as_bytes())?;
    out.flush()
}
