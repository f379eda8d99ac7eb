//! The parser never panics, and what it takes for a code it takes again in its folded form.
#![no_main]

use backup_codes::{Attempt, AttemptId, Format, Formats};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|typed: &str| {
    let formats = Formats::new(Format::CROCKFORD)
        .accepting(Format::DIGITS)
        .and_then(|formats| formats.accepting(Format::HIGH_ENTROPY))
        .expect("three lengths");
    let id = AttemptId::from_bytes([1; 16]);
    if let Ok(attempt) = Attempt::parse(typed, &formats, id) {
        assert!(attempt.slot() <= 31);
        let folded = typed.to_uppercase();
        if folded.len() <= Attempt::MAX_INPUT_LEN {
            let again = Attempt::parse(&folded, &formats, id).expect("case is folded");
            assert_eq!((again.slot(), again.format()), (attempt.slot(), attempt.format()));
        }
    }
});
