//! The program itself: what it prints, what it refuses, and that it starts where it left off.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use backup_codes_web::DEMO_USERS;
use tempfile::TempDir;

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backup-codes-web"));
    // The database goes where it is started, unless it is told otherwise.
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    program(folder).args(arguments).output().unwrap()
}

/// What it says when it cannot.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The program while it serves; ended with the test.
struct Served {
    child: Child,
    address: SocketAddr,
    /// What it printed beside its log, up to the last user.
    said: Vec<String>,
}

impl Drop for Served {
    fn drop(&mut self) {
        // As if the machine had stopped.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn serve(folder: &Path) -> Served {
    let mut command = program(folder);
    command.args(["--listen", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    while said.len() < 1 + DEMO_USERS.len() {
        let line = lines.next().unwrap().unwrap();
        if line.starts_with("http://") || !said.is_empty() {
            said.push(line);
        }
    }
    let port = said[0].strip_prefix("http://localhost:").unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
    Served {
        child,
        address,
        said,
    }
}

/// Asks for a page as a browser does, and returns the whole answer.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn log_in(address: SocketAddr, user: &str, password: &str) -> String {
    let form = format!("user={user}&password={password}");
    let length = form.len();
    ask(
        address,
        &format!(
            "POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Sec-Fetch-Site: same-origin\r\nContent-Length: {length}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}"
        ),
    )
}

#[test]
fn it_makes_its_database_prints_where_and_who_and_starts_again_after_it_was_killed() {
    let folder = TempDir::new().unwrap();
    let first = serve(folder.path());
    for (user, line) in DEMO_USERS.iter().zip(&first.said[1..]) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words, [user.id, user.password, user.role]);
        let answer = log_in(first.address, user.id, user.password);
        assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
        assert!(answer.contains("location: /profile"), "{answer}");
        assert!(answer.contains("__Host-session="), "{answer}");
    }
    drop(first);
    for file in ["backup-codes-web.db", "backup-codes-web.db.key"] {
        assert!(folder.path().join(file).is_file(), "{file}");
    }

    let second = serve(folder.path());
    let user = DEMO_USERS[0];
    let answer = log_in(second.address, user.id, user.password);
    assert!(answer.contains("location: /profile"), "{answer}");
    // Beside one that runs: for whoever cannot get in.
    let output = run(folder.path(), &["--switch-on", "--override", user.id]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    let lines: Vec<&str> = text.lines().collect();
    let [switched, code] = lines[..] else {
        unreachable!("{text}")
    };
    assert_eq!(switched, "backup codes are switched on");
    assert!(code.starts_with('0') && code.contains(" (until "), "{text}");
    let answer = log_in(second.address, user.id, user.password);
    assert!(answer.contains("location: /login/second"), "{answer}");
}

#[test]
fn what_it_cannot_do_is_said_and_by_the_argument_that_asks_for_it() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (arguments, text) in [
        (&["--time-zone", "Nowhere"][..], "Nowhere"),
        (&["--listen", "localhost"], "--listen"),
        (&["--listen", &address], "listening"),
        (&["--trusted-proxy", "proxy.example"], "--trusted-proxy"),
        (&["--void-before", "yesterday"], "rfc 3339"),
        (
            &["--override", "alice", "--db", "none.db"],
            "there is no database",
        ),
        (&["--switch-on", "--db", "wrong.db"], "no database wrong.db"),
        (&["--db", "no/such/folder/web.db"], "reading the key file"),
        (
            &["--insecure-loopback-cookies", "--listen", "0.0.0.0:0"],
            "loopback",
        ),
    ] {
        let said = refused(folder.path(), arguments);
        assert!(said.contains(text), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    drop(serve(folder.path()));
    let said = refused(folder.path(), &["--override", "nobody"]);
    assert!(said.contains("there is no such user"), "{said}");
    assert!(!folder.path().join("wrong.db").exists());
    // A database of something else.
    std::fs::write(folder.path().join("text.db"), "not a database").unwrap();
    std::fs::write(folder.path().join("text.db.key"), [7; 32]).unwrap();
    let said = refused(folder.path(), &["--db", "text.db"]);
    assert!(said.contains("opening the database"), "{said}");
}

#[cfg(unix)]
#[test]
fn whoever_ends_it_gets_what_is_under_way_answered() {
    for signal in ["-INT", "-TERM"] {
        let folder = TempDir::new().unwrap();
        let mut served = serve(folder.path());
        // Half a request: it is waited for.
        let mut stream = TcpStream::connect(served.address).unwrap();
        let user = DEMO_USERS[0];
        let form = format!("user={}&password={}", user.id, user.password);
        let length = form.len();
        let head = format!(
            "POST /login HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n\
             Expect: 100-continue\r\nContent-Length: {length}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // The server reads the form, so it has the request.
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 100"), "{line}");
        let id = served.child.id().to_string();
        let killed = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(killed.success());
        stream.write_all(form.as_bytes()).unwrap();
        let mut answer = String::new();
        reader.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("location: /profile"), "{signal}: {answer}");
        assert!(served.child.wait().unwrap().success(), "{signal}");
    }
}
