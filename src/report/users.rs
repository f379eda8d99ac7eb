//! The query for a page of users.

use std::collections::BTreeSet;

use crate::hash::acceptance::Acceptance;
use crate::id::UserId;
use crate::report::{Summary, UserRow};
use crate::timestamp::Timestamp;

/// The filter of a page of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UserFilter {
    /// Users with at least one code that would be accepted.
    #[default]
    Holding,
    /// Users with an active set, with or without codes left.
    WithSet,
    /// Users with an active set and no more codes left than the low threshold.
    Low,
    /// Users with an active set and no code left.
    Exhausted,
    /// Every record, tombstones and users without a set included; for purging.
    Every,
}

/// The order of a page. Ties are in the order of the user's key bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UserOrder {
    /// By the user's key bytes.
    #[default]
    User,
    /// Fewest codes left first.
    FewestLeft,
    /// Latest set first, by activation; users without a set last.
    NewestSet,
    /// Latest use first; users without a use last.
    LatestUse,
}

/// A query for a page of users.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UsersQuery {
    /// The filter.
    pub filter: UserFilter,
    /// The order.
    pub order: UserOrder,
    /// The users to choose from; `None` for all users, an empty set for none.
    pub among: Option<BTreeSet<UserId>>,
    /// The last row of the previous page; `None` for the first page.
    pub after: Option<UserRow>,
    /// The maximum number of rows: 1 to 1000.
    pub limit: u16,
    /// The number of codes left at or below which a user is low.
    pub low_threshold: u8,
    /// The time of the query, which decides whether a set is in force.
    pub now: Timestamp,
    /// The conditions under which a set is in force.
    pub acceptance: Acceptance,
}

impl UsersQuery {
    /// Creates a query for the first hundred users who hold codes at `now`, by key, under the
    /// default conditions. [`Reports::users`](crate::Reports::users) replaces the conditions by its
    /// own.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            filter: UserFilter::default(),
            order: UserOrder::default(),
            among: None,
            after: None,
            limit: 100,
            low_threshold: 0,
            now,
            acceptance: Acceptance::default(),
        }
    }

    /// Sets the filter.
    #[must_use]
    pub fn with_filter(mut self, filter: UserFilter) -> Self {
        self.filter = filter;
        self
    }

    /// Sets the order.
    #[must_use]
    pub fn with_order(mut self, order: UserOrder) -> Self {
        self.order = order;
        self
    }

    /// Limits the page to these users. The crate knows ids, not names: to search by name, look the
    /// ids up in the application's own tables and pass them here. With no ids the page is empty;
    /// ids without a record have no row. Pass the same ids for every page.
    ///
    /// The number of ids is not limited. A repository looks up each id for each page, so the time
    /// grows with their number, which the caller has to limit.
    ///
    /// ```
    /// # use backup_codes::{Timestamp, UserFilter, UserId, UsersQuery};
    /// # use backup_codes::report::Summary;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let now = Timestamp::from_unix_millis(1_790_000_000_000)?;
    /// let found = [UserId::new("7")?, UserId::new("42")?];
    /// let query = UsersQuery::new(now).with_filter(UserFilter::Every).with_among(found);
    ///
    /// let (seven, eight, none) = (UserId::new("7")?, UserId::new("8")?, Summary::default());
    /// let rows = query.page([(&seven, &none), (&eight, &none)]);
    /// assert_eq!(rows.len(), 1);
    /// assert_eq!(rows[0].user, seven);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_among(mut self, users: impl IntoIterator<Item = UserId>) -> Self {
        self.among = Some(users.into_iter().collect());
        self
    }

    /// Sets the row after which the page begins.
    #[must_use]
    pub fn with_after(mut self, row: UserRow) -> Self {
        self.after = Some(row);
        self
    }

    /// Sets the maximum number of rows, clamped to 1..=1000.
    #[must_use]
    pub fn with_limit(mut self, rows: u16) -> Self {
        self.limit = rows.clamp(1, 1000);
        self
    }

    /// Returns the page, computed by scanning, sorting and cutting: for repositories without
    /// indexes.
    pub fn page<'a>(
        &self,
        users: impl IntoIterator<Item = (&'a UserId, &'a Summary)>,
    ) -> Vec<UserRow> {
        let wanted = |user: &UserId, summary: &Summary| {
            let remaining = summary.remaining(&self.acceptance, self.now);
            let with_set = summary.set.is_some();
            let filtered = match self.filter {
                UserFilter::Holding => remaining > 0,
                UserFilter::WithSet => with_set,
                UserFilter::Low => with_set && remaining <= self.low_threshold,
                UserFilter::Exhausted => with_set && remaining == 0,
                UserFilter::Every => true,
            };
            let named = self.among.as_ref().is_none_or(|ids| ids.contains(user));
            filtered && named
        };
        let mut rows: Vec<UserRow> = users
            .into_iter()
            .filter(|(user, summary)| wanted(user, summary))
            .map(|(user, summary)| UserRow::new(user.clone(), summary, &self.acceptance, self.now))
            .filter(|row| {
                self.after
                    .as_ref()
                    .is_none_or(|after| self.key(row) > self.key(after))
            })
            .collect();
        rows.sort_unstable_by(|a, b| self.key(a).cmp(&self.key(b)));
        rows.truncate(usize::from(self.limit.clamp(1, 1000)));
        rows
    }

    /// Returns the sort key of a row: the order's number, then the bytes of the user's key.
    fn key<'a>(&self, row: &'a UserRow) -> (i64, &'a UserId) {
        let latest = |at: Option<Timestamp>| at.map_or(i64::MAX, |at| -at.unix_millis());
        let number = match self.order {
            UserOrder::User => 0,
            UserOrder::FewestLeft => i64::from(row.remaining),
            UserOrder::NewestSet => latest(row.activated_at),
            UserOrder::LatestUse => latest(row.last_used_at),
        };
        (number, &row.user)
    }
}
