//! Measurements that the benchmarks of the core and of the engines share.
//!
//! Lines `figure <name> <value> <unit>`. A ratio is the median of pairs measured in turn, so that a
//! machine that slows down slows both. Before each sample the pool has time to wipe its engines,
//! which happens after an answer is out.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use backup_codes::hash::PoolSize;
use backup_codes::{
    BackupCodes, Config, Context, Error, HashParams, Hashing, Keyring, MemoryRepository, Redeem,
    SetSize, Settings, Sheet, Subject, Timestamp, UserId,
};

pub(crate) fn figure(name: &str, value: f64, unit: &str) {
    println!("figure {name} {value:.4} {unit}");
}

pub(crate) fn seconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
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

pub(crate) fn settled(run: impl FnOnce()) -> f64 {
    settle();
    seconds(run)
}

/// Returns the median ratio of a's time to b's, measured in turn.
pub(crate) fn ratio(pairs: usize, mut a: impl FnMut(), mut b: impl FnMut()) -> f64 {
    a();
    b();
    median(
        (0..pairs)
            .map(|_| settled(&mut a) / settled(&mut b))
            .collect(),
    )
}

pub(crate) fn subject(name: &str) -> Subject {
    Subject::new(UserId::new(name).unwrap(), ["staff"])
}

pub(crate) fn context(subject: &Subject) -> Context {
    Context::new(now(), subject)
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_millis(1_790_000_000_000).unwrap()
}

pub(crate) fn issue(codes: &BackupCodes, subject: &Subject) -> Sheet {
    pollster::block_on(codes.issue(subject, &context(subject)))
        .unwrap()
        .sheet
}

pub(crate) fn code(sheet: &Sheet, index: usize) -> String {
    sheet.expose().codes().nth(index).unwrap().1.to_string()
}

pub(crate) fn redeem(codes: &BackupCodes, subject: &Subject, typed: &str) -> Redeem {
    pollster::block_on(codes.redeem(subject, typed, &context(subject))).unwrap()
}

/// Returns the operations over a new repository, with sets of this size.
pub(crate) fn service(size: u8, hashing: Hashing) -> BackupCodes {
    let config = Config::default().with_set_size(SetSize::new(size).unwrap());
    BackupCodes::new(MemoryRepository::new(), Settings::default(), hashing).with_config(config)
}

/// Returns the median ratio of a whole redeem of a right code to one bare evaluation. It spends the
/// codes of one sheet after another.
pub(crate) fn redeem_over(pairs: usize, hashing: Hashing, mut bare: impl FnMut()) -> f64 {
    let service = service(10, hashing);
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
            ratios.push(whole / settled(&mut bare));
        }
    }
    median(ratios)
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

/// Lets many users redeem at once, and prints the memory that takes and its throughput over that of
/// as many threads with a bare evaluation each, which `bare` makes. The names of the figures end with
/// `suffix`.
pub(crate) fn burst<B: FnMut()>(
    suffix: &str,
    users: usize,
    pairs: usize,
    workers: usize,
    hashing: impl Fn(PoolSize) -> Hashing,
    bare: impl Fn() -> B + Sync,
) {
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
    let service = with(hashing(size));
    let contexts: Vec<Context> = subjects.iter().map(|(user, _)| context(user)).collect();
    let run = || {
        let all = subjects.iter().zip(&contexts).map(|((user, typed), cx)| {
            let future: Pin<Box<dyn Future<Output = Result<Redeem, Error>> + Send + '_>> =
                Box::pin(service.redeem(user, typed, cx));
            future
        });
        let outcomes = join(all.collect());
        assert!(
            outcomes.iter().all(Result::is_ok),
            "every redeem has an outcome"
        );
    };
    let growth = peak_mib(run) - before;
    let matrices = workers as f64 * 19.0;
    // Dropped only now: the pool must not reuse the memory of its matrix.
    drop(setup);
    figure(&format!("burst_growth_mib{suffix}"), growth, "MiB");
    figure(
        &format!("burst_peak_mib_over_matrices{suffix}"),
        growth - matrices,
        "MiB",
    );
    let all_bare = || {
        thread::scope(|scope| {
            for worker in 0..workers {
                let bare = &bare;
                scope.spawn(move || {
                    let mut evaluate = bare();
                    for _ in 0..(users + worker) / workers {
                        evaluate();
                    }
                });
            }
        });
    };
    let ratios = (0..pairs)
        .map(|_| seconds(all_bare) / seconds(run))
        .collect();
    figure(
        &format!("burst_throughput_over_bare{suffix}"),
        median(ratios),
        "ratio",
    );
}
