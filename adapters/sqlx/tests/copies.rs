//! A copied database is the same store: figures, lists, records and audit log, and what is written
//! afterwards counts once.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use backup_codes::hash::{Acceptance, Cost};
use backup_codes::report::UsageQuery;
use backup_codes::repository::{
    CodeRepository as _, Directory as _, Expected, Freshness, PutOutcome, Revision,
    SettingsStore as _,
};
use backup_codes::{
    BackupCodes, Config, Context, Effect, Format, Formats, HashParams, Hashing, Keyring, Periods,
    Redeem, Settings, Subject, Timestamp, Usage, UserFilter, UserId, UserOrder, UsersQuery,
};
use backup_codes_sqlx::{AuditQuery, Prefix, SqliteRepository};
use getrandom::SysRng;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, SqlitePool};

const QUARTER: i64 = 15 * 60_000;
const START: i64 = 1_790_000_000_000 / QUARTER * QUARTER;
const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

fn at(quarter: i64) -> Timestamp {
    Timestamp::from_unix_millis(START + quarter * QUARTER).unwrap()
}

fn subject(name: &str) -> Subject {
    Subject::new(UserId::new(name).unwrap(), ["staff"])
}

async fn pool(file: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("recursive_triggers", "ON");
    let pool = SqlitePoolOptions::new().max_connections(1);
    pool.connect_with(options).await.unwrap()
}

fn service(store: &SqliteRepository) -> BackupCodes {
    let params = HashParams::new(Keyring::without_pepper())
        .unwrap()
        .with_high_entropy_cost(Cost::LEAST);
    let config = Config::default().with_formats(Formats::new(Format::HIGH_ENTROPY));
    let hashing = Hashing::inline(params);
    BackupCodes::new(store.clone(), Settings::default(), hashing).with_config(config)
}

async fn redeem(codes: &BackupCodes, name: &str, typed: &str, quarter: i64) -> Redeem {
    let user = subject(name);
    let cx = Context::new(at(quarter), &user);
    codes.redeem(&user, typed, &cx).await.unwrap()
}

/// A store with users who used codes, one who did not, one who was erased, and settings. Returns
/// a code of alice that is not used.
async fn filled(store: &SqliteRepository) -> String {
    let codes = service(store);
    let mut unused = String::new();
    for (name, used) in USERS.into_iter().zip([3, 1, 0, 2]) {
        let user = subject(name);
        let cx = Context::new(at(0), &user);
        let issued = codes.issue(&user, &cx).await.unwrap();
        let typed: Vec<String> = issued
            .sheet
            .expose()
            .codes()
            .map(|(_, code)| code.to_string())
            .collect();
        for (number, code) in (0..used).zip(&typed) {
            // Two in one quarter hour, and one later.
            let redeemed = redeem(&codes, name, code, 1 + number / 2).await;
            assert!(matches!(redeemed, Redeem::Accepted(_)));
        }
        if name == "alice" {
            unused = typed[9].clone();
        }
    }
    let dave = subject("dave");
    let cx = Context::new(at(3), &dave);
    assert_eq!(codes.erase(&dave, &cx).await.unwrap(), Effect::Done);
    let revision = Revision::random(&mut SysRng).unwrap();
    let saved = store
        .save_settings(Expected::Absent, revision, &Settings::default(), &[])
        .await;
    assert_eq!(saved.unwrap(), PutOutcome::Applied);
    unused
}

async fn usage(store: &SqliteRepository) -> Usage {
    let (from, until) = (at(-100), at(100));
    let periods = Periods::new(from..until, from..until, &[from, at(1), at(2), until]).unwrap();
    let config = Config::default().with_formats(Formats::new(Format::HIGH_ENTROPY));
    let params = HashParams::new(Keyring::without_pepper()).unwrap();
    let acceptance = Acceptance::new(&config, &params.with_high_entropy_cost(Cost::LEAST));
    let query = UsageQuery::new(periods, 3, at(10), acceptance);
    store.usage(&query).await.unwrap()
}

/// All that a store shows.
async fn shown(store: &SqliteRepository) -> Vec<String> {
    let mut shown = vec![
        format!("{:?}", usage(store).await),
        format!("{:?}", store.schemes().await.unwrap()),
        format!("{:?}", store.undelivered(1000).await.unwrap()),
        format!("{:?}", store.load_settings().await.unwrap()),
    ];
    for name in USERS {
        let user = UserId::new(name).unwrap();
        let loaded = store.load(&user, Freshness::Latest).await.unwrap().unwrap();
        shown.push(format!("{:?} {}", loaded.revision, loaded.record));
    }
    for order in [
        UserOrder::User,
        UserOrder::FewestLeft,
        UserOrder::NewestSet,
        UserOrder::LatestUse,
    ] {
        let query = UsersQuery::new(at(10)).with_filter(UserFilter::Every);
        let rows = store.users(&query.with_order(order)).await.unwrap();
        assert_eq!(rows.len(), USERS.len());
        shown.push(format!("{rows:?}"));
    }
    let mut query = AuditQuery::new().with_limit(3);
    loop {
        let page = store.audit_page(&query).await.unwrap();
        shown.push(format!("{page:?}"));
        match page.next {
            Some(next) => query = query.with_after(next),
            None => return shown,
        }
    }
}

async fn execute(sqlite: &SqlitePool, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(sqlite)
        .await
        .unwrap();
}

/// A redeem in a copy counts as it does in the original: once.
async fn a_redeem_counts_once(copy: &SqliteRepository, code: &str, case: &str) {
    let before = usage(copy).await;
    assert_eq!(before.used_this_month, 4, "{case}");
    // In a quarter hour that has uses, and in one that has none.
    let codes = service(copy);
    let redeemed = redeem(&codes, "alice", code, 2).await;
    assert!(matches!(redeemed, Redeem::Accepted(_)), "{case}");
    let carol = subject("carol");
    let cx = Context::new(at(5), &carol);
    let issued = codes.issue(&carol, &cx).await.unwrap();
    let typed = issued.sheet.expose().codes().next().unwrap().1.to_string();
    let redeemed = redeem(&codes, "carol", &typed, 5).await;
    assert!(matches!(redeemed, Redeem::Accepted(_)), "{case}");
    let after = usage(copy).await;
    assert_eq!(after.used_this_month, 6, "{case}");
    assert_eq!(after.used_by_day, [0, 3, 3], "{case}");
    assert_eq!(before.used_by_day, [0, 3, 1], "{case}");
    // What a copied row holds is taken away with it.
    let alice = subject("alice");
    let cx = Context::new(at(6), &alice);
    assert_eq!(codes.erase(&alice, &cx).await.unwrap(), Effect::Done);
    assert_eq!(usage(copy).await.used_this_month, 2, "{case}");
}

#[tokio::test]
async fn tables_copied_in_any_order_make_the_same_store() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original.db");
    let sqlite = pool(&original).await;
    let store = SqliteRepository::open(sqlite.clone()).await.unwrap();
    let code = filled(&store).await;
    let wanted = shown(&store).await;

    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT substr(name, 14) FROM sqlite_schema
         WHERE type = 'table' AND name GLOB 'backup_codes_*' AND name <> 'backup_codes_schema'
         ORDER BY name",
    )
    .fetch_all(&sqlite)
    .await
    .unwrap();
    assert_eq!(tables, ["events", "records", "settings", "uses"]);
    for (number, order) in [
        ["records", "uses", "events", "settings"],
        ["uses", "records", "settings", "events"],
        ["events", "settings", "uses", "records"],
        ["settings", "events", "records", "uses"],
    ]
    .into_iter()
    .enumerate()
    {
        // Under the same names, and under others.
        for prefix in ["backup_codes_", "shop_"] {
            let case = format!("{order:?} to {prefix}");
            let target = pool(&folder.path().join(format!("{prefix}{number}.db"))).await;
            let names = Prefix::new(prefix).unwrap();
            let copy = SqliteRepository::open_with_prefix(target.clone(), names).await;
            let copy = copy.unwrap();
            let attach = format!("ATTACH '{}' AS original", original.display());
            execute(&target, attach).await;
            for table in order {
                let insert = format!(
                    "INSERT INTO main.{prefix}{table} SELECT * FROM original.backup_codes_{table}"
                );
                execute(&target, insert).await;
            }
            assert_eq!(shown(&copy).await, wanted, "{case}");
            a_redeem_counts_once(&copy, &code, &case).await;
        }
    }
    // As the README says.
    let readme = include_str!("../README.md");
    let sql = readme.split("```sql\n").nth(1).unwrap();
    let sql = sql.split("```").next().unwrap();
    let sql = sql.replace("'old.db'", &format!("'{}'", original.display()));
    let target = pool(&folder.path().join("readme.db")).await;
    let copy = SqliteRepository::open(target.clone()).await.unwrap();
    execute(&target, sql).await;
    assert_eq!(shown(&copy).await, wanted);
    a_redeem_counts_once(&copy, &code, "README").await;
    // The original was read only.
    assert_eq!(shown(&store).await, wanted);
}

#[tokio::test]
async fn a_copied_file_is_the_same_store() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original.db");
    let sqlite = pool(&original).await;
    let store = SqliteRepository::open(sqlite.clone()).await.unwrap();
    let code = filled(&store).await;
    let wanted = shown(&store).await;

    let vacuumed = folder.path().join("vacuumed.db");
    execute(&sqlite, format!("VACUUM INTO '{}'", vacuumed.display())).await;
    // The pages as they are, as a backup takes them.
    sqlite.close().await;
    let copied = folder.path().join("copied.db");
    std::fs::copy(&original, &copied).unwrap();
    for file in [vacuumed, copied] {
        let copy = SqliteRepository::open(pool(&file).await).await.unwrap();
        let case = file.display().to_string();
        assert_eq!(shown(&copy).await, wanted, "{case}");
        a_redeem_counts_once(&copy, &code, &case).await;
    }
}
