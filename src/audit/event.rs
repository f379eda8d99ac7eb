//! Audit events: each records one step in the life of a code.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::code::attempt::NotACode;
use crate::context::Context;
use crate::hash::Unverifiable;
use crate::id::{EventId, SetId, UserId};
use crate::policy::{Actor, Denial};
use crate::timestamp::Timestamp;

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A set was prepared and shown; it is not active yet.
    Prepare,
    /// A set became active, and replaced any older one.
    Activate,
    /// A prepared set was dropped.
    Discard,
    /// A user tried to log in with a code.
    Redeem,
    /// A user checked a code without spending it.
    Check,
    /// A user voided a code by typing it.
    Burn,
    /// All codes of a user were voided.
    Revoke,
    /// An override code was issued.
    IssueOverride,
    /// An override code was voided.
    RevokeOverride,
    /// Wrong codes counted against a user were cleared.
    Unlock,
    /// Everything kept about a user was removed.
    Erase,
    /// Too many wrong codes: the set is locked for half an hour.
    Lock,
    /// Too many wrong codes: the set is disabled until a new one is issued or it is unlocked.
    Disable,
    /// A user's codes left reached the low threshold.
    Low,
    /// A user spent the last code.
    Exhausted,
    /// A request for a user's status was denied.
    ReadStatus,
    /// A request for figures, lists or logs was denied.
    ReadReports,
    /// The settings of the site were saved.
    SaveSettings,
}

impl EventKind {
    /// Every kind, for a list to choose from; more may be added.
    pub const ALL: &[Self] = &[
        Self::Prepare,
        Self::Activate,
        Self::Discard,
        Self::Redeem,
        Self::Check,
        Self::Burn,
        Self::Revoke,
        Self::IssueOverride,
        Self::RevokeOverride,
        Self::Unlock,
        Self::Erase,
        Self::Lock,
        Self::Disable,
        Self::Low,
        Self::Exhausted,
        Self::ReadStatus,
        Self::ReadReports,
        Self::SaveSettings,
    ];

    /// Returns the kind's name as it is stored: lower case, words joined by `_`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Activate => "activate",
            Self::Discard => "discard",
            Self::Redeem => "redeem",
            Self::Check => "check",
            Self::Burn => "burn",
            Self::Revoke => "revoke",
            Self::IssueOverride => "issue_override",
            Self::RevokeOverride => "revoke_override",
            Self::Unlock => "unlock",
            Self::Erase => "erase",
            Self::Lock => "lock",
            Self::Disable => "disable",
            Self::Low => "low",
            Self::Exhausted => "exhausted",
            Self::ReadStatus => "read_status",
            Self::ReadReports => "read_reports",
            Self::SaveSettings => "save_settings",
        }
    }
}

/// The outcome of the operation that an event records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventOutcome {
    /// The operation succeeded.
    Success,
    /// The operation failed; the event's reason says why.
    Failure,
}

/// The reason for voiding a user's codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RevokeReason {
    /// The user asked for it.
    UserRequest,
    /// The second factor that the codes stand in for was removed.
    FactorRemoved,
    /// The codes or the account may be known to an attacker.
    Compromised,
    /// An administrator decided to.
    Administrative,
}

/// The reason for an event's outcome, for logs and administrators only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The code is not one of the user's.
    Wrong,
    /// The code is right, and was used before.
    Used,
    /// The code is right, and was voided before.
    Burned,
    /// The set is locked for a while.
    Locked,
    /// The set is disabled.
    Disabled,
    /// The user has no active set.
    NoCodes,
    /// The set has expired.
    Expired,
    /// The set or override was made before [`with_void_before`](crate::Config::with_void_before),
    /// or, where that is set, more than five minutes later than the clock allows.
    Void,
    /// The input does not have the shape of a code.
    NotACodeShape,
    /// The input's check symbol is wrong.
    NotACodeTypo,
    /// The input has letters of a script other than Latin.
    NotACodeOtherScript,
    /// The input is a code of a format that is not accepted.
    NotACodeOtherFormat,
    /// Codes of the set's format are not accepted.
    FormatNotAccepted,
    /// The stored hash needs a key that is not in the keyring.
    UnknownKey,
    /// The keyring has other bytes under the id of the stored hash's key.
    KeyMismatch,
    /// The stored hash asks for too much memory.
    CostAboveCeiling,
    /// The stored hash is too cheap.
    CostBelowFloor,
    /// The stored code is damaged.
    Malformed,
    /// The code has the form of an override code, and no unused one is in force.
    NoOverride,
    /// The code was an override code.
    Override,
    /// Too many wrong codes in a row.
    TooManyWrong,
    /// Backup codes are switched off.
    SwitchedOff,
    /// None of the user's roles may have codes.
    RoleNotPermitted,
    /// The actor does not administer codes.
    NotAdministrator,
    /// Only the user can do this.
    OnlyOwn,
    /// Another user has to do this.
    NotOneself,
    /// The cached settings are too old to trust.
    SettingsUnreadable,
    /// The hash pool had no room.
    Busy,
    /// There is no such prepared set, or it is too old.
    NoSuchSet,
    /// A set was replaced by a newer one.
    Replaced,
    /// Revoked: the user asked for it.
    UserRequest,
    /// Revoked: the second factor was removed.
    FactorRemoved,
    /// Revoked: the codes may be known to an attacker.
    Compromised,
    /// Revoked: an administrator decided to.
    Administrative,
}

impl Reason {
    /// Returns the reason's name as it is stored: lower case, words joined by `_`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Used => "used",
            Self::Burned => "burned",
            Self::Locked => "locked",
            Self::Disabled => "disabled",
            Self::NoCodes => "no_codes",
            Self::Expired => "expired",
            Self::Void => "void",
            Self::NotACodeShape => "not_a_code_shape",
            Self::NotACodeTypo => "not_a_code_typo",
            Self::FormatNotAccepted => "format_not_accepted",
            Self::NotACodeOtherScript => "not_a_code_other_script",
            Self::NotACodeOtherFormat => "not_a_code_other_format",
            Self::UnknownKey => "unknown_key",
            Self::KeyMismatch => "key_mismatch",
            Self::CostAboveCeiling => "cost_above_ceiling",
            Self::CostBelowFloor => "cost_below_floor",
            Self::Malformed => "malformed",
            Self::NoOverride => "no_override",
            Self::Override => "override",
            Self::TooManyWrong => "too_many_wrong",
            Self::SwitchedOff => "switched_off",
            Self::RoleNotPermitted => "role_not_permitted",
            Self::NotAdministrator => "not_administrator",
            Self::OnlyOwn => "only_own",
            Self::NotOneself => "not_oneself",
            Self::SettingsUnreadable => "settings_unreadable",
            Self::Busy => "busy",
            Self::NoSuchSet => "no_such_set",
            Self::Replaced => "replaced",
            Self::UserRequest => "user_request",
            Self::FactorRemoved => "factor_removed",
            Self::Compromised => "compromised",
            Self::Administrative => "administrative",
        }
    }
}

impl From<Denial> for Reason {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::SwitchedOff => Self::SwitchedOff,
            Denial::RoleNotPermitted => Self::RoleNotPermitted,
            Denial::NotAdministrator => Self::NotAdministrator,
            Denial::OnlyOwn => Self::OnlyOwn,
            Denial::NotOneself => Self::NotOneself,
            Denial::SettingsUnreadable => Self::SettingsUnreadable,
        }
    }
}

impl From<Unverifiable> for Reason {
    fn from(why: Unverifiable) -> Self {
        match why {
            Unverifiable::UnknownKey => Self::UnknownKey,
            Unverifiable::KeyMismatch => Self::KeyMismatch,
            Unverifiable::CostAboveCeiling => Self::CostAboveCeiling,
            Unverifiable::CostBelowFloor => Self::CostBelowFloor,
        }
    }
}

impl From<NotACode> for Reason {
    fn from(not_a_code: NotACode) -> Self {
        match not_a_code {
            NotACode::Shape => Self::NotACodeShape,
            NotACode::Typo => Self::NotACodeTypo,
            NotACode::OtherScript => Self::NotACodeOtherScript,
            NotACode::OtherFormat => Self::NotACodeOtherFormat,
        }
    }
}

impl From<RevokeReason> for Reason {
    fn from(reason: RevokeReason) -> Self {
        match reason {
            RevokeReason::UserRequest => Self::UserRequest,
            RevokeReason::FactorRemoved => Self::FactorRemoved,
            RevokeReason::Compromised => Self::Compromised,
            RevokeReason::Administrative => Self::Administrative,
        }
    }
}

/// The actor, as an event stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventActor {
    /// The application itself.
    System,
    /// A user.
    User(UserId),
}

impl From<&Actor> for EventActor {
    fn from(actor: &Actor) -> Self {
        match actor {
            Actor::System => Self::System,
            Actor::User(subject) => Self::User(subject.id().clone()),
        }
    }
}

/// A record of one step in the life of a code. Plain data; never a code, a part of one, or a hash.
///
/// Repositories keep it as JSON through serde; the field names are part of the record format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// The event's own id; a receiver that has seen it drops the repetition.
    pub id: EventId,
    /// The time of the event, in UTC, to the millisecond.
    pub at: Timestamp,
    /// The kind of event.
    pub kind: EventKind,
    /// The outcome.
    pub outcome: EventOutcome,
    /// The reason for the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The user whose codes it is about; `None` for settings and reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<UserId>,
    /// The actor.
    pub actor: EventActor,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The client's user agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The application's correlation id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// The set that the event is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<SetId>,
    /// The number of codes left after the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u8>,
}

impl Event {
    pub(crate) fn new(
        id: EventId,
        kind: EventKind,
        outcome: EventOutcome,
        subject: Option<&UserId>,
        context: &Context,
    ) -> Self {
        Self {
            id,
            at: context.now(),
            kind,
            outcome,
            reason: None,
            subject: subject.cloned(),
            actor: context.actor().into(),
            address: context.address(),
            user_agent: context.user_agent().map(str::to_owned),
            correlation: context.correlation().map(str::to_owned),
            set: None,
            remaining: None,
        }
    }

    pub(crate) fn because(mut self, reason: impl Into<Reason>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    pub(crate) fn of_set(mut self, set: SetId) -> Self {
        self.set = Some(set);
        self
    }

    pub(crate) fn leaving(mut self, remaining: u8) -> Self {
        self.remaining = Some(remaining);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_are_stored() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        // The list is in the order of the enum and leaves none out.
        for (number, kind) in EventKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, number);
        }
        assert_eq!(
            EventKind::ALL.last(),
            Some(&EventKind::SaveSettings),
            "a kind added after it belongs in the list"
        );
        for reason in [
            Reason::NotACodeTypo,
            Reason::NotACodeOtherScript,
            Reason::NotACodeOtherFormat,
            Reason::CostAboveCeiling,
            Reason::SwitchedOff,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
