//! Pages of the audit log.

use std::fmt;
use std::str::FromStr;

use backup_codes::audit::{Event, EventKind};
use backup_codes::{Timestamp, UserId};

/// A query for a page of stored events, newest first.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AuditQuery {
    /// The user of the events; `None` for all users.
    pub user: Option<UserId>,
    /// The kind of the events; `None` for all kinds.
    pub kind: Option<EventKind>,
    /// The moment at or after which the events happened.
    pub from: Timestamp,
    /// The moment before which the events happened.
    pub until: Timestamp,
    /// The position at the end of the previous page; `None` for the first page.
    pub after: Option<AuditPosition>,
    /// The maximum number of events: 1 to 1000.
    pub limit: u16,
}

/// The position at which a page of the audit log ends. As text, it fits into a link to the next
/// page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPosition {
    pub(crate) at: i64,
    pub(crate) seq: i64,
}

/// A text that is not the position of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a position in the audit log: pass the one that came with a page")]
#[non_exhaustive]
pub struct AuditPositionError;

impl fmt::Display for AuditPosition {
    /// Writes two numbers with a dot between them.
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

/// A page of events, newest first, and the position of the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditPage {
    /// The events.
    pub events: Vec<Event>,
    /// The number of stored events of this page that cannot be read: damaged, or written by a newer
    /// version of this crate. They stay in the table.
    pub unreadable: usize,
    /// The position of the next page; `None` when this page was the last.
    pub next: Option<AuditPosition>,
}

impl AuditQuery {
    /// Creates a query for the newest hundred events.
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

    /// Limits the page to events about this user.
    #[must_use]
    pub fn with_user(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// Limits the page to events of this kind.
    #[must_use]
    pub fn with_kind(mut self, kind: EventKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Limits the page to events at this moment or later.
    #[must_use]
    pub fn with_from(mut self, moment: Timestamp) -> Self {
        self.from = moment;
        self
    }

    /// Limits the page to events before this moment.
    #[must_use]
    pub fn with_until(mut self, moment: Timestamp) -> Self {
        self.until = moment;
        self
    }

    /// Sets the position after which the page begins.
    #[must_use]
    pub fn with_after(mut self, position: AuditPosition) -> Self {
        self.after = Some(position);
        self
    }

    /// Sets the maximum number of events, clamped to 1..=1000.
    #[must_use]
    pub fn with_limit(mut self, events: u16) -> Self {
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
