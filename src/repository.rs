//! The storage traits and their contract.
//!
//! [`CodeRepository`] is required; [`Directory`] and [`SettingsStore`] are for administration.
//! [`MemoryRepository`] implements all three, and so do the adapters for databases.
//!
//! ```
//! use backup_codes::repository::{CodeRepository, Freshness, MemoryRepository};
//! use backup_codes::UserId;
//!
//! let repository = MemoryRepository::new();
//! let user = UserId::new("42")?;
//! let loaded = pollster::block_on(repository.load(&user, Freshness::Latest))?;
//! assert_eq!(loaded, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod memory;
pub(crate) mod record;

pub use self::memory::MemoryRepository;
pub use self::record::{Record, Use};
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

/// The freshness that a loaded record must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Any copy will do, also a replica's: the write that follows is conditional.
    Any,
    /// The record must include the latest applied write.
    Latest,
}

/// A record as it was stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The record's JSON, as it was stored.
    pub record: String,
    /// The revision under which it was stored.
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

/// The state that a write expects.
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
    /// The state that the write expects.
    pub expected: Expected,
    /// The revision of the record after the write.
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
    /// Creates a conditional write.
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
#[must_use = "only `Applied` means that the write was applied"]
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
    /// It is certain that nothing changed, and that nothing will change.
    #[error("the write was not applied")]
    NotApplied(#[source] E),
    /// The write may have been applied, or may be applied later: a time limit has passed, the
    /// connection was lost, a standby did not answer.
    #[error("it is not known whether the write was applied")]
    Unknown(#[source] E),
}

/// The repository of records: one record for each user, replaced by one conditional write.
///
/// Implementations write `async fn`. The futures are `Send`; the trait is therefore not usable
/// as `dyn`, and implemented for `&T` and `Arc<T>` instead.
///
/// # Contract
/// 1. **Keys are bytes**, compared as bytes, and so are revisions and event ids. No collation,
///    trimming, case folding or normalisation; no match by prefix.
/// 2. **A write is atomic.** The test of the expected state, the record, its revision, its events
///    and what a [`Directory`] shows of it are one write, for readers too: a reader sees all of it
///    or nothing, at any moment and over any connection. In SQL that is one statement, or one
///    transaction with no read inside; two statements that are committed one after the other are
///    two writes, even if no process ever stops between them. In a key-value store it is one value
///    or one partition. A put of the text that is stored already is a write like any other. A write
///    changes nothing of other users.
/// 3. **At most one wins.** Of the puts and removals that expect the same state at most one is
///    applied, in any process, on any node. The others are [`PutOutcome::Conflict`], and none of
///    their events are kept. A write that the database rolled back because of another write is a
///    conflict as well, not an error: SQLSTATE 40001 (serialization failure) and 40P01 (deadlock
///    detected), MySQL 1213 and 1020, a failed condition or a cancelled transaction of a key-value
///    store, and a unique violation of the user's key where [`Expected::Absent`] was expected. The
///    caller then loads again and repeats the operation; after an error it gives up.
/// 4. **Applied is durable.** `Applied` is returned only when the write survives whatever the
///    repository promises to survive. [`PutError::NotApplied`] is returned only when it is certain
///    that nothing changed and nothing will, for example because there was no connection. Where the
///    result is not certain, return [`PutError::Unknown`]: after a lost connection, a time limit
///    (8), and every error that you cannot classify.
///
///    The answer of a database alone may not prove durability. PostgreSQL answers success, with a
///    warning only, when its wait for a synchronous standby is cancelled; others answer before they
///    have synced, depending on settings. Check these settings when the repository is opened, and
///    document what an operator must not do. A write that can be read is not proof either: others
///    may see a row before the write is durable. So never conclude `Applied` from a read.
/// 5. **Latest is the latest.** [`load`](Self::load) with [`Freshness::Latest`] sees every write
///    that was applied before the call began, through any handle, and every write that any
///    earlier `Latest` load, list of events, page or settings has shown.
///    [`undelivered`](Self::undelivered) is as fresh. With `Any` a load may be old, but never torn:
///    record and revision belong together, as they were put. Records come back byte for byte: the
///    repository does not read them.
/// 6. **Events stay.** [`undelivered`](Self::undelivered) lists the events of applied writes,
///    unchanged, until they are acknowledged, whatever happens to the record, and never again
///    afterwards. [`acknowledge`](Self::acknowledge) affects the events that it names and no others,
///    however many are written meanwhile.
/// 7. **Times are the caller's.** The repository sets, compares and expires nothing by a clock of
///    its own.
/// 8. **Every call ends.** Each call has a time limit of the repository's own, five seconds for
///    example, because the caller waits as long as the call does. A server's statement timeouts do
///    not end every wait, and no wait for a server that is gone. A write that has not ended by then
///    is `Unknown`, because it may still be applied. Close its connection and do not use it again: a
///    late answer would be read as the answer to the next call. A database inside the process needs
///    limits only on its own waits, for a connection and for a lock: a disk that does not answer
///    stops the process anyway.
///
/// The `conformance` feature turns these clauses into tests for any implementation, except 4,
/// which cannot be seen from outside, and most of 7. For these, read what your database promises,
/// and test your errors with its failures.
///
/// # Cancellation
/// A future of these methods may be dropped at any await point. The write is then either applied,
/// before or after the drop, or not applied, but never in part; and the connection serves the next
/// call as if nothing had been dropped.
///
/// # Example
/// A whole repository, with the suite run on it: `examples/custom_repository.rs`.
#[cfg_attr(
    feature = "conformance",
    doc = concat!("\n```\n", include_str!("../examples/custom_repository.rs"), "```")
)]
pub trait CodeRepository: Send + Sync {
    /// The repository's own error.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Returns the record of a user, or `None`; clause 5.
    ///
    /// # Errors
    /// The repository's own error. The operation then fails: no code is accepted and none counts as
    /// wrong.
    fn load(
        &self,
        user: &UserId,
        freshness: Freshness,
    ) -> impl Future<Output = Result<Option<Loaded>, Self::Error>> + Send;

    /// Replaces the record if its state is as expected; clauses 2 to 4.
    ///
    /// # Errors
    /// [`PutError::NotApplied`] only where that is certain; [`PutError::Unknown`] otherwise. A
    /// write that lost against another one is not an error but a [`PutOutcome::Conflict`].
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

    /// Returns events that are not yet acknowledged, of all users and of the settings; clause 6. All
    /// of them if there are no more than `limit`, else `limit` of them: oldest write first, as far
    /// as the repository knows the order. Nothing depends on the order, and the conformance suite
    /// does not test it; but once events are acknowledged, the list must reach those that it did
    /// not hold before. Any `limit` is allowed, 0 and `usize::MAX` included.
    ///
    /// # Errors
    /// The repository's own error.
    fn undelivered(
        &self,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Event>, Self::Error>> + Send;

    /// Marks these events as delivered, any number of them; clause 6. Ignores ids that are unknown
    /// or acknowledged already: delivery is at-least-once, and another process may have been first.
    ///
    /// # Errors
    /// The repository's own error. The call may be repeated.
    fn acknowledge(
        &self,
        events: &[EventId],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Lists and figures over all users, for administration; never used on the login path.
///
/// # Contract
/// The answers equal those of [`UsersQuery::page`], [`usage`](crate::rules::usage()) and
/// [`schemes`](crate::report::schemes()) over the summaries of all records, however many. They are
/// as fresh as a load with [`Freshness::Latest`]: a row shows the same state as its record, whole,
/// as clause 2 of [`CodeRepository`] says. Every call ends (clause 8).
///
/// A directory with indexes need not read all summaries: index the scheme of each set as text, and
/// call [`Acceptance::check`](crate::hash::Acceptance::check) for each of the few schemes in use.
///
/// # Example
/// A directory without indexes passes the summaries of all records to the rules:
///
/// ```
/// use std::convert::Infallible;
///
/// use backup_codes::hash::Scheme;
/// use backup_codes::report::{Summary, Usage, UsageQuery, UserRow, UsersQuery, schemes, usage};
/// use backup_codes::repository::Directory;
/// use backup_codes::{Timestamp, UserId};
///
/// struct Table(Vec<(UserId, Summary)>);
///
/// impl Directory for Table {
///     type Error = Infallible;
///
///     async fn users(&self, query: &UsersQuery) -> Result<Vec<UserRow>, Infallible> {
///         let rows = self.0.iter().map(|(user, summary)| (user, summary));
///         Ok(query.page(rows))
///     }
///     async fn usage(&self, query: &UsageQuery) -> Result<Usage, Infallible> {
///         Ok(usage(self.0.iter().map(|(_, summary)| summary), query))
///     }
///     async fn schemes(&self) -> Result<Vec<(Scheme, u64)>, Infallible> {
///         Ok(schemes(self.0.iter().map(|(_, summary)| summary)))
///     }
/// }
///
/// let table = Table(vec![(UserId::new("42")?, Summary::default())]);
/// let query = UsersQuery::new(Timestamp::from_unix_millis(1_790_000_000_000)?);
/// // A user without codes is on no page of users who hold them.
/// assert_eq!(pollster::block_on(table.users(&query))?, []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Directory: Send + Sync {
    /// The repository's own error.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Returns one page of users.
    ///
    /// # Errors
    /// The repository's own error.
    fn users(
        &self,
        query: &UsersQuery,
    ) -> impl Future<Output = Result<Vec<UserRow>, Self::Error>> + Send;

    /// Returns the usage figures.
    ///
    /// # Errors
    /// The repository's own error.
    fn usage(&self, query: &UsageQuery) -> impl Future<Output = Result<Usage, Self::Error>> + Send;

    /// Returns the schemes of active sets, in order, each with the number of users whose set has it.
    ///
    /// A scheme that cannot be read is left out, so that it does not hide the others; lists and
    /// figures count it as one that is not accepted.
    ///
    /// # Errors
    /// The repository's own error.
    fn schemes(&self) -> impl Future<Output = Result<Vec<(Scheme, u64)>, Self::Error>> + Send;
}

/// The storage of the site's settings.
///
/// # Contract
/// [`save_settings`](Self::save_settings) is one conditional write like [`CodeRepository::put`],
/// and clauses 2 to 8 hold for it: of two saves in the same state at most one is applied, so that
/// no administrator overwrites another one's changes without seeing them, and its events are listed
/// by the same `undelivered`. [`load_settings`](Self::load_settings) is as fresh as a load with
/// [`Freshness::Latest`], and gives back the settings as they were saved, names of roles byte for
/// byte.
///
/// # Example
/// ```
/// use std::convert::Infallible;
/// use std::sync::{Mutex, PoisonError};
///
/// use backup_codes::Settings;
/// use backup_codes::audit::Event;
/// use backup_codes::repository::{Expected, PutError, PutOutcome, Revision, SettingsStore};
///
/// #[derive(Default)]
/// struct Row(Mutex<Option<(Settings, Revision)>>);
///
/// impl SettingsStore for Row {
///     type Error = Infallible;
///
///     async fn load_settings(&self) -> Result<Option<(Settings, Revision)>, Infallible> {
///         Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
///     }
///     async fn save_settings(
///         &self,
///         expected: Expected,
///         revision: Revision,
///         settings: &Settings,
///         _events: &[Event], // to be kept by the same write, for `undelivered`
///     ) -> Result<PutOutcome, PutError<Infallible>> {
///         let mut row = self.0.lock().unwrap_or_else(PoisonError::into_inner);
///         let current = row.as_ref().map_or(Expected::Absent, |(_, at)| Expected::At(*at));
///         if current != expected {
///             return Ok(PutOutcome::Conflict);
///         }
///         *row = Some((settings.clone(), revision));
///         Ok(PutOutcome::Applied)
///     }
/// }
///
/// let (row, settings) = (Row::default(), Settings::default());
/// let save = |revision| row.save_settings(Expected::Absent, revision, &settings, &[]);
/// let first = pollster::block_on(save(Revision::from_bytes([1; 16])))?;
/// let second = pollster::block_on(save(Revision::from_bytes([2; 16])))?;
/// assert_eq!((first, second), (PutOutcome::Applied, PutOutcome::Conflict));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait SettingsStore: Send + Sync {
    /// The repository's own error.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Returns the saved settings and their revision; `None` before the first save.
    ///
    /// # Errors
    /// The repository's own error, also where the stored settings cannot be read.
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
