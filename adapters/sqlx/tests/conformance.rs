//! The contract of the core, on a file, through two pools.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use backup_codes::conformance::Harness;
use backup_codes_sqlx::SqliteStore;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Databases in a folder of their own.
struct Sqlite {
    runtime: Runtime,
    folder: TempDir,
    stores: AtomicUsize,
}

impl Sqlite {
    fn new() -> Self {
        Self {
            runtime: Runtime::new().unwrap(),
            folder: tempfile::tempdir().unwrap(),
            stores: AtomicUsize::new(0),
        }
    }

    /// The database made last.
    fn file(&self) -> PathBuf {
        let number = self.stores.load(Ordering::Relaxed);
        self.folder.path().join(format!("{number}.db"))
    }

    fn pool(&self, file: &Path) -> SqlitePool {
        // An application's own settings must not break the triggers.
        let options = SqliteConnectOptions::new()
            .filename(file)
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
}

impl Harness for Sqlite {
    type Repository = SqliteStore;

    fn fresh(&self) -> SqliteStore {
        self.stores.fetch_add(1, Ordering::Relaxed);
        let pool = self.pool(&self.file());
        self.runtime.block_on(SqliteStore::open(pool)).unwrap()
    }

    fn second_handle(&self, _: &SqliteStore) -> SqliteStore {
        SqliteStore::new(self.pool(&self.file()))
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
