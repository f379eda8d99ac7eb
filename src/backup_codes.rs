//! The async operations: load the record, apply a rule, write the result, then report the outcome.

mod boxed;
mod reports;
mod saved_settings;

pub use self::reports::{Purged, Reports, SchemeUse};
pub use self::saved_settings::{SavedSettings, SettingsSaved};

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use self::boxed::{AnyRepository, AnySink, BoxError};
use getrandom::SysRng;
use rand_core::{TryCryptoRng, TryRng};

use crate::audit::event::{Event, EventKind, EventOutcome, Reason, RevokeReason};
use crate::audit::{AuditSink, Durability, NoAudit};
use crate::code::attempt::{Attempt, NotACode};
use crate::code::sheet::{Override, Sheet};
use crate::code::{Code, generate, generate_override};
use crate::config::Config;
use crate::context::Context;
use crate::error::Error;
use crate::hash::acceptance::Acceptance;
use crate::hash::hashing::{Hashing, HashingError, Known};
use crate::hash::{HashSalt, StoredHash, Verified};
use crate::id::{EventId, OperationId, RandomError, Revision, SetId, Subject, UserId};
use crate::outcome::{Activation, Burn, Check, Effect, Notice, Redeem, Refusal, Status};
use crate::policy::{Action, Decision, Denial, Request, RolePolicy};
use crate::repository::record::{Record, RecordError};
use crate::repository::{CodeRepository, Expected, Freshness, Put, PutError, PutOutcome};
use crate::rules::{self, NewSet, Progress, Transition};

/// The number of times an operation starts over because another write changed the record.
const ROUNDS: usize = 16;

/// Events handed to a sink at a time.
const DELIVERY_PAGE: usize = 100;

/// The async operations on backup codes, over a repository, a role policy and an audit sink. Cheap to
/// clone.
///
/// # Errors
/// A *fault*, in the documentation of the methods, is one of [`Error::Unavailable`],
/// [`Error::Contended`], [`Error::Record`], [`Error::Hashing`] and [`Error::Random`]. No verdict was
/// reached then. Repeat the call later; where it is [`Error::Record`], repair or remove the record
/// first.
///
/// # Cancellation
/// Any future here may be dropped. An operation dropped before its write changes nothing; one
/// dropped after it may have spent a code, which nothing un-spends, and a dropped
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
    randomness: Randomness,
}

impl fmt::Debug for BackupCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupCodes")
            .field("hashing", &self.hashing)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// A new set that is in force already, for applications without a confirm step.
#[must_use = "these codes are shown now or never"]
#[derive(Debug)]
pub struct Issued {
    /// The codes.
    pub sheet: Sheet,
    /// Whether they are known to be in force.
    pub confirmation: Confirmation,
}

/// Whether an issued set is known to be in force.
#[must_use = "an unconfirmed sheet may be worthless"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// It is; the message is owed to the user.
    Confirmed(Notice),
    /// The store did not say. Either these codes count or the old ones still do: show them as
    /// unconfirmed, and look at the status before issuing again.
    Unconfirmed,
}

/// The outcome of delivering stored events.
#[must_use = "a lossy sink delivers nothing here"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The number of events delivered and acknowledged.
    Delivered(usize),
    /// The sink does not keep what it accepts; the events wait for one that does.
    SinkIsLossy,
}

/// A failed operation, and whether it is known that nothing was written.
enum Failure {
    Settled(Error),
    Unresolved(Box<dyn std::error::Error + Send + Sync>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Settled(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Settled(error) => error,
            Failure::Unresolved(source) => Self::Unavailable(source),
        }
    }
}

impl From<HashingError> for Error {
    fn from(error: HashingError) -> Self {
        match error {
            HashingError::Busy => Self::Busy,
            HashingError::Failed => Self::Hashing,
        }
    }
}

/// A record as loaded, and the state a write has to expect.
struct State {
    record: Record,
    expected: Expected,
}

impl State {
    fn known(&self) -> Known {
        match self.expected {
            Expected::Absent => Known::NoRecord,
            Expected::At(_) => Known::Record,
        }
    }
}

/// The call of one operation: subject, context, action and id.
#[derive(Clone, Copy)]
struct Call<'a> {
    subject: &'a Subject,
    context: &'a Context,
    action: Action,
    kind: EventKind,
    id: OperationId,
}

impl<'a> Call<'a> {
    /// An operation whose id is not drawn yet.
    fn new(subject: &'a Subject, context: &'a Context, action: Action, kind: EventKind) -> Self {
        Self {
            subject,
            context,
            action,
            kind,
            id: OperationId::from_bytes([0; 16]),
        }
    }
}

/// A typed text, read as an attempt or not.
enum Parsed<'a> {
    Attempt(Call<'a>, Arc<Attempt>),
    NotACode(NotACode),
}

impl BackupCodes {
    /// Creates the operations over a repository and a role policy, without an audit sink.
    ///
    /// Give every process that works on one repository the same sink: one without acknowledges
    /// the events it meets ([`NoAudit`]), in [`deliver_events`](Self::deliver_events) those of
    /// other processes too.
    pub fn new(
        repository: impl CodeRepository + 'static,
        policy: impl RolePolicy + 'static,
        hashing: Hashing,
    ) -> Self {
        let config = Config::default();
        let acceptance = Acceptance::new(&config, hashing.hasher());
        Self {
            repository: Arc::new(repository),
            policy: Arc::new(policy),
            audit: Arc::new(NoAudit),
            hashing,
            config: Arc::new(config),
            acceptance: Arc::new(acceptance),
            randomness: Randomness::new(SysRng),
        }
    }

    /// Sets the audit sink.
    #[must_use]
    pub fn with_audit(self, audit: impl AuditSink + 'static) -> Self {
        Self {
            audit: Arc::new(audit),
            ..self
        }
    }

    /// Sets the configuration.
    #[must_use]
    pub fn with_config(self, config: Config) -> Self {
        let acceptance = Acceptance::new(&config, self.hashing.hasher());
        Self {
            config: Arc::new(config),
            acceptance: Arc::new(acceptance),
            ..self
        }
    }

    /// Sets the random number generator in place of the operating system's, for example a hardware
    /// module's.
    #[must_use]
    pub fn with_rng(self, rng: impl TryCryptoRng + Send + 'static) -> Self {
        Self {
            randomness: Randomness::new(rng),
            ..self
        }
    }

    /// The rules of the application.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The conditions under which a stored set is in force here.
    #[must_use]
    pub fn acceptance(&self) -> &Acceptance {
        &self.acceptance
    }

    /// Makes a set of codes to be shown. What the user has stays valid until the set is
    /// activated; a set prepared earlier is dropped.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Busy`], [`Error::Erased`], or a fault; nothing is stored then,
    /// or at most a set that was never shown.
    pub async fn prepare(&self, subject: &Subject, context: &Context) -> Result<Sheet, Error> {
        let call = self.call(subject, context, Action::Prepare, EventKind::Prepare)?;
        let (sheet, set, state) = self.new_set(call).await?;
        self.run(call, None, state, |record, operation, _| {
            Ok(Progress::Done(rules::prepare(
                record,
                set.clone(),
                operation,
            )?))
        })
        .await?;
        Ok(sheet)
    }

    /// Makes a set of codes and puts it in force at once.
    ///
    /// # Errors
    /// As for [`prepare`](Self::prepare). Where the store does not say what became of the write,
    /// the sheet comes back as [`Confirmation::Unconfirmed`].
    pub async fn issue(&self, subject: &Subject, context: &Context) -> Result<Issued, Error> {
        let activate = self.call(subject, context, Action::Activate, EventKind::Activate)?;
        self.ask(activate).await?;
        let call = self.call(subject, context, Action::Prepare, EventKind::Prepare)?;
        let (sheet, set, state) = self.new_set(call).await?;
        let issued = self
            .run(call, None, state, |record, operation, _| {
                Ok(Progress::Done(rules::issue(
                    record,
                    set.clone(),
                    operation,
                )?))
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

    /// Makes a prepared set the only one.
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault; the old set or the new one is in force then, never neither.
    pub async fn activate(
        &self,
        subject: &Subject,
        set: SetId,
        context: &Context,
    ) -> Result<Activation, Error> {
        let call = self.call(subject, context, Action::Activate, EventKind::Activate)?;
        self.on_record(call, None, |record, operation, _| {
            Ok(rules::activate(record, set, None, operation))
        })
        .await
    }

    /// Makes a prepared set the only one, if the user can type one of its codes. The code is not
    /// spent. [`Activation::AlreadyActive`] does not say that the code was compared.
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
        let (call, attempt) = match self.parse(call, typed).await? {
            Parsed::Attempt(call, attempt) => (call, attempt),
            Parsed::NotACode(hint) => return Ok(Activation::NotACode(hint)),
        };
        self.on_record(call, Some(&attempt), |record, operation, verified| {
            Ok(rules::activate(
                record,
                set,
                Some((&attempt, verified)),
                operation,
            ))
        })
        .await
    }

    /// Drops a prepared set. [`Effect::Nothing`] where there is none of this id: it was activated,
    /// dropped, replaced, or purged.
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn discard(
        &self,
        subject: &Subject,
        set: SetId,
        context: &Context,
    ) -> Result<Effect, Error> {
        let call = self.call(subject, context, Action::Prepare, EventKind::Discard)?;
        self.on_record(call, None, |record, operation, _| {
            Ok(Progress::Done(rules::discard(record, set, operation)))
        })
        .await
    }

    /// Redeems a code: the user whom the first factor has identified types it, and it is spent.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Contended`] or a fault: no verdict, the same for a right and a
    /// wrong code. Denial by the policy is a refusal here, with the same public text.
    pub async fn redeem(
        &self,
        subject: &Subject,
        typed: &str,
        context: &Context,
    ) -> Result<Redeem, Error> {
        let call = Call::new(subject, context, Action::Redeem, EventKind::Redeem);
        let (call, attempt) = match self.parse(call, typed).await? {
            Parsed::Attempt(call, attempt) => (call, attempt),
            Parsed::NotACode(hint) => return Ok(Redeem::NotACode(hint)),
        };
        let redeemed = self.on_record(call, Some(&attempt), |record, operation, verified| {
            Ok(rules::consume(record, &attempt, verified, operation))
        });
        denial_as(redeemed.await, Redeem::Refused)
    }

    /// Tries a code without spending it. It counts against the user like a redeem if it is
    /// wrong.
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
        let (call, attempt) = match self.parse(call, typed).await? {
            Parsed::Attempt(call, attempt) => (call, attempt),
            Parsed::NotACode(hint) => return Ok(Check::NotACode(hint)),
        };
        let checked = self.on_record(call, Some(&attempt), |record, operation, verified| {
            Ok(rules::check(record, &attempt, verified, operation))
        });
        denial_as(checked.await, Check::Refused)
    }

    /// Voids a leaked code by typing it. It counts against the user like a redeem if it is
    /// wrong, and the answer is the same.
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
        let (call, attempt) = match self.parse(call, typed).await? {
            Parsed::Attempt(call, attempt) => (call, attempt),
            Parsed::NotACode(hint) => return Ok(Burn::NotACode(hint)),
        };
        let burned = self.on_record(call, Some(&attempt), |record, operation, verified| {
            Ok(rules::burn(record, &attempt, verified, operation))
        });
        denial_as(burned.await, Burn::Refused)
    }

    /// Issues an override code for another user, so that they get in although their sheet is
    /// lost or locked. It works once, until `lifetime` has passed.
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
        let call = self.call(
            subject,
            context,
            Action::IssueOverride,
            EventKind::IssueOverride,
        )?;
        self.ask(call).await?;
        let max = self.config.max_override_lifetime;
        let revision = self.revision()?;
        let expires_at = rules::override_expiry(lifetime, &self.operation(call, revision))
            .ok_or(Error::OverrideLifetime { max })?;
        let mut rng = self.rng();
        let format = self.config.formats.issued();
        let set = SetId::random(&mut rng)?;
        let code: Arc<[Code]> = vec![generate_override(format, &mut rng)?].into();
        let state = self.load_living(subject.id()).await?;
        let mut hashes = self.hash(call, set, &code, state.known()).await?;
        let hash = hashes.pop().ok_or(Error::Hashing)?;
        let notice = self
            .run(call, None, state, |record, operation, _| {
                let hash = hash.clone();
                let issued =
                    rules::issue_override(record, set, format, hash, expires_at, operation)?;
                Ok(Progress::Done(issued))
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
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn revoke_override(
        &self,
        subject: &Subject,
        context: &Context,
    ) -> Result<Effect, Error> {
        let call = self.call(
            subject,
            context,
            Action::RevokeOverride,
            EventKind::RevokeOverride,
        )?;
        self.on_record(call, None, |record, operation, _| {
            Ok(Progress::Done(rules::revoke_override(record, operation)))
        })
        .await
    }

    /// Voids every code of a user. Call it whenever the second factor that the codes stand in
    /// for is removed. `None` where there was nothing to void.
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn revoke_all(
        &self,
        subject: &Subject,
        reason: RevokeReason,
        context: &Context,
    ) -> Result<Option<Notice>, Error> {
        let call = self.call(subject, context, Action::Revoke, EventKind::Revoke)?;
        self.on_record(call, None, |record, operation, _| {
            Ok(Progress::Done(rules::revoke_all(record, reason, operation)))
        })
        .await
    }

    /// Clears the wrong codes counted against another user. [`Effect::Nothing`] where none are
    /// counted.
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn unlock(&self, subject: &Subject, context: &Context) -> Result<Effect, Error> {
        let call = self.call(subject, context, Action::Unlock, EventKind::Unlock)?;
        self.on_record(call, None, |record, operation, _| {
            Ok(Progress::Done(rules::unlock(record, operation)))
        })
        .await
    }

    /// Removes everything kept about a user, and leaves a tombstone that
    /// [`purge`](Reports::purge) removes after a grace period. Their past uses leave the figures.
    /// [`Effect::Nothing`] where the tombstone is there already.
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn erase(&self, subject: &Subject, context: &Context) -> Result<Effect, Error> {
        let call = self.call(subject, context, Action::Erase, EventKind::Erase)?;
        self.on_record(call, None, |record, operation, _| {
            Ok(Progress::Done(rules::erase(record, operation)))
        })
        .await
    }

    /// Returns the status of a user: counts and times, nothing secret.
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn status(&self, subject: &Subject, context: &Context) -> Result<Status, Error> {
        let call = self.call(subject, context, Action::ReadStatus, EventKind::ReadStatus)?;
        self.ask(call).await?;
        let state = self.load(subject.id(), Freshness::Any).await?;
        Ok(rules::status(
            &state.record,
            &self.operation(call, self.revision()?),
        ))
    }

    /// Hands stored events to the audit sink until none is left. Run it at start and on a
    /// schedule; it may run on several nodes at once, a sink then sees an event more than once.
    ///
    /// # Errors
    /// [`Error::Sink`] when the sink fails, [`Error::Unavailable`] when the store does.
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
            // The same page again: others deliver too, or the store does not take the
            // acknowledgement. Either way this run is over.
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

    /// Asks the policy whether the actor may see reports, and tells the sink of a denial: for
    /// reports that do not come from here, such as the audit log.
    ///
    /// # Errors
    /// [`Error::Denied`].
    pub async fn authorize_reports(&self, context: &Context) -> Result<(), Error> {
        self.ask_about_all(Action::ReadReports, EventKind::ReadReports, context)
            .await
    }

    fn rng(&self) -> SharedRng<'_> {
        SharedRng(&self.randomness)
    }

    fn revision(&self) -> Result<Revision, Error> {
        Ok(Revision::random(&mut self.rng())?)
    }

    fn call<'a>(
        &self,
        subject: &'a Subject,
        context: &'a Context,
        action: Action,
        kind: EventKind,
    ) -> Result<Call<'a>, Error> {
        let id = OperationId::random(&mut self.rng())?;
        Ok(Call {
            id,
            ..Call::new(subject, context, action, kind)
        })
    }

    fn operation<'a>(&'a self, call: Call<'a>, revision: Revision) -> rules::Operation<'a> {
        rules::Operation {
            user: call.subject.id(),
            context: call.context,
            config: &self.config,
            acceptance: &self.acceptance,
            low_threshold: self.policy.low_threshold(),
            id: call.id,
            revision,
        }
    }

    fn decide(&self, call: Call<'_>) -> Result<(), Error> {
        let request = Request {
            actor: call.context.actor(),
            subject: Some(call.subject),
            action: call.action,
            now: call.context.now(),
        };
        match self.policy.decide(request) {
            Decision::Allow => Ok(()),
            Decision::Deny(denial) => Err(Error::Denied(denial)),
        }
    }

    /// Asks the policy, and tells the sink of a denial.
    async fn ask(&self, call: Call<'_>) -> Result<(), Error> {
        let decided = self.decide(call);
        if let Err(Error::Denied(denial)) = decided {
            self.report_failure(call, denial).await;
        }
        decided
    }

    async fn report_failure(&self, call: Call<'_>, reason: impl Into<Reason>) {
        let subject = Some(call.subject.id());
        self.report(call.kind, subject, call.context, reason.into())
            .await;
    }

    async fn report(
        &self,
        kind: EventKind,
        subject: Option<&UserId>,
        context: &Context,
        reason: Reason,
    ) {
        let Ok(id) = self.randomness.unstored_id() else {
            return;
        };
        // Best effort: an event that changes nothing is not worth an error.
        let event = Event::new(id, kind, EventOutcome::Failure, subject, context);
        let _ = self.audit.record(&[event.because(reason)]).await;
    }

    /// Reads what was typed. No random number is drawn and nothing hashed for what is no code.
    async fn parse<'a>(&self, call: Call<'a>, typed: &str) -> Result<Parsed<'a>, Error> {
        match Attempt::parse(typed, &self.config.formats, call.id) {
            Ok(attempt) => {
                let id = OperationId::random(&mut self.rng())?;
                let attempt = Arc::new(attempt.with_id(id));
                Ok(Parsed::Attempt(Call { id, ..call }, attempt))
            }
            Err(hint) => {
                self.report_failure(call, hint).await;
                Ok(Parsed::NotACode(hint))
            }
        }
    }

    async fn load(&self, user: &UserId, freshness: Freshness) -> Result<State, Error> {
        match self
            .repository
            .load(user, freshness)
            .await
            .map_err(Error::Unavailable)?
        {
            None => Ok(State {
                record: Record::new(),
                expected: Expected::Absent,
            }),
            Some(loaded) => Ok(State {
                record: Record::from_json(&loaded.record)?,
                expected: Expected::At(loaded.revision),
            }),
        }
    }

    async fn hash(
        &self,
        call: Call<'_>,
        set: SetId,
        codes: &Arc<[Code]>,
        known: Known,
    ) -> Result<Vec<StoredHash>, Error> {
        let mut rng = self.rng();
        let salts = codes
            .iter()
            .map(|_| HashSalt::random(&mut rng))
            .collect::<Result<_, _>>()?;
        let user = call.subject.id();
        match self.hashing.hash_set(user, set, codes, salts, known).await {
            Ok(hashes) => Ok(hashes),
            Err(error) => {
                if matches!(error, HashingError::Busy) {
                    self.report_failure(call, Reason::Busy).await;
                }
                Err(error.into())
            }
        }
    }

    async fn new_set(&self, call: Call<'_>) -> Result<(Sheet, NewSet, State), Error> {
        self.ask(call).await?;
        let mut rng = self.rng();
        let config = &self.config;
        let format = config.formats.issued();
        let id = SetId::random(&mut rng)?;
        let codes: Arc<[Code]> = generate(format, config.set_size, &mut rng)?.into();
        let state = self.load_living(call.subject.id()).await?;
        let hashes = self.hash(call, id, &codes, state.known()).await?;
        let now = call.context.now();
        let expires_at = config
            .set_lifetime
            .map(|lifetime| now.saturating_add(lifetime));
        let sheet = Sheet {
            set: id,
            prepared_at: now,
            expires_at,
            codes,
        };
        // A hasher computes all hashes at one cost with one key, and a set has 1 to 31 codes.
        let set = NewSet::new(id, format, hashes).map_err(|_| Error::Hashing)?;
        Ok((sheet, set, state))
    }

    /// The record of a user who is to have new codes: an erased one costs no hash. The rule looks
    /// again, as this may be an old copy.
    async fn load_living(&self, user: &UserId) -> Result<State, Error> {
        let state = self.load(user, Freshness::Any).await?;
        match state.record.erased_at() {
            Some(_) => Err(rules::Erased.into()),
            None => Ok(state),
        }
    }

    /// Loads, then [`run`](Self::run)s.
    async fn on_record<T: Send>(
        &self,
        call: Call<'_>,
        attempt: Option<&Arc<Attempt>>,
        rule: impl FnMut(
            &Record,
            &rules::Operation<'_>,
            Option<&Verified>,
        ) -> Result<Progress<T>, Error>
        + Send,
    ) -> Result<T, Error> {
        self.ask(call).await?;
        // An old copy can only make these two refuse. To others it could say that there is nothing
        // to revoke, burn or unlock, and no write would follow that notices.
        let freshness = match call.action {
            Action::Redeem | Action::Check => Freshness::Any,
            _ => Freshness::Latest,
        };
        let state = self.load(call.subject.id(), freshness).await?;
        Ok(self.run(call, attempt, state, rule).await?)
    }

    /// One operation: rule, write, and only then the outcome. Starts over when another write was
    /// faster; looks again when the store does not say what became of the write.
    async fn run<T: Send>(
        &self,
        call: Call<'_>,
        attempt: Option<&Arc<Attempt>>,
        mut state: State,
        mut rule: impl FnMut(
            &Record,
            &rules::Operation<'_>,
            Option<&Verified>,
        ) -> Result<Progress<T>, Error>
        + Send,
    ) -> Result<T, Failure> {
        let user = call.subject.id();
        let mut verified: Option<Verified> = None;
        for _ in 0..ROUNDS {
            self.ask(call).await?;
            let revision = self.revision()?;
            let operation = self.operation(call, revision);
            let transition = loop {
                match rule(&state.record, &operation, verified.as_ref())? {
                    Progress::Done(transition) => break transition,
                    Progress::Compare(target) => {
                        let attempt = attempt.ok_or(Error::Hashing)?;
                        let known = state.known();
                        match self.hashing.verify(user, attempt, &target, known).await {
                            Ok(compared) => verified = Some(compared),
                            Err(error) => {
                                if matches!(error, HashingError::Busy) {
                                    self.report_failure(call, Reason::Busy).await;
                                }
                                return Err(Error::from(error).into());
                            }
                        }
                    }
                }
            };
            let Transition {
                outcome,
                step,
                unstored,
            } = transition;
            let Some(step) = step else {
                if !unstored.is_empty() {
                    let _ = self.audit.record(&unstored).await;
                }
                return Ok(outcome);
            };
            let put = self
                .put(user, state.expected, revision, &step.record, &step.events)
                .await?;
            let unknown = match put {
                Ok(PutOutcome::Applied) => {
                    self.forward(&step.events).await;
                    return Ok(outcome);
                }
                Ok(PutOutcome::Conflict) => None,
                Err(PutError::NotApplied(error)) => return Err(Error::Unavailable(error).into()),
                Err(PutError::Unknown(error)) => Some(error),
            };
            // A driver that repeats a write by itself reports its own success as a conflict, so
            // the look is the same for both.
            match self.find_own(user, call.id).await? {
                Own::Confirmed => {
                    self.forward(&step.events).await;
                    return Ok(outcome);
                }
                Own::Absent(latest) => match unknown {
                    None => state = latest,
                    // The write may still be on its way.
                    Some(error) => return Err(Failure::Unresolved(error)),
                },
            }
        }
        Err(Error::Contended.into())
    }

    async fn put(
        &self,
        user: &UserId,
        expected: Expected,
        revision: Revision,
        record: &Record,
        events: &[Event],
    ) -> Result<Result<PutOutcome, PutError<BoxError>>, Error> {
        let (json, summary) = (record.to_json(), record.summary());
        // Damaged slots are kept as they are, so only a tampered record comes to this: what could
        // not be read again must not be written.
        if json.len() > Record::MAX_JSON_LEN {
            return Err(RecordError::TooLarge { len: json.len() }.into());
        }
        let put = Put::new(user, expected, revision, &json, &summary, events);
        Ok(self.repository.put(put).await)
    }

    /// Looks whether the operation's own write is in the latest state. If so, writes once more:
    /// what is visible need not be durable, but an applied write after it is.
    async fn find_own(&self, user: &UserId, call: OperationId) -> Result<Own, Failure> {
        for _ in 0..ROUNDS {
            let latest = match self.load(user, Freshness::Latest).await {
                Ok(latest) => latest,
                Err(error) => return Err(Failure::Unresolved(Box::new(error))),
            };
            if !latest.record.has_applied(call) {
                return Ok(Own::Absent(latest));
            }
            // The write is there, so no fault from here on means that nothing happened.
            let unresolved = |error: Error| Failure::Unresolved(Box::new(error));
            let revision = self.revision().map_err(unresolved)?;
            match self
                .put(user, latest.expected, revision, &latest.record, &[])
                .await
                .map_err(unresolved)?
            {
                Ok(PutOutcome::Applied) => return Ok(Own::Confirmed),
                Ok(PutOutcome::Conflict) => {}
                Err(PutError::NotApplied(error) | PutError::Unknown(error)) => {
                    return Err(Failure::Unresolved(error));
                }
            }
        }
        Err(Failure::Unresolved(Box::new(Error::Contended)))
    }

    /// Hands stored events to the sink. If that fails they stay stored, for `deliver_events`.
    async fn forward(&self, events: &[Event]) {
        let Self {
            repository, audit, ..
        } = self;
        if events.is_empty() || audit.record(events).await.is_err() {
            return;
        }
        if audit.durability() == Durability::Durable {
            let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
            let _ = repository.acknowledge(&ids).await;
        }
    }

    /// Asks the policy about an operation on all users.
    async fn ask_about_all(
        &self,
        action: Action,
        kind: EventKind,
        context: &Context,
    ) -> Result<(), Error> {
        let (actor, now) = (context.actor(), context.now());
        match self.policy.decide(Request {
            actor,
            subject: None,
            action,
            now,
        }) {
            Decision::Allow => Ok(()),
            Decision::Deny(denial) => {
                self.report(kind, None, context, denial.into()).await;
                Err(Error::Denied(denial))
            }
        }
    }
}

/// Whether an operation's own write is in the latest state.
#[expect(
    clippy::large_enum_variant,
    reason = "moved once an call; a box would be one more allocation"
)]
enum Own {
    /// It is, and a write after it was applied.
    Confirmed,
    /// It is not.
    Absent(State),
}

/// A denial as a refusal: where a code was typed, its public text is that of a wrong one.
fn denial_as<T>(result: Result<T, Error>, refused: fn(Refusal) -> T) -> Result<T, Error> {
    match result {
        Err(Error::Denied(denial)) => Ok(refused(Refusal::because(denial))),
        other => other,
    }
}

impl From<Denial> for Error {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

/// The generator of random numbers, shared by all clones.
#[derive(Clone)]
struct Randomness {
    rng: Arc<Mutex<dyn Draw>>,
    unstored: Arc<Unstored>,
}

/// Ids of events that are never stored: a random beginning and a count, so that what is no code
/// costs no system call.
#[derive(Default)]
struct Unstored {
    first: OnceLock<[u8; 16]>,
    count: AtomicU64,
}

/// A generator whose error type is out of the way.
trait Draw: Send {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

impl<R: TryCryptoRng + Send> Draw for R {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        self.try_fill_bytes(bytes).map_err(RandomError::new)
    }
}

impl Randomness {
    fn new(rng: impl TryCryptoRng + Send + 'static) -> Self {
        Self {
            rng: Arc::new(Mutex::new(rng)),
            unstored: Arc::default(),
        }
    }

    fn unstored_id(&self) -> Result<EventId, RandomError> {
        let Unstored { first, count } = &*self.unstored;
        let first = match first.get() {
            Some(first) => *first,
            None => {
                let drawn = EventId::random(&mut SharedRng(self))?.to_bytes();
                *first.get_or_init(|| drawn)
            }
        };
        let number = u128::from(count.fetch_add(1, Ordering::Relaxed));
        Ok(EventId::from_bytes(
            u128::from_be_bytes(first)
                .wrapping_add(number)
                .to_be_bytes(),
        ))
    }
}

struct SharedRng<'a>(&'a Randomness);

impl TryRng for SharedRng<'_> {
    type Error = RandomError;

    fn try_next_u32(&mut self) -> Result<u32, RandomError> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, RandomError> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        self.0
            .rng
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill(bytes)
    }
}

impl TryCryptoRng for SharedRng<'_> {}
