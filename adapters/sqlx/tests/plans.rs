//! No statement scans a table or sorts one: the query plans are those in `docs/query-plans.md`.
//!
//! After a change on purpose, run with `BACKUP_CODES_WRITE_PLANS=1` and look at the difference.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::fs;

use backup_codes_sqlx::{SqliteRepository, sqlite_sql as sql};
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{AssertSqlSafe, Row as _, SqlitePool};

/// Every statement that looks for stored rows, by name. What triggers do has no plan to show:
/// they look up one row by its number, or one quarter hour by its key.
fn statements() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = [
        ("VERSION", sql::VERSION),
        ("LOAD", sql::LOAD),
        ("REPLACE", sql::REPLACE),
        ("REMOVE", sql::REMOVE),
        ("UNDELIVERED", sql::UNDELIVERED),
        ("ACKNOWLEDGE", sql::ACKNOWLEDGE),
        ("ACKNOWLEDGE_ALL", sql::ACKNOWLEDGE_ALL),
        ("PURGE_EVENTS", sql::PURGE_EVENTS),
        ("LOAD_SETTINGS", sql::LOAD_SETTINGS),
        ("REPLACE_SETTINGS", sql::REPLACE_SETTINGS),
        ("USAGE", sql::USAGE),
        ("SCHEMES", sql::SCHEMES),
        ("COUNT_SCHEMES", sql::COUNT_SCHEMES),
        ("AMONG", sql::AMONG),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .into();
    for (order_name, order) in [
        ("BY_USER", sql::BY_USER),
        ("BY_LEFT", sql::BY_LEFT),
        ("BY_SET", sql::BY_SET),
        ("BY_USE", sql::BY_USE),
    ] {
        for (filter_name, filter) in [
            ("HOLDING", sql::HOLDING),
            ("WITH_SET", sql::WITH_SET),
            ("LOW", sql::LOW),
            ("EXHAUSTED", sql::EXHAUSTED),
            ("NOT_HOLDING", sql::NOT_HOLDING),
            ("EVERY", sql::EVERY),
        ] {
            all.push((
                format!("users: {order_name}, {filter_name}"),
                sql::users(order, filter),
            ));
        }
    }
    // The second walk of those with the fewest codes left.
    for (name, filter) in [
        ("LOW", format!("{} AND unused <= ?5", sql::HOLDING)),
        ("EXHAUSTED", "false".to_owned()),
    ] {
        all.push((
            format!("users: BY_LEFT, {name} with codes"),
            sql::users(sql::BY_LEFT, &filter),
        ));
    }
    for (of_user, of_kind) in [(false, false), (true, false), (false, true), (true, true)] {
        let by = match (of_user, of_kind) {
            (false, false) => "all",
            (true, false) => "of a user",
            (false, true) => "of a kind",
            (true, true) => "of a user and a kind",
        };
        all.push((format!("audit: {by}"), sql::audit(of_user, of_kind)));
    }
    all
}

async fn plan(pool: &SqlitePool, statement: &str) -> Vec<String> {
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let rows = sqlx::query(explain).fetch_all(pool).await.unwrap();
    rows.iter()
        .map(|row| row.get::<String, _>("detail"))
        .collect()
}

/// Whether a step reads a whole table of ours, or sorts rows of one.
fn is_slow(step: &str) -> bool {
    // The index of undelivered events holds no others.
    let scans = step.starts_with("SCAN backup_codes_")
        && !step.contains("COVERING INDEX")
        && !step.ends_with("USING INDEX backup_codes_events_undelivered");
    scans || step.contains("TEMP B-TREE") || step.contains("AUTOMATIC")
}

async fn migrated() -> SqlitePool {
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect("sqlite::memory:")
        .await
        .unwrap();
    SqliteRepository::new(pool.clone()).migrate().await.unwrap();
    pool
}

#[tokio::test]
async fn query_plans_are_those_in_the_docs_and_scan_no_table() {
    let pool = migrated().await;
    let mut text =
        "# Query plans of SQLite\n\nWritten and compared by `tests/plans.rs`.\n".to_owned();
    for (name, statement) in statements() {
        let steps = plan(&pool, &statement).await;
        let slow: Vec<_> = steps.iter().filter(|step| is_slow(step)).collect();
        assert!(slow.is_empty(), "{name}: {slow:?}");
        writeln!(text, "\n## {name}\n\n```text\n{}\n```", steps.join("\n")).unwrap();
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/query-plans.md");
    if std::env::var_os("BACKUP_CODES_WRITE_PLANS").is_some() {
        fs::write(file, &text).unwrap();
    }
    assert_eq!(
        text,
        fs::read_to_string(file).unwrap(),
        "a plan has changed: see the top of this file"
    );
}

#[tokio::test]
async fn a_scan_and_a_sort_would_be_seen() {
    let pool = migrated().await;
    for slow in [
        "SELECT count(*) FROM backup_codes_records WHERE record = ''",
        "SELECT record FROM backup_codes_records INDEXED BY backup_codes_records_by_user \
         WHERE record = ''",
        "SELECT seq FROM backup_codes_events ORDER BY body",
        "SELECT record FROM backup_codes_records ORDER BY unused, record",
    ] {
        let steps = plan(&pool, slow).await;
        assert!(steps.iter().any(|step| is_slow(step)), "{slow}: {steps:?}");
    }
}
