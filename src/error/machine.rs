//! Errors of the machine: no random numbers, no memory, no thread, a wrong computation.

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

/// A hash that could not be computed, or a pool that did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// There was no memory for an evaluation.
    #[error("no memory for an argon2 evaluation: use fewer workers or a smaller cost")]
    Memory,
    /// The engine did not compute a known tag. The text says which one.
    #[error("the Argon2 engine {0}: use another engine, or another version of this one")]
    Engine(String),
    /// The operating system gave no thread.
    #[error("a worker thread could not be started: use fewer workers")]
    Thread(#[source] io::Error),
}
