//! Errors of the async operations.

use std::time::Duration;

pub use crate::config::ConfigError;
pub use crate::id::{IdError, RandomError, UserIdError};
pub use crate::timestamp::TimestampError;

use crate::policy::Denial;
use crate::repository::record::RecordError;
use crate::timestamp::Timestamp;

/// An operation that failed before it could decide. An error never grants access.
///
/// A wrong code is not an error but an outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The role policy forbids it.
    #[error("not allowed")]
    Denied(#[source] Denial),
    /// The hash pool has no room. Answer 503 with `Retry-After`; nothing was counted.
    #[error("too many codes are being checked at this moment: try again in a few seconds")]
    Busy,
    /// Others kept changing the same record. Nothing was decided; nothing was counted.
    #[error("the user's codes are being changed by others at this moment: try again")]
    Contended,
    /// The store failed, or did not say whether it wrote. No verdict is known; a code may be
    /// spent.
    #[error("the store of backup codes did not answer as it should: try again later")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The audit sink failed; the events stay in the repository.
    #[error("the audit sink failed, its events are kept: mend it and deliver again")]
    Sink(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A hash could not be computed: no memory, or a panic in the pool.
    #[error("a hash could not be computed: check the memory of this machine")]
    Hashing,
    /// The random number generator failed.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The stored record cannot be read.
    #[error("the user's stored record cannot be read")]
    Record(#[from] RecordError),
    /// The user was erased.
    #[error(transparent)]
    Erased(#[from] crate::rules::Erased),
    /// A purge was asked for at a time that is later than the newest use and the newest activation
    /// of all users by more than uses are kept. Nothing was removed.
    #[error(
        "the time is {now}, but the newest use is of {} and the newest activation of {}: check the \
         clock, then purge again, or force it", or_none(.newest_use), or_none(.newest_activation)
    )]
    ClockAhead {
        /// The time of the purge.
        now: Timestamp,
        /// The newest use of all users.
        newest_use: Option<Timestamp>,
        /// The newest activation of all users.
        newest_activation: Option<Timestamp>,
    },
    /// An override code was asked for with a lifetime outside the configured bounds.
    #[error("an override code lives one minute to {} minutes here", .max.as_secs() / 60)]
    OverrideLifetime {
        /// The longest lifetime allowed.
        max: Duration,
    },
}

fn or_none(moment: &Option<Timestamp>) -> String {
    moment.map_or_else(|| "none".to_owned(), |moment| moment.to_string())
}
