//! The error of a command: one line that says what to do.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

use backup_codes::audit::is_forging;

/// The message of a failed command, in one line. It repeats nothing that the user typed.
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into().replace(is_forging, " "))
    }
}

/// Converts an error, with the chain of its causes.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Some errors name their cause themselves.
            if !text.contains(&cause.to_string()) {
                text += &format!(": {cause}");
            }
            source = cause.source();
        }
        Self::new(text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes one line to the standard error; a failure to write it is ignored.
pub(crate) fn complain(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
