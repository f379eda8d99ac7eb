//! The time limit of a case.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use getrandom::SysRng;

use super::Harness;
use crate::id::EventId;

/// The number of checks of the calls in flight within one limit.
const PARTS: u32 = 10;

/// The calls of a case that have not ended, each with the number of checks it has seen.
#[derive(Debug, Default)]
struct Underway {
    calls: Mutex<BTreeMap<u32, (&'static str, u32)>>,
    next: AtomicU32,
    /// True once a call was overdue. The other threads of the case end with their next call.
    given_up: AtomicBool,
}

/// A call that has not ended.
struct Call<'a>(&'a Underway, u32);

impl Underway {
    fn calls(&self) -> MutexGuard<'_, BTreeMap<u32, (&'static str, u32)>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, name: &'static str) -> Call<'_> {
        assert!(
            !self.given_up.load(Ordering::SeqCst),
            "another call of this case did not end"
        );
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.calls().insert(number, (name, 0));
        Call(self, number)
    }

    /// Checks the calls, and returns the name of the first one that has lasted for the whole limit.
    fn overdue(&self) -> Option<&'static str> {
        let mut calls = self.calls();
        let mut overdue = None;
        for (name, seen) in calls.values_mut() {
            *seen += 1;
            if *seen > PARTS {
                overdue = overdue.or(Some(*name));
                self.given_up.store(true, Ordering::SeqCst);
            }
        }
        overdue
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.calls().remove(&self.1);
    }
}

/// One run of a case: opens its repositories, and records each call that it makes.
pub struct Case<H: Harness> {
    harness: Arc<H>,
    name: &'static str,
    underway: Arc<Underway>,
}

impl<H: Harness> fmt::Debug for Case<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A repository of one case with its handles. Closed when it is dropped.
pub(super) struct Store<'c, H: Harness> {
    case: &'c Case<H>,
    name: String,
    /// `None` once it is closed.
    first: Option<H::Repository>,
    second: OnceLock<H::Repository>,
}

impl<H: Harness> Case<H> {
    /// Opens an empty repository.
    pub(super) fn fresh(&self) -> Store<'_, H> {
        let name = store_name(self.name);
        let _underway = self.underway.begin("fresh");
        let first = Some(self.harness.fresh(&name));
        Store {
            case: self,
            name,
            first,
            second: OnceLock::new(),
        }
    }

    /// Runs a call of the repository to its end.
    pub(super) fn call<T>(&self, name: &'static str, future: impl Future<Output = T>) -> T {
        let _underway = self.underway.begin(name);
        self.harness.block_on(future)
    }
}

impl<H: Harness> Store<'_, H> {
    /// Returns the second handle, which is opened at the first call.
    pub(super) fn second(&self) -> &H::Repository {
        self.second.get_or_init(|| {
            let _underway = self.case.underway.begin("second_handle");
            self.case.harness.second_handle(&self.name, self)
        })
    }
}

impl<H: Harness> Deref for Store<'_, H> {
    type Target = H::Repository;

    fn deref(&self) -> &H::Repository {
        self.first.as_ref().expect("it is closed when dropped")
    }
}

impl<H: Harness> Drop for Store<'_, H> {
    fn drop(&mut self) {
        let Some(first) = self.first.take() else {
            return;
        };
        let second = self.second.take();
        let close = || {
            let _underway = self.case.underway.begin("close");
            self.case.harness.close(&self.name, first, second);
        };
        if thread::panicking() {
            // The case's own panic is the one to report.
            let _ = catch_unwind(AssertUnwindSafe(close));
        } else {
            close();
        }
    }
}

/// Returns a repository name that is unique in this process and among processes that use the same
/// database: the beginning of the case's name, a number, and random digits. It begins with a word
/// of its own, because some prefixes (`pg_`, `sqlite_`) are reserved.
fn store_name(case: &str) -> String {
    static STORES: AtomicU32 = AtomicU32::new(0);
    let number = STORES.fetch_add(1, Ordering::Relaxed);
    let random = EventId::random(&mut SysRng).expect("the operating system's generator works");
    let [a, b, c, d, ..] = random.to_bytes();
    let case = case.chars().take(14).map(|c| match c {
        'a'..='z' | '0'..='9' => c,
        _ => '_',
    });
    let case: String = case.collect();
    format!("test_{case}_{number}_{a:02x}{b:02x}{c:02x}{d:02x}")
}

/// Runs one case on a thread of its own, and waits for it as long as its calls end in time.
///
/// Panics where the case does, and where a call lasts longer than [`Harness::limit`]. The thread of
/// a call that never ends is left behind with its repository.
pub fn run_case<H: Harness>(harness: H, name: &'static str, case: fn(&Case<H>)) {
    run_shared(&Arc::new(harness), name, case);
}

pub(super) fn run_shared<H: Harness>(harness: &Arc<H>, name: &'static str, case: fn(&Case<H>)) {
    let limit = harness.limit();
    let underway = Arc::new(Underway::default());
    let (alive, ended) = channel::<()>();
    let run = Case {
        harness: Arc::clone(harness),
        name,
        underway: Arc::clone(&underway),
    };
    let body = move || {
        // Dropped at the end, in a panic too.
        let _alive = alive;
        case(&run);
    };
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .expect("a thread can be started");
    while ended.recv_timeout(limit / PARTS) == Err(RecvTimeoutError::Timeout) {
        if let Some(call) = underway.overdue() {
            panic!("{name}: clause 8: `{call}` did not end within {limit:?}");
        }
    }
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// Runs a function on several threads that begin together, and propagates a panic of one of them.
pub(super) fn together(threads: usize, run: impl Fn(usize) + Sync) {
    let begin = std::sync::Barrier::new(threads);
    thread::scope(|scope| {
        let (run, begin) = (&run, &begin);
        let start = |number| {
            scope.spawn(move || {
                begin.wait();
                run(number);
            })
        };
        let running: Vec<_> = (0..threads).map(start).collect();
        let ended: Vec<_> = running.into_iter().map(|thread| thread.join()).collect();
        for thread in ended {
            if let Err(panic) = thread {
                resume_unwind(panic);
            }
        }
    });
}
