//! Decoding a record never panics, and what is decoded is encoded without loss.
#![no_main]

use backup_codes::repository::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &str| {
    if let Ok(record) = Record::from_json(json) {
        let again = Record::from_json(&record.to_json()).expect("what was written is read");
        assert_eq!(again, record);
    }
});
