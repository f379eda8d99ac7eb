//! The figures: `cargo bench --bench figures`, or with `-- --brief` a short run that only shows
//! that they can be measured.
//!
//! Prints lines `figure <name> <value> <unit>`. A ratio is the median of pairs measured in turn, so
//! that a machine that slows down slows both. Before each sample the pool has time to wipe its
//! matrices, which happens after an answer is out. `usage_ns_per_user_1m` is over summaries, which
//! is what a repository keeps of a record for figures.
#![expect(unsafe_code, reason = "an allocator that counts is an unsafe trait")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads clocks")]
#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use backup_codes::hash::{Cost, PoolSize};
use backup_codes::report::{Summary, UsageQuery};
use backup_codes::rules::usage;
use backup_codes::{
    BackupCodes, Config, Context, Error, Format, Formats, HashParams, Hashing, Keyring,
    MemoryRepository, Periods, Redeem, SetSize, Settings, Sheet, Subject, Timestamp, UserId,
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

fn figure(name: &str, value: f64, unit: &str) {
    println!("figure {name} {value:.4} {unit}");
}

fn seconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Gives the pool's workers time to wipe their matrices, which would slow down a measurement that
/// runs at the same time.
fn settle() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(5) {
        std::hint::spin_loop();
    }
}

fn settled(run: impl FnOnce()) -> f64 {
    settle();
    seconds(run)
}

/// Returns the median ratio of a's time to b's, measured in turn.
fn ratio(pairs: usize, mut a: impl FnMut(), mut b: impl FnMut()) -> f64 {
    a();
    b();
    median(
        (0..pairs)
            .map(|_| settled(&mut a) / settled(&mut b))
            .collect(),
    )
}

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

fn codes(size: u8, pool: PoolSize) -> BackupCodes {
    let hashing =
        Hashing::pool_with(HashParams::new(Keyring::without_pepper()).unwrap(), pool).unwrap();
    let config = Config::default().with_set_size(SetSize::new(size).unwrap());
    BackupCodes::new(MemoryRepository::new(), Settings::default(), hashing).with_config(config)
}

fn subject(name: &str) -> Subject {
    Subject::new(UserId::new(name).unwrap(), ["staff"])
}

fn context(subject: &Subject) -> Context {
    Context::new(now(), subject)
}

fn now() -> Timestamp {
    Timestamp::from_unix_millis(1_790_000_000_000).unwrap()
}

fn issue(codes: &BackupCodes, subject: &Subject) -> Sheet {
    pollster::block_on(codes.issue(subject, &context(subject)))
        .unwrap()
        .sheet
}

fn code(sheet: &Sheet, index: usize) -> String {
    sheet.expose().codes().nth(index).unwrap().1.to_string()
}

fn redeem(codes: &BackupCodes, subject: &Subject, typed: &str) -> Redeem {
    pollster::block_on(codes.redeem(subject, typed, &context(subject))).unwrap()
}

/// Measures a whole redeem over one bare evaluation. Hits consume the codes of one sheet after
/// another.
fn redeem_over_floor(pairs: usize, workers: usize) {
    let pool = PoolSize::new(workers, 64).unwrap();
    let mut bare = Bare::new(Cost::MIB_19);

    let service = codes(10, pool);
    let alice = subject("alice");
    let mut ratios = Vec::new();
    while ratios.len() < pairs {
        let sheet = issue(&service, &alice);
        for typed in (0..10).map(|index| code(&sheet, index)) {
            let whole = settled(|| {
                assert!(matches!(
                    redeem(&service, &alice, &typed),
                    Redeem::Accepted(_)
                ));
            });
            ratios.push(whole / settled(|| bare.evaluate()));
        }
    }
    figure("redeem_hit_over_floor_10", median(ratios), "ratio");

    for size in [10, 31] {
        let service = codes(size, pool);
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
    let service = codes(10, PoolSize::new(workers, 64).unwrap());
    let alice = subject("alice");
    let mut bare = Bare::new(Cost::MIB_19);
    let value = ratio(pairs, || drop(issue(&service, &alice)), || bare.evaluate());
    figure("issue_10_over_floor", value, "ratio");
    figure("issue_10_over_floor_bound", 11.5 / workers as f64, "ratio");
}

fn refusals_without_work(runs: u32) {
    let service = codes(10, PoolSize::default());
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

/// Polls futures in turn until all are done.
fn join<T>(mut futures: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let mut done = Vec::with_capacity(futures.len());
    pollster::block_on(std::future::poll_fn(|context| {
        let mut index = 0;
        while index < futures.len() {
            match futures[index].as_mut().poll(context) {
                Poll::Ready(value) => {
                    done.push(value);
                    drop(futures.swap_remove(index));
                }
                Poll::Pending => index += 1,
            }
        }
        if futures.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    done
}

/// Returns resident memory in MiB (Linux; elsewhere 0).
fn resident_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(0.0) * 4096.0 / 1_048_576.0
}

/// Returns the highest resident memory seen while something runs, sampled each millisecond.
fn peak_mib(run: impl FnOnce()) -> f64 {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = resident_mib();
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(resident_mib());
                thread::sleep(Duration::from_millis(1));
            }
            peak
        });
        run();
        done.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    })
}

fn burst(users: usize, pairs: usize, workers: usize) {
    let store = MemoryRepository::new();
    let config = Config::default().with_set_size(SetSize::new(1).unwrap());
    let with = |hashing| {
        BackupCodes::new(store.clone(), Settings::default(), hashing).with_config(config.clone())
    };
    // Users are set up on the calling thread, so that the pool measured is a new one.
    let setup = with(Hashing::inline(
        HashParams::new(Keyring::without_pepper()).unwrap(),
    ));
    let subjects: Vec<(Subject, String)> = (0..users)
        .map(|n| {
            let user = subject(&format!("user {n}"));
            let typed = code(&issue(&setup, &user), 0);
            (user, typed)
        })
        .collect();
    let size = PoolSize::new(workers, users.max(64)).unwrap();
    let before = resident_mib();
    let service = with(
        Hashing::pool_with(HashParams::new(Keyring::without_pepper()).unwrap(), size).unwrap(),
    );
    let contexts: Vec<Context> = subjects.iter().map(|(user, _)| context(user)).collect();
    let run = || {
        let all = subjects.iter().zip(&contexts).map(|((user, typed), cx)| {
            let future: Pin<Box<dyn Future<Output = Result<Redeem, Error>> + Send + '_>> =
                Box::pin(service.redeem(user, typed, cx));
            future
        });
        let outcomes = join(all.collect());
        assert!(outcomes.iter().all(Result::is_ok), "nobody is turned away");
    };
    let growth = peak_mib(run) - before;
    let matrices = workers as f64 * 19.0;
    // Dropped only now: the pool must not reuse the memory of its matrix.
    drop(setup);
    figure("burst_growth_mib", growth, "MiB");
    figure("burst_peak_mib_over_matrices", growth - matrices, "MiB");
    let bare = || {
        thread::scope(|scope| {
            for worker in 0..workers {
                scope.spawn(move || {
                    let mut bare = Bare::new(Cost::MIB_19);
                    for _ in 0..(users + worker) / workers {
                        bare.evaluate();
                    }
                });
            }
        });
    };
    let ratios = (0..pairs).map(|_| seconds(bare) / seconds(run)).collect();
    figure("burst_throughput_over_bare", median(ratios), "ratio");
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

fn main() {
    let brief = std::env::args().any(|argument| argument == "--brief");
    let pairs = if brief { 3 } else { 31 };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    println!("workers {workers}, pairs {pairs}");
    // Measured first: later, new memory could come unseen from memory that was freed.
    let (users, bursts) = if brief { (50, 2) } else { (1000, 15) };
    burst(users, bursts, workers);
    redeem_over_floor(pairs, workers);
    loop_over_floor(if brief { 2 } else { 15 });
    fresh_over_warm(pairs);
    issue_over_floor(if brief { 2 } else { 15 }, workers);
    refusals_without_work(if brief { 200 } else { 20_000 });
    busy_reply(if brief { 5 } else { 101 });
    let (users, runs) = if brief { (10_000, 3) } else { (1_000_000, 15) };
    usage_of_a_million(users, runs);
}
