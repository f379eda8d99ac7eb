//! A directory and a store of settings for each flaw.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex};

use backup_codes::audit::{Event, EventId};
use backup_codes::conformance::{self, Harness, block_on};
use backup_codes::hash::{Acceptance, Scheme};
use backup_codes::report::{Summary, UsageQuery, UserRow};
use backup_codes::repository::{
    CodeRepository, Directory, Expected, Freshness, Loaded, Put, PutError, PutOutcome, Revision,
    SettingsStore,
};
use backup_codes::{
    MemoryRepository, Settings, Timestamp, Usage, UserFilter, UserId, UserOrder, UsersQuery,
};

use crate::records::{GAPS, Gap, Order, Reads, failure, give_way, locked};

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

pub(crate) mod broken_lists {
    use super::ListFlaw::*;
    use super::*;

    crate::records::each_case_can_fail! {
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
