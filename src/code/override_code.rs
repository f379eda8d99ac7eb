//! Override codes: one code that an administrator issues for another user.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::code::Code;
use crate::outcome::Notice;
use crate::timestamp::Timestamp;

/// An override code, to be handed to its user once.
#[must_use = "show this code now: it cannot be shown later"]
#[derive(Debug)]
pub struct Override {
    pub(crate) code: Arc<[Code]>,
    pub(crate) expires_at: Timestamp,
    pub(crate) notice: Notice,
}

impl Override {
    /// Reveals the code as it is shown. Treat it as [`Sheet::expose`](crate::Sheet::expose) says.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        self.code
            .first()
            .map_or_else(|| Zeroizing::new(String::new()), Code::expose)
    }

    /// Returns the time from which the code is refused.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns the message owed to the user.
    pub fn notice(&self) -> &Notice {
        &self.notice
    }
}
