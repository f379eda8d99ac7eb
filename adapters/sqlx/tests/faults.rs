//! Faults of the database, one by one: what is said about each, and that nothing is half written.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::error::Error as _;
use std::fs;
use std::future::Future as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use backup_codes::audit::{Event, Reason};
use backup_codes::hash::{Acceptance, Cost};
use backup_codes::report::{Summary, UsageQuery};
use backup_codes::repository::{
    CodeRepository as _, Directory as _, Expected, Freshness, Put, PutError, PutOutcome, Record,
    Revision, SettingsStore as _,
};
use backup_codes::{
    BackupCodes, Config, Context, Format, Formats, HashParams, Hashing, Keyring, Periods, Redeem,
    Reports, Settings, Sheet, Subject, Timestamp, UserFilter, UserId, UserOrder, UsersQuery,
};
use backup_codes_sqlx::{AuditQuery, Error, SqliteRepository};
use getrandom::SysRng;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use tempfile::TempDir;

const BUSY: &str = "the database is busy: try again, or raise the pool's busy timeout";
const FULL: &str = "the disk or the database is full: make room, nothing was written";
const READ_ONLY: &str = "the database is read-only: check the rights of the file and its folder, \
                         and the pool's options";
const NOT_MIGRATED: &str = "the tables of backup codes do not exist: call migrate() once before";
const CORRUPT_FILE: &str =
    "the database file is damaged or is not a database: restore it from a backup";

fn now() -> Timestamp {
    Timestamp::from_unix_millis(1_790_000_000_000).unwrap()
}

fn subject(user: &str) -> Subject {
    Subject::new(UserId::new(user).unwrap(), ["staff"])
}

fn own(user: &Subject) -> Context {
    Context::new(now(), user)
}

fn service(store: SqliteRepository) -> BackupCodes {
    let params = HashParams::new(Keyring::without_pepper())
        .unwrap()
        .with_high_entropy_cost(Cost::LEAST);
    let config = Config::default().with_formats(Formats::new(Format::HIGH_ENTROPY));
    BackupCodes::new(store, Settings::default(), Hashing::inline(params)).with_config(config)
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
}

async fn pool(options: SqliteConnectOptions) -> SqlitePool {
    let pool = SqlitePoolOptions::new().max_connections(2);
    pool.connect_with(options).await.unwrap()
}

/// A database with Alice, who has used no code, and Bob, who has used one.
struct Site {
    _folder: TempDir,
    file: PathBuf,
    sqlite: SqlitePool,
    alice: Sheet,
    bob: Sheet,
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("site.db");
        let sqlite = pool(options(&file)).await;
        let store = SqliteRepository::open(sqlite.clone()).await.unwrap();
        let codes = service(store.clone());
        let mut sheets = Vec::new();
        for user in ["alice", "bob"] {
            let user = subject(user);
            sheets.push(codes.issue(&user, &own(&user)).await.unwrap().sheet);
        }
        let settings = Settings::default();
        let revision = Revision::random(&mut SysRng).unwrap();
        let saved = store.save_settings(Expected::Absent, revision, &settings, &[]);
        assert_eq!(saved.await.unwrap(), PutOutcome::Applied);
        let site = Self {
            _folder: folder,
            file,
            sqlite,
            bob: sheets.pop().unwrap(),
            alice: sheets.pop().unwrap(),
        };
        site.redeems("bob", 1).await;
        site
    }

    fn reports(&self) -> Reports {
        Reports::new(&service(self.store()), self.store())
    }

    fn store(&self) -> SqliteRepository {
        SqliteRepository::new(self.sqlite.clone())
    }

    /// The store over a pool of its own.
    async fn through(&self, options: SqliteConnectOptions) -> SqliteRepository {
        SqliteRepository::new(pool(options).await)
    }

    async fn sql(&self, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&self.sqlite).await.unwrap();
    }

    fn code(&self, user: &str, slot: u8) -> String {
        let sheet = if user == "bob" {
            &self.bob
        } else {
            &self.alice
        };
        let sheet = sheet.expose();
        sheet
            .codes()
            .find(|(number, _)| *number == slot)
            .unwrap()
            .1
            .to_string()
    }

    async fn redeem(
        &self,
        store: SqliteRepository,
        user: &str,
        slot: u8,
    ) -> Result<Redeem, backup_codes::Error> {
        let (code, user) = (self.code(user, slot), subject(user));
        service(store).redeem(&user, &code, &own(&user)).await
    }

    /// A code that was not used is accepted, so nothing stands in the way.
    async fn redeems(&self, user: &str, slot: u8) {
        let redeem = self.redeem(self.store(), user, slot).await.unwrap();
        assert!(matches!(redeem, Redeem::Accepted(_)), "{redeem:?}");
    }

    /// Everything that is stored.
    async fn dump(&self) -> String {
        sqlx::query_scalar(
            "SELECT group_concat(line, char(10)) FROM (
                SELECT concat_ws(' ', hex(user_key), hex(revision), hex(record), total, unused,
                    prepared_at, activated_at, expires_at, last_used_at, uses, step) AS line
                FROM backup_codes_records
                UNION ALL SELECT concat_ws(' ', quarter, count) FROM backup_codes_uses
                UNION ALL SELECT concat_ws(' ', seq, hex(id), delivered, hex(body))
                FROM backup_codes_events
                UNION ALL SELECT concat_ws(' ', hex(revision), hex(settings), step)
                FROM backup_codes_settings
                UNION ALL SELECT version FROM backup_codes_schema
            )",
        )
        .fetch_one(&self.sqlite)
        .await
        .unwrap()
    }

    /// Tries to write a record for Alice, with an event and with Bob's uses.
    async fn put(
        &self,
        store: &SqliteRepository,
        record: &str,
    ) -> Result<PutOutcome, PutError<Error>> {
        let (alice, bob) = (subject("alice"), subject("bob"));
        let load = async |user: &Subject| {
            self.store()
                .load(user.id(), Freshness::Latest)
                .await
                .unwrap()
                .unwrap()
        };
        let summary = Record::from_json(&load(&bob).await.record)
            .unwrap()
            .summary();
        let revision = Revision::random(&mut SysRng).unwrap();
        let event: Event = serde_json::from_value(serde_json::json!({
            "id": revision.to_string(), "at": now(), "kind": "redeem", "outcome": "success",
            "subject": "alice", "actor": "system",
        }))
        .unwrap();
        let expected = Expected::At(load(&alice).await.revision);
        let events = [event];
        let put = Put::new(alice.id(), expected, revision, record, &summary, &events);
        store.put(put).await
    }

    /// A write meets a fault: it says so in these words, knows that nothing was applied, and
    /// nothing was.
    async fn refuses(&self, store: &SqliteRepository, record: &str, text: &str) -> Error {
        let before = self.dump().await;
        let put = self.put(store, record).await.unwrap_err();
        assert_eq!(self.dump().await, before);
        match put {
            PutError::NotApplied(error) => {
                assert_eq!(error.to_string(), text, "{error:?}");
                error
            }
            PutError::Unknown(error) => unreachable!("it is known: {error:?}"),
        }
    }
}

/// What a service's error has as its source.
fn source(error: &backup_codes::Error) -> &Error {
    error.source().unwrap().downcast_ref().unwrap()
}

#[tokio::test]
async fn the_fixture_writes_where_there_is_no_fault() {
    let site = Site::new().await;
    let before = site.dump().await;
    assert_eq!(
        site.put(&site.store(), "{}").await.unwrap(),
        PutOutcome::Applied
    );
    let after = site.dump().await;
    assert_eq!(
        after.lines().count(),
        before.lines().count() + 1,
        "the event: {after}"
    );
}

#[tokio::test]
async fn a_busy_database_is_called_busy() {
    let site = Site::new().await;
    let impatient = options(&site.file).busy_timeout(Duration::from_millis(20));
    let store = site.through(impatient).await;
    let lock = site.sqlite.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let error = site.refuses(&store, "{}", BUSY).await;
    assert!(matches!(error, Error::Busy(_)));
    let error = site.redeem(store.clone(), "alice", 1).await.unwrap_err();
    assert!(matches!(source(&error), Error::Busy(_)), "{error:?}");
    // Whoever only reads is not kept waiting.
    assert!(
        store
            .load(subject("alice").id(), Freshness::Latest)
            .await
            .unwrap()
            .is_some()
    );
    lock.rollback().await.unwrap();
    assert_eq!(site.put(&store, "{}").await.unwrap(), PutOutcome::Applied);
}

#[tokio::test]
async fn a_pool_without_a_free_connection_is_called_busy() {
    let site = Site::new().await;
    let sqlite = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_millis(20))
        .connect_with(options(&site.file))
        .await
        .unwrap();
    let store = SqliteRepository::new(sqlite.clone());
    let connection = sqlite.acquire().await.unwrap();
    let error = site.refuses(&store, "{}", BUSY).await;
    assert!(matches!(error, Error::Busy(_)));
    drop(connection);
    assert_eq!(site.put(&store, "{}").await.unwrap(), PutOutcome::Applied);
}

#[tokio::test]
async fn a_full_database_is_called_full() {
    let site = Site::new().await;
    // Not below what is there already.
    let store = site
        .through(options(&site.file).pragma("max_page_count", "1"))
        .await;
    let error = site.refuses(&store, &"r".repeat(100_000), FULL).await;
    assert!(matches!(error, Error::Full(_)));
    // Somebody made room.
    assert_eq!(
        site.put(&site.store(), &"r".repeat(100_000)).await.unwrap(),
        PutOutcome::Applied
    );
}

#[tokio::test]
async fn a_read_only_connection_is_called_read_only() {
    let site = Site::new().await;
    let store = site.through(options(&site.file).read_only(true)).await;
    let error = site.refuses(&store, "{}", READ_ONLY).await;
    assert!(matches!(error, Error::ReadOnly(_)));
    assert!(
        store
            .load(subject("alice").id(), Freshness::Latest)
            .await
            .unwrap()
            .is_some()
    );
    site.redeems("alice", 1).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_may_not_be_written_is_called_read_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new().await;
    fs::set_permissions(&site.file, fs::Permissions::from_mode(0o444)).unwrap();
    if fs::File::options().write(true).open(&site.file).is_ok() {
        println!("skipped: this user may write to any file");
        return;
    }
    let store = site.through(options(&site.file)).await;
    let error = site.refuses(&store, "{}", READ_ONLY).await;
    assert!(matches!(error, Error::ReadOnly(_)));
}

#[tokio::test]
async fn missing_tables_are_told_by_every_call() {
    let site = Site::new().await;
    let file = site.file.with_file_name("empty.db");
    let store = site.through(options(&file)).await;
    let (alice, revision) = (subject("alice"), Revision::random(&mut SysRng).unwrap());
    let (summary, settings) = (Summary::default(), Settings::default());
    let periods = Periods::new(day(0)..day(1), day(0)..day(1), &[]).unwrap();
    let usage = UsageQuery::new(periods, 3, now(), Acceptance::default());
    let put = Put::new(alice.id(), Expected::Absent, revision, "{}", &summary, &[]);
    let not_applied = |error| match error {
        PutError::NotApplied(error) => error,
        PutError::Unknown(error) => unreachable!("it is known: {error:?}"),
    };
    for error in [
        store.load(alice.id(), Freshness::Latest).await.unwrap_err(),
        not_applied(store.put(put).await.unwrap_err()),
        not_applied(store.remove(alice.id(), revision).await.unwrap_err()),
        store.undelivered(10).await.unwrap_err(),
        store.acknowledge(&[]).await.unwrap_err(),
        store.users(&UsersQuery::new(now())).await.unwrap_err(),
        store.usage(&usage).await.unwrap_err(),
        store.load_settings().await.unwrap_err(),
        not_applied(
            store
                .save_settings(Expected::Absent, revision, &settings, &[])
                .await
                .unwrap_err(),
        ),
        store.audit_page(&AuditQuery::new()).await.unwrap_err(),
        store.purge_events(Duration::ZERO, now()).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::NotMigrated(_)), "{error:?}");
        assert_eq!(error.to_string(), NOT_MIGRATED);
    }
    store.migrate().await.unwrap();
    assert_eq!(
        store.load(alice.id(), Freshness::Latest).await.unwrap(),
        None
    );
}

fn day(number: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_789_999_200_000 + number * 86_400_000).unwrap()
}

#[tokio::test]
async fn tables_of_a_newer_version_are_left_alone() {
    let site = Site::new().await;
    site.sql("UPDATE backup_codes_schema SET version = 2").await;
    let before = site.dump().await;
    let text =
        "the tables have schema version 2, this crate knows up to 1: update it on every node";
    for error in [
        SqliteRepository::open(site.sqlite.clone())
            .await
            .unwrap_err(),
        site.store().migrate().await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::NewerSchema { found: 2, known: 1 }));
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(site.dump().await, before);
}

/// The error names the place, and nothing of what is there.
fn corrupt(error: &Error, table: &str, column: &str) {
    let place =
        format!("a row of the table {table} is damaged in column {column}: restore or remove it");
    assert_eq!(error.to_string(), place);
    assert!(matches!(error, Error::Corrupt { .. }));
    assert!(error.source().is_none());
}

#[tokio::test]
async fn a_damaged_record_is_its_users_alone() {
    for (damage, is_record) in [
        ("record = CAST(x'ff' AS TEXT)", true),
        ("revision = x'00'", false),
    ] {
        let site = Site::new().await;
        let alice = "WHERE user_key = CAST('alice' AS BLOB)";
        site.sql(&format!("UPDATE backup_codes_records SET {damage} {alice}"))
            .await;
        let before = site.dump().await;
        let error = site.redeem(site.store(), "alice", 1).await.unwrap_err();
        if is_record {
            assert!(matches!(error, backup_codes::Error::Record(_)), "{error:?}");
        } else {
            corrupt(source(&error), "records", "revision");
        }
        assert_eq!(site.dump().await, before);
        site.redeems("bob", 2).await;
    }
}

#[tokio::test]
async fn a_byte_that_is_no_text_costs_its_slot_alone() {
    let site = Site::new().await;
    site.sql(
        "UPDATE backup_codes_records SET record = CAST(
            substr(CAST(record AS BLOB), 1, instr(record, '\"slot\":1,') + 20) || x'ff'
            || substr(CAST(record AS BLOB), instr(record, '\"slot\":1,') + 22) AS TEXT)
         WHERE user_key = CAST('alice' AS BLOB)",
    )
    .await;
    let refused = site.redeem(site.store(), "alice", 1).await.unwrap();
    assert!(
        matches!(&refused, Redeem::Refused(refusal) if refusal.reason() == Reason::Malformed),
        "{refused:?}"
    );
    site.redeems("alice", 2).await;
}

#[tokio::test]
async fn damaged_columns_are_named_by_the_lists_and_figures() {
    for (damage, column) in [
        (
            "UPDATE backup_codes_records SET user_key = zeroblob(256) WHERE user_key = CAST('alice' AS BLOB)",
            "user_key",
        ),
        ("UPDATE backup_codes_records SET total = 256", "total"),
        (
            "UPDATE backup_codes_records SET proved_at = 9223372036854775807",
            "proved_at",
        ),
        ("UPDATE backup_codes_records SET unused = 256", "unused"),
        (
            "UPDATE backup_codes_records SET prepared_at = 9223372036854775807",
            "prepared_at",
        ),
        (
            "UPDATE backup_codes_records SET activated_at = 9223372036854775807",
            "activated_at",
        ),
        (
            "UPDATE backup_codes_records SET expires_at = 9223372036854775806",
            "expires_at",
        ),
        (
            "UPDATE backup_codes_records SET last_used_at = 9223372036854775807",
            "last_used_at",
        ),
    ] {
        let site = Site::new().await;
        site.sql(damage).await;
        let error = site
            .store()
            .users(&UsersQuery::new(now()).with_filter(UserFilter::Every))
            .await
            .unwrap_err();
        corrupt(&error, "records", column);
        site.redeems("bob", 2).await;
    }
    let site = Site::new().await;
    site.sql("UPDATE backup_codes_uses SET count = -1").await;
    let periods = Periods::new(day(0)..day(1), day(0)..day(1), &[]).unwrap();
    let query = UsageQuery::new(periods, 3, now(), Acceptance::default());
    corrupt(
        &site.store().usage(&query).await.unwrap_err(),
        "uses",
        "count",
    );
    site.redeems("bob", 2).await;
}

#[tokio::test]
async fn a_damaged_column_of_uses_stops_no_write_and_no_figure() {
    let used = async |store: &SqliteRepository| {
        let periods = Periods::new(day(0)..day(1), day(0)..day(1), &[]).unwrap();
        let query = UsageQuery::new(periods, 3, now(), Acceptance::default());
        store.usage(&query).await.unwrap().used_today
    };
    let columns = [
        "",
        "x",
        "[",
        "[[1,2]",
        "null",
        "7",
        "{}",
        "{\"a\":[1,2]}",
        "[1]",
        "[[1.5,2]]",
        "[[1,2]]",
        "[[null,null]]",
        "[[1,99999999999999999999]]",
        "[[1,-9223372036854775808]]",
        "[[9223372036854775807,65535]]",
    ];
    for column in columns {
        let site = Site::new().await;
        site.sql(&format!(
            "UPDATE backup_codes_records SET uses = '{column}'"
        ))
        .await;
        // What the column does not tell stays counted, and what is new is counted.
        site.redeems("alice", 1).await;
        assert_eq!(used(&site.store()).await, 2, "{column}");
        site.sql(&format!(
            "UPDATE backup_codes_records SET uses = '{column}'"
        ))
        .await;
        let purged = site.reports().purge(&Context::system(now())).await;
        assert!(purged.is_ok(), "{column}");
        site.sql("DELETE FROM backup_codes_records").await;
        assert_eq!(used(&site.store()).await, 2, "{column}");
    }
    // Nine uses where there was one: the figure falls, but not below zero.
    let site = Site::new().await;
    site.redeems("alice", 1).await;
    site.sql("UPDATE backup_codes_records SET uses = replace(uses, ',1]', ',9]')")
        .await;
    site.redeems("bob", 2).await;
    assert_eq!(used(&site.store()).await, 0);
    site.redeems("bob", 3).await;
    assert_eq!(used(&site.store()).await, 1);
    site.sql("DELETE FROM backup_codes_records").await;
    assert_eq!(used(&site.store()).await, 0);
}

#[tokio::test]
async fn a_scheme_that_cannot_be_read_is_one_that_is_refused() {
    let site = Site::new().await;
    // As a newer version of the crate may write it.
    site.sql(
        "UPDATE backup_codes_records SET scheme = 'kind-to-come,m=8,t=1'
         WHERE user_key = CAST('alice' AS BLOB)",
    )
    .await;
    let reports = site.reports();
    let system = Context::system(now());
    let list = async |query: UsersQuery| {
        let rows = reports.users(query, &system).await.unwrap();
        let row =
            |row: &backup_codes::report::UserRow| (row.user.to_string(), row.remaining, row.total);
        rows.iter().map(row).collect::<Vec<_>>()
    };
    let (alice, bob) = (("alice".to_owned(), 0, 10), ("bob".to_owned(), 9, 10));
    let both = vec![alice.clone(), bob.clone()];
    let named = || ["alice", "bob"].map(|user| UserId::new(user).unwrap());
    for (filter, expected) in [
        (UserFilter::Every, both.clone()),
        (UserFilter::WithSet, both),
        (UserFilter::Exhausted, vec![alice.clone()]),
        (UserFilter::Low, vec![alice]),
        (UserFilter::Holding, vec![bob]),
    ] {
        for order in [UserOrder::User, UserOrder::FewestLeft] {
            let query = UsersQuery::new(now()).with_filter(filter).with_order(order);
            assert_eq!(list(query.clone()).await, expected, "{filter:?} {order:?}");
            assert_eq!(
                list(query.with_among(named())).await,
                expected,
                "{filter:?} {order:?}"
            );
        }
    }
    let periods = Periods::new(day(0)..day(1), day(0)..day(1), &[]).unwrap();
    let usage = reports.usage(periods, &system).await.unwrap();
    let users = (
        usage.users_with_codes,
        usage.users_low,
        usage.users_exhausted,
    );
    assert_eq!(users, (2, 1, 1));
    // It is left out there, and hides no other.
    let with_scheme = async || {
        let schemes = site.store().schemes().await.unwrap();
        schemes.iter().map(|(_, users)| *users).collect::<Vec<_>>()
    };
    assert_eq!(with_scheme().await, [1]);
    assert!(reports.purge(&system).await.is_ok());
    // The record is sound, and its next write puts the column right.
    site.redeems("alice", 1).await;
    assert_eq!(with_scheme().await, [2]);
}

#[tokio::test]
async fn a_damaged_event_keeps_no_other_from_being_read() {
    for damage in [
        "body = '{}'",
        "body = CAST(x'ff' AS TEXT)",
        // As a newer version of the crate may write it.
        "body = json_set(body, '$.kind', 'kind_to_come')",
    ] {
        let site = Site::new().await;
        let store = site.store();
        let all = store.audit_page(&AuditQuery::new()).await.unwrap();
        let of_alice = format!(
            "UPDATE backup_codes_events SET {damage}, delivered = 0 \
             WHERE user_key = CAST('alice' AS BLOB)"
        );
        site.sql(&of_alice).await;
        // Where there is nothing else, it is named.
        corrupt(&store.undelivered(10).await.unwrap_err(), "events", "body");
        let alice = AuditQuery::new().with_user(UserId::new("alice").unwrap());
        let page = store.audit_page(&alice).await.unwrap();
        assert_eq!(page.events, []);
        let damaged = page.unreadable;
        assert!(damaged > 0);

        site.sql("UPDATE backup_codes_events SET delivered = 0")
            .await;
        // However many of those that cannot be read come first.
        assert_eq!(store.undelivered(1).await.unwrap().len(), 1);
        let listed = store.undelivered(1000).await.unwrap();
        assert_eq!(listed.len(), all.events.len() - damaged);
        let page = store.audit_page(&AuditQuery::new()).await.unwrap();
        assert_eq!(page.events.len(), all.events.len() - damaged);
        assert_eq!(page.unreadable, damaged);
        site.redeems("bob", 2).await;
        site.redeems("alice", 1).await;
    }
}

#[tokio::test]
async fn damaged_settings_are_named_and_not_replaced_by_others() {
    for (damage, column) in [
        (
            "UPDATE backup_codes_settings SET settings = '{'",
            "settings",
        ),
        (
            "UPDATE backup_codes_settings SET settings = CAST(x'ff' AS TEXT)",
            "settings",
        ),
        (
            "UPDATE backup_codes_settings SET revision = x'00'",
            "revision",
        ),
    ] {
        let site = Site::new().await;
        site.sql(damage).await;
        corrupt(
            &site.store().load_settings().await.unwrap_err(),
            "settings",
            column,
        );
        site.redeems("bob", 2).await;
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("site.db");
    let text = "no database ".repeat(1000);
    fs::write(&file, &text).unwrap();
    let sqlite = pool(SqliteConnectOptions::new().filename(&file)).await;
    for error in [
        SqliteRepository::open(sqlite.clone()).await.unwrap_err(),
        SqliteRepository::new(sqlite).migrate().await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::CorruptFile(_)), "{error:?}");
        assert_eq!(error.to_string(), CORRUPT_FILE);
    }
    assert_eq!(fs::read_to_string(file).unwrap(), text);
}

#[tokio::test]
async fn a_damaged_file_is_told_and_nothing_claimed_about_the_write() {
    let site = Site::new().await;
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'backup_codes_records_key'";
    let page: i64 = sqlx::query_scalar(sql)
        .fetch_one(&site.sqlite)
        .await
        .unwrap();
    site.sql("PRAGMA wal_checkpoint(TRUNCATE)").await;
    let mut bytes = fs::read(&site.file).unwrap();
    let start = 4096 * (usize::try_from(page).unwrap() - 1);
    bytes[start..start + 4096].fill(0xa5);
    fs::write(&site.file, bytes).unwrap();
    let store = site.through(options(&site.file)).await;
    let error = store
        .load(subject("alice").id(), Freshness::Latest)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::CorruptFile(_)), "{error:?}");
    assert_eq!(error.to_string(), CORRUPT_FILE);
    let revision = Revision::random(&mut SysRng).unwrap();
    let (carol, summary) = (subject("carol"), Summary::default());
    let put = Put::new(carol.id(), Expected::Absent, revision, "{}", &summary, &[]);
    let put = store.put(put).await.unwrap_err();
    assert!(
        matches!(put, PutError::Unknown(Error::CorruptFile(_))),
        "{put:?}"
    );
}

#[tokio::test]
async fn a_dropped_write_keeps_no_lock_and_no_connection() {
    let site = Site::new().await;
    for polls in 0..8 {
        let sqlite = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options(&site.file))
            .await
            .unwrap();
        let store = SqliteRepository::new(sqlite.clone());
        {
            let mut put = pin!(site.put(&store, "{}"));
            for _ in 0..polls {
                if put
                    .as_mut()
                    .poll(&mut TaskContext::from_waker(Waker::noop()))
                    .is_ready()
                {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let lock = site.sqlite.begin_with("BEGIN IMMEDIATE").await.unwrap();
        lock.rollback().await.unwrap();
        assert!(
            store
                .load(subject("bob").id(), Freshness::Latest)
                .await
                .unwrap()
                .is_some()
        );
    }
    site.redeems("bob", 2).await;
}
