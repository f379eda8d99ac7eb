//! The flow of one operation: ask the policy, load, apply a rule, write, and only then report.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::audit::Durability;
use crate::audit::event::{Event, EventKind, EventOutcome, Reason};
use crate::backup_codes::BackupCodes;
use crate::backup_codes::boxed::BoxError;
use crate::code::attempt::{Attempt, NotACode, TypedCode};
use crate::code::sheet::Sheet;
use crate::code::{Code, generate};
use crate::context::Context;
use crate::error::Error;
use crate::error::record::RecordError;
use crate::hash::hashing::Owner;
use crate::hash::{HashSalt, StoredHash, Verified};
use crate::id::{EventId, OperationId, Revision, SetId, Subject, UserId};
use crate::policy::{Action, Decision, Denial, Request};
use crate::repository::record::Record;
use crate::repository::{Expected, Freshness, Put, PutError, PutOutcome};
use crate::rules::{NewSet, Operation, Progress, Transition};

/// The number of times an operation starts over because another write changed the record.
const ROUNDS: usize = 16;

/// One call of an operation on a user.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    subject: &'a Subject,
    context: &'a Context,
    action: Action,
    kind: EventKind,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        subject: &'a Subject,
        context: &'a Context,
        action: Action,
        kind: EventKind,
    ) -> Self {
        Self {
            subject,
            context,
            action,
            kind,
        }
    }

    fn user(&self) -> &'a UserId {
        self.subject.id()
    }
}

/// A record as loaded, and the state a write has to expect.
pub(super) struct Snapshot {
    pub(super) record: Record,
    pub(super) expected: Expected,
}

impl Snapshot {
    fn owner(&self, user: &UserId) -> Owner {
        Owner {
            user: user.clone(),
            has_record: self.expected != Expected::Absent,
        }
    }
}

/// A failed operation, and whether it is known that nothing was written.
pub(super) enum Failure {
    Settled(Error),
    Unresolved(BoxError),
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

impl BackupCodes {
    /// Asks the policy, and reports a denial to the sink.
    pub(super) async fn ask(&self, call: Call<'_>) -> Result<(), Error> {
        let decided = self.decide(Some(call.subject), call.action, call.context);
        if let Err(denial) = decided {
            self.report_failure(call, denial).await;
        }
        Ok(decided?)
    }

    /// Asks the policy about an operation on all users, and reports a denial to the sink.
    pub(super) async fn ask_about_all(
        &self,
        action: Action,
        kind: EventKind,
        context: &Context,
    ) -> Result<(), Error> {
        let decided = self.decide(None, action, context);
        if let Err(denial) = decided {
            self.report(kind, None, context, denial.into()).await;
        }
        Ok(decided?)
    }

    fn decide(
        &self,
        subject: Option<&Subject>,
        action: Action,
        context: &Context,
    ) -> Result<(), Denial> {
        let (actor, now) = (context.actor(), context.now());
        match self.policy.decide(Request {
            actor,
            subject,
            action,
            now,
        }) {
            Decision::Allow => Ok(()),
            Decision::Deny(denial) => Err(denial),
        }
    }

    async fn report_failure(&self, call: Call<'_>, reason: impl Into<Reason>) {
        self.report(call.kind, Some(call.user()), call.context, reason.into())
            .await;
    }

    /// Reports a failure that changes nothing to the sink: best effort, as no outcome
    /// depends on its event.
    async fn report(
        &self,
        kind: EventKind,
        user: Option<&UserId>,
        context: &Context,
        reason: Reason,
    ) {
        if let Ok(id) = EventId::random(&mut self.rng.clone()) {
            let event = Event::new(id, kind, EventOutcome::Failure, user, context);
            let _ = self.audit.record(&[event.because(reason)]).await;
        }
    }

    /// Reports that the pool had no room.
    async fn report_busy<T>(&self, call: Call<'_>, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::Busy) = result {
            self.report_failure(call, Reason::Busy).await;
        }
        result
    }

    /// Reads what was typed. What is no code costs no hash and changes nothing.
    pub(super) async fn parse(
        &self,
        call: Call<'_>,
        typed: &str,
    ) -> Result<Result<Arc<Attempt>, NotACode>, Error> {
        match TypedCode::parse(typed, &self.config.formats) {
            Ok(code) => {
                let id = OperationId::random(&mut self.rng.clone())?;
                Ok(Ok(Arc::new(Attempt::new(code, id))))
            }
            Err(hint) => {
                self.report_failure(call, hint).await;
                Ok(Err(hint))
            }
        }
    }

    pub(super) async fn load(
        &self,
        user: &UserId,
        freshness: Freshness,
    ) -> Result<Snapshot, Error> {
        let loaded = self.repository.load(user, freshness).await;
        match loaded.map_err(Error::Unavailable)? {
            None => Ok(Snapshot {
                record: Record::new(),
                expected: Expected::Absent,
            }),
            Some(loaded) => Ok(Snapshot {
                record: Record::from_json(&loaded.record)?,
                expected: Expected::At(loaded.revision),
            }),
        }
    }

    /// Loads the record of a user for new codes, and fails for an erased user before anything is
    /// hashed. The rule looks again, as this may be an old copy.
    pub(super) async fn load_living(&self, user: &UserId) -> Result<Snapshot, Error> {
        let state = self.load(user, Freshness::Any).await?;
        match state.record.erased_at() {
            Some(_) => Err(Error::Erased),
            None => Ok(state),
        }
    }

    /// Hashes codes, and asks the policy again before they are written.
    pub(super) async fn hash(
        &self,
        call: Call<'_>,
        set: SetId,
        codes: &Arc<[Code]>,
        state: &Snapshot,
    ) -> Result<Vec<StoredHash>, Error> {
        let mut rng = self.rng.clone();
        let salts = codes.iter().map(|_| HashSalt::random(&mut rng));
        let salts = salts.collect::<Result<_, _>>()?;
        let owner = state.owner(call.user());
        let hashes = self.hashing.hash_set(&owner, set, codes, salts).await;
        let hashes = self.report_busy(call, hashes).await?;
        // The hashes may have waited in the queue: the decision has to be of now.
        self.ask(call).await?;
        Ok(hashes)
    }

    /// Asks the policy, draws a set, loads the record, and hashes the codes.
    pub(super) async fn new_set(&self, call: Call<'_>) -> Result<(Sheet, NewSet, Snapshot), Error> {
        self.ask(call).await?;
        let mut rng = self.rng.clone();
        let config = &self.config;
        let format = config.formats.issued();
        let id = SetId::random(&mut rng)?;
        let codes: Arc<[Code]> = generate(format, config.set_size, &mut rng)?.into();
        let state = self.load_living(call.user()).await?;
        let hashes = self.hash(call, id, &codes, &state).await?;
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
        // All hashes were computed with one `HashParams`, and a set has 1 to 31 codes.
        let set = NewSet::new(id, format, hashes).map_err(|_| Error::Hashing)?;
        Ok((sheet, set, state))
    }

    /// The circumstances of one write.
    pub(super) fn operation<'a>(
        &'a self,
        call: Call<'a>,
        id: OperationId,
    ) -> Result<Operation<'a>, Error> {
        Ok(Operation {
            user: call.subject.id(),
            context: call.context,
            config: &self.config,
            acceptance: &self.acceptance,
            low_threshold: self.policy.low_threshold(),
            id,
            revision: Revision::random(&mut self.rng.clone())?,
        })
    }

    /// Does an operation that compares no code.
    pub(super) async fn apply<T: Send>(
        &self,
        call: Call<'_>,
        mut rule: impl FnMut(&Record, &Operation<'_>) -> Transition<T> + Send,
    ) -> Result<T, Error> {
        self.ask(call).await?;
        // An old copy could say that there is nothing to revoke or unlock, and no write would follow
        // that notices.
        let state = self.load(call.user(), Freshness::Latest).await?;
        let applied = self.apply_to(state, call, |record, operation| Ok(rule(record, operation)));
        Ok(applied.await?)
    }

    /// Applies a rule to a loaded record, and starts over where another write was faster.
    pub(super) async fn apply_to<T: Send>(
        &self,
        mut state: Snapshot,
        call: Call<'_>,
        mut rule: impl FnMut(&Record, &Operation<'_>) -> Result<Transition<T>, Error> + Send,
    ) -> Result<T, Failure> {
        let id = OperationId::random(&mut self.rng.clone()).map_err(Error::from)?;
        for round in 0..ROUNDS {
            if round > 0 {
                self.ask(call).await?;
            }
            let operation = self.operation(call, id)?;
            let transition = rule(&state.record, &operation)?;
            match self.commit(&operation, &state, transition).await? {
                ControlFlow::Break(outcome) => return Ok(outcome),
                ControlFlow::Continue(latest) => state = latest,
            }
        }
        Err(Error::Contended.into())
    }

    /// Does an operation that compares a typed code, and starts over where another write was faster.
    pub(super) async fn apply_typed<T: Send>(
        &self,
        call: Call<'_>,
        attempt: &Arc<Attempt>,
        mut rule: impl FnMut(&Record, &Attempt, Option<&Verified>, &Operation<'_>) -> Progress<T> + Send,
    ) -> Result<T, Error> {
        self.ask(call).await?;
        // An old copy can only make these two refuse. To others it could say that there is nothing to
        // void or activate.
        let freshness = match call.action {
            Action::Redeem | Action::Check => Freshness::Any,
            _ => Freshness::Latest,
        };
        let mut state = self.load(call.user(), freshness).await?;
        let mut verified: Option<Verified> = None;
        for round in 0..ROUNDS {
            if round > 0 {
                self.ask(call).await?;
            }
            let operation = self.operation(call, attempt.id())?;
            let transition = loop {
                match rule(&state.record, attempt, verified.as_ref(), &operation) {
                    Progress::Done(transition) => break transition,
                    Progress::Compare(target) => {
                        let owner = state.owner(call.user());
                        let compared = self.hashing.verify(&owner, attempt, &target).await;
                        verified = Some(self.report_busy(call, compared).await?);
                    }
                }
            };
            match self.commit(&operation, &state, transition).await? {
                ControlFlow::Break(outcome) => return Ok(outcome),
                ControlFlow::Continue(latest) => state = latest,
            }
        }
        Err(Error::Contended)
    }

    /// Writes the step of a transition, and reports its events once the write was applied. `Continue`
    /// has the latest state where another write was faster.
    async fn commit<T: Send>(
        &self,
        operation: &Operation<'_>,
        state: &Snapshot,
        transition: Transition<T>,
    ) -> Result<ControlFlow<T, Snapshot>, Failure> {
        let Transition {
            outcome,
            step,
            unstored,
        } = transition;
        let Some(step) = step else {
            if !unstored.is_empty() {
                let _ = self.audit.record(&unstored).await;
            }
            return Ok(ControlFlow::Break(outcome));
        };
        let (user, revision) = (operation.user, operation.revision);
        let put = self
            .put(user, state.expected, revision, &step.record, &step.events)
            .await?;
        let unknown = match put {
            Ok(PutOutcome::Applied) => {
                self.forward(&step.events).await;
                return Ok(ControlFlow::Break(outcome));
            }
            Ok(PutOutcome::Conflict) => None,
            Err(PutError::NotApplied(error)) => return Err(Error::Unavailable(error).into()),
            Err(PutError::Unknown(error)) => Some(error),
        };
        // A driver that repeats a write by itself reports its own success as a conflict, so the look
        // is the same for both.
        match (self.confirm_own(user, operation.id).await?, unknown) {
            (ControlFlow::Break(()), _) => {
                self.forward(&step.events).await;
                Ok(ControlFlow::Break(outcome))
            }
            (ControlFlow::Continue(latest), None) => Ok(ControlFlow::Continue(latest)),
            // The write may still be on its way.
            (ControlFlow::Continue(_), Some(error)) => Err(Failure::Unresolved(error)),
        }
    }

    pub(super) async fn put(
        &self,
        user: &UserId,
        expected: Expected,
        revision: Revision,
        record: &Record,
        events: &[Event],
    ) -> Result<Result<PutOutcome, PutError<BoxError>>, Error> {
        let (json, summary) = (record.to_json(), record.summary());
        // Damaged slots are kept as they are, so only an altered record grows to this size: what could
        // not be read again must not be written.
        if json.len() > Record::MAX_JSON_LEN {
            let (len, max) = (json.len(), Record::MAX_JSON_LEN);
            return Err(RecordError::TooLarge { len, max }.into());
        }
        let put = Put::new(user, expected, revision, &json, &summary, events);
        Ok(self.repository.put(put).await)
    }

    /// Looks for the operation's own write in the latest state. Where it is there, writes once more:
    /// what is visible need not be durable, but an applied write after it is. `Continue` has the
    /// latest state where it is not there.
    async fn confirm_own(
        &self,
        user: &UserId,
        id: OperationId,
    ) -> Result<ControlFlow<(), Snapshot>, Failure> {
        let unresolved = |error: Error| Failure::Unresolved(Box::new(error));
        for _ in 0..ROUNDS {
            let latest = self.load(user, Freshness::Latest).await;
            let latest = latest.map_err(unresolved)?;
            if !latest.record.has_applied(id) {
                return Ok(ControlFlow::Continue(latest));
            }
            // The write is there, so no fault from here on means that nothing happened.
            let revision = Revision::random(&mut self.rng.clone());
            let revision = revision.map_err(|error| unresolved(error.into()))?;
            let put = self.put(user, latest.expected, revision, &latest.record, &[]);
            match put.await.map_err(unresolved)? {
                Ok(PutOutcome::Applied) => return Ok(ControlFlow::Break(())),
                Ok(PutOutcome::Conflict) => {}
                Err(PutError::NotApplied(error) | PutError::Unknown(error)) => {
                    return Err(Failure::Unresolved(error));
                }
            }
        }
        Err(unresolved(Error::Contended))
    }

    /// Hands stored events to the sink. If that fails they stay stored, for `deliver_events`.
    pub(super) async fn forward(&self, events: &[Event]) {
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
}
