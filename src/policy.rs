//! The role policy: who may do what.

pub(crate) mod settings;
pub(crate) mod shared_settings;

pub use self::settings::{OnRoleLoss, PermittedRoles, Settings, SettingsError, Switch};
pub use self::shared_settings::{SettingsDraft, SharedSettings};
pub use crate::id::Role;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::Subject;
use crate::timestamp::Timestamp;

/// The user or the application that performs an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The application itself: a scheduled task or an operator's console.
    System,
    /// A user, identified by the application.
    User(Subject),
}

impl From<&Subject> for Actor {
    fn from(user: &Subject) -> Self {
        Self::User(user.clone())
    }
}

impl From<Subject> for Actor {
    fn from(user: Subject) -> Self {
        Self::User(user)
    }
}

/// The operation that a policy is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Make a set of codes and see it, or drop one not yet activated.
    Prepare,
    /// Make a prepared set the one that counts.
    Activate,
    /// Get in with a code.
    Redeem,
    /// Try a code without spending it.
    Check,
    /// Void a leaked code by typing it.
    Burn,
    /// Void all codes of a user.
    Revoke,
    /// Issue an override code for another user.
    IssueOverride,
    /// Void an override code.
    RevokeOverride,
    /// Clear the wrong codes counted against a user.
    Unlock,
    /// Remove everything kept about a user.
    Erase,
    /// See how many codes a user has left, and when they were used.
    ReadStatus,
    /// See usage figures, the list of users and the audit log.
    ReadReports,
    /// Change the settings of the site.
    SaveSettings,
}

/// One question to the policy.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The actor.
    pub actor: &'a Actor,
    /// Whose codes it is about; `None` for reports and settings.
    pub subject: Option<&'a Subject>,
    /// The operation.
    pub action: Action,
    /// The time of the request.
    pub now: Timestamp,
}

impl<'a> Request<'a> {
    /// A question about one user's codes.
    #[must_use]
    pub fn new(actor: &'a Actor, subject: &'a Subject, action: Action, now: Timestamp) -> Self {
        Self {
            actor,
            subject: Some(subject),
            action,
            now,
        }
    }

    /// Whether the actor is the user it is about.
    #[must_use]
    pub fn is_own(&self) -> bool {
        matches!((self.actor, self.subject), (Actor::User(actor), Some(subject))
            if actor.id() == subject.id())
    }
}

/// The policy's answer.
#[must_use = "a decision that nobody looks at protects nothing"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// Stop, for this reason.
    Deny(Denial),
}

/// Why something was denied. For logs and administrators; the public text of a refused code is
/// the same for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Denial {
    /// Backup codes are switched off for the site.
    #[error("backup codes are switched off for this site")]
    SwitchedOff,
    /// None of the user's roles may have backup codes.
    #[error("none of the user's roles may have backup codes")]
    RoleNotPermitted,
    /// The actor may not do this to another user.
    #[error("this needs a role that administers backup codes")]
    NotAdministrator,
    /// Only the user may do this.
    #[error("only the user can do this")]
    OnlyOwn,
    /// Another user has to do this: it is not allowed to oneself.
    #[error("another user has to do this")]
    NotOneself,
    /// The cached settings are too old to trust.
    #[error("the site's settings could not be read lately, so nothing is allowed: refresh them")]
    SettingsUnreadable,
}

/// Decides who may hold, redeem and administer codes.
///
/// [`Settings`] is the built-in one; an application with rules of its own
/// implements this instead.
///
/// # Contract
/// `decide` is total and synchronous: data in, decision out, no I/O and no panic. It is asked
/// before each operation and again when an operation starts over because another write changed
/// the record. Answer `Deny` for an [`Action`] you do not know: more may be added.
///
/// # Security
/// A policy that allows [`Action::IssueOverride`] or [`Action::Unlock`] where
/// [`Request::is_own`] holds lets an attacker who knows a password get past the second factor.
///
/// ```
/// use backup_codes::policy::{Action, Decision, Denial, Request, RolePolicy};
///
/// /// All users look after their own codes; there is no administrator.
/// struct OwnCodesOnly;
///
/// impl RolePolicy for OwnCodesOnly {
///     fn decide(&self, request: Request<'_>) -> Decision {
///         match request.action {
///             Action::Prepare | Action::Activate | Action::Redeem | Action::ReadStatus
///                 if request.is_own() =>
///             {
///                 Decision::Allow
///             }
///             _ => Decision::Deny(Denial::OnlyOwn),
///         }
///     }
///
///     fn low_threshold(&self) -> u8 {
///         3
///     }
/// }
/// ```
pub trait RolePolicy: Send + Sync {
    /// Allow, or deny with a reason.
    fn decide(&self, request: Request<'_>) -> Decision;

    /// A user with this many codes left, or fewer, is low on codes.
    fn low_threshold(&self) -> u8;
}

impl<P: RolePolicy + ?Sized> RolePolicy for &P {
    fn decide(&self, request: Request<'_>) -> Decision {
        (**self).decide(request)
    }
    fn low_threshold(&self) -> u8 {
        (**self).low_threshold()
    }
}

impl<P: RolePolicy + ?Sized> RolePolicy for Arc<P> {
    fn decide(&self, request: Request<'_>) -> Decision {
        (**self).decide(request)
    }
    fn low_threshold(&self) -> u8 {
        (**self).low_threshold()
    }
}
