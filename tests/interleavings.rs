//! Every interleaving of two and three operations at the granularity of calls to the store, with
//! every kind of fault at every call.
//!
//! Each operation is a future on a store that gives way before each call, so a
//! schedule is the list of which operation runs next. All schedules are enumerated depth first;
//! with them the fault, if any, of each call. After each run the record, the events and the
//! outcomes must fit together.
//!
//! Three operations meet every fault at every call when `BACKUP_CODES_DEEP` is set, as `.ci/deep`
//! does; otherwise at the first calls only.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::cell::Cell;
use std::future::Future;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

use backup_codes::conformance::{Fault, Faulty, block_on};
use backup_codes::{
    BackupCodes, CodeRepository, Config, Context, Cost, Error, Event, EventId, EventKind,
    EventOutcome, Format, Formats, Freshness, Hasher, Hashing, Keyring, Loaded, MemoryRepository,
    Put, PutError, PutOutcome, Reason, Record, Redeem, Revision, Settings, Sheet, Subject,
    Timestamp, UserId,
};

/// A store that gives way before each call.
struct Stepped<R>(R, Arc<AtomicUsize>);

impl<R> Stepped<R> {
    async fn give_way(&self) {
        let mut given = false;
        std::future::poll_fn(|_| {
            if given {
                return Poll::Ready(());
            }
            given = true;
            Poll::Pending
        })
        .await;
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

type Store = MemoryRepository;
type Running<'a> = Pin<Box<dyn Future<Output = Done> + 'a>>;

fn service<R: CodeRepository>(store: R) -> BackupCodes<R, Settings> {
    let hasher = Hasher::new(Keyring::without_pepper()).with_high_entropy_cost(Cost::LEAST);
    let config = Config::default()
        .with_formats(Formats::new(Format::HIGH_ENTROPY))
        .with_lifetime_run(20)
        .unwrap();
    BackupCodes::new(store, Settings::default(), Hashing::inline(hasher))
        .with_config(config)
        .with_rng(Counted(SEED.fetch_add(1 << 32, Ordering::Relaxed)))
}

static SEED: AtomicU64 = AtomicU64::new(0);

/// Numbers that never repeat, without a system call: ids have to differ, not to be secret, here.
struct Counted(u64);

impl rand_core::TryRng for Counted {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        rand_core::utils::next_word_via_fill(self)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        // SplitMix64 (Steele, Lea and Flood, 2014): a bijection of a counter.
        self.0 += 1;
        let z = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(z ^ (z >> 31))
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in bytes.chunks_mut(8) {
            let word = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Counted {}

/// Past the capture of the test runner: the numbers are part of the result.
fn report(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn now() -> Timestamp {
    Timestamp::from_unix_millis(1_790_000_000_000).unwrap()
}

fn alice() -> Subject {
    Subject::new(UserId::new("alice").unwrap(), ["staff"])
}

fn admin() -> Subject {
    Subject::new(UserId::new("root").unwrap(), ["administrator"])
}

fn code(sheet: &Sheet, slot: u8) -> String {
    sheet
        .expose()
        .codes()
        .find(|(number, _)| *number == slot)
        .unwrap()
        .1
        .to_string()
}

/// What one of the concurrent operations does.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Op {
    /// Redeems this code of the active sheet.
    Redeem(u8),
    /// Redeems a well-formed code that is wrong.
    Wrong,
    /// Activates the prepared sheet.
    Activate,
    /// An administrator clears the wrong codes.
    Unlock,
    /// The user's codes are revoked.
    Revoke,
}

#[derive(Debug, PartialEq)]
enum Done {
    Accepted(u8),
    Refused(Reason),
    Other,
    Failed,
}

/// The state from which each schedule starts, made once and copied.
struct Start {
    record: String,
    active: Vec<String>,
    pending: backup_codes::SetId,
    wrong: String,
}

/// A user with an active sheet, a prepared one, and some wrong codes.
fn start(wrong_before: u8) -> Start {
    let store = Store::new();
    let codes = service(store.clone());
    let alice = alice();
    let cx = Context::new(now()).by(&alice);
    let other = Subject::new(UserId::new("other").unwrap(), ["staff"]);
    let foreign = block_on(codes.issue(&other, &Context::new(now()).by(&other)))
        .unwrap()
        .sheet;
    let sheet = block_on(codes.issue(&alice, &cx)).unwrap().sheet;
    let wrong = code(&foreign, 1);
    for _ in 0..wrong_before {
        assert!(matches!(
            block_on(codes.redeem(&alice, &wrong, &cx)),
            Ok(Redeem::Refused(_))
        ));
    }
    let pending = block_on(codes.prepare(&alice, &cx)).unwrap().id();
    let loaded = block_on(store.load(alice.id(), Freshness::Latest))
        .unwrap()
        .unwrap();
    let active = (1..=10).map(|slot| code(&sheet, slot)).collect();
    Start {
        record: loaded.record,
        active,
        pending,
        wrong,
    }
}

fn fresh_store(start: &Start) -> Store {
    let store = Store::new();
    let record = Record::from_json(&start.record).unwrap();
    let summary = backup_codes::Summary::of(&record);
    let revision = Revision::from_bytes([9; 16]);
    let alice = alice();
    let put = Put::new(
        alice.id(),
        backup_codes::Expected::Absent,
        revision,
        &start.record,
        &summary,
        &[],
    );
    assert_eq!(block_on(store.put(put)).unwrap(), PutOutcome::Applied);
    store
}

async fn perform<R: CodeRepository>(
    codes: &BackupCodes<R, Settings>,
    op: Op,
    start: &Start,
) -> Done {
    let (alice, admin) = (alice(), admin());
    let own = Context::new(now()).by(&alice);
    let typed = match op {
        Op::Redeem(slot) => &start.active[usize::from(slot) - 1],
        _ => &start.wrong,
    };
    match op {
        Op::Redeem(_) | Op::Wrong => match codes.redeem(&alice, typed, &own).await {
            Ok(Redeem::Accepted(receipt)) => Done::Accepted(receipt.slot()),
            Ok(Redeem::Refused(refusal)) => Done::Refused(refusal.reason()),
            Ok(Redeem::NotACode(_)) => panic!("these are codes"),
            Err(Error::Unavailable(_) | Error::Contended) => Done::Failed,
            Err(error) => panic!("{error:?}"),
        },
        Op::Activate => codes
            .activate(&alice, start.pending, &own)
            .await
            .map_or(Done::Failed, |_| Done::Other),
        Op::Unlock => {
            let cx = Context::new(now()).by(&admin);
            codes
                .unlock(&alice, &cx)
                .await
                .map_or(Done::Failed, |()| Done::Other)
        }
        Op::Revoke => {
            let reason = backup_codes::RevokeReason::UserRequest;
            codes
                .revoke_all(&alice, reason, &own)
                .await
                .map_or(Done::Failed, |_| Done::Other)
        }
    }
}

/// Runs one schedule. `choose` is asked which of the living operations goes on.
fn run<R: CodeRepository>(
    ops: &[Op],
    start: &Start,
    wrap: impl Fn(Store) -> R,
    mut choose: impl FnMut(usize) -> usize,
) -> (Vec<Done>, Store, usize) {
    let store = fresh_store(start);
    let calls = Arc::new(AtomicUsize::new(0));
    let codes = service(Stepped(wrap(store.clone()), Arc::clone(&calls)));
    let mut living: Vec<(usize, Running<'_>)> = Vec::new();
    for (index, op) in ops.iter().enumerate() {
        living.push((index, Box::pin(perform(&codes, *op, start))));
    }
    let mut done: Vec<Option<Done>> = ops.iter().map(|_| None).collect();
    let mut context = TaskContext::from_waker(Waker::noop());
    while !living.is_empty() {
        let chosen = if living.len() == 1 {
            0
        } else {
            choose(living.len())
        };
        if let Poll::Ready(outcome) = living[chosen].1.as_mut().poll(&mut context) {
            let (index, _) = living.remove(chosen);
            done[index] = Some(outcome);
        }
    }
    drop(living);
    let calls = calls.load(Ordering::Relaxed);
    (
        done.into_iter().map(|outcome| outcome.unwrap()).collect(),
        store,
        calls,
    )
}

/// What must hold after every schedule.
fn judge(ops: &[Op], start: &Start, wrong_before: u8, done: &[Done], store: &Store) {
    let loaded = block_on(store.load(alice().id(), Freshness::Latest))
        .unwrap()
        .unwrap();
    let before = Record::from_json(&start.record).unwrap();
    let after = Record::from_json(&loaded.record).unwrap();
    let events = block_on(store.undelivered(1000)).unwrap();
    let count = |kind: EventKind, outcome: EventOutcome, reason: Option<Reason>| {
        let matches = |event: &&Event| {
            event.kind == kind
                && event.outcome == outcome
                && (reason.is_none() || event.reason == reason)
        };
        events.iter().filter(matches).count()
    };
    // At most one acceptance a code.
    for slot in 1..=10 {
        let accepted = done
            .iter()
            .filter(|done| **done == Done::Accepted(slot))
            .count();
        assert!(
            accepted <= 1,
            "code {slot} was accepted {accepted} times: {ops:?}"
        );
    }
    // No accepted use without its event, and no use without its event.
    let accepted = done
        .iter()
        .filter(|done| matches!(done, Done::Accepted(_)))
        .count();
    let redeemed = count(EventKind::Redeem, EventOutcome::Success, None);
    assert!(
        accepted <= redeemed,
        "an accepted use has no event: {ops:?} {done:?}"
    );
    let cx = Context::system(now());
    let status = |record: &Record| {
        let user = alice();
        let config = Config::default();
        let act = backup_codes::rules::Act {
            user: user.id(),
            context: &cx,
            config: &config,
            low_threshold: 3,
            operation: backup_codes::AttemptId::from_bytes([0; 16]),
            revision: Revision::from_bytes([0; 16]),
        };
        backup_codes::rules::status(record, &act)
    };
    let (was, is) = (status(&before), status(&after));
    if was.set == is.set {
        let used = is
            .slots
            .iter()
            .filter(|slot| slot.used_at.is_some())
            .count();
        assert_eq!(used, redeemed, "uses and events differ: {ops:?} {done:?}");
        // A code accepted is spent in the record.
        for slot in done.iter().filter_map(|done| match done {
            Done::Accepted(slot) => Some(*slot),
            _ => None,
        }) {
            assert!(
                is.slots
                    .iter()
                    .any(|s| s.slot == slot && s.used_at.is_some())
            );
        }
    }
    // The old set, the new one, or none after a revocation; never something in between.
    assert!(is.set == was.set || is.set == Some(start.pending) || ops.contains(&Op::Revoke));
    // No wrong verdict without its write: each told is an event, and the limit is exact.
    let told = done
        .iter()
        .filter(|done| **done == Done::Refused(Reason::Wrong))
        .count();
    let written = count(
        EventKind::Redeem,
        EventOutcome::Failure,
        Some(Reason::Wrong),
    );
    assert!(
        told <= written,
        "a verdict was told before its write: {ops:?} {done:?}"
    );
    let clears = ops.iter().any(|op| !matches!(op, Op::Wrong));
    if !clears {
        assert_eq!(
            usize::from(is.wrong_in_a_row),
            usize::from(wrong_before) + written
        );
        assert!(is.wrong_in_a_row <= 20, "the lifetime run is exact");
        if wrong_before < 10 {
            assert!(is.wrong_in_a_row <= 10, "the lock is exact");
        }
    }
    // An operation that failed told nothing; whether it wrote is free.
}

/// Enumerates all schedules for these operations and faults, depth first. Returns how many there
/// were, and the most calls of one.
fn every_schedule<R: CodeRepository>(
    ops: &[Op],
    wrong_before: u8,
    wrap: impl Fn(Store) -> R,
    begin: &Start,
) -> (usize, usize) {
    let mut schedules = 0;
    let mut most_calls = 0;
    // The choices of the schedule being run: which of how many.
    let mut path: Vec<(usize, usize)> = Vec::new();
    loop {
        let depth = Cell::new(0);
        let (done, store, calls) = run(ops, begin, &wrap, |options| {
            let at = depth.replace(depth.get() + 1);
            if at == path.len() {
                path.push((0, options));
            }
            assert_eq!(path[at].1, options, "a schedule must be repeatable");
            path[at].0
        });
        judge(ops, begin, wrong_before, &done, &store);
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

/// All schedules without a fault and with each fault at each call.
fn every_fault(ops: &[Op], wrong_before: u8, most_calls: usize) -> usize {
    let begin = start(wrong_before);
    let (mut total, calls) =
        every_schedule(ops, wrong_before, |store| Faulty::new(store, []), &begin);
    for call in 0..(calls + 2).min(most_calls) {
        for fault in FAULTS {
            let mut faults = vec![Fault::None; call];
            faults.push(fault);
            total += {
                let wrap = |store| Faulty::new(store, faults.clone());
                every_schedule(ops, wrong_before, wrap, &begin).0
            };
        }
    }
    report(&format!(
        "{ops:?} after {wrong_before} wrong: {total} schedules"
    ));
    total
}

#[test]
fn two_operations_with_a_fault_at_every_call() {
    let pairs: [&[Op]; 8] = [
        &[Op::Redeem(3), Op::Redeem(3)],
        &[Op::Redeem(3), Op::Redeem(4)],
        &[Op::Redeem(3), Op::Wrong],
        &[Op::Wrong, Op::Wrong],
        &[Op::Redeem(3), Op::Activate],
        &[Op::Redeem(3), Op::Revoke],
        &[Op::Wrong, Op::Unlock],
        &[Op::Activate, Op::Activate],
    ];
    let mut total = 0;
    for ops in pairs {
        for wrong_before in [0, 9] {
            total += every_fault(ops, wrong_before, usize::MAX);
        }
    }
    report(&format!("{total} schedules of two operations"));
    assert!(total > 1000);
}

#[test]
fn three_operations() {
    let triples: [&[Op]; 4] = [
        &[Op::Redeem(3), Op::Redeem(3), Op::Redeem(3)],
        &[Op::Redeem(3), Op::Redeem(3), Op::Wrong],
        &[Op::Wrong, Op::Wrong, Op::Wrong],
        &[Op::Redeem(3), Op::Activate, Op::Wrong],
    ];
    let deep = std::env::var_os("BACKUP_CODES_DEEP").is_some();
    let most_calls = if deep { usize::MAX } else { 1 };
    let mut total = 0;
    for ops in triples {
        total += every_fault(ops, 8, most_calls);
    }
    report(&format!("{total} schedules of three operations"));
    assert!(total > 1000);
}

/// The search can fail: a store whose conditional write is a read and a write lets one code in
/// twice, and some schedule shows it.
#[test]
fn a_torn_conditional_write_is_found() {
    struct Torn(Store, Mutex<()>);
    impl CodeRepository for Torn {
        type Error = std::convert::Infallible;
        async fn load(&self, u: &UserId, f: Freshness) -> Result<Option<Loaded>, Self::Error> {
            self.0.load(u, f).await
        }
        async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Self::Error>> {
            // Writes whatever the state is.
            drop(self.1.lock().unwrap_or_else(PoisonError::into_inner));
            let current = self
                .0
                .load(put.user, Freshness::Latest)
                .await
                .map_err(PutError::Unknown)?;
            let expected = current.map_or(backup_codes::Expected::Absent, |l| {
                backup_codes::Expected::At(l.revision)
            });
            let Put {
                user,
                revision,
                record,
                summary,
                events,
                ..
            } = put;
            self.0
                .put(Put::new(user, expected, revision, record, summary, events))
                .await
        }
        async fn remove(
            &self,
            u: &UserId,
            r: Revision,
        ) -> Result<PutOutcome, PutError<Self::Error>> {
            self.0.remove(u, r).await
        }
        async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Self::Error> {
            self.0.undelivered(limit).await
        }
        async fn acknowledge(&self, _: &[EventId]) -> Result<(), Self::Error> {
            Ok(())
        }
    }
    let begin = start(0);
    let search = |ops: &[Op]| {
        let begin = AssertUnwindSafe(&begin);
        catch_unwind(|| every_schedule(ops, 0, |store| Torn(store, Mutex::new(())), *begin))
            .is_err()
    };
    assert!(
        search(&[Op::Redeem(3), Op::Redeem(3)]),
        "one code is let in twice"
    );
    assert!(
        search(&[Op::Wrong, Op::Wrong]),
        "a wrong code is not counted"
    );
    assert!(search(&[Op::Redeem(3), Op::Redeem(4)]), "a use is lost");
}
