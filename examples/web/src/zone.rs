//! Times in the site's time zone, as people read them.

use std::iter;
use std::ops::Range;

use backup_codes::error::ValueError;
use backup_codes::{Periods, Timestamp};
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};

/// A time, for machines and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    /// RFC 3339, in UTC.
    pub(crate) iso: String,
    /// The time in the site's time zone, with its offset: an hour that a clock shows twice stays
    /// unambiguous.
    pub(crate) text: String,
}

/// The site's time zone.
#[derive(Debug, Clone)]
pub(crate) struct Zone(TimeZone);

impl Zone {
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self(zone)
    }

    /// Returns the zone's name, or the rule that stands for it.
    pub(crate) fn name(&self) -> String {
        let offset = || self.0.to_fixed_offset().ok().map(offset);
        let name = self.0.iana_name().map(str::to_owned);
        name.or_else(offset)
            .unwrap_or_else(|| "the site's time zone".to_owned())
    }

    fn moment_as(&self, at: Timestamp, format: &str) -> Moment {
        let iso = at.to_string();
        // A timestamp's range lies within jiff's, but for its last day in the west.
        let text = jiff::Timestamp::from_millisecond(at.unix_millis()).map_or_else(
            |_| iso.clone(),
            |moment| {
                let zoned = moment.to_zoned_datetime(self.0.clone());
                format!("{} {}", zoned.strftime(format), offset(zoned.offset()))
            },
        );
        Moment { iso, text }
    }

    pub(crate) fn moment(&self, at: Timestamp) -> Moment {
        self.moment_as(at, "%-d %b %Y, %H:%M")
    }

    /// Returns the time to the second, for the audit log.
    pub(crate) fn second(&self, at: Timestamp) -> Moment {
        self.moment_as(at, "%Y-%m-%d %H:%M:%S")
    }

    /// Returns the names of the days of these periods, such as `3 Nov`. They are counted back from
    /// today: a day that the zone skipped begins where the next one does.
    pub(crate) fn days(&self, periods: &Periods) -> Vec<String> {
        let today = periods.today().start.unix_millis();
        let Ok(today) = jiff::Timestamp::from_millisecond(today) else {
            return Vec::new();
        };
        let today = today.to_zoned_datetime(self.0.clone()).date();
        let mut names: Vec<_> = iter::successors(Some(today), |date| date.yesterday().ok())
            .map(|date| date.strftime("%-d %b").to_string())
            .take(periods.days().count())
            .collect();
        names.reverse();
        names
    }

    /// Returns the periods: today, this month and the last thirty days.
    pub(crate) fn periods(&self, now: Timestamp) -> Result<Periods, ValueError> {
        Periods::in_zone(now, &self.0, 30)
    }

    /// Returns the beginning and the end of a day written as `2026-11-24`.
    pub(crate) fn day_of(&self, text: &str) -> Option<Range<Timestamp>> {
        let date: Date = text.parse().ok()?;
        let start = |date: Date| {
            let zoned = date.to_zoned_datetime(self.0.clone()).ok()?;
            Timestamp::from_unix_millis(zoned.timestamp().as_millisecond()).ok()
        };
        Some(start(date)?..start(date.tomorrow().ok()?)?)
    }
}

/// Returns an offset as people read it: `UTC`, `UTC+05:30`.
fn offset(offset: Offset) -> String {
    if offset.is_zero() {
        return "UTC".to_owned();
    }
    let seconds = offset.seconds().unsigned_abs();
    let sign = if offset.is_negative() { '-' } else { '+' };
    format!("UTC{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Zone {
        Zone::new(TimeZone::get(name).unwrap())
    }

    fn at(text: &str) -> Timestamp {
        let moment: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_unix_millis(moment.as_millisecond()).unwrap()
    }

    #[test]
    fn a_day_lasts_as_long_as_it_does_there() {
        for (name, day, start, end) in [
            (
                "UTC",
                "2026-11-24",
                "2026-11-24T00:00Z",
                "2026-11-25T00:00Z",
            ),
            // Days of 23 and of 25 hours.
            (
                "Europe/Berlin",
                "2026-03-29",
                "2026-03-28T23:00Z",
                "2026-03-29T22:00Z",
            ),
            (
                "Europe/Berlin",
                "2026-10-25",
                "2026-10-24T22:00Z",
                "2026-10-25T23:00Z",
            ),
            // A day without midnight: the clock goes from 23:59 to 01:00.
            (
                "Africa/Cairo",
                "2026-04-24",
                "2026-04-23T22:00Z",
                "2026-04-24T21:00Z",
            ),
            (
                "Asia/Kathmandu",
                "2026-11-24",
                "2026-11-23T18:15Z",
                "2026-11-24T18:15Z",
            ),
            (
                "Pacific/Kiritimati",
                "2026-11-24",
                "2026-11-23T10:00Z",
                "2026-11-24T10:00Z",
            ),
        ] {
            assert_eq!(
                zone(name).day_of(day),
                Some(at(start)..at(end)),
                "{name} {day}"
            );
        }
        let kiritimati = zone("Pacific/Kiritimati");
        for text in ["", "24.11.2026", "2026-02-30", "-9999-01-01", "9999-12-31"] {
            assert_eq!(kiritimati.day_of(text), None, "{text}");
        }
    }

    #[test]
    fn each_day_has_its_own_name_even_one_that_was_skipped() {
        for (name, now, last) in [
            (
                "Pacific/Apia",
                "2012-01-02T12:00Z",
                ["30 Dec", "31 Dec", "1 Jan", "2 Jan", "3 Jan"],
            ),
            // 23:30 on the 6th, for the second time.
            (
                "America/St_Johns",
                "2010-11-07T03:00Z",
                ["3 Nov", "4 Nov", "5 Nov", "6 Nov", "7 Nov"],
            ),
            (
                "Pacific/Honolulu",
                "1970-01-01T00:00Z",
                ["27 Dec", "28 Dec", "29 Dec", "30 Dec", "31 Dec"],
            ),
        ] {
            let zone = zone(name);
            let periods = zone.periods(at(now)).unwrap();
            let names = zone.days(&periods);
            assert_eq!(names.len(), 30, "{name}");
            assert_eq!(names[25..], last, "{name}");
        }
    }

    #[test]
    fn moments_are_told_in_the_zone_and_kept_in_utc() {
        let noon = at("2026-11-24T12:00Z");
        let told = zone("America/St_Johns").moment(noon);
        assert_eq!(told.text, "24 Nov 2026, 08:30 UTC-03:30");
        assert_eq!(told.iso, "2026-11-24T12:00:00.000Z");
        assert_eq!(zone("UTC").moment(noon).text, "24 Nov 2026, 12:00 UTC");
        assert_eq!(zone("UTC").name(), "UTC");
        let fixed = Zone::new(TimeZone::fixed(jiff::tz::offset(-9)));
        assert_eq!(fixed.name(), "UTC-09:00");
        assert_eq!(fixed.moment(noon).text, "24 Nov 2026, 03:00 UTC-09:00");
        let rule = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap();
        assert_eq!(Zone::new(rule).name(), "the site's time zone");
        // Two times an hour apart, at the hour that repeats.
        let berlin = zone("Europe/Berlin");
        for (at_utc, text) in [
            ("2026-10-25T00:30Z", "25 Oct 2026, 02:30 UTC+02:00"),
            ("2026-10-25T01:30Z", "25 Oct 2026, 02:30 UTC+01:00"),
        ] {
            assert_eq!(berlin.moment(at(at_utc)).text, text);
        }
        assert_eq!(
            zone("Asia/Kathmandu").second(noon).text,
            "2026-11-24 17:45:00 UTC+05:45"
        );
    }
}
