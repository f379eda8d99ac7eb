//! The text of a sheet and of a refusal.

use std::collections::BTreeSet;
use std::time::Duration;

use backup_codes::outcome::Refusal;
use backup_codes::{Config, Context, Format, Formats, Redeem, RevokeReason, SetSize, Wording};
use pollster::block_on;

use crate::fixture::{MINUTE, fixture, fixture_with, own};
use crate::support::moments::start;
use crate::support::people::alice;
use crate::support::sheets::{code, wrong};

#[test]
fn the_exported_text_is_this() {
    let day = 24 * 60 * MINUTE;
    let f = fixture_with(
        Config::default()
            .with_set_size(SetSize::new(1).unwrap())
            .with_set_lifetime(day)
            .unwrap(),
    );
    let sheet = f.issue(&alice(), Duration::ZERO);
    let wording = Wording::english(&sheet, "example.org", "alice\n2.\u{202e}forged");
    let text = sheet.expose().text(&wording);
    let shape: String = text
        .lines()
        .map(|line| match line.strip_prefix(" 1. ") {
            Some(code) => format!(" 1. {}\n", code.replace(|c| c != '-', "X")),
            None => format!("{}\n", line.replace(&sheet.label(), "LABEL")),
        })
        .collect();
    assert_eq!(
        shape,
        "Backup codes for example.org\n\
         Account: alice 2. forged\n\
         Sheet:   LABEL\n\
         Made on: 2026-09-21 UTC\n\
         Valid until: 2026-09-22T14:13:20.000Z\n\
         \n \
         1. XXXX-XXXX-XXXX-XXXX\n\
         \n\
         Each code works once, in any order. Keep this sheet apart from your password.\n\
         A new sheet makes this one useless.\n"
    );
}

#[test]
fn every_refusal_has_the_same_public_text() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let wrong = wrong();
    let mut texts = BTreeSet::new();
    let mut reasons = BTreeSet::new();
    let mut note = |refusal: Refusal| {
        texts.insert(refusal.to_string());
        reasons.insert(refusal.reason().as_str());
    };
    let _ = f.accepted(&code(&sheet, 1), Duration::ZERO);
    note(f.refused(&code(&sheet, 1), Duration::ZERO));
    for _ in 0..11 {
        note(f.refused(&wrong, Duration::ZERO));
    }
    let system = Context::system(start());
    let Redeem::Refused(denied) = block_on(f.codes.redeem(&alice(), &wrong, &system)).unwrap()
    else {
        panic!("redeemed for another user");
    };
    note(denied);
    let _ = block_on(
        f.codes
            .revoke_all(&alice(), RevokeReason::UserRequest, &own(MINUTE)),
    )
    .unwrap();
    note(f.refused(&wrong, 60 * MINUTE));
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(reasons.len(), 5, "{reasons:?}");
}

#[test]
fn every_exported_line_pasted_whole_is_its_code() {
    for format in [Format::CROCKFORD, Format::DIGITS, Format::HIGH_ENTROPY] {
        let formats = Formats::new(format);
        let f = fixture_with(
            Config::default()
                .with_formats(formats.clone())
                .with_set_size(SetSize::new(31).unwrap()),
        );
        let sheet = if format == Format::HIGH_ENTROPY {
            f.issue(&alice(), Duration::ZERO)
        } else {
            // Hashing 31 codes at full cost is not what this is about.
            let config = Config::default().with_formats(formats.clone());
            let f = fixture_with(config);
            f.issue(&alice(), Duration::ZERO)
        };
        let text = sheet
            .expose()
            .text(&Wording::english(&sheet, "example.org", "alice"));
        let id = backup_codes::rules::OperationId::from_bytes([1; 16]);
        let read: Vec<u8> = text
            .split_inclusive('\n')
            .filter_map(|line| backup_codes::rules::Attempt::parse(line, &formats, id).ok())
            .map(|attempt| attempt.slot())
            .collect();
        assert_eq!(
            read,
            (1..=u8::try_from(sheet.len()).unwrap()).collect::<Vec<u8>>()
        );
    }
}
