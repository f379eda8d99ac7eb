//! The parser never panics, and what it takes for a code it takes for that code in another case,
//! and in no other of the accepted formats.
#![no_main]

use backup_codes::rules::{Attempt, OperationId};
use backup_codes::{Format, Formats};
use libfuzzer_sys::fuzz_target;

/// Three formats of neighbouring lengths, and two others.
fn accepted() -> Vec<Format> {
    let mut formats = vec![Format::CROCKFORD, Format::DIGITS, Format::HIGH_ENTROPY];
    formats.extend([15, 16].map(|len| Format::crockford(len).expect("within its bounds")));
    formats
}

fuzz_target!(|typed: &str| {
    let all = accepted();
    let formats = all[1..]
        .iter()
        .fold(Formats::new(all[0]), |formats, format| {
            formats.accepting(*format).expect("five lengths")
        });
    let id = OperationId::from_bytes([1; 16]);
    if let Ok(attempt) = Attempt::parse(typed, &formats, id) {
        assert!(attempt.slot() <= 31);
        let read = (attempt.slot(), attempt.format());
        let folded = typed.to_uppercase();
        if folded.len() <= Attempt::MAX_INPUT_LEN {
            let again = Attempt::parse(&folded, &formats, id).expect("case is folded");
            assert_eq!((again.slot(), again.format()), read);
        }
        let alone = all.iter().filter_map(|format| {
            let alone = Attempt::parse(typed, &Formats::new(*format), id).ok()?;
            Some((alone.slot(), alone.format()))
        });
        assert_eq!(alone.collect::<Vec<_>>(), [read]);
    }
});
