//! Moments in time, always passed in by the caller.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::value::ValueError;

/// A moment in UTC, in whole milliseconds since 1970-01-01T00:00:00Z.
///
/// The range ends with the year 9999, so that every value has an RFC 3339 text of fixed width.
/// Leap seconds are not counted, as in POSIX time.
///
/// Nothing in this crate reads a clock: every operation takes the time from its
/// [`Context`](crate::Context), so that a node has one clock, the application's.
///
/// ```
/// use backup_codes::Timestamp;
///
/// let at = Timestamp::from_unix_millis(1_790_000_000_123)?;
/// assert_eq!(at.to_string(), "2026-09-21T14:13:20.123Z");
/// assert_eq!("2026-09-21T16:13:20.123+02:00".parse::<Timestamp>()?, at);
/// # Ok::<(), backup_codes::error::ValueError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last moment of the year 9999.
    pub const MAX: Self = Self(253_402_300_799_999);
    /// 1970-01-01T00:00:00Z.
    pub const MIN: Self = Self(0);

    /// Creates a moment from milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`ValueError::Timestamp`] when the value is negative or after the year 9999.
    pub const fn from_unix_millis(millis: i64) -> Result<Self, ValueError> {
        if millis < Self::MIN.0 || millis > Self::MAX.0 {
            return Err(ValueError::Timestamp);
        }
        Ok(Self(millis))
    }

    /// Returns the milliseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// Returns the moment `duration` later, or [`Timestamp::MAX`].
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis).min(Self::MAX.0))
    }

    /// Returns the moment `duration` earlier, or [`Timestamp::MIN`].
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis).max(Self::MIN.0))
    }

    /// Returns the time from `earlier` to this moment; zero when this moment is not later.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Returns the calendar date in UTC as `YYYY-MM-DD`.
    #[must_use]
    pub fn date(self) -> String {
        let (year, month, day) = civil(self.0.div_euclid(86_400_000));
        format!("{year:04}-{month:02}-{day:02}")
    }
}

/// Returns year, month and day of a day number since 1970-01-01, in the proleptic Gregorian
/// calendar.
///
/// The year starts in March, which puts the leap day last and makes month lengths a linear
/// function: the method of Hinnant, "chrono-compatible low-level date algorithms" (2013).
fn civil(day_number: i64) -> (i64, i64, i64) {
    let shifted = day_number + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Returns the day number since 1970-01-01 of a date, if there is such a date. The inverse of
/// [`civil`], by the same method.
fn day_number(year: i64, month: i64, day: i64) -> Option<i64> {
    let shifted = year - i64::from(month <= 2);
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let number = era * 146_097 + day_of_era - 719_468;
    (civil(number) == (year, month, day)).then_some(number)
}

/// Reads RFC 3339 (section 5.6), without leap seconds.
fn rfc_3339(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        let all = digits.bytes().all(|byte| byte.is_ascii_digit());
        if all {
            digits.parse::<i64>().ok()
        } else {
            None
        }
    };
    let mark = |at: usize, marks: &str| {
        let found = text.get(at..=at)?;
        marks.contains(found).then_some(())
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    for (at, marks) in [(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")] {
        mark(at, marks)?;
    }
    let mut rest = text.get(19..)?;
    let mut millis = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let (fraction, after) = fraction.split_at(digits);
        let padded = format!("{fraction:0<3}");
        millis = padded.get(..3).filter(|_| digits > 0)?.parse().ok()?;
        rest = after;
    }
    let offset_minutes = match (rest, rest.len()) {
        ("Z" | "z", _) => 0,
        (_, 6) => {
            let start = text.len() - 6;
            let (hours, minutes) = (number(start + 1..start + 3)?, number(start + 4..start + 6)?);
            mark(start + 3, ":")?;
            let offset = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
            match rest.as_bytes().first()? {
                b'+' => offset,
                b'-' => -offset,
                _ => return None,
            }
        }
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let minutes = day_number(year, month, day)? * 1440 + hour * 60 + minute - offset_minutes;
    Some((minutes * 60 + second) * 1000 + millis)
}

impl FromStr for Timestamp {
    type Err = ValueError;

    /// Reads RFC 3339 (section 5.6), such as `2026-01-02T03:04:05Z` or
    /// `2026-01-02T04:04:05.678+01:00`, without leap seconds. A space in place of the `T` is accepted;
    /// digits beyond milliseconds are dropped; the offset is required.
    ///
    /// # Errors
    /// [`ValueError::TimestampText`] for any other text, [`ValueError::Timestamp`] before 1970 or
    /// after 9999.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        Self::from_unix_millis(rfc_3339(text).ok_or(ValueError::TimestampText)?)
    }
}

impl fmt::Display for Timestamp {
    /// Writes RFC 3339 in UTC with milliseconds, for example `2026-01-02T03:04:05.678Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0.div_euclid(86_400_000));
        let of_day = self.0.rem_euclid(86_400_000);
        let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
        let (second, milli) = (of_day / 1000 % 60, of_day % 1000);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<i64> for Timestamp {
    type Error = ValueError;

    fn try_from(millis: i64) -> Result<Self, ValueError> {
        Self::from_unix_millis(millis)
    }
}

impl From<Timestamp> for i64 {
    fn from(at: Timestamp) -> Self {
        at.0
    }
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = ValueError;

    fn try_from(time: SystemTime) -> Result<Self, ValueError> {
        let since = time
            .duration_since(UNIX_EPOCH)
            .map_err(|_| ValueError::Timestamp)?;
        Self::from_unix_millis(i64::try_from(since.as_millis()).map_err(|_| ValueError::Timestamp)?)
    }
}

impl From<Timestamp> for SystemTime {
    fn from(at: Timestamp) -> Self {
        UNIX_EPOCH + at.saturating_since(Timestamp::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_rfc_3339_at_the_edges_of_the_calendar() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(
                Timestamp::from_unix_millis(millis).unwrap().to_string(),
                text
            );
        }
    }

    #[test]
    fn every_day_has_the_date_after_the_day_before() {
        let length = |year: i64, month: i64| match month {
            4 | 6 | 9 | 11 => 30,
            2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
            2 => 28,
            _ => 31,
        };
        let mut expected = (1970, 1, 1);
        for day in 0..200_000 {
            assert_eq!(civil(day), expected);
            let (year, month, of_month) = expected;
            expected = if of_month < length(year, month) {
                (year, month, of_month + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        assert_eq!(Timestamp::from_unix_millis(-1), Err(ValueError::Timestamp));
        assert_eq!(
            Timestamp::from_unix_millis(253_402_300_800_000),
            Err(ValueError::Timestamp)
        );
        assert!(serde_json::from_str::<Timestamp>("-1").is_err());
        assert_eq!(Timestamp::MAX.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.saturating_sub(Duration::MAX), Timestamp::MIN);
    }
}
