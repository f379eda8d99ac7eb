//! The memory store keeps the contract, and for every clause a broken store shows that its case
//! can fail.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use backup_codes::audit::{Event, EventId};
use backup_codes::conformance::{self, Case, Harness, block_on, run_case};
use backup_codes::hash::{Acceptance, Scheme};
use backup_codes::report::{Summary, UsageQuery, UserRow};
use backup_codes::repository::{
    CodeRepository, Directory, Expected, Freshness, Loaded, Put, PutError, PutOutcome, Revision,
    SettingsStore,
};
use support::polling;

use backup_codes::{
    MemoryRepository, Settings, Timestamp, Usage, UserFilter, UserId, UserOrder, UsersQuery,
};

struct Memory;

impl Harness for Memory {
    type Repository = MemoryRepository;
    fn fresh(&self, _: &str) -> MemoryRepository {
        MemoryRepository::new()
    }
    fn second_handle(&self, _: &str, first: &MemoryRepository) -> MemoryRepository {
        first.clone()
    }
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }
}

mod memory {
    backup_codes::conformance_tests!(super::Memory);
    backup_codes::directory_conformance_tests!(super::Memory);
    backup_codes::settings_conformance_tests!(super::Memory);
}

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Flaw {
    None,
    InventsEmptyRecords,
    InventsCopies,
    TrimsText,
    LosesWideCharacters,
    ReadsRecords,
    ForgetsTheRevision,
    IgnoresAbsence,
    IgnoresTheRevision,
    ComparesHalfTheRevision,
    TakesRevisionsForText,
    FoldsRevisions,
    SkipsEqualText,
    RefusesEqualText,
    AcceptsTheRemovedState,
    RefusesRemovedUsers,
    HasOneRevisionForAll,
    RemovesByPattern,
    FoldsCase,
    TrimsKeys,
    CutsKeysAtNul,
    CutsLongKeys,
    AcceptsTheReplacedState,
    RemovesLate,
    RemovesWhatIsAbsent,
    LosesWrites,
    LosesOtherUsers,
    SecondHandleIsStale,
    KeepsRemovedRecordsInACache,
    WritesEvents(Order, Gap),
    LosesEvents,
    KeepsEventsOfConflicts,
    KeepsEventsOfRefusedCreations,
    ReplacesEvents,
    CutsTimes,
    TakesEventUsersForText,
    CutsUserAgents,
    InventsUserAgents,
    KeepsSomeOfManyEvents,
    HidesEventsOfTheFuture,
    AcknowledgesAll,
    AcknowledgesWhatCameBefore,
    AcknowledgesByHalfAnId,
    AcknowledgesAllOfAUser,
    AcknowledgesByRewriting,
    AcknowledgesForOneHandle,
    AcknowledgesSomeOfMany,
    FailsOnUnknownIds,
    IgnoresTheLimit,
    TakesNoneForAll,
    OverflowsTheLimit,
    CutsLongLists,
    ListsItsOwnEvents,
    RemovesEventsWithTheRecord,
    RemovesAnyRevision,
    CutsRecords,
    WritesInTwoSteps,
    RemovesInTwoSteps,
    AcknowledgesInTwoSteps,
    LoadsByTaking,
    ListsByTaking,
}

/// Which part of a write comes first.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    EventsFirst,
    EventsSecond,
}

/// What is between the two parts of a write.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Gap {
    /// Both are written in one poll.
    OnePoll,
    /// The second one is written by another thread, which is waited for.
    AnotherThread,
    /// The future is polled many times in between.
    Delay,
}

/// Every gap, in both orders.
const GAPS: [(Order, Gap); 6] = [
    (Order::EventsFirst, Gap::OnePoll),
    (Order::EventsFirst, Gap::AnotherThread),
    (Order::EventsFirst, Gap::Delay),
    (Order::EventsSecond, Gap::OnePoll),
    (Order::EventsSecond, Gap::AnotherThread),
    (Order::EventsSecond, Gap::Delay),
];

/// Reads, and a gap that lasts until enough of them have passed for any reader to have looked twice.
/// Where there is no reader it ends all the same.
#[derive(Default)]
struct Reads(AtomicUsize);

impl Reads {
    const ENOUGH: usize = 24;
    const PATIENCE: usize = 20_000;

    fn count(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn passed(&self, since: usize) -> bool {
        self.0.load(Ordering::SeqCst) >= since + Self::ENOUGH
    }

    fn hold(&self) {
        let since = self.0.load(Ordering::SeqCst);
        wait_for(|| self.passed(since));
    }

    /// The first part of a write, the gap, and the second part.
    async fn between(&self, gap: Gap, first: impl FnOnce(), second: impl Fn() + Sync) {
        first();
        match gap {
            Gap::OnePoll => self.hold(),
            Gap::AnotherThread => thread::scope(|scope| {
                scope.spawn(|| {
                    self.hold();
                    second();
                });
            }),
            Gap::Delay => {
                let since = self.0.load(Ordering::SeqCst);
                for _ in 0..Self::PATIENCE {
                    if self.passed(since) {
                        break;
                    }
                    give_way().await;
                }
            }
        }
        if gap != Gap::AnotherThread {
            second();
        }
    }
}

/// Waits until something has happened in another thread, and not for ever.
fn wait_for(happened: impl Fn() -> bool) {
    for _ in 0..Reads::PATIENCE {
        if happened() {
            break;
        }
        thread::yield_now();
    }
}

type Records = HashMap<Vec<u8>, (Revision, String)>;

#[derive(Default)]
struct Tables {
    records: Records,
    /// The state before the latest write.
    replaced: HashMap<Vec<u8>, Option<Revision>>,
    writes: usize,
    /// Each with the handle that has written it.
    events: Vec<(usize, Event)>,
    latest: Option<Revision>,
}

#[derive(Clone)]
struct Broken {
    flaw: Flaw,
    tables: Arc<Mutex<Tables>>,
    reads: Arc<Reads>,
    handle: usize,
    /// What a stale handle sees.
    stale: Option<Arc<Mutex<Tables>>>,
    /// What this handle has loaded, and acknowledged.
    cache: Arc<Mutex<Records>>,
    acknowledged: Arc<Mutex<Vec<EventId>>>,
}

#[derive(Debug, thiserror::Error)]
#[error("unknown event")]
struct Unknown;

/// Gives way once, so that another racer or a dropped future can come between.
async fn give_way() {
    thread::yield_now();
    polling::give_way().await;
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of a key as a text.
fn lossy(user: &UserId) -> UserId {
    UserId::new(String::from_utf8_lossy(user.as_bytes()).as_bytes()).unwrap_or(user.clone())
}

impl Broken {
    fn new(flaw: Flaw) -> Self {
        Self {
            flaw,
            tables: Arc::default(),
            reads: Arc::default(),
            handle: 0,
            stale: None,
            cache: Arc::default(),
            acknowledged: Arc::default(),
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        locked(&self.tables)
    }

    fn key(&self, user: &UserId) -> Vec<u8> {
        let bytes = user.as_bytes();
        match self.flaw {
            Flaw::FoldsCase => bytes.to_ascii_lowercase(),
            Flaw::TrimsKeys => bytes.trim_ascii().to_vec(),
            Flaw::CutsKeysAtNul => bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec(),
            Flaw::CutsLongKeys => bytes[..bytes.len().min(64)].to_vec(),
            _ => bytes.to_vec(),
        }
    }

    fn text(&self, record: &str) -> String {
        match self.flaw {
            Flaw::TrimsText => record.replace("\\u0000", ""),
            Flaw::CutsRecords => record.chars().take(65_535).collect(),
            Flaw::LosesWideCharacters => record.replace('\u{1f511}', "?"),
            Flaw::ReadsRecords => match serde_json::from_str::<serde_json::Value>(record) {
                Ok(value) => value.to_string(),
                Err(_) => record.to_owned(),
            },
            _ => record.to_owned(),
        }
    }

    fn keep(&self, kept: &mut Vec<(usize, Event)>, events: &[Event]) {
        let few = match self.flaw {
            Flaw::LosesEvents => 0,
            Flaw::KeepsSomeOfManyEvents => 16,
            _ => usize::MAX,
        };
        if self.flaw == Flaw::ReplacesEvents {
            kept.clear();
        }
        let written = events.iter().take(few).cloned().map(|mut event| {
            match self.flaw {
                Flaw::CutsTimes => {
                    let millis = event.at.unix_millis() / 1000 * 1000;
                    event.at = Timestamp::from_unix_millis(millis).unwrap_or(event.at);
                }
                Flaw::TakesEventUsersForText => event.subject = event.subject.as_ref().map(lossy),
                Flaw::CutsUserAgents => {
                    event.user_agent = event.user_agent.map(|it| it.chars().take(100).collect());
                }
                Flaw::InventsUserAgents => {
                    event.user_agent.get_or_insert_default();
                }
                _ => {}
            }
            (self.handle, event)
        });
        kept.extend(written);
    }

    fn same(&self, a: Revision, b: Revision) -> bool {
        let (a, b) = (a.to_bytes(), b.to_bytes());
        match self.flaw {
            Flaw::ComparesHalfTheRevision => a[..8] == b[..8],
            Flaw::TakesRevisionsForText => {
                String::from_utf8_lossy(&a).trim_end() == String::from_utf8_lossy(&b).trim_end()
            }
            Flaw::FoldsRevisions => a.eq_ignore_ascii_case(&b),
            _ => a == b,
        }
    }

    fn fits(&self, current: Option<Revision>, expected: Expected) -> bool {
        match expected {
            Expected::Absent => current.is_none() || self.flaw == Flaw::IgnoresAbsence,
            Expected::At(revision) => current.is_some_and(|current| {
                self.flaw == Flaw::IgnoresTheRevision || self.same(current, revision)
            }),
        }
    }

    /// The outcome of a put that is settled without a change, by rule or by flaw.
    fn unchanged(&self, tables: &mut Tables, key: &[u8], put: &Put<'_>) -> Option<PutOutcome> {
        let current = tables.records.get(key).map(|row| row.0);
        let replaced = tables.replaced.get(key).copied();
        let removed = current.is_none() && replaced.is_some();
        // What a store does that reads, and writes later: the same in every schedule.
        let late = match self.flaw {
            Flaw::AcceptsTheReplacedState => replaced,
            Flaw::AcceptsTheRemovedState if removed => replaced,
            Flaw::HasOneRevisionForAll if put.expected != Expected::Absent => Some(tables.latest),
            _ => None,
        };
        let late = late.is_some_and(|state| self.fits(state, put.expected));
        let one = self.flaw == Flaw::HasOneRevisionForAll && put.expected != Expected::Absent;
        let refused = self.flaw == Flaw::RefusesRemovedUsers && removed;
        let fits = self.fits(current, put.expected) && !refused && !one;
        if !late && !fits {
            let keeps = match self.flaw {
                Flaw::KeepsEventsOfConflicts => true,
                Flaw::KeepsEventsOfRefusedCreations => put.expected == Expected::Absent,
                _ => false,
            };
            if keeps {
                self.keep(&mut tables.events, put.events);
            }
            return Some(PutOutcome::Conflict);
        }
        let equal = tables
            .records
            .get(key)
            .is_some_and(|row| row.1 == put.record);
        match self.flaw {
            Flaw::SkipsEqualText if equal => return Some(PutOutcome::Applied),
            Flaw::RefusesEqualText if equal => return Some(PutOutcome::Conflict),
            _ => {}
        }
        tables.writes += 1;
        let lost = self.flaw == Flaw::LosesWrites && tables.writes % 7 == 0;
        lost.then_some(PutOutcome::Applied)
    }

    fn write(&self, tables: &mut Tables, key: &[u8], put: &Put<'_>) {
        let current = tables.records.get(key).map(|row| row.0);
        tables.replaced.insert(key.to_vec(), current);
        tables.latest = Some(put.revision);
        let row = (put.revision, put.record.to_owned());
        tables.records.insert(key.to_vec(), row);
    }
}

impl CodeRepository for Broken {
    type Error = Unknown;

    async fn load(&self, user: &UserId, f: Freshness) -> Result<Option<Loaded>, Unknown> {
        let key = self.key(user);
        if self.flaw == Flaw::LoadsByTaking {
            let taken = self.tables().records.remove(&key);
            give_way().await;
            if let Some(row) = taken {
                self.tables().records.insert(key.clone(), row);
            }
        }
        let stale = self
            .stale
            .as_ref()
            .filter(|_| self.flaw == Flaw::SecondHandleIsStale);
        let tables = match stale {
            Some(stale) => locked(stale),
            None => self.tables(),
        };
        let mut loaded = tables.records.get(&key).cloned();
        drop(tables);
        self.reads.count();
        if self.flaw == Flaw::KeepsRemovedRecordsInACache {
            let mut cache = locked(&self.cache);
            match &loaded {
                Some(row) => {
                    cache.insert(key, row.clone());
                }
                None => loaded = cache.get(&key).cloned(),
            }
        }
        let invents = self.flaw == Flaw::InventsEmptyRecords
            || self.flaw == Flaw::InventsCopies && f == Freshness::Any;
        Ok(match loaded {
            None if invents => Some(Loaded {
                record: "{}".into(),
                revision: Revision::from_bytes([0; 16]),
            }),
            None => None,
            Some((revision, record)) => Some(Loaded {
                record: self.text(&record),
                revision: match self.flaw {
                    Flaw::ForgetsTheRevision => Revision::from_bytes([0; 16]),
                    _ => revision,
                },
            }),
        })
    }

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Unknown>> {
        let key = self.key(put.user);
        if let Flaw::WritesEvents(order, gap) = self.flaw {
            // One writer at a time, so nothing but the gap is wrong.
            if let Some(settled) = self.unchanged(&mut self.tables(), &key, &put) {
                return Ok(settled);
            }
            let record = || self.write(&mut self.tables(), &key, &put);
            let events = || self.keep(&mut self.tables().events, put.events);
            match order {
                Order::EventsFirst => self.reads.between(gap, events, record).await,
                Order::EventsSecond => self.reads.between(gap, record, events).await,
            }
            return Ok(PutOutcome::Applied);
        }
        {
            let mut tables = self.tables();
            if let Some(settled) = self.unchanged(&mut tables, &key, &put) {
                return Ok(settled);
            }
            if self.flaw == Flaw::LosesOtherUsers {
                // All users are one value, which is read, changed and written.
                let (mut copy, writes) = (tables.records.clone(), tables.writes);
                drop(tables);
                wait_for(|| self.tables().writes > writes);
                copy.insert(key, (put.revision, put.record.to_owned()));
                let mut tables = self.tables();
                tables.records = copy;
                self.keep(&mut tables.events, put.events);
                return Ok(PutOutcome::Applied);
            }
            self.write(&mut tables, &key, &put);
            if self.flaw != Flaw::WritesInTwoSteps {
                self.keep(&mut tables.events, put.events);
                return Ok(PutOutcome::Applied);
            }
        }
        give_way().await;
        self.keep(&mut self.tables().events, put.events);
        Ok(PutOutcome::Applied)
    }

    async fn remove(&self, user: &UserId, at: Revision) -> Result<PutOutcome, PutError<Unknown>> {
        let key = self.key(user);
        if self.flaw == Flaw::RemovesInTwoSteps {
            if let Some(row) = self.tables().records.get_mut(&key) {
                row.1.clear();
            }
            give_way().await;
        }
        let mut tables = self.tables();
        let current = tables.records.get(&key).map(|row| row.0);
        let any = match self.flaw {
            Flaw::RemovesAnyRevision => current.is_some(),
            Flaw::RemovesWhatIsAbsent => current.is_none(),
            Flaw::RemovesLate => tables.replaced.get(&key) == Some(&Some(at)),
            _ => false,
        };
        if !self.fits(current, Expected::At(at)) && !any {
            return Ok(PutOutcome::Conflict);
        }
        tables.replaced.insert(key.clone(), current);
        if self.flaw == Flaw::RemovesByPattern && user.as_bytes() == b"%" {
            tables.records.clear();
        }
        tables.records.remove(&key);
        if self.flaw == Flaw::RemovesEventsWithTheRecord {
            tables.events.clear();
        }
        Ok(PutOutcome::Applied)
    }

    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Unknown> {
        let limit = match self.flaw {
            Flaw::IgnoresTheLimit => usize::MAX,
            Flaw::TakesNoneForAll if limit == 0 => usize::MAX,
            Flaw::OverflowsTheLimit if i64::try_from(limit).is_err() => 0,
            Flaw::CutsLongLists => limit.min(1000),
            _ => limit,
        };
        if self.flaw == Flaw::ListsByTaking {
            let taken = std::mem::take(&mut self.tables().events);
            give_way().await;
            self.tables().events = taken;
        }
        let mut events = self.tables().events.clone();
        self.reads.count();
        let gone = locked(&self.acknowledged);
        events.retain(|(handle, event)| match self.flaw {
            Flaw::ListsItsOwnEvents => *handle == self.handle,
            Flaw::AcknowledgesForOneHandle => !gone.contains(&event.id),
            Flaw::HidesEventsOfTheFuture => event.at.unix_millis() < 2_000_000_000_000,
            _ => true,
        });
        Ok(events
            .into_iter()
            .map(|(_, event)| event)
            .take(limit)
            .collect())
    }

    async fn acknowledge(&self, ids: &[EventId]) -> Result<(), Unknown> {
        if self.flaw == Flaw::AcknowledgesForOneHandle {
            locked(&self.acknowledged).extend(ids);
            return Ok(());
        }
        if self.flaw == Flaw::AcknowledgesInTwoSteps {
            let taken = std::mem::take(&mut self.tables().events);
            give_way().await;
            self.tables().events = taken;
        }
        if self.flaw == Flaw::AcknowledgesByRewriting {
            let (mut left, writes) = {
                let tables = self.tables();
                (tables.events.clone(), tables.writes)
            };
            wait_for(|| self.tables().writes > writes);
            left.retain(|(_, event)| !ids.contains(&event.id));
            self.tables().events = left;
            return Ok(());
        }
        let mut tables = self.tables();
        let known = |id: &EventId| tables.events.iter().any(|(_, event)| event.id == *id);
        if self.flaw == Flaw::FailsOnUnknownIds && !ids.iter().all(known) {
            return Err(Unknown);
        }
        let named = |event: &Event| ids.contains(&event.id);
        let events = &mut tables.events;
        match self.flaw {
            Flaw::AcknowledgesAll => events.clear(),
            Flaw::AcknowledgesWhatCameBefore => {
                let last = events.iter().rposition(|(_, event)| named(event));
                events.drain(..last.map_or(0, |last| last + 1));
            }
            Flaw::AcknowledgesByHalfAnId => events.retain(|(_, event)| {
                let half = |id: EventId| id.to_bytes()[..15].to_vec();
                !ids.iter().any(|id| half(*id) == half(event.id))
            }),
            Flaw::AcknowledgesAllOfAUser => {
                let users: Vec<_> = events.iter().filter(|(_, event)| named(event)).collect();
                let users: Vec<_> = users
                    .iter()
                    .map(|(_, event)| event.subject.clone())
                    .collect();
                events.retain(|(_, event)| !users.contains(&event.subject));
            }
            Flaw::AcknowledgesSomeOfMany => {
                let some = &ids[..ids.len().min(999)];
                events.retain(|(_, event)| !some.contains(&event.id));
            }
            _ => events.retain(|(_, event)| !named(event)),
        }
        Ok(())
    }
}

struct BrokenHarness(Flaw);

impl Harness for BrokenHarness {
    type Repository = Broken;
    fn fresh(&self, _: &str) -> Broken {
        Broken::new(self.0)
    }
    fn second_handle(&self, _: &str, first: &Broken) -> Broken {
        Broken {
            handle: 1,
            stale: Some(Arc::default()),
            cache: Arc::default(),
            acknowledged: Arc::default(),
            ..first.clone()
        }
    }
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }
}

/// Why a case fails on a store; `None` where it passes.
fn failure<H: Harness>(harness: H, case: fn(&Case<H>)) -> Option<String> {
    let run = AssertUnwindSafe(|| run_case(harness, "case", case));
    let panic = catch_unwind(run).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap_or(&"")).to_owned()))
}

#[test]
fn the_store_with_no_flaw_passes_every_case() {
    let mut passed = 0;
    conformance::run(BrokenHarness(Flaw::None), |_| passed += 1);
    assert_eq!(passed, 35);
}

/// Named tests that each of these cases fails on stores with these flaws. A race may need several
/// tries to show.
macro_rules! each_case_can_fail {
    ($harness:ident; $($case:ident: $($flaw:expr),+;)*) => {
        $(
            #[test]
            fn $case() {
                for flaw in [$($flaw),+] {
                    let fails = (0..50)
                        .any(|_| failure($harness(flaw), conformance::$case).is_some());
                    assert!(fails, "{} lets {flaw:?} pass", stringify!($case));
                }
            }
        )*

        pub(super) const CASES: &[&str] = &[$(stringify!($case)),*];
    };
}

mod broken {
    use super::Flaw::*;
    use super::*;

    each_case_can_fail! {
        BrokenHarness;
        absent_user_has_no_record: InventsEmptyRecords, InventsCopies;
        put_then_load_gives_the_same_bytes: TrimsText, ForgetsTheRevision, LosesWideCharacters;
        records_are_kept_as_they_are_written: ReadsRecords;
        large_records_are_kept_whole: CutsRecords, LosesWideCharacters;
        put_needs_the_expected_state: IgnoresAbsence, IgnoresTheRevision, AcceptsTheReplacedState;
        remove_needs_the_expected_revision: RemovesAnyRevision, RemovesWhatIsAbsent;
        revisions_are_compared_whole: ComparesHalfTheRevision, TakesRevisionsForText,
            FoldsRevisions;
        a_put_of_the_same_text_is_a_write: SkipsEqualText, RefusesEqualText;
        a_late_write_misses_a_record_made_again: AcceptsTheRemovedState, RefusesRemovedUsers,
            AcceptsTheReplacedState, RemovesLate, RemovesWhatIsAbsent;
        a_write_leaves_other_users_alone: HasOneRevisionForAll, RemovesByPattern,
            RemovesEventsWithTheRecord;
        keys_are_compared_byte_for_byte: FoldsCase, TrimsKeys, CutsKeysAtNul;
        every_key_byte_is_kept: CutsLongKeys, FoldsCase;
        one_of_two_racing_creations_wins: AcceptsTheReplacedState, IgnoresAbsence,
            KeepsEventsOfConflicts;
        one_of_many_racing_updates_wins: AcceptsTheReplacedState, IgnoresTheRevision,
            KeepsEventsOfConflicts;
        one_of_a_racing_removal_and_updates_wins: RemovesLate, RemovesAnyRevision,
            RemovesWhatIsAbsent, AcceptsTheRemovedState;
        no_update_is_lost_in_a_race: LosesWrites;
        writes_to_different_users_are_all_applied: LosesOtherUsers;
        latest_sees_the_other_handle: SecondHandleIsStale, KeepsRemovedRecordsInACache;
        any_is_never_torn: ForgetsTheRevision;
        a_write_shows_with_its_events: WritesEvents(Order::EventsFirst, Gap::OnePoll),
            WritesEvents(Order::EventsSecond, Gap::OnePoll), ReplacesEvents, LosesEvents;
        events_come_with_their_write: LosesEvents, IgnoresTheLimit;
        every_kind_of_event_comes_unchanged: CutsTimes, TakesEventUsersForText, CutsUserAgents,
            InventsUserAgents, KeepsSomeOfManyEvents, HidesEventsOfTheFuture;
        events_of_a_conflict_are_not_kept: KeepsEventsOfConflicts, KeepsEventsOfRefusedCreations;
        events_stay_until_acknowledged: ReplacesEvents, AcknowledgesAll;
        acknowledging_is_idempotent: FailsOnUnknownIds, AcknowledgesAll;
        acknowledging_takes_only_what_it_names: AcknowledgesWhatCameBefore,
            AcknowledgesByHalfAnId, AcknowledgesAllOfAUser;
        no_event_is_lost_while_others_are_acknowledged: AcknowledgesByRewriting, AcknowledgesAll;
        events_are_the_same_through_both_handles: ListsItsOwnEvents, AcknowledgesForOneHandle,
            RemovesEventsWithTheRecord;
        events_outlive_their_record: RemovesEventsWithTheRecord, ReplacesEvents;
        every_event_comes_page_by_page: AcknowledgesAll, IgnoresTheLimit, ReplacesEvents;
        the_list_of_events_holds_what_its_limit_lets_in: IgnoresTheLimit, TakesNoneForAll,
            OverflowsTheLimit, CutsLongLists, AcknowledgesSomeOfMany, KeepsSomeOfManyEvents;
        a_dropped_put_is_whole_or_nothing: WritesInTwoSteps;
        a_dropped_remove_is_whole_or_nothing: RemovesInTwoSteps, RemovesEventsWithTheRecord;
        a_dropped_acknowledge_takes_only_its_own: AcknowledgesInTwoSteps, AcknowledgesAll;
        a_dropped_read_changes_nothing: LoadsByTaking, ListsByTaking;
    }
}

#[test]
fn no_case_is_left_out() {
    let mut listed = [broken::CASES, broken_lists::CASES].concat();
    let mut all = Vec::new();
    conformance::run_all(Memory, |case| all.push(case.to_owned()));
    listed.sort_unstable();
    all.sort_unstable();
    assert_eq!(listed, all);
}

#[test]
fn each_trait_can_be_run_alone() {
    let mut names = Vec::new();
    conformance::run(Memory, |case| names.push(case.to_owned()));
    conformance::run_directory(Memory, |case| names.push(case.to_owned()));
    conformance::run_settings(Memory, |case| names.push(case.to_owned()));
    let mut all = Vec::new();
    conformance::run_all(Memory, |case| all.push(case.to_owned()));
    assert_eq!(names, all);
}

#[test]
fn a_gap_between_a_record_and_its_events_is_seen_in_every_run() {
    for (order, gap) in GAPS {
        for run in 0..20 {
            let broken = BrokenHarness(Flaw::WritesEvents(order, gap));
            let seen = failure(broken, conformance::a_write_shows_with_its_events);
            assert!(seen.is_some(), "run {run}: {order:?}, {gap:?}");
        }
    }
}

/// What is wrong with a directory or a store of settings.
#[derive(Debug, Clone, Copy, PartialEq)]
enum ListFlaw {
    None,
    IgnoresTheFilter,
    IgnoresTheOrder,
    RepeatsTheFirstPage,
    IgnoresExpiry,
    ExpiresTooLate,
    IgnoresVoidBefore,
    VoidsTheMomentItself,
    IgnoresTheNamed,
    TakesNobodyForEverybody,
    LeavesOutSomeOfMany,
    ListsTheUnknown,
    IgnoresTheLimit,
    IgnoresTheThreshold,
    KeepsTheFirstSummary,
    ListsTheRemoved,
    TakesActivationForPreparation,
    IgnoresTheScheme,
    MergesSchemes,
    LosesUses,
    LeavesOutTheLast,
    IndexesRows(Order, Gap),
    IndexesFigures(Order, Gap),
    IndexesInTwoParts,
    ForgetsSettings,
    ForgetsOneSetting,
    FoldsRoles,
    LosesNul,
    SkipsEqualSettings,
    KeepsSettingsOfItsOwn,
    OverwritesSettings,
    ComparesHalfTheRevision,
    SavesLate,
    LosesEvents,
    ReplacesEvents,
    WritesEvents(Order, Gap),
    KeepsEventsOfConflicts,
    SavesInTwoSteps,
}

#[derive(Clone)]
struct BrokenList(ListFlaw, MemoryRepository, Beside);

/// What a broken list keeps beside the records.
#[derive(Clone, Default)]
struct Beside {
    index: MemoryRepository,
    reads: Arc<Reads>,
    /// The revision of the settings before the latest ones.
    replaced: Arc<Mutex<Option<Expected>>>,
    /// What this handle has saved or loaded first.
    own: Arc<Mutex<Option<(Settings, Revision)>>>,
}

impl BrokenList {
    fn new(flaw: ListFlaw) -> Self {
        Self(flaw, MemoryRepository::new(), Beside::default())
    }

    /// Adds events alone, as the put of a user who is removed again.
    fn add_events(&self, events: &[Event]) {
        block_on(async {
            let (user, revision) = (
                UserId::new("events").unwrap(),
                Revision::from_bytes([1; 16]),
            );
            let summary = Summary::default();
            let put = Put::new(&user, Expected::Absent, revision, "", &summary, events);
            let _ = self.1.put(put).await;
            let _ = self.1.remove(&user, revision).await;
        });
    }
}

impl CodeRepository for BrokenList {
    type Error = Infallible;
    async fn load(&self, user: &UserId, f: Freshness) -> Result<Option<Loaded>, Infallible> {
        let loaded = self.1.load(user, f).await;
        self.2.reads.count();
        loaded
    }
    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Infallible>> {
        // A store whose index is written with the first record only.
        if let (ListFlaw::KeepsTheFirstSummary, Expected::At(_)) = (self.0, put.expected) {
            return Ok(PutOutcome::Applied);
        }
        let index = || drop(block_on(self.2.index.put(put)));
        let record = || drop(block_on(self.1.put(put)));
        match self.0 {
            ListFlaw::IndexesRows(order, gap) | ListFlaw::IndexesFigures(order, gap) => {
                match order {
                    Order::EventsFirst => self.2.reads.between(gap, index, record).await,
                    Order::EventsSecond => self.2.reads.between(gap, record, index).await,
                }
                Ok(PutOutcome::Applied)
            }
            ListFlaw::IndexesInTwoParts => {
                self.2.reads.between(Gap::OnePoll, record, index).await;
                Ok(PutOutcome::Applied)
            }
            _ => self.1.put(put).await,
        }
    }
    async fn remove(&self, u: &UserId, r: Revision) -> Result<PutOutcome, PutError<Infallible>> {
        if self.0 == ListFlaw::ListsTheRemoved {
            return Ok(PutOutcome::Applied);
        }
        self.1.remove(u, r).await
    }
    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Infallible> {
        let events = self.1.undelivered(limit).await;
        self.2.reads.count();
        events
    }
    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Infallible> {
        self.1.acknowledge(events).await
    }
}

impl ListFlaw {
    fn acceptance(self, right: &Acceptance) -> Acceptance {
        let void = right.void_before();
        match self {
            Self::IgnoresVoidBefore => right.clone().with_void_before(None),
            Self::VoidsTheMomentItself => right
                .clone()
                .with_void_before(void.map(|moment| beside(moment, 1))),
            _ => Acceptance::default().with_void_before(void),
        }
    }
}

/// A millisecond away.
fn beside(moment: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(moment.unix_millis() + millis).unwrap_or(moment)
}

impl Directory for BrokenList {
    type Error = Infallible;
    async fn users(&self, query: &UsersQuery) -> Result<Vec<UserRow>, Infallible> {
        let mut query = query.clone();
        match self.0 {
            ListFlaw::IgnoresTheFilter => query.filter = UserFilter::Every,
            ListFlaw::IgnoresTheOrder => query.order = UserOrder::User,
            ListFlaw::RepeatsTheFirstPage => query.after = None,
            ListFlaw::IgnoresExpiry => query.now = Timestamp::MIN,
            ListFlaw::ExpiresTooLate => query.now = beside(query.now, -1),
            ListFlaw::IgnoresVoidBefore
            | ListFlaw::VoidsTheMomentItself
            | ListFlaw::IgnoresTheScheme => {
                query.acceptance = self.0.acceptance(&query.acceptance);
            }
            ListFlaw::IgnoresTheNamed => query.among = None,
            ListFlaw::TakesNobodyForEverybody => {
                query.among = query.among.filter(|named| !named.is_empty());
            }
            ListFlaw::LeavesOutSomeOfMany => {
                query.among = query
                    .among
                    .map(|named| named.into_iter().take(1000).collect());
            }
            ListFlaw::IgnoresTheLimit => query.limit = 1000,
            ListFlaw::IgnoresTheThreshold => query.low_threshold = 0,
            _ => {}
        }
        let mut rows = match self.0 {
            ListFlaw::IndexesRows(..) => self.2.index.users(&query).await?,
            _ => self.1.users(&query).await?,
        };
        self.2.reads.count();
        if self.0 == ListFlaw::LeavesOutTheLast {
            rows.retain(|row| row.user.as_bytes() < &[3, 0xf0]);
        }
        if self.0 == ListFlaw::IndexesInTwoParts {
            for (row, indexed) in rows.iter_mut().zip(self.2.index.users(&query).await?) {
                row.activated_at = indexed.activated_at;
            }
        }
        if self.0 == ListFlaw::TakesActivationForPreparation {
            for row in &mut rows {
                row.prepared_at = row.activated_at;
            }
        }
        // As an outer join does.
        if let (ListFlaw::ListsTheUnknown, Some(named)) = (self.0, &query.among) {
            let mut unknown = named.clone();
            for row in &rows {
                unknown.remove(&row.user);
            }
            let none = Summary::default();
            rows.extend(query.page(unknown.iter().map(|user| (user, &none))));
        }
        Ok(rows)
    }
    async fn usage(&self, query: &UsageQuery) -> Result<Usage, Infallible> {
        let mut query = query.clone();
        match self.0 {
            ListFlaw::IgnoresExpiry => query.now = Timestamp::MIN,
            ListFlaw::ExpiresTooLate => query.now = beside(query.now, -1),
            ListFlaw::IgnoresVoidBefore
            | ListFlaw::VoidsTheMomentItself
            | ListFlaw::IgnoresTheScheme => {
                query.acceptance = self.0.acceptance(&query.acceptance);
            }
            ListFlaw::IgnoresTheThreshold => query.low_threshold = 0,
            _ => {}
        }
        let mut usage = match self.0 {
            ListFlaw::IndexesFigures(..) => Directory::usage(&self.2.index, &query).await?,
            _ => Directory::usage(&self.1, &query).await?,
        };
        self.2.reads.count();
        if self.0 == ListFlaw::LeavesOutTheLast {
            usage.users_with_codes = usage.users_with_codes.min(1000);
        }
        if self.0 == ListFlaw::LosesUses {
            usage.used_today = 0;
        }
        Ok(usage)
    }
    async fn schemes(&self) -> Result<Vec<(Scheme, u64)>, Infallible> {
        let mut schemes = Directory::schemes(&self.1).await?;
        if self.0 == ListFlaw::MergesSchemes {
            let users = schemes.iter().map(|(_, users)| users).sum();
            schemes.truncate(1);
            schemes[0].1 = users;
        }
        Ok(schemes)
    }
}

impl SettingsStore for BrokenList {
    type Error = Infallible;
    async fn load_settings(&self) -> Result<Option<(Settings, Revision)>, Infallible> {
        let mut saved = self.1.load_settings().await?;
        self.2.reads.count();
        if self.0 == ListFlaw::KeepsSettingsOfItsOwn {
            let mut own = locked(&self.2.own);
            if own.is_none() {
                *own = saved.clone();
            }
            saved = own.clone();
        }
        let change = |settings: &Settings, change: &dyn Fn(&str) -> String| {
            let text = serde_json::to_string(settings).unwrap();
            serde_json::from_str(&change(&text)).unwrap()
        };
        Ok(saved.map(|(mut settings, revision)| match self.0 {
            ListFlaw::ForgetsSettings => (Settings::default(), revision),
            ListFlaw::ForgetsOneSetting => {
                settings.set_on_role_loss(Settings::default().on_role_loss());
                (settings, revision)
            }
            ListFlaw::FoldsRoles => (change(&settings, &|text| text.replace('S', "s")), revision),
            ListFlaw::LosesNul => (
                change(&settings, &|text| text.replace("\\u0000", "")),
                revision,
            ),
            _ => (settings, revision),
        }))
    }
    async fn save_settings(
        &self,
        expected: Expected,
        revision: Revision,
        settings: &Settings,
        events: &[Event],
    ) -> Result<PutOutcome, PutError<Infallible>> {
        let now = self.1.load_settings().await.map_err(PutError::Unknown)?;
        let at = now
            .as_ref()
            .map_or(Expected::Absent, |(_, at)| Expected::At(*at));
        let events = match self.0 {
            ListFlaw::LosesEvents => &[],
            _ => events,
        };
        let fits = expected == at;
        match self.0 {
            ListFlaw::SkipsEqualSettings
                if fits && now.is_some_and(|(now, _)| now == *settings) =>
            {
                return Ok(PutOutcome::Applied);
            }
            ListFlaw::ReplacesEvents if fits => {
                let before = self.1.undelivered(1000).await.map_err(PutError::Unknown)?;
                let before: Vec<EventId> = before.iter().map(|event| event.id).collect();
                self.1
                    .acknowledge(&before)
                    .await
                    .map_err(PutError::Unknown)?;
            }
            ListFlaw::WritesEvents(order, gap) if fits => {
                let save = || {
                    let saved = self.1.save_settings(expected, revision, settings, &[]);
                    drop(block_on(saved));
                };
                let add = || self.add_events(events);
                match order {
                    Order::EventsFirst => self.2.reads.between(gap, add, save).await,
                    Order::EventsSecond => self.2.reads.between(gap, save, add).await,
                }
                return Ok(PutOutcome::Applied);
            }
            ListFlaw::SavesInTwoSteps if fits => {
                let saved = self
                    .1
                    .save_settings(expected, revision, settings, &[])
                    .await?;
                give_way().await;
                self.add_events(events);
                return Ok(saved);
            }
            ListFlaw::ComparesHalfTheRevision => {
                let half = |state| match state {
                    Expected::At(revision) => Some(revision.to_bytes()[..8].to_vec()),
                    Expected::Absent => None,
                };
                let expected = if half(expected) == half(at) {
                    at
                } else {
                    expected
                };
                return self
                    .1
                    .save_settings(expected, revision, settings, events)
                    .await;
            }
            ListFlaw::SavesLate => {
                let mut replaced = locked(&self.2.replaced);
                let late = *replaced == Some(expected) && !fits;
                let expected = if late { at } else { expected };
                if expected == at {
                    *replaced = Some(at);
                }
                return block_on(self.1.save_settings(expected, revision, settings, events));
            }
            _ => {}
        }
        let saved = self
            .1
            .save_settings(expected, revision, settings, events)
            .await?;
        let current = self.1.load_settings().await.map_err(PutError::Unknown)?;
        match (self.0, saved, current) {
            (ListFlaw::OverwritesSettings, PutOutcome::Conflict, Some((_, at))) => {
                self.1
                    .save_settings(Expected::At(at), revision, settings, events)
                    .await
            }
            (ListFlaw::KeepsEventsOfConflicts, PutOutcome::Conflict, Some((now, at))) => {
                let _ = self
                    .1
                    .save_settings(Expected::At(at), at, &now, events)
                    .await?;
                Ok(PutOutcome::Conflict)
            }
            _ => Ok(saved),
        }
    }
}

struct BrokenListHarness(ListFlaw);

impl Harness for BrokenListHarness {
    type Repository = BrokenList;
    fn fresh(&self, _: &str) -> BrokenList {
        BrokenList::new(self.0)
    }
    fn second_handle(&self, _: &str, first: &BrokenList) -> BrokenList {
        let own = Arc::default();
        let beside = Beside {
            own,
            ..first.2.clone()
        };
        BrokenList(first.0, first.1.clone(), beside)
    }
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }
}

mod broken_lists {
    use super::ListFlaw::*;
    use super::*;

    each_case_can_fail! {
        BrokenListHarness;
        pages_equal_the_plain_rule: IgnoresTheFilter, IgnoresTheOrder, RepeatsTheFirstPage,
            IgnoresExpiry, ExpiresTooLate, IgnoresVoidBefore, VoidsTheMomentItself,
            IgnoresTheNamed, TakesNobodyForEverybody, LeavesOutSomeOfMany,
            ListsTheUnknown, IgnoresTheLimit, IgnoresTheThreshold, KeepsTheFirstSummary,
            ListsTheRemoved, TakesActivationForPreparation, IgnoresTheScheme;
        usage_equals_the_plain_rule: IgnoresExpiry, ExpiresTooLate, IgnoresVoidBefore,
            VoidsTheMomentItself, IgnoresTheThreshold, KeepsTheFirstSummary, ListsTheRemoved,
            LosesUses, IgnoresTheScheme;
        schemes_equal_the_plain_rule: MergesSchemes, KeepsTheFirstSummary, ListsTheRemoved;
        no_user_is_left_out_of_many: LeavesOutTheLast, IgnoresTheLimit, RepeatsTheFirstPage;
        a_row_shows_with_its_record: IndexesRows(Order::EventsFirst, Gap::OnePoll),
            IndexesRows(Order::EventsSecond, Gap::OnePoll), IndexesInTwoParts,
            IndexesFigures(Order::EventsSecond, Gap::OnePoll), KeepsTheFirstSummary, LosesUses;
        settings_come_back_as_they_were_saved: ForgetsSettings, ForgetsOneSetting, FoldsRoles,
            LosesNul, SkipsEqualSettings, KeepsSettingsOfItsOwn;
        saving_settings_needs_the_expected_state: OverwritesSettings, ComparesHalfTheRevision,
            SavesLate;
        one_of_many_racing_saves_wins: SavesLate, OverwritesSettings, KeepsEventsOfConflicts;
        settings_events_come_with_their_save: LosesEvents, KeepsEventsOfConflicts, ReplacesEvents;
        a_save_shows_with_its_events: WritesEvents(Order::EventsFirst, Gap::OnePoll),
            WritesEvents(Order::EventsSecond, Gap::OnePoll), LosesEvents, KeepsSettingsOfItsOwn;
        a_dropped_save_is_whole_or_nothing: SavesInTwoSteps;
    }
}

#[test]
fn the_list_with_no_flaw_passes_every_case() {
    let mut passed = 0;
    conformance::run_all(BrokenListHarness(ListFlaw::None), |_| passed += 1);
    assert_eq!(passed, 46);
}

#[test]
fn a_gap_between_settings_and_their_events_is_seen_in_every_run() {
    for (order, gap) in GAPS {
        for run in 0..20 {
            let broken = BrokenListHarness(ListFlaw::WritesEvents(order, gap));
            let seen = failure(broken, conformance::a_save_shows_with_its_events);
            assert!(seen.is_some(), "run {run}: {order:?}, {gap:?}");
        }
    }
}

#[test]
fn a_gap_between_a_record_and_its_row_or_figures_is_seen_in_every_run() {
    for (order, gap) in GAPS {
        for run in 0..20 {
            for flaw in [
                ListFlaw::IndexesRows(order, gap),
                ListFlaw::IndexesFigures(order, gap),
            ] {
                let broken = BrokenListHarness(flaw);
                let seen = failure(broken, conformance::a_row_shows_with_its_record);
                assert!(seen.is_some(), "run {run}: {flaw:?}");
            }
        }
    }
}

/// How a call never ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Hang {
    /// Its future is never ready.
    NeverReady,
    /// A poll of it does not return.
    Blocked,
}

/// A store of which one call never ends.
#[derive(Clone)]
struct Hanging(&'static str, Hang, MemoryRepository);

impl Hanging {
    async fn hang(&self, call: &str) {
        if call == self.0 {
            std::future::poll_fn(|_| {
                match self.1 {
                    Hang::NeverReady => {}
                    Hang::Blocked => {
                        // Nothing is ever sent.
                        let (sender, receiver) = channel::<()>();
                        let _ = receiver.recv();
                        drop(sender);
                    }
                }
                std::task::Poll::<()>::Pending
            })
            .await;
        }
    }
}

impl CodeRepository for Hanging {
    type Error = Infallible;
    async fn load(&self, user: &UserId, f: Freshness) -> Result<Option<Loaded>, Infallible> {
        self.hang("load").await;
        self.2.load(user, f).await
    }
    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Infallible>> {
        self.hang("put").await;
        self.2.put(put).await
    }
    async fn remove(&self, u: &UserId, r: Revision) -> Result<PutOutcome, PutError<Infallible>> {
        self.hang("remove").await;
        self.2.remove(u, r).await
    }
    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Infallible> {
        self.hang("undelivered").await;
        self.2.undelivered(limit).await
    }
    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Infallible> {
        self.hang("acknowledge").await;
        self.2.acknowledge(events).await
    }
}

impl Directory for Hanging {
    type Error = Infallible;
    async fn users(&self, query: &UsersQuery) -> Result<Vec<UserRow>, Infallible> {
        self.hang("users").await;
        self.2.users(query).await
    }
    async fn usage(&self, query: &UsageQuery) -> Result<Usage, Infallible> {
        self.hang("usage").await;
        Directory::usage(&self.2, query).await
    }
    async fn schemes(&self) -> Result<Vec<(Scheme, u64)>, Infallible> {
        self.hang("schemes").await;
        Directory::schemes(&self.2).await
    }
}

impl SettingsStore for Hanging {
    type Error = Infallible;
    async fn load_settings(&self) -> Result<Option<(Settings, Revision)>, Infallible> {
        self.hang("load_settings").await;
        self.2.load_settings().await
    }
    async fn save_settings(
        &self,
        expected: Expected,
        revision: Revision,
        settings: &Settings,
        events: &[Event],
    ) -> Result<PutOutcome, PutError<Infallible>> {
        self.hang("save_settings").await;
        self.2
            .save_settings(expected, revision, settings, events)
            .await
    }
}

struct HangingHarness(&'static str, Hang);

impl Harness for HangingHarness {
    type Repository = Hanging;
    fn fresh(&self, _: &str) -> Hanging {
        Hanging(self.0, self.1, MemoryRepository::new())
    }
    fn second_handle(&self, _: &str, first: &Hanging) -> Hanging {
        first.clone()
    }
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }
    fn limit(&self) -> Duration {
        Duration::from_secs(1)
    }
}

#[test]
fn a_call_that_never_ends_fails_its_case() {
    type HangingCase = fn(&Case<HangingHarness>);
    let cases: [(&str, HangingCase); 13] = [
        ("load", conformance::absent_user_has_no_record),
        ("put", conformance::put_needs_the_expected_state),
        // In one of several threads.
        ("put", conformance::one_of_two_racing_creations_wins),
        ("load", conformance::a_write_shows_with_its_events),
        ("put", conformance::a_write_shows_with_its_events),
        ("remove", conformance::remove_needs_the_expected_revision),
        ("undelivered", conformance::events_come_with_their_write),
        ("acknowledge", conformance::acknowledging_is_idempotent),
        ("users", conformance::pages_equal_the_plain_rule),
        ("usage", conformance::usage_equals_the_plain_rule),
        ("schemes", conformance::schemes_equal_the_plain_rule),
        (
            "load_settings",
            conformance::settings_come_back_as_they_were_saved,
        ),
        (
            "save_settings",
            conformance::settings_come_back_as_they_were_saved,
        ),
    ];
    // At the same time: each takes as long as the limit.
    thread::scope(|scope| {
        for (call, case) in cases {
            for hang in [Hang::NeverReady, Hang::Blocked] {
                scope.spawn(move || {
                    assert_eq!(
                        failure(HangingHarness(call, hang), case).as_deref(),
                        Some(&*format!("case: clause 8: `{call}` did not end within 1s")),
                        "{hang:?}"
                    );
                });
            }
        }
    });
}

/// Names of stores: those that were opened and are not closed, and all that were opened.
#[derive(Default)]
struct Names {
    open: Vec<String>,
    all: Vec<String>,
    handles: usize,
}

struct NamingHarness(Arc<Mutex<Names>>, Flaw);

impl Harness for NamingHarness {
    type Repository = Broken;
    fn fresh(&self, name: &str) -> Broken {
        let mut names = locked(&self.0);
        names.open.push(name.to_owned());
        names.all.push(name.to_owned());
        assert_eq!(names.open.len(), 1, "one store at a time");
        names.handles += 1;
        Broken::new(self.1)
    }
    fn second_handle(&self, name: &str, first: &Broken) -> Broken {
        let mut names = locked(&self.0);
        assert_eq!(names.open, [name], "of the store that is open");
        names.handles += 1;
        first.clone()
    }
    fn close(&self, name: &str, _: Broken, second: Option<Broken>) {
        let mut names = locked(&self.0);
        assert_eq!(names.open.pop().as_deref(), Some(name));
        names.handles -= 1 + usize::from(second.is_some());
    }
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }
}

#[test]
fn each_store_is_closed_at_the_end_of_its_case() {
    for flaw in [Flaw::None, Flaw::IgnoresAbsence] {
        let names = Arc::new(Mutex::new(Names::default()));
        let failed = failure(
            NamingHarness(Arc::clone(&names), flaw),
            conformance::one_of_two_racing_creations_wins,
        );
        assert_eq!(failed.is_some(), flaw != Flaw::None);
        let names = locked(&names);
        assert_eq!(
            (names.all.len(), names.open.len(), names.handles),
            (1, 0, 0)
        );
    }
}

#[test]
fn each_store_has_a_name_of_its_own() {
    let names = Arc::new(Mutex::new(Names::default()));
    for _ in 0..2 {
        conformance::run(NamingHarness(Arc::clone(&names), Flaw::None), |_| {});
    }
    let names = &locked(&names).all;
    assert_eq!(names.len(), 2 * (32 + 3 * 12));
    assert_eq!(
        names.iter().collect::<std::collections::HashSet<_>>().len(),
        names.len()
    );
    for name in names {
        let begins = name.starts_with("test_");
        let others = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(
            begins && name.chars().all(others) && name.len() <= 40,
            "{name}"
        );
    }
}

/// The trait is for one's own error types too.
#[test]
fn infallible_is_an_error_type() {
    fn error_of<R: CodeRepository<Error = Infallible>>(_: &R) {}
    error_of(&MemoryRepository::new());
    error_of(&&MemoryRepository::new());
    error_of(&Arc::new(MemoryRepository::new()));
}
