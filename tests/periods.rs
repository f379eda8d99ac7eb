//! Days and months of time zones, against a count made by another method.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use backup_codes::error::ValueError;
use backup_codes::hash::Acceptance;
use backup_codes::report::UsageQuery;
use backup_codes::{Periods, Timestamp, Usage};
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};

const QUARTER: i64 = 15 * 60 * 1000;
const DAY: i64 = 96 * QUARTER;
/// Days of the periods.
const DAYS: u16 = 6;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).unwrap()
}

fn utc(text: &str) -> Timestamp {
    let moment: jiff::Timestamp = text.parse().unwrap();
    at(moment.as_millisecond())
}

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

/// Codes used in a quarter hour: hardly two of them alike, so that none is taken for another.
fn codes(quarter: i64) -> u64 {
    u64::try_from(quarter.wrapping_mul(7919).rem_euclid(9973)).unwrap()
}

/// The day of each quarter hour from `from` to `to`: the date that clocks show when it begins, or
/// the latest one that they have shown before. Nothing is asked but what a clock shows.
fn day_of_each(zone: &TimeZone, from: i64, to: i64) -> Vec<(i64, Date)> {
    let mut latest = Date::MIN;
    (from.div_euclid(QUARTER)..to.div_euclid(QUARTER))
        .map(|quarter| {
            let start = jiff::Timestamp::from_millisecond(quarter * QUARTER).unwrap();
            latest = latest.max(start.to_zoned_datetime(zone.clone()).date());
            (quarter, latest)
        })
        .collect()
}

/// Compares the figures of periods at `now` with a count of the same uses by date.
fn compare(zone: &TimeZone, now: i64, quarters: &[(i64, Date)], of: &str) {
    let periods = Periods::in_zone(at(now), zone, DAYS).unwrap();
    let query = UsageQuery::new(periods, 3, at(now), Acceptance::default());
    let mut usage = Usage::empty(&query);
    let (mut by_date, mut month) = (BTreeMap::<Date, u64>::new(), 0);
    let today = quarters[usize::try_from(now.div_euclid(QUARTER) - quarters[0].0).unwrap()].1;
    for (quarter, date) in quarters {
        let codes = codes(*quarter);
        usage.count_uses(at(quarter * QUARTER), codes, &query);
        *by_date.entry(*date).or_default() += codes;
        if date.first_of_month() == today.first_of_month() {
            month += codes;
        }
    }
    let of_date = |date: Date| by_date.get(&date).copied().unwrap_or(0);
    let days = (0..i64::from(DAYS)).rev();
    let days: Vec<u64> = days.map(|back| of_date(today - back.days())).collect();
    assert_eq!(usage.used_by_day, days, "{of}: days up to {today}");
    assert_eq!(usage.used_today, of_date(today), "{of}: {today}");
    assert_eq!(usage.used_this_month, month, "{of}: month of {today}");
}

/// Compares around one change of a zone's clocks, asked before it and after it.
fn compare_around(zone: &TimeZone, change: i64, of: &str) {
    let hour = 4 * QUARTER;
    let quarters = day_of_each(zone, change - 8 * DAY, change + 4 * DAY);
    for now in [
        change - 1,
        change,
        change + hour / 2,
        change + 26 * hour,
        change + 2 * DAY + 1,
    ] {
        compare(zone, now, &quarters, of);
    }
}

fn changes(zone: &TimeZone, from: &str, until: &str) -> Vec<i64> {
    let until: jiff::Timestamp = until.parse().unwrap();
    zone.following(from.parse().unwrap())
        .map(|change| change.timestamp())
        .take_while(|change| *change < until)
        .map(jiff::Timestamp::as_millisecond)
        .collect()
}

#[test]
fn figures_around_every_change_of_every_zone_are_those_of_a_count_by_date() {
    let mut compared = 0;
    for name in TimeZoneDatabase::bundled().available() {
        let zone = zone(name.as_str());
        for change in changes(&zone, "1999-12-31T23:59:59Z", "2041-01-01T00:00:00Z") {
            compare_around(&zone, change, &format!("{} {}", name.as_str(), at(change)));
            compared += 1;
        }
    }
    assert!(compared > 10_000, "{compared}");
}

#[test]
fn figures_are_those_of_a_count_by_date_where_days_are_skipped_or_repeated() {
    for rule in [
        // Each new year's day is skipped, the first of a month; each 18th of July comes twice.
        "<-11>11<+13>-13,J1/0,J200/0",
        // Clocks go forward from before midnight to after it, and back over it.
        "EST5EDT,M3.2.0/23:30,M11.1.0/0:30",
    ] {
        let zone = TimeZone::posix(rule).unwrap();
        for change in changes(&zone, "2026-06-01T00:00:00Z", "2029-01-01T00:00:00Z") {
            compare_around(&zone, change, &format!("{rule} {}", at(change)));
        }
    }
}

#[test]
fn a_day_that_a_zone_skipped_is_empty() {
    let apia = zone("Pacific/Apia");
    let periods = Periods::in_zone(utc("2012-01-01T12:00:00+14"), &apia, 4).unwrap();
    let days: Vec<_> = periods.days().collect();
    assert_eq!(
        days,
        [
            utc("2011-12-29T00:00:00-10")..utc("2011-12-30T00:00:00-10"),
            utc("2011-12-31T00:00:00+14")..utc("2011-12-31T00:00:00+14"),
            utc("2011-12-31T00:00:00+14")..utc("2012-01-01T00:00:00+14"),
            utc("2012-01-01T00:00:00+14")..utc("2012-01-02T00:00:00+14"),
        ]
    );
    // The 29th ends where the 31st begins, and each is today up to there.
    let change = utc("2011-12-30T10:00:00Z");
    let before = Periods::in_zone(at(change.unix_millis() - 1), &apia, 1).unwrap();
    assert_eq!(before.today(), days[0]);
    let after = Periods::in_zone(change, &apia, 1).unwrap();
    assert_eq!(after.today(), days[2]);
    assert_eq!(after.month().end, days[2].end);
}

#[test]
fn an_hour_repeated_over_midnight_is_part_of_the_day_that_had_begun() {
    let st_johns = zone("America/St_Johns");
    // From 00:01 to 23:01 of the day before.
    let seventh = utc("2010-11-07T00:00:00-02:30")..utc("2010-11-08T00:00:00-03:30");
    for now in [
        "2010-11-07T00:00:00-02:30",
        "2010-11-06T23:01:00-03:30",
        "2010-11-06T23:59:59-03:30",
        "2010-11-07T00:00:00-03:30",
        "2010-11-07T23:59:59-03:30",
    ] {
        let periods = Periods::in_zone(utc(now), &st_johns, 1).unwrap();
        assert_eq!(periods.today(), seventh, "{now}");
    }
    let sixth = Periods::in_zone(utc("2010-11-06T23:59:59-02:30"), &st_johns, 1).unwrap();
    assert_eq!(sixth.today().end, seventh.start);
}

#[test]
fn windows_at_1970_are_cut_off_there() {
    for name in ["Pacific/Honolulu", "UTC", "Pacific/Auckland"] {
        let periods = Periods::in_zone(Timestamp::MIN, &zone(name), 30).unwrap();
        assert_eq!(periods.days().count(), 30, "{name}");
        assert_eq!(periods.today().start, Timestamp::MIN, "{name}");
        assert!(periods.today().end > Timestamp::MIN, "{name}");
        assert!(periods.month().contains(&Timestamp::MIN), "{name}");
        let mut days = periods.days();
        assert!(days.all(|day| day == periods.today() || day.is_empty()));
    }
}

#[test]
fn windows_at_the_end_of_9999_are_an_error_that_says_so() {
    for name in ["Pacific/Honolulu", "UTC", "Pacific/Auckland"] {
        let periods = Periods::in_zone(Timestamp::MAX, &zone(name), 30);
        assert_eq!(periods, Err(ValueError::TimeZone), "{name}");
        assert!(Periods::in_zone(utc("9999-11-15T00:00:00Z"), &zone(name), 30).is_ok());
    }
}

#[test]
fn a_zone_off_the_quarter_hour_is_an_error_that_says_so() {
    let monrovia = Periods::in_zone(utc("1971-06-01T00:00:00Z"), &zone("Africa/Monrovia"), 2);
    assert_eq!(monrovia, Err(ValueError::PeriodBoundary));
    assert!(Periods::in_zone(utc("1973-06-01T00:00:00Z"), &zone("Africa/Monrovia"), 2).is_ok());
}

fn noon_and_the_next() -> (Timestamp, Timestamp) {
    let noon = utc("2026-11-24T12:00:00Z");
    (noon, at(noon.unix_millis() + DAY))
}

#[test]
fn periods_may_be_empty() {
    let (noon, later) = noon_and_the_next();
    assert!(Periods::new(noon..noon, noon..later, &[noon, noon, later, later]).is_ok());
}

#[test]
fn periods_never_go_backwards() {
    let (noon, later) = noon_and_the_next();
    let backwards = Err(ValueError::PeriodOrder);
    assert_eq!(Periods::new(later..noon, noon..later, &[]), backwards);
    assert_eq!(Periods::new(noon..later, later..noon, &[]), backwards);
    assert_eq!(
        Periods::new(noon..later, noon..later, &[later, noon]),
        backwards
    );
    assert_eq!(
        Periods::new(noon..later, noon..later, &[noon, later, noon]),
        backwards
    );
}
