//! The contract of a [`CodeRepository`] as tests, one case a clause.
//!
//! Implement [`Harness`] for your store and let the macro make named tests of the cases:
//!
//! ```
//! use std::future::Future;
//! use backup_codes::{MemoryRepository, conformance::{Harness, block_on}};
//!
//! struct Memory;
//!
//! impl Harness for Memory {
//!     type Repository = MemoryRepository;
//!     fn fresh(&self) -> MemoryRepository {
//!         MemoryRepository::new()
//!     }
//!     fn second_handle(&self, first: &MemoryRepository) -> MemoryRepository {
//!         first.clone()
//!     }
//!     fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
//!         block_on(future)
//!     }
//! }
//!
//! mod memory {
//!     backup_codes::conformance_tests!(super::Memory);
//! }
//! # fn main() {}
//! ```
//!
//! A case panics, with the clause it is about, when the store breaks it. No case can show clauses 4
//! and 7: that an applied write survives a crash, and that no clock of the store's own has a part in
//! it, is not to be seen from outside.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "cases of a test suite"
)]
#![expect(
    clippy::missing_panics_doc,
    reason = "every case panics where its clause is broken"
)]

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread;

use getrandom::SysRng;

use crate::acceptance::{Acceptance, Scheme};
use crate::config::Config;
use crate::context::Context;
use crate::event::{Event, EventKind, EventOutcome};
use crate::format::{Format, Formats};
use crate::hash::{Cost, Hasher};
use crate::id::{EventId, Revision, UserId};
use crate::keyring::{KeyId, Keyring, Pepper};
use crate::record::{Use, quarter_of};
use crate::repository::{
    CodeRepository, Directory, Expected, Freshness, Loaded, Put, PutError, PutOutcome,
    SettingsStore, UserFilter, UserOrder, UsersQuery,
};
use crate::settings::{Settings, Switch};
use crate::timestamp::Timestamp;
use crate::usage::{SetSummary, Summary, UsageQuery, Windows, schemes, usage};

/// A store under test.
pub trait Harness: Sync {
    /// The store.
    type Repository: CodeRepository;

    /// An empty store.
    fn fresh(&self) -> Self::Repository;

    /// Another way into the same store, as a second node has it: another connection or pool.
    fn second_handle(&self, first: &Self::Repository) -> Self::Repository;

    /// Runs a future to its end on this thread. [`block_on`] does for stores that need no
    /// runtime.
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T;
}

/// Runs a future to its end on this thread, parking it while it waits.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// Makes a named test of each case, for a harness value.
#[macro_export]
macro_rules! conformance_tests {
    ($harness:expr) => {
        $crate::conformance_tests!(@cases tests $harness);
    };
    (@cases $mode:ident $($argument:tt)+) => {
        $crate::conformance_tests!(@$mode $($argument)+;
            absent_user_has_no_record,
            put_then_load_gives_the_same_bytes,
            put_needs_the_expected_state,
            keys_are_compared_byte_for_byte,
            every_key_byte_is_kept,
            one_of_two_racing_creations_wins,
            one_of_many_racing_updates_wins,
            no_update_is_lost_in_a_race,
            latest_sees_the_other_handle,
            any_is_never_torn,
            events_come_with_their_write,
            events_of_a_conflict_are_not_kept,
            events_stay_until_acknowledged,
            acknowledging_is_idempotent,
            events_outlive_their_record,
            every_event_comes_page_by_page,
            remove_needs_the_expected_revision,
            large_records_are_kept_whole,
            a_dropped_put_is_whole_or_nothing,
            a_dropped_remove_is_whole_or_nothing,
            a_dropped_acknowledge_takes_only_its_own,
            a_dropped_read_changes_nothing,
        );
    };
    (@tests $harness:expr; $($case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::$case(&$harness);
            }
        )*
    };
    (@run $harness:ident $passed:ident; $($case:ident,)*) => {
        $(
            $crate::conformance::$case($harness);
            $passed(stringify!($case));
        )*
    };
}

/// Makes a named test of each case for a store that is a [`Directory`] too.
#[macro_export]
macro_rules! directory_conformance_tests {
    ($harness:expr) => {
        $crate::conformance_tests!(@tests $harness;
            pages_equal_the_plain_rule,
            usage_equals_the_plain_rule,
            schemes_equal_the_plain_rule,
        );
    };
}

/// Makes a named test of each case for a store that is a [`SettingsStore`] too.
#[macro_export]
macro_rules! settings_conformance_tests {
    ($harness:expr) => {
        $crate::conformance_tests!(@tests $harness;
            settings_come_back_as_they_were_saved,
            saving_settings_needs_the_expected_state,
            settings_events_come_with_their_save,
        );
    };
}

/// Runs every case, in a program that is not a test, and names each that has passed.
pub fn run<H: Harness>(harness: &H, mut passed: impl FnMut(&str)) {
    conformance_tests!(@cases run harness passed);
}

/// The ids of a case, and shorthand for its writes.
struct Case<'h, H: Harness>(&'h H);

fn user(key: impl AsRef<[u8]>) -> UserId {
    UserId::new(key).unwrap()
}

fn revision() -> Revision {
    Revision::random(&mut SysRng).unwrap()
}

fn event(user: &UserId) -> Event {
    let id = EventId::random(&mut SysRng).unwrap();
    let context = Context::system(Timestamp::from_unix_millis(1_790_000_000_123).unwrap());
    Event::new(
        id,
        EventKind::Redeem,
        EventOutcome::Success,
        Some(user),
        &context,
    )
}

impl<H: Harness> Case<'_, H> {
    fn put(
        &self,
        store: &H::Repository,
        user: &UserId,
        expected: Expected,
        revision: Revision,
        record: &str,
        events: &[Event],
    ) -> PutOutcome {
        let summary = Summary::default();
        let put = Put::new(user, expected, revision, record, &summary, events);
        match self.0.block_on(store.put(put)) {
            Ok(outcome) => outcome,
            Err(error) => panic!("a put failed: {error:?}"),
        }
    }

    fn applied(
        &self,
        store: &H::Repository,
        user: &UserId,
        expected: Expected,
        revision: Revision,
        record: &str,
        events: &[Event],
    ) {
        let outcome = self.put(store, user, expected, revision, record, events);
        assert_eq!(
            outcome,
            PutOutcome::Applied,
            "clause 2: the state was as expected"
        );
    }

    fn load(&self, store: &H::Repository, user: &UserId) -> Option<Loaded> {
        match self.0.block_on(store.load(user, Freshness::Latest)) {
            Ok(loaded) => loaded,
            Err(error) => panic!("a load failed: {error:?}"),
        }
    }

    fn undelivered(&self, store: &H::Repository) -> Vec<Event> {
        match self.0.block_on(store.undelivered(1000)) {
            Ok(events) => events,
            Err(error) => panic!("listing events failed: {error:?}"),
        }
    }
}

/// A user without a record is `None`, not an empty record.
pub fn absent_user_has_no_record<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    assert_eq!(
        case.load(&store, &user("a")),
        None,
        "clause 5: an absent user has no record"
    );
}

/// Record and revision come back as they were put.
pub fn put_then_load_gives_the_same_bytes<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let (a, first, second) = (user("a"), revision(), revision());
    let record = "{\"text\":\"ä \\u0000 \\\" ' % _ \u{1f511}\"}";
    assert_eq!(
        case.put(&store, &a, Expected::Absent, first, record, &[]),
        PutOutcome::Applied
    );
    let expected = Some(Loaded {
        record: record.to_owned(),
        revision: first,
    });
    assert_eq!(
        case.load(&store, &a),
        expected,
        "clause 5: what was put is what is loaded"
    );
    assert_eq!(
        case.put(&store, &a, Expected::At(first), second, "{}", &[]),
        PutOutcome::Applied
    );
    let expected = Some(Loaded {
        record: "{}".to_owned(),
        revision: second,
    });
    assert_eq!(
        case.load(&store, &a),
        expected,
        "clause 5: record and revision belong together"
    );
}

/// A put that expects another state changes nothing.
pub fn put_needs_the_expected_state<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let (a, first, second) = (user("a"), revision(), revision());
    let put = |expected, revision, record| case.put(&store, &a, expected, revision, record, &[]);
    assert_eq!(
        put(Expected::At(second), first, "0"),
        PutOutcome::Conflict,
        "clause 2: absent"
    );
    assert_eq!(
        case.load(&store, &a),
        None,
        "clause 2: a conflict changes nothing"
    );
    assert_eq!(put(Expected::Absent, first, "1"), PutOutcome::Applied);
    assert_eq!(
        put(Expected::Absent, second, "2"),
        PutOutcome::Conflict,
        "clause 2: present"
    );
    assert_eq!(
        put(Expected::At(second), second, "3"),
        PutOutcome::Conflict,
        "clause 2: another"
    );
    let loaded = case.load(&store, &a).expect("the first put was applied");
    assert_eq!(
        (loaded.record.as_str(), loaded.revision),
        ("1", first),
        "clause 2: unchanged"
    );
    assert_eq!(put(Expected::At(first), second, "4"), PutOutcome::Applied);
    assert_eq!(
        put(Expected::At(first), revision(), "5"),
        PutOutcome::Conflict,
        "clause 2: stale"
    );
}

/// Keys that differ in case, trailing space, normalisation, prefix or a NUL are different users.
pub fn keys_are_compared_byte_for_byte<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let keys: [&[u8]; 14] = [
        b"alice",
        b"Alice",
        b"ALICE",
        b"alice ",
        b" alice",
        b"alice\0",
        b"alic",
        b"alicea",
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        "\u{df}".as_bytes(),
        b"ss",
        b"1",
        b"01",
    ];
    for (number, key) in keys.iter().enumerate() {
        let record = number.to_string();
        let outcome = case.put(
            &store,
            &user(key),
            Expected::Absent,
            revision(),
            &record,
            &[],
        );
        assert_eq!(
            outcome,
            PutOutcome::Applied,
            "clause 1: {:?} is another user",
            user(key)
        );
    }
    for (number, key) in keys.iter().enumerate() {
        let loaded = case.load(&store, &user(key)).expect("each was put");
        assert_eq!(
            loaded.record,
            number.to_string(),
            "clause 1: the record of {:?}",
            user(key)
        );
    }
}

/// Keys of one byte of any value and of 255 bytes are kept.
pub fn every_key_byte_is_kept<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let mut keys: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    keys.push(vec![0xff; 255]);
    keys.push(vec![0xff; 254]);
    for key in &keys {
        let record = format!("{key:?}");
        let outcome = case.put(
            &store,
            &user(key),
            Expected::Absent,
            revision(),
            &record,
            &[],
        );
        assert_eq!(outcome, PutOutcome::Applied, "clause 1: {key:?}");
    }
    for key in &keys {
        let loaded = case.load(&store, &user(key)).expect("each was put");
        assert_eq!(loaded.record, format!("{key:?}"), "clause 1");
    }
}

/// Runs one put in each of many threads, begun together, half of them over the second handle.
fn race<H: Harness>(
    harness: &H,
    store: &H::Repository,
    racers: usize,
    run: impl Fn(usize, &H::Repository) -> PutOutcome + Sync,
) -> usize {
    let second = harness.second_handle(store);
    let (barrier, applied) = (Barrier::new(racers), AtomicUsize::new(0));
    thread::scope(|scope| {
        for racer in 0..racers {
            let (run, barrier, applied, second) = (&run, &barrier, &applied, &second);
            scope.spawn(move || {
                let handle = if racer % 2 == 0 { store } else { second };
                barrier.wait();
                if run(racer, handle) == PutOutcome::Applied {
                    applied.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    applied.into_inner()
}

/// Of many creations at once exactly one is applied.
pub fn one_of_two_racing_creations_wins<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    for round in 0..20 {
        let a = user(format!("user {round}"));
        let applied = race(harness, &store, 8, |racer, handle| {
            case.put(
                handle,
                &a,
                Expected::Absent,
                revision(),
                &racer.to_string(),
                &[],
            )
        });
        assert_eq!(applied, 1, "clause 3: one creation wins");
    }
}

/// Of many updates of the same state exactly one is applied.
pub fn one_of_many_racing_updates_wins<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    for round in 0..20 {
        let (a, first) = (user(format!("user {round}")), revision());
        assert_eq!(
            case.put(&store, &a, Expected::Absent, first, "0", &[]),
            PutOutcome::Applied
        );
        let applied = race(harness, &store, 8, |racer, handle| {
            case.put(
                handle,
                &a,
                Expected::At(first),
                revision(),
                &racer.to_string(),
                &[],
            )
        });
        assert_eq!(applied, 1, "clause 3: one update wins");
    }
}

/// Counters raised by load and conditional put from many threads lose nothing.
pub fn no_update_is_lost_in_a_race<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let (a, first) = (user("a"), revision());
    assert_eq!(
        case.put(&store, &a, Expected::Absent, first, "0", &[]),
        PutOutcome::Applied
    );
    race(harness, &store, 4, |_, handle| {
        for _ in 0..10 {
            loop {
                let loaded = case.load(handle, &a).expect("it was put");
                let count: u32 = loaded.record.parse().expect("a number was put");
                let next = (count + 1).to_string();
                let expected = Expected::At(loaded.revision);
                if case.put(handle, &a, expected, revision(), &next, &[]) == PutOutcome::Applied {
                    break;
                }
            }
        }
        PutOutcome::Applied
    });
    let loaded = case.load(&store, &a).expect("it was put");
    assert_eq!(loaded.record, "40", "clauses 2 and 3: no update is lost");
}

/// A load with `Latest` sees what another handle has written.
pub fn latest_sees_the_other_handle<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let second = harness.second_handle(&store);
    let a = user("a");
    let mut expected = Expected::Absent;
    for number in 0..20 {
        let (writer, reader) = if number % 2 == 0 {
            (&store, &second)
        } else {
            (&second, &store)
        };
        let next = revision();
        let outcome = case.put(writer, &a, expected, next, &number.to_string(), &[]);
        assert_eq!(
            outcome,
            PutOutcome::Applied,
            "clause 2: what was loaded is expected"
        );
        let loaded = case.load(reader, &a).expect("it was put");
        assert_eq!(
            loaded.record,
            number.to_string(),
            "clause 5: latest is latest"
        );
        expected = Expected::At(loaded.revision);
    }
}

/// What is loaded with `Any`, while others write, is one state: its record and its revision.
pub fn any_is_never_torn<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let (a, first) = (user("a"), revision());
    case.applied(&store, &a, Expected::Absent, first, &first.to_string(), &[]);
    race(harness, &store, 4, |racer, handle| {
        let mut at = first;
        for _ in 0..50 {
            match harness.block_on(handle.load(&a, Freshness::Any)) {
                Ok(Some(loaded)) => {
                    let torn = loaded.record != loaded.revision.to_string();
                    assert!(!torn, "clause 5: record and revision belong together");
                    at = loaded.revision;
                }
                Ok(None) => {}
                Err(error) => panic!("a load failed: {error:?}"),
            }
            if racer < 2 {
                let next = revision();
                let _ = case.put(handle, &a, Expected::At(at), next, &next.to_string(), &[]);
            }
        }
        PutOutcome::Conflict
    });
}

/// The events of an applied put are listed, whole and unchanged.
pub fn events_come_with_their_write<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let a = user(b"\xff\0a");
    let events = [event(&a), event(&a)];
    let outcome = case.put(&store, &a, Expected::Absent, revision(), "{}", &events);
    assert_eq!(outcome, PutOutcome::Applied);
    let mut listed = case.undelivered(&store);
    listed.sort_by_key(|event| event.id);
    let mut expected = events.to_vec();
    expected.sort_by_key(|event| event.id);
    assert_eq!(
        listed, expected,
        "clause 6: the events of the write are listed unchanged"
    );
    match harness.block_on(store.undelivered(1)) {
        Ok(page) => assert_eq!(page.len(), 1, "clause 6: at most `limit` events"),
        Err(error) => panic!("listing events failed: {error:?}"),
    }
}

/// A put that is not applied leaves no events.
pub fn events_of_a_conflict_are_not_kept<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let a = user("a");
    let outcome = case.put(
        &store,
        &a,
        Expected::At(revision()),
        revision(),
        "{}",
        &[event(&a)],
    );
    assert_eq!(outcome, PutOutcome::Conflict);
    assert_eq!(
        case.undelivered(&store),
        [],
        "clause 2: a conflict keeps no events"
    );
}

/// Events are listed again and again, whatever is put, until they are acknowledged.
pub fn events_stay_until_acknowledged<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let (a, first) = (user("a"), revision());
    let events = [event(&a), event(&a)];
    case.applied(&store, &a, Expected::Absent, first, "1", &events[..1]);
    case.applied(
        &store,
        &a,
        Expected::At(first),
        revision(),
        "2",
        &events[1..],
    );
    assert_eq!(
        case.undelivered(&store).len(),
        2,
        "clause 6: later puts keep earlier events"
    );
    if let Err(error) = harness.block_on(store.acknowledge(&[events[0].id])) {
        panic!("acknowledging failed: {error:?}");
    }
    assert_eq!(
        case.undelivered(&store),
        events[1..],
        "clause 6: the acknowledged one is gone"
    );
}

/// Acknowledging twice, or something unknown, does no harm.
pub fn acknowledging_is_idempotent<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let a = user("a");
    let events = [event(&a), event(&a)];
    case.applied(&store, &a, Expected::Absent, revision(), "1", &events);
    for ids in [
        vec![events[0].id],
        vec![events[0].id],
        vec![event(&a).id],
        vec![],
    ] {
        if let Err(error) = harness.block_on(store.acknowledge(&ids)) {
            panic!("acknowledging failed: {error:?}");
        }
    }
    assert_eq!(
        case.undelivered(&store),
        events[1..],
        "clause 6: the other event stays"
    );
}

/// Removing a record leaves its events.
pub fn events_outlive_their_record<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let (a, first) = (user("a"), revision());
    case.applied(&store, &a, Expected::Absent, first, "1", &[event(&a)]);
    match harness.block_on(store.remove(&a, first)) {
        Ok(PutOutcome::Applied) => {}
        other => panic!("clause 2: a removal at the right revision: {other:?}"),
    }
    assert_eq!(case.load(&store, &a), None, "a removed record is absent");
    assert_eq!(
        case.undelivered(&store).len(),
        1,
        "clause 6: events outlive the record"
    );
}

/// Events of many writes, taken and acknowledged a page at a time, come each once and to an end.
///
/// In which order they come is not tested: a store of many partitions knows none across them.
pub fn every_event_comes_page_by_page<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let mut written = Vec::new();
    for number in 0..20u8 {
        let a = user([number]);
        let kept = event(&a);
        let events = std::slice::from_ref(&kept);
        case.applied(&store, &a, Expected::Absent, revision(), "1", events);
        written.push(kept.id);
    }
    let mut listed = Vec::new();
    loop {
        let page = match harness.block_on(store.undelivered(3)) {
            Ok(page) => page,
            Err(error) => panic!("listing events failed: {error:?}"),
        };
        assert!(page.len() <= 3, "clause 6: at most `limit` events");
        let ids: Vec<EventId> = page.iter().map(|event| event.id).collect();
        if ids.is_empty() {
            break;
        }
        if let Err(error) = harness.block_on(store.acknowledge(&ids)) {
            panic!("acknowledging failed: {error:?}");
        }
        listed.extend(ids);
        assert!(
            listed.len() <= written.len(),
            "clause 6: what is acknowledged does not come again"
        );
    }
    listed.sort_unstable();
    written.sort_unstable();
    assert_eq!(listed, written, "clause 6: every event comes");
}

/// A removal that expects another revision changes nothing.
pub fn remove_needs_the_expected_revision<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let (a, b, first) = (user("a"), user("b"), revision());
    case.applied(&store, &a, Expected::Absent, first, "1", &[]);
    for (user, expected) in [(&a, revision()), (&b, first)] {
        match harness.block_on(store.remove(user, expected)) {
            Ok(PutOutcome::Conflict) => {}
            other => panic!("clause 2: a removal at another revision: {other:?}"),
        }
    }
    assert!(
        case.load(&store, &a).is_some(),
        "clause 2: a conflict removes nothing"
    );
}

/// A record of the greatest size comes back whole.
pub fn large_records_are_kept_whole<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let a = user("a");
    let record = format!("\"{}\"", "x".repeat(crate::Record::MAX_JSON_LEN - 2));
    case.applied(&store, &a, Expected::Absent, revision(), &record, &[]);
    let loaded = case.load(&store, &a).expect("it was put");
    assert!(
        loaded.record == record,
        "clause 5: a large record comes back whole"
    );
}

/// A put whose future is dropped after any number of polls is applied with its events, or not at
/// all.
pub fn a_dropped_put_is_whole_or_nothing<H: Harness>(harness: &H) {
    let case = Case(harness);
    for polls in 0..12 {
        let store = harness.fresh();
        let (a, first) = (user("a"), revision());
        let events = [event(&a)];
        let summary = Summary::default();
        let put = Put::new(&a, Expected::Absent, first, "1", &summary, &events);
        harness.block_on(Polls {
            future: Box::pin(store.put(put)),
            left: polls,
        });
        // The dropped write may still be on its way. This one expects the same state, so at most
        // one of the two is applied, and after it nothing is on its way any more.
        let there = match case.put(&store, &a, Expected::Absent, revision(), "0", &[]) {
            PutOutcome::Applied => false,
            PutOutcome::Conflict => true,
        };
        let loaded = case.load(&store, &a).expect("one of the two was applied");
        assert_eq!(
            loaded.revision == first,
            there,
            "clause 2: a conflict is with the dropped write"
        );
        let listed = case.undelivered(&store).len();
        assert_eq!(
            listed,
            usize::from(there),
            "clause 2: record and events are one write"
        );
        let expected = Expected::At(loaded.revision);
        let outcome = case.put(&store, &a, expected, revision(), "2", &[]);
        assert_eq!(outcome, PutOutcome::Applied, "clause 2: the store works on");
    }
}

/// A removal whose future is dropped after any number of polls is applied or not; its events stay.
pub fn a_dropped_remove_is_whole_or_nothing<H: Harness>(harness: &H) {
    let case = Case(harness);
    for polls in 0..12 {
        let store = harness.fresh();
        let (a, first) = (user("a"), revision());
        let events = [event(&a)];
        case.applied(&store, &a, Expected::Absent, first, "1", &events);
        harness.block_on(Polls {
            future: Box::pin(store.remove(&a, first)),
            left: polls,
        });
        if let Some(loaded) = case.load(&store, &a) {
            let whole = loaded.record == "1" && loaded.revision == first;
            assert!(whole, "clause 2: a removal is whole or nothing");
        }
        // As for a dropped put: at most one of the two is applied, and then nothing is on its way.
        match case.put(&store, &a, Expected::At(first), revision(), "2", &[]) {
            PutOutcome::Applied => assert!(
                case.load(&store, &a).is_some(),
                "clause 2: a removal at another revision removes nothing"
            ),
            PutOutcome::Conflict => {
                assert_eq!(
                    case.load(&store, &a),
                    None,
                    "clause 2: a conflict is with the dropped removal"
                );
                let outcome = case.put(&store, &a, Expected::Absent, revision(), "2", &[]);
                assert_eq!(outcome, PutOutcome::Applied, "clause 2: the store works on");
            }
        }
        assert_eq!(
            case.undelivered(&store),
            events,
            "clause 6: events outlive the record"
        );
    }
}

/// An acknowledgement whose future is dropped after any number of polls takes no event but those
/// it names, and can be repeated.
pub fn a_dropped_acknowledge_takes_only_its_own<H: Harness>(harness: &H) {
    let case = Case(harness);
    for polls in 0..12 {
        let store = harness.fresh();
        let a = user("a");
        let events = [event(&a), event(&a), event(&a)];
        case.applied(&store, &a, Expected::Absent, revision(), "1", &events);
        let ids = [events[0].id, events[1].id];
        harness.block_on(Polls {
            future: Box::pin(store.acknowledge(&ids)),
            left: polls,
        });
        assert!(
            case.undelivered(&store).contains(&events[2]),
            "clause 6: the other event stays"
        );
        if let Err(error) = harness.block_on(store.acknowledge(&ids)) {
            panic!("clause 6: acknowledging again failed: {error:?}");
        }
        assert_eq!(
            case.undelivered(&store),
            events[2..],
            "clause 6: those that were named are gone"
        );
    }
}

/// A load, or a list of events, whose future is dropped after any number of polls leaves
/// everything as it was.
pub fn a_dropped_read_changes_nothing<H: Harness>(harness: &H) {
    let (case, store) = (Case(harness), harness.fresh());
    let (a, first) = (user("a"), revision());
    let events = [event(&a)];
    case.applied(&store, &a, Expected::Absent, first, "1", &events);
    let before = case.load(&store, &a);
    for polls in 0..12 {
        for freshness in [Freshness::Any, Freshness::Latest] {
            harness.block_on(Polls {
                future: Box::pin(store.load(&a, freshness)),
                left: polls,
            });
        }
        harness.block_on(Polls {
            future: Box::pin(store.undelivered(10)),
            left: polls,
        });
        assert_eq!(case.load(&store, &a), before, "a read changes nothing");
        assert_eq!(
            case.undelivered(&store),
            events,
            "clause 6: listed is not acknowledged"
        );
    }
    let outcome = case.put(&store, &a, Expected::At(first), revision(), "2", &[]);
    assert_eq!(outcome, PutOutcome::Applied, "clause 2: the store works on");
}

fn moment(minutes: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_789_999_200_000 + minutes * 60_000).unwrap()
}

/// The moment before which sets are void, where one is asked for.
const VOID_BEFORE: i64 = -4800;

/// A moment a few milliseconds away from another.
fn near(minutes: i64, millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(moment(minutes).unix_millis() + millis).unwrap()
}

/// A hasher with a key and a costly default, and what it accepts together with two formats: more
/// than the default conditions in each respect but for hashes without a key.
fn wider_acceptance() -> (Hasher, Acceptance) {
    let pepper = Pepper::new([7; 32]).unwrap();
    let hasher = Hasher::new(Keyring::new(KeyId::new("a").unwrap(), pepper)).unwrap();
    let hasher = hasher.with_cost(Cost::new(65_536, 3).unwrap()).unwrap();
    let formats = Formats::new(Format::CROCKFORD).accepting(Format::DIGITS);
    let config = Config::default().with_formats(formats.unwrap());
    let acceptance = Acceptance::new(&config, &hasher);
    (hasher, acceptance)
}

/// One of the schemes that differ in what accepts them: by both conditions, by one, by neither.
fn scheme(number: u8, hasher: &Hasher) -> Scheme {
    let known = hasher.current_key().cloned();
    let other = Some("a:00000000".parse().unwrap());
    let costly = Cost::new(65_536, 3).unwrap();
    let cheap = Cost::new(4096, 1).unwrap();
    match number % 8 {
        0..=2 => Scheme::new(Format::CROCKFORD, Cost::MIB_19, None),
        3 => Scheme::new(Format::CROCKFORD, Cost::MIB_19, known),
        4 => Scheme::new(Format::CROCKFORD, Cost::MIB_19, other),
        5 => Scheme::new(Format::DIGITS, Cost::MIB_19, known),
        6 => Scheme::new(Format::CROCKFORD, costly, known),
        _ => Scheme::new(Format::CROCKFORD, cheap, known),
    }
}

/// The summary of the `number`th user, one of every kind, in its `version`th state.
fn summary(number: u8, version: u8, hasher: &Hasher) -> Summary {
    let minutes = i64::from(number) * 97 % 1000 + i64::from(version) * 7;
    let edge = i64::from(number % 3) - 1;
    let set = ((number + version) % 5 != 4).then(|| SetSummary {
        scheme: scheme(number / 2, hasher),
        total: 10,
        unused: (number + version) % 11 % 10,
        prepared_at: match number % 4 {
            // Just before, at, or just after the moment that voids sets.
            1 => near(VOID_BEFORE, edge),
            // And the moment from which one counts as written by a clock that was ahead.
            2 => near(5, edge),
            _ => moment(minutes - 5000),
        },
        activated_at: moment(minutes - 4990),
        // Some expire just before, at, or just after the moment asked about.
        expires_at: match number % 7 {
            0 => Some(moment(minutes - 500)),
            1 => Some(near(0, edge)),
            _ => None,
        },
        proved_at: (number % 3 == 1).then(|| moment(minutes - 3000)),
    });
    let quarters = (0..(number + version) % 4).map(|n| {
        let quarter = quarter_of(moment(-i64::from(n) * 1500 - minutes));
        Use {
            quarter,
            count: u16::from(n + version) + 1,
        }
    });
    let mut uses: Vec<Use> = quarters.collect();
    uses.sort_unstable();
    Summary {
        set,
        last_used_at: (!uses.is_empty()).then(|| moment(-minutes)),
        uses,
        erased_at: (number % 13 == 12).then(|| moment(0)),
    }
}

/// Users of every kind, each under a key of its own: put, most of them put again in another state,
/// some removed.
fn various<H: Harness>(
    case: &Case<'_, H>,
    store: &H::Repository,
    hasher: &Hasher,
) -> Vec<(UserId, Summary)> {
    let mut users = Vec::new();
    for number in 0..60u8 {
        let key = user([b'k', number % 3, number]);
        let mut expected = Expected::Absent;
        for version in 0..=number % 3 {
            let (summary, revision) = (summary(number, version, hasher), revision());
            let put = Put::new(&key, expected, revision, "{}", &summary, &[]);
            match case.0.block_on(store.put(put)) {
                Ok(PutOutcome::Applied) => {}
                other => panic!("a put in the state expected: {other:?}"),
            }
            expected = Expected::At(revision);
        }
        match expected {
            Expected::At(revision) if number % 10 == 7 => {
                match case.0.block_on(store.remove(&key, revision)) {
                    Ok(PutOutcome::Applied) => {}
                    other => panic!("a removal at the revision it has: {other:?}"),
                }
            }
            _ => users.push((key, summary(number, number % 3, hasher))),
        }
    }
    users
}

/// Every filter in every order, page by page, gives the rows of [`UsersQuery::page`]: of all users,
/// of those with some bytes in their key, of those that are named.
pub fn pages_equal_the_plain_rule<H: Harness>(harness: &H)
where
    H::Repository: Directory,
{
    let (case, store) = (Case(harness), harness.fresh());
    let (hasher, wider) = wider_acceptance();
    let users = various(&case, &store, &hasher);
    let void = |acceptance: &Acceptance| {
        let moment = moment(VOID_BEFORE);
        acceptance.clone().with_void_before(Some(moment))
    };
    let narrow = Acceptance::default();
    let all = || users.iter().map(|(user, summary)| (user, summary));
    let page = |query: &UsersQuery| {
        let page = match harness.block_on(Directory::users(&store, query)) {
            Ok(page) => page,
            Err(error) => panic!("a page failed: {error:?}"),
        };
        assert_eq!(page, query.page(all()), "directory: {query:?}");
        page
    };
    // Some that are there, some that were removed, some that never were.
    let named: BTreeSet<UserId> = (0..80u8)
        .filter(|number| number % 5 != 1)
        .map(|number| user([b'k', number % 3, number]))
        .collect();
    for filter in [
        UserFilter::Holding,
        UserFilter::WithSet,
        UserFilter::Low,
        UserFilter::Exhausted,
        UserFilter::Every,
    ] {
        for order in [
            UserOrder::User,
            UserOrder::FewestLeft,
            UserOrder::NewestSet,
            UserOrder::LatestUse,
        ] {
            for (containing, acceptance, among) in [
                (vec![], narrow.clone(), None),
                (vec![], wider.clone(), None),
                (vec![], void(&narrow), None),
                (vec![1], wider.clone(), None),
                (vec![b'k', 2], void(&wider), None),
                (vec![], narrow.clone(), Some(&named)),
                (vec![b'k', 1], void(&wider), Some(&named)),
                (vec![], narrow.clone(), Some(&BTreeSet::new())),
            ] {
                let mut query = UsersQuery::new(moment(0))
                    .filter(filter)
                    .order(order)
                    .containing(containing);
                query.low_threshold = 3;
                query.acceptance = acceptance;
                query.among = among.cloned();
                query.limit = 7;
                while let Some(last) = page(&query).pop() {
                    query = query.after(last);
                }
            }
        }
    }
    // Nobody is left out for being one of many: the strangers' keys come before the others'.
    let strangers = (0..5000u16).map(|number| user([&[b'a'][..], &number.to_be_bytes()].concat()));
    let named = strangers.chain(named);
    let query = UsersQuery::new(moment(0)).filter(UserFilter::Every);
    let rows = page(&query.among(named).limit(1000));
    assert!(!rows.is_empty(), "directory: some of those named are there");
}

/// The figures are those of [`usage`](crate::usage()) over all summaries.
pub fn usage_equals_the_plain_rule<H: Harness>(harness: &H)
where
    H::Repository: Directory,
{
    let (case, store) = (Case(harness), harness.fresh());
    let (hasher, wider) = wider_acceptance();
    let users = various(&case, &store, &hasher);
    let day = |n: i64| moment(n * 1440);
    let days: Vec<Timestamp> = (-4..=1).map(day).collect();
    let windows = Windows::new(day(-1)..day(0), day(-2)..day(0), &days).unwrap();
    let void = Some(moment(VOID_BEFORE));
    let narrow = Acceptance::default();
    for (now, acceptance, void) in [
        (moment(0), &narrow, None),
        (moment(0), &wider, None),
        (moment(0), &narrow, void),
        (near(0, 1), &wider, void),
        (moment(600), &wider, void),
    ] {
        let acceptance = acceptance.clone().with_void_before(void);
        let query = UsageQuery::new(windows.clone(), 3, now, acceptance);
        let plain = usage(users.iter().map(|(_, summary)| summary), &query);
        match harness.block_on(Directory::usage(&store, &query)) {
            Ok(figures) => assert_eq!(figures, plain, "directory: usage"),
            Err(error) => panic!("usage failed: {error:?}"),
        }
    }
}

/// The schemes are those of [`schemes`](crate::schemes()) over all summaries.
pub fn schemes_equal_the_plain_rule<H: Harness>(harness: &H)
where
    H::Repository: Directory,
{
    let (case, store) = (Case(harness), harness.fresh());
    let (hasher, _) = wider_acceptance();
    let users = various(&case, &store, &hasher);
    let plain = schemes(users.iter().map(|(_, summary)| summary));
    match harness.block_on(Directory::schemes(&store)) {
        Ok(found) => assert_eq!(found, plain, "directory: schemes"),
        Err(error) => panic!("schemes failed: {error:?}"),
    }
}

fn save<H: Harness>(
    harness: &H,
    store: &H::Repository,
    expected: Expected,
    revision: Revision,
    settings: &Settings,
    events: &[Event],
) -> PutOutcome
where
    H::Repository: SettingsStore,
{
    match harness.block_on(store.save_settings(expected, revision, settings, events)) {
        Ok(outcome) => outcome,
        Err(error) => panic!("saving settings failed: {error:?}"),
    }
}

fn saved<H: Harness>(harness: &H, store: &H::Repository) -> Option<(Settings, Revision)>
where
    H::Repository: SettingsStore,
{
    match harness.block_on(store.load_settings()) {
        Ok(settings) => settings,
        Err(error) => panic!("loading settings failed: {error:?}"),
    }
}

fn other_settings() -> Settings {
    let mut settings = Settings::default();
    settings.permit_roles(["staff", "\u{e9}ditor"]);
    settings.set_switch(Switch::Off);
    settings
}

/// Before the first save there are no settings; then they come back as they were saved.
pub fn settings_come_back_as_they_were_saved<H: Harness>(harness: &H)
where
    H::Repository: SettingsStore,
{
    let store = harness.fresh();
    assert_eq!(
        saved(harness, &store),
        None,
        "settings: none before the first save"
    );
    let first = revision();
    let outcome = save(
        harness,
        &store,
        Expected::Absent,
        first,
        &other_settings(),
        &[],
    );
    assert_eq!(outcome, PutOutcome::Applied, "settings: the first save");
    let second = harness.second_handle(&store);
    assert_eq!(
        saved(harness, &second),
        Some((other_settings(), first)),
        "settings: unchanged"
    );
}

/// A save that expects another state changes nothing: nobody is overwritten unseen.
pub fn saving_settings_needs_the_expected_state<H: Harness>(harness: &H)
where
    H::Repository: SettingsStore,
{
    let store = harness.fresh();
    let (first, second) = (revision(), revision());
    let save = |expected, revision, settings: &Settings| {
        save(harness, &store, expected, revision, settings, &[])
    };
    let default = Settings::default();
    assert_eq!(
        save(Expected::At(second), first, &default),
        PutOutcome::Conflict,
        "settings: absent"
    );
    assert_eq!(
        save(Expected::Absent, first, &other_settings()),
        PutOutcome::Applied
    );
    assert_eq!(
        save(Expected::Absent, second, &default),
        PutOutcome::Conflict,
        "settings: present"
    );
    assert_eq!(
        save(Expected::At(second), second, &default),
        PutOutcome::Conflict,
        "settings: stale"
    );
    assert_eq!(
        saved(harness, &store),
        Some((other_settings(), first)),
        "settings: unchanged"
    );
    assert_eq!(
        save(Expected::At(first), second, &default),
        PutOutcome::Applied
    );
}

/// The events of a save are listed like those of a put; those of a conflict are not kept.
pub fn settings_events_come_with_their_save<H: Harness>(harness: &H)
where
    H::Repository: SettingsStore,
{
    let (case, store) = (Case(harness), harness.fresh());
    let kept = event(&user("a"));
    let (first, settings) = (revision(), Settings::default());
    let events = std::slice::from_ref(&kept);
    let outcome = save(harness, &store, Expected::Absent, first, &settings, events);
    assert_eq!(outcome, PutOutcome::Applied);
    let lost = [event(&user("a"))];
    let outcome = save(
        harness,
        &store,
        Expected::Absent,
        revision(),
        &settings,
        &lost,
    );
    assert_eq!(outcome, PutOutcome::Conflict);
    assert_eq!(
        case.undelivered(&store),
        [kept],
        "settings: the events of the save, and no others"
    );
}

/// Polls a future so many times, then drops it.
struct Polls<F> {
    future: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Future for Polls<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<()> {
        if self.left == 0 || self.future.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        self.left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// What goes wrong at one call of a [`Faulty`] store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The call fails before it does anything: `NotApplied`, or an error of a read.
    FailBefore,
    /// A write is applied, then reported as [`PutError::Unknown`]; a read fails.
    ApplyThenFail,
    /// A write is not applied, and reported as [`PutError::Unknown`]; a read fails.
    FailUnknown,
    /// A read gives the state as it was before the latest write; a write is not affected.
    StaleRead,
    /// A write is applied, then reported as a conflict, as a driver does that repeats writes by
    /// itself.
    ApplyThenConflict,
}

/// The error of an injected fault, or the store's own.
#[derive(Debug)]
pub enum FaultyError<E> {
    /// Injected.
    Injected,
    /// The store's own.
    Own(E),
}

impl<E: fmt::Display> fmt::Display for FaultyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Injected => f.write_str("an injected fault"),
            Self::Own(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for FaultyError<E> {}

/// A store around a store, with a fault at chosen calls.
pub struct Faulty<R> {
    inner: R,
    /// The fault of each call to come, the next one last; none once the list is empty.
    plan: Mutex<Vec<Fault>>,
    before: Mutex<Vec<(UserId, Option<Loaded>)>>,
    down: AtomicBool,
}

impl<R> fmt::Debug for Faulty<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

impl<R> Faulty<R> {
    /// A store that has these faults at its next calls, in order, and none afterwards.
    pub fn new(inner: R, faults: impl IntoIterator<Item = Fault>) -> Self {
        let mut plan: Vec<Fault> = faults.into_iter().collect();
        plan.reverse();
        Self {
            inner,
            plan: Mutex::new(plan),
            before: Mutex::default(),
            down: AtomicBool::new(false),
        }
    }

    /// Lets every call fail before it does anything, until it is called again with `false`.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// The store inside.
    pub fn inner(&self) -> &R {
        &self.inner
    }

    fn next(&self) -> Fault {
        if self.down.load(Ordering::SeqCst) {
            return Fault::FailBefore;
        }
        self.plan
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or(Fault::None)
    }
}

fn own<E>(error: PutError<E>) -> PutError<FaultyError<E>> {
    match error {
        PutError::NotApplied(error) => PutError::NotApplied(FaultyError::Own(error)),
        PutError::Unknown(error) => PutError::Unknown(FaultyError::Own(error)),
    }
}

impl<R: CodeRepository> CodeRepository for Faulty<R> {
    type Error = FaultyError<R::Error>;

    async fn load(
        &self,
        user: &UserId,
        freshness: Freshness,
    ) -> Result<Option<Loaded>, Self::Error> {
        let fault = self.next();
        let stale = fault == Fault::StaleRead && freshness == Freshness::Any;
        match fault {
            Fault::FailBefore | Fault::ApplyThenFail | Fault::FailUnknown => {
                Err(FaultyError::Injected)
            }
            _ if stale => {
                let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(before
                    .iter()
                    .rev()
                    .find(|(key, _)| key == user)
                    .and_then(|(_, old)| old.clone()))
            }
            _ => self
                .inner
                .load(user, freshness)
                .await
                .map_err(FaultyError::Own),
        }
    }

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Self::Error>> {
        let fault = self.next();
        match fault {
            Fault::FailBefore => return Err(PutError::NotApplied(FaultyError::Injected)),
            Fault::FailUnknown => return Err(PutError::Unknown(FaultyError::Injected)),
            _ => {}
        }
        let old = self
            .inner
            .load(put.user, Freshness::Latest)
            .await
            .map_err(|error| PutError::NotApplied(FaultyError::Own(error)))?;
        let user = put.user.clone();
        let outcome = self.inner.put(put).await.map_err(own)?;
        if outcome == PutOutcome::Applied {
            self.before
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((user, old));
        }
        match fault {
            Fault::ApplyThenFail => Err(PutError::Unknown(FaultyError::Injected)),
            Fault::ApplyThenConflict => Ok(PutOutcome::Conflict),
            _ => Ok(outcome),
        }
    }

    async fn remove(
        &self,
        user: &UserId,
        expected: Revision,
    ) -> Result<PutOutcome, PutError<Self::Error>> {
        match self.next() {
            Fault::FailBefore => Err(PutError::NotApplied(FaultyError::Injected)),
            Fault::FailUnknown => Err(PutError::Unknown(FaultyError::Injected)),
            Fault::ApplyThenFail => {
                let _ = self.inner.remove(user, expected).await.map_err(own)?;
                Err(PutError::Unknown(FaultyError::Injected))
            }
            _ => self.inner.remove(user, expected).await.map_err(own),
        }
    }

    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Self::Error> {
        match self.next() {
            Fault::None | Fault::StaleRead | Fault::ApplyThenConflict => self
                .inner
                .undelivered(limit)
                .await
                .map_err(FaultyError::Own),
            _ => Err(FaultyError::Injected),
        }
    }

    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Self::Error> {
        match self.next() {
            Fault::FailBefore | Fault::FailUnknown => Err(FaultyError::Injected),
            fault => {
                self.inner
                    .acknowledge(events)
                    .await
                    .map_err(FaultyError::Own)?;
                if fault == Fault::ApplyThenFail {
                    Err(FaultyError::Injected)
                } else {
                    Ok(())
                }
            }
        }
    }
}
