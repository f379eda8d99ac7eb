//! The storage traits and their contract.

pub(crate) mod memory;
pub(crate) mod record;

pub use self::memory::MemoryRepository;
pub use self::record::{Record, RecordError, Use};
pub use crate::id::Revision;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::audit::event::Event;
use crate::hash::acceptance::Scheme;
use crate::id::{EventId, UserId};
use crate::policy::settings::Settings;
use crate::report::users::UsersQuery;
use crate::report::{Summary, Usage, UsageQuery, UserRow};

/// How fresh a loaded record has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Any copy will do, a replica's too: the write that follows is conditional.
    Any,
    /// The latest applied write must be in it.
    Latest,
}

/// A record as it was stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The record's JSON, as it was put.
    pub record: String,
    /// The revision it was put under.
    pub revision: Revision,
}

// The record holds hashes.
impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// The state a write expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// There is no record for this user.
    Absent,
    /// The record has this revision.
    At(Revision),
}

/// One conditional write.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Put<'a> {
    /// The key, compared byte for byte.
    pub user: &'a UserId,
    /// The state it expects.
    pub expected: Expected,
    /// The revision the record has afterwards.
    pub revision: Revision,
    /// The record's JSON: opaque, at most [`Record::MAX_JSON_LEN`](crate::repository::Record::MAX_JSON_LEN)
    /// bytes.
    pub record: &'a str,
    /// The summary of the record, for indexes.
    pub summary: &'a Summary,
    /// The events of this step, to be kept by the same write until they are acknowledged.
    pub events: &'a [Event],
}

// The record holds hashes.
impl fmt::Debug for Put<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put")
            .field("user", self.user)
            .field("expected", &self.expected)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl<'a> Put<'a> {
    /// A conditional write.
    #[must_use]
    pub fn new(
        user: &'a UserId,
        expected: Expected,
        revision: Revision,
        record: &'a str,
        summary: &'a Summary,
        events: &'a [Event],
    ) -> Self {
        Self {
            user,
            expected,
            revision,
            record,
            summary,
            events,
        }
    }
}

/// The outcome of a conditional write whose result is known.
#[must_use = "a write that met another state was not applied"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The state was as expected; the write is applied, durably.
    Applied,
    /// Another write came first, and nothing changed: the state was not the expected one, or the
    /// database rolled this write back because of another one.
    Conflict,
}

/// A write that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError<E> {
    /// It is certain that nothing changed, and that nothing will.
    #[error("the write was not applied")]
    NotApplied(#[source] E),
    /// The write may have been applied, or may be applied later: a time limit has passed, the
    /// connection was lost, a standby did not answer.
    #[error("it is not known whether the write was applied")]
    Unknown(#[source] E),
}

/// The store of the records: one for each user, replaced by one conditional write.
///
/// Implementations write `async fn`. The futures are `Send`; the trait is therefore not usable
/// as `dyn`, and implemented for `&T` and `Arc<T>` instead.
///
/// # Contract
/// 1. **Keys are bytes**, compared as bytes, and so are revisions and event ids. No collation,
///    trimming, case folding, normalisation, prefix.
/// 2. **A write is atomic.** The test of the expected state, the record, its revision, its events
///    and what a [`Directory`] shows of it are one write, for readers too: a reader sees all of it
///    or nothing, at any moment and over any connection. In SQL that is one statement, or one
///    transaction with no read inside; two statements that are committed one after the other are
///    two writes, even if no process ever stops between them. In a key-value store it is one value
///    or one partition. A put of the text that is there already is a write like any other. A write
///    changes nothing of other users.
/// 3. **At most one wins.** Of the puts and removals that expect the same state at most one is
///    applied, in any process, on any node. The others are [`PutOutcome::Conflict`], and none of
///    their events are kept. A write that the database rolled back because of another write is a
///    conflict as well, not an error: SQLSTATE 40001 (serialization failure) and 40P01 (deadlock
///    detected), MySQL 1213 and 1020, a failed condition or a cancelled transaction of a key-value
///    store, and a unique violation of the user's key where [`Expected::Absent`] was expected. The
///    caller then loads again and repeats the operation; after an error it gives up.
/// 4. **Applied is durable.** `Applied` is returned only when the write survives whatever the store
///    promises to survive. [`PutError::NotApplied`] is returned only when it is certain that
///    nothing changed and nothing will, for example because no connection was to be had. A store
///    that cannot tell returns [`PutError::Unknown`]: after a lost connection, a time limit (8),
///    and every error that is not known to belong elsewhere.
///
///    The answer of a database alone may not prove durability. PostgreSQL answers success, with a
///    warning only, when its wait for a synchronous standby is cancelled; others answer before they
///    have synced, depending on settings. Check these settings when the store is opened, and
///    document what an operator must not do. Nor does it prove anything that a write can be seen:
///    others may see a row before the write is durable. So a store never concludes `Applied` from a
///    read.
/// 5. **Latest is the latest.** [`load`](Self::load) with [`Freshness::Latest`] sees every write
///    that was applied before the call began, through whatever handle, and every write that any
///    earlier `Latest` load, list of events, page or settings has shown.
///    [`undelivered`](Self::undelivered) is as fresh. With `Any` a load may be old, but never torn:
///    record and revision belong together, as they were put. Records come back byte for byte: the
///    store does not read them.
/// 6. **Events stay.** [`undelivered`](Self::undelivered) lists the events of applied writes,
///    unchanged, until they are acknowledged, whatever happens to the record, and never again
///    afterwards. [`acknowledge`](Self::acknowledge) takes the events that it names and no others,
///    however many are written meanwhile.
/// 7. **Times are the caller's.** The store has no clock of its own in this: it neither sets,
///    compares nor expires anything by its own time.
/// 8. **Every call ends.** Each call has a time limit of the store's own, five seconds for example,
///    as the caller waits for as long as the call does: statement timeouts of a server do not end
///    every wait, and not one for a server that is gone. A write that has not ended by then is
///    `Unknown`, as it may still be applied. Its connection is closed and not used again: what it
///    answers later would be read as the answer to the next call. A database inside the process
///    needs limits on its own waits only, for a connection and for a lock: a disk that does not
///    answer stops the process all the same.
///
/// The `conformance` feature turns these clauses into tests for any implementation, but for 4,
/// which cannot be seen from outside, and most of 7: read the store's own promises for them, and
/// test its errors with the faults of your database.
///
/// # Cancellation
/// A future of these methods may be dropped at any await point. The write is then applied, before
/// or after the drop, or it is not, but never in part; and the connection serves the next call as
/// if nothing had been dropped.
///
/// # Example
/// `examples/custom_repository.rs` is a whole implementation in under a hundred lines.
pub trait CodeRepository: Send + Sync {
    /// The store's own error.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The record of a user, or `None`; clause 5.
    ///
    /// # Errors
    /// The store's own. The operation then fails: no code is accepted and none counts as wrong.
    fn load(
        &self,
        user: &UserId,
        freshness: Freshness,
    ) -> impl Future<Output = Result<Option<Loaded>, Self::Error>> + Send;

    /// Replaces the record if its state is as expected; clauses 2 to 4.
    ///
    /// # Errors
    /// [`PutError::NotApplied`] only where that is certain; [`PutError::Unknown`] otherwise. A
    /// write that lost against another one is no error but a [`PutOutcome::Conflict`].
    fn put(
        &self,
        put: Put<'_>,
    ) -> impl Future<Output = Result<PutOutcome, PutError<Self::Error>>> + Send;

    /// Removes the record, if it has this revision; clauses 2 to 4. Its undelivered events stay.
    /// Afterwards the user is [`Expected::Absent`], as before the first put, and no write that
    /// expects a revision from before is applied any more.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    fn remove(
        &self,
        user: &UserId,
        expected: Revision,
    ) -> impl Future<Output = Result<PutOutcome, PutError<Self::Error>>> + Send;

    /// The events that are not yet acknowledged, of all users and of the settings; clause 6. All of
    /// them if they are no more than `limit`, else `limit` of them: oldest write first, as far as
    /// the store knows the order. Nothing depends on the order, and the conformance suite does not
    /// test it; but events that were acknowledged must give way to those that were not listed yet.
    /// Any `limit` is allowed, 0 and `usize::MAX` included.
    ///
    /// # Errors
    /// The store's own.
    fn undelivered(
        &self,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Event>, Self::Error>> + Send;

    /// Marks these events as delivered, any number of them; clause 6. Ignores ids that are unknown
    /// or acknowledged already: delivery is at-least-once, and another process may have been first.
    ///
    /// # Errors
    /// The store's own. The call may be repeated.
    fn acknowledge(
        &self,
        events: &[EventId],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Lists and figures over all users, for administration. Never on the login path.
///
/// # Contract
/// The answers equal those of [`UsersQuery::page`], [`usage`](crate::rules::usage()) and
/// [`schemes`](crate::report::schemes()) over the summaries of all records, however many. They are as fresh
/// as a load with [`Freshness::Latest`]: a row shows the same state as its record, whole, as clause
/// 2 of [`CodeRepository`] says. A store with indexes pushes the work down to them: it indexes the
/// scheme of each set as text and asks [`Acceptance::check`](crate::hash::Acceptance::check) for each of the few schemes it holds.
/// Every call ends (clause 8).
pub trait Directory: Send + Sync {
    /// The store's own error.
    type Error: std::error::Error + Send + Sync + 'static;

    /// One page of users.
    ///
    /// # Errors
    /// The store's own.
    fn users(
        &self,
        query: &UsersQuery,
    ) -> impl Future<Output = Result<Vec<UserRow>, Self::Error>> + Send;

    /// The usage figures.
    ///
    /// # Errors
    /// The store's own.
    fn usage(&self, query: &UsageQuery) -> impl Future<Output = Result<Usage, Self::Error>> + Send;

    /// The schemes of active sets, in order, each with the number of users whose set has it.
    ///
    /// One that the store cannot read is left out, as it must not hide the others; lists and figures
    /// count it as one that is not accepted.
    ///
    /// # Errors
    /// The store's own.
    fn schemes(&self) -> impl Future<Output = Result<Vec<(Scheme, u64)>, Self::Error>> + Send;
}

/// The store of the settings of the site.
///
/// # Contract
/// [`save_settings`](Self::save_settings) is one conditional write like [`CodeRepository::put`],
/// and clauses 2 to 8 hold for it: of two saves in the same state at most one is applied, so that
/// no administrator overwrites unseen what another has saved, and its events are listed by the same
/// `undelivered`. [`load_settings`](Self::load_settings) is as fresh as a load with
/// [`Freshness::Latest`], and gives back the settings as they were saved, names of roles byte for
/// byte.
pub trait SettingsStore: Send + Sync {
    /// The store's own error.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The saved settings and their revision; `None` before the first save.
    ///
    /// # Errors
    /// The store's own, also where the stored settings cannot be read.
    fn load_settings(
        &self,
    ) -> impl Future<Output = Result<Option<(Settings, Revision)>, Self::Error>> + Send;

    /// Replaces the settings if their state is as expected.
    ///
    /// # Errors
    /// As for [`CodeRepository::put`].
    fn save_settings(
        &self,
        expected: Expected,
        revision: Revision,
        settings: &Settings,
        events: &[Event],
    ) -> impl Future<Output = Result<PutOutcome, PutError<Self::Error>>> + Send;
}

macro_rules! delegate {
    ($pointer:ident $(, $lifetime:lifetime)?) => {
        impl<R: CodeRepository> CodeRepository for $pointer<$($lifetime,)? R> {
            type Error = R::Error;
            async fn load(
                &self,
                user: &UserId,
                freshness: Freshness,
            ) -> Result<Option<Loaded>, R::Error> {
                (**self).load(user, freshness).await
            }
            async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<R::Error>> {
                (**self).put(put).await
            }
            async fn remove(
                &self,
                user: &UserId,
                expected: Revision,
            ) -> Result<PutOutcome, PutError<R::Error>> {
                (**self).remove(user, expected).await
            }
            async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, R::Error> {
                (**self).undelivered(limit).await
            }
            async fn acknowledge(&self, events: &[EventId]) -> Result<(), R::Error> {
                (**self).acknowledge(events).await
            }
        }

        impl<D: Directory> Directory for $pointer<$($lifetime,)? D> {
            type Error = D::Error;
            async fn users(&self, query: &UsersQuery) -> Result<Vec<UserRow>, D::Error> {
                (**self).users(query).await
            }
            async fn usage(&self, query: &UsageQuery) -> Result<Usage, D::Error> {
                (**self).usage(query).await
            }
            async fn schemes(&self) -> Result<Vec<(Scheme, u64)>, D::Error> {
                (**self).schemes().await
            }
        }

        impl<S: SettingsStore> SettingsStore for $pointer<$($lifetime,)? S> {
            type Error = S::Error;
            async fn load_settings(&self) -> Result<Option<(Settings, Revision)>, S::Error> {
                (**self).load_settings().await
            }
            async fn save_settings(
                &self,
                expected: Expected,
                revision: Revision,
                settings: &Settings,
                events: &[Event],
            ) -> Result<PutOutcome, PutError<S::Error>> {
                (**self).save_settings(expected, revision, settings, events).await
            }
        }
    };
}

type Ref<'a, T> = &'a T;

delegate!(Arc);
delegate!(Ref, '_);
