//! The example `console` as a program: through pipes, and on a terminal.
#![cfg(unix)]
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// What `help quit` ends with: the answer of the line before it is complete then.
const END: &str = "quit\t\tend the console";

/// A folder with one database.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The example, which `cargo test` builds, with these arguments after its database.
    fn command(&self, arguments: &[&str]) -> Command {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().unwrap().parent().unwrap();
        let mut command = Command::new(profile.join("examples/console"));
        command.arg("--db").arg(self.file("codes.db"));
        command.args(["--zone", "UTC"]).args(arguments);
        command
    }

    fn start(&self) -> Running {
        start(self.command(&[]))
    }

    /// Alice with a sheet in force, and an administrator.
    fn with_alice(&self) -> (Running, Vec<String>) {
        let mut console = self.start();
        console.say("user add root administrator");
        console.say("user add alice staff");
        console.say("login alice");
        let sheet = codes(&console.say("prepare"));
        console.say("activate");
        (console, sheet)
    }
}

fn start(mut command: Command) -> Running {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let answers = BufReader::new(child.stdout.take().unwrap());
    Running { child, answers }
}

/// A console at work.
struct Running {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Running {
    /// Types a line, and waits for what it says on the standard output.
    fn say(&mut self, line: &str) -> Vec<String> {
        let input = self.child.stdin.as_mut().unwrap();
        writeln!(input, "{line}\nhelp quit").unwrap();
        let mut said = Vec::new();
        for answer in self.answers.by_ref().lines() {
            let answer = answer.unwrap();
            if answer == END {
                said.pop();
                return said;
            }
            said.push(answer);
        }
        panic!("the console ended after {line:?}: {said:?}");
    }

    /// Closes its input: the exit code, and the standard error.
    fn end(mut self) -> (i32, Vec<String>) {
        drop(self.child.stdin.take());
        let output = self.child.wait_with_output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let lines = errors.lines().map(str::to_owned).collect();
        (output.status.code().unwrap(), lines)
    }

    /// Ends it without a chance to do anything more.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The codes of a sheet as it is printed.
fn codes(sheet: &[String]) -> Vec<String> {
    let code = |line: &String| {
        let (number, code) = line.trim().split_once(". ")?;
        number.parse::<u8>().ok().map(|_| code.to_owned())
    };
    let codes: Vec<String> = sheet.iter().filter_map(code).collect();
    assert_eq!(codes.len(), 10, "{sheet:?}");
    codes
}

/// The rows of a table whose cells of these columns are these.
fn rows(table: &[String], wanted: &[(usize, &str)]) -> usize {
    let fits = |row: &&String| {
        let cells: Vec<&str> = row.split('\t').collect();
        wanted.iter().all(|(column, text)| cells[*column] == *text)
    };
    table.iter().filter(fits).count()
}

#[test]
fn what_finds_nothing_to_do_says_so() {
    let place = Place::new();
    let (mut console, _) = place.with_alice();
    console.say("login root");
    assert_eq!(console.say("unlock alice"), ["no wrong codes were counted"]);
    assert_eq!(
        console.say("revoke-override alice"),
        ["there was no unused override code"]
    );
    console.say("override alice 10");
    assert_eq!(
        console.say("revoke-override alice"),
        ["the override code is revoked"]
    );
    let schemes = console.say("schemes");
    assert_eq!(schemes.len(), 2, "{schemes:?}");
    assert!(
        schemes[1].starts_with("crockford-14,m=19456,t=2,key="),
        "{schemes:?}"
    );
    assert!(
        schemes[1].ends_with("\t1\t"),
        "one user, not refused: {schemes:?}"
    );
}

#[test]
fn a_whole_life_through_a_pipe() {
    let place = Place::new();
    let (mut console, sheet) = place.with_alice();
    assert_eq!(
        console.say(&format!("redeem 3. {}", sheet[2].to_lowercase())),
        ["accepted code 3, 9 left (mail to alice: Used)"]
    );
    assert!(console.say(&format!("redeem {}", sheet[2])).is_empty());
    assert_eq!(
        console.say(&format!("check {}", sheet[3])),
        ["code 4 is valid and unused"]
    );
    assert_eq!(
        console.say(&format!("burn {}", sheet[9])),
        ["if this was a code of yours, it is invalid now"]
    );

    console.say("login root");
    let others = codes(&console.say("prepare"));
    console.say("login alice");
    for wrong in &others {
        assert!(console.say(&format!("redeem {wrong}")).is_empty());
    }
    assert!(console.say(&format!("redeem {}", sheet[4])).is_empty());

    console.say("login root");
    let issued = console.say("override alice 10");
    let code = issued[0].split(' ').next().unwrap();
    console.say("login alice");
    assert_eq!(
        console.say(&format!("redeem {code}")),
        ["accepted code 0, 8 left; type prepare for a new sheet now (mail to alice: OverrideUsed)"]
    );
    assert_eq!(
        console.say(&format!("redeem {}", sheet[4])),
        ["accepted code 5, 7 left (mail to alice: Used)"]
    );

    console.say("login root");
    console.say("unlock alice");
    let users = console.say("users");
    assert_eq!(users.len(), 2);
    assert_eq!(rows(&users, &[(0, "alice"), (1, "7"), (2, "10")]), 1);
    let usage = console.say("usage 2");
    assert!(usage.contains(&"users with codes\t1".to_owned()));
    assert_eq!(usage.last().unwrap(), "days and months are those of UTC");
    let used_on = usage
        .iter()
        .filter_map(|row| row.strip_prefix("codes used on "));
    let used: u32 = used_on
        .map(|row| row.split_once('\t').unwrap().1.parse::<u32>().unwrap())
        .sum();
    assert_eq!(used, 3);

    let redeems = console.say("audit user alice kind redeem limit 100");
    let outcomes = |outcome, reason| rows(&redeems, &[(2, outcome), (3, reason), (5, "alice")]);
    assert_eq!(outcomes("failure", "used"), 1);
    assert_eq!(outcomes("failure", "wrong"), 10);
    assert_eq!(
        outcomes("failure", "locked"),
        1,
        "kept although nothing was stored"
    );
    assert_eq!(outcomes("success", ""), 2);
    assert_eq!(outcomes("success", "override"), 1);
    assert_eq!(console.say("audit kind lock").len(), 2);

    assert_eq!(
        console.say("revoke alice"),
        ["all codes are invalid (mail to alice: Revoked)"]
    );
    console.say("user remove alice");
    assert_eq!(
        console.say("purge"),
        ["trimmed 0, removed 0"],
        "a tombstone stays a month"
    );
    assert_eq!(
        console.say("user list"),
        ["account\troles", "root\tadministrator"]
    );

    let (exit, errors) = console.end();
    assert_eq!(exit, 1, "codes were refused");
    // Two lines of hints at the first start; the codes used, wrong, and locked out.
    assert_eq!(errors.len(), 2 + 1 + 10 + 1, "{errors:#?}");
    assert!(errors[12].contains("Locked for 30 minutes. (mail to alice: Locked)"));
}

#[test]
fn a_second_start_finds_everything_and_an_unfinished_step_can_be_finished() {
    let place = Place::new();
    let (mut console, sheet) = place.with_alice();
    console.say(&format!("redeem {}", sheet[0]));
    let next = codes(&console.say("prepare"));
    console.say("login root");
    console.say("settings permit staff");
    console.say("role add guest");
    let settings = console.say("settings");
    assert_eq!(console.end().0, 0);

    let mut console = place.start();
    assert_eq!(console.say("settings"), settings);
    assert_eq!(
        console.say("role list"),
        ["role", "administrator", "guest", "staff"]
    );
    console.say("login alice");
    assert!(console.say("status").contains(&"left\t9".to_owned()));
    assert!(console.say(&format!("redeem {}", sheet[1]))[0].starts_with("accepted code 2"));
    assert_eq!(
        console.say(&format!("activate {}", next[0])),
        ["the sheet is active (mail to alice: Replaced)"]
    );
    assert!(console.say(&format!("redeem {}", next[0]))[0].starts_with("accepted code 1"));
    assert_eq!(console.end(), (0, vec![]));
}

#[test]
fn names_of_a_tampered_database_forge_no_line() {
    let place = Place::new();
    let (console, _) = place.with_alice();
    assert_eq!(console.end().0, 0);
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let file = format!("sqlite:{}", place.file("codes.db").display());
        let pool = sqlx::SqlitePool::connect(&file).await.unwrap();
        for name in ["eve\nroot\tadministrator", "eve\u{202e}\u{9b}2J\u{2028}"] {
            for insert in [
                "INSERT INTO console_accounts VALUES (?, 'staff')",
                "INSERT INTO console_roles VALUES (?)",
            ] {
                let insert = sqlx::query(insert).bind(name);
                insert.execute(&pool).await.unwrap();
            }
        }
        pool.close().await;
    });
    let mut console = place.start();
    let users = console.say("user list");
    assert_eq!(users.len(), 5, "{users:?}");
    assert!(users.contains(&"eve\u{fffd}root\u{fffd}administrator\tstaff".to_owned()));
    assert!(users.contains(&"eve\u{fffd}\u{fffd}2J\u{fffd}\tstaff".to_owned()));
    assert!(console.say("settings permit nobody").is_empty());
    let (_, errors) = console.end();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(!errors[0].contains(backup_codes::audit::is_forging));
}

#[test]
fn killed_while_it_waits_it_has_lost_nothing() {
    let place = Place::new();
    let (mut console, sheet) = place.with_alice();
    let accepted = console.say(&format!("redeem {}", sheet[0]));
    assert!(accepted[0].starts_with("accepted"));
    console.kill();

    let mut console = start(place.command(&["--as", "alice"]));
    assert!(
        console.say(&format!("redeem {}", sheet[0])).is_empty(),
        "spent"
    );
    assert!(console.say(&format!("redeem {}", sheet[1]))[0].starts_with("accepted code 2, 8"));
    console.say("login root");
    let audit = console.say("audit kind redeem");
    assert_eq!(rows(&audit, &[(2, "success"), (4, "alice")]), 2);
    console.kill();
}

#[test]
fn bad_input_is_one_line_each_that_says_what_to_type() {
    let place = Place::new();
    let mut console = place.start();
    console.say("user add root administrator");
    console.say("user add alice staff");
    let long = format!("user add {}", "x".repeat(65));
    let no_account = "there is no such account: type user list to see all, or user add NAME";
    let bad = [
        (
            "frobnicate",
            "there is no such command: type help to see all",
        ),
        (
            "help frobnicate",
            "there is no such command: type help to see all",
        ),
        (
            "user",
            "type one of: user add, user roles, user remove, user list",
        ),
        ("user add", "type: user add NAME [ROLE ...]"),
        (
            "user add alice",
            "this account exists already: type user roles NAME ROLE ... to change it",
        ),
        (
            "user add a\u{7}b",
            "a name has letters, digits, - _ . @ + and at most 64 bytes: type another",
        ),
        (
            &long,
            "a name has letters, digits, - _ . @ + and at most 64 bytes: type another",
        ),
        (
            "user add bob boss",
            "there is no such role: type some of administrator, staff, or role add NAME first",
        ),
        ("user roles bob staff", no_account),
        ("login bob", no_account),
        ("override bob", no_account),
        ("audit user b\u{1b}[2J", no_account),
        ("prepare", "no account is logged in: type login NAME first"),
        ("redeem", "type: redeem CODE"),
        ("override alice soon", "type: override NAME [MINUTES]"),
        (
            "override alice 999999",
            "an override code lives one minute to 1440 minutes here: choose a lifetime in between",
        ),
        (
            "audit from yesterday",
            "this is not a time: type one like 2026-03-31 or 2026-03-31T18:30",
        ),
        (
            "audit kind nonsense",
            "there is no such kind of event: type one that audit shows, such as redeem",
        ),
        ("usage many", "type: usage [DAYS]"),
        (
            "settings low 99",
            "the low threshold is at most 31, the codes of the largest set: 3 is the default",
        ),
        ("settings switch perhaps", "type: settings switch on | off"),
        (
            "users some",
            "type: users [with | holding | low | exhausted | every]",
        ),
    ];
    let mut expected = Vec::new();
    for (line, complaint) in bad {
        assert!(console.say(line).is_empty(), "{line}");
        // A line and its `help quit`, after the two accounts.
        let number = 5 + 2 * expected.len();
        expected.push(format!("line {number}: {complaint}"));
    }
    console
        .child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"\xff\n")
        .unwrap();
    let number = 5 + 2 * expected.len();
    expected.push(format!(
        "line {number}: this is not UTF-8 text: type help to see all commands"
    ));
    assert_eq!(console.say("user list").len(), 3, "it goes on");
    let (exit, errors) = console.end();
    assert_eq!((exit, &errors[2..]), (1, expected.as_slice()));
}

#[test]
fn a_user_may_not_do_what_an_administrator_does() {
    let place = Place::new();
    let (mut console, _) = place.with_alice();
    let denied = [
        "users",
        "usage",
        "audit",
        "user add eve",
        "unlock root",
        "settings low 1",
    ];
    for line in denied {
        assert!(console.say(line).is_empty(), "{line}");
    }
    let (exit, errors) = console.end();
    let not_allowed = errors.iter().filter(|line| line.contains("not allowed: "));
    assert_eq!((exit, not_allowed.count()), (1, denied.len()));
}

#[test]
fn what_is_no_database_is_one_line_and_exit_code_3() {
    type Spoil = fn(&Place);
    let cases: [(Spoil, &str); 5] = [
        (
            |p| fs::create_dir(p.file("codes.db")).unwrap(),
            "this is a directory: ",
        ),
        (
            |p| fs::write(p.file("codes.db"), "no database").unwrap(),
            "is not a database",
        ),
        (
            |p| {
                let file = p.file("codes.db");
                fs::write(&file, "").unwrap();
                fs::set_permissions(&file, Permissions::from_mode(0o444)).unwrap();
            },
            "this file is read-only: ",
        ),
        (
            |p| fs::remove_dir(p.0.path()).unwrap(),
            "unable to open database file",
        ),
        (
            |p| {
                p.with_alice().0.kill();
                fs::remove_file(p.file("codes.db.key")).unwrap();
            },
            "put it back",
        ),
    ];
    for (spoil, complaint) in cases {
        let place = Place::new();
        spoil(&place);
        let (exit, errors) = place.start().end();
        assert_eq!((exit, errors.len()), (3, 1), "{complaint}: {errors:?}");
        assert!(errors[0].contains(complaint), "{errors:?}");
    }
}

#[test]
fn wrong_arguments_are_one_line_and_exit_code_2() {
    for wrong in [
        ["--as", "nobody"],
        ["--zone", "Mars/Olympus"],
        ["--colour", "red"],
    ] {
        let place = Place::new();
        drop(place.start().end());
        let (exit, errors) = start(place.command(&wrong)).end();
        let hints = errors
            .iter()
            .filter(|line| line.starts_with("no accounts yet"));
        assert_eq!((exit, errors.len() - hints.count()), (2, 1), "{errors:?}");
    }
}

#[test]
fn help_says_what_the_exit_codes_mean() {
    let output = Place::new().command(&["--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && help.contains("Exit codes:"),
        "{help}"
    );
}

#[test]
fn a_sheet_is_exported_once_for_its_owner_only_and_over_nothing() {
    let place = Place::new();
    let (mut console, sheet) = place.with_alice();
    let (file, taken) = (place.file("sheet.txt"), place.file("taken"));
    fs::write(&taken, "mine").unwrap();
    console.say(&format!("sheet export {}", taken.display()));
    console.say(&format!("sheet export {}", file.display()));
    console.say(&format!("sheet export {}", place.file("again").display()));
    let (_, errors) = console.end();

    assert_eq!(fs::read_to_string(&taken).unwrap(), "mine");
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(codes(&lines), sheet);
    for private in [file, place.file("codes.db.key")] {
        let mode = fs::metadata(private).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert!(
        errors[2].contains("exists and is left as it is"),
        "{errors:?}"
    );
    assert!(errors[3].contains("each is shown once"), "{errors:?}");
    assert!(!place.file("again").exists());
}

#[test]
fn a_reader_that_has_read_enough_is_no_fault() {
    let place = Place::new();
    let Running { mut child, answers } = place.start();
    drop(answers);
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "help").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        errors.lines().count(),
        2,
        "the hints of a first start: {errors}"
    );
}

/// The other side of a terminal that a console runs on.
struct Terminal {
    screen: File,
    child: Child,
}

impl Terminal {
    fn start(mut command: Command, columns: u16) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        use rustix::termios::{Winsize, tcsetwinsize};
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap();
        let open = || {
            let mut options = File::options();
            options.read(true).write(true);
            options.open(name.to_str().unwrap()).unwrap()
        };
        let size = Winsize {
            ws_row: 50,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&screen, size).unwrap();
        let child = command
            .env("TERM", "xterm")
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap();
        Self {
            screen: screen.into(),
            child,
        }
    }

    /// Types a line, and reads what is shown until the prompt after the answer. The prompt is drawn
    /// once the line editor has the terminal again, so no key gets lost.
    fn say(&mut self, keys: &str, wanted: &str) -> String {
        self.screen.write_all(keys.as_bytes()).unwrap();
        // The end of what was typed, and that of the answer.
        let lines = if keys.is_empty() { 0 } else { 2 };
        let (mut shown, mut byte) = (Vec::new(), [0]);
        loop {
            self.screen.read_exact(&mut byte).unwrap();
            shown.push(byte[0]);
            let text = String::from_utf8_lossy(&shown);
            let last = text.rsplit('\n').next().unwrap();
            if text.matches('\n').count() >= lines && last.contains("> ") {
                assert!(text.contains(wanted), "{keys:?}: {text}");
                return text.into_owned();
            }
        }
    }
}

#[test]
fn on_a_terminal_names_complete_tables_fit_and_no_code_gets_into_the_history() {
    let place = Place::new();
    drop(place.with_alice().0.end());
    let mut terminal = Terminal::start(place.command(&[]), 60);
    terminal.say("", "operator");
    terminal.say("login al\t\r", "you are alice");
    let sheet = terminal.say("prepare\r", "then type activate");
    let sheet: Vec<String> = sheet.lines().map(str::to_owned).collect();
    let sheet = codes(&sheet);
    terminal.say(&format!("activate {}\r", sheet[0]), "the sheet is active");
    terminal.say(
        &format!("redeem 1) {}\r", sheet[0].replace('-', "\u{30fc}")),
        "accepted code 1, 9 left",
    );
    terminal.say(&format!("check {}\r", sheet[1]), "is valid and unused");
    terminal.say(&format!("burn {}\r", sheet[2]), "it is invalid now");
    // Where no code belongs, as people paste them.
    terminal.say(&format!("{}\r", sheet[3]), "no such command");
    terminal.say(&format!("status {}\r", sheet[4]), "no such account");
    let spaced = sheet[5].replace('-', " ").to_lowercase();
    terminal.say(&format!("status {spaced}\r"), "type: status");
    // Whole between other words, and without its last symbol.
    let (half, rest) = sheet[6].split_at(9);
    terminal.say(&format!("login {half} {rest} x\r"), "type: login");
    terminal.say(&format!("status {}\r", &sheet[7][..18]), "no such account");
    // With the number before it, in digits of another script, with a letter of another one.
    terminal.say(&format!("login 8) {}\r", sheet[7]), "type: login");
    let digits = |c: char| c.to_digit(10).and_then(|d| char::from_u32(0x660 + d));
    let native: String = sheet[8].chars().map(|c| digits(c).unwrap_or(c)).collect();
    terminal.say(&format!("status {native}\r"), "no such account");
    let mut foreign = sheet[6].replace('-', " ");
    foreign.replace_range(1..2, "\u{416}");
    terminal.say(&format!("status {foreign}\r"), "type: status");
    terminal.say("audit from 2026-09-21T14:13:20Z\r", "not allowed");

    let help = terminal.say("help\r", "what it does");
    let widest = help
        .lines()
        .map(|line| line.trim_end().chars().count())
        .max();
    assert!((40..=60).contains(&widest.unwrap()), "{help}");

    // Ctrl-C.
    terminal.screen.write_all(b"\x03").unwrap();
    assert!(terminal.child.wait().unwrap().success());
    let history = fs::read_to_string(place.file("codes.db.history")).unwrap();
    let kept: Vec<&str> = history
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let audit = "audit from 2026-09-21T14:13:20Z";
    assert_eq!(kept, ["login alice ", "prepare", audit, "help"]);
}
