//! The outcomes of operations, as data.
//!
//! ```
//! use backup_codes::Redeem;
//!
//! /// The text of a login page.
//! fn page(redeemed: &Redeem) -> String {
//!     match redeemed {
//!         Redeem::Accepted(receipt) => format!("{} codes left", receipt.remaining()),
//!         // The same public text for every refusal.
//!         Redeem::Refused(refusal) => refusal.to_string(),
//!         Redeem::NotACode(hint) => hint.to_string(),
//!     }
//! }
//!
//! let typo = Redeem::NotACode(backup_codes::code::NotACode::Typo);
//! assert!(page(&typo).contains("typing error"));
//! ```

use std::fmt;
use std::time::Duration;

use crate::audit::event::Reason;
use crate::code::attempt::NotACode;
use crate::id::{SetId, UserId};
use crate::timestamp::Timestamp;

/// The level of a user's remaining codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// More than the low threshold.
    Ok,
    /// At the low threshold or below it.
    Low,
    /// No code is left.
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

/// The advice to give the user about a new sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reissue {
    /// None: enough codes are left.
    NotNeeded,
    /// Few codes are left: suggest it.
    Suggested,
    /// No code is left, or the configuration wants a new sheet after every use: insist.
    Required,
}

/// The kind of a message that is owed to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoticeKind {
    /// Backup codes were set up.
    Issued,
    /// A new sheet replaced the old one.
    Replaced,
    /// A code was used to log in.
    Used,
    /// An administrator issued an override code.
    OverrideIssued,
    /// An override code was used to log in.
    OverrideUsed,
    /// Too many wrong codes: locked for a while.
    Locked,
    /// Too many wrong codes: disabled.
    Disabled,
    /// All codes were voided.
    Revoked,
}

/// A message that the application owes to a user, over a channel other than the one just used
/// (NIST SP 800-63B-4, 4.2.3). It holds no code.
#[must_use = "send this to the user, for example by mail"]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// The recipient.
    pub user: UserId,
    /// The kind of message.
    pub kind: NoticeKind,
    /// The time of the operation.
    pub at: Timestamp,
    /// The label of the sheet that the message is about, where there is one.
    pub label: Option<String>,
    /// The number of codes left, where it is known.
    pub remaining: Option<u8>,
}

/// Proof that a code was accepted and spent, and that this is stored. Only this crate creates it.
///
/// It proves one factor. The application logs the user in, after it has checked the other factors
/// (NIST SP 800-63B-4, 4.2.2.2).
#[must_use = "a receipt proves one factor: log the user in and send the notice"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub(crate) slot: u8,
    pub(crate) remaining: u8,
    pub(crate) level: Level,
    pub(crate) reissue: Reissue,
    pub(crate) notice: Notice,
}

impl Receipt {
    /// Returns the spent code's number on its sheet; 0 for an override code.
    #[must_use]
    pub fn slot(&self) -> u8 {
        self.slot
    }

    /// Returns the number of codes left on the sheet.
    #[must_use]
    pub fn remaining(&self) -> u8 {
        self.remaining
    }

    /// Returns the level of the codes left.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Returns the advice about a new sheet.
    #[must_use]
    pub fn reissue(&self) -> Reissue {
        self.reissue
    }

    /// Returns the message owed to the user.
    pub fn notice(&self) -> &Notice {
        &self.notice
    }
}

/// A code that was not accepted. `Display` gives the same text for every reason, so an attacker does
/// not learn the reason (OWASP ASVS 5.0, 6.3.8).
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

    /// Returns the precise reason, for logs and administrators; never show it to the user who typed
    /// the code.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the number of wrong codes left before the set is locked or disabled. It may be shown
    /// to a user who has passed the first factor (NIST SP 800-63B-4, 8.1.1).
    #[must_use]
    pub fn tries_left(&self) -> Option<u8> {
        self.tries_left
    }

    /// Returns the time until the lock ends, if the set is locked.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.wait
    }

    /// Returns the message owed to the user, if this refusal locked or disabled the set.
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
#[must_use = "only `Accepted` means that the code was right"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeem {
    /// The code was right and is spent.
    Accepted(Receipt),
    /// The code was not accepted.
    Refused(Refusal),
    /// The input cannot be a code; nothing was counted.
    NotACode(NotACode),
}

/// The outcome of checking a code without spending it.
#[must_use = "only `Valid` means that the code works"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The code in this slot is right and unused.
    Valid(u8),
    /// The code would not be accepted.
    Refused(Refusal),
    /// The input cannot be a code; nothing was counted.
    NotACode(NotACode),
}

/// The outcome of burning a code: voiding it by typing it.
#[must_use = "only `Done` means that a leaked code is void"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Burn {
    /// If this was a code of the user's, it is void, and stays void whatever happens to the clock
    /// and the configuration. The answer does not tell whether it was one.
    ///
    /// Holds a message owed to the user if this wrong code locked or disabled the set.
    Done(Option<Notice>),
    /// Nothing was voided: the set is locked or disabled, it has expired or is void at present, the
    /// stored hash cannot be checked, or the policy forbids it. Revoking all codes voids them in
    /// every case.
    Refused(Refusal),
    /// The input cannot be a code; nothing was counted.
    NotACode(NotACode),
}

/// The outcome of activating a prepared set.
#[must_use = "only `Activated` and `AlreadyActive` mean that the set is active"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activation {
    /// The set is now the active one; the message is owed to the user.
    Activated(Notice),
    /// The set was active already.
    AlreadyActive,
    /// There is no such prepared set, or it cannot be activated: it was dropped or replaced, it is
    /// older than an hour or void, or its format, key or cost is not accepted now.
    NoSuchSet,
    /// The code typed for confirmation is not one of the new sheet, or cannot be checked here.
    /// Nothing changed.
    WrongConfirmation,
    /// The confirmation cannot be a code. Nothing changed.
    NotACode(NotACode),
}

/// The effect of an operation that may find nothing to do.
#[must_use = "tell the user what happened: there may have been nothing to do"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The operation was done, and is stored.
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
    /// The time at which the code was used.
    pub used_at: Option<Timestamp>,
    /// The time at which the code was voided by [`burn`](crate::BackupCodes::burn).
    pub burned_at: Option<Timestamp>,
}

/// A set that was prepared and not yet activated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreparedStatus {
    /// The set's id, for `activate` and `discard`.
    pub set: SetId,
    /// The set's label, as printed on the sheet.
    pub label: String,
    /// The time at which the set was prepared.
    pub prepared_at: Timestamp,
}

/// The status of a user, without anything secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The active set, if any.
    pub set: Option<SetId>,
    /// The active set's label, as printed on the sheet.
    pub label: Option<String>,
    /// The number of codes that the set was issued with.
    pub total: u8,
    /// The number of codes that would be accepted: none while `not_in_force` has a reason.
    pub remaining: u8,
    /// The reason why no code of the active set would be accepted, if that is so: the set has
    /// expired or is void, its format is not accepted here, its key is missing or has other bytes,
    /// or its cost is out of bounds.
    pub not_in_force: Option<Reason>,
    /// The level of the remaining codes; `None` without a set.
    pub level: Option<Level>,
    /// Each readable slot, in order.
    pub slots: Vec<SlotStatus>,
    /// The number of slots, and of override codes, whose stored text is damaged; they never match.
    pub damaged: u8,
    /// The time at which the set was prepared.
    pub prepared_at: Option<Timestamp>,
    /// The time at which the set was activated.
    pub activated_at: Option<Timestamp>,
    /// The time from which the set is refused, if it expires.
    pub expires_at: Option<Timestamp>,
    /// The time at which an unused code of the set was last found right: by a redeem, a check or
    /// the confirmation of a new sheet.
    pub proved_at: Option<Timestamp>,
    /// The time of the latest use of any set.
    pub last_used_at: Option<Timestamp>,
    /// The time at which codes were last revoked.
    pub revoked_at: Option<Timestamp>,
    /// The number of wrong codes in a row.
    pub wrong_in_a_row: u8,
    /// The time at which the lock ends, if the set is locked.
    pub locked_until: Option<Timestamp>,
    /// The time at which the set was disabled, if it is.
    pub disabled_at: Option<Timestamp>,
    /// The prepared set, if any.
    pub prepared: Option<PreparedStatus>,
    /// The time at which an unused override code expires.
    pub override_until: Option<Timestamp>,
}

impl Status {
    /// Returns whether a login has to ask for a code after the password: the user has an active set
    /// or an override code.
    ///
    /// This is true as well where no code is left or none is accepted at present, as the password
    /// alone must not be enough then. It becomes false once an override code without a set is used or
    /// has expired, and when all codes are revoked or erased: where a second factor has to stay
    /// required then, keep that in the user's own row. Where the application has other second factors too, it asks
    /// for one of them whatever this says.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// assert!(!codes.status(&alice, &cx).await?.is_enrolled());
    /// let _issued = codes.issue(&alice, &cx).await?;
    /// assert!(codes.status(&alice, &cx).await?.is_enrolled());
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    #[must_use]
    pub fn is_enrolled(&self) -> bool {
        self.set.is_some() || self.override_until.is_some()
    }
}
