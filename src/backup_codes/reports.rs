//! Lists, figures and purging: what needs a directory of all users.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::audit::event::{EventKind, Reason};
use crate::backup_codes::BackupCodes;
use crate::backup_codes::boxed::AnyDirectory;
use crate::context::Context;
use crate::error::Error;
use crate::hash::acceptance::{SKEW, Scheme};
use crate::id::Subject;
use crate::policy::Action;
use crate::report::{Periods, Usage, UsageQuery, UserFilter, UserOrder, UserRow, UsersQuery};
use crate::repository::{Directory, Expected, Freshness, PutError, PutOutcome};
use crate::rules::{self, Purge, PurgeClock};
use crate::timestamp::Timestamp;

/// A scheme that active sets have.
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
    /// Records that cannot be read, or that would be too large for a store, and were left as they
    /// are: repair or remove them.
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
    pub fn new(codes: &BackupCodes, directory: impl Directory + 'static) -> Self {
        Self {
            codes: codes.clone(),
            directory: Arc::new(directory),
        }
    }

    /// One page of users. Threshold, time and conditions of the query are set from the policy, the
    /// context and the configuration.
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

    /// The usage figures for these periods.
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

    /// The schemes of active sets, each with the number of users whose set has it, and with the
    /// reason why codes of it are refused here, if they are.
    ///
    /// Ask at start, with [`Context::system`]: it shows a key in use that is missing or has other
    /// bytes before a user meets it. A key that is in no scheme can be retired once the overrides
    /// issued under it have ended, a week later at the most.
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

    /// Goes through all records and forgets what is old: uses beyond their time, prepared sets
    /// never activated, override codes past their end, tombstones past their grace. It also
    /// removes what a clock that was ahead has written and what is therefore not in force. Run it
    /// on a schedule, once a day or less.
    ///
    /// A record that changes meanwhile is left for the next time.
    ///
    /// A wrong clock alone costs no use and no active set: uses age by the newest use or activation of
    /// all users that does not lie in the future, and [`Purged::ahead`] counts the records that seem
    /// to lie in the future. Once a code was used or a set activated under a clock that is ahead, that
    /// clock passes for right. On a site where neither happens, uses stay until a
    /// [`force_purge`](Self::force_purge).
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

    /// The newest moment of this kind that all users have and that does not lie in the future.
    async fn newest(
        &self,
        order: UserOrder,
        now: Timestamp,
        moment: fn(&mut UserRow) -> &mut Option<Timestamp>,
    ) -> Result<Option<Timestamp>, Error> {
        let latest = now.saturating_add(SKEW);
        let mut query = UsersQuery::new(now)
            .filter(UserFilter::Every)
            .order(order)
            .limit(1);
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
            query = query.after(row);
        }
    }

    /// Purges as [`purge`](Self::purge) does, by the clock alone: once you know that it is right,
    /// for a site that was not used for a long time, and for sets that lie in the future.
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
            .filter(UserFilter::Every)
            .limit(1000);
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
            query = query.after(last);
        }
    }

    async fn purge_one(
        &self,
        subject: &Subject,
        clock: PurgeClock,
        context: &Context,
        purged: &mut Purged,
    ) -> Result<(), Error> {
        let call = self
            .codes
            .call(subject, context, Action::Erase, EventKind::Erase)?;
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
        let revision = self.codes.revision()?;
        let written =
            match rules::purge(&state.record, clock, &self.codes.operation(call, revision)) {
                Purge::Keep => return Ok(()),
                Purge::Ahead => {
                    purged.ahead += 1;
                    return Ok(());
                }
                Purge::Trim(step) => {
                    let put = self.codes.put(
                        subject.id(),
                        state.expected,
                        revision,
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
