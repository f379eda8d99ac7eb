//! The figures: `cargo bench --bench figures`, or with `-- --brief` a short run that only shows
//! that they can be measured.
//!
//! `usage_ns_per_user_1m` is over summaries, which is what a repository keeps of a record for
//! figures.
#![expect(unsafe_code, reason = "an allocator that counts is an unsafe trait")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads clocks")]
#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

mod shared;

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::Future;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use backup_codes::hash::{Cost, PoolSize};
use backup_codes::report::{Summary, UsageQuery};
use backup_codes::rules::usage;
use backup_codes::{
    BackupCodes, Config, Context, Error, Format, Formats, HashParams, Hashing, Keyring,
    MemoryRepository, Periods, Redeem, Settings, Subject, Timestamp,
};
use shared::{
    burst, code, context, figure, issue, median, now, ratio, redeem, redeem_over, seconds, service,
    settled, subject,
};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's own promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's own promises.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's own promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A bare Argon2id evaluation, with memory of its own that stays warm.
struct Bare(Vec<Block>, Params);

impl Bare {
    fn new(cost: Cost) -> Self {
        let params = Params::new(cost.memory_kib(), cost.passes(), 1, Some(32)).unwrap();
        Self(vec![Block::new(); params.block_count()], params)
    }

    fn evaluate(&mut self) {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.1.clone());
        let mut tag = [0; 32];
        argon2
            .hash_password_into_with_memory(&[7; 80], &[9; 16], &mut tag, &mut self.0)
            .unwrap();
        black_box(tag);
    }
}

fn hashing(size: PoolSize) -> Hashing {
    Hashing::pool_with(HashParams::new(Keyring::without_pepper()).unwrap(), size).unwrap()
}

/// Measures a whole redeem over one bare evaluation.
fn redeem_over_floor(pairs: usize, workers: usize) {
    let pool = PoolSize::new(workers, 64).unwrap();
    let mut bare = Bare::new(Cost::MIB_19);

    let hit = redeem_over(pairs, hashing(pool), || bare.evaluate());
    figure("redeem_hit_over_floor_10", hit, "ratio");

    let alice = subject("alice");

    for size in [10, 31] {
        let service = service(size, hashing(pool));
        let sheet = issue(&service, &alice);
        let spent = code(&sheet, 0);
        assert!(matches!(
            redeem(&service, &alice, &spent),
            Redeem::Accepted(_)
        ));
        // Another user's code: well formed and wrong. A new sheet clears the wrong codes in a row
        // in time.
        let bob = subject("bob");
        let wrong = code(&issue(&service, &bob), 1);
        let mut misses = 0;
        let mut ratios = Vec::new();
        while ratios.len() < pairs {
            if misses % 9 == 0 {
                let _ = issue(&service, &alice);
            }
            misses += 1;
            let whole = settled(|| {
                assert!(matches!(
                    redeem(&service, &alice, &wrong),
                    Redeem::Refused(_)
                ));
            });
            ratios.push(whole / settled(|| bare.evaluate()));
        }
        figure(
            &format!("redeem_miss_over_floor_{size}"),
            median(ratios),
            "ratio",
        );
    }
}

/// Measures ten PHC strings verified in a row, as libraries do that try every code.
fn loop_over_floor(pairs: usize) {
    use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
    let params = Params::new(19_456, 2, 1, Some(32)).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hashes: Vec<PasswordHash> = (0..10u8)
        .map(|n| argon2.hash_password_with_salt(&[n; 14], &[n; 16]).unwrap())
        .collect();
    let mut bare = Bare::new(Cost::MIB_19);
    let value = ratio(
        pairs,
        || {
            for hash in &hashes {
                assert!(argon2.verify_password(b"wrong code", hash).is_err());
            }
        },
        || bare.evaluate(),
    );
    figure("loop_miss_over_floor_10", value, "ratio");
}

fn fresh_over_warm(pairs: usize) {
    let mut warm = Bare::new(Cost::MIB_46);
    let value = ratio(
        pairs,
        || Bare::new(Cost::MIB_46).evaluate(),
        || warm.evaluate(),
    );
    figure("fresh_over_warm_46mib", value, "ratio");
}

fn issue_over_floor(pairs: usize, workers: usize) {
    let service = service(10, hashing(PoolSize::new(workers, 64).unwrap()));
    let alice = subject("alice");
    let mut bare = Bare::new(Cost::MIB_19);
    let value = ratio(pairs, || drop(issue(&service, &alice)), || bare.evaluate());
    figure("issue_10_over_floor", value, "ratio");
    figure("issue_10_over_floor_bound", 11.5 / workers as f64, "ratio");
}

fn refusals_without_work(runs: u32) {
    let service = service(10, hashing(PoolSize::default()));
    let alice = subject("alice");
    let cx = context(&alice);
    let sheet = issue(&service, &alice);
    let mut typo = code(&sheet, 0);
    let check = typo.pop();
    typo.push(if check == Some('0') { '1' } else { '0' });
    let outcome = pollster::block_on(service.redeem(&alice, &typo, &cx)).unwrap();
    assert!(matches!(outcome, Redeem::NotACode(_)));
    let timed = |typed: &str| {
        let times = (0..runs).map(|_| {
            seconds(|| {
                let _ = black_box(pollster::block_on(service.redeem(&alice, typed, &cx)).unwrap());
            })
        });
        median(times.collect())
    };
    figure("not_a_code_ns", timed(&typo) * 1e9, "ns");

    let bob = subject("bob");
    let wrong = code(&issue(&service, &bob), 1);
    for _ in 0..10 {
        let _ = redeem(&service, &alice, &wrong);
    }
    assert!(
        matches!(redeem(&service, &alice, &wrong), Redeem::Refused(refusal)
        if refusal.reason().as_str() == "locked")
    );
    figure("locked_us", timed(&wrong) * 1e6, "us");
}

fn busy_reply(runs: usize) {
    let store = MemoryRepository::new();
    let params = || HashParams::new(Keyring::without_pepper()).unwrap();
    let hashing = Hashing::pool_with(params(), PoolSize::new(1, 1).unwrap()).unwrap();
    let service = BackupCodes::new(store, Settings::default(), hashing);
    let users: Vec<Subject> = (0..3).map(|n| subject(&format!("user {n}"))).collect();
    let sheet = issue(&service, &users[0]);
    let typed = code(&sheet, 0);
    let contexts: Vec<Context> = users.iter().map(context).collect();
    let mut times = Vec::new();
    while times.len() < runs {
        // One is in the worker or the queue, one in the queue or rejected; the third is busy.
        let mut waiting: Vec<_> = (0..2)
            .map(|n| Box::pin(service.redeem(&users[n], &typed, &contexts[n])))
            .collect();
        let waker = std::task::Waker::noop();
        let mut poll = std::task::Context::from_waker(waker);
        for future in &mut waiting {
            let _ = future.as_mut().poll(&mut poll);
        }
        let start = Instant::now();
        let third = pollster::block_on(service.redeem(&users[2], &typed, &contexts[2]));
        let took = start.elapsed();
        if matches!(third, Err(Error::Busy)) {
            times.push(took.as_secs_f64());
        }
        drop(waiting);
    }
    figure("busy_reply_us", median(times) * 1e6, "us");
}

fn usage_of_a_million(users: usize, runs: usize) {
    let params = HashParams::new(Keyring::without_pepper())
        .unwrap()
        .with_high_entropy_cost(Cost::LEAST);
    let config = Config::default().with_formats(Formats::new(Format::HIGH_ENTROPY));
    let store = MemoryRepository::new();
    let service = BackupCodes::new(store.clone(), Settings::default(), Hashing::inline(params))
        .with_config(config);
    // A hundred users who used none to six codes, copied.
    let some: Vec<Summary> = (0..100)
        .map(|n: u8| {
            let user = subject(&format!("user {n}"));
            let sheet = issue(&service, &user);
            for used in 0..n % 7 {
                let days = Duration::from_secs(86_400 * u64::from(used) * 9);
                let cx = Context::new(now().saturating_sub(days), &user);
                let typed = code(&sheet, usize::from(used));
                let _ = pollster::block_on(service.redeem(&user, &typed, &cx)).unwrap();
            }
            let loaded = pollster::block_on(backup_codes::repository::CodeRepository::load(
                &store,
                user.id(),
                backup_codes::repository::Freshness::Latest,
            ));
            let record =
                backup_codes::repository::Record::from_json(&loaded.unwrap().unwrap().record);
            record.unwrap().summary()
        })
        .collect();
    let all: Vec<Summary> = (0..users).map(|n| some[n % some.len()].clone()).collect();
    let day = |back: i64| {
        let midnight = now().unix_millis() / 86_400_000 * 86_400_000;
        Timestamp::from_unix_millis(midnight - back * 86_400_000).unwrap()
    };
    let days: Vec<Timestamp> = (-1..30).rev().map(day).collect();
    let periods = Periods::new(day(0)..day(-1), day(20)..day(-1), &days).unwrap();
    let query = UsageQuery::new(periods, 3, now(), service.acceptance().clone());
    let times = (0..runs).map(|_| {
        seconds(|| {
            black_box(usage(&all, &query));
        })
    });
    figure(
        "usage_ns_per_user_1m",
        median(times.collect()) * 1e9 / users as f64,
        "ns",
    );
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    black_box(usage(&all, &query));
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    figure("usage_allocations_1m", allocations as f64, "allocations");
}

/// Measures a set of ten codes with the kit for tests, in this release build.
#[cfg(feature = "testing")]
fn kit(runs: usize) {
    let kit = backup_codes::testing::TestKit::new();
    let alice = subject("alice");
    let times = (0..runs).map(|_| seconds(|| drop(issue(&kit.codes, &alice))));
    figure("kit_issue_10_us", median(times.collect()) * 1e6, "us");
}

fn main() {
    let brief = std::env::args().any(|argument| argument == "--brief");
    let pairs = if brief { 3 } else { 31 };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    println!("workers {workers}, pairs {pairs}");
    // Measured first: later, new memory could come unseen from memory that was freed.
    let (users, bursts) = if brief { (50, 2) } else { (1000, 15) };
    burst("", users, bursts, workers, hashing, || {
        let mut bare = Bare::new(Cost::MIB_19);
        move || bare.evaluate()
    });
    redeem_over_floor(pairs, workers);
    loop_over_floor(if brief { 2 } else { 15 });
    fresh_over_warm(pairs);
    issue_over_floor(if brief { 2 } else { 15 }, workers);
    refusals_without_work(if brief { 200 } else { 20_000 });
    busy_reply(if brief { 5 } else { 101 });
    #[cfg(feature = "testing")]
    kit(if brief { 20 } else { 1001 });
    let (users, runs) = if brief { (10_000, 3) } else { (1_000_000, 15) };
    usage_of_a_million(users, runs);
}
