//! `JsonLines` to a file that log rotation renames.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup_codes::audit::{AuditSink as _, Event};
use backup_codes::{Error, JsonLines, MemoryRepository, Timestamp};
use pollster::block_on;
use support::contexts::own;
use support::operations::backup_codes;
use support::people::alice;

/// An empty folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    folder
}

fn event(number: u8) -> Event {
    let event = serde_json::json!({
        "id": format!("{number:02x}").repeat(16),
        "at": 0,
        "kind": "redeem",
        "outcome": "success",
        "actor": "system",
    });
    serde_json::from_value(event).unwrap()
}

fn record(log: &JsonLines<fs::File>, number: u8) {
    block_on(log.record(&[event(number)])).unwrap();
}

/// The numbers of the events in a file, each line of which has to be one.
fn numbers(file: &Path) -> Vec<u8> {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines().map(number).collect()
}

fn number(line: &str) -> u8 {
    let event: serde_json::Value = serde_json::from_str(line).unwrap();
    u8::from_str_radix(&event["event.id"].as_str().unwrap()[..2], 16).unwrap()
}

#[test]
fn after_a_rename_lines_go_to_a_new_file_at_the_path() {
    let folder = folder("renamed");
    let path = folder.join("audit.jsonl");
    let log = JsonLines::open(&path).unwrap();
    record(&log, 1);
    record(&log, 2);
    fs::rename(&path, folder.join("audit.jsonl.1")).unwrap();
    record(&log, 3);
    record(&log, 4);
    fs::rename(&path, folder.join("audit.jsonl.2")).unwrap();
    record(&log, 5);
    assert_eq!(numbers(&folder.join("audit.jsonl.1")), [1, 2]);
    assert_eq!(numbers(&folder.join("audit.jsonl.2")), [3, 4]);
    assert_eq!(numbers(&path), [5]);
}

#[test]
fn a_file_that_the_rotation_has_made_is_the_one_written_to() {
    let folder = folder("created");
    let path = folder.join("audit.jsonl");
    let log = JsonLines::open(&path).unwrap();
    record(&log, 1);
    fs::rename(&path, folder.join("audit.jsonl.1")).unwrap();
    let made = fs::File::create_new(&path).unwrap();
    record(&log, 2);
    assert_eq!(numbers(&path), [2]);
    assert_eq!(
        made.metadata().unwrap().len(),
        path.metadata().unwrap().len()
    );
}

#[cfg(unix)]
#[test]
fn a_file_that_was_removed_is_made_again() {
    let path = folder("removed").join("audit.jsonl");
    let log = JsonLines::open(&path).unwrap();
    record(&log, 1);
    fs::remove_file(&path).unwrap();
    record(&log, 2);
    assert_eq!(numbers(&path), [2]);
}

#[cfg(unix)]
#[test]
fn a_new_file_has_the_permissions_of_the_one_before() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder("permissions");
    let path = folder.join("audit.jsonl");
    let log = JsonLines::open(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&path, folder.join("audit.jsonl.1")).unwrap();
    record(&log, 1);
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_line_torn_before_the_start_or_the_rotation_swallows_no_other() {
    let folder = folder("torn");
    let path = folder.join("audit.jsonl");
    fs::write(&path, "{\"torn").unwrap();
    let log = JsonLines::open(&path).unwrap();
    record(&log, 1);
    record(&log, 2);
    let whole = |text: &str| -> Vec<u8> {
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("{\"torn"));
        lines.map(number).collect()
    };
    assert_eq!(whole(&fs::read_to_string(&path).unwrap()), [1, 2]);
    fs::rename(&path, folder.join("audit.jsonl.1")).unwrap();
    fs::write(&path, "{\"torn").unwrap();
    record(&log, 3);
    record(&log, 4);
    assert_eq!(whole(&fs::read_to_string(&path).unwrap()), [3, 4]);
}

#[cfg(unix)]
#[test]
fn events_stay_undelivered_while_the_path_cannot_be_opened_again() {
    let folder = folder("unopened").join("log");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("audit.jsonl");
    let log = Arc::new(JsonLines::open(&path).unwrap());
    let codes = backup_codes(MemoryRepository::new()).with_audit(Arc::clone(&log));
    let (alice, cx) = (alice(), own(Timestamp::MIN));

    let away = folder.with_file_name("away");
    fs::rename(&folder, &away).unwrap();
    // What was done stands, and its events wait.
    let _ = block_on(codes.issue(&alice, &cx)).unwrap();
    assert!(matches!(
        block_on(codes.deliver_events()),
        Err(Error::Sink(_))
    ));
    assert_eq!(fs::read(away.join("audit.jsonl")).unwrap(), b"");

    fs::create_dir(&folder).unwrap();
    let delivered = block_on(codes.deliver_events()).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let actions: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|event| event["event.action"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(actions, ["prepare", "activate"], "{delivered:?}");
    let _ = block_on(codes.deliver_events()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_log_in_a_folder_that_is_not_there_is_an_error() {
    assert!(JsonLines::open(folder("missing").join("log/audit.jsonl")).is_err());
}
