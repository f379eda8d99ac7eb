//! A store of records for each flaw.

use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use backup_codes::audit::{Event, EventId};
use backup_codes::conformance::{self, Case, Harness, block_on, run_case};
use backup_codes::repository::{
    CodeRepository, Expected, Freshness, Loaded, Put, PutError, PutOutcome, Revision,
};
use backup_codes::{Timestamp, UserId};

use crate::support::polling;

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Flaw {
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
pub(crate) enum Order {
    EventsFirst,
    EventsSecond,
}

/// What is between the two parts of a write.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Gap {
    /// Both are written in one poll.
    OnePoll,
    /// The second one is written by another thread, which is waited for.
    AnotherThread,
    /// The future is polled many times in between.
    Delay,
}

/// Every gap, in both orders.
pub(crate) const GAPS: [(Order, Gap); 6] = [
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
pub(crate) struct Reads(pub(crate) AtomicUsize);

impl Reads {
    const ENOUGH: usize = 24;
    const PATIENCE: usize = 20_000;

    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn passed(&self, since: usize) -> bool {
        self.0.load(Ordering::SeqCst) >= since + Self::ENOUGH
    }

    pub(crate) fn hold(&self) {
        let since = self.0.load(Ordering::SeqCst);
        wait_for(|| self.passed(since));
    }

    /// The first part of a write, the gap, and the second part.
    pub(crate) async fn between(&self, gap: Gap, first: impl FnOnce(), second: impl Fn() + Sync) {
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
pub(crate) struct Broken {
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
pub(crate) struct Unknown;

/// Gives way once, so that another racer or a dropped future can come between.
pub(crate) async fn give_way() {
    thread::yield_now();
    polling::give_way().await;
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of a key as a text.
fn lossy(user: &UserId) -> UserId {
    UserId::new(String::from_utf8_lossy(user.as_bytes()).as_bytes()).unwrap_or(user.clone())
}

impl Broken {
    pub(crate) fn new(flaw: Flaw) -> Self {
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
pub(crate) fn failure<H: Harness>(harness: H, case: fn(&Case<H>)) -> Option<String> {
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

        pub(crate) const CASES: &[&str] = &[$(stringify!($case)),*];
    };
}

pub(crate) use each_case_can_fail;

pub(crate) mod broken {
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
fn a_gap_between_a_record_and_its_events_is_seen_in_every_run() {
    for (order, gap) in GAPS {
        for run in 0..20 {
            let broken = BrokenHarness(Flaw::WritesEvents(order, gap));
            let seen = failure(broken, conformance::a_write_shows_with_its_events);
            assert!(seen.is_some(), "run {run}: {order:?}, {gap:?}");
        }
    }
}
