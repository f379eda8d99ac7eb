//! The outcomes of operations, as data.

use std::fmt;
use std::time::Duration;

use crate::audit::event::Reason;
use crate::code::attempt::NotACode;
use crate::id::{SetId, UserId};
use crate::timestamp::Timestamp;

/// How many codes a user has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// More than the low threshold.
    Ok,
    /// At the low threshold or below it.
    Low,
    /// None.
    Exhausted,
}

impl Level {
    pub(crate) fn of(remaining: u8, low_threshold: u8) -> Self {
        match remaining {
            0 => Self::Exhausted,
            left if left <= low_threshold => Self::Low,
            _ => Self::Ok,
        }
    }
}

/// Whether the user should print a new sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reissue {
    /// Not yet.
    NotNeeded,
    /// Few codes are left: suggest it.
    Suggested,
    /// No code is left, or the configuration wants a new sheet after every use: insist.
    Required,
}

/// A message that is owed to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoticeKind {
    /// Backup codes were set up.
    Issued,
    /// A new sheet replaced the old one.
    Replaced,
    /// A code was used to get in.
    Used,
    /// An administrator issued an override code.
    OverrideIssued,
    /// An override code was used to get in.
    OverrideUsed,
    /// Too many wrong codes: locked for a while.
    Locked,
    /// Too many wrong codes: disabled.
    Disabled,
    /// All codes were voided.
    Revoked,
}

/// A message the application owes to a user, over a channel other than the one just used
/// (NIST SP 800-63B-4, 4.2.3). It holds no code.
#[must_use = "send this to the user, for example by mail"]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// Whom to tell.
    pub user: UserId,
    /// The kind.
    pub kind: NoticeKind,
    /// When it happened.
    pub at: Timestamp,
    /// The label of the sheet it is about, where there is one.
    pub label: Option<String>,
    /// Codes left, where that is known.
    pub remaining: Option<u8>,
}

/// Proof that a code was accepted, spent, and that both are stored. Only this crate makes it.
///
/// It proves one factor. Logging in is for the application, which has checked the others (NIST
/// SP 800-63B-4, 4.2.2.2).
#[must_use = "the user owes you nothing now: log them in and send the notice"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub(crate) slot: u8,
    pub(crate) remaining: u8,
    pub(crate) level: Level,
    pub(crate) reissue: Reissue,
    pub(crate) notice: Notice,
}

impl Receipt {
    /// The spent code's number on its sheet; 0 for an override code.
    #[must_use]
    pub fn slot(&self) -> u8 {
        self.slot
    }

    /// Codes left on the sheet.
    #[must_use]
    pub fn remaining(&self) -> u8 {
        self.remaining
    }

    /// Whether that is few.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether to ask for a new sheet.
    #[must_use]
    pub fn reissue(&self) -> Reissue {
        self.reissue
    }

    /// The message owed to the user.
    pub fn notice(&self) -> &Notice {
        &self.notice
    }
}

/// A code was not accepted. Shown, it is the same text whatever the reason (OWASP ASVS 5.0,
/// 6.3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) tries_left: Option<u8>,
    pub(crate) wait: Option<Duration>,
    pub(crate) notice: Option<Notice>,
}

impl Refusal {
    pub(crate) fn because(reason: impl Into<Reason>) -> Self {
        Self {
            reason: reason.into(),
            tries_left: None,
            wait: None,
            notice: None,
        }
    }

    /// The precise reason, for logs and administrators; not for the user who typed the code.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Wrong codes left before the set is locked or disabled. May be shown to a user who has
    /// passed the first factor (NIST SP 800-63B-4, 8.1.1).
    #[must_use]
    pub fn tries_left(&self) -> Option<u8> {
        self.tries_left
    }

    /// How long the set is locked from now on.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.wait
    }

    /// The message owed to the user, if this refusal locked or disabled the set.
    #[must_use]
    pub fn notice(&self) -> Option<&Notice> {
        self.notice.as_ref()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("This code was not accepted.")
    }
}

/// The outcome of redeeming a code.
#[must_use = "any string passes where this is ignored: only `Accepted` lets the user in"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeem {
    /// The code was right and is spent.
    Accepted(Receipt),
    /// It was not accepted.
    Refused(Refusal),
    /// It cannot be a code; nothing was counted.
    NotACode(NotACode),
}

/// The outcome of checking a code without spending it.
#[must_use = "ignored, this check said nothing"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The code in this slot is right and unused.
    Valid(u8),
    /// It would not be accepted.
    Refused(Refusal),
    /// It cannot be a code; nothing was counted.
    NotACode(NotACode),
}

/// The outcome of burning a code: voiding it by typing it.
#[must_use = "ignored, a locked set looks like a voided code"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Burn {
    /// If this was a code of the user's, it is void, now and whatever becomes of the clock and the
    /// configuration. The same answer whether it was or not.
    ///
    /// With a message owed to the user where it was one wrong code too many.
    Done(Option<Notice>),
    /// Nothing was voided: the set is locked or disabled, it has expired or is void at present, the
    /// stored hash cannot be checked, or the policy forbids it. Revoking all codes voids them in
    /// every case.
    Refused(Refusal),
    /// It cannot be a code; nothing was counted.
    NotACode(NotACode),
}

/// The outcome of activating a prepared set.
#[must_use = "the set counts only where this says so"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activation {
    /// The set is now the only one; the message is owed to the user.
    Activated(Notice),
    /// It was active already.
    AlreadyActive,
    /// There is no such prepared set, or it is not in force: dropped, replaced, older than an hour,
    /// void, or in a format or of a key or cost that is not accepted now.
    NoSuchSet,
    /// The code typed for confirmation is not one of the new sheet, or cannot be checked here.
    /// Nothing changed.
    WrongConfirmation,
    /// The confirmation cannot be a code. Nothing changed.
    NotACode(NotACode),
}

/// Whether an operation that may find nothing to do did something.
#[must_use = "tell the user what happened: there may have been nothing to do"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It was done, and is stored.
    Done,
    /// There was nothing to do; nothing changed and no event was written.
    Nothing,
}

/// The state of one slot, for the user's own page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotStatus {
    /// The code's number on the sheet.
    pub slot: u8,
    /// When it was used.
    pub used_at: Option<Timestamp>,
    /// When it was voided by value.
    pub burned_at: Option<Timestamp>,
}

/// A set that was prepared and not yet activated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreparedStatus {
    /// Its id, for `activate` and `discard`.
    pub set: SetId,
    /// Its label.
    pub label: String,
    /// When it was prepared.
    pub prepared_at: Timestamp,
}

/// The status of a user, without anything secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The active set, if any.
    pub set: Option<SetId>,
    /// Its label, as printed on the sheet.
    pub label: Option<String>,
    /// Codes it was issued with.
    pub total: u8,
    /// Codes that would be accepted: none while `not_in_force` has a reason.
    pub remaining: u8,
    /// Why none of the codes of the active set would be accepted, if that is so: it has expired or
    /// is void, its format is not accepted here, its key is missing or has other bytes, or its
    /// cost is out of bounds.
    pub not_in_force: Option<Reason>,
    /// Whether that is few; `None` without a set.
    pub level: Option<Level>,
    /// Each readable slot, in order.
    pub slots: Vec<SlotStatus>,
    /// Slots, and an override code, whose stored text is damaged; they never match.
    pub damaged: u8,
    /// When the set was prepared.
    pub prepared_at: Option<Timestamp>,
    /// When it came into force.
    pub activated_at: Option<Timestamp>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// When an unused code of the set was last found right: by a redeem, a check or the
    /// confirmation of a new sheet.
    pub proved_at: Option<Timestamp>,
    /// The latest use of any set.
    pub last_used_at: Option<Timestamp>,
    /// When codes were last revoked.
    pub revoked_at: Option<Timestamp>,
    /// Wrong codes in a row.
    pub wrong_in_a_row: u8,
    /// Until when the set is locked, if it is.
    pub locked_until: Option<Timestamp>,
    /// Since when the set is disabled, if it is.
    pub disabled_at: Option<Timestamp>,
    /// A set waiting to be activated.
    pub prepared: Option<PreparedStatus>,
    /// Until when an unused override code works.
    pub override_until: Option<Timestamp>,
}
