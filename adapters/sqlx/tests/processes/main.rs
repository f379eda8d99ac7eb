//! Many processes on one file. Each is this test binary, run again in one of the roles below.
#![expect(clippy::unwrap_used, reason = "tests")]

mod contract;
mod kills;
mod race;
mod sync;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};
use std::{env, io};

use backup_codes::hash::Cost;
use backup_codes::repository::CodeRepository;
use backup_codes::{
    BackupCodes, Config, Context, Format, Formats, HashParams, Hashing, Keyring, SetSize, Settings,
    Subject, Timestamp, UserId,
};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::runtime::Runtime;

/// What a process run again has to do. In the tests themselves it is not set.
const ROLE: &str = "BACKUP_CODES_TEST_ROLE";
const FILE: &str = "BACKUP_CODES_TEST_FILE";

/// On a quarter hour, as periods of figures are.
const START: i64 = 1_789_999_200_000;

#[test]
#[ignore = "the other processes of the tests here"]
fn child() {
    let (Ok(role), Some(file)) = (env::var(ROLE), env::var_os(FILE)) else {
        return;
    };
    let file = PathBuf::from(file);
    say(READY);
    let runtime = Runtime::new().unwrap();
    match role.as_str() {
        "racer" => runtime.block_on(race::racer(&file)),
        "redeemer" => runtime.block_on(sync::redeemer(&file, SqliteSynchronous::Full)),
        "redeemer that does not sync" => {
            runtime.block_on(sync::redeemer(&file, SqliteSynchronous::Normal));
        }
        "servant" => runtime.block_on(contract::servant(&file)),
        "worker" => runtime.block_on(kills::worker(&file, |store| store)),
        "worker that answers first" => {
            runtime.block_on(kills::worker(&file, kills::AnswersFirst::new));
        }
        "worker that writes events second" => {
            runtime.block_on(kills::worker(&file, kills::EventsSecond));
        }
        _ => unreachable!("{role} is no role"),
    }
}

const READY: &str = "ready";

/// What a line that is said begins with: the test harness prints lines of its own between, for
/// example that a test has been running for long.
const SAID: &str = "said: ";

/// Says a line to the process that started this one, at once and in one write.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    // The harness may have left its own line open.
    out.write_all(format!("\n{SAID}{line}\n").as_bytes())
        .unwrap();
    out.flush().unwrap();
}

/// The lines up to an empty one.
fn listen() -> Vec<String> {
    let lines = io::stdin().lock().lines().map(Result::unwrap);
    lines.take_while(|line| !line.is_empty()).collect()
}

/// Another process. It ends with this value.
struct Child {
    process: process::Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Child {
    fn start(role: &str, file: &Path) -> Self {
        Self::start_under(Command::new(env::current_exe().unwrap()), role, file)
    }

    /// Through another program, which runs it.
    fn start_under(mut command: Command, role: &str, file: &Path) -> Self {
        let mut process = command
            .args(["--exact", "child", "--ignored"])
            .env(ROLE, role)
            .env(FILE, file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut child = Self {
            process,
            input,
            output,
        };
        assert_eq!(child.hear().as_deref(), Some(READY));
        child
    }

    /// Says lines, and an empty one.
    fn say(&mut self, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.input.write_all(text.as_bytes()).unwrap();
        self.input.write_all(b"\n").unwrap();
    }

    /// The next line it says; `None` when the process is at its end. A line that a kill has cut
    /// short was not said.
    fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(said) = line
                .strip_suffix('\n')
                .and_then(|line| line.strip_prefix(SAID))
            {
                return Some(said.to_owned());
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SIGKILL. Nothing is to be done about one that has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
}

async fn pool(options: SqliteConnectOptions) -> SqlitePool {
    let pool = SqlitePoolOptions::new().max_connections(4);
    pool.connect_with(options).await.unwrap()
}

/// Sets of so many codes, at the least cost.
fn service(store: impl CodeRepository + 'static, codes: u8) -> BackupCodes {
    let params = HashParams::new(Keyring::without_pepper())
        .unwrap()
        .with_high_entropy_cost(Cost::LEAST);
    let config = Config::default()
        .with_formats(Formats::new(Format::HIGH_ENTROPY))
        .with_set_size(SetSize::new(codes).unwrap());
    BackupCodes::new(store, Settings::default(), Hashing::inline(params)).with_config(config)
}

fn subject(user: &str) -> Subject {
    Subject::new(UserId::new(user).unwrap(), ["staff"])
}

fn own(user: &Subject, millis: i64) -> Context {
    Context::new(Timestamp::from_unix_millis(START + millis).unwrap(), user)
}
