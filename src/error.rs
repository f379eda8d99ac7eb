//! Errors, sorted by what the caller does about them.
//!
//! | type | the caller |
//! |---|---|
//! | [`Error`] | answers as its variant says; no code was accepted |
//! | [`ValueError`] | corrects a value in its own code or configuration |
//! | [`IdError`] | answers as for an unknown user or set |
//! | [`RecordError`] | restores or removes a stored row, or updates the crate |
//! | [`RandomError`] | tries again |
//! | [`HashError`] | gives hashing more memory or fewer threads |
//!
//! Three more stand with their subjects: [`NotACode`](crate::code::NotACode) is shown to the user,
//! [`Denial`] is the reason of a [`RolePolicy`](crate::policy::RolePolicy), and
//! [`PutError`](crate::repository::PutError) is what an implementation of
//! [`CodeRepository`](crate::repository::CodeRepository) returns.
//!
//! ```
//! use backup_codes::code::SetSize;
//! use backup_codes::error::ValueError;
//!
//! let error = SetSize::new(32).expect_err("32 codes are too many");
//! assert_eq!(error, ValueError::SetSize(32));
//! assert_eq!(error.to_string(), "a set has 1 to 31 codes, 32 were asked for: 10 is usual");
//! ```

pub(crate) mod machine;
pub(crate) mod record;
pub(crate) mod value;

pub use self::machine::{HashError, RandomError};
pub use self::record::RecordError;
pub use self::value::{IdError, KeyFlaw, ValueError};

use std::time::Duration;

use crate::policy::Denial;
use crate::timestamp::Timestamp;

/// An operation that failed before it could decide. An error never grants access.
///
/// A wrong code is not an error but an outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The role policy forbids it. Answer 403.
    #[error("not allowed: {0}")]
    Denied(Denial),
    /// The hash pool has no room. Answer 503 with `Retry-After`; nothing was counted.
    #[error("too many codes are being checked at this moment: try again in a few seconds")]
    Busy,
    /// Other operations kept changing the same record. Nothing was decided; nothing was counted.
    #[error("other operations are changing this user's codes at this moment: try again")]
    Contended,
    /// The repository failed, or did not say whether it wrote. The outcome is not known; a code may
    /// be spent.
    #[error("the repository of backup codes did not answer as it should: try again later")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The audit sink failed; the events stay in the repository.
    #[error("the audit sink failed, its events are kept: repair it and deliver again")]
    Sink(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A hash could not be computed: no memory, or a panic in the pool.
    #[error("a hash could not be computed: try again, and check the memory of this machine")]
    Hashing,
    /// The random number generator failed.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The stored record cannot be read.
    #[error("the user's stored record cannot be read: {0}")]
    Record(RecordError),
    /// The user was erased.
    #[error("this user was erased: purge the tombstone before the id is used again")]
    Erased,
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
    #[error("an override code lives one minute to {} minutes here: choose a lifetime in between", .max.as_secs() / 60)]
    OverrideLifetime {
        /// The longest lifetime allowed.
        max: Duration,
    },
}

impl From<RecordError> for Error {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl From<Denial> for Error {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

fn or_none(moment: &Option<Timestamp>) -> String {
    moment.map_or_else(|| "none".to_owned(), |moment| moment.to_string())
}
