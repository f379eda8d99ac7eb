//! Opening a database: what it has to promise, and that its tables are made once.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use backup_codes::UserId;
use backup_codes::report::Summary;
use backup_codes::repository::{
    CodeRepository as _, Expected, Freshness, Put, PutOutcome, Revision,
};
use backup_codes_sqlx::{AuditQuery, Error, Prefix, SqliteRepository};
use getrandom::SysRng;
use sqlx::SqlitePool;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode as Journal, SqlitePoolOptions,
    SqliteSynchronous as Sync,
};
use tokio::sync::Barrier;

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
}

async fn pool(options: SqliteConnectOptions) -> SqlitePool {
    let pool = SqlitePoolOptions::new().max_connections(1);
    pool.connect_with(options).await.unwrap()
}

#[tokio::test]
async fn only_a_pool_that_forgets_nothing_is_opened() {
    let every = [Sync::Off, Sync::Normal, Sync::Full, Sync::Extra];
    for (journal, name, enough) in [
        (Journal::Wal, "wal", 2),
        (Journal::Truncate, "truncate", 2),
        (Journal::Persist, "persist", 2),
        (Journal::Delete, "delete", 3),
        (Journal::Memory, "memory", 4),
        (Journal::Off, "off", 4),
    ] {
        for (number, synchronous) in (0..).zip(every) {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("site.db");
            let options = options(&file)
                .journal_mode(journal)
                .synchronous(synchronous);
            let sqlite = pool(options).await;
            let opened = SqliteRepository::open(sqlite.clone()).await;
            if number >= enough {
                opened.unwrap();
                continue;
            }
            assert_eq!(opened.unwrap_err().to_string(), not_durable(name, number));
            // Nothing was made.
            let sql = "SELECT count(*) FROM sqlite_schema";
            assert_eq!(count(&sqlite, sql).await, 0);
        }
    }
}

fn not_durable(journal: &str, synchronous: i64) -> String {
    format!(
        "the pool could forget a spent code after a power cut: journal_mode is {journal}, \
         synchronous is {synchronous}; use WAL (or TRUNCATE or PERSIST) with synchronous FULL or \
         EXTRA, or DELETE with EXTRA, on a database file"
    )
}

async fn count(sqlite: &SqlitePool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(sqlite).await.unwrap()
}

#[tokio::test]
async fn a_database_without_a_file_is_not_opened() {
    let memory = SqliteConnectOptions::new().in_memory(true);
    // SQLite's own name for a file that is gone with its connection.
    let temporary = SqliteConnectOptions::new().filename("");
    for options in [memory, temporary] {
        let sqlite = pool(options.synchronous(Sync::Extra)).await;
        let error = SqliteRepository::open(sqlite).await.unwrap_err();
        assert_eq!(error.to_string(), not_durable("none", 3));
        assert!(matches!(error, Error::NotDurable { .. }));
    }
}

/// All that the schema consists of.
async fn schema(sqlite: &SqlitePool) -> String {
    let sql =
        "SELECT group_concat(sql, char(10)) FROM (SELECT sql FROM sqlite_schema ORDER BY name)";
    sqlx::query_scalar(sql).fetch_one(sqlite).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_at_once_make_the_tables_once() {
    let folder = tempfile::tempdir().unwrap();
    let alone = pool(options(&folder.path().join("alone.db"))).await;
    SqliteRepository::new(alone.clone())
        .migrate()
        .await
        .unwrap();
    for round in 0..8 {
        let file = folder.path().join(format!("{round}.db"));
        // Only the switch to WAL cannot be waited for; it is the application's.
        let first = pool(options(&file).journal_mode(Journal::Wal)).await;
        let together = Arc::new(Barrier::new(16));
        let migrating: Vec<_> = (0..16)
            .map(|_| {
                let (options, together) = (options(&file), Arc::clone(&together));
                tokio::spawn(async move {
                    let sqlite = pool(options).await;
                    together.wait().await;
                    SqliteRepository::open(sqlite).await
                })
            })
            .collect();
        for migrated in migrating {
            migrated.await.unwrap().unwrap();
        }
        assert_eq!(schema(&first).await, schema(&alone).await);
        let sql = "SELECT count(*) FROM backup_codes_schema WHERE version = 1";
        assert_eq!(count(&first, sql).await, 1);
    }
}

#[tokio::test]
async fn stores_under_two_prefixes_do_not_see_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = pool(options(&folder.path().join("site.db"))).await;
    let plain = SqliteRepository::new(sqlite.clone());
    let shop = plain.clone().with_prefix(Prefix::new("shop_").unwrap());
    plain.migrate().await.unwrap();
    // The tables of one are not those of the other.
    let alice = UserId::new("alice").unwrap();
    assert!(matches!(
        shop.load(&alice, Freshness::Latest).await,
        Err(Error::NotMigrated(_))
    ));
    shop.migrate().await.unwrap();
    let event = serde_json::from_value(serde_json::json!({
        "id": "00".repeat(16), "at": 1_790_000_000_000i64, "kind": "redeem",
        "outcome": "success", "subject": "alice", "actor": "system",
    }));
    let events = [event.unwrap()];
    for (store, record) in [(&plain, "plain"), (&shop, "shop")] {
        let revision = Revision::random(&mut SysRng).unwrap();
        let summary = Summary::default();
        let put = Put::new(
            &alice,
            Expected::Absent,
            revision,
            record,
            &summary,
            &events,
        );
        assert_eq!(
            store.put(put).await.unwrap(),
            PutOutcome::Applied,
            "{record}"
        );
    }
    for (store, record) in [(&plain, "plain"), (&shop, "shop")] {
        let loaded = store
            .load(&alice, Freshness::Latest)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(loaded.record, record);
        assert_eq!(
            store.audit_page(&AuditQuery::new()).await.unwrap().events,
            events
        );
    }
    shop.acknowledge(&[events[0].id]).await.unwrap();
    assert_eq!(plain.undelivered(10).await.unwrap(), events);
    assert_eq!(shop.undelivered(10).await.unwrap(), []);
    let sql = "SELECT count(*) FROM sqlite_schema
               WHERE name NOT GLOB 'backup_codes_*' AND name NOT GLOB 'shop_*'";
    assert_eq!(count(&sqlite, sql).await, 0);
}

#[tokio::test]
async fn a_schema_that_has_lost_a_part_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    for (number, (damage, text)) in [
        ("DROP TRIGGER backup_codes_records_updated", INCOMPLETE),
        ("DROP INDEX backup_codes_records_by_use", INCOMPLETE),
        ("DROP TABLE backup_codes_events", INCOMPLETE),
        ("DROP TABLE backup_codes_schema", INCOMPLETE),
        ("DELETE FROM backup_codes_schema", INCOMPLETE),
        (
            "UPDATE backup_codes_schema SET version = 0",
            "a row of the table schema is damaged in column version: restore or remove it",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let file = folder.path().join(format!("{number}.db"));
        let sqlite = pool(options(&file).journal_mode(Journal::Wal)).await;
        SqliteRepository::open(sqlite.clone()).await.unwrap();
        SqliteRepository::open(sqlite.clone()).await.unwrap();
        sqlx::raw_sql(damage).execute(&sqlite).await.unwrap();
        let before = schema(&sqlite).await;
        let error = SqliteRepository::open(sqlite.clone()).await.unwrap_err();
        assert_eq!(error.to_string(), text, "{damage}");
        assert_eq!(schema(&sqlite).await, before, "{damage}");
    }
}

const INCOMPLETE: &str = "the schema of backup codes is incomplete: restore the tables, indexes and \
                          triggers of sqlite_sql::SCHEMA, writes would lose their events";
