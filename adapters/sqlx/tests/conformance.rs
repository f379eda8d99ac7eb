//! The contract of the core, on a file, through two pools.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use backup_codes::UserId;
use backup_codes::audit::{Event, EventId};
use backup_codes::conformance::{Harness, a_write_shows_with_its_events, run_case};
use backup_codes::repository::{
    CodeRepository, Freshness, Loaded, Put, PutError, PutOutcome, Revision,
};
use backup_codes_sqlx::{Error, SqliteRepository};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Databases in a folder of their own.
struct Sqlite {
    runtime: Runtime,
    folder: TempDir,
}

impl Sqlite {
    fn new() -> Self {
        Self {
            runtime: Runtime::new().unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn pool(&self, name: &str) -> SqlitePool {
        // An application's own settings must not break the triggers.
        let options = SqliteConnectOptions::new()
            .filename(self.folder.path().join(format!("{name}.db")))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .pragma("trusted_schema", "OFF")
            .pragma("recursive_triggers", "ON");
        self.runtime
            .block_on(
                SqlitePoolOptions::new()
                    .max_connections(4)
                    .connect_with(options),
            )
            .unwrap()
    }

    fn open(&self, name: &str) -> SqliteRepository {
        let pool = self.pool(name);
        self.runtime.block_on(SqliteRepository::open(pool)).unwrap()
    }
}

impl Harness for Sqlite {
    type Repository = SqliteRepository;

    fn fresh(&self, name: &str) -> SqliteRepository {
        self.open(name)
    }

    fn second_handle(&self, name: &str, _: &SqliteRepository) -> SqliteRepository {
        SqliteRepository::new(self.pool(name))
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

mod records {
    backup_codes::conformance_tests!(super::Sqlite::new());
}

mod directory {
    backup_codes::directory_conformance_tests!(super::Sqlite::new());
}

mod settings {
    backup_codes::settings_conformance_tests!(super::Sqlite::new());
}

/// Which of two statements, each committed by itself, comes first.
#[derive(Debug, Clone, Copy, PartialEq)]
enum First {
    Record,
    Events,
}

/// Writes a record and its events in two statements.
struct TwoStatements {
    store: SqliteRepository,
    pool: SqlitePool,
    first: First,
}

impl TwoStatements {
    async fn add(&self, events: &[Event]) -> Result<(), PutError<Error>> {
        for event in events {
            sqlx::query(
                "INSERT INTO backup_codes_events (id, at, kind, user_key, delivered, body)
                 VALUES (?, ?, ?, ?, 0, ?)",
            )
            .bind(event.id.to_bytes().to_vec())
            .bind(event.at.unix_millis())
            .bind(event.kind.as_str())
            .bind(event.subject.as_ref().map(|user| user.as_bytes().to_vec()))
            .bind(serde_json::to_string(event).unwrap())
            .execute(&self.pool)
            .await
            .map_err(|error| PutError::Unknown(Error::from_sqlite(error)))?;
        }
        Ok(())
    }
}

impl CodeRepository for TwoStatements {
    type Error = Error;

    async fn load(&self, user: &UserId, freshness: Freshness) -> Result<Option<Loaded>, Error> {
        self.store.load(user, freshness).await
    }

    async fn put(&self, mut put: Put<'_>) -> Result<PutOutcome, PutError<Error>> {
        let events = std::mem::take(&mut put.events);
        if self.first == First::Events {
            self.add(events).await?;
        }
        let outcome = self.store.put(put).await?;
        if self.first == First::Record && outcome == PutOutcome::Applied {
            self.add(events).await?;
        }
        Ok(outcome)
    }

    async fn remove(&self, u: &UserId, at: Revision) -> Result<PutOutcome, PutError<Error>> {
        self.store.remove(u, at).await
    }

    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Error> {
        self.store.undelivered(limit).await
    }

    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Error> {
        self.store.acknowledge(events).await
    }
}

struct InTwoStatements(Sqlite, First);

impl InTwoStatements {
    fn handle(&self, name: &str) -> TwoStatements {
        TwoStatements {
            store: self.0.open(name),
            pool: self.0.pool(name),
            first: self.1,
        }
    }
}

impl Harness for InTwoStatements {
    type Repository = TwoStatements;

    fn fresh(&self, name: &str) -> TwoStatements {
        self.handle(name)
    }

    fn second_handle(&self, name: &str, _: &TwoStatements) -> TwoStatements {
        self.handle(name)
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }
}

#[test]
fn a_store_of_two_statements_is_seen_in_every_run() {
    for first in [First::Record, First::Events] {
        for run in 0..20 {
            let broken = InTwoStatements(Sqlite::new(), first);
            let case = || run_case(broken, "two statements", a_write_shows_with_its_events);
            let panic = catch_unwind(AssertUnwindSafe(case)).err();
            let why = panic.and_then(|panic| panic.downcast_ref::<String>().cloned());
            let why = why.unwrap_or_default();
            assert!(
                why.contains("shown already"),
                "{first:?} first, run {run}: {why}"
            );
        }
    }
}
