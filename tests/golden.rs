//! Every record format version ever written is read, and written again to the letter.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use backup_codes::error::RecordError;
use backup_codes::hash::Acceptance;
use backup_codes::repository::{Record, Revision};
use backup_codes::rules::OperationId;
use backup_codes::rules::{self, Operation};
use backup_codes::{Config, Context, Status, Timestamp, UserId};

fn golden() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (
                name,
                fs::read_to_string(path).unwrap().trim_end().to_owned(),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn golden_records_are_written_again_as_they_were_read() {
    let files = golden();
    assert_eq!(
        files.len(),
        7,
        "a golden file was added or removed: keep every one"
    );
    for (name, json) in files {
        let record = Record::from_json(&json).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(record.to_json(), json, "{name}");
        let damaged = match name.as_str() {
            "v1-damaged-slot.json" => 1,
            "v1-damaged-text.json" => 2,
            _ => 0,
        };
        assert_eq!(status(&record).damaged, damaged, "{name}");
    }
}

#[test]
fn a_revoked_record_says_since_when() {
    let files = golden();
    let (_, json) = files
        .iter()
        .find(|(name, _)| name == "v1-revoked.json")
        .unwrap();
    let status = status(&Record::from_json(json).unwrap());
    let at = |millis| Some(Timestamp::from_unix_millis(millis).unwrap());
    assert_eq!(status.revoked_at, at(1_790_009_000_000));
    assert_eq!(status.last_used_at, at(1_790_001_000_000));
    assert_eq!((status.set, status.total), (None, 0));
}

fn status(record: &Record) -> Status {
    let user = UserId::new("alice").unwrap();
    let context = Context::system(Timestamp::MIN);
    let (config, acceptance) = (Config::default(), Acceptance::default());
    let operation = Operation {
        user: &user,
        context: &context,
        config: &config,
        acceptance: &acceptance,
        low_threshold: 3,
        id: OperationId::from_bytes([1; 16]),
        revision: Revision::from_bytes([2; 16]),
    };
    rules::status(record, &operation)
}

#[test]
fn a_newer_version_is_refused_whatever_its_fields() {
    for json in [r#"{"version":2}"#, r#"{"version":2,"shards":[1,2]}"#] {
        let error = Record::from_json(json).unwrap_err();
        assert_eq!(
            error,
            RecordError::Newer {
                found: 2,
                supported: 1
            }
        );
        assert_eq!(
            error.to_string(),
            "the record has format version 2, this crate reads up to 1: update the crate on every \
             node before a newer one writes"
        );
    }
}

#[test]
fn what_is_no_record_is_an_error_that_repeats_nothing() {
    for json in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"version":0}"#,
        r#"{"version":1,"secret":"$argon2id$v=19$leak"}"#,
        r#"{"version":1,"active":{"id":"zz"}}"#,
        r#"{"version":1,"throttle":{"wrong_in_a_row":300}}"#,
    ] {
        let error = Record::from_json(json).unwrap_err();
        assert!(
            matches!(error, RecordError::Malformed { .. }),
            "{json}: {error}"
        );
        assert!(!error.to_string().contains("leak") && !format!("{error:?}").contains("leak"));
    }
    let large = format!(
        "{{\"version\":1,\"x\":\"{}\"}}",
        "x".repeat(Record::MAX_JSON_LEN)
    );
    assert!(matches!(
        Record::from_json(&large),
        Err(RecordError::TooLarge { .. })
    ));
}
