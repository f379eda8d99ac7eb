//! The shell: loads, asks the rules, writes, and only then tells.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

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
use crate::hash::acceptance::{Acceptance, SKEW, Scheme};
use crate::hash::hashing::{Hashing, HashingError, Known};
use crate::hash::{HashSalt, StoredHash, Verified};
use crate::id::{EventId, OperationId, RandomError, Revision, SetId, Subject, UserId};
use crate::outcome::{Activation, Burn, Check, Effect, Notice, Redeem, Refusal, Status};
use crate::policy::settings::Settings;
use crate::policy::shared_settings::{SettingsDraft, SharedSettings};
use crate::policy::{Action, Decision, Denial, Request, RolePolicy};
use crate::report::{Periods, Usage, UsageQuery, UserFilter, UserOrder, UserRow, UsersQuery};
use crate::repository::record::{Record, RecordError};
use crate::repository::{
    CodeRepository, Directory, Expected, Freshness, Put, PutError, PutOutcome, SettingsStore,
};
use crate::rules::{self, NewSet, Progress, Purge, PurgeClock, Transition};
use crate::timestamp::Timestamp;

/// How often an call starts over because somebody else changed the record.
const ROUNDS: usize = 16;

/// Events handed to a sink at a time.
const DELIVERY_PAGE: usize = 100;

/// Backup codes for an application: every call, over a repository, a role policy and an
/// audit sink. Cheap to clone.
///
/// # Cancellation
/// Any future here may be dropped. An call dropped before its write changes nothing; one
/// dropped after it may have spent a code, which nothing un-spends, and a dropped
/// [`issue`](Self::issue) may have put a set in force that nobody saw: [`prepare`](Self::prepare)
/// and [`activate`](Self::activate) cannot. Events of a write that was applied are delivered later
/// by [`deliver_events`](Self::deliver_events).
pub struct BackupCodes<R, P, A = NoAudit> {
    repository: Arc<R>,
    policy: Arc<P>,
    audit: Arc<A>,
    hashing: Hashing,
    config: Arc<Config>,
    acceptance: Arc<Acceptance>,
    randomness: Randomness,
}

impl<R, P, A> Clone for BackupCodes<R, P, A> {
    fn clone(&self) -> Self {
        Self {
            repository: Arc::clone(&self.repository),
            policy: Arc::clone(&self.policy),
            audit: Arc::clone(&self.audit),
            hashing: self.hashing.clone(),
            config: Arc::clone(&self.config),
            acceptance: Arc::clone(&self.acceptance),
            randomness: self.randomness.clone(),
        }
    }
}

impl<R, P, A> fmt::Debug for BackupCodes<R, P, A> {
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

/// What delivering stored events came to.
#[must_use = "a lossy sink delivers nothing here"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// So many events were delivered and acknowledged.
    Delivered(usize),
    /// The sink does not keep what it accepts; the events wait for one that does.
    SinkIsLossy,
}

/// The outcome of saving the settings.
#[must_use = "after a conflict the settings were not applied"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsSaved {
    /// The settings are in force.
    Saved,
    /// Another administrator saved first, and nothing of this draft was applied. These are the
    /// settings in force: show them, and let the administrator decide again.
    Conflict(SettingsDraft),
}

/// A scheme that active sets have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemeUse {
    /// The scheme.
    pub scheme: Scheme,
    /// The number of users whose active set has it.
    pub users: u64,
    /// Why codes of this scheme are refused here; `None` where they are accepted.
    pub refused: Option<Reason>,
}

/// What purging came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Purged {
    /// Records from which something old was removed.
    pub trimmed: usize,
    /// Tombstones removed.
    pub removed: usize,
    /// Records that cannot be read, or that would be too large for a store, and were left as they
    /// are: repair or remove them.
    pub unreadable: usize,
    /// Records left as they are because their tombstone lies in the future, or their active set is
    /// void as of the future ([`Config::with_void_before`](crate::Config::with_void_before)), and the
    /// clock may be the one that is wrong. Where it is right,
    /// [`force_purge`](BackupCodes::force_purge) dates these tombstones back to now and removes these
    /// sets, which would come into force otherwise when the clock reaches them.
    pub ahead: usize,
}

/// An call that came to no outcome: whether it is known that nothing was written.
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

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(Box::new(error))
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

/// Somebody's call on somebody's codes.
#[derive(Clone, Copy)]
struct Call<'a> {
    subject: &'a Subject,
    context: &'a Context,
    action: Action,
    kind: EventKind,
    id: OperationId,
}

impl<'a> Call<'a> {
    /// An call whose id is not drawn yet.
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

/// What somebody typed.
enum Parsed<'a> {
    Attempt(Call<'a>, Arc<Attempt>),
    NotACode(NotACode),
}

impl<R: CodeRepository, P: RolePolicy> BackupCodes<R, P> {
    /// Backup codes over a repository and a role policy, without an audit sink yet.
    ///
    /// Give every process that works on one repository the same sink: one without acknowledges
    /// the events it meets ([`NoAudit`]), in [`deliver_events`](Self::deliver_events) those of
    /// other processes too.
    pub fn new(repository: R, policy: P, hashing: Hashing) -> Self {
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
}

impl<R: CodeRepository, P: RolePolicy, A: AuditSink> BackupCodes<R, P, A> {
    /// The same with this audit sink.
    #[must_use]
    pub fn with_audit<B: AuditSink>(self, audit: B) -> BackupCodes<R, P, B> {
        let Self {
            repository,
            policy,
            hashing,
            config,
            acceptance,
            randomness,
            ..
        } = self;
        BackupCodes {
            repository,
            policy,
            audit: Arc::new(audit),
            hashing,
            config,
            acceptance,
            randomness,
        }
    }

    /// The same under other rules of the application.
    #[must_use]
    pub fn with_config(self, config: Config) -> Self {
        let acceptance = Acceptance::new(&config, self.hashing.hasher());
        Self {
            config: Arc::new(config),
            acceptance: Arc::new(acceptance),
            ..self
        }
    }

    /// The same with another random number generator than the operating system's, for example a
    /// hardware module's.
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

    /// The role policy.
    #[must_use]
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// The repository.
    #[must_use]
    pub fn repository(&self) -> &R {
        &self.repository
    }

    /// Makes a set of codes to be shown. What the user has stays valid until the set is
    /// activated; a set prepared earlier is dropped.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Busy`], [`Error::Erased`], or a fault; nothing is stored then,
    /// or at most a set that nobody has seen.
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

    /// Issues an override code for somebody else, so that they get in although their sheet is
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
    /// [`purge`](Self::purge) removes after a grace period. Their past uses leave the figures.
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

    /// What a user has: counts and times, nothing secret.
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
                .map_err(unavailable)?;
            let newest = events.last().map(|event| event.id);
            // The same page again: others deliver too, or the store does not take the
            // acknowledgement. Either way this run is over.
            if newest.is_none() || newest == last {
                return Ok(Delivery::Delivered(delivered));
            }
            last = newest;
            audit
                .record(&events)
                .await
                .map_err(|error| Error::Sink(Box::new(error)))?;
            let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
            repository.acknowledge(&ids).await.map_err(unavailable)?;
            delivered += events.len();
        }
    }

    fn rng(&self) -> ShellRng<'_> {
        ShellRng(&self.randomness)
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
            .map_err(unavailable)?
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

    /// One call: rule, write, and only then the outcome. Starts over when somebody else was
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
                Err(PutError::NotApplied(error)) => return Err(unavailable(error).into()),
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
                    Some(error) => return Err(Failure::Unresolved(Box::new(error))),
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
    ) -> Result<Result<PutOutcome, PutError<R::Error>>, Error> {
        let (json, summary) = (record.to_json(), record.summary());
        // Damaged slots are kept as they are, so only a tampered record comes to this: what could
        // not be read again must not be written.
        if json.len() > Record::MAX_JSON_LEN {
            return Err(RecordError::TooLarge { len: json.len() }.into());
        }
        let put = Put::new(user, expected, revision, &json, &summary, events);
        Ok(self.repository.put(put).await)
    }

    /// Looks whether the call's own write is in the latest state. If so, writes once more:
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
                    return Err(Failure::Unresolved(Box::new(error)));
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

    /// Asks the policy about something that is nobody's in particular.
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

impl<R: CodeRepository + Directory, P: RolePolicy, A: AuditSink> BackupCodes<R, P, A> {
    /// Asks the policy whether the actor may see reports, and tells the sink of a denial: for
    /// reports that do not come from here, such as the audit log.
    ///
    /// # Errors
    /// [`Error::Denied`].
    pub async fn authorize_reports(&self, context: &Context) -> Result<(), Error> {
        self.ask_about_all(Action::ReadReports, EventKind::ReadReports, context)
            .await
    }

    /// One page of users. Threshold, time and conditions of the query are set from the policy, the
    /// context and the configuration.
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn users(&self, query: UsersQuery, context: &Context) -> Result<Vec<UserRow>, Error> {
        self.authorize_reports(context).await?;
        let query = UsersQuery {
            low_threshold: self.policy.low_threshold(),
            now: context.now(),
            acceptance: (*self.acceptance).clone(),
            ..query
        };
        Directory::users(&*self.repository, &query)
            .await
            .map_err(unavailable)
    }

    /// The usage figures for these periods.
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn usage(&self, periods: Periods, context: &Context) -> Result<Usage, Error> {
        self.authorize_reports(context).await?;
        let threshold = self.policy.low_threshold();
        let acceptance = (*self.acceptance).clone();
        let query = UsageQuery::new(periods, threshold, context.now(), acceptance);
        Directory::usage(&*self.repository, &query)
            .await
            .map_err(unavailable)
    }

    /// The schemes of active sets, each with the number of users whose set has it, and with the
    /// reason why codes of it are refused here, if they are.
    ///
    /// Ask at start, with [`Context::system`]: it shows a key in use that is missing or has other
    /// bytes before a user meets it. A key that is in no scheme can be retired once the overrides
    /// issued under it have ended, a week later at the most.
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault.
    pub async fn schemes(&self, context: &Context) -> Result<Vec<SchemeUse>, Error> {
        self.authorize_reports(context).await?;
        let schemes = Directory::schemes(&*self.repository)
            .await
            .map_err(unavailable)?;
        let report = |(scheme, users)| SchemeUse {
            refused: self.acceptance.check(&scheme).err(),
            scheme,
            users,
        };
        Ok(schemes.into_iter().map(report).collect())
    }

    /// Goes through all records and forgets what is old: uses beyond their time, prepared sets
    /// never activated, override codes past their end, tombstones past their grace. It also
    /// removes what a clock that was ahead has written and what is therefore not in force. Run it
    /// on a schedule, once a day or less.
    ///
    /// A record that changes meanwhile is left for the next time.
    ///
    /// A wrong clock alone costs no use and no active set: uses age by the newest use or activation of
    /// all users that does not lie in the future, and [`Purged::ahead`] counts the records that seem
    /// to lie in the future. Once a code was used or a set activated under a clock that is ahead, that
    /// clock passes for right. On a site where neither happens, uses stay until a
    /// [`force_purge`](Self::force_purge).
    ///
    /// # Errors
    /// [`Error::ClockAhead`] where the time of the context is later than the newest use and the
    /// newest activation by more than uses are kept; nothing was removed. [`Error::Denied`] or a
    /// fault; what was purged before it stays purged.
    pub async fn purge(&self, context: &Context) -> Result<Purged, Error> {
        self.ask_about_all(Action::Erase, EventKind::Erase, context)
            .await?;
        let now = context.now();
        let uses = self.newest(UserOrder::LatestUse, now, |row| &mut row.last_used_at);
        let newest_use = uses.await?;
        let activations = self.newest(UserOrder::NewestSet, now, |row| &mut row.activated_at);
        let newest_activation = activations.await?;
        // Where nothing ever happened there is nothing to lose.
        let newest = newest_use.max(newest_activation).unwrap_or(now);
        if now.saturating_since(newest) > self.config.keep_uses {
            return Err(Error::ClockAhead {
                now,
                newest_use,
                newest_activation,
            });
        }
        self.purge_all(PurgeClock::Unchecked(newest), context).await
    }

    /// The newest moment of this kind that all users have and that does not lie in the future.
    async fn newest(
        &self,
        order: UserOrder,
        now: Timestamp,
        moment: fn(&mut UserRow) -> &mut Option<Timestamp>,
    ) -> Result<Option<Timestamp>, Error> {
        let latest = now.saturating_add(SKEW);
        let mut query = UsersQuery::new(now)
            .filter(UserFilter::Every)
            .order(order)
            .limit(1);
        loop {
            let rows = Directory::users(&*self.repository, &query).await;
            let Some(mut row) = rows.map_err(unavailable)?.pop() else {
                return Ok(None);
            };
            match moment(&mut row) {
                // On to the first row that does not lie in the future: the rows that are passed
                // over may be many.
                Some(at) if *at > latest => {
                    *at = (*at).min(latest.saturating_add(Duration::from_millis(1)));
                }
                at => return Ok(*at),
            }
            query = query.after(row);
        }
    }

    /// Purges as [`purge`](Self::purge) does, by the clock alone: once you know that it is right,
    /// for a site that was not used for a long time, and for sets that lie in the future.
    ///
    /// # Errors
    /// [`Error::Denied`] or a fault; what was purged before it stays purged.
    pub async fn force_purge(&self, context: &Context) -> Result<Purged, Error> {
        self.ask_about_all(Action::Erase, EventKind::Erase, context)
            .await?;
        self.purge_all(PurgeClock::Right, context).await
    }

    async fn purge_all(&self, clock: PurgeClock, context: &Context) -> Result<Purged, Error> {
        let mut purged = Purged::default();
        let mut query = UsersQuery::new(context.now())
            .filter(UserFilter::Every)
            .limit(1000);
        loop {
            let rows = Directory::users(&*self.repository, &query)
                .await
                .map_err(unavailable)?;
            let Some(last) = rows.last().cloned() else {
                return Ok(purged);
            };
            for row in rows {
                let subject = Subject::new(row.user, [] as [&str; 0]);
                self.purge_one(&subject, clock, context, &mut purged)
                    .await?;
            }
            query = query.after(last);
        }
    }

    async fn purge_one(
        &self,
        subject: &Subject,
        clock: PurgeClock,
        context: &Context,
        purged: &mut Purged,
    ) -> Result<(), Error> {
        let call = self.call(subject, context, Action::Erase, EventKind::Erase)?;
        let state = match self.load(subject.id(), Freshness::Latest).await {
            Ok(state) => state,
            // One damaged record must not keep all later ones from being purged.
            Err(Error::Record(_)) => {
                purged.unreadable += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let Expected::At(current) = state.expected else {
            return Ok(());
        };
        let revision = self.revision()?;
        let written = match rules::purge(&state.record, clock, &self.operation(call, revision)) {
            Purge::Keep => return Ok(()),
            Purge::Ahead => {
                purged.ahead += 1;
                return Ok(());
            }
            Purge::Trim(step) => {
                let put = self.put(
                    subject.id(),
                    state.expected,
                    revision,
                    &step.record,
                    &step.events,
                );
                let written = match put.await {
                    Err(Error::Record(_)) => {
                        purged.unreadable += 1;
                        return Ok(());
                    }
                    put => put?,
                };
                if matches!(written, Ok(PutOutcome::Applied)) {
                    self.forward(&step.events).await;
                }
                (written, &mut purged.trimmed)
            }
            Purge::Remove => (
                self.repository.remove(subject.id(), current).await,
                &mut purged.removed,
            ),
        };
        match written {
            (Ok(PutOutcome::Applied), count) => *count += 1,
            (Ok(PutOutcome::Conflict), _) => {}
            (Err(PutError::NotApplied(error) | PutError::Unknown(error)), _) => {
                return Err(unavailable(error));
            }
        }
        Ok(())
    }
}

impl<R: CodeRepository + SettingsStore, A: AuditSink> BackupCodes<R, SharedSettings, A> {
    /// Reads the settings into the shared copy. Until they are first saved they are the default.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the copy stays as it was, and is not used beyond its bound.
    pub async fn refresh_settings(&self, now: Timestamp) -> Result<(), Error> {
        let saved = self.repository.load_settings().await.map_err(unavailable)?;
        let (settings, revision) = match saved {
            Some((settings, revision)) => (settings, Some(revision)),
            None => (Settings::default(), None),
        };
        self.policy.replace(settings, revision, now);
        Ok(())
    }

    /// Saves edited settings, if nobody else has saved since the draft was begun.
    ///
    /// # Errors
    /// [`Error::Denied`] under the settings in force; [`Error::Unavailable`] when the store
    /// fails: refresh, and see which settings are in force.
    pub async fn save_settings(
        &self,
        draft: SettingsDraft,
        context: &Context,
    ) -> Result<SettingsSaved, Error> {
        self.ask_about_all(Action::SaveSettings, EventKind::SaveSettings, context)
            .await?;
        let revision = self.revision()?;
        let id = revision.event(0);
        let event = Event::new(
            id,
            EventKind::SaveSettings,
            EventOutcome::Success,
            None,
            context,
        );
        let events = [event];
        let expected = draft.based_on.map_or(Expected::Absent, Expected::At);
        let SettingsDraft { settings, .. } = draft;
        let saved = self
            .repository
            .save_settings(expected, revision, &settings, &events)
            .await;
        match saved {
            Ok(PutOutcome::Applied) => {
                self.policy.replace(settings, Some(revision), context.now());
                self.forward(&events).await;
                Ok(SettingsSaved::Saved)
            }
            Ok(PutOutcome::Conflict) => {
                self.refresh_settings(context.now()).await?;
                let in_force = self.policy.edit().unwrap_or(SettingsDraft {
                    settings: Settings::default(),
                    based_on: None,
                });
                Ok(SettingsSaved::Conflict(in_force))
            }
            Err(PutError::NotApplied(error) | PutError::Unknown(error)) => Err(unavailable(error)),
        }
    }
}

/// Whether an call's own write is in the latest state.
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

/// The generator of a shell, shared by its clones.
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
                let drawn = EventId::random(&mut ShellRng(self))?.to_bytes();
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

struct ShellRng<'a>(&'a Randomness);

impl TryRng for ShellRng<'_> {
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

impl TryCryptoRng for ShellRng<'_> {}
