//! The async operations: load the record, apply a rule, write the result, then report the outcome.

mod apply;
mod boxed;
mod reports;
mod rng;
mod saved_settings;

pub use self::reports::{Purged, Reports, SchemeUse};
pub use self::saved_settings::{SavedSettings, SettingsSaved};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;
use rand_core::TryCryptoRng;

use self::apply::{Call, Failure};
use self::boxed::{AnyRepository, AnySink};
use self::rng::SharedRng;

use crate::audit::event::{EventKind, RevokeReason};
use crate::audit::{AuditSink, Durability, NoAudit};
use crate::code::override_code::Override;
use crate::code::sheet::Sheet;
use crate::code::{Code, generate_override};
use crate::config::Config;
use crate::context::Context;
use crate::error::Error;
use crate::hash::acceptance::Acceptance;
use crate::hash::hashing::Hashing;
use crate::id::{EventId, OperationId, SetId, Subject};
use crate::outcome::{Activation, Burn, Check, Effect, Notice, Redeem, Refusal, Status};
use crate::policy::{Action, RolePolicy};
use crate::repository::{CodeRepository, Freshness};
use crate::rules;

/// Events handed to a sink at a time.
const DELIVERY_PAGE: usize = 100;

/// The async operations on backup codes, over a repository, a role policy and an audit sink. Cheap to
/// clone.
///
/// The examples of the methods share this setup:
///
/// ```
/// use backup_codes::{BackupCodes, Context, HashParams, Hashing, Keyring, MemoryRepository};
/// use backup_codes::{Settings, Subject, Timestamp, UserId};
///
/// let repository = MemoryRepository::new();
/// // In an application: `Hashing::pool(keyring)`, with a pepper.
/// let hashing = Hashing::inline(HashParams::new(Keyring::without_pepper())?);
/// let codes = BackupCodes::new(repository.clone(), Settings::default(), hashing.clone());
/// let alice = Subject::new(UserId::new("42")?, ["staff"]);
/// let admin = Subject::new(UserId::new("1")?, ["administrator"]);
/// let now = Timestamp::from_unix_millis(1_790_000_000_000)?;
/// let cx = Context::new(now, &alice);
/// let admin_cx = Context::new(now, &admin);
/// assert_eq!(codes.config().set_size().get(), 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A *fault*, in the documentation of the methods, is one of [`Error::Unavailable`],
/// [`Error::Contended`], [`Error::Record`], [`Error::Hashing`] and [`Error::Random`]. There is no
/// outcome then; after [`Error::Unavailable`] a write may still be applied. Repeat the call later; after [`Error::Record`], restore or remove the record first.
///
/// # Cancellation
/// Any future here may be dropped. An operation dropped before its write changes nothing; one
/// dropped after it may have spent a code, and it stays spent; a dropped
/// [`issue`](Self::issue) may have activated a set that was never shown: [`prepare`](Self::prepare)
/// and [`activate`](Self::activate) cannot. Events of a write that was applied are delivered later
/// by [`deliver_events`](Self::deliver_events).
#[derive(Clone)]
#[doc(alias = "recovery code")]
pub struct BackupCodes {
    repository: Arc<dyn AnyRepository>,
    policy: Arc<dyn RolePolicy>,
    audit: Arc<dyn AnySink>,
    hashing: Hashing,
    config: Arc<Config>,
    acceptance: Arc<Acceptance>,
    rng: SharedRng,
}

impl fmt::Debug for BackupCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupCodes")
            .field("hashing", &self.hashing)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// A new set that is active at once, for applications without a confirm step.
#[must_use = "show these codes now: they cannot be shown later"]
#[derive(Debug)]
pub struct Issued {
    /// The codes.
    pub sheet: Sheet,
    /// Whether the set is known to be active.
    pub confirmation: Confirmation,
}

/// The certainty that an issued set is active.
#[must_use = "an unconfirmed sheet may be worthless"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// The set is active. Send the notice to the user.
    Confirmed(Notice),
    /// The repository did not say whether it wrote: either these codes are active, or the old ones
    /// still are. Show them as unconfirmed, and look at the status before issuing again.
    Unconfirmed,
}

/// The outcome of delivering stored events.
#[must_use = "a lossy sink delivers nothing here"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The number of events delivered and acknowledged.
    Delivered(usize),
    /// The sink is not durable, so the events stay stored for one that is.
    SinkIsLossy,
}

impl BackupCodes {
    /// Creates the operations over a repository and a role policy, without an audit sink.
    ///
    /// Give every process that works on one repository the same sink. A process without one
    /// ([`NoAudit`]) acknowledges the events that it meets, and in
    /// [`deliver_events`](Self::deliver_events) those of other processes too.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// let hashing = Hashing::inline(HashParams::new(Keyring::without_pepper())?);
    /// let codes = BackupCodes::new(MemoryRepository::new(), Settings::default(), hashing);
    /// assert_eq!(codes.status(&alice, &cx).await?.remaining, 0);
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    pub fn new(
        repository: impl CodeRepository + 'static,
        policy: impl RolePolicy + 'static,
        hashing: Hashing,
    ) -> Self {
        let config = Config::default();
        let acceptance = Acceptance::new(&config, hashing.params());
        Self {
            repository: Arc::new(repository),
            policy: Arc::new(policy),
            audit: Arc::new(NoAudit),
            hashing,
            config: Arc::new(config),
            acceptance: Arc::new(acceptance),
            rng: SharedRng::new(SysRng),
        }
    }

    /// Sets the audit sink.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// use backup_codes::audit::{EventKind, MemoryAudit};
    ///
    /// let audit = MemoryAudit::new();
    /// let codes = codes.with_audit(audit.clone());
    /// let _sheet = codes.prepare(&alice, &cx).await?;
    /// assert_eq!(audit.events()[0].kind, EventKind::Prepare);
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    #[must_use]
    pub fn with_audit(self, audit: impl AuditSink + 'static) -> Self {
        Self {
            audit: Arc::new(audit),
            ..self
        }
    }

    /// Sets the configuration.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// use backup_codes::{Config, SetSize};
    ///
    /// let config = Config::default().with_set_size(SetSize::new(8)?);
    /// let codes = codes.with_config(config);
    /// assert_eq!(codes.prepare(&alice, &cx).await?.expose().codes().count(), 8);
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    #[must_use]
    pub fn with_config(self, config: Config) -> Self {
        let acceptance = Acceptance::new(&config, self.hashing.params());
        Self {
            config: Arc::new(config),
            acceptance: Arc::new(acceptance),
            ..self
        }
    }

    /// Sets the random number generator in place of the operating system's, for example a hardware
    /// module's.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// let codes = codes.with_rng(getrandom::SysRng);
    /// assert!(codes.prepare(&alice, &cx).await.is_ok());
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    #[must_use]
    pub fn with_rng(self, rng: impl TryCryptoRng + Send + 'static) -> Self {
        Self {
            rng: SharedRng::new(rng),
            ..self
        }
    }

    /// Returns the configuration.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// assert_eq!(codes.config().set_size().get(), 10);
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the conditions under which a stored set is in force.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// use backup_codes::Format;
    /// use backup_codes::hash::{Cost, Scheme};
    ///
    /// let scheme = Scheme::new(Format::CROCKFORD, Cost::MIB_19, None);
    /// assert!(codes.acceptance().check(&scheme).is_ok());
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    #[must_use]
    pub fn acceptance(&self) -> &Acceptance {
        &self.acceptance
    }

    /// Prepares a set of codes to be shown. The user's active codes stay valid until the new set is
    /// activated; a set prepared earlier is dropped.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// let sheet = codes.prepare(&alice, &cx).await?;
    /// assert_eq!(sheet.expose().codes().count(), 10);
    /// // Show the sheet once. Its codes work from `activate` on.
    /// assert_eq!(codes.status(&alice, &cx).await?.remaining, 0);
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Busy`], [`Error::Erased`], or a fault; nothing is stored then,
    /// or at most a set that was never shown.
    pub async fn prepare(&self, subject: &Subject, context: &Context) -> Result<Sheet, Error> {
        let call = Call::new(subject, context, Action::Prepare, EventKind::Prepare);
        let (sheet, set, state) = self.new_set(call).await?;
        self.apply_to(state, call, |record, operation| {
            rules::prepare(record, set.clone(), operation)
        })
        .await?;
        Ok(sheet)
    }

    /// Issues a set of codes that is active at once.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// let issued = codes.issue(&alice, &cx).await?;
    /// assert!(matches!(issued.confirmation, Confirmation::Confirmed(_)));
    /// assert_eq!(codes.status(&alice, &cx).await?.remaining, 10);
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// As for [`prepare`](Self::prepare). Where the repository does not say whether it wrote,
    /// the sheet is returned as [`Confirmation::Unconfirmed`].
    pub async fn issue(&self, subject: &Subject, context: &Context) -> Result<Issued, Error> {
        let activate = Call::new(subject, context, Action::Activate, EventKind::Activate);
        self.ask(activate).await?;
        let call = Call::new(subject, context, Action::Prepare, EventKind::Prepare);
        let (sheet, set, state) = self.new_set(call).await?;
        let issued = self
            .apply_to(state, call, |record, operation| {
                rules::issue(record, set.clone(), operation)
            })
            .await;
        let confirmation = match issued {
            Ok(notice) => Confirmation::Confirmed(notice),
            Err(Failure::Unresolved(_)) => Confirmation::Unconfirmed,
            Err(Failure::Settled(error)) => return Err(error),
        };
        Ok(Issued {
            sheet,
            confirmation,
        })
    }

    /// Activates a prepared set: it becomes the user's only one.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// let sheet = codes.prepare(&alice, &cx).await?;
    /// let activated = codes.activate(&alice, sheet.id(), &cx).await?;
    /// assert!(matches!(activated, Activation::Activated(_)));
    /// // A form that is sent twice changes nothing.
    /// let again = codes.activate(&alice, sheet.id(), &cx).await?;
    /// assert_eq!(again, Activation::AlreadyActive);
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault; either the old set or the new one is active then.
    pub async fn activate(
        &self,
        subject: &Subject,
        set: SetId,
        context: &Context,
    ) -> Result<Activation, Error> {
        let call = Call::new(subject, context, Action::Activate, EventKind::Activate);
        self.apply(call, |record, operation| {
            rules::activate(record, set, operation)
        })
        .await
    }

    /// Activates a prepared set, if the user can type one of its codes. The code is not spent.
    /// [`Activation::AlreadyActive`] does not say that the code was compared.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// let sheet = codes.prepare(&alice, &cx).await?;
    /// let (_, code) = sheet.expose().codes().next().expect("ten codes");
    /// let activated = codes.activate_confirmed(&alice, sheet.id(), &code, &cx).await?;
    /// assert!(matches!(activated, Activation::Activated(_)));
    /// assert_eq!(codes.status(&alice, &cx).await?.remaining, 10);
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// As for [`activate`](Self::activate), and [`Error::Busy`].
    pub async fn activate_confirmed(
        &self,
        subject: &Subject,
        set: SetId,
        typed: &str,
        context: &Context,
    ) -> Result<Activation, Error> {
        let call = Call::new(subject, context, Action::Activate, EventKind::Activate);
        let attempt = match self.parse(call, typed).await? {
            Ok(attempt) => attempt,
            Err(hint) => return Ok(Activation::NotACode(hint)),
        };
        self.apply_typed(call, &attempt, |record, attempt, verified, operation| {
            rules::activate_confirmed(record, set, attempt, verified, operation)
        })
        .await
    }

    /// Drops a prepared set. [`Effect::Nothing`] where there is none of this id: it was activated,
    /// dropped, replaced, or purged.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// let sheet = codes.prepare(&alice, &cx).await?;
    /// assert_eq!(codes.discard(&alice, sheet.id(), &cx).await?, Effect::Done);
    /// assert_eq!(codes.discard(&alice, sheet.id(), &cx).await?, Effect::Nothing);
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn discard(
        &self,
        subject: &Subject,
        set: SetId,
        context: &Context,
    ) -> Result<Effect, Error> {
        let call = Call::new(subject, context, Action::Prepare, EventKind::Discard);
        self.apply(call, |record, operation| {
            rules::discard(record, set, operation)
        })
        .await
    }

    /// Redeems a code: the user whom the first factor has identified types it, and it is spent.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// let issued = codes.issue(&alice, &cx).await?;
    /// let (number, code) = issued.sheet.expose().codes().next().expect("ten codes");
    /// match codes.redeem(&alice, &code, &cx).await? {
    ///     Redeem::Accepted(receipt) => assert_eq!((receipt.slot(), receipt.remaining()), (number, 9)),
    ///     Redeem::Refused(refusal) => panic!("{refusal}"),
    ///     Redeem::NotACode(hint) => panic!("{hint}"),
    /// }
    /// // A code works once.
    /// assert!(matches!(codes.redeem(&alice, &code, &cx).await?, Redeem::Refused(_)));
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Busy`] or a fault, which are the same for a right and a wrong code. A denial by the
    /// policy is a refusal here, with the same public text.
    pub async fn redeem(
        &self,
        subject: &Subject,
        typed: &str,
        context: &Context,
    ) -> Result<Redeem, Error> {
        let call = Call::new(subject, context, Action::Redeem, EventKind::Redeem);
        let attempt = match self.parse(call, typed).await? {
            Ok(attempt) => attempt,
            Err(hint) => return Ok(Redeem::NotACode(hint)),
        };
        let redeemed = self.apply_typed(call, &attempt, rules::consume);
        denial_as(redeemed.await, Redeem::Refused)
    }

    /// Tries a code without spending it. It counts against the user like a redeem if it is
    /// wrong.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// let issued = codes.issue(&alice, &cx).await?;
    /// let (number, code) = issued.sheet.expose().codes().next().expect("ten codes");
    /// assert_eq!(codes.check(&alice, &code, &cx).await?, Check::Valid(number));
    /// assert_eq!(codes.status(&alice, &cx).await?.remaining, 10);
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// As for [`redeem`](Self::redeem).
    pub async fn check(
        &self,
        subject: &Subject,
        typed: &str,
        context: &Context,
    ) -> Result<Check, Error> {
        let call = Call::new(subject, context, Action::Check, EventKind::Check);
        let attempt = match self.parse(call, typed).await? {
            Ok(attempt) => attempt,
            Err(hint) => return Ok(Check::NotACode(hint)),
        };
        let checked = self.apply_typed(call, &attempt, rules::check);
        denial_as(checked.await, Check::Refused)
    }

    /// Voids a leaked code by typing it. It counts against the user like a redeem if it is
    /// wrong, and the outcome does not tell whether the code was right.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// let issued = codes.issue(&alice, &cx).await?;
    /// let (_, code) = issued.sheet.expose().codes().next().expect("ten codes");
    /// assert!(matches!(codes.burn(&alice, &code, &cx).await?, Burn::Done(_)));
    /// assert!(matches!(codes.redeem(&alice, &code, &cx).await?, Redeem::Refused(_)));
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// As for [`redeem`](Self::redeem).
    pub async fn burn(
        &self,
        subject: &Subject,
        typed: &str,
        context: &Context,
    ) -> Result<Burn, Error> {
        let call = Call::new(subject, context, Action::Burn, EventKind::Burn);
        let attempt = match self.parse(call, typed).await? {
            Ok(attempt) => attempt,
            Err(hint) => return Ok(Burn::NotACode(hint)),
        };
        let burned = self.apply_typed(call, &attempt, rules::burn);
        denial_as(burned.await, Burn::Refused)
    }

    /// Issues an override code, which lets another user sign in when their sheet is lost or locked. It works once, until `lifetime` has passed.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// use std::time::Duration;
    ///
    /// let hour = Duration::from_secs(3600);
    /// let code = codes.issue_override(&alice, hour, &admin_cx).await?.expose();
    /// assert!(matches!(codes.redeem(&alice, &code, &cx).await?, Redeem::Accepted(_)));
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::OverrideLifetime`] outside one minute to the configured longest;
    /// [`Error::Denied`], [`Error::Busy`], [`Error::Erased`], or a fault.
    pub async fn issue_override(
        &self,
        subject: &Subject,
        lifetime: Duration,
        context: &Context,
    ) -> Result<Override, Error> {
        let call = Call::new(
            subject,
            context,
            Action::IssueOverride,
            EventKind::IssueOverride,
        );
        self.ask(call).await?;
        let max = self.config.max_override_lifetime;
        let expires_at = rules::override_expiry(
            lifetime,
            &self.operation(call, OperationId::random(&mut self.rng.clone())?)?,
        )
        .ok_or(Error::OverrideLifetime { max })?;
        let mut rng = self.rng.clone();
        let format = self.config.formats.issued();
        let set = SetId::random(&mut rng)?;
        let code: Arc<[Code]> = vec![generate_override(format, &mut rng)?].into();
        let state = self.load_living(subject.id()).await?;
        let mut hashes = self.hash(call, set, &code, &state).await?;
        let hash = hashes.pop().ok_or(Error::Hashing)?;
        let notice = self
            .apply_to(state, call, |record, operation| {
                rules::issue_override(record, set, format, hash.clone(), expires_at, operation)
            })
            .await?;
        Ok(Override {
            code,
            expires_at,
            notice,
        })
    }

    /// Voids an override code. [`Effect::Nothing`] where there is no unused one.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// use std::time::Duration;
    ///
    /// let hour = Duration::from_secs(3600);
    /// let code = codes.issue_override(&alice, hour, &admin_cx).await?.expose();
    /// assert_eq!(codes.revoke_override(&alice, &admin_cx).await?, Effect::Done);
    /// assert!(matches!(codes.redeem(&alice, &code, &cx).await?, Redeem::Refused(_)));
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn revoke_override(
        &self,
        subject: &Subject,
        context: &Context,
    ) -> Result<Effect, Error> {
        let call = Call::new(
            subject,
            context,
            Action::RevokeOverride,
            EventKind::RevokeOverride,
        );
        self.apply(call, |record, operation| {
            rules::revoke_override(record, operation)
        })
        .await
    }

    /// Voids every code of a user. Call it whenever the second factor that the codes stand in
    /// for is removed. `None` where there was nothing to void.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// let _issued = codes.issue(&alice, &cx).await?;
    /// let reason = RevokeReason::FactorRemoved;
    /// assert!(codes.revoke_all(&alice, reason, &cx).await?.is_some());
    /// assert_eq!(codes.status(&alice, &cx).await?.remaining, 0);
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn revoke_all(
        &self,
        subject: &Subject,
        reason: RevokeReason,
        context: &Context,
    ) -> Result<Option<Notice>, Error> {
        let call = Call::new(subject, context, Action::Revoke, EventKind::Revoke);
        self.apply(call, |record, operation| {
            rules::revoke_all(record, reason, operation)
        })
        .await
    }

    /// Clears the wrong codes counted against another user. [`Effect::Nothing`] where none are
    /// counted.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// let _issued = codes.issue(&alice, &cx).await?;
    /// assert_eq!(codes.unlock(&alice, &admin_cx).await?, Effect::Nothing);
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn unlock(&self, subject: &Subject, context: &Context) -> Result<Effect, Error> {
        let call = Call::new(subject, context, Action::Unlock, EventKind::Unlock);
        self.apply(call, rules::unlock).await
    }

    /// Removes everything kept about a user, and leaves a tombstone that
    /// [`purge`](Reports::purge) removes after a grace period. Their past uses leave the figures.
    /// [`Effect::Nothing`] where the tombstone is there already.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// let _issued = codes.issue(&alice, &cx).await?;
    /// assert_eq!(codes.erase(&alice, &admin_cx).await?, Effect::Done);
    /// assert!(matches!(codes.prepare(&alice, &cx).await, Err(Error::Erased)));
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn erase(&self, subject: &Subject, context: &Context) -> Result<Effect, Error> {
        let call = Call::new(subject, context, Action::Erase, EventKind::Erase);
        self.apply(call, rules::erase).await
    }

    /// Returns the status of a user: counts and times, nothing secret.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// let issued = codes.issue(&alice, &cx).await?;
    /// let status = codes.status(&alice, &cx).await?;
    /// assert_eq!((status.remaining, status.total), (10, 10));
    /// assert_eq!(status.label, Some(issued.sheet.label()));
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn status(&self, subject: &Subject, context: &Context) -> Result<Status, Error> {
        let call = Call::new(subject, context, Action::ReadStatus, EventKind::ReadStatus);
        self.ask(call).await?;
        let state = self.load(subject.id(), Freshness::Latest).await?;
        Ok(rules::status(
            &state.record,
            &self.operation(call, OperationId::random(&mut self.rng.clone())?)?,
        ))
    }

    /// Hands stored events to the audit sink until none is left. Run it at start and on a
    /// schedule; it may run on several nodes at once, a sink then sees an event more than once.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// use backup_codes::Delivery;
    /// use backup_codes::audit::MemoryAudit;
    ///
    /// // Events that no sink has had yet stay in the repository.
    /// let audit = MemoryAudit::new();
    /// let delivered = codes.with_audit(audit.clone()).deliver_events().await?;
    /// assert_eq!(delivered, Delivery::Delivered(audit.events().len()));
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Sink`] when the sink fails, [`Error::Unavailable`] when the repository does.
    pub async fn deliver_events(&self) -> Result<Delivery, Error> {
        let Self {
            repository, audit, ..
        } = self;
        if audit.durability() == Durability::Lossy {
            return Ok(Delivery::SinkIsLossy);
        }
        let mut delivered = 0;
        let mut last: Option<EventId> = None;
        loop {
            let events = repository
                .undelivered(DELIVERY_PAGE)
                .await
                .map_err(Error::Unavailable)?;
            let newest = events.last().map(|event| event.id);
            // The same page again: other processes deliver too, or the repository does not take the
            // acknowledgement. Either way this delivery is over.
            if newest.is_none() || newest == last {
                return Ok(Delivery::Delivered(delivered));
            }
            last = newest;
            audit.record(&events).await.map_err(Error::Sink)?;
            let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
            repository
                .acknowledge(&ids)
                .await
                .map_err(Error::Unavailable)?;
            delivered += events.len();
        }
    }

    /// Asks the policy whether the actor may see reports, and reports a denial to the sink. Call it
    /// before a report that does not come from [`Reports`], such as the audit log.
    ///
    /// ```
    #[doc = include_str!("backup_codes/example_begin.txt")]
    /// assert!(codes.authorize_reports(&admin_cx).await.is_ok());
    /// assert!(matches!(codes.authorize_reports(&cx).await, Err(Error::Denied(_))));
    #[doc = include_str!("backup_codes/example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`].
    pub async fn authorize_reports(&self, context: &Context) -> Result<(), Error> {
        self.ask_about_all(Action::ReadReports, EventKind::ReadReports, context)
            .await
    }
}

/// A denial as a refusal: where a code was typed, its public text is that of a wrong one.
fn denial_as<T>(result: Result<T, Error>, refused: fn(Refusal) -> T) -> Result<T, Error> {
    match result {
        Err(Error::Denied(denial)) => Ok(refused(Refusal::because(denial))),
        other => other,
    }
}
