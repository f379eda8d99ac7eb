//! Pages of the audit log.

use std::fmt;
use std::str::FromStr;

use backup_codes::audit::{Event, EventKind};
use backup_codes::{Timestamp, UserId};

/// A page of stored events, newest first.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AuditQuery {
    /// Only events about this user.
    pub user: Option<UserId>,
    /// Only events of this kind.
    pub kind: Option<EventKind>,
    /// Only events at this moment or later.
    pub from: Timestamp,
    /// Only events before this moment.
    pub until: Timestamp,
    /// The end of the page before; `None` for the first page.
    pub after: Option<AuditPosition>,
    /// Events at most: 1 to 1000.
    pub limit: u16,
}

/// Where a page of the audit log ends. As text, it fits into a link to the next page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPosition {
    pub(crate) at: i64,
    pub(crate) seq: i64,
}

/// A text that is not the position of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no position in the audit log: take the one that came with a page")]
#[non_exhaustive]
pub struct AuditPositionError;

impl fmt::Display for AuditPosition {
    /// Two numbers with a dot between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at, self.seq)
    }
}

impl FromStr for AuditPosition {
    type Err = AuditPositionError;

    fn from_str(text: &str) -> Result<Self, AuditPositionError> {
        let (at, seq) = text.split_once('.').ok_or(AuditPositionError)?;
        let number = |digits: &str| digits.parse().map_err(|_| AuditPositionError);
        Ok(Self {
            at: number(at)?,
            seq: number(seq)?,
        })
    }
}

/// Events, newest first, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditPage {
    /// The events.
    pub events: Vec<Event>,
    /// Stored events of this page that cannot be read: damaged, or written by a newer version of
    /// this crate. They stay where they are.
    pub unreadable: usize,
    /// The position to ask for the next page with; `None` when this page was the last.
    pub next: Option<AuditPosition>,
}

impl AuditQuery {
    /// The newest hundred events.
    #[must_use]
    pub fn new() -> Self {
        Self {
            user: None,
            kind: None,
            from: Timestamp::MIN,
            until: Timestamp::MAX,
            after: None,
            limit: 100,
        }
    }

    /// Only events about this user.
    #[must_use]
    pub fn user(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// Only events of this kind.
    #[must_use]
    pub fn kind(mut self, kind: EventKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only events at this moment or later.
    #[must_use]
    pub fn from(mut self, moment: Timestamp) -> Self {
        self.from = moment;
        self
    }

    /// Only events before this moment.
    #[must_use]
    pub fn until(mut self, moment: Timestamp) -> Self {
        self.until = moment;
        self
    }

    /// The page after this position.
    #[must_use]
    pub fn after(mut self, position: AuditPosition) -> Self {
        self.after = Some(position);
        self
    }

    /// Events at most: 1 to 1000; what is outside is brought inside.
    #[must_use]
    pub fn limit(mut self, events: u16) -> Self {
        self.limit = events.clamp(1, 1000);
        self
    }
}

impl Default for AuditQuery {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_a_link_and_other_text_is_refused() {
        let position = AuditPosition {
            at: 1_790_000_000_000,
            seq: 42,
        };
        assert_eq!(position.to_string(), "1790000000000.42");
        assert_eq!("1790000000000.42".parse(), Ok(position));
        for text in [
            "",
            ".",
            "1.",
            ".1",
            "1.2.3",
            "1",
            "1.9223372036854775808",
            "'.'",
        ] {
            assert_eq!(text.parse::<AuditPosition>(), Err(AuditPositionError));
        }
    }
}
