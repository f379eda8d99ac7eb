//! The rules: pure functions that generate, hash, verify and consume codes and compute usage.
//!
//! A transition takes the record as it was loaded and an [`Operation`] (actor, time, ids), and returns
//! a [`Transition`]: the outcome, and the [`Step`] to write before the outcome may be reported.
//! [`BackupCodes`](crate::BackupCodes) does that writing; `examples/blocking.rs` does it by hand.
//!
//! ```
//! use backup_codes::hash::{Acceptance, DefaultEngine, HashParams, HashSalt, Keyring};
//! use backup_codes::repository::{Record, Revision};
//! use backup_codes::rules::{self, Attempt, NewSet, Operation, OperationId, Progress};
//! use backup_codes::{Config, Context, Redeem, SetId, Subject, Timestamp, UserId};
//!
//! let (config, mut rng) = (Config::default(), getrandom::SysRng);
//! let mut engine = DefaultEngine::new();
//! let params = HashParams::new(Keyring::without_pepper())?;
//! let alice = Subject::new(UserId::new("42")?, ["staff"]);
//! let context = Context::new(Timestamp::from_unix_millis(1_790_000_000_000)?, &alice);
//! let issuing = Operation {
//!     user: alice.id(),
//!     context: &context,
//!     config: &config,
//!     acceptance: &Acceptance::new(&config, &params),
//!     low_threshold: 3,
//!     id: OperationId::random(&mut rng)?,
//!     revision: Revision::random(&mut rng)?,
//! };
//!
//! let (set, format) = (SetId::random(&mut rng)?, config.formats().issued());
//! let codes = rules::generate(format, config.set_size(), &mut rng)?;
//! let mut hashes = Vec::new();
//! for code in &codes {
//!     let salt = HashSalt::random(&mut rng)?;
//!     hashes.push(rules::hash(&params, &mut engine, alice.id(), set, code, salt)?);
//! }
//! let issued = rules::issue(&Record::new(), NewSet::new(set, format, hashes)?, &issuing)?;
//! // Write the step, on the condition that the record is unchanged. Then show the codes.
//! let record = issued.step.expect("a new set is a change").record;
//!
//! let redeeming = Operation {
//!     id: OperationId::random(&mut rng)?,
//!     revision: Revision::random(&mut rng)?,
//!     ..issuing
//! };
//! let attempt = Attempt::parse(&codes[0].expose(), config.formats(), redeeming.id)?;
//! let Progress::Compare(target) = rules::consume(&record, &attempt, None, &redeeming) else {
//!     panic!("one hash comes first");
//! };
//! let verified = rules::verify(&params, &mut engine, alice.id(), &attempt, &target)?;
//! match rules::consume(&record, &attempt, Some(&verified), &redeeming) {
//!     // Write `done.step`, and only then let the user in.
//!     Progress::Done(done) => assert!(matches!(done.outcome, Redeem::Accepted(_))),
//!     Progress::Compare(_) => panic!("it was compared"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod typed;

use std::time::Duration;

pub use crate::code::attempt::Attempt;
pub use crate::code::{Code, generate, generate_override};
pub use crate::hash::{
    DefaultEngine, Engine, HashSalt, StoredHash, Target, Unverifiable, Verified, hash, self_test,
    verify,
};
pub use crate::id::OperationId;
pub use crate::report::usage;

pub use self::typed::{burn, check, consume};

use crate::audit::event::{Event, EventKind, EventOutcome, Reason, RevokeReason};
use crate::code::SetSize;
use crate::code::format::Format;
use crate::config::Config;
use crate::context::Context;
use crate::error::Error;
use crate::error::value::ValueError;
use crate::hash::Equality;
use crate::hash::acceptance::{Acceptance, SKEW, Scheme};
use crate::id::{Revision, SetId, UserId};
use crate::outcome::{
    Activation, Effect, Level, Notice, NoticeKind, PreparedStatus, SlotStatus, Status,
};
use crate::repository::record::{CodeSet, OverrideCode, Record, Slot, StoredSlot, Throttle};
use crate::timestamp::Timestamp;

/// The circumstances of one transition.
#[derive(Debug, Clone, Copy)]
pub struct Operation<'a> {
    /// The user whose record it is.
    pub user: &'a UserId,
    /// The actor, the time and the address.
    pub context: &'a Context,
    /// The application's configuration.
    pub config: &'a Config,
    /// The conditions under which a set is in force.
    pub acceptance: &'a Acceptance,
    /// The number of codes left at or below which a user is low.
    pub low_threshold: u8,
    /// The operation's own id, which is stored in the record.
    pub id: OperationId,
    /// The revision of the record after the write. Draw a new one for every write.
    pub revision: Revision,
}

/// A change that has to be written: a record and the events of that step, in one atomic,
/// conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "write this step before you report the outcome"]
pub struct Step {
    /// The new record.
    pub record: Record,
    /// The events, to be kept by the same write.
    pub events: Vec<Event>,
}

/// The outcome of an operation, and the step to write before it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "write its step before you report the outcome"]
pub struct Transition<T> {
    /// The outcome of the operation. Write `step` before you report it.
    pub outcome: T,
    /// The change to write first; `None` where nothing changes.
    pub step: Option<Step>,
    /// Events of an outcome that changes nothing: reported to the sink, never stored.
    pub unstored: Vec<Event>,
}

/// The state of an operation that compares a typed code.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "`Compare` asks for a `verify` before the outcome is known"]
#[expect(
    clippy::large_enum_variant,
    reason = "moved once an operation; a box would be one more allocation"
)]
pub enum Progress<T> {
    /// Compare the attempt with this target ([`verify`]), then call again with the result.
    Compare(Target),
    /// The operation is decided.
    Done(Transition<T>),
}

/// The hashes of a new set, as they will be stored.
#[derive(Debug, Clone)]
pub struct NewSet {
    id: SetId,
    scheme: Scheme,
    hashes: Vec<StoredHash>,
}

impl NewSet {
    /// Creates a set from the hashes of its codes, that of code 1 first.
    ///
    /// # Errors
    /// [`ValueError::NewSet`] for no hashes, for more than 31, and for hashes that differ in cost or key.
    pub fn new(id: SetId, format: Format, hashes: Vec<StoredHash>) -> Result<Self, ValueError> {
        let scheme = match hashes.first() {
            Some(first) => Scheme::new(format, first.cost(), first.key().cloned()),
            None => return Err(ValueError::NewSet),
        };
        let fits = |hash: &StoredHash| hash.cost() == scheme.cost() && hash.key() == scheme.key();
        if hashes.len() > usize::from(SetSize::MAX) || !hashes.iter().all(fits) {
            return Err(ValueError::NewSet);
        }
        Ok(Self { id, scheme, hashes })
    }
}

impl<T> Transition<T> {
    fn unchanged(outcome: T) -> Self {
        Self {
            outcome,
            step: None,
            unstored: Vec::new(),
        }
    }

    fn reporting(outcome: T, event: Event) -> Self {
        Self {
            outcome,
            step: None,
            unstored: vec![event],
        }
    }

    fn map<U>(self, f: impl FnOnce(T) -> U) -> Transition<U> {
        Transition {
            outcome: f(self.outcome),
            step: self.step,
            unstored: self.unstored,
        }
    }
}

impl Operation<'_> {
    fn now(&self) -> Timestamp {
        self.context.now()
    }

    /// Returns the transition that writes this record with these events; the events get their ids
    /// here.
    fn step<T>(&self, outcome: T, mut record: Record, mut events: Vec<Event>) -> Transition<T> {
        events.extend(self.forget_the_future(&mut record));
        record.add_operation(self.id);
        let events = (0..).zip(events).map(|(i, event)| Event {
            id: self.revision.event(i),
            ..event
        });
        let step = Step {
            record,
            events: events.collect(),
        };
        Transition {
            outcome,
            step: Some(step),
            unstored: Vec::new(),
        }
    }

    fn event(&self, kind: EventKind, outcome: EventOutcome) -> Event {
        Event::new(
            self.revision.event(0),
            kind,
            outcome,
            Some(self.user),
            self.context,
        )
    }

    fn success(&self, kind: EventKind) -> Event {
        self.event(kind, EventOutcome::Success)
    }

    fn failure(&self, kind: EventKind, reason: impl Into<Reason>) -> Event {
        self.event(kind, EventOutcome::Failure).because(reason)
    }

    fn notice(&self, kind: NoticeKind, set: Option<&CodeSet>) -> Notice {
        Notice {
            user: self.user.clone(),
            kind,
            at: self.now(),
            label: set.map(|set| set.id.label()),
            // A set that is not in force has no codes left.
            remaining: set.map(|set| self.standing(set).map_or(0, |()| set.unused())),
        }
    }

    /// Checks whether a set is in force.
    fn standing(&self, set: &CodeSet) -> Result<(), Reason> {
        set.in_force(self.acceptance, self.now())
    }

    /// Checks whether an override code is unused and in force.
    fn override_standing(&self, code: &OverrideCode) -> Result<(), Reason> {
        if self.now() >= code.expires_at {
            return Err(Reason::Expired);
        }
        if self.acceptance.is_void(code.issued_at, self.now()) {
            return Err(Reason::Void);
        }
        if code.used_at.is_some() || !self.is_plausible_override(code) {
            return Err(Reason::NoOverride);
        }
        self.acceptance.check(&code.scheme)
    }

    /// Returns whether a clock that was right can have written the times of an override.
    fn is_plausible_override(&self, code: &OverrideCode) -> bool {
        let longest = code
            .issued_at
            .saturating_add(self.config.max_override_lifetime);
        code.issued_at <= self.latest_present() && code.expires_at <= longest
    }

    /// Returns the latest moment that does not count as future. A clock that was ahead wrote a
    /// later one.
    fn latest_present(&self) -> Timestamp {
        self.now().saturating_add(SKEW)
    }

    /// Returns the end of the lock, if it is in force. A lock that ends later than one set now
    /// could was written by a clock that was ahead.
    fn locked_until(&self, throttle: &Throttle) -> Option<Timestamp> {
        let latest = self.latest_present().saturating_add(Config::LOCK_FOR);
        throttle
            .locked_until
            .filter(|until| self.now() < *until && *until <= latest)
    }

    fn is_void_as_future(&self, set: &CodeSet) -> bool {
        let acceptance = self.acceptance;
        acceptance.is_void_as_future(set.prepared_at, self.now())
    }

    /// Removes what a clock that was ahead has written and what is therefore not in force, so that
    /// it does not come into force when the clocks reach that time. Returns an event for each set
    /// and override that it removed.
    ///
    /// An override with a longer lifetime than this node's configuration allows stays: a node that
    /// is configured for more issued it.
    fn forget_the_future(&self, record: &mut Record) -> Vec<Event> {
        let latest = self.latest_present();
        let lock = &mut record.throttle.locked_until;
        lock.take_if(|until| *until > latest.saturating_add(Config::LOCK_FOR));
        let overlong = |code: &OverrideCode| {
            code.expires_at > code.issued_at.saturating_add(Config::LONGEST_OVERRIDE)
        };
        let override_code = record
            .override_code
            .take_if(|code| code.issued_at > latest || overlong(code));
        let prepared = record.prepared.take_if(|set| set.prepared_at > latest);
        let active = record.active.take_if(|set| self.is_void_as_future(set));
        let void = |kind, set| self.success(kind).because(Reason::Void).of_set(set);
        let unused = override_code.filter(|code| code.used_at.is_none());
        [
            unused.map(|code| void(EventKind::RevokeOverride, code.id)),
            prepared.map(|set| void(EventKind::Discard, set.id)),
            active.map(|set| void(EventKind::Revoke, set.id).leaving(0)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Returns whether a prepared set can never be activated any more, whatever formats, keys and
    /// costs are accepted.
    fn has_lapsed(&self, set: &CodeSet) -> bool {
        let age = self.now().saturating_since(set.prepared_at);
        let over = [Err(Reason::Expired), Err(Reason::Void)];
        age >= Config::PREPARED_LIFETIME || over.contains(&self.standing(set))
    }
}

fn new_code_set(set: NewSet, operation: &Operation<'_>) -> CodeSet {
    let slots = (1..).zip(set.hashes).map(|(number, hash)| {
        StoredSlot::Intact(Slot {
            number,
            hash,
            used_at: None,
            burned_at: None,
        })
    });
    CodeSet {
        id: set.id,
        scheme: set.scheme,
        prepared_at: operation.now(),
        activated_at: None,
        expires_at: operation
            .config
            .set_lifetime
            .map(|life| operation.now().saturating_add(life)),
        proved_at: None,
        slots: slots.collect(),
    }
}

/// Adds a prepared set beside the active one, which stays valid. An older prepared set is dropped.
///
/// # Errors
/// [`Error::Erased`] where the user was erased.
pub fn prepare(
    record: &Record,
    set: NewSet,
    operation: &Operation<'_>,
) -> Result<Transition<()>, Error> {
    if record.erased_at.is_some() {
        return Err(Error::Erased);
    }
    let mut record = record.clone();
    let set = new_code_set(set, operation);
    let dropped = replaced(&record, operation);
    let event = operation
        .success(EventKind::Prepare)
        .of_set(set.id)
        .leaving(set.unused());
    record.prepared = Some(set);
    Ok(operation.step((), record, dropped.into_iter().chain([event]).collect()))
}

/// Returns the event of a prepared set that a newer one replaces.
fn replaced(record: &Record, operation: &Operation<'_>) -> Option<Event> {
    let set = record.prepared.as_ref()?;
    Some(
        operation
            .success(EventKind::Discard)
            .because(Reason::Replaced)
            .of_set(set.id),
    )
}

/// Removes the override from a record, for a newer one. Returns the event of an override that was
/// not used.
fn replace_override(record: &mut Record, operation: &Operation<'_>) -> Option<Event> {
    let damaged = record.damaged_override.take();
    let event = operation
        .success(EventKind::RevokeOverride)
        .because(Reason::Replaced);
    match record.override_code.take() {
        Some(code) if code.used_at.is_some() => None,
        Some(code) => Some(event.of_set(code.id)),
        None => damaged.map(|_| event),
    }
}

/// Activates a new set at once, without a confirm step.
///
/// # Errors
/// [`Error::Erased`] where the user was erased.
pub fn issue(
    record: &Record,
    set: NewSet,
    operation: &Operation<'_>,
) -> Result<Transition<Notice>, Error> {
    if record.erased_at.is_some() {
        return Err(Error::Erased);
    }
    let set = new_code_set(set, operation);
    let prepared = operation
        .success(EventKind::Prepare)
        .of_set(set.id)
        .leaving(set.unused());
    Ok(activate_set(record, set, vec![prepared], operation))
}

fn activate_set(
    record: &Record,
    set: CodeSet,
    mut events: Vec<Event>,
    operation: &Operation<'_>,
) -> Transition<Notice> {
    let mut record = record.clone();
    let set = CodeSet {
        activated_at: Some(operation.now()),
        ..set
    };
    let event = operation
        .success(EventKind::Activate)
        .of_set(set.id)
        .leaving(set.unused());
    let kind = match record.active {
        Some(_) => NoticeKind::Replaced,
        None => NoticeKind::Issued,
    };
    events.push(if record.active.is_some() {
        event.because(Reason::Replaced)
    } else {
        event
    });
    let notice = operation.notice(kind, Some(&set));
    if record.prepared.as_ref().is_some_and(|old| old.id != set.id) {
        events.extend(replaced(&record, operation));
    }
    record.prepared = None;
    // Older codes are void, an override too.
    events.extend(replace_override(&mut record, operation));
    record.active = Some(set);
    record.throttle = Throttle::default();
    operation.step(notice, record, events)
}

/// Returns the prepared set, if it can still be activated.
fn prepared_set<'r>(
    record: &'r Record,
    set: SetId,
    operation: &Operation<'_>,
) -> Option<&'r CodeSet> {
    record.prepared.as_ref().filter(|prepared| {
        prepared.id == set
            && prepared.prepared_at <= operation.latest_present()
            && !operation.has_lapsed(prepared)
            && operation.standing(prepared).is_ok()
    })
}

/// Activates a prepared set. All older codes stop working, and the count of wrong codes is cleared.
pub fn activate(record: &Record, set: SetId, operation: &Operation<'_>) -> Transition<Activation> {
    match activatable(record, set, operation) {
        Err(outcome) => not_activated(outcome, set, operation),
        Ok(prepared) => {
            activate_set(record, prepared.clone(), Vec::new(), operation).map(Activation::Activated)
        }
    }
}

/// Activates a prepared set, if the attempt is one of its codes. The code is not spent.
///
/// The code is compared as for [`consume`]. A wrong code changes nothing and is not counted,
/// because the sheet was shown in this very session.
pub fn activate_confirmed(
    record: &Record,
    set: SetId,
    attempt: &Attempt,
    verified: Option<&Verified>,
    operation: &Operation<'_>,
) -> Progress<Activation> {
    let prepared = match activatable(record, set, operation) {
        Err(outcome) => return Progress::Done(not_activated(outcome, set, operation)),
        Ok(prepared) => prepared,
    };
    let slot = prepared.slot(attempt.slot());
    let is_lost = slot.is_none() && prepared.may_have_lost(attempt.slot());
    let slot = slot.filter(|_| prepared.scheme.format() == attempt.format());
    let target = slot.map_or(Target::Nothing, |slot| {
        Target::Hash(prepared.id, slot.hash.clone())
    });
    let wrong = match verified {
        Some(verified) if verified.attempt == attempt.id() && verified.target == target => {
            match verified.equality {
                Equality::Equal => None,
                Equality::Different if is_lost => Some(Reason::Malformed),
                Equality::Different => Some(Reason::Wrong),
                Equality::Unknown(why) => Some(why.into()),
            }
        }
        _ => return Progress::Compare(target),
    };
    if let Some(reason) = wrong {
        let event = operation.failure(EventKind::Activate, reason).of_set(set);
        let outcome = Activation::WrongConfirmation;
        return Progress::Done(Transition::reporting(outcome, event));
    }
    let proved = CodeSet {
        proved_at: Some(operation.now()),
        ..prepared.clone()
    };
    let transition = activate_set(record, proved, Vec::new(), operation);
    Progress::Done(transition.map(Activation::Activated))
}

/// Returns the prepared set, if it can be activated.
fn activatable<'r>(
    record: &'r Record,
    set: SetId,
    operation: &Operation<'_>,
) -> Result<&'r CodeSet, Activation> {
    match &record.active {
        Some(active) if active.id == set => Err(Activation::AlreadyActive),
        _ => prepared_set(record, set, operation).ok_or(Activation::NoSuchSet),
    }
}

fn not_activated(
    outcome: Activation,
    set: SetId,
    operation: &Operation<'_>,
) -> Transition<Activation> {
    match outcome {
        Activation::NoSuchSet => {
            let event = operation.failure(EventKind::Activate, Reason::NoSuchSet);
            Transition::reporting(outcome, event.of_set(set))
        }
        _ => Transition::unchanged(outcome),
    }
}

/// Drops a prepared set. Does nothing if there is none with this id.
///
/// A set that is too old or not accepted now is dropped as well, so that a corrected clock or
/// configuration does not bring it back later.
pub fn discard(record: &Record, set: SetId, operation: &Operation<'_>) -> Transition<Effect> {
    if record.prepared.as_ref().is_none_or(|old| old.id != set) {
        return Transition::unchanged(Effect::Nothing);
    }
    let mut record = record.clone();
    record.prepared = None;
    operation.step(
        Effect::Done,
        record,
        vec![operation.success(EventKind::Discard).of_set(set)],
    )
}

/// Issues an override code, which works until `expires_at` even while the set is locked or
/// disabled. An earlier override becomes void. `expires_at` is clamped to the configured longest
/// lifetime from now.
///
/// # Errors
/// [`Error::Erased`] where the user was erased.
pub fn issue_override(
    record: &Record,
    id: SetId,
    format: Format,
    hash: StoredHash,
    expires_at: Timestamp,
    operation: &Operation<'_>,
) -> Result<Transition<Notice>, Error> {
    if record.erased_at.is_some() {
        return Err(Error::Erased);
    }
    let mut record = record.clone();
    let issued_at = operation.now();
    let longest = issued_at.saturating_add(operation.config.max_override_lifetime);
    let scheme = Scheme::new(format, hash.cost(), hash.key().cloned());
    let replaced = replace_override(&mut record, operation);
    record.override_code = Some(OverrideCode {
        id,
        scheme,
        hash,
        issued_at,
        expires_at: expires_at.min(longest),
        wrong_in_a_row: 0,
        used_at: None,
    });
    let notice = operation.notice(NoticeKind::OverrideIssued, record.active.as_ref());
    let event = operation.success(EventKind::IssueOverride).of_set(id);
    Ok(operation.step(
        notice,
        record,
        replaced.into_iter().chain([event]).collect(),
    ))
}

/// Voids an override code. Does nothing if there is no unused one.
///
/// An override that has expired or is not accepted now is voided as well, so that a corrected clock
/// or configuration does not bring it back later.
pub fn revoke_override(record: &Record, operation: &Operation<'_>) -> Transition<Effect> {
    let code = record.override_code.as_ref();
    let code = code.filter(|code| code.used_at.is_none());
    if code.is_none() && record.damaged_override.is_none() {
        return Transition::unchanged(Effect::Nothing);
    }
    let event = operation.success(EventKind::RevokeOverride);
    let event = match code {
        Some(code) => event.of_set(code.id),
        None => event,
    };
    let mut record = record.clone();
    record.override_code = None;
    record.damaged_override = None;
    operation.step(Effect::Done, record, vec![event])
}

/// Voids every code of a user: active, prepared and override. Uses stay in the figures. Returns
/// `None` if there was nothing to void: the operation is idempotent.
pub fn revoke_all(
    record: &Record,
    reason: RevokeReason,
    operation: &Operation<'_>,
) -> Transition<Option<Notice>> {
    let override_code = record.override_code.as_ref();
    let nothing = record.active.is_none()
        && record.prepared.is_none()
        && override_code.is_none_or(|code| code.used_at.is_some())
        && record.damaged_override.is_none();
    if nothing {
        return Transition::unchanged(None);
    }
    let notice = operation.notice(NoticeKind::Revoked, record.active.as_ref());
    let mut record = record.clone();
    let event = operation
        .success(EventKind::Revoke)
        .because(reason)
        .leaving(0);
    let event = match record.active.take() {
        Some(set) => event.of_set(set.id),
        None => event,
    };
    record.prepared = None;
    record.override_code = None;
    record.damaged_override = None;
    record.revoked_at = Some(operation.now());
    operation.step(
        Some(Notice {
            remaining: Some(0),
            ..notice
        }),
        record,
        vec![event],
    )
}

/// Clears the wrong codes counted against a user, and with them the lock and the disablement. Does
/// nothing if none are counted.
pub fn unlock(record: &Record, operation: &Operation<'_>) -> Transition<Effect> {
    if record.throttle == Throttle::default() {
        return Transition::unchanged(Effect::Nothing);
    }
    let mut record = record.clone();
    record.throttle = Throttle::default();
    let event = operation.success(EventKind::Unlock);
    operation.step(Effect::Done, record, vec![event])
}

/// Removes everything kept about a user and leaves a tombstone, so that a write still in flight
/// cannot restore it. Does nothing if the tombstone is there already.
pub fn erase(record: &Record, operation: &Operation<'_>) -> Transition<Effect> {
    if record.erased_at.is_some() {
        return Transition::unchanged(Effect::Nothing);
    }
    let record = Record {
        erased_at: Some(operation.now()),
        // Operations still in flight look for their ids, which are random and identify no user.
        operations: record.operations.clone(),
        ..Record::new()
    };
    let event = operation.success(EventKind::Erase);
    operation.step(Effect::Done, record, vec![event])
}

/// The result of purging one record.
#[expect(
    clippy::large_enum_variant,
    reason = "moved once an operation; a box would be one more allocation"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// Keep the record as it is: nothing in it is old enough.
    Keep,
    /// Write this record. It has an event for each set and override that was removed because its
    /// time lies in the future; what ended by itself has no event.
    Trim(Step),
    /// Leave the record alone: its tombstone or its active set lies in the future, and the clock
    /// may be the one that is wrong. With a clock known to be right, the set would be removed, and
    /// the tombstone dated now.
    Ahead,
    /// The grace period of the tombstone is over: remove the record, if it is still unchanged.
    Remove,
}

/// The trust that a purge puts in the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeClock {
    /// The caller knows that the clock is right.
    Right,
    /// The clock was not checked. The moment is the newest use or activation of all users that does
    /// not lie in the future, or the time of the clock where there is none. Uses age by this
    /// moment, so that a clock that is ahead does not make them old, unless codes were used or
    /// activated under it.
    Unchecked(Timestamp),
}

/// Removes what is old: uses past their retention, prepared sets never activated, expired override
/// codes, tombstones past their grace period.
#[must_use]
pub fn purge(record: &Record, clock: PurgeClock, operation: &Operation<'_>) -> Purge {
    let today = match clock {
        PurgeClock::Right => operation.now(),
        PurgeClock::Unchecked(newest) => {
            let active = record.active.as_ref();
            if active.is_some_and(|set| operation.is_void_as_future(set))
                || record
                    .erased_at
                    .is_some_and(|at| at > operation.latest_present())
            {
                return Purge::Ahead;
            }
            operation.now().min(newest)
        }
    };
    let mut trimmed = record.clone();
    let mut removed = Vec::new();
    match &mut trimmed.erased_at {
        // Its grace period would never end.
        Some(erased) if *erased > operation.latest_present() => *erased = operation.now(),
        Some(erased)
            if operation.now().saturating_since(*erased) >= operation.config.tombstone_grace =>
        {
            return Purge::Remove;
        }
        Some(_) => {}
        None => {
            trimmed.forget_uses(today, operation.config.keep_uses);
            removed = operation.forget_the_future(&mut trimmed);
            trimmed.prepared.take_if(|set| operation.has_lapsed(set));
            let ended = [Err(Reason::Expired), Err(Reason::Void)];
            let over = |code: &mut OverrideCode| ended.contains(&operation.override_standing(code));
            trimmed.override_code.take_if(over);
        }
    }
    if trimmed == *record {
        return Purge::Keep;
    }
    match operation.step((), trimmed, removed).step {
        Some(step) => Purge::Trim(step),
        None => Purge::Keep,
    }
}

/// Returns the number of codes that would be accepted now.
fn remaining(record: &Record, operation: &Operation<'_>) -> u8 {
    let active = record.active.as_ref();
    let in_force = active.filter(|set| operation.standing(set).is_ok());
    in_force.map_or(0, CodeSet::unused)
}

/// Returns the status of a user, without anything secret.
#[must_use]
pub fn status(record: &Record, operation: &Operation<'_>) -> Status {
    let active = record.active.as_ref();
    let remaining = remaining(record, operation);
    let mut slots: Vec<SlotStatus> = active
        .into_iter()
        .flat_map(CodeSet::intact)
        .map(|slot| SlotStatus {
            slot: slot.number,
            used_at: slot.used_at,
            burned_at: slot.burned_at,
        })
        .collect();
    slots.sort_unstable_by_key(|slot| slot.slot);
    let damaged =
        active.map_or(0, CodeSet::damaged) + usize::from(record.damaged_override.is_some());
    Status {
        set: active.map(|set| set.id),
        label: active.map(|set| set.id.label()),
        total: active.map_or(0, CodeSet::total),
        remaining,
        not_in_force: active.and_then(|set| operation.standing(set).err()),
        level: active.map(|_| Level::of(remaining, operation.low_threshold)),
        slots,
        damaged: u8::try_from(damaged).unwrap_or(u8::MAX),
        prepared_at: active.map(|set| set.prepared_at),
        activated_at: active.and_then(|set| set.activated_at),
        expires_at: active.and_then(|set| set.expires_at),
        proved_at: active.and_then(|set| set.proved_at),
        last_used_at: record.last_used_at,
        revoked_at: record.revoked_at,
        wrong_in_a_row: record.throttle.wrong_in_a_row,
        locked_until: operation.locked_until(&record.throttle),
        disabled_at: record.throttle.disabled_at,
        prepared: record
            .prepared
            .as_ref()
            .filter(|set| prepared_set(record, set.id, operation).is_some())
            .map(|set| PreparedStatus {
                set: set.id,
                label: set.id.label(),
                prepared_at: set.prepared_at,
            }),
        override_until: record
            .override_code
            .as_ref()
            .filter(|code| operation.override_standing(code).is_ok())
            .map(|code| code.expires_at),
    }
}

/// Returns the expiry of an override with this lifetime; `None` outside the bounds.
pub(crate) fn override_expiry(asked: Duration, operation: &Operation<'_>) -> Option<Timestamp> {
    let allowed = Duration::from_secs(60)..=operation.config.max_override_lifetime;
    allowed
        .contains(&asked)
        .then(|| operation.now().saturating_add(asked))
}
