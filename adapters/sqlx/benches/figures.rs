//! The figures of the SQLite store: `cargo bench -p backup-codes-sqlx --bench figures`, or with
//! `-- --brief` a short run over fewer users that only shows that they can be measured.
//!
//! Prints lines `figure <name> <value> <unit>`. A ratio is the median of pairs measured in turn.
//! The database of a million users is made first, which takes some minutes; `BACKUP_CODES_DB`
//! names one that `--example generate` has made, and saves them.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads clocks")]
#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::panic,
    reason = "a benchmark"
)]

#[path = "../examples/generate/population.rs"]
mod population;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backup_codes::hash::{Acceptance, Cost, DefaultEngine, HashSalt, PoolSize};
use backup_codes::report::{UsageQuery, UserRow};
use backup_codes::repository::Directory;
use backup_codes::rules::{generate, hash};
use backup_codes::{
    BackupCodes, Config, Context, Format, Formats, HashParams, Hashing, Keyring, Periods, Redeem,
    SetId, SetSize, Settings, Subject, Timestamp, UserFilter, UserId, UserOrder, UsersQuery,
};
use backup_codes_sqlx::SqliteRepository;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::runtime::Runtime;

fn figure(name: &str, value: f64, unit: &str) {
    println!("figure {name} {value:.4} {unit}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds that something takes, after a pause in which the hash pool wipes what it left behind.
fn settled(run: impl FnOnce()) -> f64 {
    let pause = Instant::now();
    while pause.elapsed() < Duration::from_millis(5) {
        std::hint::spin_loop();
    }
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

fn now() -> Timestamp {
    Timestamp::from_unix_millis(population::NOW_MILLIS).unwrap()
}

/// A pool as an application has it: WAL, every commit synced.
async fn durable_pool(file: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    SqlitePoolOptions::new()
        .max_connections(2)
        .connect_with(options)
        .await
        .unwrap()
}

async fn open(file: &Path) -> SqliteRepository {
    let store = SqliteRepository::open(durable_pool(file).await)
        .await
        .unwrap();
    store.as_audit_log()
}

fn subject(name: &str) -> Subject {
    Subject::new(UserId::new(name).unwrap(), ["staff"])
}

/// Counts the statements that `sqlx` reports as executed.
struct Statements(Arc<AtomicU64>);

impl tracing::Subscriber for Statements {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// A user's unspent codes, issued anew when they run out.
struct Sheets<'a> {
    codes: &'a BackupCodes,
    runtime: &'a Runtime,
    user: Subject,
    unspent: Vec<String>,
}

impl<'a> Sheets<'a> {
    fn new(codes: &'a BackupCodes, runtime: &'a Runtime, user: Subject) -> Self {
        Self {
            codes,
            runtime,
            user,
            unspent: Vec::new(),
        }
    }

    fn next(&mut self) -> String {
        if self.unspent.is_empty() {
            let cx = Context::new(now(), &self.user);
            let issued = self.runtime.block_on(self.codes.issue(&self.user, &cx));
            let sheet = issued.unwrap().sheet;
            self.unspent = sheet
                .expose()
                .codes()
                .map(|(_, code)| code.to_string())
                .collect();
        }
        self.unspent.pop().unwrap()
    }

    fn redeem(&self, typed: &str) {
        let cx = Context::new(now(), &self.user);
        let redeemed = self
            .runtime
            .block_on(self.codes.redeem(&self.user, typed, &cx));
        assert!(matches!(redeemed, Ok(Redeem::Accepted(_))));
    }
}

/// A whole redeem over one evaluation in memory that is warm, of the same parameters.
fn redeem_over_floor(runtime: &Runtime, folder: &Path, pairs: usize, statements: &AtomicU64) {
    let store = runtime.block_on(open(&folder.join("floor.db")));
    let hashing = Hashing::pool_with(
        HashParams::new(Keyring::without_pepper()).unwrap(),
        PoolSize::new(2, 64).unwrap(),
    );
    let codes = BackupCodes::new(store, Settings::default(), hashing.unwrap());
    let mut sheets = Sheets::new(&codes, runtime, subject("alice"));

    let params = HashParams::new(Keyring::without_pepper()).unwrap();
    let mut engine = DefaultEngine::new();
    let mut rng = getrandom::SysRng;
    let code = generate(Format::default(), SetSize::new(1).unwrap(), &mut rng).unwrap();
    let (user, set) = (UserId::new("bare").unwrap(), SetId::from_bytes([7; 16]));
    let salt = HashSalt::random(&mut rng).unwrap();
    let mut bare = || {
        black_box(hash(&params, &mut engine, &user, set, &code[0], salt).unwrap());
    };
    let typed = sheets.next();
    let before = statements.load(Ordering::Relaxed);
    sheets.redeem(&typed);
    let made = statements.load(Ordering::Relaxed) - before;
    figure("sqlite_roundtrips_redeem", made as f64, "statements");
    bare();
    let ratios = (0..pairs).map(|_| {
        let typed = sheets.next();
        settled(|| sheets.redeem(&typed)) / settled(&mut bare)
    });
    figure(
        "sqlite_redeem_over_floor",
        median(ratios.collect()),
        "ratio",
    );
}

/// Codes at the least cost, so that the store is what is measured.
fn cheap(store: SqliteRepository) -> BackupCodes {
    let params = HashParams::new(Keyring::without_pepper())
        .unwrap()
        .with_high_entropy_cost(Cost::LEAST);
    let config = Config::default().with_formats(Formats::new(Format::HIGH_ENTROPY));
    BackupCodes::new(store, Settings::default(), Hashing::inline(params)).with_config(config)
}

/// The same redeem among few and among many users, in turn; each time somebody else.
fn growth(
    runtime: &Runtime,
    few: &SqliteRepository,
    many: &SqliteRepository,
    pairs: usize,
    name: &str,
) {
    let [few, many] = [few, many].map(|store| cheap(store.clone()));
    let users = 64;
    let sheets = |codes| -> Vec<Sheets<'_>> {
        (0..users)
            .map(|n| Sheets::new(codes, runtime, subject(&format!("user-{n:02}-measured"))))
            .collect()
    };
    let (mut few, mut many) = (sheets(&few), sheets(&many));
    let redeem = |sheets: &mut [Sheets<'_>], n: usize| {
        let sheets = &mut sheets[n % users];
        let typed = sheets.next();
        let start = Instant::now();
        sheets.redeem(&typed);
        start.elapsed().as_secs_f64()
    };
    let times: Vec<(f64, f64)> = (0..pairs)
        .map(|n| (redeem(&mut few, n), redeem(&mut many, n)))
        .collect();
    let ratio = median(times.iter().map(|(few, many)| many / few).collect());
    figure(&format!("sqlite_redeem_growth_{name}"), ratio, "ratio");
    let many = median(times.iter().map(|(_, many)| *many).collect());
    figure("sqlite_redeem_cheap_us", many * 1e6, "us");
}

fn usage(runtime: &Runtime, store: &SqliteRepository, runs: usize, name: &str) {
    let midnight = now().unix_millis() / 86_400_000;
    let day = |back: i64| Timestamp::from_unix_millis((midnight - back) * 86_400_000).unwrap();
    let days: Vec<Timestamp> = (-1..30).rev().map(day).collect();
    let periods = Periods::new(day(0)..day(-1), day(20)..day(-1), &days).unwrap();
    for (query_name, void) in [("", None), ("_void_before", Some(day(200)))] {
        let acceptance = Acceptance::default().with_void_before(void);
        let query = UsageQuery::new(periods.clone(), 3, now(), acceptance);
        let times = (0..runs).map(|_| {
            settled(|| {
                let usage = runtime.block_on(Directory::usage(store, &query)).unwrap();
                assert!(usage.users_with_codes > usage.users_low && usage.used_this_month > 0);
            })
        });
        let milliseconds = median(times.collect()) * 1e3;
        figure(
            &format!("sqlite_usage{query_name}_ms_{name}"),
            milliseconds,
            "ms",
        );
    }
}

fn page(runtime: &Runtime, store: &SqliteRepository, query: &UsersQuery) -> Vec<UserRow> {
    match runtime.block_on(Directory::users(store, query)) {
        Ok(rows) => rows,
        Err(error) => panic!("{query:?}: {error}"),
    }
}

/// The first page and the last one, of every filter in every order; the slowest of each, and those
/// of the list an administrator opens.
fn pages(runtime: &Runtime, store: &SqliteRepository, runs: usize, name: &str) {
    let mut slowest = (0.0, String::new());
    for filter in [
        UserFilter::Holding,
        UserFilter::WithSet,
        UserFilter::Low,
        UserFilter::Exhausted,
        UserFilter::Every,
    ] {
        for order in [
            UserOrder::User,
            UserOrder::FewestLeft,
            UserOrder::NewestSet,
            UserOrder::LatestUse,
        ] {
            let mut query = UsersQuery::new(now()).with_filter(filter).with_order(order);
            query.low_threshold = 3;
            // The last hundred rows, found by walking all of them.
            let mut walk = query.clone().with_limit(1000);
            let mut end: Vec<UserRow> = Vec::new();
            loop {
                let rows = page(runtime, store, &walk);
                let Some(row) = rows.last() else { break };
                walk = walk.with_after(row.clone());
                end.extend(rows);
                end.drain(..end.len().saturating_sub(101));
            }
            let last = match end.first() {
                Some(before) if end.len() == 101 => query.clone().with_after(before.clone()),
                _ => query.clone(),
            };
            assert!(!page(runtime, store, &last).is_empty(), "rows at the end");
            for (place, query) in [("first", query), ("last", last)] {
                let times = (0..runs).map(|_| settled(|| drop(page(runtime, store, &query))));
                let milliseconds = median(times.collect()) * 1e3;
                let what = format!("{filter:?} by {order:?}, {place} page");
                if (filter, order) == (UserFilter::Holding, UserOrder::User) {
                    let name = format!("sqlite_users_page_{place}_ms_{name}");
                    figure(&name, milliseconds, "ms");
                }
                if milliseconds > slowest.0 {
                    slowest = (milliseconds, what);
                }
            }
        }
    }
    println!("slowest page: {}", slowest.1);
    figure(
        &format!("sqlite_users_page_slowest_ms_{name}"),
        slowest.0,
        "ms",
    );
    // A hundred users whom an application has found in a table of its own: those with the latest
    // sets, whose keys are far apart.
    let newest = UsersQuery::new(now()).with_order(UserOrder::NewestSet);
    let found = page(runtime, store, &newest)
        .into_iter()
        .map(|row| row.user);
    let query = UsersQuery::new(now()).with_among(found);
    assert_eq!(
        page(runtime, store, &query).len(),
        100,
        "all of those named"
    );
    let times = (0..runs).map(|_| settled(|| drop(page(runtime, store, &query))));
    figure(
        &format!("sqlite_users_among_ms_{name}"),
        median(times.collect()) * 1e3,
        "ms",
    );
}

/// How many users have a set, which those of the generator all have.
fn every_user(runtime: &Runtime, store: &SqliteRepository) -> u64 {
    let day = |n: i64| Timestamp::from_unix_millis(n * 86_400_000).unwrap();
    let periods = Periods::new(day(0)..day(1), day(0)..day(1), &[]).unwrap();
    let query = UsageQuery::new(periods, 0, now(), Acceptance::default());
    let usage = runtime.block_on(Directory::usage(store, &query)).unwrap();
    usage.users_with_codes
}

/// A database of so many made-up users.
fn filled(runtime: &Runtime, file: &Path, users: u64) {
    runtime.block_on(async {
        let pool = population::fast_pool(file).await.unwrap();
        let mut population = population::Population::new(users, now()).await.unwrap();
        population::fill(&pool, &mut population, |_| ())
            .await
            .unwrap();
        pool.close().await;
    });
}

fn main() {
    let brief = std::env::args().any(|argument| argument == "--brief");
    let (few, many, name) = if brief {
        (500, 2_000, "brief")
    } else {
        (10_000, 1_000_000, "1m")
    };
    let (pairs, runs) = if brief { (3, 3) } else { (31, 15) };
    let statements = Arc::new(AtomicU64::new(0));
    let _ = tracing::subscriber::set_global_default(Statements(Arc::clone(&statements)));
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();

    redeem_over_floor(&runtime, folder.path(), pairs, &statements);

    let small = folder.path().join("few.db");
    filled(&runtime, &small, few);
    let large = std::env::var_os("BACKUP_CODES_DB").map(PathBuf::from);
    let large = large.unwrap_or_else(|| {
        let file = folder.path().join("many.db");
        filled(&runtime, &file, many);
        file
    });
    let bytes = std::fs::metadata(&large).unwrap().len();
    let (small, large) = runtime.block_on(async { (open(&small).await, open(&large).await) });
    let users = every_user(&runtime, &large);
    println!("{users} users");
    figure(
        "sqlite_bytes_per_user",
        bytes as f64 / users as f64,
        "bytes",
    );
    usage(&runtime, &large, runs, name);
    pages(&runtime, &large, runs, name);
    let name = if brief { "brief" } else { "10k_to_1m" };
    growth(&runtime, &small, &large, if brief { 10 } else { 501 }, name);
}
