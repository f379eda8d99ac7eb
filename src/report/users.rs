//! The query for a page of users.

use std::collections::BTreeSet;

use crate::hash::acceptance::Acceptance;
use crate::id::UserId;
use crate::report::{Summary, UserRow};
use crate::timestamp::Timestamp;

/// Which users a page is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UserFilter {
    /// Users with at least one code that would be accepted.
    #[default]
    Holding,
    /// Users with an activated set, whatever is left of it.
    WithSet,
    /// Of these, users at the low threshold or below it.
    Low,
    /// Of these, users with none left.
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
    /// Latest set first, by when it came into force; users without one last.
    NewestSet,
    /// Latest use first; users without one last.
    LatestUse,
}

/// A page of users.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UsersQuery {
    /// Which users.
    pub filter: UserFilter,
    /// In which order.
    pub order: UserOrder,
    /// Only users among these; `None` for all users, an empty set for none.
    pub among: Option<BTreeSet<UserId>>,
    /// The last row of the page before; `None` for the first page.
    pub after: Option<UserRow>,
    /// Rows at most: 1 to 1000.
    pub limit: u16,
    /// A user with this many codes left, or fewer, is low.
    pub low_threshold: u8,
    /// The time at which sets are in force or not.
    pub now: Timestamp,
    /// The conditions under which a set is in force.
    pub acceptance: Acceptance,
}

impl UsersQuery {
    /// The first hundred users who hold codes at `now`, by key, under the default conditions.
    /// [`Reports::users`](crate::Reports::users) replaces these by its own.
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
    pub fn filter(mut self, filter: UserFilter) -> Self {
        self.filter = filter;
        self
    }

    /// Sets the order.
    #[must_use]
    pub fn order(mut self, order: UserOrder) -> Self {
        self.order = order;
        self
    }

    /// Only users among these, such as those an application has found by name in a table of its
    /// own. No users if there are no ids; ids without a record have no row. Give the same ids for
    /// every page.
    ///
    /// Any number of them: none is left out without an error. A store looks up each one for each
    /// page, so the time grows with their number, which is the caller's to bound.
    ///
    /// ```
    /// # use backup_codes::{Timestamp, UserFilter, UserId, UsersQuery};
    /// # use backup_codes::report::Summary;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let now = Timestamp::from_unix_millis(1_790_000_000_000)?;
    /// let found = [UserId::new("7")?, UserId::new("42")?];
    /// let query = UsersQuery::new(now).filter(UserFilter::Every).among(found);
    ///
    /// let (seven, eight, none) = (UserId::new("7")?, UserId::new("8")?, Summary::default());
    /// let rows = query.page([(&seven, &none), (&eight, &none)]);
    /// assert_eq!(rows.len(), 1);
    /// assert_eq!(rows[0].user, seven);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn among(mut self, users: impl IntoIterator<Item = UserId>) -> Self {
        self.among = Some(users.into_iter().collect());
        self
    }

    /// The page after this row.
    #[must_use]
    pub fn after(mut self, row: UserRow) -> Self {
        self.after = Some(row);
        self
    }

    /// Sets the maximum of rows, clamped to 1..=1000.
    #[must_use]
    pub fn limit(mut self, rows: u16) -> Self {
        self.limit = rows.clamp(1, 1000);
        self
    }

    /// The plain rule of a page, for stores without indexes: scans all, sorts, cuts.
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

    /// What rows are sorted by: the order's number, then the key's bytes.
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
