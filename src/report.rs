//! Usage: the users with codes, the users low on codes, and the number of codes used over time.
//!
//! [`Reports`](crate::Reports) asks the repository's directory; the pure functions are in this
//! module.
//!
//! ```
//! use backup_codes::Timestamp;
//! use backup_codes::report::{Periods, Summary, schemes};
//!
//! let at = |hours: i64| Timestamp::from_unix_millis(1_789_948_800_000 + hours * 3_600_000);
//! let periods = Periods::new(at(0)?..at(24)?, at(-480)?..at(264)?, &[])?;
//! assert_eq!(periods.today(), at(0)?..at(24)?);
//! // A user without codes has no scheme.
//! assert_eq!(schemes([Summary::default()]), []);
//! # Ok::<(), backup_codes::error::ValueError>(())
//! ```

pub(crate) mod users;

pub use self::users::{UserFilter, UserOrder, UsersQuery};

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::audit::event::Reason;
use crate::error::value::ValueError;
use crate::hash::acceptance::{Acceptance, Scheme};
use crate::id::UserId;
use crate::outcome::Level;
use crate::repository::record::{CodeSet, QUARTER_MILLIS, Record, Use, quarter_of};
use crate::timestamp::Timestamp;

/// The part of a record that a repository may index: counts, times and schemes, no hashes (ASVS 5.0,
/// 15.3.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// The active set, if any.
    pub set: Option<SetSummary>,
    /// The latest use of any set.
    pub last_used_at: Option<Timestamp>,
    /// Uses of all sets, by quarter hour, oldest first.
    pub uses: Vec<Use>,
    /// The time at which the user was erased; the record is then a tombstone.
    pub erased_at: Option<Timestamp>,
}

/// The part of an active set that a repository may index.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetSummary {
    /// The scheme of the set's codes.
    pub scheme: Scheme,
    /// The number of codes that the set was issued with.
    pub total: u8,
    /// The number of codes neither used nor burned nor damaged; [`Summary::remaining`] says
    /// whether the set is in force.
    pub unused: u8,
    /// The time at which the set was prepared.
    pub prepared_at: Timestamp,
    /// The time at which the set was activated.
    pub activated_at: Timestamp,
    /// The time from which the set's codes are refused, if it expires.
    pub expires_at: Option<Timestamp>,
    /// The time at which an unused code of the set was last found right: by a redeem, a check or
    /// the confirmation of a new sheet.
    pub proved_at: Option<Timestamp>,
}

impl SetSummary {
    /// Creates the summary of a set that does not expire and was not proved, as a repository stored
    /// it. Set the other fields on the value.
    ///
    /// ```
    /// use backup_codes::{Format, Timestamp};
    /// use backup_codes::hash::{Cost, Scheme};
    /// use backup_codes::report::{SetSummary, Summary};
    /// use backup_codes::repository::Use;
    ///
    /// let at = Timestamp::from_unix_millis(1_790_000_000_000)?;
    /// let scheme = Scheme::new(Format::CROCKFORD, Cost::MIB_19, None);
    /// let mut set = SetSummary::new(scheme, 10, 9, at, at);
    /// set.proved_at = Some(at);
    /// let mut summary = Summary::default();
    /// summary.set = Some(set);
    /// summary.last_used_at = Some(at);
    /// summary.uses = vec![Use::new(at, 1)];
    /// assert_eq!(summary.uses[0].count(), 1);
    /// # Ok::<(), backup_codes::error::ValueError>(())
    /// ```
    #[must_use]
    pub fn new(
        scheme: Scheme,
        total: u8,
        unused: u8,
        prepared_at: Timestamp,
        activated_at: Timestamp,
    ) -> Self {
        Self {
            scheme,
            total,
            unused,
            prepared_at,
            activated_at,
            expires_at: None,
            proved_at: None,
        }
    }
}

impl CodeSet {
    /// Checks whether codes of this set can be accepted at `now`.
    pub(crate) fn in_force(&self, acceptance: &Acceptance, now: Timestamp) -> Result<(), Reason> {
        in_force(
            &self.scheme,
            self.prepared_at,
            self.expires_at,
            acceptance,
            now,
        )
    }
}

/// Decides whether a set is in force, for records and summaries alike.
fn in_force(
    scheme: &Scheme,
    prepared_at: Timestamp,
    expires_at: Option<Timestamp>,
    acceptance: &Acceptance,
    now: Timestamp,
) -> Result<(), Reason> {
    if expires_at.is_some_and(|expiry| now >= expiry) {
        return Err(Reason::Expired);
    }
    if acceptance.is_void(prepared_at, now) {
        return Err(Reason::Void);
    }
    acceptance.check(scheme)
}

impl Record {
    /// Returns the summary of this record, for a repository to index.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let set = |set: &CodeSet| SetSummary {
            scheme: set.scheme.clone(),
            total: set.total(),
            unused: set.unused(),
            prepared_at: set.prepared_at,
            activated_at: set.activated_at.unwrap_or(set.prepared_at),
            expires_at: set.expires_at,
            proved_at: set.proved_at,
        };
        Summary {
            set: self.active.as_ref().map(set),
            last_used_at: self.last_used_at,
            uses: self.uses.clone(),
            erased_at: self.erased_at,
        }
    }
}

impl Summary {
    /// Returns the number of codes that would be accepted at `now`: none of a set that is not in
    /// force.
    #[must_use]
    pub fn remaining(&self, acceptance: &Acceptance, now: Timestamp) -> u8 {
        let counts = |set: &&SetSummary| {
            let SetSummary {
                scheme,
                prepared_at,
                expires_at,
                ..
            } = set;
            in_force(scheme, *prepared_at, *expires_at, acceptance, now).is_ok()
        };
        self.set.as_ref().filter(counts).map_or(0, |set| set.unused)
    }
}

/// Returns the schemes of active sets, in order, each with the number of users whose set has it.
///
/// The result tells how many users still depend on a key, a format or a cost.
#[must_use]
pub fn schemes<S: Borrow<Summary>>(summaries: impl IntoIterator<Item = S>) -> Vec<(Scheme, u64)> {
    let mut schemes = BTreeMap::new();
    for summary in summaries {
        if let Some(set) = &summary.borrow().set {
            match schemes.get_mut(&set.scheme) {
                Some(users) => *users += 1,
                None => drop(schemes.insert(set.scheme.clone(), 1)),
            }
        }
    }
    schemes.into_iter().collect()
}

/// One row of the list of users.
///
/// It can be serialised, so that a link to the next page can carry the last row of this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserRow {
    /// The user.
    pub user: UserId,
    /// The number of codes left.
    pub remaining: u8,
    /// The number of codes that the set was issued with.
    pub total: u8,
    /// The time at which the set was prepared, and its codes generated.
    pub prepared_at: Option<Timestamp>,
    /// The time at which the set was activated.
    pub activated_at: Option<Timestamp>,
    /// The latest use of any set.
    pub last_used_at: Option<Timestamp>,
}

impl UserRow {
    /// Creates a row for a user with this summary.
    #[must_use]
    pub fn new(user: UserId, summary: &Summary, acceptance: &Acceptance, now: Timestamp) -> Self {
        let set = summary.set.as_ref();
        Self {
            user,
            remaining: summary.remaining(acceptance, now),
            total: set.map_or(0, |set| set.total),
            prepared_at: set.map(|set| set.prepared_at),
            activated_at: set.map(|set| set.activated_at),
            last_used_at: summary.last_used_at,
        }
    }
}

/// The periods of usage figures: today, this month, and a range of days, in the caller's time zone.
///
/// A day may have 23 or 25 hours. A day that a time zone skipped is empty: it begins and ends at
/// the same moment, and no use is counted on it. Boundaries are whole quarter hours of UTC, as in
/// every time zone in use; uses are kept by quarter hour, so the figures are exact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Periods {
    today: Range<u32>,
    month: Range<u32>,
    /// Starts of the days, and the end of the last.
    days: Vec<u32>,
}

impl Periods {
    /// Creates periods from moments: today, this month, and the boundaries of a range of days (one
    /// more than there are days; may be empty), each the start of a local day. Equal bounds are an
    /// empty day.
    ///
    /// # Errors
    /// [`ValueError::PeriodBoundary`] when a boundary is not on a quarter hour;
    /// [`ValueError::PeriodOrder`] when a period ends before it begins, the days are out of order or
    /// more than 400.
    pub fn new(
        today: Range<Timestamp>,
        month: Range<Timestamp>,
        day_boundaries: &[Timestamp],
    ) -> Result<Self, ValueError> {
        let quarter = |at: Timestamp| {
            if at.unix_millis() % QUARTER_MILLIS == 0 {
                Ok(quarter_of(at))
            } else {
                Err(ValueError::PeriodBoundary)
            }
        };
        let period = |range: Range<Timestamp>| {
            let quarters = quarter(range.start)?..quarter(range.end)?;
            if quarters.start > quarters.end {
                Err(ValueError::PeriodOrder)
            } else {
                Ok(quarters)
            }
        };
        let days = day_boundaries
            .iter()
            .map(|at| quarter(*at))
            .collect::<Result<Vec<_>, _>>()?;
        let in_order = days.windows(2).all(|pair| pair[0] <= pair[1]);
        if !in_order || days.len() == 1 || days.len() > 401 {
            return Err(ValueError::PeriodOrder);
        }
        Ok(Self {
            today: period(today)?,
            month: period(month)?,
            days,
        })
    }

    /// Returns the period of today.
    #[must_use]
    pub fn today(&self) -> Range<Timestamp> {
        moments(&self.today)
    }

    /// Returns the period of this month.
    #[must_use]
    pub fn month(&self) -> Range<Timestamp> {
        moments(&self.month)
    }

    /// Returns the periods of the days, oldest first.
    pub fn days(&self) -> impl Iterator<Item = Range<Timestamp>> + '_ {
        self.days
            .windows(2)
            .map(|pair| moments(&(pair[0]..pair[1])))
    }

    /// Creates the periods of a time zone: the day and month of `now`, and the `days` days up to
    /// and including today.
    ///
    /// A day begins at the first moment at which the zone's clocks show its date or a later one:
    /// - A date that the zone skipped is an empty day (`Pacific/Apia`, 30 December 2011).
    /// - A day that has begun does not end early. Where clocks are set back over midnight, the
    ///   repeated time counts on the day that had begun: in `America/St_Johns` on 7 November 2010
    ///   clocks went from 00:01 to 23:01 of the day before, and the hour up to the second midnight
    ///   is part of the 7th, which has 25 hours.
    ///
    /// So each use counts on one day, and `now` lies in today and in this month. To name the days,
    /// count dates back from that of `today().start`: the start of an empty day has the date of the
    /// day after it. Time before 1970 is cut off.
    ///
    /// # Errors
    /// [`ValueError::TimeZone`] in the last days of the year 9999, [`ValueError::PeriodBoundary`] when
    /// the zone's offset is not a whole quarter hour (`Africa/Monrovia` before 1972),
    /// [`ValueError::PeriodOrder`] for more than 400 days.
    #[cfg(feature = "jiff")]
    pub fn in_zone(
        now: Timestamp,
        zone: &jiff::tz::TimeZone,
        days: u16,
    ) -> Result<Self, ValueError> {
        use jiff::ToSpan as _;
        let plus = |date: jiff::civil::Date, span: jiff::Span| {
            date.checked_add(span).map_err(|_| ValueError::TimeZone)
        };
        let zoned = jiff::Timestamp::from_millisecond(now.unix_millis())
            .map_err(|_| ValueError::TimeZone)?
            .to_zoned_datetime(zone.clone());
        // Clocks that were set back over midnight show a date that has ended.
        let mut today = zoned.date();
        let mut tomorrow = plus(today, 1.day())?;
        while day_start(tomorrow, zone)? <= now {
            today = tomorrow;
            tomorrow = plus(today, 1.day())?;
        }
        let first = today.first_of_month();
        let next = plus(first, 1.month())?;
        let mut boundaries = Vec::new();
        if days > 0 {
            for back in (0..days).rev() {
                let date = plus(today, -i64::from(back).days())?;
                boundaries.push(day_start(date, zone)?);
            }
            boundaries.push(day_start(tomorrow, zone)?);
        }
        Self::new(
            day_start(today, zone)?..day_start(tomorrow, zone)?,
            day_start(first, zone)?..day_start(next, zone)?,
            &boundaries,
        )
    }
}

/// Returns the first moment at which a zone's clocks show this date or a later one, 1970 at the
/// earliest.
#[cfg(feature = "jiff")]
fn day_start(date: jiff::civil::Date, zone: &jiff::tz::TimeZone) -> Result<Timestamp, ValueError> {
    use jiff::tz::AmbiguousOffset;
    let midnight = date.at(0, 0, 0, 0);
    let start = zone.to_ambiguous_timestamp(midnight);
    let start = match start.offset() {
        // Clocks were set forward over this midnight, and perhaps from before it: the day begins
        // with the change. At the offset after it, midnight lies before the change.
        AmbiguousOffset::Gap { after, .. } => {
            let before = after.to_timestamp(midnight);
            let change = before.map(|before| zone.following(before).next());
            change.map(|change| change.map(|change| change.timestamp()))
        }
        // Where there are two midnights, the first.
        _ => start.compatible().map(Some),
    };
    let start = start.ok().flatten().ok_or(ValueError::TimeZone)?;
    let millis = start.as_millisecond().max(Timestamp::MIN.unix_millis());
    Timestamp::from_unix_millis(millis).map_err(|_| ValueError::TimeZone)
}

fn moments(quarters: &Range<u32>) -> Range<Timestamp> {
    let at = |quarter| Use { quarter, count: 0 }.at();
    at(quarters.start)..at(quarters.end)
}

/// A query for usage figures.
#[derive(Debug, Clone)]
pub struct UsageQuery {
    /// The periods of the figures.
    pub periods: Periods,
    /// The number of codes left at or below which a user is low.
    pub low_threshold: u8,
    /// The time of the query, which decides whether a set is in force.
    pub now: Timestamp,
    /// The conditions under which a set is in force.
    pub acceptance: Acceptance,
}

impl UsageQuery {
    /// Creates a query for these periods at `now`.
    #[must_use]
    pub fn new(
        periods: Periods,
        low_threshold: u8,
        now: Timestamp,
        acceptance: Acceptance,
    ) -> Self {
        Self {
            periods,
            low_threshold,
            now,
            acceptance,
        }
    }
}

/// Usage figures. The figures of two shards add up to the figures of both.
///
/// Erased users are not counted, on past days either.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Usage {
    /// The number of users with an active set, with or without codes left.
    pub users_with_codes: u64,
    /// The number of these users at the low threshold or below it, with or without codes left.
    pub users_low: u64,
    /// The number of these users with no code left.
    pub users_exhausted: u64,
    /// The number of codes used today.
    pub used_today: u64,
    /// The number of codes used this month.
    pub used_this_month: u64,
    /// The number of codes used on each day of the query, oldest first.
    pub used_by_day: Vec<u64>,
}

impl Usage {
    /// Returns figures without users, for a query's days.
    #[must_use]
    pub fn empty(query: &UsageQuery) -> Self {
        let days = query.periods.days.len().saturating_sub(1);
        Self {
            used_by_day: vec![0; days],
            ..Self::default()
        }
    }

    /// Adds one user to the figures.
    pub fn count(&mut self, summary: &Summary, query: &UsageQuery) {
        if summary.set.is_some() {
            self.users_with_codes += 1;
            let remaining = summary.remaining(&query.acceptance, query.now);
            match Level::of(remaining, query.low_threshold) {
                Level::Ok => {}
                Level::Low => self.users_low += 1,
                Level::Exhausted => {
                    self.users_low += 1;
                    self.users_exhausted += 1;
                }
            }
        }
        let Periods { today, month, days } = &query.periods;
        let earliest = days
            .first()
            .map_or(month.start, |day| *day.min(&month.start));
        for used in summary.uses.iter().rev() {
            if used.quarter < earliest.min(today.start) {
                break;
            }
            self.count_quarter(used.quarter, u64::from(used.count), query);
        }
    }

    /// Adds codes used in the quarter hour of this moment, for a repository that sums them up for
    /// all users.
    pub fn count_uses(&mut self, at: Timestamp, codes: u64, query: &UsageQuery) {
        self.count_quarter(quarter_of(at), codes, query);
    }

    fn count_quarter(&mut self, quarter: u32, codes: u64, query: &UsageQuery) {
        let Periods { today, month, days } = &query.periods;
        if today.contains(&quarter) {
            self.used_today += codes;
        }
        if month.contains(&quarter) {
            self.used_this_month += codes;
        }
        let day = days.partition_point(|start| *start <= quarter);
        if let Some(slot) = day
            .checked_sub(1)
            .and_then(|day| self.used_by_day.get_mut(day))
        {
            *slot += codes;
        }
    }

    /// Adds the figures of another shard, asked with the same query.
    pub fn add(&mut self, other: &Self) {
        self.users_with_codes += other.users_with_codes;
        self.users_low += other.users_low;
        self.users_exhausted += other.users_exhausted;
        self.used_today += other.used_today;
        self.used_this_month += other.used_this_month;
        for (day, more) in self.used_by_day.iter_mut().zip(&other.used_by_day) {
            *day += more;
        }
    }
}

/// Returns the figures of these users.
#[must_use]
pub fn usage<S: Borrow<Summary>>(
    summaries: impl IntoIterator<Item = S>,
    query: &UsageQuery,
) -> Usage {
    let mut usage = Usage::empty(query);
    for summary in summaries {
        usage.count(summary.borrow(), query);
    }
    usage
}
