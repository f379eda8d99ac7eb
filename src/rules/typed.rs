//! The operations that compare a typed code: redeeming, checking, burning.

use crate::audit::event::{Event, EventKind, Reason};
use crate::code::attempt::Attempt;
use crate::config::{Config, ReissueRule};
use crate::hash::{Equality, Target, Verified};
use crate::id::SetId;
use crate::outcome::{Burn, Check, Level, Notice, NoticeKind, Receipt, Redeem, Refusal, Reissue};
use crate::repository::record::{CodeSet, OverrideCode, Record, Slot, Throttle};
use crate::rules::{Operation, Progress, Transition, remaining};

/// The part of the record to which an attempt's slot leads.
enum Candidate<'r> {
    /// The attempt is refused whatever it is compared with, and cannot count as wrong. One hash is
    /// still computed, so that timing does not tell.
    Uncountable(Option<SetId>, Reason),
    /// A slot of the active set; `None` for a number that the set never had.
    Slot(&'r CodeSet, Option<&'r Slot>),
    /// An unused override code in force.
    Override(&'r OverrideCode),
}

impl Candidate<'_> {
    fn target(&self, attempt: &Attempt) -> Target {
        match self {
            Self::Slot(set, Some(slot)) if set.scheme.format() == attempt.format() => {
                Target::Hash(set.id, slot.hash.clone())
            }
            Self::Override(code) if code.scheme.format() == attempt.format() => {
                Target::Hash(code.id, code.hash.clone())
            }
            _ => Target::Nothing,
        }
    }
}

/// Decides, before anything is compared, whether an attempt can count as wrong. Returns a refusal
/// if the set is locked or disabled: nothing is compared then.
///
/// The decision depends on the record, the conditions and the time, never on the tag: there is no
/// record for which a wrong code is not counted and a right one is accepted. Only the confirmation
/// of a prepared set counts nothing at all: its codes give no access yet.
fn locate<'r>(
    record: &'r Record,
    attempt: &Attempt,
    operation: &Operation<'_>,
) -> Result<Candidate<'r>, Refusal> {
    let now = operation.now();
    let is_override = attempt.slot() == 0;
    let override_code = record.override_code.as_ref().filter(|_| is_override);
    let overridden = override_code.map(|code| (code, operation.override_standing(code)));
    // An override works while the set is locked or disabled.
    if let Some((code, Ok(()))) = overridden {
        return Ok(Candidate::Override(code));
    }
    if record.throttle.disabled_at.is_some() {
        return Err(Refusal::because(Reason::Disabled));
    }
    if let Some(until) = operation.locked_until(&record.throttle) {
        let wait = Some(until.saturating_since(now));
        return Err(Refusal {
            wait,
            ..Refusal::because(Reason::Locked)
        });
    }
    match overridden {
        Some((code, Err(reason))) => return Ok(Candidate::Uncountable(Some(code.id), reason)),
        _ if is_override && record.damaged_override.is_some() => {
            return Ok(Candidate::Uncountable(None, Reason::Malformed));
        }
        _ if is_override => return Ok(Candidate::Uncountable(None, Reason::NoOverride)),
        _ => {}
    }
    let Some(set) = &record.active else {
        return Ok(Candidate::Uncountable(None, Reason::NoCodes));
    };
    if let Err(reason) = operation.standing(set) {
        return Ok(Candidate::Uncountable(Some(set.id), reason));
    }
    Ok(match set.slot(attempt.slot()) {
        Some(slot) => Candidate::Slot(set, Some(slot)),
        None if set.may_have_lost(attempt.slot()) => {
            Candidate::Uncountable(Some(set.id), Reason::Malformed)
        }
        None => Candidate::Slot(set, None),
    })
}

/// An unspent code that is right.
enum Match<'r> {
    Slot(&'r CodeSet, &'r Slot),
    Override(&'r OverrideCode),
}

/// Locates the candidate of an attempt and compares it: `accept` decides about a right code, and
/// everything else is refused.
fn compare<'r, T>(
    record: &'r Record,
    attempt: &Attempt,
    verified: Option<&Verified>,
    kind: EventKind,
    operation: &Operation<'_>,
    refuse: impl Fn(Refusal) -> T,
    accept: impl FnOnce(Match<'r>) -> Transition<T>,
) -> Progress<T> {
    let candidate = match locate(record, attempt, operation) {
        Ok(candidate) => candidate,
        Err(refusal) => {
            let event = operation.failure(kind, refusal.reason);
            return Progress::Done(Transition::reporting(refuse(refusal), event));
        }
    };
    let target = candidate.target(attempt);
    let equality = match verified {
        Some(verified) if verified.attempt == attempt.id() && verified.target == target => {
            verified.equality
        }
        _ => return Progress::Compare(target),
    };
    let refused = match (candidate, equality) {
        (Candidate::Uncountable(set, reason), _) => refuse_uncounted(set, reason, kind, operation),
        // The `HashParams` that compared has other keys or bounds than `operation.acceptance`: an
        // error of the application, which counts against no user.
        (Candidate::Slot(CodeSet { id, .. }, _), Equality::Unknown(why))
        | (Candidate::Override(OverrideCode { id, .. }), Equality::Unknown(why)) => {
            refuse_uncounted(Some(*id), why.into(), kind, operation)
        }
        (Candidate::Override(code), Equality::Equal) => {
            return Progress::Done(accept(Match::Override(code)));
        }
        (Candidate::Override(code), Equality::Different) => {
            count_wrong_override(record, code, kind, operation)
        }
        (Candidate::Slot(set, Some(slot)), Equality::Equal) => match slot.spent() {
            None => return Progress::Done(accept(Match::Slot(set, slot))),
            Some(reason) => {
                // Logged, not counted: a double click and a race lead here.
                let events = vec![operation.failure(kind, reason).of_set(set.id)];
                operation.step(Refusal::because(reason), record.clone(), events)
            }
        },
        (Candidate::Slot(set, _), _) => count_wrong(record, set.id, kind, operation),
    };
    Progress::Done(refused.map(refuse))
}

/// Refuses without a change, and without counting against the user: the event is reported to the
/// sink, not stored.
fn refuse_uncounted(
    set: Option<SetId>,
    reason: Reason,
    kind: EventKind,
    operation: &Operation<'_>,
) -> Transition<Refusal> {
    let event = Event {
        set,
        ..operation.failure(kind, reason)
    };
    Transition::reporting(Refusal::because(reason), event)
}

fn count_wrong_override(
    record: &Record,
    code: &OverrideCode,
    kind: EventKind,
    operation: &Operation<'_>,
) -> Transition<Refusal> {
    let mut record = record.clone();
    let wrong_in_a_row = code.wrong_in_a_row.saturating_add(1);
    let mut events = vec![operation.failure(kind, Reason::Wrong).of_set(code.id)];
    if wrong_in_a_row >= Config::REVOKE_OVERRIDE_AFTER {
        record.override_code = None;
        let revoked = operation
            .success(EventKind::RevokeOverride)
            .because(Reason::TooManyWrong);
        events.push(revoked.of_set(code.id));
    } else {
        record.override_code = Some(OverrideCode {
            wrong_in_a_row,
            ..code.clone()
        });
    }
    let tries_left = Some(Config::REVOKE_OVERRIDE_AFTER.saturating_sub(wrong_in_a_row));
    let refusal = Refusal {
        tries_left,
        ..Refusal::because(Reason::Wrong)
    };
    operation.step(refusal, record, events)
}

fn count_wrong(
    record: &Record,
    set: SetId,
    kind: EventKind,
    operation: &Operation<'_>,
) -> Transition<Refusal> {
    let mut record = record.clone();
    let limit = operation.config.disable_after;
    let wrong_in_a_row = record.throttle.wrong_in_a_row.saturating_add(1);
    record.throttle.wrong_in_a_row = wrong_in_a_row;
    let mut refusal = Refusal::because(Reason::Wrong);
    let mut events = vec![operation.failure(kind, Reason::Wrong).of_set(set)];
    let until_lock = Config::LOCK_EVERY - wrong_in_a_row % Config::LOCK_EVERY;
    if wrong_in_a_row >= limit {
        record.throttle.disabled_at = Some(operation.now());
        record.throttle.locked_until = None;
        refusal.tries_left = Some(0);
        refusal.notice = Some(operation.notice(NoticeKind::Disabled, record.active.as_ref()));
        events.push(
            operation
                .success(EventKind::Disable)
                .because(Reason::TooManyWrong)
                .of_set(set),
        );
    } else if until_lock == Config::LOCK_EVERY {
        record.throttle.locked_until = Some(operation.now().saturating_add(Config::LOCK_FOR));
        refusal.tries_left = Some(0);
        refusal.wait = Some(Config::LOCK_FOR);
        refusal.notice = Some(operation.notice(NoticeKind::Locked, record.active.as_ref()));
        events.push(
            operation
                .success(EventKind::Lock)
                .because(Reason::TooManyWrong)
                .of_set(set),
        );
    } else {
        refusal.tries_left = Some(until_lock.min(limit - wrong_in_a_row));
    }
    operation.step(refusal, record, events)
}

/// Redeems an attempt: decides on it and, if the code is right, spends the code.
///
/// Call it with `verified: None` first. [`Progress::Compare`] names the hash to compare with;
/// compare it with [`verify`](crate::rules::verify), and call this function again with the result.
/// A verification of another attempt, or of a hash that is no longer in the slot, is ignored: the
/// result is then `Compare` again.
///
/// # Security
/// Write the [`Step`](crate::rules::Step) before you act upon the outcome, on condition that the
/// record is unchanged since it was loaded.
pub fn consume(
    record: &Record,
    attempt: &Attempt,
    verified: Option<&Verified>,
    operation: &Operation<'_>,
) -> Progress<Redeem> {
    let kind = EventKind::Redeem;
    let accept = |found: Match<'_>| match found {
        Match::Slot(set, slot) => redeem_slot(record, set, slot, operation),
        Match::Override(code) => redeem_override(record, code, operation),
    };
    let accept = |found: Match<'_>| accept(found).map(Redeem::Accepted);
    compare(
        record,
        attempt,
        verified,
        kind,
        operation,
        Redeem::Refused,
        accept,
    )
}

fn redeem_slot(
    record: &Record,
    set: &CodeSet,
    slot: &Slot,
    operation: &Operation<'_>,
) -> Transition<Receipt> {
    let now = operation.now();
    let mut set = set.clone();
    set.proved_at = Some(now);
    if let Some(slot) = set.slot_mut(slot.number) {
        slot.used_at = Some(now);
    }
    let events = spending(EventKind::Redeem, &set, operation);
    let remaining = set.unused();
    let level = Level::of(remaining, operation.low_threshold);
    let receipt = Receipt {
        slot: slot.number,
        remaining,
        level,
        reissue: reissue(level, operation.config),
        notice: operation.notice(NoticeKind::Used, Some(&set)),
    };
    let mut record = record.clone();
    record.throttle = Throttle::default();
    record.add_use(now);
    record.active = Some(set);
    operation.step(receipt, record, events)
}

/// Returns the events of a spent code: the use, and the lower level if it reached one.
fn spending(kind: EventKind, set: &CodeSet, operation: &Operation<'_>) -> Vec<Event> {
    let remaining = set.unused();
    let before = Level::of(remaining.saturating_add(1), operation.low_threshold);
    let crossed = match Level::of(remaining, operation.low_threshold) {
        Level::Exhausted => Some(EventKind::Exhausted),
        Level::Low if before == Level::Ok => Some(EventKind::Low),
        Level::Low | Level::Ok => None,
    };
    let event = |kind| operation.success(kind).of_set(set.id).leaving(remaining);
    std::iter::once(kind).chain(crossed).map(event).collect()
}

fn reissue(level: Level, config: &Config) -> Reissue {
    match (level, config.reissue) {
        (Level::Exhausted, _) | (_, ReissueRule::AfterEveryUse) => Reissue::Required,
        (Level::Low, ReissueRule::WhenLow) => Reissue::Suggested,
        (Level::Ok, ReissueRule::WhenLow) => Reissue::NotNeeded,
    }
}

fn redeem_override(
    record: &Record,
    code: &OverrideCode,
    operation: &Operation<'_>,
) -> Transition<Receipt> {
    let mut record = record.clone();
    let remaining = remaining(&record, operation);
    record.override_code = Some(OverrideCode {
        used_at: Some(operation.now()),
        ..code.clone()
    });
    // The count of wrong codes starts again at zero, but a disabled set stays disabled: only a new
    // set or an unlock changes that (NIST SP 800-63B-4, 3.2.2).
    record.throttle.locked_until = None;
    if record.throttle.disabled_at.is_none() {
        record.throttle.wrong_in_a_row = 0;
    }
    record.add_use(operation.now());
    let receipt = Receipt {
        slot: 0,
        remaining,
        level: Level::of(remaining, operation.low_threshold),
        // A user who needed an override does not have the sheet.
        reissue: Reissue::Required,
        notice: Notice {
            remaining: Some(remaining),
            ..operation.notice(NoticeKind::OverrideUsed, record.active.as_ref())
        },
    };
    let events = vec![override_event(
        EventKind::Redeem,
        code,
        remaining,
        operation,
    )];
    operation.step(receipt, record, events)
}

fn override_event(
    kind: EventKind,
    code: &OverrideCode,
    remaining: u8,
    operation: &Operation<'_>,
) -> Event {
    let event = operation.success(kind).because(Reason::Override);
    event.of_set(code.id).leaving(remaining)
}

/// Checks a code without spending it; a wrong code counts as in [`consume`]. A right code neither
/// counts nor clears the count.
pub fn check(
    record: &Record,
    attempt: &Attempt,
    verified: Option<&Verified>,
    operation: &Operation<'_>,
) -> Progress<Check> {
    let kind = EventKind::Check;
    let accept = |found: Match<'_>| {
        let mut record = record.clone();
        let (slot, event) = match found {
            Match::Slot(set, slot) => {
                let event = operation.success(kind).of_set(set.id).leaving(set.unused());
                record.active = Some(CodeSet {
                    proved_at: Some(operation.now()),
                    ..set.clone()
                });
                (slot.number, event)
            }
            Match::Override(code) => {
                let remaining = remaining(&record, operation);
                (0, override_event(kind, code, remaining, operation))
            }
        };
        operation.step(Check::Valid(slot), record, vec![event])
    };
    compare(
        record,
        attempt,
        verified,
        kind,
        operation,
        Check::Refused,
        accept,
    )
}

/// Voids a leaked code by typing it; a wrong code counts as in [`consume`]. The outcome is the same
/// whether the code was right or not. Where the stored hash cannot be checked, or is not in force
/// at present, nothing is voided and the outcome is a refusal, which depends on the slot alone: the
/// code may work again once the clock or the configuration is corrected.
pub fn burn(
    record: &Record,
    attempt: &Attempt,
    verified: Option<&Verified>,
    operation: &Operation<'_>,
) -> Progress<Burn> {
    let kind = EventKind::Burn;
    let override_code = record.override_code.as_ref();
    let has_unused = override_code.is_some_and(|code| code.used_at.is_none());
    // There is no override, or it is spent, so no part of it can work again.
    let is_spent = attempt.slot() == 0 && !has_unused;
    let refuse = |refusal: Refusal| match refusal.reason {
        Reason::Wrong | Reason::Used | Reason::Burned | Reason::NoCodes => {
            Burn::Done(refusal.notice)
        }
        Reason::NoOverride | Reason::Expired | Reason::Void if is_spent => Burn::Done(None),
        _ => Burn::Refused(refusal),
    };
    let accept = |found: Match<'_>| {
        let mut record = record.clone();
        let events = match found {
            Match::Slot(set, slot) => {
                let mut set = set.clone();
                if let Some(slot) = set.slot_mut(slot.number) {
                    slot.burned_at = Some(operation.now());
                }
                let events = spending(kind, &set, operation);
                record.active = Some(set);
                events
            }
            Match::Override(code) => {
                record.override_code = None;
                let remaining = remaining(&record, operation);
                let revoked = operation
                    .success(EventKind::RevokeOverride)
                    .because(Reason::Burned);
                vec![
                    override_event(kind, code, remaining, operation),
                    revoked.of_set(code.id),
                ]
            }
        };
        operation.step(Burn::Done(None), record, events)
    };
    compare(record, attempt, verified, kind, operation, refuse, accept)
}
