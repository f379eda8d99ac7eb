//! A custom repository, and the conformance suite run on it.
//!
//! The repository is a map behind a mutex, which stands in for a table; the comments give the SQL
//! of each method. Run it with `cargo run --example custom_repository --features conformance`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backup_codes::UserId;
use backup_codes::audit::{Event, EventId};
use backup_codes::conformance::{self, Harness};
use backup_codes::repository::{
    CodeRepository, Expected, Freshness, Loaded, Put, PutError, PutOutcome, Revision,
};

#[derive(Default)]
struct Tables {
    /// user BLOB PRIMARY KEY, revision BLOB, record TEXT
    records: HashMap<Vec<u8>, (Revision, String)>,
    /// id BLOB PRIMARY KEY, event TEXT, delivered BOOLEAN
    events: Vec<(Event, bool)>,
}

#[derive(Clone, Default)]
struct MyStore(Arc<Mutex<Tables>>);

impl MyStore {
    /// Begins a transaction.
    fn begin(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CodeRepository for MyStore {
    type Error = Infallible;

    // SELECT record, revision FROM records WHERE user = ?
    async fn load(&self, user: &UserId, _: Freshness) -> Result<Option<Loaded>, Infallible> {
        let tables = self.begin();
        let row = tables.records.get(user.as_bytes()).cloned();
        Ok(row.map(|(revision, record)| Loaded { record, revision }))
    }

    // UPDATE records SET record = ?, revision = ? WHERE user = ? AND revision = ?
    // (or INSERT … ON CONFLICT DO NOTHING), and INSERT INTO events, in one transaction.
    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Infallible>> {
        let mut tables = self.begin();
        let current = tables
            .records
            .get(put.user.as_bytes())
            .map(|(revision, _)| *revision);
        let expected = match put.expected {
            Expected::Absent => None,
            Expected::At(revision) => Some(revision),
        };
        if current != expected {
            return Ok(PutOutcome::Conflict);
        }
        let row = (put.revision, put.record.to_owned());
        tables.records.insert(put.user.as_bytes().to_vec(), row);
        tables
            .events
            .extend(put.events.iter().map(|event| (event.clone(), false)));
        Ok(PutOutcome::Applied)
    }

    // DELETE FROM records WHERE user = ? AND revision = ?
    async fn remove(
        &self,
        user: &UserId,
        at: Revision,
    ) -> Result<PutOutcome, PutError<Infallible>> {
        let mut tables = self.begin();
        if tables
            .records
            .get(user.as_bytes())
            .is_none_or(|(revision, _)| *revision != at)
        {
            return Ok(PutOutcome::Conflict);
        }
        tables.records.remove(user.as_bytes());
        Ok(PutOutcome::Applied)
    }

    // SELECT event FROM events WHERE NOT delivered ORDER BY rowid LIMIT ?
    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Infallible> {
        let tables = self.begin();
        let waiting = tables.events.iter().filter(|(_, delivered)| !delivered);
        Ok(waiting
            .take(limit)
            .map(|(event, _)| event.clone())
            .collect())
    }

    // UPDATE events SET delivered = TRUE WHERE id IN (…)
    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Infallible> {
        for (event, delivered) in &mut self.begin().events {
            *delivered |= events.contains(&event.id);
        }
        Ok(())
    }
}

struct MyHarness;

impl Harness for MyHarness {
    type Repository = MyStore;

    fn fresh(&self, _name: &str) -> MyStore {
        MyStore::default()
    }
    fn second_handle(&self, _name: &str, first: &MyStore) -> MyStore {
        first.clone()
    }
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        conformance::block_on(future)
    }
}

fn main() {
    conformance::run(MyHarness, |case| println!("passed: {case}"));
    println!("The store keeps the contract.");
}
