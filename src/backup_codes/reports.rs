//! Lists, figures and purging: what needs a directory of all users.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::audit::event::{EventKind, Reason};
use crate::backup_codes::BackupCodes;
use crate::backup_codes::apply::Call;
use crate::backup_codes::boxed::AnyDirectory;
use crate::context::Context;
use crate::error::Error;
use crate::hash::acceptance::{SKEW, Scheme};
use crate::id::{OperationId, Subject};
use crate::policy::Action;
use crate::report::{Periods, Usage, UsageQuery, UserFilter, UserOrder, UserRow, UsersQuery};
use crate::repository::{Directory, Expected, Freshness, PutError, PutOutcome};
use crate::rules::{self, Purge, PurgeClock};
use crate::timestamp::Timestamp;

/// A scheme of active sets, and the number of users who depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemeUse {
    /// The scheme.
    pub scheme: Scheme,
    /// The number of users whose active set has it.
    pub users: u64,
    /// Why codes of this scheme are refused here; `None` where they are accepted.
    pub refused: Option<Reason>,
}

/// The outcome of a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Purged {
    /// Records from which something old was removed.
    pub trimmed: usize,
    /// Tombstones removed.
    pub removed: usize,
    /// Records that cannot be read, or that would become too large, and were left as they are:
    /// restore or remove them.
    pub unreadable: usize,
    /// Records left as they are because their tombstone lies in the future, or their active set is
    /// void as of the future ([`Config::with_void_before`](crate::Config::with_void_before)), and the
    /// clock may be the one that is wrong. Where it is right,
    /// [`force_purge`](Reports::force_purge) dates these tombstones back to now and removes these
    /// sets, which would come into force otherwise when the clock reaches them.
    pub ahead: usize,
}

/// The reports over all users, and the purge of old data. Cheap to clone.
///
/// It exists where the repository has a [`Directory`].
#[derive(Clone)]
pub struct Reports {
    codes: BackupCodes,
    directory: Arc<dyn AnyDirectory>,
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports")
            .field("codes", &self.codes)
            .finish_non_exhaustive()
    }
}

impl Reports {
    /// Creates the reports over the directory of the repository of `codes`.
    ///
    /// ```
    #[doc = include_str!("example_begin.txt")]
    /// let reports = Reports::new(&codes, repository);
    /// assert!(reports.schemes(&admin_cx).await?.is_empty());
    #[doc = include_str!("example_end.txt")]
    /// ```
    pub fn new(codes: &BackupCodes, directory: impl Directory + 'static) -> Self {
        Self {
            codes: codes.clone(),
            directory: Arc::new(directory),
        }
    }

    /// Returns one page of users. Threshold, time and conditions of the query are set from the policy, the
    /// context and the configuration.
    ///
    /// ```
    #[doc = include_str!("example_begin.txt")]
    /// use backup_codes::{UserFilter, UsersQuery};
    ///
    /// let _issued = codes.issue(&alice, &cx).await?;
    /// let reports = Reports::new(&codes, repository);
    /// let query = UsersQuery::new(now).with_filter(UserFilter::Holding);
    /// let rows = reports.users(query, &admin_cx).await?;
    /// assert_eq!((&rows[0].user, rows[0].remaining), (alice.id(), 10));
    #[doc = include_str!("example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn users(&self, query: UsersQuery, context: &Context) -> Result<Vec<UserRow>, Error> {
        self.codes.authorize_reports(context).await?;
        let query = UsersQuery {
            low_threshold: self.codes.policy.low_threshold(),
            now: context.now(),
            acceptance: (*self.codes.acceptance).clone(),
            ..query
        };
        self.directory
            .users(&query)
            .await
            .map_err(Error::Unavailable)
    }

    /// Returns the usage figures for these periods.
    ///
    /// ```
    #[doc = include_str!("example_begin.txt")]
    /// use backup_codes::Periods;
    /// use std::time::Duration;
    ///
    /// let _issued = codes.issue(&alice, &cx).await?;
    /// // With the feature `jiff`, `Periods::in_zone` finds the midnights of a time zone.
    /// let midnight = Timestamp::from_unix_millis(1_789_948_800_000)?;
    /// let today = midnight..midnight.saturating_add(Duration::from_secs(86_400));
    /// let periods = Periods::new(today.clone(), today, &[])?;
    /// let usage = Reports::new(&codes, repository).usage(periods, &admin_cx).await?;
    /// assert_eq!((usage.users_with_codes, usage.users_low), (1, 0));
    #[doc = include_str!("example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn usage(&self, periods: Periods, context: &Context) -> Result<Usage, Error> {
        self.codes.authorize_reports(context).await?;
        let threshold = self.codes.policy.low_threshold();
        let acceptance = (*self.codes.acceptance).clone();
        let query = UsageQuery::new(periods, threshold, context.now(), acceptance);
        self.directory
            .usage(&query)
            .await
            .map_err(Error::Unavailable)
    }

    /// Returns the schemes of active sets, each with the number of users whose set has it, and with the
    /// reason why codes of it are refused here, if they are.
    ///
    /// Ask at start, with [`Context::system`]: it shows a key in use that is missing or has other
    /// bytes before a user meets it. A key that is in no scheme can be retired once the overrides
    /// issued under it have ended, a week later at the most.
    ///
    /// ```
    #[doc = include_str!("example_begin.txt")]
    /// let _issued = codes.issue(&alice, &cx).await?;
    /// let schemes = Reports::new(&codes, repository).schemes(&admin_cx).await?;
    /// assert_eq!((schemes[0].users, schemes[0].refused), (1, None));
    #[doc = include_str!("example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn schemes(&self, context: &Context) -> Result<Vec<SchemeUse>, Error> {
        self.codes.authorize_reports(context).await?;
        let schemes = self.directory.schemes().await.map_err(Error::Unavailable)?;
        let report = |(scheme, users)| SchemeUse {
            refused: self.codes.acceptance.check(&scheme).err(),
            scheme,
            users,
        };
        Ok(schemes.into_iter().map(report).collect())
    }

    /// Removes old data from all records: uses beyond their time, prepared sets that were never
    /// activated, expired override codes, and tombstones past their grace period. It also removes
    /// sets and override codes that a clock ahead has written, as they are not in force. Run it on a
    /// schedule, once a day or less. A record that changes meanwhile is left for the next purge.
    ///
    /// A wrong clock alone costs no use and no active set: uses age by the newest use or activation of
    /// all users that does not lie in the future, and [`Purged::ahead`] counts the records that seem
    /// to lie in the future. Once a code was used or a set activated under a clock that is ahead, that
    /// clock passes for right. On a site where neither happens, uses stay until a
    /// [`force_purge`](Self::force_purge).
    ///
    /// ```
    #[doc = include_str!("example_begin.txt")]
    /// let purged = Reports::new(&codes, repository).purge(&Context::system(now)).await?;
    /// assert_eq!((purged.trimmed, purged.removed), (0, 0));
    #[doc = include_str!("example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::ClockAhead`] where the time of the context is later than the newest use and the
    /// newest activation by more than uses are kept; nothing was removed. [`Error::Denied`] or a
    /// fault; what was purged before it stays purged.
    pub async fn purge(&self, context: &Context) -> Result<Purged, Error> {
        self.codes
            .ask_about_all(Action::Erase, EventKind::Erase, context)
            .await?;
        let now = context.now();
        let uses = self.newest(UserOrder::LatestUse, now, |row| &mut row.last_used_at);
        let newest_use = uses.await?;
        let activations = self.newest(UserOrder::NewestSet, now, |row| &mut row.activated_at);
        let newest_activation = activations.await?;
        // Where nothing ever happened there is nothing to lose.
        let newest = newest_use.max(newest_activation).unwrap_or(now);
        if now.saturating_since(newest) > self.codes.config.keep_uses {
            return Err(Error::ClockAhead {
                now,
                newest_use,
                newest_activation,
            });
        }
        self.purge_all(PurgeClock::Unchecked(newest), context).await
    }

    /// Returns the newest moment of this kind of all users that does not lie in the future.
    async fn newest(
        &self,
        order: UserOrder,
        now: Timestamp,
        moment: fn(&mut UserRow) -> &mut Option<Timestamp>,
    ) -> Result<Option<Timestamp>, Error> {
        let latest = now.saturating_add(SKEW);
        let mut query = UsersQuery::new(now)
            .with_filter(UserFilter::Every)
            .with_order(order)
            .with_limit(1);
        loop {
            let rows = self.directory.users(&query).await;
            let Some(mut row) = rows.map_err(Error::Unavailable)?.pop() else {
                return Ok(None);
            };
            match moment(&mut row) {
                // On to the first row that does not lie in the future: the rows that are passed
                // over may be many.
                Some(at) if *at > latest => {
                    *at = (*at).min(latest.saturating_add(Duration::from_millis(1)));
                }
                at => return Ok(*at),
            }
            query = query.with_after(row);
        }
    }

    /// Purges as [`purge`](Self::purge) does, by the clock alone: once you know that it is right,
    /// for a site that was not used for a long time, and for sets that lie in the future.
    ///
    /// ```
    #[doc = include_str!("example_begin.txt")]
    /// let purged = Reports::new(&codes, repository).force_purge(&Context::system(now)).await?;
    /// assert_eq!(purged.ahead, 0);
    #[doc = include_str!("example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault; what was purged before it stays purged.
    pub async fn force_purge(&self, context: &Context) -> Result<Purged, Error> {
        self.codes
            .ask_about_all(Action::Erase, EventKind::Erase, context)
            .await?;
        self.purge_all(PurgeClock::Right, context).await
    }

    async fn purge_all(&self, clock: PurgeClock, context: &Context) -> Result<Purged, Error> {
        let mut purged = Purged::default();
        let mut query = UsersQuery::new(context.now())
            .with_filter(UserFilter::Every)
            .with_limit(1000);
        loop {
            let rows = self
                .directory
                .users(&query)
                .await
                .map_err(Error::Unavailable)?;
            let Some(last) = rows.last().cloned() else {
                return Ok(purged);
            };
            for row in rows {
                let subject = Subject::new(row.user, [] as [&str; 0]);
                self.purge_one(&subject, clock, context, &mut purged)
                    .await?;
            }
            query = query.with_after(last);
        }
    }

    async fn purge_one(
        &self,
        subject: &Subject,
        clock: PurgeClock,
        context: &Context,
        purged: &mut Purged,
    ) -> Result<(), Error> {
        let call = Call::new(subject, context, Action::Erase, EventKind::Erase);
        let state = match self.codes.load(subject.id(), Freshness::Latest).await {
            Ok(state) => state,
            // One damaged record must not keep all later ones from being purged.
            Err(Error::Record(_)) => {
                purged.unreadable += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let Expected::At(current) = state.expected else {
            return Ok(());
        };
        let id = OperationId::random(&mut self.codes.rng.clone())?;
        let operation = self.codes.operation(call, id)?;
        let written = match rules::purge(&state.record, clock, &operation) {
            Purge::Keep => return Ok(()),
            Purge::Ahead => {
                purged.ahead += 1;
                return Ok(());
            }
            Purge::Trim(step) => {
                let put = self.codes.put(
                    subject.id(),
                    state.expected,
                    operation.revision,
                    &step.record,
                    &step.events,
                );
                let written = match put.await {
                    Err(Error::Record(_)) => {
                        purged.unreadable += 1;
                        return Ok(());
                    }
                    put => put?,
                };
                if matches!(written, Ok(PutOutcome::Applied)) {
                    self.codes.forward(&step.events).await;
                }
                (written, &mut purged.trimmed)
            }
            Purge::Remove => (
                self.codes.repository.remove(subject.id(), current).await,
                &mut purged.removed,
            ),
        };
        match written {
            (Ok(PutOutcome::Applied), count) => *count += 1,
            (Ok(PutOutcome::Conflict), _) => {}
            (Err(PutError::NotApplied(error) | PutError::Unknown(error)), _) => {
                return Err(Error::Unavailable(error));
            }
        }
        Ok(())
    }
}
