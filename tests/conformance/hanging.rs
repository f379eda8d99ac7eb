//! Calls that never end.

use std::convert::Infallible;
use std::future::Future;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use backup_codes::audit::{Event, EventId};
use backup_codes::conformance::{self, Case, Harness, block_on};
use backup_codes::hash::Scheme;
use backup_codes::report::{UsageQuery, UserRow};
use backup_codes::repository::{
    CodeRepository, Directory, Expected, Freshness, Loaded, Put, PutError, PutOutcome, Revision,
    SettingsStore,
};
use backup_codes::{MemoryRepository, Settings, Usage, UserId, UsersQuery};

use crate::records::failure;

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
