//! Every interleaving of two and three operations at the granularity of calls to the store, with
//! every kind of fault at every call.
//!
//! Each operation is a future on a store that gives way before each call, so a schedule is the
//! list of which operation runs next. All schedules are enumerated depth first; with them the
//! fault, if any, of each call.
//!
//! Every schedule is judged against [`sequential`], which says what an operation must tell and
//! write when nothing else goes on: the writes that the store applied must be such steps, one
//! after the other, at most one for each operation; and what an operation told must be the step
//! it wrote, or, where it wrote none, a step without a write in a state that was there while it
//! ran.
//!
//! Three operations meet every fault at every call when `BACKUP_CODES_DEEP` is set, as `.ci/deep`
//! does; otherwise at the first call only.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use backup_codes::audit::{Event, EventId, EventKind, EventOutcome, Reason};
use backup_codes::conformance::{Fault, Faulty, block_on};
use backup_codes::report::Summary;
use backup_codes::repository::{
    CodeRepository, Expected, Freshness, Loaded, Put, PutError, PutOutcome, Record, Revision,
};
use backup_codes::{
    Activation, BackupCodes, Burn, Check, Config, Confirmation, Context, Effect, Error,
    MemoryRepository, Redeem, RevokeReason, SetId, SetSize, Subject, Timestamp, UserId,
};
use serde::Deserialize;
use support::generator::Numbers;
use support::moments;
use support::operations::{backup_codes, config};
use support::people::{admin, alice, bob};
use support::polling::give_way;
use support::sheets::code;

/// A store that gives way before each call.
struct Stepped<R>(R, Arc<AtomicUsize>);

impl<R> Stepped<R> {
    async fn give_way(&self) {
        give_way().await;
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

impl<R: CodeRepository> CodeRepository for Stepped<R> {
    type Error = R::Error;

    async fn load(&self, user: &UserId, f: Freshness) -> Result<Option<Loaded>, R::Error> {
        self.give_way().await;
        self.0.load(user, f).await
    }
    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<R::Error>> {
        self.give_way().await;
        self.0.put(put).await
    }
    async fn remove(&self, user: &UserId, at: Revision) -> Result<PutOutcome, PutError<R::Error>> {
        self.give_way().await;
        self.0.remove(user, at).await
    }
    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, R::Error> {
        self.0.undelivered(limit).await
    }
    // Acknowledging is not part of any decision; the events of this test stay in the store.
    async fn acknowledge(&self, _: &[EventId]) -> Result<(), R::Error> {
        Ok(())
    }
}

/// The store below all faults, and every write that it applied.
#[derive(Clone, Default)]
struct Store {
    inner: MemoryRepository,
    writes: Arc<Mutex<Vec<Write>>>,
}

#[derive(Clone)]
struct Write {
    record: String,
    events: Vec<Event>,
}

impl Store {
    fn writes(&self) -> MutexGuard<'_, Vec<Write>> {
        self.writes.lock().unwrap()
    }
}

impl CodeRepository for Store {
    type Error = Infallible;

    async fn load(&self, user: &UserId, f: Freshness) -> Result<Option<Loaded>, Infallible> {
        self.inner.load(user, f).await
    }
    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Infallible>> {
        let write = Write {
            record: put.record.to_owned(),
            events: put.events.to_vec(),
        };
        let outcome = self.inner.put(put).await?;
        if outcome == PutOutcome::Applied {
            self.writes().push(write);
        }
        Ok(outcome)
    }
    async fn remove(
        &self,
        user: &UserId,
        at: Revision,
    ) -> Result<PutOutcome, PutError<Infallible>> {
        self.inner.remove(user, at).await
    }
    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Infallible> {
        self.inner.undelivered(limit).await
    }
    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Infallible> {
        self.inner.acknowledge(events).await
    }
}

type Running<'a> = Pin<Box<dyn Future<Output = Done> + 'a>>;

fn codes_over(store: impl CodeRepository + 'static) -> BackupCodes {
    let config = config()
        .with_set_size(SetSize::new(5).unwrap())
        .with_disable_after(20)
        .unwrap();
    backup_codes(store)
        .with_config(config)
        .with_rng(Numbers::new(SEED.fetch_add(1, Ordering::Relaxed)))
}

/// Ids have to differ, not to be secret, here; and a generator makes no system call.
static SEED: AtomicU32 = AtomicU32::new(0);

/// Past the capture of the test runner: the numbers are part of the result.
fn report(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// What one of the concurrent operations does.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Op {
    /// Types a code, to this end.
    Type(End, Typed),
    Prepare,
    Issue,
    /// Activates the prepared sheet.
    Activate,
    /// Does so with one of its codes.
    Confirm,
    /// Drops the prepared sheet.
    Discard,
    IssueOverride,
    RevokeOverride,
    Unlock,
    Revoke,
    Erase,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    Redeem,
    Check,
    Burn,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Typed {
    /// This code of the active sheet.
    Code(u8),
    /// A well-formed code of somebody else's sheet.
    Wrong,
    /// The override code.
    Override,
    /// Somebody else's override code.
    WrongOverride,
}

use End::{Burn as ToBurn, Check as ToCheck, Redeem as ToRedeem};
use Typed::{Code, Override, Wrong, WrongOverride};

const OPERATIONS: [Op; 20] = [
    Op::Type(ToRedeem, Code(3)),
    Op::Type(ToRedeem, Code(4)),
    Op::Type(ToRedeem, Wrong),
    Op::Type(ToRedeem, Override),
    Op::Type(ToRedeem, WrongOverride),
    Op::Type(ToCheck, Code(3)),
    Op::Type(ToCheck, Wrong),
    Op::Type(ToBurn, Code(3)),
    Op::Type(ToBurn, Wrong),
    Op::Type(ToBurn, Override),
    Op::Prepare,
    Op::Issue,
    Op::Activate,
    Op::Confirm,
    Op::Discard,
    Op::IssueOverride,
    Op::RevokeOverride,
    Op::Unlock,
    Op::Revoke,
    Op::Erase,
];

/// What an operation told.
#[derive(Clone, Debug, PartialEq)]
enum Done {
    Accepted(u8),
    Valid(u8),
    Voided,
    Refused(Reason),
    Made(SetId),
    /// An issued sheet of which the store did not say whether it counts.
    Unconfirmed(SetId),
    Activated,
    AlreadyActive,
    NoSuchSet,
    /// Whether there was something to revoke.
    Revoked(bool),
    Overridden,
    Effect(Effect),
    IsErased,
    Failed,
}

/// What the record says, read from its JSON: all but hashes, formats and the operations' ids.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct View {
    active: Option<SetView>,
    #[serde(rename = "prepared")]
    prepared: Option<SetView>,
    #[serde(rename = "override")]
    override_code: Option<OverrideView>,
    throttle: Throttle,
    #[serde(default)]
    uses: Vec<(i64, u16)>,
    last_used_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    erased_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct SetView {
    id: SetId,
    proved_at: Option<Timestamp>,
    slots: Vec<Slot>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Slot {
    slot: u8,
    used_at: Option<Timestamp>,
    burned_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct OverrideView {
    id: SetId,
    #[serde(rename = "wrong_in_a_row")]
    run: u8,
    used_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct Throttle {
    #[serde(rename = "wrong_in_a_row")]
    run: u8,
    locked_until: Option<Timestamp>,
    disabled_at: Option<Timestamp>,
}

impl View {
    fn of(record: &str) -> Self {
        serde_json::from_str(record).unwrap()
    }

    fn add_use(&mut self) {
        let quarter = moments::start().unix_millis() / (15 * 60 * 1000);
        match self.uses.last_mut() {
            Some((last, count)) if *last == quarter => *count += 1,
            _ => self.uses.push((quarter, 1)),
        }
        self.last_used_at = Some(moments::start());
    }
}

impl SetView {
    fn new(id: SetId) -> Self {
        let slots = (1..=5).map(|slot| Slot {
            slot,
            used_at: None,
            burned_at: None,
        });
        Self {
            id,
            proved_at: None,
            slots: slots.collect(),
        }
    }

    fn unused(&self) -> usize {
        let unused = |slot: &&Slot| slot.used_at.is_none() && slot.burned_at.is_none();
        self.slots.iter().filter(unused).count()
    }
}

/// The state from which each schedule starts, made once and copied.
struct Start {
    record: String,
    summary: Summary,
    view: View,
    active: SetId,
    codes: Vec<String>,
    prepared: SetId,
    confirmation: String,
    wrong: String,
    override_id: SetId,
    override_code: String,
    wrong_override: String,
}

/// A user with an active sheet, a prepared one, an override code, and some wrong codes.
fn start(wrong_before: u8) -> Start {
    let store = Store::default();
    let codes = codes_over(store.clone());
    let (alice, other) = (alice(), bob());
    let by = |subject: &Subject| Context::new(moments::start(), subject);
    let cx = by(&alice);
    let foreign = block_on(codes.issue(&other, &by(&other))).unwrap().sheet;
    let hour = Duration::from_secs(60 * 60);
    let override_for = |subject: &Subject| {
        let issued = block_on(codes.issue_override(subject, hour, &by(&admin())));
        issued.unwrap().expose().to_string()
    };
    let wrong_override = override_for(&other);
    let sheet = block_on(codes.issue(&alice, &cx)).unwrap().sheet;
    let wrong = code(&foreign, 1);
    let enter = |typed: &str, cx: &Context| {
        let refused = block_on(codes.redeem(&alice, typed, cx)).unwrap();
        assert!(matches!(refused, Redeem::Refused(r) if r.reason() == Reason::Wrong));
    };
    for number in 0..wrong_before {
        // The lock that the tenth brings is over by now.
        let ago = if number < 10 && wrong_before >= 10 {
            hour
        } else {
            Duration::ZERO
        };
        enter(
            &wrong,
            &Context::new(moments::start().saturating_sub(ago), &alice),
        );
    }
    let override_code = override_for(&alice);
    for _ in 0..wrong_before.min(9) {
        enter(&wrong_override, &cx);
    }
    let prepared = block_on(codes.prepare(&alice, &cx)).unwrap();
    let loaded = block_on(store.load(alice.id(), Freshness::Latest));
    let record = loaded.unwrap().unwrap().record;
    let view = View::of(&record);
    assert_eq!(view.throttle.run, wrong_before);
    Start {
        summary: Record::from_json(&record).unwrap().summary(),
        record,
        active: sheet.id(),
        codes: (1..=5).map(|slot| code(&sheet, slot)).collect(),
        prepared: prepared.id(),
        confirmation: code(&prepared, 2),
        wrong,
        override_id: view.override_code.as_ref().unwrap().id,
        override_code,
        wrong_override,
        view,
    }
}

impl Start {
    fn store(&self) -> Store {
        let store = Store::default();
        let alice = alice();
        let put = Put::new(
            alice.id(),
            Expected::Absent,
            Revision::from_bytes([9; 16]),
            &self.record,
            &self.summary,
            &[],
        );
        assert_eq!(block_on(store.put(put)).unwrap(), PutOutcome::Applied);
        store.writes().clear();
        store
    }

    fn typed(&self, typed: Typed) -> &str {
        match typed {
            Code(slot) => &self.codes[usize::from(slot) - 1],
            Wrong => &self.wrong,
            Override => &self.override_code,
            WrongOverride => &self.wrong_override,
        }
    }
}

/// Runs an operation. Its events carry its index as their correlation id.
async fn perform(codes: &BackupCodes, op: Op, index: usize, start: &Start) -> Done {
    let (alice, admin) = (alice(), admin());
    let actor = match op {
        Op::IssueOverride | Op::RevokeOverride | Op::Unlock | Op::Erase => &admin,
        _ => &alice,
    };
    let cx = Context::new(moments::start(), actor).with_correlation(&index.to_string());
    let activated = |activation| match activation {
        Activation::Activated(_) => Done::Activated,
        Activation::AlreadyActive => Done::AlreadyActive,
        Activation::NoSuchSet => Done::NoSuchSet,
        other => panic!("the confirmation is right: {other:?}"),
    };
    let outcome = match op {
        Op::Type(End::Redeem, typed) => {
            let redeemed = codes.redeem(&alice, start.typed(typed), &cx).await;
            redeemed.map(|redeemed| match redeemed {
                Redeem::Accepted(receipt) => Done::Accepted(receipt.slot()),
                Redeem::Refused(refusal) => Done::Refused(refusal.reason()),
                Redeem::NotACode(_) => panic!("these are codes"),
            })
        }
        Op::Type(End::Check, typed) => {
            let checked = codes.check(&alice, start.typed(typed), &cx).await;
            checked.map(|checked| match checked {
                Check::Valid(slot) => Done::Valid(slot),
                Check::Refused(refusal) => Done::Refused(refusal.reason()),
                Check::NotACode(_) => panic!("these are codes"),
            })
        }
        Op::Type(End::Burn, typed) => {
            let burned = codes.burn(&alice, start.typed(typed), &cx).await;
            burned.map(|burned| match burned {
                Burn::Done(_) => Done::Voided,
                Burn::Refused(refusal) => Done::Refused(refusal.reason()),
                Burn::NotACode(_) => panic!("these are codes"),
            })
        }
        Op::Prepare => {
            let sheet = codes.prepare(&alice, &cx).await;
            sheet.map(|sheet| Done::Made(sheet.id()))
        }
        Op::Issue => {
            let issued = codes.issue(&alice, &cx).await;
            issued.map(|issued| match issued.confirmation {
                Confirmation::Confirmed(_) => Done::Made(issued.sheet.id()),
                Confirmation::Unconfirmed => Done::Unconfirmed(issued.sheet.id()),
            })
        }
        Op::Activate => {
            let activation = codes.activate(&alice, start.prepared, &cx).await;
            activation.map(activated)
        }
        Op::Confirm => {
            let (set, typed) = (start.prepared, &start.confirmation);
            let activation = codes.activate_confirmed(&alice, set, typed, &cx).await;
            activation.map(activated)
        }
        Op::Discard => {
            let discarded = codes.discard(&alice, start.prepared, &cx).await;
            discarded.map(Done::Effect)
        }
        Op::IssueOverride => {
            let lifetime = Duration::from_secs(600);
            let issued = codes.issue_override(&alice, lifetime, &cx).await;
            issued.map(|_| Done::Overridden)
        }
        Op::RevokeOverride => {
            let revoked = codes.revoke_override(&alice, &cx).await;
            revoked.map(Done::Effect)
        }
        Op::Unlock => codes.unlock(&alice, &cx).await.map(Done::Effect),
        Op::Revoke => {
            let reason = RevokeReason::UserRequest;
            let revoked = codes.revoke_all(&alice, reason, &cx).await;
            revoked.map(|notice| Done::Revoked(notice.is_some()))
        }
        Op::Erase => codes.erase(&alice, &cx).await.map(Done::Effect),
    };
    outcome.unwrap_or_else(|error| match error {
        Error::Unavailable(_) | Error::Contended => Done::Failed,
        Error::Erased => Done::IsErased,
        error => panic!("{error:?}"),
    })
}

/// An event, as far as it is judged.
type Said = (EventKind, EventOutcome, Option<Reason>, Option<SetId>);

/// What an operation comes to when nothing else goes on.
#[derive(Debug)]
struct Step {
    told: Done,
    /// The record and the events it writes; none where nothing changes.
    write: Option<(View, Vec<Said>)>,
}

/// An operation that may find nothing to do has an event where it did something.
fn effect(said: &[Said]) -> Done {
    Done::Effect(if said.is_empty() {
        Effect::Nothing
    } else {
        Effect::Done
    })
}

fn success(kind: EventKind, reason: Option<Reason>, set: Option<SetId>) -> Said {
    (kind, EventOutcome::Success, reason, set)
}

/// What `op` comes to in the state `before`; `made` is the id of the set that it makes, if any.
fn sequential(op: Op, start: &Start, before: &View, made: SetId) -> Step {
    let mut after = before.clone();
    let mut said = Vec::new();
    let prepared = before.prepared.as_ref().map(|set| set.id);
    let replaced = |kind, set| success(kind, Some(Reason::Replaced), Some(set));
    let unused_override = before.override_code.as_ref();
    let unused_override = unused_override.filter(|code| code.used_at.is_none());
    let override_replaced = unused_override.map(|c| replaced(EventKind::RevokeOverride, c.id));
    let erased = before.erased_at.is_some();
    let told = match op {
        Op::Type(end, typed) => {
            let verdict = attempt(end, typed, start, &mut after, &mut said);
            match (end, verdict) {
                (End::Redeem, Ok(slot)) => Done::Accepted(slot),
                (End::Check, Ok(slot)) => Done::Valid(slot),
                (End::Burn, Ok(_)) => Done::Voided,
                (End::Burn, Err(reason))
                    if !matches!(reason, Reason::Locked | Reason::Disabled) =>
                {
                    Done::Voided
                }
                (_, Err(reason)) => Done::Refused(reason),
            }
        }
        Op::Prepare | Op::Issue | Op::IssueOverride if erased => Done::IsErased,
        Op::Prepare => {
            said.extend(prepared.map(|old| replaced(EventKind::Discard, old)));
            said.push(success(EventKind::Prepare, None, Some(made)));
            after.prepared = Some(SetView::new(made));
            Done::Made(made)
        }
        Op::Activate | Op::Confirm
            if before
                .active
                .as_ref()
                .is_some_and(|set| set.id == start.prepared) =>
        {
            Done::AlreadyActive
        }
        Op::Activate | Op::Confirm if prepared != Some(start.prepared) => Done::NoSuchSet,
        Op::Issue | Op::Activate | Op::Confirm => {
            let (set, told) = match op {
                Op::Issue => (made, Done::Made(made)),
                _ => (start.prepared, Done::Activated),
            };
            if op == Op::Issue {
                said.push(success(EventKind::Prepare, None, Some(set)));
            }
            let reason = before.active.as_ref().map(|_| Reason::Replaced);
            said.push(success(EventKind::Activate, reason, Some(set)));
            let dropped = prepared.filter(|old| *old != set);
            said.extend(dropped.map(|old| replaced(EventKind::Discard, old)));
            said.extend(override_replaced);
            after.active = Some(SetView {
                proved_at: (op == Op::Confirm).then(moments::start),
                ..SetView::new(set)
            });
            after.prepared = None;
            after.override_code = None;
            after.throttle = Throttle::default();
            told
        }
        Op::Discard => {
            if prepared == Some(start.prepared) {
                said.push(success(EventKind::Discard, None, prepared));
                after.prepared = None;
            }
            effect(&said)
        }
        Op::IssueOverride => {
            said.extend(override_replaced);
            said.push(success(EventKind::IssueOverride, None, Some(made)));
            after.override_code = Some(OverrideView {
                id: made,
                run: 0,
                used_at: None,
            });
            Done::Overridden
        }
        Op::RevokeOverride => {
            if let Some(code) = unused_override {
                said.push(success(EventKind::RevokeOverride, None, Some(code.id)));
                after.override_code = None;
            }
            effect(&said)
        }
        Op::Unlock => {
            if before.throttle != Throttle::default() {
                said.push(success(EventKind::Unlock, None, None));
                after.throttle = Throttle::default();
            }
            effect(&said)
        }
        Op::Revoke => {
            let some = before.active.is_some() || prepared.is_some() || unused_override.is_some();
            if some {
                let active = after.active.take();
                after.prepared = None;
                let (reason, set) = (Some(Reason::UserRequest), active.map(|set| set.id));
                said.push(success(EventKind::Revoke, reason, set));
                after.override_code = None;
                after.revoked_at = Some(moments::start());
            }
            Done::Revoked(some)
        }
        Op::Erase => {
            if !erased {
                said.push(success(EventKind::Erase, None, None));
                after = View {
                    erased_at: Some(moments::start()),
                    ..View::default()
                };
            }
            effect(&said)
        }
    };
    let write = (!said.is_empty()).then_some((after, said));
    Step { told, write }
}

/// The slot of a right code, or why it is refused.
fn attempt(
    end: End,
    typed: Typed,
    start: &Start,
    state: &mut View,
    said: &mut Vec<Said>,
) -> Result<u8, Reason> {
    let kind = match end {
        End::Redeem => EventKind::Redeem,
        End::Check => EventKind::Check,
        End::Burn => EventKind::Burn,
    };
    let failure = |reason, set| (kind, EventOutcome::Failure, Some(reason), Some(set));
    let for_override = matches!(typed, Override | WrongOverride);
    let throttle = &mut state.throttle;
    let found = state.override_code.as_mut().filter(|_| for_override);
    let right = |code: &OverrideView| typed == Override && code.id == start.override_id;
    let set = match found {
        Some(code) if code.used_at.is_none() && right(code) => {
            let id = code.id;
            said.push(success(kind, Some(Reason::Override), Some(id)));
            match end {
                End::Redeem => {
                    code.used_at = Some(moments::start());
                    throttle.locked_until = None;
                    if throttle.disabled_at.is_none() {
                        throttle.run = 0;
                    }
                    state.add_use();
                }
                End::Check => {}
                End::Burn => {
                    let burned = Some(Reason::Burned);
                    said.push(success(EventKind::RevokeOverride, burned, Some(id)));
                    state.override_code = None;
                }
            }
            return Ok(0);
        }
        Some(code) if code.used_at.is_none() => {
            let id = code.id;
            code.run += 1;
            said.push(failure(Reason::Wrong, id));
            if code.run == 10 {
                let why = Some(Reason::TooManyWrong);
                said.push(success(EventKind::RevokeOverride, why, Some(id)));
                state.override_code = None;
            }
            return Err(Reason::Wrong);
        }
        _ if throttle.disabled_at.is_some() => return Err(Reason::Disabled),
        _ if throttle
            .locked_until
            .is_some_and(|until| moments::start() < until) =>
        {
            return Err(Reason::Locked);
        }
        // Nothing can count where no unused override is in force.
        _ if for_override => return Err(Reason::NoOverride),
        _ => match (&mut state.active, typed) {
            (None, _) => return Err(Reason::NoCodes),
            (Some(set), Code(number)) if set.id == start.active => {
                let before = set.unused();
                let slot = &mut set.slots[usize::from(number) - 1];
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
                    said.push(failure(reason, set.id));
                    return Err(reason);
                }
                said.push(success(kind, None, Some(set.id)));
                if end != End::Burn {
                    set.proved_at = Some(moments::start());
                }
                match end {
                    End::Redeem => slot.used_at = Some(moments::start()),
                    End::Check => return Ok(number),
                    End::Burn => slot.burned_at = Some(moments::start()),
                }
                if before == 4 {
                    said.push(success(EventKind::Low, None, Some(set.id)));
                }
                if end == End::Redeem {
                    *throttle = Throttle::default();
                    state.add_use();
                }
                return Ok(number);
            }
            (Some(set), _) => set.id,
        },
    };
    throttle.run += 1;
    said.push(failure(Reason::Wrong, set));
    let why = Some(Reason::TooManyWrong);
    if throttle.run == 20 {
        throttle.disabled_at = Some(moments::start());
        throttle.locked_until = None;
        said.push(success(EventKind::Disable, why, Some(set)));
    } else if throttle.run == 10 {
        throttle.locked_until = Some(moments::start().saturating_add(Config::LOCK_FOR));
        said.push(success(EventKind::Lock, why, Some(set)));
    }
    Err(Reason::Wrong)
}

/// What an operation told, and how many writes there were when it began and when it ended.
struct Ran {
    told: Done,
    begun: usize,
    ended: usize,
}

/// Runs one schedule. `choose` is asked which of the living operations goes on.
fn run<R: CodeRepository + 'static>(
    ops: &[Op],
    start: &Start,
    wrap: impl Fn(Store) -> R,
    mut choose: impl FnMut(usize) -> usize,
) -> (Vec<Ran>, Store, usize) {
    let store = start.store();
    let calls = Arc::new(AtomicUsize::new(0));
    let codes = codes_over(Stepped(wrap(store.clone()), Arc::clone(&calls)));
    let mut living: Vec<(usize, Running<'_>)> = Vec::new();
    for (index, op) in ops.iter().enumerate() {
        living.push((index, Box::pin(perform(&codes, *op, index, start))));
    }
    let mut begun = vec![None; ops.len()];
    let mut ran: Vec<Option<Ran>> = ops.iter().map(|_| None).collect();
    let mut context = TaskContext::from_waker(Waker::noop());
    // Up to its first call an operation touches nothing that others see: no choice there.
    for (_, future) in &mut living {
        assert!(future.as_mut().poll(&mut context).is_pending());
    }
    while !living.is_empty() {
        let chosen = if living.len() == 1 {
            0
        } else {
            choose(living.len())
        };
        let (index, future) = &mut living[chosen];
        let begun = *begun[*index].get_or_insert(store.writes().len());
        if let Poll::Ready(told) = future.as_mut().poll(&mut context) {
            let ended = store.writes().len();
            ran[*index] = Some(Ran { told, begun, ended });
            drop(living.remove(chosen));
        }
    }
    drop(living);
    let calls = calls.load(Ordering::Relaxed);
    (
        ran.into_iter().map(|ran| ran.unwrap()).collect(),
        store,
        calls,
    )
}

/// What must hold after every schedule.
fn judge(ops: &[Op], start: &Start, fault: Fault, ran: &[Ran], store: &Store) {
    let told: Vec<&Done> = ran.iter().map(|ran| &ran.told).collect();
    let at = || format!("{ops:?} {fault:?} {told:?}");
    let writes = store.writes();
    // The state after so many writes.
    let mut states = vec![start.view.clone()];
    // What the write of each operation stands for.
    let mut own: Vec<Option<Done>> = ops.iter().map(|_| None).collect();
    for (number, write) in writes.iter().enumerate() {
        let (before, after) = (&states[number], View::of(&write.record));
        let Some(first) = write.events.first() else {
            let previous = number.checked_sub(1).map(|n| &writes[n].record);
            let previous = previous.unwrap_or(&start.record);
            assert_eq!(&write.record, previous, "changed without event: {}", at());
            states.push(after);
            continue;
        };
        let index: usize = first.correlation.as_ref().unwrap().parse().unwrap();
        let makes = |e: &&Event| matches!(e.kind, EventKind::Prepare | EventKind::IssueOverride);
        let made = write.events.iter().find(makes).and_then(|event| event.set);
        let step = sequential(ops[index], start, before, made.unwrap_or(NO_SET));
        let same = |event: &Event| event.correlation == first.correlation;
        assert!(write.events.iter().all(same), "mixed events: {}", at());
        let said = |e: &Event| (e.kind, e.outcome, e.reason, e.set);
        let wrote = (after, write.events.iter().map(said).collect());
        assert_eq!(Some(&wrote), step.write.as_ref(), "a wrong step: {}", at());
        let earlier = own[index].replace(step.told);
        assert_eq!(earlier, None, "an operation wrote twice: {}", at());
        states.push(wrote.0);
    }
    let events = block_on(store.undelivered(100)).unwrap();
    let written = writes.iter().flat_map(|write| &write.events);
    assert!(events.iter().eq(written), "an event is missing: {}", at());

    // Each operation by itself: what it told is what it wrote.
    let mut failed = 0;
    for (index, Ran { told, begun, ended }) in ran.iter().enumerate() {
        match (told, &own[index]) {
            // Told nothing; whether it wrote is free.
            (Done::Failed, _) | (Done::Unconfirmed(_), None) => failed += 1,
            (Done::Unconfirmed(sheet), Some(step)) => {
                assert_eq!(&Done::Made(*sheet), step, "another set counts: {}", at());
                failed += 1;
            }
            (told, Some(step)) => assert_eq!(told, step, "told another verdict: {}", at()),
            (told, None) => {
                let says = |state: &View| {
                    let step = sequential(ops[index], start, state, NO_SET);
                    step.write.is_none() && step.told == *told
                };
                // These two may go by an old copy, which can only make them refuse.
                let op = ops[index];
                let old = fault == Fault::StaleRead
                    && matches!(op, Op::Type(End::Redeem | End::Check, _))
                    && (says(&View::default()) || states[..*begun].iter().any(says));
                assert!(
                    old || states[*begun..=*ended].iter().any(says),
                    "a verdict without its write: {}",
                    at()
                );
            }
        }
    }
    // One fault costs one operation its outcome at most, and these cost none.
    let lossless = matches!(
        fault,
        Fault::None | Fault::StaleRead | Fault::ApplyThenConflict
    );
    assert!(failed <= usize::from(!lossless), "failed: {}", at());

    // The promises once more, apart from the steps that imply them.
    for slot in 0..=5 {
        let accepted = told.iter().filter(|told| ***told == Done::Accepted(slot));
        assert!(accepted.count() <= 1, "accepted twice: {}", at());
    }
    let is = states.last().unwrap();
    assert!(is.throttle.run <= 20, "over the limit: {}", at());
    if start.view.throttle.run < 10 {
        assert!(is.throttle.run <= 10, "over the lock: {}", at());
    }
}

const NO_SET: SetId = SetId::from_bytes([0; 16]);

/// Enumerates all schedules for these operations under this fault, depth first. Returns how many
/// there were, and the most calls of one.
fn every_schedule<R: CodeRepository + 'static>(
    ops: &[Op],
    begin: &Start,
    fault: Fault,
    wrap: impl Fn(Store) -> R,
) -> (usize, usize) {
    let mut schedules = 0;
    let mut most_calls = 0;
    // The choices of the schedule being run: which of how many.
    let mut path: Vec<(usize, usize)> = Vec::new();
    loop {
        let depth = Cell::new(0);
        let (ran, store, calls) = run(ops, begin, &wrap, |options| {
            let at = depth.replace(depth.get() + 1);
            if at == path.len() {
                path.push((0, options));
            }
            assert_eq!(path[at].1, options, "a schedule must be repeatable");
            path[at].0
        });
        judge(ops, begin, fault, &ran, &store);
        schedules += 1;
        most_calls = most_calls.max(calls);
        path.truncate(depth.get());
        while path
            .last()
            .is_some_and(|(chosen, options)| chosen + 1 == *options)
        {
            path.pop();
        }
        match path.last_mut() {
            Some((chosen, _)) => *chosen += 1,
            None => return (schedules, most_calls),
        }
    }
}

const FAULTS: [Fault; 5] = [
    Fault::FailBefore,
    Fault::ApplyThenFail,
    Fault::FailUnknown,
    Fault::StaleRead,
    Fault::ApplyThenConflict,
];

/// All schedules without a fault and with each fault at each of the first `at_calls` calls.
fn every_fault(ops: &[Op], begin: &Start, at_calls: usize) -> usize {
    let none = |store| Faulty::new(store, []);
    let (mut total, mut calls) = every_schedule(ops, begin, Fault::None, none);
    let mut call = 0;
    // A fault can make for more calls, which meet faults too.
    while call < calls.min(at_calls) {
        for fault in FAULTS {
            let mut faults = vec![Fault::None; call];
            faults.push(fault);
            let wrap = |store| Faulty::new(store, faults.clone());
            let (schedules, most_calls) = every_schedule(ops, begin, fault, wrap);
            total += schedules;
            calls = calls.max(most_calls);
        }
        call += 1;
    }
    total
}

#[test]
fn two_operations_with_a_fault_at_every_call() {
    // Far from any limit, one wrong code before the lock, and one before the set is disabled.
    let starts = [0, 9, 19].map(start);
    let mut total = 0;
    for (index, one) in OPERATIONS.iter().enumerate() {
        let mut with_one = 0;
        for other in &OPERATIONS[index..] {
            for begin in &starts {
                with_one += every_fault(&[*one, *other], begin, usize::MAX);
            }
        }
        let others = OPERATIONS.len() - index;
        report(&format!(
            "{one:?} and {others} others: {with_one} schedules"
        ));
        total += with_one;
    }
    report(&format!("{total} schedules of two operations"));
    assert!(total > 100_000);
}

#[test]
fn three_operations() {
    let triples = [
        [
            Op::Type(ToRedeem, Code(3)),
            Op::Type(ToRedeem, Code(3)),
            Op::Type(ToRedeem, Code(3)),
        ],
        [
            Op::Type(ToRedeem, Code(3)),
            Op::Type(ToRedeem, Code(3)),
            Op::Type(ToRedeem, Wrong),
        ],
        [
            Op::Type(ToRedeem, Wrong),
            Op::Type(ToRedeem, Wrong),
            Op::Type(ToRedeem, Wrong),
        ],
        [
            Op::Type(ToRedeem, Code(3)),
            Op::Activate,
            Op::Type(ToRedeem, Wrong),
        ],
    ];
    let begin = start(8);
    let deep = std::env::var_os("BACKUP_CODES_DEEP").is_some();
    let at_calls = if deep { usize::MAX } else { 1 };
    let mut total = 0;
    for ops in triples {
        let schedules = every_fault(&ops, &begin, at_calls);
        report(&format!("{ops:?}: {schedules} schedules"));
        total += schedules;
    }
    report(&format!("{total} schedules of three operations"));
    assert!(total > 1000);
}

/// The search can fail: each of these stores breaks one promise, and some schedule shows it.
#[test]
fn a_broken_store_is_found() {
    #[derive(Clone, Copy, Debug)]
    enum How {
        /// The conditional write is a read and a write: it replaces whatever is there.
        Torn,
        /// The events of a write are lost.
        Silent,
        /// Nothing is written.
        Lying,
    }
    struct Broken(Store, How);
    impl CodeRepository for Broken {
        type Error = Infallible;
        async fn load(&self, u: &UserId, f: Freshness) -> Result<Option<Loaded>, Infallible> {
            self.0.load(u, f).await
        }
        async fn put(&self, mut put: Put<'_>) -> Result<PutOutcome, PutError<Infallible>> {
            match self.1 {
                How::Torn => {
                    let current = self.0.load(put.user, Freshness::Latest).await;
                    put.expected = current
                        .map_err(PutError::Unknown)?
                        .map_or(Expected::Absent, |l| Expected::At(l.revision));
                }
                How::Silent => put.events = &[],
                How::Lying => return Ok(PutOutcome::Applied),
            }
            self.0.put(put).await
        }
        async fn remove(
            &self,
            u: &UserId,
            r: Revision,
        ) -> Result<PutOutcome, PutError<Infallible>> {
            self.0.remove(u, r).await
        }
        async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Infallible> {
            self.0.undelivered(limit).await
        }
        async fn acknowledge(&self, _: &[EventId]) -> Result<(), Infallible> {
            Ok(())
        }
    }
    let begin = start(0);
    let pairs = [
        [Op::Type(ToRedeem, Code(3)), Op::Type(ToRedeem, Code(3))],
        [Op::Type(ToRedeem, Code(3)), Op::Type(ToRedeem, Code(4))],
        [Op::Type(ToRedeem, Wrong), Op::Type(ToRedeem, Wrong)],
        [Op::Type(ToCheck, Wrong), Op::Type(ToBurn, Code(3))],
    ];
    for how in [How::Torn, How::Silent, How::Lying] {
        for ops in pairs {
            let wrap = |store| Broken(store, how);
            let search = || every_schedule(&ops, &begin, Fault::None, wrap);
            let found = catch_unwind(AssertUnwindSafe(search)).is_err();
            assert!(found, "{how:?}: {ops:?}");
        }
    }
}
