//! The rules: what each operation makes of a record. Pure functions on values.
//!
//! Each takes the record as it was loaded and an [`Act`] (who, when, under which ids), and gives
//! a [`Transition`]: the outcome, and what has to be written before the outcome may be told to
//! anybody. [`BackupCodes`](crate::BackupCodes) does that writing; `examples/blocking.rs` does it
//! by hand.

use std::time::Duration;

use crate::code::Attempt;
use crate::config::{Config, ReissueRule};
use crate::context::Context;
use crate::event::{Event, EventKind, EventOutcome, Reason, RevokeReason};
use crate::format::Format;
use crate::hash::{Equality, StoredHash, Target, Verified};
use crate::id::{AttemptId, Revision, SetId, UserId};
use crate::outcome::{
    Activation, Burn, Check, Level, Notice, NoticeKind, PendingStatus, Receipt, Redeem, Refusal,
    Reissue, SlotStatus, Status,
};
use crate::record::{CodeSet, OverrideCode, Record, Slot, Throttle};
use crate::timestamp::Timestamp;

/// The circumstances of one transition.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// Whose record it is.
    pub user: &'a UserId,
    /// Who does it, when, and from where.
    pub context: &'a Context,
    /// The application's rules.
    pub config: &'a Config,
    /// A user with this many codes left, or fewer, is low.
    pub low_threshold: u8,
    /// The operation's own id, which is written into the record.
    pub operation: AttemptId,
    /// The revision the record will have once written. New for every write.
    pub revision: Revision,
}

/// A change that has to be written: a record and the events of that step, in one atomic,
/// conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an outcome counts only once its step is written"]
pub struct Step {
    /// The new record.
    pub record: Record,
    /// What happened, to be kept by the same write.
    pub events: Vec<Event>,
}

/// An outcome, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an outcome counts only once its step is written"]
pub struct Transition<T> {
    /// What the operation came to. Not to be told to anybody before `step` is written.
    pub outcome: T,
    /// What to write first; `None` where nothing changes.
    pub step: Option<Step>,
    /// Events of an outcome that changes nothing: offered to the sink, never stored.
    pub offered: Vec<Event>,
}

/// The state of an operation that compares a typed code.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an evaluation may have to come first"]
#[expect(
    clippy::large_enum_variant,
    reason = "moved once an operation; a box would be one more allocation"
)]
pub enum Judged<T> {
    /// Compare the attempt with this target ([`verify`](crate::verify)), then ask again.
    Evaluate(Target),
    /// Done.
    Settled(Transition<T>),
}

impl<T> Judged<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Judged<U> {
        match self {
            Self::Evaluate(target) => Judged::Evaluate(target),
            Self::Settled(transition) => Judged::Settled(transition.map(f)),
        }
    }
}

/// The user was erased, and the tombstone is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this user was erased: purge the tombstone before the id is used again")]
pub struct Erased;

/// The hashes of a new set, as they will be stored.
#[derive(Debug, Clone)]
pub struct NewSet {
    /// The set's id, which is in every hash.
    pub id: SetId,
    /// The format of its codes.
    pub format: Format,
    /// One hash a slot, beginning with slot 1.
    pub hashes: Vec<StoredHash>,
}

impl<T> Transition<T> {
    fn unchanged(outcome: T) -> Self {
        Self {
            outcome,
            step: None,
            offered: Vec::new(),
        }
    }

    fn offering(outcome: T, event: Event) -> Self {
        Self {
            outcome,
            step: None,
            offered: vec![event],
        }
    }

    fn map<U>(self, f: impl FnOnce(T) -> U) -> Transition<U> {
        Transition {
            outcome: f(self.outcome),
            step: self.step,
            offered: self.offered,
        }
    }
}

impl Act<'_> {
    fn now(&self) -> Timestamp {
        self.context.now()
    }

    /// Writes this record with these events; they get their ids here.
    fn step<T>(&self, outcome: T, mut record: Record, events: Vec<Event>) -> Transition<T> {
        record.settle(self.operation);
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
            offered: Vec::new(),
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
            // Of a set that expired or is void nothing is left.
            remaining: set.map(|set| self.standing(set).map_or(0, |()| set.unused())),
        }
    }

    /// Why a set does not count now, if it does not.
    fn standing(&self, set: &CodeSet) -> Result<(), Reason> {
        standing(set, self.now(), self.config)
    }

    fn override_counts(&self, code: &OverrideCode) -> bool {
        self.now() < code.expires_at && self.config.void_before.is_none_or(|v| code.issued_at >= v)
    }
}

fn standing(set: &CodeSet, now: Timestamp, config: &Config) -> Result<(), Reason> {
    if set.expires_at.is_some_and(|expiry| now >= expiry) {
        return Err(Reason::Expired);
    }
    if config
        .void_before
        .is_some_and(|moment| set.prepared_at < moment)
    {
        return Err(Reason::Void);
    }
    Ok(())
}

/// What an attempt is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Redeem,
    Check,
    Burn,
}

impl Purpose {
    fn kind(self) -> EventKind {
        match self {
            Self::Redeem => EventKind::Redeem,
            Self::Check => EventKind::Check,
            Self::Burn => EventKind::Burn,
        }
    }
}

/// Where in the record an attempt's slot leads.
enum Place<'r> {
    /// No evaluation, no verdict.
    Closed(Refusal),
    /// Nothing that could match and nothing that could be guessed; the work is done all the same.
    Nothing(Reason),
    /// A slot of the active set: its index, or none where the set has no such slot.
    Slot(&'r CodeSet, Option<usize>),
    /// A slot, or the override, whose stored text is damaged: of this set, where that is known.
    Damaged(Option<SetId>),
    /// The override code. `live` is false once it is used.
    Override { code: &'r OverrideCode, live: bool },
}

impl Place<'_> {
    fn target(&self, attempt: &Attempt) -> Target {
        match self {
            Self::Slot(set, Some(index)) if set.format == attempt.format() => {
                Target::Hash(set.id, set.slots[*index].hash.clone())
            }
            Self::Override { code, .. } if code.format == attempt.format() => {
                Target::Hash(code.id, code.hash.clone())
            }
            Self::Damaged(set) => Target::Malformed(set.unwrap_or(SetId::from_bytes([0; 16]))),
            _ => Target::Nothing,
        }
    }
}

fn place<'r>(record: &'r Record, attempt: &Attempt, act: &Act<'_>) -> Place<'r> {
    let now = act.now();
    let override_code = record
        .override_code
        .as_ref()
        .filter(|code| attempt.slot() == 0 && act.override_counts(code));
    // An unused override works while the set is locked or disabled.
    if let Some(code) = override_code {
        if code.used_at.is_none() {
            return Place::Override { code, live: true };
        }
    }
    if record.throttle.disabled_at.is_some() {
        return Place::Closed(Refusal::because(Reason::Disabled));
    }
    if let Some(until) = record.throttle.locked_until.filter(|until| now < *until) {
        let wait = Some(until.saturating_since(now));
        return Place::Closed(Refusal {
            wait,
            ..Refusal::because(Reason::Locked)
        });
    }
    if let Some(code) = override_code {
        return Place::Override { code, live: false };
    }
    if attempt.slot() == 0 && record.malformed_override.is_some() {
        return Place::Damaged(None);
    }
    // An override past its time was a right code once: no guess, as with an expired set.
    if let Some(code) = record
        .override_code
        .as_ref()
        .filter(|_| attempt.slot() == 0)
    {
        let expired = now >= code.expires_at;
        return Place::Nothing(if expired {
            Reason::Expired
        } else {
            Reason::Void
        });
    }
    let Some(set) = &record.active else {
        return Place::Nothing(Reason::NoCodes);
    };
    if let Err(reason) = act.standing(set) {
        return Place::Nothing(reason);
    }
    match set
        .slots
        .iter()
        .position(|slot| slot.number == attempt.slot())
    {
        Some(index) => Place::Slot(set, Some(index)),
        None if set.is_damaged_at(attempt.slot()) => Place::Damaged(Some(set.id)),
        None => Place::Slot(set, None),
    }
}

/// What an attempt came to, before it is worded for its purpose.
enum Verdict {
    Right { slot: u8, receipt: Option<Receipt> },
    Refused(Refusal),
}

fn judge(
    record: &Record,
    attempt: &Attempt,
    verified: Option<&Verified>,
    purpose: Purpose,
    act: &Act<'_>,
) -> Judged<Verdict> {
    let kind = purpose.kind();
    let place = match place(record, attempt, act) {
        Place::Closed(refusal) => {
            let event = act.failure(kind, refusal.reason);
            return Judged::Settled(Transition::offering(Verdict::Refused(refusal), event));
        }
        place => place,
    };
    let target = place.target(attempt);
    let equality = match verified {
        Some(verified) if verified.attempt == attempt.id() && verified.target == target => {
            verified.equality
        }
        _ => return Judged::Evaluate(target),
    };
    Judged::Settled(match (place, equality) {
        (Place::Nothing(reason), Equality::Different | Equality::Unknown(_)) => {
            Transition::offering(
                Verdict::Refused(Refusal::because(reason)),
                act.failure(kind, reason),
            )
        }
        // A fault of the store or of the configuration, not of the user: told, not counted. It
        // changes nothing, so it is not stored either.
        (place, Equality::Unknown(why)) => {
            let set = match place {
                Place::Override { code, .. } => Some(code.id),
                Place::Slot(set, _) => Some(set.id),
                Place::Damaged(set) => set,
                Place::Closed(_) | Place::Nothing(_) => None,
            };
            let event = Event {
                set,
                ..act.failure(kind, why)
            };
            Transition::offering(Verdict::Refused(Refusal::because(why)), event)
        }
        (Place::Override { code, live }, Equality::Equal) => {
            right_override(record, code, live, purpose, act)
        }
        (Place::Override { code, live: true }, Equality::Different) => {
            wrong_override(record, code, kind, act)
        }
        (Place::Override { code, live: false }, Equality::Different) => {
            wrong(record, code.id, kind, act)
        }
        (Place::Slot(set, Some(index)), Equality::Equal) => right(record, set, index, purpose, act),
        (Place::Slot(set, _), _) => wrong(record, set.id, kind, act),
        (Place::Closed(_) | Place::Damaged(_), _) | (Place::Nothing(_), Equality::Equal) => {
            unreachable_refusal(kind, act)
        }
    })
}

/// Cases that the types allow and `judge` has dealt with before; refused all the same.
fn unreachable_refusal(kind: EventKind, act: &Act<'_>) -> Transition<Verdict> {
    let refusal = Refusal::because(Reason::NoCodes);
    Transition::offering(
        Verdict::Refused(refusal),
        act.failure(kind, Reason::NoCodes),
    )
}

fn right(
    record: &Record,
    set: &CodeSet,
    index: usize,
    purpose: Purpose,
    act: &Act<'_>,
) -> Transition<Verdict> {
    let kind = purpose.kind();
    let slot = &set.slots[index];
    let spent = match slot {
        Slot {
            used_at: Some(_), ..
        } => Some(Reason::Used),
        Slot {
            burned_at: Some(_), ..
        } => Some(Reason::Burned),
        _ => None,
    };
    if let Some(reason) = spent {
        // Logged, not counted: a double click and a race end here.
        let events = vec![act.failure(kind, reason).of_set(set.id)];
        return act.step(
            Verdict::Refused(Refusal::because(reason)),
            record.clone(),
            events,
        );
    }
    let mut set = set.clone();
    let mut record = record.clone();
    match purpose {
        Purpose::Redeem => set.slots[index].used_at = Some(act.now()),
        Purpose::Burn => set.slots[index].burned_at = Some(act.now()),
        Purpose::Check => {}
    }
    let remaining = set.unused();
    let mut events = vec![act.success(kind).of_set(set.id).leaving(remaining)];
    let level = Level::of(remaining, act.low_threshold);
    if purpose != Purpose::Check {
        let before = Level::of(remaining.saturating_add(1), act.low_threshold);
        let crossed = match level {
            Level::Exhausted => Some(EventKind::Exhausted),
            Level::Low if before == Level::Ok => Some(EventKind::Low),
            Level::Low | Level::Ok => None,
        };
        events.extend(crossed.map(|kind| act.success(kind).of_set(set.id).leaving(remaining)));
    }
    let mut receipt = None;
    if purpose == Purpose::Redeem {
        record.throttle = Throttle::default();
        record.add_use(act.now(), act.config.keep_uses);
        receipt = Some(Receipt {
            slot: slot.number,
            remaining,
            level,
            reissue: reissue(level, act.config),
            notice: act.notice(NoticeKind::Used, Some(&set)),
        });
    }
    let number = slot.number;
    record.active = Some(set);
    act.step(
        Verdict::Right {
            slot: number,
            receipt,
        },
        record,
        events,
    )
}

fn reissue(level: Level, config: &Config) -> Reissue {
    match (level, config.reissue) {
        (Level::Exhausted, _) | (_, ReissueRule::AfterEveryUse) => Reissue::Required,
        (Level::Low, ReissueRule::WhenLow) => Reissue::Suggested,
        (Level::Ok, ReissueRule::WhenLow) => Reissue::NotNeeded,
    }
}

fn right_override(
    record: &Record,
    code: &OverrideCode,
    live: bool,
    purpose: Purpose,
    act: &Act<'_>,
) -> Transition<Verdict> {
    let kind = purpose.kind();
    let event = |event: Event| event.of_set(code.id);
    if !live {
        let events = vec![event(act.failure(kind, Reason::Used))];
        return act.step(
            Verdict::Refused(Refusal::because(Reason::Used)),
            record.clone(),
            events,
        );
    }
    let mut record = record.clone();
    let remaining = remaining(&record, act.now(), act.config);
    let mut events = vec![event(act.success(kind).because(Reason::Override)).leaving(remaining)];
    let mut receipt = None;
    match purpose {
        Purpose::Redeem => {
            record.override_code = Some(OverrideCode {
                used_at: Some(act.now()),
                ..code.clone()
            });
            // The run is over, but a disabled set stays so: only a new set or an unlock changes
            // that (NIST SP 800-63B-4, 3.2.2).
            record.throttle.locked_until = None;
            if record.throttle.disabled_at.is_none() {
                record.throttle.run = 0;
            }
            record.add_use(act.now(), act.config.keep_uses);
            let level = Level::of(remaining, act.low_threshold);
            receipt = Some(Receipt {
                slot: 0,
                remaining,
                level,
                // Whoever needed an override has no sheet at hand.
                reissue: Reissue::Required,
                notice: Notice {
                    remaining: Some(remaining),
                    ..act.notice(NoticeKind::OverrideUsed, record.active.as_ref())
                },
            });
        }
        Purpose::Burn => {
            record.override_code = None;
            events.push(event(
                act.success(EventKind::RevokeOverride)
                    .because(Reason::Burned),
            ));
        }
        Purpose::Check => {}
    }
    act.step(Verdict::Right { slot: 0, receipt }, record, events)
}

fn wrong_override(
    record: &Record,
    code: &OverrideCode,
    kind: EventKind,
    act: &Act<'_>,
) -> Transition<Verdict> {
    let mut record = record.clone();
    let run = code.run.saturating_add(1);
    let mut events = vec![act.failure(kind, Reason::Wrong).of_set(code.id)];
    if run >= Config::OVERRIDE_RUN {
        record.override_code = None;
        let revoked = act
            .success(EventKind::RevokeOverride)
            .because(Reason::TooManyWrong);
        events.push(revoked.of_set(code.id));
    } else {
        record.override_code = Some(OverrideCode {
            run,
            ..code.clone()
        });
    }
    let tries_left = Some(Config::OVERRIDE_RUN.saturating_sub(run));
    let refusal = Refusal {
        tries_left,
        ..Refusal::because(Reason::Wrong)
    };
    act.step(Verdict::Refused(refusal), record, events)
}

fn wrong(record: &Record, set: SetId, kind: EventKind, act: &Act<'_>) -> Transition<Verdict> {
    let mut record = record.clone();
    let limit = act.config.lifetime_run;
    let run = record.throttle.run.saturating_add(1);
    record.throttle.run = run;
    let mut refusal = Refusal::because(Reason::Wrong);
    let mut events = vec![act.failure(kind, Reason::Wrong).of_set(set)];
    let until_lock = Config::LOCK_EVERY - run % Config::LOCK_EVERY;
    if run >= limit {
        record.throttle.disabled_at = Some(act.now());
        record.throttle.locked_until = None;
        refusal.tries_left = Some(0);
        refusal.notice = Some(act.notice(NoticeKind::Disabled, record.active.as_ref()));
        events.push(
            act.success(EventKind::Disable)
                .because(Reason::TooManyWrong)
                .of_set(set),
        );
    } else if until_lock == Config::LOCK_EVERY {
        record.throttle.locked_until = Some(act.now().saturating_add(Config::LOCK_FOR));
        refusal.tries_left = Some(0);
        refusal.wait = Some(Config::LOCK_FOR);
        refusal.notice = Some(act.notice(NoticeKind::Locked, record.active.as_ref()));
        events.push(
            act.success(EventKind::Lock)
                .because(Reason::TooManyWrong)
                .of_set(set),
        );
    } else {
        refusal.tries_left = Some(until_lock.min(limit - run));
    }
    act.step(Verdict::Refused(refusal), record, events)
}

/// Redeems: decides on an attempt and, where it is right, spends the code.
///
/// Ask with `verified: None` first. [`Judged::Evaluate`] names the hash to compare with;
/// [`verify`](crate::verify) makes the comparison, and with its result this function settles.
/// A verification of another attempt, or of a hash that is no longer in the slot, is not taken:
/// the answer is then `Evaluate` again.
///
/// # Security
/// The outcome must not be acted upon before its [`Step`] is written, conditionally on the
/// record being unchanged since it was loaded.
pub fn consume(
    record: &Record,
    attempt: &Attempt,
    verified: Option<&Verified>,
    act: &Act<'_>,
) -> Judged<Redeem> {
    judge(record, attempt, verified, Purpose::Redeem, act).map(|verdict| match verdict {
        Verdict::Right {
            receipt: Some(receipt),
            ..
        } => Redeem::Accepted(receipt),
        Verdict::Right { receipt: None, .. } => Redeem::Refused(Refusal::because(Reason::NoCodes)),
        Verdict::Refused(refusal) => Redeem::Refused(refusal),
    })
}

/// Tries a code without spending it, on the same budget of wrong codes as [`consume`]. Success
/// neither counts nor clears.
pub fn check(
    record: &Record,
    attempt: &Attempt,
    verified: Option<&Verified>,
    act: &Act<'_>,
) -> Judged<Check> {
    judge(record, attempt, verified, Purpose::Check, act).map(|verdict| match verdict {
        Verdict::Right { slot, .. } => Check::Valid(slot),
        Verdict::Refused(refusal) => Check::Refused(refusal),
    })
}

/// Voids a leaked code by value, on the same budget of wrong codes as [`consume`]. The answer is
/// the same whether the code was right or not; where the stored hash cannot be checked, and so
/// nothing was voided, it is a refusal, which depends on the slot alone.
pub fn burn(
    record: &Record,
    attempt: &Attempt,
    verified: Option<&Verified>,
    act: &Act<'_>,
) -> Judged<Burn> {
    judge(record, attempt, verified, Purpose::Burn, act).map(|verdict| match verdict {
        Verdict::Refused(refusal)
            if matches!(
                refusal.reason,
                Reason::Locked
                    | Reason::Disabled
                    | Reason::UnknownKey
                    | Reason::CostAboveCeiling
                    | Reason::CostBelowFloor
                    | Reason::Malformed
            ) =>
        {
            Burn::Refused(refusal)
        }
        Verdict::Refused(refusal) => Burn::Done(refusal.notice),
        Verdict::Right { .. } => Burn::Done(None),
    })
}

fn new_code_set(set: NewSet, act: &Act<'_>) -> CodeSet {
    let slots = (1..).zip(set.hashes).map(|(number, hash)| Slot {
        number,
        hash,
        used_at: None,
        burned_at: None,
    });
    CodeSet {
        id: set.id,
        format: set.format,
        prepared_at: act.now(),
        activated_at: None,
        expires_at: act
            .config
            .set_lifetime
            .map(|life| act.now().saturating_add(life)),
        slots: slots.collect(),
        malformed: Vec::new(),
    }
}

/// Puts a new set beside the active one, which stays valid. An older prepared set is dropped.
///
/// # Errors
/// [`Erased`] where the user was erased.
pub fn prepare(record: &Record, set: NewSet, act: &Act<'_>) -> Result<Transition<()>, Erased> {
    if record.erased_at.is_some() {
        return Err(Erased);
    }
    let mut record = record.clone();
    let set = new_code_set(set, act);
    let dropped = record.pending.take().map(|old| discarded(&old, act));
    let event = act
        .success(EventKind::Prepare)
        .of_set(set.id)
        .leaving(set.unused());
    record.pending = Some(set);
    Ok(act.step((), record, dropped.into_iter().chain([event]).collect()))
}

/// The event of a prepared set that a newer one pushes aside.
fn discarded(set: &CodeSet, act: &Act<'_>) -> Event {
    act.success(EventKind::Discard)
        .because(Reason::Replaced)
        .of_set(set.id)
}

/// Makes a new set the only one at once, without a confirm step.
///
/// # Errors
/// [`Erased`] where the user was erased.
pub fn issue(record: &Record, set: NewSet, act: &Act<'_>) -> Result<Transition<Notice>, Erased> {
    if record.erased_at.is_some() {
        return Err(Erased);
    }
    let set = new_code_set(set, act);
    let prepared = act
        .success(EventKind::Prepare)
        .of_set(set.id)
        .leaving(set.unused());
    Ok(put_in_force(record, set, vec![prepared], act))
}

fn put_in_force(
    record: &Record,
    set: CodeSet,
    mut events: Vec<Event>,
    act: &Act<'_>,
) -> Transition<Notice> {
    let mut record = record.clone();
    let set = CodeSet {
        activated_at: Some(act.now()),
        ..set
    };
    let event = act
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
    let notice = act.notice(kind, Some(&set));
    let pushed_aside = record.pending.take().filter(|old| old.id != set.id);
    events.extend(pushed_aside.map(|old| discarded(&old, act)));
    // Older codes are void, and an override is one.
    record.malformed_override = None;
    let overridden = record
        .override_code
        .take()
        .filter(|code| code.used_at.is_none());
    events.extend(overridden.map(|code| {
        act.success(EventKind::RevokeOverride)
            .because(Reason::Replaced)
            .of_set(code.id)
    }));
    record.active = Some(set);
    record.throttle = Throttle::default();
    record.forget_uses(act.now(), act.config.keep_uses);
    act.step(notice, record, events)
}

/// A prepared set that can still be activated.
fn pending<'r>(record: &'r Record, set: SetId, act: &Act<'_>) -> Option<&'r CodeSet> {
    record.pending.as_ref().filter(|pending| {
        let age = act.now().saturating_since(pending.prepared_at);
        pending.id == set && age < Config::PENDING_LIFETIME && act.standing(pending).is_ok()
    })
}

/// Makes a prepared set the only one. All older codes stop working, wrong codes are forgotten.
///
/// With a confirmation, the user has typed one code of the new sheet, which is not spent: it is
/// compared as for [`consume`]. A wrong one changes nothing and is not counted, as the sheet was
/// shown in this very session.
pub fn activate(
    record: &Record,
    set: SetId,
    confirmation: Option<(&Attempt, Option<&Verified>)>,
    act: &Act<'_>,
) -> Judged<Activation> {
    if record
        .active
        .as_ref()
        .is_some_and(|active| active.id == set)
    {
        return Judged::Settled(Transition::unchanged(Activation::AlreadyActive));
    }
    let Some(pending) = pending(record, set, act) else {
        let event = act
            .failure(EventKind::Activate, Reason::NoSuchSet)
            .of_set(set);
        return Judged::Settled(Transition::offering(Activation::NoSuchSet, event));
    };
    if let Some((attempt, verified)) = confirmation {
        let slot = pending
            .slots
            .iter()
            .find(|slot| slot.number == attempt.slot() && pending.format == attempt.format());
        let target = match slot {
            Some(slot) => Target::Hash(pending.id, slot.hash.clone()),
            None if pending.is_damaged_at(attempt.slot()) => Target::Malformed(pending.id),
            None => Target::Nothing,
        };
        match verified {
            Some(verified) if verified.attempt == attempt.id() && verified.target == target => {
                let why = match verified.equality {
                    Equality::Equal => None,
                    Equality::Different => Some(Reason::Wrong),
                    Equality::Unknown(why) => Some(why.into()),
                };
                if let Some(why) = why {
                    let event = act.failure(EventKind::Activate, why).of_set(set);
                    let outcome = Activation::WrongConfirmation;
                    return Judged::Settled(Transition::offering(outcome, event));
                }
            }
            _ => return Judged::Evaluate(target),
        }
    }
    let transition = put_in_force(record, pending.clone(), Vec::new(), act);
    Judged::Settled(transition.map(Activation::Activated))
}

/// Drops a prepared set. Nothing happens where there is no such set.
pub fn discard(record: &Record, set: SetId, act: &Act<'_>) -> Transition<()> {
    if record
        .pending
        .as_ref()
        .is_none_or(|pending| pending.id != set)
    {
        return Transition::unchanged(());
    }
    let mut record = record.clone();
    record.pending = None;
    act.step(
        (),
        record,
        vec![act.success(EventKind::Discard).of_set(set)],
    )
}

/// Issues an override code, which works until `expires_at` even while the set is locked or
/// disabled. An earlier override is void.
///
/// # Errors
/// [`Erased`] where the user was erased.
pub fn issue_override(
    record: &Record,
    id: SetId,
    format: Format,
    hash: StoredHash,
    expires_at: Timestamp,
    act: &Act<'_>,
) -> Result<Transition<Notice>, Erased> {
    if record.erased_at.is_some() {
        return Err(Erased);
    }
    let mut record = record.clone();
    let issued_at = act.now();
    record.malformed_override = None;
    let unused = record
        .override_code
        .take()
        .filter(|old| old.used_at.is_none());
    let replaced = unused.map(|old| {
        act.success(EventKind::RevokeOverride)
            .because(Reason::Replaced)
            .of_set(old.id)
    });
    record.override_code = Some(OverrideCode {
        id,
        format,
        hash,
        issued_at,
        expires_at,
        run: 0,
        used_at: None,
    });
    let notice = act.notice(NoticeKind::OverrideIssued, record.active.as_ref());
    let event = act.success(EventKind::IssueOverride).of_set(id);
    Ok(act.step(
        notice,
        record,
        replaced.into_iter().chain([event]).collect(),
    ))
}

/// Voids an override code. Nothing happens where there is none.
pub fn revoke_override(record: &Record, act: &Act<'_>) -> Transition<()> {
    if record.override_code.is_none() && record.malformed_override.is_none() {
        return Transition::unchanged(());
    }
    let mut record = record.clone();
    let code = record.override_code.take();
    record.malformed_override = None;
    let event = act.success(EventKind::RevokeOverride);
    let event = code.map_or(event.clone(), |code| event.of_set(code.id));
    act.step((), record, vec![event])
}

/// Voids every code of a user: active, prepared and override. Uses stay in the figures. `None`
/// where there was nothing to void, so that a second call does no harm.
pub fn revoke_all(
    record: &Record,
    reason: RevokeReason,
    act: &Act<'_>,
) -> Transition<Option<Notice>> {
    let nothing = record.active.is_none()
        && record.pending.is_none()
        && record.override_code.is_none()
        && record.malformed_override.is_none();
    if nothing {
        return Transition::unchanged(None);
    }
    let notice = act.notice(NoticeKind::Revoked, record.active.as_ref());
    let mut record = record.clone();
    let event = act.success(EventKind::Revoke).because(reason).leaving(0);
    let event = match record.active.take() {
        Some(set) => event.of_set(set.id),
        None => event,
    };
    record.pending = None;
    record.override_code = None;
    record.malformed_override = None;
    record.revoked_at = Some(act.now());
    act.step(
        Some(Notice {
            remaining: Some(0),
            ..notice
        }),
        record,
        vec![event],
    )
}

/// Clears the wrong codes counted against a user, and with them lock and disablement.
pub fn unlock(record: &Record, act: &Act<'_>) -> Transition<()> {
    if record.throttle == Throttle::default() {
        return Transition::unchanged(());
    }
    let mut record = record.clone();
    record.throttle = Throttle::default();
    act.step((), record, vec![act.success(EventKind::Unlock)])
}

/// Removes everything kept about a user and leaves a tombstone, so that a write still under way
/// cannot bring it back.
pub fn erase(record: &Record, act: &Act<'_>) -> Transition<()> {
    if record.erased_at.is_some() {
        return Transition::unchanged(());
    }
    let record = Record {
        erased_at: Some(act.now()),
        // Operations still under way look for their ids, which are random and name nobody.
        settled: record.settled.clone(),
        ..Record::new()
    };
    act.step((), record, vec![act.success(EventKind::Erase)])
}

/// What purging makes of a record.
#[expect(
    clippy::large_enum_variant,
    reason = "moved once an operation; a box would be one more allocation"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// Nothing is old enough.
    Keep,
    /// Write this smaller record. No events: nothing ended that was still good.
    Trim(Step),
    /// The tombstone has stood long enough: remove the record, if it is still unchanged.
    Remove,
}

/// Forgets what is old: uses beyond their time, prepared sets never activated, override codes
/// past their end, tombstones past their grace.
#[must_use]
pub fn purge(record: &Record, act: &Act<'_>) -> Purge {
    if let Some(erased) = record.erased_at {
        let old = act.now().saturating_since(erased) >= act.config.tombstone_grace;
        return if old { Purge::Remove } else { Purge::Keep };
    }
    let mut trimmed = record.clone();
    trimmed.forget_uses(act.now(), act.config.keep_uses);
    trimmed.pending = trimmed
        .pending
        .take()
        .filter(|set| pending(record, set.id, act).is_some());
    trimmed.override_code = trimmed
        .override_code
        .take()
        .filter(|code| act.override_counts(code));
    if trimmed == *record {
        return Purge::Keep;
    }
    match act.step((), trimmed, Vec::new()).step {
        Some(step) => Purge::Trim(step),
        None => Purge::Keep,
    }
}

/// Codes that would be accepted now, were they typed.
pub(crate) fn remaining(record: &Record, now: Timestamp, config: &Config) -> u8 {
    let counts = |set: &&CodeSet| standing(set, now, config).is_ok();
    record
        .active
        .as_ref()
        .filter(counts)
        .map_or(0, CodeSet::unused)
}

/// What a user has, without anything secret.
#[must_use]
pub fn status(record: &Record, act: &Act<'_>) -> Status {
    let now = act.now();
    let active = record.active.as_ref();
    let remaining = remaining(record, now, act.config);
    let mut slots: Vec<SlotStatus> = active
        .into_iter()
        .flat_map(|set| &set.slots)
        .map(|slot| SlotStatus {
            slot: slot.number,
            used_at: slot.used_at,
            burned_at: slot.burned_at,
        })
        .collect();
    slots.sort_unstable_by_key(|slot| slot.slot);
    let damaged = active.map_or(0, |set| set.malformed.len())
        + usize::from(record.malformed_override.is_some());
    Status {
        set: active.map(|set| set.id),
        label: active.map(|set| set.id.label()),
        total: active.map_or(0, CodeSet::total),
        remaining,
        level: active.map(|_| Level::of(remaining, act.low_threshold)),
        slots,
        damaged: u8::try_from(damaged).unwrap_or(u8::MAX),
        prepared_at: active.map(|set| set.prepared_at),
        activated_at: active.and_then(|set| set.activated_at),
        expires_at: active.and_then(|set| set.expires_at),
        last_used_at: record.last_used_at,
        revoked_at: record.revoked_at,
        wrong_in_a_row: record.throttle.run,
        locked_until: record.throttle.locked_until.filter(|until| now < *until),
        disabled_at: record.throttle.disabled_at,
        pending: record
            .pending
            .as_ref()
            .filter(|set| pending(record, set.id, act).is_some())
            .map(|set| PendingStatus {
                set: set.id,
                label: set.id.label(),
                prepared_at: set.prepared_at,
            }),
        override_until: record
            .override_code
            .as_ref()
            .filter(|code| code.used_at.is_none() && act.override_counts(code))
            .map(|code| code.expires_at),
    }
}

/// The longest an override may live, given what was asked for.
pub(crate) fn override_expiry(asked: Duration, act: &Act<'_>) -> Option<Timestamp> {
    let allowed = Duration::from_secs(60)..=act.config.max_override_lifetime;
    allowed
        .contains(&asked)
        .then(|| act.now().saturating_add(asked))
}
