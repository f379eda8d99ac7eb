//! The role policy: which actor may do what.
//!
//! ```
//! use backup_codes::policy::{Action, Actor, Decision, Denial, Request, RolePolicy};
//! use backup_codes::{Settings, Subject, Timestamp, UserId};
//!
//! let alice = Subject::new(UserId::new("42")?, ["staff"]);
//! let actor = Actor::from(&alice);
//! let now = Timestamp::from_unix_millis(1_790_000_000_000)?;
//! let decide = |settings: &Settings| {
//!     settings.decide(Request::new(&actor, &alice, Action::Prepare, now))
//! };
//!
//! let mut settings = Settings::default();
//! assert_eq!(decide(&settings), Decision::Allow);
//! settings.permit_roles(["admin"]);
//! assert_eq!(decide(&settings), Decision::Deny(Denial::RoleNotPermitted));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod settings;
pub(crate) mod shared_settings;

pub use self::settings::{OnRoleLoss, PermittedRoles, Settings, Switch};
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
    /// Create a set of codes and see it, or drop one not yet activated.
    Prepare,
    /// Activate a prepared set.
    Activate,
    /// Log in with a code.
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
    /// The user whose codes the operation is about; `None` for reports and settings.
    pub subject: Option<&'a Subject>,
    /// The operation.
    pub action: Action,
    /// The time of the request.
    pub now: Timestamp,
}

impl<'a> Request<'a> {
    /// Creates a question about one user's codes.
    #[must_use]
    pub fn new(actor: &'a Actor, subject: &'a Subject, action: Action, now: Timestamp) -> Self {
        Self {
            actor,
            subject: Some(subject),
            action,
            now,
        }
    }

    /// Returns whether the actor is the user whose codes the operation is about.
    #[must_use]
    pub fn is_own(&self) -> bool {
        matches!((self.actor, self.subject), (Actor::User(actor), Some(subject))
            if actor.id() == subject.id())
    }
}

/// The policy's answer.
#[must_use = "check the decision before you act"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The operation is allowed.
    Allow,
    /// The operation is denied, for this reason.
    Deny(Denial),
}

/// The reason of a denial, for logs and administrators. The public text of a refused code is the
/// same for all of them.
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
    /// Another user has to do this: an administrator may not do it to their own codes.
    #[error("another user has to do this")]
    NotOneself,
    /// The cached settings are too old to trust.
    #[error("the cached settings are too old to trust, so nothing is allowed: refresh them")]
    SettingsUnreadable,
}

/// A policy that decides who may hold, redeem and administer codes.
///
/// [`Settings`] is built in; an application with rules of its own implements this trait instead.
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
///
/// # use backup_codes::{policy::Actor, Subject, Timestamp, UserId};
/// let alice = Subject::new(UserId::new("42")?, ["staff"]);
/// let (actor, now) = (Actor::System, Timestamp::from_unix_millis(1_790_000_000_000)?);
/// let request = Request::new(&actor, &alice, Action::Unlock, now);
/// assert_eq!(OwnCodesOnly.decide(request), Decision::Deny(Denial::OnlyOwn));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait RolePolicy: Send + Sync {
    /// Decides: allows, or denies with a reason.
    fn decide(&self, request: Request<'_>) -> Decision;

    /// Returns the number of codes left at or below which a user is low on codes.
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
