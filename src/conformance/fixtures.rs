//! The values that cases share.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};

use getrandom::SysRng;

use super::Harness;
use super::watch::{Case, Store, together};
use crate::audit::event::{Event, EventKind, EventOutcome};
use crate::context::Context;
use crate::id::{EventId, Revision, UserId};
use crate::policy::settings::{Settings, Switch};
use crate::report::Summary;
use crate::repository::{
    CodeRepository, Expected, Freshness, Loaded, Put, PutOutcome, SettingsStore,
};
use crate::timestamp::Timestamp;

pub(super) fn user(key: impl AsRef<[u8]>) -> UserId {
    UserId::new(key).unwrap()
}

pub(super) fn revision() -> Revision {
    Revision::random(&mut SysRng).unwrap()
}

pub(super) fn event(user: &UserId) -> Event {
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
    pub(super) fn put(
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

    pub(super) fn applied(
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

    pub(super) fn load(&self, store: &H::Repository, user: &UserId) -> Option<Loaded> {
        match self.call("load", store.load(user, Freshness::Latest)) {
            Ok(loaded) => loaded,
            Err(error) => panic!("a load failed: {error:?}"),
        }
    }

    /// Puts in the expected state. A conflict with another user's write is repeated, because an
    /// engine may have rolled this one back for it.
    pub(super) fn insist(
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

    pub(super) fn remove(
        &self,
        store: &H::Repository,
        user: &UserId,
        expected: Revision,
    ) -> PutOutcome {
        match self.call("remove", store.remove(user, expected)) {
            Ok(outcome) => outcome,
            Err(error) => panic!("a removal failed: {error:?}"),
        }
    }

    /// Removes as [`insist`](Self::insist) puts.
    pub(super) fn insist_on_removal(
        &self,
        store: &H::Repository,
        user: &UserId,
        expected: Revision,
    ) {
        for _ in 0..100 {
            match self.remove(store, user, expected) {
                PutOutcome::Applied => return,
                PutOutcome::Conflict => {}
            }
        }
        panic!("clause 2: every removal in the state expected is a conflict");
    }

    pub(super) fn undelivered(&self, store: &H::Repository) -> Vec<Event> {
        self.listed(store, 1000)
    }

    pub(super) fn listed(&self, store: &H::Repository, limit: usize) -> Vec<Event> {
        match self.call("undelivered", store.undelivered(limit)) {
            Ok(events) => events,
            Err(error) => panic!("listing events failed: {error:?}"),
        }
    }

    pub(super) fn acknowledge(&self, store: &H::Repository, ids: &[EventId]) {
        if let Err(error) = self.call("acknowledge", store.acknowledge(ids)) {
            panic!("clause 6: acknowledging failed: {error:?}");
        }
    }
}

/// Returns the ids of events, in order.
pub(super) fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<EventId> {
    let mut ids: Vec<EventId> = events.into_iter().map(|event| event.id).collect();
    ids.sort_unstable();
    ids
}

/// Returns events in the order of their ids, to be compared whole.
pub(super) fn by_id(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut events: Vec<Event> = events.into_iter().collect();
    events.sort_by_key(|event| event.id);
    events
}

/// Runs one write in each of many threads, begun together, half of them over the second handle, and
/// returns which of them were applied.
pub(super) fn race<H: Harness>(
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

/// Checks that one put of a race was applied, and that its record and its event are the ones
/// stored.
pub(super) fn one_winner<H: Harness>(
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

pub(super) fn save<H: Harness>(
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

pub(super) fn saved<H: Harness>(
    case: &Case<H>,
    store: &H::Repository,
) -> Option<(Settings, Revision)>
where
    H::Repository: SettingsStore,
{
    match case.call("load_settings", store.load_settings()) {
        Ok(settings) => settings,
        Err(error) => panic!("loading settings failed: {error:?}"),
    }
}

pub(super) fn other_settings() -> Settings {
    let mut settings = Settings::default();
    settings.permit_roles(["staff", "\u{e9}ditor"]);
    settings.set_switch(Switch::Off);
    settings
}

/// Polls a future this many times, then drops it.
pub(super) struct Polls<F> {
    pub(super) future: Pin<Box<F>>,
    pub(super) left: usize,
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

pub(super) fn moment(minutes: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_789_999_200_000 + minutes * 60_000).unwrap()
}
