//! The memory store keeps the contract, and for every clause a broken store shows that its case
//! can fail.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backup_codes::conformance::{self, Harness, block_on};
use backup_codes::{
    Acceptance, CodeRepository, Directory, Event, EventId, Expected, Freshness, Loaded,
    MemoryRepository, Put, PutError, PutOutcome, Revision, Scheme, Settings, SettingsStore,
    Summary, Timestamp, Usage, UsageQuery, UserFilter, UserId, UserOrder, UserRow, UsersQuery,
};

struct Memory;

impl Harness for Memory {
    type Repository = MemoryRepository;
    fn fresh(&self) -> MemoryRepository {
        MemoryRepository::new()
    }
    fn second_handle(&self, first: &MemoryRepository) -> MemoryRepository {
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
#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    None,
    InventsEmptyRecords,
    TrimsText,
    ForgetsTheRevision,
    IgnoresAbsence,
    IgnoresTheRevision,
    FoldsCase,
    TrimsKeys,
    CutsKeysAtNul,
    CutsLongKeys,
    AcceptsTheReplacedState,
    LosesWrites,
    SecondHandleIsStale,
    LosesEvents,
    KeepsEventsOfConflicts,
    ReplacesEvents,
    AcknowledgesAll,
    FailsOnUnknownIds,
    IgnoresTheLimit,
    RemovesEventsWithTheRecord,
    RemovesAnyRevision,
    CutsRecords,
    WritesInTwoSteps,
    RemovesInTwoSteps,
    AcknowledgesInTwoSteps,
    LoadsByTaking,
    ListsByTaking,
}

#[derive(Default)]
struct Tables {
    records: HashMap<Vec<u8>, (Revision, String)>,
    /// The state before the latest write.
    replaced: HashMap<Vec<u8>, Option<Revision>>,
    writes: usize,
    events: Vec<Event>,
}

#[derive(Clone)]
struct Broken {
    flaw: Flaw,
    tables: Arc<Mutex<Tables>>,
    /// What a stale handle sees.
    stale: Option<Arc<Mutex<Tables>>>,
}

#[derive(Debug, thiserror::Error)]
#[error("unknown event")]
struct Unknown;

/// Gives way once, so that another racer or a dropped future can come between.
async fn give_way() {
    let mut given = false;
    std::future::poll_fn(|context| {
        if given {
            return std::task::Poll::Ready(());
        }
        given = true;
        std::thread::yield_now();
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

impl Broken {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn keep(&self, kept: &mut Vec<Event>, events: &[Event]) {
        match self.flaw {
            Flaw::LosesEvents => {}
            Flaw::ReplacesEvents => *kept = events.to_vec(),
            _ => kept.extend_from_slice(events),
        }
    }

    fn fits(&self, current: Option<Revision>, expected: Expected) -> bool {
        match expected {
            Expected::Absent => current.is_none() || self.flaw == Flaw::IgnoresAbsence,
            Expected::At(revision) => {
                current == Some(revision)
                    || (self.flaw == Flaw::IgnoresTheRevision && current.is_some())
            }
        }
    }
}

impl CodeRepository for Broken {
    type Error = Unknown;

    async fn load(&self, user: &UserId, _: Freshness) -> Result<Option<Loaded>, Unknown> {
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
            Some(stale) => stale.lock().unwrap_or_else(PoisonError::into_inner),
            None => self.tables(),
        };
        let loaded = tables.records.get(&key).cloned();
        Ok(match loaded {
            None if self.flaw == Flaw::InventsEmptyRecords => Some(Loaded {
                record: "{}".into(),
                revision: Revision::from_bytes([0; 16]),
            }),
            None => None,
            Some((revision, record)) => Some(Loaded {
                record: match self.flaw {
                    Flaw::TrimsText => record.replace("\\u0000", ""),
                    Flaw::CutsRecords => record.chars().take(65_535).collect(),
                    _ => record,
                },
                revision: match self.flaw {
                    Flaw::ForgetsTheRevision => Revision::from_bytes([0; 16]),
                    _ => revision,
                },
            }),
        })
    }

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Unknown>> {
        let key = self.key(put.user);
        {
            let mut tables = self.tables();
            let current = tables.records.get(&key).map(|row| row.0);
            // What a store does that reads, and writes later: the same in every schedule.
            let late = self.flaw == Flaw::AcceptsTheReplacedState
                && tables
                    .replaced
                    .get(&key)
                    .is_some_and(|replaced| self.fits(*replaced, put.expected));
            if !late && !self.fits(current, put.expected) {
                if self.flaw == Flaw::KeepsEventsOfConflicts {
                    tables.events.extend_from_slice(put.events);
                }
                return Ok(PutOutcome::Conflict);
            }
            tables.writes += 1;
            if self.flaw == Flaw::LosesWrites && tables.writes % 7 == 0 {
                return Ok(PutOutcome::Applied);
            }
            tables.replaced.insert(key.clone(), current);
            tables
                .records
                .insert(key, (put.revision, put.record.to_owned()));
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
        let any = self.flaw == Flaw::RemovesAnyRevision && current.is_some();
        if current != Some(at) && !any {
            return Ok(PutOutcome::Conflict);
        }
        tables.records.remove(&key);
        if self.flaw == Flaw::RemovesEventsWithTheRecord {
            tables.events.clear();
        }
        Ok(PutOutcome::Applied)
    }

    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Unknown> {
        let limit = if self.flaw == Flaw::IgnoresTheLimit {
            usize::MAX
        } else {
            limit
        };
        if self.flaw == Flaw::ListsByTaking {
            let taken = std::mem::take(&mut self.tables().events);
            give_way().await;
            self.tables().events = taken;
        }
        Ok(self.tables().events.iter().take(limit).cloned().collect())
    }

    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Unknown> {
        if self.flaw == Flaw::AcknowledgesInTwoSteps {
            let taken = std::mem::take(&mut self.tables().events);
            give_way().await;
            self.tables().events = taken;
        }
        let mut tables = self.tables();
        let known = |id: &EventId| tables.events.iter().any(|event| event.id == *id);
        if self.flaw == Flaw::FailsOnUnknownIds && !events.iter().all(known) {
            return Err(Unknown);
        }
        let all = self.flaw == Flaw::AcknowledgesAll;
        tables
            .events
            .retain(|event| !all && !events.contains(&event.id));
        Ok(())
    }
}

struct BrokenHarness(Flaw);

impl Harness for BrokenHarness {
    type Repository = Broken;
    fn fresh(&self) -> Broken {
        Broken {
            flaw: self.0,
            tables: Arc::default(),
            stale: None,
        }
    }
    fn second_handle(&self, first: &Broken) -> Broken {
        Broken {
            stale: Some(Arc::default()),
            ..first.clone()
        }
    }
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }
}

/// Whether a case fails on a store with this flaw. Races may need several tries to show.
fn fails(flaw: Flaw, case: fn(&BrokenHarness)) -> bool {
    (0..50).any(|_| catch_unwind(AssertUnwindSafe(|| case(&BrokenHarness(flaw)))).is_err())
}

#[test]
fn the_store_with_no_flaw_passes_every_case() {
    let mut passed = 0;
    conformance::run(&BrokenHarness(Flaw::None), |_| passed += 1);
    assert_eq!(passed, 22);
}

macro_rules! each_case_can_fail {
    ($($case:ident: $($flaw:ident),+;)*) => {
        $(
            #[test]
            fn $case() {
                $(
                    assert!(
                        fails(Flaw::$flaw, conformance::$case::<BrokenHarness>),
                        concat!(stringify!($case), " lets ", stringify!($flaw), " pass")
                    );
                )+
            }
        )*

        /// Every case of the suite is in the list above.
        #[test]
        fn no_case_is_left_out() {
            let mut listed = vec![$(stringify!($case)),*];
            let mut all = Vec::new();
            conformance::run(&Memory, |case| all.push(case.to_owned()));
            listed.sort_unstable();
            all.sort_unstable();
            assert_eq!(listed, all);
        }
    };
}

mod broken {
    use super::*;

    each_case_can_fail! {
        absent_user_has_no_record: InventsEmptyRecords;
        put_then_load_gives_the_same_bytes: TrimsText, ForgetsTheRevision;
        put_needs_the_expected_state: IgnoresAbsence, IgnoresTheRevision;
        keys_are_compared_byte_for_byte: FoldsCase, TrimsKeys, CutsKeysAtNul;
        every_key_byte_is_kept: CutsLongKeys, FoldsCase;
        one_of_two_racing_creations_wins: AcceptsTheReplacedState, IgnoresAbsence;
        one_of_many_racing_updates_wins: AcceptsTheReplacedState, IgnoresTheRevision;
        no_update_is_lost_in_a_race: LosesWrites;
        latest_sees_the_other_handle: SecondHandleIsStale;
        any_is_never_torn: ForgetsTheRevision;
        events_come_with_their_write: LosesEvents, IgnoresTheLimit;
        events_of_a_conflict_are_not_kept: KeepsEventsOfConflicts;
        events_stay_until_acknowledged: ReplacesEvents, AcknowledgesAll;
        acknowledging_is_idempotent: FailsOnUnknownIds, AcknowledgesAll;
        events_outlive_their_record: RemovesEventsWithTheRecord;
        every_event_comes_page_by_page: AcknowledgesAll, IgnoresTheLimit, ReplacesEvents;
        remove_needs_the_expected_revision: RemovesAnyRevision;
        large_records_are_kept_whole: CutsRecords;
        a_dropped_put_is_whole_or_nothing: WritesInTwoSteps;
        a_dropped_remove_is_whole_or_nothing: RemovesInTwoSteps, RemovesEventsWithTheRecord;
        a_dropped_acknowledge_takes_only_its_own: AcknowledgesInTwoSteps, AcknowledgesAll;
        a_dropped_read_changes_nothing: LoadsByTaking, ListsByTaking;
    }
}

/// What is wrong with a directory or a store of settings.
#[derive(Debug, Clone, Copy, PartialEq)]
enum ListFlaw {
    IgnoresTheFilter,
    IgnoresTheOrder,
    RepeatsTheFirstPage,
    IgnoresExpiry,
    ExpiresTooLate,
    IgnoresVoidBefore,
    VoidsTheMomentItself,
    IgnoresTheSearch,
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
    ForgetsSettings,
    OverwritesSettings,
    LosesEvents,
    KeepsEventsOfConflicts,
}

#[derive(Clone)]
struct BrokenList(ListFlaw, MemoryRepository);

impl CodeRepository for BrokenList {
    type Error = Infallible;
    async fn load(&self, user: &UserId, f: Freshness) -> Result<Option<Loaded>, Infallible> {
        self.1.load(user, f).await
    }
    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Infallible>> {
        // A store whose index is written with the first record only.
        if let (ListFlaw::KeepsTheFirstSummary, Expected::At(_)) = (self.0, put.expected) {
            return Ok(PutOutcome::Applied);
        }
        self.1.put(put).await
    }
    async fn remove(&self, u: &UserId, r: Revision) -> Result<PutOutcome, PutError<Infallible>> {
        if self.0 == ListFlaw::ListsTheRemoved {
            return Ok(PutOutcome::Applied);
        }
        self.1.remove(u, r).await
    }
    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Infallible> {
        self.1.undelivered(limit).await
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
            ListFlaw::IgnoresTheSearch => query.containing.clear(),
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
        let mut rows = self.1.users(&query).await?;
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
        let mut usage = Directory::usage(&self.1, &query).await?;
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
        let saved = self.1.load_settings().await?;
        Ok(saved.map(|(settings, revision)| match self.0 {
            ListFlaw::ForgetsSettings => (Settings::default(), revision),
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
        let events = if self.0 == ListFlaw::LosesEvents {
            &[]
        } else {
            events
        };
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
    fn fresh(&self) -> BrokenList {
        BrokenList(self.0, MemoryRepository::new())
    }
    fn second_handle(&self, first: &BrokenList) -> BrokenList {
        first.clone()
    }
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }
}

#[test]
fn each_case_about_lists_and_settings_can_fail() {
    type Case = fn(&BrokenListHarness);
    let cases: [(Case, &[ListFlaw]); 6] = [
        (
            conformance::pages_equal_the_plain_rule,
            &[
                ListFlaw::IgnoresTheFilter,
                ListFlaw::IgnoresTheOrder,
                ListFlaw::RepeatsTheFirstPage,
                ListFlaw::IgnoresExpiry,
                ListFlaw::ExpiresTooLate,
                ListFlaw::IgnoresVoidBefore,
                ListFlaw::VoidsTheMomentItself,
                ListFlaw::IgnoresTheSearch,
                ListFlaw::IgnoresTheNamed,
                ListFlaw::TakesNobodyForEverybody,
                ListFlaw::LeavesOutSomeOfMany,
                ListFlaw::ListsTheUnknown,
                ListFlaw::IgnoresTheLimit,
                ListFlaw::IgnoresTheThreshold,
                ListFlaw::KeepsTheFirstSummary,
                ListFlaw::ListsTheRemoved,
                ListFlaw::TakesActivationForPreparation,
                ListFlaw::IgnoresTheScheme,
            ],
        ),
        (
            conformance::schemes_equal_the_plain_rule,
            &[
                ListFlaw::MergesSchemes,
                ListFlaw::KeepsTheFirstSummary,
                ListFlaw::ListsTheRemoved,
            ],
        ),
        (
            conformance::usage_equals_the_plain_rule,
            &[
                ListFlaw::IgnoresExpiry,
                ListFlaw::ExpiresTooLate,
                ListFlaw::IgnoresVoidBefore,
                ListFlaw::VoidsTheMomentItself,
                ListFlaw::IgnoresTheThreshold,
                ListFlaw::KeepsTheFirstSummary,
                ListFlaw::ListsTheRemoved,
                ListFlaw::LosesUses,
                ListFlaw::IgnoresTheScheme,
            ],
        ),
        (
            conformance::settings_come_back_as_they_were_saved,
            &[ListFlaw::ForgetsSettings],
        ),
        (
            conformance::saving_settings_needs_the_expected_state,
            &[ListFlaw::OverwritesSettings],
        ),
        (
            conformance::settings_events_come_with_their_save,
            &[ListFlaw::LosesEvents, ListFlaw::KeepsEventsOfConflicts],
        ),
    ];
    for (number, (case, flaws)) in cases.into_iter().enumerate() {
        for flaw in flaws {
            let outcome = catch_unwind(AssertUnwindSafe(|| case(&BrokenListHarness(*flaw))));
            assert!(outcome.is_err(), "case {number} lets {flaw:?} pass");
        }
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
