//! Moments as people of the site's time zone read them.

use std::ops::Range;

use backup_codes::{Timestamp, Windows, WindowsError};
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// A moment, for machines and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    /// RFC 3339, in UTC.
    pub(crate) iso: String,
    /// In the site's time zone.
    pub(crate) text: String,
}

/// The site's time zone.
#[derive(Debug, Clone)]
pub(crate) struct Zone(TimeZone);

impl Zone {
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self(zone)
    }

    pub(crate) fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    fn format(&self, at: Timestamp, format: &str) -> String {
        // A timestamp's range lies within jiff's, but for its last day in the west.
        jiff::Timestamp::from_millisecond(at.unix_millis()).map_or_else(
            |_| at.to_string(),
            |moment| {
                let zoned = moment.to_zoned_datetime(self.0.clone());
                zoned.strftime(format).to_string()
            },
        )
    }

    pub(crate) fn moment(&self, at: Timestamp) -> Moment {
        Moment {
            iso: at.to_string(),
            text: self.format(at, "%-d %b %Y, %H:%M"),
        }
    }

    /// The same to the second, for the audit log.
    pub(crate) fn second(&self, at: Timestamp) -> Moment {
        Moment {
            iso: at.to_string(),
            text: self.format(at, "%Y-%m-%d %H:%M:%S"),
        }
    }

    /// The day of a moment, such as `3 Nov`.
    pub(crate) fn day(&self, at: Timestamp) -> String {
        self.format(at, "%-d %b")
    }

    /// Today, this month and the last thirty days.
    pub(crate) fn windows(&self, now: Timestamp) -> Result<Windows, WindowsError> {
        Windows::in_zone(now, &self.0, 30)
    }

    /// The moments of a day written as `2026-11-24`.
    pub(crate) fn day_of(&self, text: &str) -> Option<Range<Timestamp>> {
        let date: Date = text.parse().ok()?;
        let start = |date: Date| {
            let zoned = date.to_zoned_datetime(self.0.clone()).ok()?;
            Timestamp::from_unix_millis(zoned.timestamp().as_millisecond()).ok()
        };
        Some(start(date)?..start(date.tomorrow().ok()?)?)
    }
}
