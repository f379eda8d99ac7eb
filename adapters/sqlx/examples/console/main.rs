//! A console for backup codes in an SQLite database, for a person or a pipe: an example of an
//! application on [`backup_codes`] and [`backup_codes_sqlx`].
//!
//! `cargo run -p backup-codes-sqlx --example console -- --db codes.db`, then `help`.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use jiff::tz::TimeZone;
use zeroize::Zeroizing;

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
    /// The database file; created if it does not exist
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

/// The memory reserved for a line of a pipe, in bytes; a longer line gets more.
const LONGEST_LINE: usize = 64 * 1024;

const FAILED_LINE: u8 = 1;
const WRONG_ARGUMENTS: u8 = 2;
const NO_DATABASE: u8 = 3;

// One thread is enough: there is one line at a time, and reading it may block. The hash pool has
// threads of its own.
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
    let mut session = match Session::open(&arguments.db, zone).await {
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
        converse(&mut session, session::beside(&arguments.db, ".history")).await
    } else {
        pipe(&mut session).await
    };
    session.accounts.close().await;
    ended.unwrap_or_else(|error| {
        complain(Failure::from(error));
        FAILED_LINE.into()
    })
}

/// Reads commands from a person.
async fn converse(session: &mut Session, history: PathBuf) -> io::Result<ExitCode> {
    let mut editor = LineEditor::new(history).map_err(io::Error::other)?;
    loop {
        let name = session.acting.as_deref().unwrap_or("operator");
        let prompt = format!("{}> ", tame(name));
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

/// Reads commands from a pipe or a file: all of them, even if one fails.
async fn pipe(session: &mut Session) -> io::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut input = io::stdin().lock();
    // The line is wiped, and reserved in one piece: a line that grows leaves copies of a code
    // behind.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_LINE));
    for number in 1.. {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let said = match std::str::from_utf8(&line).map(str::trim) {
            Ok("quit") => break,
            Ok(line) if line.is_empty() || line.starts_with('#') => continue,
            Ok(line) => session.run(line).await,
            Err(_) => Err(Failure::new(
                "this is not UTF-8 text: type help to see all commands",
            )),
        };
        match said.map(|answers| print(&answers, None)) {
            Ok(Ok(())) => {}
            // The reader of the answers has closed the pipe.
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
