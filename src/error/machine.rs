//! Errors of the machine: no random numbers, no memory, no thread.

use std::fmt;
use std::io;

/// A failure of the random number generator. Nothing was issued and nothing stored.
#[derive(Debug, thiserror::Error)]
#[error("the random number generator failed, nothing was stored: try again")]
pub struct RandomError {
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl RandomError {
    // The generator's own error need not be `'static`, so its text is what is kept.
    pub(crate) fn new(error: impl fmt::Display) -> Self {
        Self {
            source: error.to_string().into(),
        }
    }
}

/// A hash, or the threads that compute hashes, for which the machine has no room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// There was no memory for an evaluation.
    #[error("no memory for an argon2 evaluation: use fewer workers or a smaller cost")]
    Memory,
    /// The operating system gave no thread.
    #[error("a worker thread could not be started: use fewer workers")]
    Thread(#[source] io::Error),
}
