//! The published vectors of `docs/vectors.json`, through the public API and through an
//! implementation of their own.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use backup_codes::audit::Reason;
use backup_codes::hash::{Cost, KeyId};
use backup_codes::report::Summary;
use backup_codes::repository::Record;
use backup_codes::rules::{Attempt, OperationId};
use backup_codes::{
    BackupCodes, Config, Context, Format, Formats, HashParams, Hashing, Keyring, MemoryRepository,
    Pepper, Redeem, Settings, Subject, UserId,
};
use pollster::block_on;
use serde_json::{Value, json};
use support::checksum::sum_again;
use support::moments::{START, at};
use support::records;

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn vectors() -> Value {
    serde_json::from_str(&fs::read_to_string(file("docs/vectors.json")).unwrap()).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap();
    let pairs = (0..digits.len())
        .step_by(2)
        .map(|place| &digits[place..place + 2]);
    pairs.map(|p| u8::from_str_radix(p, 16).unwrap()).collect()
}

/// A record with this one code.
fn record_of(code: &Value) -> String {
    let (set, scheme, phc) = (&code["set"], &code["scheme"], &code["phc"]);
    let record = if code["slot"] == 0 {
        json!({"version": 1, "throttle": {"wrong_in_a_row": 0}, "override": {
            "id": set, "scheme": scheme, "phc": phc, "issued_at": START,
            "expires_at": START + 3_600_000, "wrong_in_a_row": 0, "sum": "",
        }})
    } else {
        json!({"version": 1, "throttle": {"wrong_in_a_row": 0}, "active": {
            "id": set, "scheme": scheme, "prepared_at": START, "activated_at": START,
            "slots": [{"slot": code["slot"], "phc": phc, "sum": ""}],
        }})
    };
    sum_again(&record.to_string())
}

fn redeem(vectors: &Value, code: &Value, user: &UserId) -> Redeem {
    let format: Format = code["format"].as_str().unwrap().parse().unwrap();
    let key = vectors["keys"].as_array().unwrap().iter();
    let keyring = match key.clone().find(|key| key["pepper"] == code["pepper"]) {
        None => Keyring::without_pepper(),
        Some(key) => Keyring::new(
            KeyId::new(key["id"].as_str().unwrap()).unwrap(),
            Pepper::new(bytes(&key["pepper"])).unwrap(),
        ),
    };
    let params = HashParams::new(keyring).unwrap();
    let config = Config::default().with_formats(Formats::new(format));
    let store = MemoryRepository::new();
    records::insert(&store, user, &record_of(code), &Summary::default());
    let codes = BackupCodes::new(store, Settings::default(), Hashing::inline(params));
    let subject = Subject::new(user.clone(), ["staff"]);
    let cx = Context::new(at(START + 1), &subject);
    let shown = code["shown"].as_str().unwrap();
    block_on(codes.with_config(config).redeem(&subject, shown, &cx)).unwrap()
}

#[test]
fn every_published_code_is_accepted_from_a_record_made_of_its_vector() {
    let vectors = vectors();
    let codes = vectors["codes"].as_array().unwrap();
    for code in codes {
        let user = UserId::new(bytes(&code["user"])).unwrap();
        let redeemed = redeem(&vectors, code, &user);
        assert!(matches!(redeemed, Redeem::Accepted(_)), "{code}");
    }
    // Of another user it is a wrong code.
    let other = UserId::new("43").unwrap();
    let refused = redeem(&vectors, &codes[0], &other);
    assert!(matches!(refused, Redeem::Refused(refusal) if refusal.reason() == Reason::Wrong));
}

#[test]
fn there_is_a_vector_of_each_kind() {
    let vectors = vectors();
    let codes = vectors["codes"].as_array().unwrap();
    for format in ["crockford-14", "digits-21", "crockford-26"] {
        for peppered in [false, true] {
            for slot in [0, 1, 16, 31] {
                let there = codes.iter().any(|code| {
                    code["format"] == format
                        && code["pepper"].is_string() == peppered
                        && code["slot"] == slot
                        && code["m"] == Cost::MIB_19.memory_kib()
                });
                assert!(there, "{format}, pepper: {peppered}, slot {slot}");
            }
        }
    }
    for payload in [
        "0".repeat(14),
        "Z".repeat(14),
        "0".repeat(21),
        "9".repeat(21),
    ] {
        assert!(codes.iter().any(|code| code["payload"] == payload));
    }
}

#[test]
fn the_codes_in_the_documentation_divide_as_it_says() {
    let page = fs::read_to_string(file("docs/framing.md")).unwrap();
    let mut seen = 0;
    for row in page.lines().filter(|line| line.matches('`').count() == 8) {
        let cells: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        let (format, shown, payload, check) = (cells[0], cells[1], cells[2], cells[3]);
        let format: Format = format.parse().unwrap();
        let id = OperationId::from_bytes([1; 16]);
        let attempt = Attempt::parse(shown, &Formats::new(format), id).unwrap();
        assert!(row.contains(&format!("` | {} | `", attempt.slot())));
        let rest = format!("{payload}{check}");
        assert!(shown.replace('-', "").ends_with(&rest), "{row}");
        assert!(Attempt::parse(&shown.replace(check, "Y"), &Formats::new(format), id).is_err());
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn every_published_checksum_is_that_of_the_record() {
    let vectors = vectors();
    let pieces = vectors["checksums"].as_array().unwrap();
    assert_eq!(pieces.len(), 7);
    for piece in pieces {
        let mut code = piece.clone();
        let fields = code.as_object_mut().unwrap();
        let set = fields.remove("set").unwrap();
        fields.remove("bytes");
        fields.retain(|_, value| !value.is_null());
        let of = |mut code: Value| {
            let fields = code.as_object_mut().unwrap();
            if piece["slot"] == 0 {
                fields.remove("slot");
                fields.insert("id".to_owned(), set.clone());
                json!({"version": 1, "throttle": {"wrong_in_a_row": 0}, "override": code})
                    .to_string()
            } else {
                let scheme = fields.remove("scheme");
                json!({"version": 1, "throttle": {"wrong_in_a_row": 0}, "active": {
                    "id": set, "scheme": scheme, "prepared_at": START, "slots": [code],
                }})
                .to_string()
            }
        };
        let read = Record::from_json(&of(code.clone())).unwrap();
        // The crate writes the fields of an intact piece in its own order, those of a damaged one
        // as they were: here by name.
        let first = ["\"slots\":[{\"slot\":", "\"override\":{\"id\":"];
        let intact = |record: &Record| {
            let written = record.to_json();
            first.iter().any(|first| written.contains(first))
        };
        let sum = format!("\"sum\":{}}}", piece["sum"]);
        assert!(intact(&read) && read.to_json().contains(&sum), "{piece}");
        code["sum"] = "00000000".into();
        let damaged = Record::from_json(&of(code)).unwrap();
        assert!(!intact(&damaged), "{piece}");
    }
}

/// `tests/vectors/check.py` on this file; `None` where Python or its library is missing.
fn check(vectors: &Path) -> Option<Output> {
    let script = file("tests/vectors/check.py");
    run(Command::new("python3").arg(script).arg(vectors))
}

fn run(script: &mut Command) -> Option<Output> {
    match script.output() {
        Ok(output) if output.status.code() != Some(77) => Some(output),
        missing => {
            eprintln!("skipped, .ci/run requires it: {missing:?}");
            None
        }
    }
}

#[test]
fn an_implementation_from_the_documentation_alone_gives_the_same() {
    let published = file("docs/vectors.json");
    let Some(output) = check(&published) else {
        return;
    };
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.starts_with("30 codes, 3 keys, 7 checksums"), "{said}");
}

#[test]
fn the_known_answers_are_those_of_the_reference_implementation() {
    let script = file("tests/vectors/argon2id.py");
    let Some(output) = run(Command::new("python3").arg(script)) else {
        return;
    };
    assert!(output.status.success());
    let known = fs::read_to_string(file("src/hash/known_answers.txt")).unwrap();
    assert!(known == String::from_utf8(output.stdout).unwrap());
}

#[test]
fn a_changed_value_is_seen_by_that_implementation() {
    let mut vectors = vectors();
    // One character of each becomes another one.
    let changes = [
        ("keys", 0, "message", "key 2026: message"),
        ("keys", 1, "check", "key 2027.b: check"),
        ("codes", 0, "shown", ": check symbol"),
        ("codes", 1, "payload", ": payload"),
        ("codes", 2, "message", ": message"),
        ("codes", 3, "phc", ": phc"),
        ("codes", 4, "scheme", ": scheme"),
        ("checksums", 0, "bytes", "checksum 0: bytes"),
        ("checksums", 1, "sum", "checksum 1: sum"),
    ];
    for (list, place, field, _) in changes {
        let value = &mut vectors[list][place][field];
        let mut text = value.as_str().unwrap().to_owned();
        let last = text.pop().unwrap();
        text.push(if last == '0' { '1' } else { '0' });
        *value = text.into();
    }
    let altered = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vectors-altered.json");
    fs::write(&altered, vectors.to_string()).unwrap();
    let Some(output) = check(&altered) else {
        return;
    };
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for (list, place, _, wrong) in changes {
        let seen = |line: &str| {
            line.contains(wrong)
                && (list != "codes" || line.starts_with(&format!("code {place}, ")))
        };
        assert!(said.lines().any(seen), "{wrong} of {place}: {said}");
    }
}
