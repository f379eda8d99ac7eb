//! Parsing of times as people type them.

use std::time::SystemTime;

use backup_codes::Timestamp;
use backup_codes::error::ValueError;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::failure::Failure;

#[expect(
    clippy::disallowed_methods,
    reason = "an application reads the clock; the crate does not"
)]
pub(crate) fn now() -> Result<Timestamp, ValueError> {
    Timestamp::try_from(SystemTime::now())
}

/// Parses a time: with an offset, or as local time; a day means its beginning.
pub(crate) fn read(text: &str, zone: &TimeZone) -> Result<Timestamp, Failure> {
    let local = || {
        let local: DateTime = text.parse().ok()?;
        Some(local.to_zoned_datetime(zone.clone()).ok()?.timestamp())
    };
    let read = text.parse::<jiff::Timestamp>().ok().or_else(local);
    read.and_then(|at| Timestamp::from_unix_millis(at.as_millisecond()).ok())
        .ok_or_else(|| {
            Failure::new("this is not a time: type one like 2026-03-31 or 2026-03-31T18:30")
        })
}
