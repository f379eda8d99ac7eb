//! Moments: no test reads a clock.

use std::time::Duration;

use backup_codes::Timestamp;

/// 2026-09-21T14:13:20Z, at which most tests begin.
pub(crate) const START: i64 = 1_790_000_000_000;

/// The moment this many milliseconds after the beginning of 1970.
pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).unwrap()
}

pub(crate) fn start() -> Timestamp {
    at(START)
}

/// The moment this long after the start.
pub(crate) fn since_start(time: Duration) -> Timestamp {
    start().saturating_add(time)
}
