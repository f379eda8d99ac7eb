//! The contract of the storage traits as tests, one case a promise.
//!
//! Implement [`Harness`] for your store and let the macros make named tests of the cases:
//! [`conformance_tests!`](crate::conformance_tests) for a [`CodeRepository`],
//! [`directory_conformance_tests!`](crate::directory_conformance_tests) for one that is a
//! [`Directory`] too, [`settings_conformance_tests!`](crate::settings_conformance_tests) for one
//! that is a [`SettingsStore`] too.
//!
//! ```
//! use std::future::Future;
//! use backup_codes::MemoryRepository;
//! use backup_codes::conformance::{Harness, block_on};
//!
//! struct Memory;
//!
//! impl Harness for Memory {
//!     type Repository = MemoryRepository;
//!     fn fresh(&self, _name: &str) -> MemoryRepository {
//!         MemoryRepository::new()
//!     }
//!     fn second_handle(&self, _name: &str, first: &MemoryRepository) -> MemoryRepository {
//!         first.clone()
//!     }
//!     fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
//!         block_on(future)
//!     }
//! }
//!
//! mod memory {
//!     backup_codes::conformance_tests!(super::Memory);
//!     backup_codes::directory_conformance_tests!(super::Memory);
//!     backup_codes::settings_conformance_tests!(super::Memory);
//! }
//! # fn main() {}
//! ```
//!
//! A program that is not a test calls [`run`], [`run_directory`] and [`run_settings`], or
//! [`run_all`] for a store that implements all three traits.
//!
//! A case panics, with the clause it is about, when the store breaks it. It runs on a thread of its
//! own, and panics too when a call does not end within [`Harness::limit`].
//!
//! # What no case can show
//! - That an applied write survives a crash (clause 4), and that the store has no clock of its own
//!   in it (clause 7, but for events and sets dated far away).
//! - That an error is reported rightly as [`PutError::NotApplied`] or [`PutError::Unknown`], and
//!   that the store's own time limit holds: no case makes the store fail. Test these with the
//!   faults of your own database.
//! - A gap between two parts of a write that is much shorter than a read takes, such as that
//!   between two locks of one mutex. Two statements of a database leave one that is long enough.
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

mod observer;
mod watch;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use getrandom::SysRng;

pub use self::observer::{
    a_row_shows_with_its_record, a_save_shows_with_its_events, a_write_shows_with_its_events,
};
pub use self::watch::{Case, run_case};
use self::watch::{Store, run_shared, together};
use crate::audit::event::{Event, EventKind, EventOutcome, Reason};
use crate::code::format::{Format, Formats};
use crate::config::Config;
use crate::context::Context;
use crate::hash::acceptance::{Acceptance, Scheme};
use crate::hash::keyring::{KeyId, Keyring, Pepper};
use crate::hash::{Cost, Hasher};
use crate::id::{EventId, Revision, SetId, Subject, UserId};
use crate::policy::settings::{OnRoleLoss, Settings, Switch};
use crate::report::users::{UserFilter, UserOrder, UsersQuery};
use crate::report::{Periods, SetSummary, Summary, UsageQuery, schemes, usage};
use crate::repository::record::{Use, quarter_of};
use crate::repository::{
    CodeRepository, Directory, Expected, Freshness, Loaded, Put, PutError, PutOutcome,
    SettingsStore,
};
use crate::timestamp::Timestamp;

/// A store under test, and how to open it.
///
/// # Calls
/// A case runs on one thread of its own. On that thread it calls [`fresh`](Self::fresh) once; the
/// cases that drop a write or an acknowledgement call it twelve times, one store after the other.
/// For each store it calls [`second_handle`](Self::second_handle) once at most, and
/// [`close`](Self::close) once at the end. So a case has one store open at a time, with two handles
/// at most.
///
/// [`block_on`](Self::block_on) is called from the case's thread and from up to eight more threads
/// at once, half of them with calls of the one handle and half with calls of the other: eight calls
/// at a time, each of which needs one connection. A pool with fewer connections is enough if a call
/// waits for one. The macros make a test of each case, and tests run at the same time, as many as
/// the machine has processors unless told otherwise.
pub trait Harness: Send + Sync + 'static {
    /// The store, with all the traits that are tested.
    type Repository: CodeRepository;

    /// Opens an empty store.
    ///
    /// No other store has this name: neither of this run nor of another one on the same database.
    /// It can be a file, a schema or a prefix of tables: `test_`, then lower-case ASCII letters,
    /// digits and `_`, at most 40 in all.
    fn fresh(&self, name: &str) -> Self::Repository;

    /// Opens another handle of the store with this name, as a second node does: with connections of
    /// its own. It reaches all the traits, as the first handle does.
    fn second_handle(&self, name: &str, first: &Self::Repository) -> Self::Repository;

    /// Closes the handles of the store with this name, which is not used afterwards: the place to
    /// remove it. Called when the case has failed, too, but not when a call of it never ended.
    /// Drops the handles by default.
    fn close(&self, name: &str, first: Self::Repository, second: Option<Self::Repository>) {
        let _ = (name, first, second);
    }

    /// Runs a future to its end on this thread. [`block_on`] does for stores that need no
    /// runtime.
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T;

    /// The time within which each call of the store, and of this harness, has to end: 30 seconds by
    /// default. A call that lasts longer, by up to a tenth more, fails its case.
    fn limit(&self) -> Duration {
        Duration::from_secs(30)
    }
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

/// Makes a named test of each case for a [`CodeRepository`](crate::repository::CodeRepository), given a
/// [`Harness`](crate::conformance::Harness) value.
#[macro_export]
macro_rules! conformance_tests {
    ($harness:expr) => {
        $crate::conformance_tests!(@records tests $harness);
    };
    (@records $mode:ident $($argument:tt)+) => {
        $crate::conformance_tests!(@$mode $($argument)+;
            absent_user_has_no_record,
            put_then_load_gives_the_same_bytes,
            records_are_kept_as_they_are_written,
            large_records_are_kept_whole,
            put_needs_the_expected_state,
            remove_needs_the_expected_revision,
            revisions_are_compared_whole,
            a_put_of_the_same_text_is_a_write,
            a_late_write_misses_a_record_made_again,
            a_write_leaves_other_users_alone,
            keys_are_compared_byte_for_byte,
            every_key_byte_is_kept,
            one_of_two_racing_creations_wins,
            one_of_many_racing_updates_wins,
            one_of_a_racing_removal_and_updates_wins,
            no_update_is_lost_in_a_race,
            writes_to_different_users_are_all_applied,
            latest_sees_the_other_handle,
            any_is_never_torn,
            a_write_shows_with_its_events,
            events_come_with_their_write,
            every_kind_of_event_comes_unchanged,
            events_of_a_conflict_are_not_kept,
            events_stay_until_acknowledged,
            acknowledging_is_idempotent,
            acknowledging_takes_only_what_it_names,
            no_event_is_lost_while_others_are_acknowledged,
            events_are_the_same_through_both_handles,
            events_outlive_their_record,
            every_event_comes_page_by_page,
            the_list_of_events_holds_what_its_limit_lets_in,
            a_dropped_put_is_whole_or_nothing,
            a_dropped_remove_is_whole_or_nothing,
            a_dropped_acknowledge_takes_only_its_own,
            a_dropped_read_changes_nothing,
        );
    };
    (@directory $mode:ident $($argument:tt)+) => {
        $crate::conformance_tests!(@$mode $($argument)+;
            pages_equal_the_plain_rule,
            usage_equals_the_plain_rule,
            schemes_equal_the_plain_rule,
            no_user_is_left_out_of_many,
            a_row_shows_with_its_record,
        );
    };
    (@settings $mode:ident $($argument:tt)+) => {
        $crate::conformance_tests!(@$mode $($argument)+;
            settings_come_back_as_they_were_saved,
            saving_settings_needs_the_expected_state,
            one_of_many_racing_saves_wins,
            settings_events_come_with_their_save,
            a_save_shows_with_its_events,
            a_dropped_save_is_whole_or_nothing,
        );
    };
    (@tests $harness:expr; $($case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::run_case(
                    $harness,
                    stringify!($case),
                    $crate::conformance::$case,
                );
            }
        )*
    };
    (@run $harness:ident $passed:ident; $($case:ident,)*) => {
        $(
            $crate::conformance::run_shared(&$harness, stringify!($case), $crate::conformance::$case);
            $passed(stringify!($case));
        )*
    };
}

/// Makes a named test of each case about a [`Directory`](crate::repository::Directory).
#[macro_export]
macro_rules! directory_conformance_tests {
    ($harness:expr) => {
        $crate::conformance_tests!(@directory tests $harness);
    };
}

/// Makes a named test of each case about a [`SettingsStore`](crate::repository::SettingsStore).
#[macro_export]
macro_rules! settings_conformance_tests {
    ($harness:expr) => {
        $crate::conformance_tests!(@settings tests $harness);
    };
}

/// Runs every case about a [`CodeRepository`], in a program that is not a test, and names each that
/// has passed.
pub fn run<H: Harness>(harness: H, mut passed: impl FnMut(&str)) {
    let harness = Arc::new(harness);
    conformance_tests!(@records run harness passed);
}

/// Runs every case about a [`Directory`], and names each that has passed.
pub fn run_directory<H: Harness>(harness: H, mut passed: impl FnMut(&str))
where
    H::Repository: Directory,
{
    let harness = Arc::new(harness);
    conformance_tests!(@directory run harness passed);
}

/// Runs every case about a [`SettingsStore`], and names each that has passed.
pub fn run_settings<H: Harness>(harness: H, mut passed: impl FnMut(&str))
where
    H::Repository: SettingsStore,
{
    let harness = Arc::new(harness);
    conformance_tests!(@settings run harness passed);
}

/// Runs every case there is, for a store that implements all three traits, and names each that has
/// passed.
pub fn run_all<H: Harness>(harness: H, mut passed: impl FnMut(&str))
where
    H::Repository: Directory + SettingsStore,
{
    let harness = Arc::new(harness);
    conformance_tests!(@records run harness passed);
    conformance_tests!(@directory run harness passed);
    conformance_tests!(@settings run harness passed);
}

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

impl<H: Harness> Case<H> {
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
        match self.call("put", store.put(put)) {
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
        match self.call("load", store.load(user, Freshness::Latest)) {
            Ok(loaded) => loaded,
            Err(error) => panic!("a load failed: {error:?}"),
        }
    }

    /// A put in the state expected. A conflict with another user's write is repeated, as an engine
    /// may have rolled this one back because of it.
    fn insist(
        &self,
        store: &H::Repository,
        user: &UserId,
        expected: Expected,
        revision: Revision,
        record: &str,
        events: &[Event],
    ) {
        for _ in 0..100 {
            match self.put(store, user, expected, revision, record, events) {
                PutOutcome::Applied => return,
                PutOutcome::Conflict => {}
            }
        }
        panic!("clause 2: every put in the state expected is a conflict");
    }

    fn remove(&self, store: &H::Repository, user: &UserId, expected: Revision) -> PutOutcome {
        match self.call("remove", store.remove(user, expected)) {
            Ok(outcome) => outcome,
            Err(error) => panic!("a removal failed: {error:?}"),
        }
    }

    /// As [`insist`](Self::insist), for a removal.
    fn insist_on_removal(&self, store: &H::Repository, user: &UserId, expected: Revision) {
        for _ in 0..100 {
            match self.remove(store, user, expected) {
                PutOutcome::Applied => return,
                PutOutcome::Conflict => {}
            }
        }
        panic!("clause 2: every removal in the state expected is a conflict");
    }

    fn undelivered(&self, store: &H::Repository) -> Vec<Event> {
        self.listed(store, 1000)
    }

    fn listed(&self, store: &H::Repository, limit: usize) -> Vec<Event> {
        match self.call("undelivered", store.undelivered(limit)) {
            Ok(events) => events,
            Err(error) => panic!("listing events failed: {error:?}"),
        }
    }

    fn acknowledge(&self, store: &H::Repository, ids: &[EventId]) {
        if let Err(error) = self.call("acknowledge", store.acknowledge(ids)) {
            panic!("clause 6: acknowledging failed: {error:?}");
        }
    }
}

/// The ids of events, in order.
fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<EventId> {
    let mut ids: Vec<EventId> = events.into_iter().map(|event| event.id).collect();
    ids.sort_unstable();
    ids
}

/// Events in the order of their ids, to be compared whole.
fn by_id(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut events: Vec<Event> = events.into_iter().collect();
    events.sort_by_key(|event| event.id);
    events
}

/// A user without a record is `None`, not an empty record.
pub fn absent_user_has_no_record<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    assert_eq!(
        case.load(&store, &user("a")),
        None,
        "clause 5: an absent user has no record"
    );
    match case.call("load", store.load(&user("a"), Freshness::Any)) {
        Ok(loaded) => assert_eq!(loaded, None, "clause 5: there never was a record"),
        Err(error) => panic!("a load failed: {error:?}"),
    }
}

/// Record and revision come back as they were put.
pub fn put_then_load_gives_the_same_bytes<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
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

/// Records keep their spaces, the order and the repetition of their keys, the digits of their
/// numbers and the spelling of their characters: the store does not read them.
pub fn records_are_kept_as_they_are_written<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, mut expected) = (user("a"), Expected::Absent);
    for record in [
        "{ \"b\" : 1 ,\n\t\"a\":\t2 }",
        "{\"a\":1,\"a\":2}",
        "[1.0,1e3,-0,12345678901234567890123,0.1000]",
        "[\"\\u00e4\",\"\u{e4}\",\"a\u{308}\",\"\\/\",\"\\ud83d\\udd11\"]",
        " {} ",
        "\"\u{feff}\u{2028}\u{7f}\u{ffff}\u{10ffff}\"",
        "null",
    ] {
        let next = revision();
        case.applied(&store, &a, expected, next, record, &[]);
        let loaded = case.load(&store, &a).expect("it was put");
        assert_eq!(
            loaded.record, record,
            "clause 5: a record comes back as it was put"
        );
        expected = Expected::At(next);
    }
}

/// A put that expects another state changes nothing.
pub fn put_needs_the_expected_state<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
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
pub fn keys_are_compared_byte_for_byte<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
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
pub fn every_key_byte_is_kept<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
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

/// Runs one write in each of many threads, begun together, half of them over the second handle, and
/// returns which of them were applied.
fn race<H: Harness>(
    store: &Store<'_, H>,
    racers: usize,
    run: impl Fn(usize, &H::Repository) -> PutOutcome + Sync,
) -> Vec<usize> {
    let second = store.second();
    let applied = Mutex::new(Vec::new());
    together(racers, |racer| {
        let handle = if racer % 2 == 0 { store } else { second };
        if run(racer, handle) == PutOutcome::Applied {
            let mut applied = applied.lock().unwrap_or_else(PoisonError::into_inner);
            applied.push(racer);
        }
    });
    applied.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Checks that one put of a race was applied, and that its record and its event are what is left.
fn one_winner<H: Harness>(
    case: &Case<H>,
    store: &Store<'_, H>,
    a: &UserId,
    applied: &[usize],
    events: &[Event],
) {
    assert_eq!(applied.len(), 1, "clause 3: one write wins");
    let winner = applied[0];
    let loaded = case.load(store, a).expect("one was put");
    assert_eq!(
        loaded.record,
        winner.to_string(),
        "clause 3: the record is that of the write that was applied"
    );
    let listed = case.undelivered(store);
    assert_eq!(
        listed,
        events[winner..=winner],
        "clause 3: the events are those of the write that was applied"
    );
    case.acknowledge(store, &ids(&listed));
}

/// Of many creations at once exactly one is applied, with its events.
pub fn one_of_two_racing_creations_wins<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    for round in 0..20 {
        let a = user(format!("user {round}"));
        let events: Vec<Event> = (0..8).map(|_| event(&a)).collect();
        let applied = race(&store, 8, |racer, handle| {
            let (record, events) = (racer.to_string(), &events[racer..=racer]);
            case.put(handle, &a, Expected::Absent, revision(), &record, events)
        });
        one_winner(case, &store, &a, &applied, &events);
    }
}

/// Of many updates of the same state exactly one is applied, with its events.
pub fn one_of_many_racing_updates_wins<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    for round in 0..20 {
        let (a, first) = (user(format!("user {round}")), revision());
        case.applied(&store, &a, Expected::Absent, first, "0", &[]);
        let events: Vec<Event> = (0..8).map(|_| event(&a)).collect();
        let applied = race(&store, 8, |racer, handle| {
            let (record, events) = (racer.to_string(), &events[racer..=racer]);
            case.put(handle, &a, Expected::At(first), revision(), &record, events)
        });
        one_winner(case, &store, &a, &applied, &events);
    }
}

/// Of removals and updates of the same state, all at once, exactly one is applied.
pub fn one_of_a_racing_removal_and_updates_wins<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    for round in 0..20 {
        let (a, first) = (user(format!("user {round}")), revision());
        case.applied(&store, &a, Expected::Absent, first, "0", &[]);
        let removes = |racer: usize| racer % 4 < 2;
        let applied = race(&store, 8, |racer, handle| {
            if removes(racer) {
                return case.remove(handle, &a, first);
            }
            let record = racer.to_string();
            case.put(handle, &a, Expected::At(first), revision(), &record, &[])
        });
        assert_eq!(applied.len(), 1, "clause 3: one write wins");
        let left = case.load(&store, &a).map(|loaded| loaded.record);
        let expected = (!removes(applied[0])).then(|| applied[0].to_string());
        assert_eq!(
            left, expected,
            "clause 3: the state is that of the write that was applied"
        );
    }
}

/// Counters raised by load and conditional put from many threads lose nothing.
pub fn no_update_is_lost_in_a_race<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, first) = (user("a"), revision());
    assert_eq!(
        case.put(&store, &a, Expected::Absent, first, "0", &[]),
        PutOutcome::Applied
    );
    race(&store, 4, |_, handle| {
        for _ in 0..10 {
            for attempt in 0.. {
                assert!(attempt < 1000, "clause 3: of two writes one is applied");
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

/// Users who are created and changed at the same time, each by a thread of its own, are all there
/// afterwards, with all their events.
pub fn writes_to_different_users_are_all_applied<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    for round in 0..10 {
        let a = |racer: usize| user(format!("user {round} {racer}"));
        let events: Vec<Event> = (0..16).map(|number| event(&a(number / 2))).collect();
        race(&store, 8, |racer, handle| {
            let (a, first) = (a(racer), revision());
            let events = &events[2 * racer..2 * racer + 2];
            case.insist(handle, &a, Expected::Absent, first, "1", &events[..1]);
            case.insist(
                handle,
                &a,
                Expected::At(first),
                revision(),
                "2",
                &events[1..],
            );
            PutOutcome::Applied
        });
        for racer in 0..8 {
            let record = case.load(&store, &a(racer)).map(|loaded| loaded.record);
            assert_eq!(
                record.as_deref(),
                Some("2"),
                "clause 2: a write to one user takes nothing from another"
            );
        }
        let listed = case.undelivered(&store);
        assert_eq!(
            by_id(listed),
            by_id(events.clone()),
            "clause 6: every event is listed"
        );
        case.acknowledge(&store, &ids(&events));
    }
}

/// A load with `Latest` sees what another handle has written or removed.
pub fn latest_sees_the_other_handle<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let second = store.second();
    let a = user("a");
    let mut expected = Expected::Absent;
    for number in 0..20 {
        let (writer, reader) = if number % 2 == 0 {
            (&*store, second)
        } else {
            (second, &*store)
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
        if number % 3 == 2 {
            let outcome = case.remove(writer, &a, next);
            assert_eq!(
                outcome,
                PutOutcome::Applied,
                "clause 2: a removal at this revision"
            );
            assert_eq!(
                case.load(reader, &a),
                None,
                "clause 5: a removal is seen at once"
            );
            expected = Expected::Absent;
        }
    }
}

/// What is loaded with `Any`, while others write, is one state: its record and its revision.
pub fn any_is_never_torn<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, first) = (user("a"), revision());
    let text = |revision: Revision| format!("\"{revision}\"");
    case.applied(&store, &a, Expected::Absent, first, &text(first), &[]);
    race(&store, 4, |racer, handle| {
        let mut at = first;
        for _ in 0..50 {
            match case.call("load", handle.load(&a, Freshness::Any)) {
                Ok(Some(loaded)) => {
                    let torn = loaded.record != text(loaded.revision);
                    assert!(!torn, "clause 5: record and revision belong together");
                    at = loaded.revision;
                }
                Ok(None) => {}
                Err(error) => panic!("a load failed: {error:?}"),
            }
            if racer < 2 {
                let next = revision();
                let _ = case.put(handle, &a, Expected::At(at), next, &text(next), &[]);
            }
        }
        PutOutcome::Conflict
    });
}

/// The events of an applied put are listed, whole and unchanged.
pub fn events_come_with_their_write<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
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
    let page = case.listed(&store, 1);
    assert_eq!(page.len(), 1, "clause 6: at most `limit` events");
}

/// Events of every kind, with all their details or none, from the earliest time to the latest, come
/// back unchanged.
pub fn every_kind_of_event_comes_unchanged<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let users = [
        user("a"),
        user("b\0 \"'\\%_"),
        user(b"\xff\xfe\0"),
        user("\u{1f511}e\u{301}"),
        user([0xff; 255]),
        user("{\"hex\":\"00\"}"),
    ];
    let times = [0, 1, 1_790_000_000_123, Timestamp::MAX.unix_millis()];
    let agents = [
        "curl/8".to_owned(),
        "\"'\\%_\u{fffd}\u{1f511} ".to_owned(),
        "\u{e4}".repeat(Context::MAX_USER_AGENT_LEN / 2),
        "\u{1f511}".repeat(Context::MAX_USER_AGENT_LEN / 4),
        String::new(),
    ];
    let addresses = ["203.0.113.7", "2001:db8::1", "::ffff:203.0.113.7"];
    let reasons = [
        Reason::Wrong,
        Reason::NotACodeTypo,
        Reason::CostAboveCeiling,
        Reason::SettingsUnreadable,
    ];
    let mut events = Vec::new();
    // Ids that differ in one byte, as those of one write do.
    let first = revision();
    for (number, kind) in (0..).zip(EventKind::ALL.iter().chain(EventKind::ALL)) {
        let index = usize::from(number);
        let subject = &users[index % users.len()];
        let at = Timestamp::from_unix_millis(times[index % times.len()]).unwrap();
        let context = match number % 4 {
            0 => Context::new(at, Subject::new(subject.clone(), ["staff"])),
            1 => Context::system(at),
            _ => Context::new(
                at,
                Subject::new(users[(index + 1) % users.len()].clone(), ["staff"]),
            )
            .with_address(addresses[index % 3].parse::<std::net::IpAddr>().unwrap())
            .with_user_agent(&agents[index % agents.len()])
            .with_correlation(&agents[(index + 1) % agents.len()]),
        };
        let outcome = if number % 3 == 0 {
            EventOutcome::Failure
        } else {
            EventOutcome::Success
        };
        let subject = (number % 5 > 0).then_some(subject);
        let mut event = Event::new(first.event(number), *kind, outcome, subject, &context);
        if number % 2 == 0 {
            let set = SetId::from_bytes([number.wrapping_mul(37); 16]);
            let left = [0, 31, u8::MAX][index % 3];
            event = event.because(reasons[index % 4]).of_set(set).leaving(left);
        }
        events.push(event);
    }
    case.applied(&store, &users[0], Expected::Absent, first, "1", &events);
    let listed = by_id(case.undelivered(&store));
    for (listed, written) in listed.iter().zip(by_id(events.clone())) {
        assert_eq!(*listed, written, "clause 6: an event comes back unchanged");
    }
    assert_eq!(
        listed.len(),
        events.len(),
        "clause 6: every event of a write is listed"
    );
    for event in &events {
        case.acknowledge(&store, &[event.id]);
    }
    assert_eq!(
        case.undelivered(&store),
        [],
        "clause 6: each was acknowledged"
    );
}

/// A put that is not applied leaves no events, whatever other state it met.
pub fn events_of_a_conflict_are_not_kept<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, b, first) = (user("a"), user("b"), revision());
    case.applied(&store, &a, Expected::Absent, first, "1", &[]);
    for (user, expected) in [
        (&b, Expected::At(first)),
        (&a, Expected::Absent),
        (&a, Expected::At(revision())),
    ] {
        let outcome = case.put(&store, user, expected, revision(), "2", &[event(user)]);
        assert_eq!(outcome, PutOutcome::Conflict, "clause 2: another state");
        assert_eq!(
            case.undelivered(&store),
            [],
            "clause 2: a conflict keeps no events"
        );
    }
}

/// Events are listed again and again, whatever is put, until they are acknowledged.
pub fn events_stay_until_acknowledged<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
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
    case.acknowledge(&store, &[events[0].id]);
    assert_eq!(
        case.undelivered(&store),
        events[1..],
        "clause 6: the acknowledged one is gone"
    );
}

/// Acknowledging twice, or something unknown, does no harm.
pub fn acknowledging_is_idempotent<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let a = user("a");
    let events = [event(&a), event(&a)];
    case.applied(&store, &a, Expected::Absent, revision(), "1", &events);
    for ids in [
        vec![events[0].id],
        vec![events[0].id],
        vec![event(&a).id],
        vec![],
    ] {
        case.acknowledge(&store, &ids);
    }
    assert_eq!(
        case.undelivered(&store),
        events[1..],
        "clause 6: the other event stays"
    );
}

/// Acknowledging an event takes none that was written before it, with it, after it, or for the same
/// user; and it stays acknowledged when more is written.
pub fn acknowledging_takes_only_what_it_names<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, b) = (user("a"), user("b"));
    let revisions = [revision(), revision(), revision()];
    // Ids of one write differ in their last byte.
    let written = |revision: Revision, user: &UserId| -> Vec<Event> {
        let numbers = [0, 1, 2, 0x20];
        let numbered = |index| Event {
            id: revision.event(index),
            ..event(user)
        };
        numbers.into_iter().map(numbered).collect()
    };
    let [first, second, third] = revisions.map(|revision| written(revision, &a));
    let other = written(revision(), &b);
    case.applied(&store, &a, Expected::Absent, revisions[0], "1", &first);
    case.applied(&store, &b, Expected::Absent, revision(), "1", &other);
    case.applied(
        &store,
        &a,
        Expected::At(revisions[0]),
        revisions[1],
        "2",
        &second,
    );
    case.acknowledge(&store, &[second[1].id]);
    let mut left = [first, other, second].concat();
    left.retain(|event| event.id != revisions[1].event(1));
    let listed = || by_id(case.undelivered(&store));
    assert_eq!(listed(), by_id(left.clone()), "clause 6: the others stay");
    case.applied(
        &store,
        &a,
        Expected::At(revisions[1]),
        revisions[2],
        "3",
        &third,
    );
    left.extend(third);
    assert_eq!(
        listed(),
        by_id(left),
        "clause 6: what is acknowledged does not come again"
    );
}

/// While events are written over one handle, the other lists and acknowledges them: each is
/// delivered, and none comes again.
pub fn no_event_is_lost_while_others_are_acknowledged<H: Harness>(case: &Case<H>) {
    /// Lists that were not empty, and puts at most.
    const LISTS: usize = 30;
    const PUTS: usize = 2000;
    /// Tells the other thread at the end, in a panic too, that this one has ended.
    struct Ending<'a>(&'a AtomicBool);
    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let store = case.fresh();
    let second = store.second();
    let (enough, written_all) = (AtomicBool::new(false), AtomicBool::new(false));
    let written = Mutex::new(Vec::new());
    let delivered = Mutex::new(Vec::new());
    together(2, |thread| {
        if thread == 0 {
            let _ending = Ending(&written_all);
            let (a, mut expected) = (user("a"), Expected::Absent);
            for _ in 0..PUTS {
                let (next, event) = (revision(), event(&a));
                case.insist(
                    &store,
                    &a,
                    expected,
                    next,
                    "1",
                    std::slice::from_ref(&event),
                );
                expected = Expected::At(next);
                written
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(event);
                if enough.load(Ordering::SeqCst) {
                    break;
                }
            }
            return;
        }
        let _ending = Ending(&enough);
        let mut delivered = delivered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lists = 0;
        loop {
            let last = written_all.load(Ordering::SeqCst);
            let page = case.listed(second, 1000);
            if last && page.is_empty() {
                break;
            }
            if page.is_empty() {
                thread::yield_now();
                continue;
            }
            case.acknowledge(second, &ids(&page));
            delivered.extend(page);
            lists += 1;
            if lists == LISTS {
                enough.store(true, Ordering::SeqCst);
            }
            assert!(
                delivered.len() <= PUTS,
                "clause 6: what is acknowledged comes again"
            );
        }
    });
    let of = |events: Mutex<Vec<Event>>| {
        by_id(events.into_inner().unwrap_or_else(PoisonError::into_inner))
    };
    assert_eq!(
        of(delivered),
        of(written),
        "clause 6: each event is delivered, and none comes again"
    );
}

/// An event put over one handle is listed by the other at once, and gone from both when one of them
/// has acknowledged it.
pub fn events_are_the_same_through_both_handles<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let handles = [&*store, store.second()];
    let a = user("a");
    for (writer, acknowledger) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let (next, event) = (revision(), event(&a));
        let events = std::slice::from_ref(&event);
        case.applied(handles[writer], &a, Expected::Absent, next, "1", events);
        for handle in handles {
            assert_eq!(
                case.undelivered(handle),
                events,
                "clause 6: listed by both handles"
            );
        }
        // Removed by the other one: the events stay.
        let outcome = case.remove(handles[1 - writer], &a, next);
        assert_eq!(
            outcome,
            PutOutcome::Applied,
            "clause 2: a removal at this revision"
        );
        for handle in handles {
            assert_eq!(
                case.undelivered(handle),
                events,
                "clause 6: events outlive the record"
            );
        }
        case.acknowledge(handles[acknowledger], &[event.id]);
        for handle in handles {
            assert_eq!(
                case.undelivered(handle),
                [],
                "clause 6: gone from both handles"
            );
        }
    }
}

/// Removing a record leaves its events, and making one again too.
pub fn events_outlive_their_record<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, first) = (user("a"), revision());
    let events = [event(&a), event(&a)];
    case.applied(&store, &a, Expected::Absent, first, "1", &events[..1]);
    let outcome = case.remove(&store, &a, first);
    assert_eq!(
        outcome,
        PutOutcome::Applied,
        "clause 2: a removal at the right revision"
    );
    assert_eq!(case.load(&store, &a), None, "a removed record is absent");
    assert_eq!(
        case.undelivered(&store),
        events[..1],
        "clause 6: events outlive the record"
    );
    case.applied(&store, &a, Expected::Absent, revision(), "2", &events[1..]);
    assert_eq!(
        by_id(case.undelivered(&store)),
        by_id(events),
        "clause 6: events outlive the record"
    );
}

/// Events of many writes, taken and acknowledged a page at a time, come each once and to an end.
///
/// In which order they come is not tested: a store of many partitions knows none across them.
pub fn every_event_comes_page_by_page<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
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
        let page = case.listed(&store, 3);
        assert!(page.len() <= 3, "clause 6: at most `limit` events");
        let ids: Vec<EventId> = page.iter().map(|event| event.id).collect();
        if ids.is_empty() {
            break;
        }
        case.acknowledge(&store, &ids);
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

/// A list holds no event where its limit is 0, as many as the limit where there are more, and all
/// where there are fewer, however many; and any number of them is acknowledged at once.
pub fn the_list_of_events_holds_what_its_limit_lets_in<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let mut written = Vec::new();
    for number in 0..12u8 {
        let a = user([number]);
        let events: Vec<Event> = (0..100).map(|_| event(&a)).collect();
        case.applied(&store, &a, Expected::Absent, revision(), "1", &events);
        written.extend(events);
    }
    for (limit, length) in [
        (0, 0),
        (1, 1),
        (1000, 1000),
        (1199, 1199),
        (1200, 1200),
        (1201, 1200),
        (usize::MAX, 1200),
    ] {
        let listed = case.listed(&store, limit).len();
        assert_eq!(listed, length, "clause 6: a list with the limit {limit}");
    }
    assert_eq!(
        by_id(case.listed(&store, 2000)),
        by_id(written.clone()),
        "clause 6: every event is listed"
    );
    case.acknowledge(&store, &ids(&written[..1100]));
    assert_eq!(
        by_id(case.listed(&store, 2000)),
        by_id(written[1100..].to_vec()),
        "clause 6: those that were named are gone, and no others"
    );
}

/// A removal that expects another revision changes nothing.
pub fn remove_needs_the_expected_revision<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, b, first) = (user("a"), user("b"), revision());
    case.applied(&store, &a, Expected::Absent, first, "1", &[]);
    for (user, expected) in [(&a, revision()), (&b, first)] {
        let outcome = case.remove(&store, user, expected);
        assert_eq!(
            outcome,
            PutOutcome::Conflict,
            "clause 2: a removal at another revision"
        );
    }
    assert!(
        case.load(&store, &a).is_some(),
        "clause 2: a conflict removes nothing"
    );
    let outcomes = [(); 2].map(|()| case.remove(&store, &a, first));
    assert_eq!(
        outcomes,
        [PutOutcome::Applied, PutOutcome::Conflict],
        "clause 2: a removal is applied once"
    );
}

/// Revisions that differ in one byte, in the case of a letter, or only as bytes that are no text,
/// are different revisions, and come back as they were put.
pub fn revisions_are_compared_whole<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, mut expected) = (user("a"), Expected::Absent);
    let with = |filling: u8, place: usize, byte: u8| {
        let mut bytes = [filling; 16];
        bytes[place] = byte;
        Revision::from_bytes(bytes)
    };
    for (revision, others) in [
        (
            with(7, 15, 1),
            [with(7, 15, 2), with(7, 0, 1), with(7, 7, 1)],
        ),
        (with(7, 0, 1), [with(7, 0, 2), with(7, 8, 1), with(7, 7, 1)]),
        (
            with(b'a', 8, b'b'),
            [
                with(b'A', 8, b'B'),
                with(b'a', 8, b'B'),
                with(b'a', 8, b'c'),
            ],
        ),
        (
            with(0xff, 0, 0xff),
            [with(0xfe, 0, 0xfe), with(0xff, 15, 0xfe), with(0, 0, 0)],
        ),
        (
            with(0, 15, 0),
            [with(0, 15, b' '), with(0, 0, 1), with(b'0', 15, b'0')],
        ),
        (
            with(b' ', 0, b'1'),
            [with(0, 0, b'1'), with(b' ', 15, b'1'), with(b' ', 1, b'1')],
        ),
    ] {
        case.applied(&store, &a, expected, revision, "1", &[]);
        let loaded = case.load(&store, &a).map(|loaded| loaded.revision);
        assert_eq!(
            loaded,
            Some(revision),
            "clause 5: the revision comes back as it was put"
        );
        for other in others {
            let outcome = case.put(&store, &a, Expected::At(other), self::revision(), "2", &[]);
            assert_eq!(
                outcome,
                PutOutcome::Conflict,
                "clause 2: {other} is not {revision}"
            );
            let outcome = case.remove(&store, &a, other);
            assert_eq!(
                outcome,
                PutOutcome::Conflict,
                "clause 2: {other} is not {revision}"
            );
        }
        expected = Expected::At(revision);
    }
}

/// A put of the text that is there already is a write: it needs the expected state, has a new
/// revision, and its events are kept.
pub fn a_put_of_the_same_text_is_a_write<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, first, second) = (user("a"), revision(), revision());
    case.applied(&store, &a, Expected::Absent, first, "1", &[]);
    let events = [event(&a)];
    case.applied(&store, &a, Expected::At(first), second, "1", &events);
    let loaded = case.load(&store, &a).map(|loaded| loaded.revision);
    assert_eq!(loaded, Some(second), "clause 2: the revision is new");
    assert_eq!(
        case.undelivered(&store),
        events,
        "clause 2: its events are kept"
    );
    let outcome = case.put(&store, &a, Expected::At(first), revision(), "1", &[]);
    assert_eq!(
        outcome,
        PutOutcome::Conflict,
        "clause 2: the state it met is gone"
    );
}

/// A write that expects a state from before a removal is a conflict, whether or not there is a
/// record again; and after a removal a record is made as for the first time.
pub fn a_late_write_misses_a_record_made_again<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, first, second) = (user("a"), revision(), revision());
    let late = |revision| {
        let put = case.put(
            &store,
            &a,
            Expected::At(revision),
            self::revision(),
            "9",
            &[],
        );
        assert_eq!(
            put,
            PutOutcome::Conflict,
            "clause 2: a put from before the removal"
        );
        let removal = case.remove(&store, &a, revision);
        assert_eq!(
            removal,
            PutOutcome::Conflict,
            "clause 2: a removal from before"
        );
    };
    case.applied(&store, &a, Expected::Absent, first, "1", &[]);
    case.insist_on_removal(&store, &a, first);
    late(first);
    case.applied(&store, &a, Expected::Absent, second, "2", &[]);
    late(first);
    let loaded = case
        .load(&store, &a)
        .map(|loaded| (loaded.record, loaded.revision));
    assert_eq!(
        loaded,
        Some(("2".to_owned(), second)),
        "clause 2: the new record is untouched"
    );
    case.insist_on_removal(&store, &a, second);
    late(second);
    assert_eq!(case.load(&store, &a), None, "clause 5: it is removed");
}

/// A put or a removal leaves records, revisions and events of other users as they are, and is no
/// conflict for them.
pub fn a_write_leaves_other_users_alone<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let keys = ["a", "aa", "a\0", "%", "_", "b"].map(user);
    let revisions = keys.clone().map(|_| revision());
    let events = keys.clone().map(|key| event(&key));
    for (number, key) in keys.iter().enumerate() {
        let (record, events) = (number.to_string(), &events[number..=number]);
        case.applied(
            &store,
            key,
            Expected::Absent,
            revisions[number],
            &record,
            events,
        );
    }
    let untouched = |but: &[usize]| {
        for (number, key) in keys.iter().enumerate().filter(|(n, _)| !but.contains(n)) {
            let loaded = case
                .load(&store, key)
                .map(|loaded| (loaded.record, loaded.revision));
            let before = Some((number.to_string(), revisions[number]));
            assert_eq!(loaded, before, "clause 2: a write is of one user: {key:?}");
        }
        let listed = by_id(case.undelivered(&store));
        assert_eq!(
            listed,
            by_id(events.clone()),
            "clause 6: the events of all users stay"
        );
    };
    case.applied(
        &store,
        &keys[0],
        Expected::At(revisions[0]),
        revision(),
        "9",
        &[],
    );
    untouched(&[0]);
    // The revision that one user's record has is not that of another's.
    let outcome = case.put(
        &store,
        &keys[1],
        Expected::At(revisions[5]),
        revision(),
        "9",
        &[],
    );
    assert_eq!(
        outcome,
        PutOutcome::Conflict,
        "clause 2: the revision of another user"
    );
    for key in 3..5 {
        let outcome = case.remove(&store, &keys[key], revisions[key]);
        assert_eq!(
            outcome,
            PutOutcome::Applied,
            "clause 2: a removal at this revision"
        );
    }
    untouched(&[0, 3, 4]);
}

/// A record of the greatest size comes back whole, whatever characters it is made of.
pub fn large_records_are_kept_whole<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let a = user("a");
    let mut expected = Expected::Absent;
    for text in ["x", "\u{e4}", "\u{1f511}", "\\\""] {
        let length = crate::repository::Record::MAX_JSON_LEN - 2;
        let filling = "x".repeat(length % text.len());
        let record = format!("\"{}{filling}\"", text.repeat(length / text.len()));
        let next = revision();
        case.applied(&store, &a, expected, next, &record, &[]);
        let loaded = case.load(&store, &a).expect("it was put");
        assert!(
            loaded.record == record,
            "clause 5: a large record comes back whole"
        );
        expected = Expected::At(next);
    }
}

/// A put whose future is dropped after any number of polls is applied with its events, or not at
/// all.
pub fn a_dropped_put_is_whole_or_nothing<H: Harness>(case: &Case<H>) {
    for polls in 0..12 {
        let store = case.fresh();
        let (a, first) = (user("a"), revision());
        let events = [event(&a)];
        let summary = Summary::default();
        let put = Put::new(&a, Expected::Absent, first, "1", &summary, &events);
        case.call(
            "put",
            Polls {
                future: Box::pin(store.put(put)),
                left: polls,
            },
        );
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
pub fn a_dropped_remove_is_whole_or_nothing<H: Harness>(case: &Case<H>) {
    for polls in 0..12 {
        let store = case.fresh();
        let (a, first) = (user("a"), revision());
        let events = [event(&a)];
        case.applied(&store, &a, Expected::Absent, first, "1", &events);
        case.call(
            "remove",
            Polls {
                future: Box::pin(store.remove(&a, first)),
                left: polls,
            },
        );
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
pub fn a_dropped_acknowledge_takes_only_its_own<H: Harness>(case: &Case<H>) {
    for polls in 0..12 {
        let store = case.fresh();
        let a = user("a");
        let events = [event(&a), event(&a), event(&a)];
        case.applied(&store, &a, Expected::Absent, revision(), "1", &events);
        let ids = [events[0].id, events[1].id];
        case.call(
            "acknowledge",
            Polls {
                future: Box::pin(store.acknowledge(&ids)),
                left: polls,
            },
        );
        assert!(
            case.undelivered(&store).contains(&events[2]),
            "clause 6: the other event stays"
        );
        case.acknowledge(&store, &ids);
        assert_eq!(
            case.undelivered(&store),
            events[2..],
            "clause 6: those that were named are gone"
        );
    }
}

/// A load, or a list of events, whose future is dropped after any number of polls leaves
/// everything as it was.
pub fn a_dropped_read_changes_nothing<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, first) = (user("a"), revision());
    let events = [event(&a)];
    case.applied(&store, &a, Expected::Absent, first, "1", &events);
    let before = case.load(&store, &a);
    for polls in 0..12 {
        for freshness in [Freshness::Any, Freshness::Latest] {
            case.call(
                "load",
                Polls {
                    future: Box::pin(store.load(&a, freshness)),
                    left: polls,
                },
            );
        }
        case.call(
            "undelivered",
            Polls {
                future: Box::pin(store.undelivered(10)),
                left: polls,
            },
        );
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
    case: &Case<H>,
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
            match case.call("put", store.put(put)) {
                Ok(PutOutcome::Applied) => {}
                other => panic!("a put in the state expected: {other:?}"),
            }
            expected = Expected::At(revision);
        }
        match expected {
            Expected::At(revision) if number % 10 == 7 => {
                match case.call("remove", store.remove(&key, revision)) {
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
pub fn pages_equal_the_plain_rule<H: Harness>(case: &Case<H>)
where
    H::Repository: Directory,
{
    let store = case.fresh();
    let (hasher, wider) = wider_acceptance();
    let users = various(case, &store, &hasher);
    let void = |acceptance: &Acceptance| {
        let moment = moment(VOID_BEFORE);
        acceptance.clone().with_void_before(Some(moment))
    };
    let narrow = Acceptance::default();
    let all = || users.iter().map(|(user, summary)| (user, summary));
    let page = |query: &UsersQuery| {
        let page = match case.call("users", Directory::users(store.second(), query)) {
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
            for (acceptance, among) in [
                (narrow.clone(), None),
                (wider.clone(), None),
                (void(&narrow), None),
                (void(&wider), None),
                (narrow.clone(), Some(&named)),
                (void(&wider), Some(&named)),
                (narrow.clone(), Some(&BTreeSet::new())),
            ] {
                let mut query = UsersQuery::new(moment(0)).filter(filter).order(order);
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

/// The figures are those of [`usage`](crate::rules::usage()) over all summaries.
pub fn usage_equals_the_plain_rule<H: Harness>(case: &Case<H>)
where
    H::Repository: Directory,
{
    let store = case.fresh();
    let (hasher, wider) = wider_acceptance();
    let users = various(case, &store, &hasher);
    let day = |n: i64| moment(n * 1440);
    let days: Vec<Timestamp> = (-4..=1).map(day).collect();
    let periods = Periods::new(day(-1)..day(0), day(-2)..day(0), &days).unwrap();
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
        let query = UsageQuery::new(periods.clone(), 3, now, acceptance);
        let plain = usage(users.iter().map(|(_, summary)| summary), &query);
        match case.call("usage", Directory::usage(store.second(), &query)) {
            Ok(figures) => assert_eq!(figures, plain, "directory: usage"),
            Err(error) => panic!("usage failed: {error:?}"),
        }
    }
}

/// The schemes are those of [`schemes`](crate::report::schemes()) over all summaries.
pub fn schemes_equal_the_plain_rule<H: Harness>(case: &Case<H>)
where
    H::Repository: Directory,
{
    let store = case.fresh();
    let (hasher, _) = wider_acceptance();
    let users = various(case, &store, &hasher);
    let plain = schemes(users.iter().map(|(_, summary)| summary));
    match case.call("schemes", Directory::schemes(store.second())) {
        Ok(found) => assert_eq!(found, plain, "directory: schemes"),
        Err(error) => panic!("schemes failed: {error:?}"),
    }
}

/// Lists and figures hold every user where there are more than a page has room for.
pub fn no_user_is_left_out_of_many<H: Harness>(case: &Case<H>)
where
    H::Repository: Directory,
{
    const USERS: u16 = 1010;
    let store = case.fresh();
    let summary = |number: u16| Summary {
        set: Some(SetSummary::new(
            Scheme::new(Format::CROCKFORD, Cost::MIB_19, None),
            10,
            5,
            moment(0),
            moment(0),
        )),
        last_used_at: Some(moment(0)),
        uses: vec![Use {
            quarter: quarter_of(moment(0)),
            count: number,
        }],
        erased_at: None,
    };
    let users: Vec<(UserId, Summary)> = (0..USERS)
        .map(|number| (user(number.to_be_bytes()), summary(number)))
        .collect();
    for (user, summary) in &users {
        let put = Put::new(user, Expected::Absent, revision(), "{}", summary, &[]);
        match case.call("put", store.put(put)) {
            Ok(PutOutcome::Applied) => {}
            other => panic!("a put in the state expected: {other:?}"),
        }
    }
    for order in [UserOrder::User, UserOrder::LatestUse] {
        // The fields can be set without the bounds that the methods keep.
        for (limit, length) in [(1000, 1000), (u16::MAX, 1000), (0, 1)] {
            let mut query = UsersQuery::new(moment(1)).order(order);
            query.limit = limit;
            let first = match case.call("users", Directory::users(store.second(), &query)) {
                Ok(page) => page,
                Err(error) => panic!("a page failed: {error:?}"),
            };
            assert_eq!(first.len(), length, "directory: 1 to 1000 rows a page");
            let query = query.after(first[length - 1].clone()).limit(1000);
            let rest = match case.call("users", Directory::users(store.second(), &query)) {
                Ok(page) => page,
                Err(error) => panic!("a page failed: {error:?}"),
            };
            let plain = query.page(users.iter().map(|(user, summary)| (user, summary)));
            assert_eq!(rest, plain, "directory: the page after {length} rows");
        }
    }
    let periods = Periods::new(moment(0)..moment(15), moment(0)..moment(30), &[]).unwrap();
    let query = UsageQuery::new(periods, 3, moment(1), Acceptance::default());
    let plain = usage(users.iter().map(|(_, summary)| summary), &query);
    match case.call("usage", Directory::usage(store.second(), &query)) {
        Ok(figures) => assert_eq!(figures, plain, "directory: usage of all users"),
        Err(error) => panic!("usage failed: {error:?}"),
    }
}

fn save<H: Harness>(
    case: &Case<H>,
    store: &H::Repository,
    expected: Expected,
    revision: Revision,
    settings: &Settings,
    events: &[Event],
) -> PutOutcome
where
    H::Repository: SettingsStore,
{
    let saved = store.save_settings(expected, revision, settings, events);
    match case.call("save_settings", saved) {
        Ok(outcome) => outcome,
        Err(error) => panic!("saving settings failed: {error:?}"),
    }
}

fn saved<H: Harness>(case: &Case<H>, store: &H::Repository) -> Option<(Settings, Revision)>
where
    H::Repository: SettingsStore,
{
    match case.call("load_settings", store.load_settings()) {
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

/// Before the first save there are no settings; then they come back as they were saved, each of
/// them, with roles of any text.
pub fn settings_come_back_as_they_were_saved<H: Harness>(case: &Case<H>)
where
    H::Repository: SettingsStore,
{
    let store = case.fresh();
    let handles = [&*store, store.second()];
    for handle in handles {
        assert_eq!(
            saved(case, handle),
            None,
            "settings: none before the first save"
        );
    }
    let mut none = Settings::default();
    none.permit_no_roles();
    none.set_on_role_loss(OnRoleLoss::StopRedeeming);
    let mut unusual = Settings::default();
    let long = "\u{1f511}".repeat(500);
    let roles = [
        "Staff", "staff", "staff ", " staff", "", "a\0b", "\"'\\%_", "\u{e9}", "e\u{301}", "1",
        "01", "null", &long,
    ];
    unusual.permit_roles(roles);
    unusual.set_administrators(roles).unwrap();
    unusual.set_low_threshold(0).unwrap();
    let mut expected = Expected::Absent;
    let all = [other_settings(), none, unusual, Settings::default()];
    // The same settings once more are a save, too.
    for (number, settings) in all.iter().chain(&all[3..]).enumerate() {
        let next = revision();
        let outcome = save(case, handles[number % 2], expected, next, settings, &[]);
        assert_eq!(
            outcome,
            PutOutcome::Applied,
            "settings: the state was as expected"
        );
        for handle in handles {
            assert_eq!(
                saved(case, handle),
                Some((settings.clone(), next)),
                "settings: as they were saved, through both handles"
            );
        }
        expected = Expected::At(next);
    }
}

/// A save that expects another state changes nothing: no administrator overwrites what another has
/// saved unseen.
pub fn saving_settings_needs_the_expected_state<H: Harness>(case: &Case<H>)
where
    H::Repository: SettingsStore,
{
    let store = case.fresh();
    let (first, second) = (revision(), revision());
    let save = |expected, revision, settings: &Settings| {
        save(case, &store, expected, revision, settings, &[])
    };
    let default = Settings::default();
    assert_eq!(
        save(Expected::At(second), first, &default),
        PutOutcome::Conflict,
        "settings: absent"
    );
    assert_eq!(
        saved(case, &store),
        None,
        "settings: a conflict saves nothing"
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
    let mut near = first.to_bytes();
    near[15] ^= 1;
    for other in [second, Revision::from_bytes(near)] {
        assert_eq!(
            save(Expected::At(other), second, &default),
            PutOutcome::Conflict,
            "settings: another revision"
        );
    }
    assert_eq!(
        saved(case, &store),
        Some((other_settings(), first)),
        "settings: unchanged"
    );
    assert_eq!(
        save(Expected::At(first), second, &default),
        PutOutcome::Applied
    );
    assert_eq!(
        save(Expected::At(first), revision(), &other_settings()),
        PutOutcome::Conflict,
        "settings: stale"
    );
}

/// Of many saves in the same state, the first save and later ones, exactly one is applied, with its
/// events.
pub fn one_of_many_racing_saves_wins<H: Harness>(case: &Case<H>)
where
    H::Repository: SettingsStore,
{
    let store = case.fresh();
    let mut expected = Expected::Absent;
    for _ in 0..20 {
        let revisions = [(); 8].map(|()| revision());
        let events = [(); 8].map(|()| event(&user("a")));
        let settings = |racer: usize| {
            let mut settings = Settings::default();
            settings.permit_roles([racer.to_string()]);
            settings
        };
        let applied = race(&store, 8, |racer, handle| {
            let (settings, events) = (settings(racer), &events[racer..=racer]);
            save(case, handle, expected, revisions[racer], &settings, events)
        });
        assert_eq!(applied.len(), 1, "settings: one save wins");
        let winner = applied[0];
        assert_eq!(
            saved(case, &store),
            Some((settings(winner), revisions[winner])),
            "settings: those of the save that was applied"
        );
        let listed = case.undelivered(&store);
        assert_eq!(
            listed,
            events[winner..=winner],
            "settings: the events of the save that was applied"
        );
        case.acknowledge(&store, &ids(&listed));
        expected = Expected::At(revisions[winner]);
    }
}

/// The events of a save are listed like those of a put, through both handles; those of a conflict
/// are not kept.
pub fn settings_events_come_with_their_save<H: Harness>(case: &Case<H>)
where
    H::Repository: SettingsStore,
{
    let store = case.fresh();
    let (first, settings) = (revision(), Settings::default());
    let mut kept = Event {
        subject: None,
        ..event(&user("a"))
    };
    kept.kind = EventKind::SaveSettings;
    let events = std::slice::from_ref(&kept);
    let outcome = save(case, &store, Expected::Absent, first, &settings, events);
    assert_eq!(outcome, PutOutcome::Applied);
    for expected in [Expected::Absent, Expected::At(revision())] {
        let lost = [event(&user("a"))];
        let outcome = save(case, &store, expected, revision(), &settings, &lost);
        assert_eq!(outcome, PutOutcome::Conflict);
    }
    for handle in [&*store, store.second()] {
        assert_eq!(
            case.undelivered(handle),
            events,
            "settings: the events of the save, and no others"
        );
    }
    let more = event(&user("a"));
    let later = std::slice::from_ref(&more);
    let outcome = save(
        case,
        &store,
        Expected::At(first),
        revision(),
        &settings,
        later,
    );
    assert_eq!(outcome, PutOutcome::Applied);
    assert_eq!(
        by_id(case.undelivered(&store)),
        by_id([kept.clone(), more.clone()]),
        "settings: a later save keeps earlier events"
    );
    case.acknowledge(store.second(), &ids(events));
    assert_eq!(
        case.undelivered(&store),
        [more],
        "clause 6: the acknowledged one is gone"
    );
}

/// A save whose future is dropped after any number of polls is applied with its events, or not at
/// all.
pub fn a_dropped_save_is_whole_or_nothing<H: Harness>(case: &Case<H>)
where
    H::Repository: SettingsStore,
{
    for polls in 0..12 {
        let store = case.fresh();
        let (first, other, default) = (revision(), other_settings(), Settings::default());
        let events = [event(&user("a"))];
        case.call(
            "save_settings",
            Polls {
                future: Box::pin(store.save_settings(Expected::Absent, first, &other, &events)),
                left: polls,
            },
        );
        // As for a dropped put: at most one of the two is applied, and then nothing is on its way.
        let outcome = save(case, &store, Expected::Absent, revision(), &default, &[]);
        let there = outcome == PutOutcome::Conflict;
        let (settings, at) = saved(case, &store).expect("one of the two was applied");
        assert_eq!(
            (at == first, settings == other),
            (there, there),
            "settings: a conflict is with the dropped save"
        );
        assert_eq!(
            case.undelivered(&store).len(),
            usize::from(there),
            "settings: settings and events are one write"
        );
        let outcome = save(case, &store, Expected::At(at), revision(), &default, &[]);
        assert_eq!(outcome, PutOutcome::Applied, "settings: the store works on");
    }
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
