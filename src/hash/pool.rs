//! A bounded pool of threads that compute hashes. No runtime, no clock.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::hash::engine::{Engine, wipe};
use crate::id::UserId;

/// The maximum number of waiting jobs of one user: no user fills the queue alone.
const WAITING_PER_USER: usize = 16;

/// The reason why a job has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobError {
    /// The queue is full.
    Busy,
    /// The computation panicked or found no memory.
    Failed,
}

/// The user of a job. Users without a record share a part of the queue, so that made-up users
/// cannot fill it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: UserId,
    pub(crate) has_record: bool,
}

/// Workers and a queue; dropping it ends the workers, each once its part is done.
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    capacity: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// The job in flight of each user that has one, and the number of its parts still running.
    running: HashMap<UserId, (u64, usize)>,
    next_id: u64,
    closing: bool,
}

/// A job with parts that no worker has begun.
struct Job {
    id: u64,
    owner: Owner,
    parts: usize,
    begun: usize,
    work: Arc<dyn Work>,
}

/// The parts of one job and the place where their results go.
trait Work: Send + Sync {
    /// Computes one part. The last part completes the job, so the caller frees the user first.
    fn compute(&self, part: usize, engine: &mut dyn Engine);
    fn is_abandoned(&self) -> bool;
    /// Hands over the result of one part.
    fn answer(&self, part: usize);
}

struct Task<T, F> {
    compute: F,
    answer: Arc<Answer<T>>,
    /// The results computed, but not yet handed over.
    computed: Mutex<Vec<Option<T>>>,
}

struct Answer<T> {
    state: Mutex<AnswerState<T>>,
    abandoned: AtomicBool,
}

struct AnswerState<T> {
    parts: Vec<Option<T>>,
    missing: usize,
    failed: bool,
    waker: Option<Waker>,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes a waiting caller. The waker is the executor's code: a panic in it must not end a worker.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}

impl<T, F> Work for Task<T, F>
where
    T: Send,
    F: Fn(usize, &mut dyn Engine) -> Option<T> + Send + Sync,
{
    fn compute(&self, part: usize, engine: &mut dyn Engine) {
        // A panic is an answer too: the worker and its other jobs continue.
        let result = catch_unwind(AssertUnwindSafe(|| (self.compute)(part, engine)));
        lock(&self.computed)[part] = result.unwrap_or(None);
    }

    fn is_abandoned(&self) -> bool {
        self.answer.abandoned.load(Ordering::Acquire)
    }

    fn answer(&self, part: usize) {
        let result = lock(&self.computed)[part].take();
        let waker = {
            let mut state = lock(&self.answer.state);
            state.failed |= result.is_none();
            state.parts[part] = result;
            state.missing -= 1;
            if state.missing == 0 {
                state.waker.take()
            } else {
                None
            }
        };
        wake(waker);
    }
}

impl<T, F> Drop for Task<T, F> {
    /// Fails a job that is left when the pool ends, so that its caller does not wait for ever.
    fn drop(&mut self) {
        // An abandoned job is removed while the queue is locked, and has no caller to wake.
        if self.answer.abandoned.load(Ordering::Acquire) {
            return;
        }
        let waker = {
            let mut state = lock(&self.answer.state);
            if state.missing == 0 {
                return;
            }
            state.missing = 0;
            state.failed = true;
            state.waker.take()
        };
        wake(waker);
    }
}

/// The answer to a job: the results of its parts, in order. Dropping it abandons the job: parts
/// not begun are not computed, and its place in the queue is free.
pub(crate) struct Pending<T>(Arc<Answer<T>>);

impl<T> Future for Pending<T> {
    type Output = Result<Vec<T>, JobError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.0.state);
        if state.missing > 0 {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        if state.failed {
            return Poll::Ready(Err(JobError::Failed));
        }
        let parts = std::mem::take(&mut state.parts);
        Poll::Ready(
            parts
                .into_iter()
                .collect::<Option<Vec<T>>>()
                .ok_or(JobError::Failed),
        )
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::Release);
    }
}

impl Pool {
    /// Starts a worker for each engine.
    pub(crate) fn start<E: Engine>(engines: Vec<E>, capacity: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            capacity,
        });
        let pool = Self(Arc::clone(&shared));
        for (number, mut engine) in engines.into_iter().enumerate() {
            let shared = Arc::clone(&shared);
            // If one cannot be started, dropping `pool` ends those before it.
            thread::Builder::new()
                .name(format!("backup-codes-{number}"))
                .spawn(move || shared.work(&mut engine))?;
        }
        Ok(pool)
    }

    /// Queues a job of this number of parts, or returns at once that there is no room.
    ///
    /// A part that returns `None` fails the job.
    pub(crate) fn submit<T, F>(
        &self,
        owner: &Owner,
        parts: usize,
        compute: F,
    ) -> Result<Pending<T>, JobError>
    where
        T: Send + 'static,
        F: Fn(usize, &mut dyn Engine) -> Option<T> + Send + Sync + 'static,
    {
        let mut state = lock(&self.0.state);
        if !self.0.has_room(&state, owner) {
            state.queue.retain(|job| !job.work.is_abandoned());
            if !self.0.has_room(&state, owner) {
                return Err(JobError::Busy);
            }
        }
        let empty = || (0..parts).map(|_| None).collect();
        let answer = Arc::new(Answer {
            state: Mutex::new(AnswerState {
                parts: empty(),
                missing: parts,
                failed: false,
                waker: None,
            }),
            abandoned: AtomicBool::new(false),
        });
        // The job has its answer, and no part that a worker could take.
        if parts == 0 {
            return Ok(Pending(answer));
        }
        let work = Task {
            compute,
            answer: Arc::clone(&answer),
            computed: Mutex::new(empty()),
        };
        let id = state.next_id;
        state.next_id += 1;
        state.queue.push_back(Job {
            id,
            owner: owner.clone(),
            parts,
            begun: 0,
            work: Arc::new(work),
        });
        drop(state);
        self.0.work.notify_one();
        Ok(Pending(answer))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.0.state).closing = true;
        self.0.work.notify_all();
    }
}

impl Shared {
    fn has_room(&self, state: &State, owner: &Owner) -> bool {
        let waiting =
            |wanted: &dyn Fn(&Job) -> bool| state.queue.iter().filter(|job| wanted(job)).count();
        let of_user = waiting(&|job| job.owner.user == owner.user);
        let unknown = waiting(&|job| !job.owner.has_record);
        state.queue.len() < self.capacity
            && of_user < WAITING_PER_USER
            && (owner.has_record || unknown < (self.capacity / 4).max(1))
    }

    /// Runs the worker loop.
    fn work(&self, engine: &mut dyn Engine) {
        loop {
            let Some((user, part, work)) = self.next_part() else {
                return;
            };
            work.compute(part, engine);
            // The user is free before the answer is out, so that a caller who waits for the answer
            // can return at once.
            self.end_part(&user);
            work.answer(part);
            // No caller waits for the wipe.
            let _ = wipe(engine);
        }
    }

    /// Returns the next part of the first job whose user has no other job in flight.
    fn next_part(&self) -> Option<(UserId, usize, Arc<dyn Work>)> {
        let mut state = lock(&self.state);
        loop {
            if state.closing {
                return None;
            }
            state.queue.retain(|job| !job.work.is_abandoned());
            let State { queue, running, .. } = &mut *state;
            let ready = queue.iter().position(|job| {
                running
                    .get(&job.owner.user)
                    .is_none_or(|(running, _)| *running == job.id)
            });
            if let Some(mut job) = ready.and_then(|index| queue.remove(index)) {
                let part = job.begun;
                job.begun += 1;
                running
                    .entry(job.owner.user.clone())
                    .or_insert((job.id, 0))
                    .1 += 1;
                let next = (job.owner.user.clone(), part, Arc::clone(&job.work));
                // The rest of a set goes behind the waiting jobs: no caller waits for ten hashes of another.
                if job.begun < job.parts {
                    queue.push_back(job);
                    // One more worker can take a part, and will wake the next. Waking all of them
                    // when the job comes is not enough: it may have to wait for its user.
                    self.work.notify_one();
                }
                return Some(next);
            }
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end_part(&self, user: &UserId) {
        let mut state = lock(&self.state);
        if let Some((_, parts)) = state.running.get_mut(user) {
            *parts -= 1;
            if *parts == 0 {
                state.running.remove(user);
                // A job of this user may have been waiting for this.
                self.work.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::default_engine::tests::Watched;
    use crate::hash::{Cost, DefaultEngine};
    use pollster::block_on;
    use std::sync::{Barrier, mpsc};

    fn start(workers: usize, capacity: usize) -> Pool {
        let engines = (0..workers).map(|_| DefaultEngine::new()).collect();
        Pool::start(engines, capacity).unwrap()
    }

    /// Returns a user with a record.
    fn user(name: &str) -> Owner {
        Owner {
            user: UserId::new(name).unwrap(),
            has_record: true,
        }
    }

    /// Occupies a worker until the sender is dropped; returns once it is occupied.
    fn occupy(pool: &Pool, name: &str) -> (mpsc::Sender<()>, Pending<()>) {
        let (release, wait) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let wait = Mutex::new(wait);
        let pending = pool
            .submit(&user(name), 1, move |_, _| {
                let _ = begun.send(());
                let _ = lock(&wait).recv();
                Some(())
            })
            .unwrap();
        has_begun.recv().unwrap();
        (release, pending)
    }

    #[test]
    fn a_full_queue_is_busy_at_once_and_a_dropped_future_frees_its_place() {
        let pool = start(1, 2);
        let (release, first) = occupy(&pool, "a");
        let second = pool.submit(&user("b"), 1, |_, _| Some(2)).unwrap();
        let third = pool.submit(&user("c"), 1, |_, _| Some(3)).unwrap();
        let submit = || pool.submit(&user("d"), 1, |_, _| Some(4));
        assert_eq!(submit().err(), Some(JobError::Busy));
        drop(second);
        let fourth = submit().unwrap();
        drop(release);
        assert_eq!(block_on(first), Ok(vec![()]));
        assert_eq!(block_on(third), Ok(vec![3]));
        assert_eq!(block_on(fourth), Ok(vec![4]));
    }

    #[test]
    fn users_without_a_record_share_a_quarter_of_the_queue() {
        let pool = start(1, 8);
        let (release, first) = occupy(&pool, "a");
        let submit = |name: &str, has_record| {
            let owner = Owner {
                has_record,
                ..user(name)
            };
            pool.submit(&owner, 1, |_, _| Some(()))
        };
        let waiting = [submit("x", false).unwrap(), submit("y", false).unwrap()];
        assert_eq!(submit("z", false).err(), Some(JobError::Busy));
        let known = submit("b", true).unwrap();
        drop(release);
        for pending in waiting.into_iter().chain([first, known]) {
            assert_eq!(block_on(pending), Ok(vec![()]));
        }
    }

    #[test]
    fn one_user_has_at_most_sixteen_jobs_waiting() {
        let pool = start(1, 100);
        let (_release, _first) = occupy(&pool, "a");
        let submit = |name: &str| pool.submit(&user(name), 1, |_, _| Some(()));
        let _waiting: Vec<_> = (0..16).map(|_| submit("a").unwrap()).collect();
        assert_eq!(submit("a").err(), Some(JobError::Busy));
        assert!(submit("b").is_ok());
    }

    #[test]
    fn a_user_has_one_job_in_flight_while_others_go_on() {
        let pool = start(2, 8);
        let (release, first) = occupy(&pool, "a");
        let second = pool.submit(&user("a"), 1, |_, _| Some(2)).unwrap();
        // The second worker passes over the waiting job of `a` and takes this one.
        let other = pool.submit(&user("b"), 1, |_, _| Some(3)).unwrap();
        assert_eq!(block_on(other), Ok(vec![3]));
        assert_eq!(lock(&pool.0.state).queue.len(), 1);
        drop(release);
        assert_eq!(block_on(first), Ok(vec![()]));
        assert_eq!(block_on(second), Ok(vec![2]));
    }

    #[test]
    fn the_parts_of_a_set_run_side_by_side_and_come_back_in_order() {
        let pool = start(2, 8);
        let both = Barrier::new(2);
        let set = pool
            .submit(&user("a"), 4, move |part, _| {
                both.wait();
                Some(part)
            })
            .unwrap();
        assert_eq!(block_on(set), Ok(vec![0, 1, 2, 3]));
    }

    #[test]
    fn a_panicking_part_fails_its_own_job_only() {
        let pool = start(1, 8);
        let set = pool
            .submit(&user("a"), 3, |part, _| {
                assert_ne!(part, 1, "planted");
                Some(part)
            })
            .unwrap();
        assert_eq!(block_on(set), Err(JobError::Failed));
        let next = pool.submit(&user("a"), 1, |_, _| Some(7)).unwrap();
        assert_eq!(block_on(next), Ok(vec![7]));
    }

    #[test]
    fn an_abandoned_set_is_not_computed_to_its_end() {
        let pool = start(1, 8);
        let (release, first) = occupy(&pool, "a");
        let (computed, counted) = mpsc::channel();
        let set = pool
            .submit(&user("b"), 10, move |part, _| {
                let _ = computed.send(part);
                Some(part)
            })
            .unwrap();
        drop(set);
        drop(release);
        assert_eq!(block_on(first), Ok(vec![()]));
        let last = pool.submit(&user("c"), 1, |_, _| Some(())).unwrap();
        assert_eq!(block_on(last), Ok(vec![()]));
        assert_eq!(counted.iter().count(), 0);
    }

    #[test]
    fn workers_end_when_the_pool_is_dropped() {
        let pool = start(3, 8);
        let shared = Arc::downgrade(&pool.0);
        let job = pool.submit(&user("a"), 1, |_, _| Some(())).unwrap();
        assert_eq!(block_on(job), Ok(vec![()]));
        drop(pool);
        // Each worker drops the pool as it ends.
        while shared.strong_count() > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn a_redeem_waits_for_one_part_of_a_set_not_for_all() {
        let pool = start(1, 8);
        let (release, first) = occupy(&pool, "a");
        let (computed, order) = mpsc::channel();
        let submit = |name: &'static str, parts| {
            let computed = computed.clone();
            pool.submit(&user(name), parts, move |part, _| {
                computed.send((name, part)).ok()
            })
            .unwrap()
        };
        let (set, redeem) = (submit("b", 3), submit("c", 1));
        drop(release);
        assert_eq!(block_on(first), Ok(vec![()]));
        assert!(block_on(redeem).is_ok() && block_on(set).is_ok());
        let order: Vec<_> = order.try_iter().collect();
        assert_eq!(order, [("b", 0), ("c", 0), ("b", 1), ("b", 2)]);
    }

    #[test]
    fn a_set_that_waited_for_its_user_gets_every_idle_worker() {
        let pool = start(4, 8);
        let (release, first) = occupy(&pool, "a");
        let all = Barrier::new(4);
        let set = pool
            .submit(&user("a"), 4, move |part, _| {
                all.wait();
                Some(part)
            })
            .unwrap();
        // Three more come and go, so that the idle workers have passed over the set.
        let three = Arc::new(Barrier::new(3));
        let others = ["b", "c", "d"].map(|name| {
            let three = Arc::clone(&three);
            pool.submit(&user(name), 1, move |_, _| {
                three.wait();
                Some(())
            })
            .unwrap()
        });
        for other in others {
            assert_eq!(block_on(other), Ok(vec![()]));
        }
        drop(release);
        assert_eq!(block_on(first), Ok(vec![()]));
        assert_eq!(block_on(set), Ok(vec![0, 1, 2, 3]));
    }

    #[test]
    fn a_job_of_no_parts_is_answered_and_harms_no_worker() {
        let pool = start(1, 8);
        let none = pool.submit(&user("a"), 0, |part, _| Some(part)).unwrap();
        let next = pool.submit(&user("a"), 1, |_, _| Some(7)).unwrap();
        assert_eq!(block_on(next), Ok(vec![7]));
        assert_eq!(block_on(none), Ok(vec![]));
    }

    #[test]
    fn a_waker_that_panics_harms_no_worker() {
        struct Panics;
        impl std::task::Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("planted");
            }
        }
        let pool = start(1, 8);
        let (release, mut first) = occupy(&pool, "a");
        let waker = Waker::from(Arc::new(Panics));
        assert!(
            Pin::new(&mut first)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(release);
        let next = pool.submit(&user("a"), 1, |_, _| Some(7)).unwrap();
        assert_eq!(block_on(next), Ok(vec![7]));
    }

    #[test]
    fn a_job_that_waits_when_the_pool_is_dropped_fails() {
        let pool = start(1, 8);
        let (release, first) = occupy(&pool, "a");
        let waiting = pool.submit(&user("b"), 1, |_, _| Some(())).unwrap();
        drop(pool);
        drop(release);
        assert_eq!(block_on(first), Ok(vec![()]));
        assert_eq!(block_on(waiting), Err(JobError::Failed));
    }

    fn watched(wipe_panics: bool) -> (Pool, mpsc::Receiver<bool>) {
        let (engine, seen) = Watched::new(wipe_panics);
        (Pool::start(vec![engine], 8).unwrap(), seen)
    }

    fn evaluate(engine: &mut dyn Engine) -> Option<()> {
        let evaluated = engine.evaluate(Cost::LEAST, &[], &[2; 16], b"x", &mut [0; 32]);
        evaluated.ok()
    }

    #[test]
    fn an_engine_is_wiped_after_each_answer_and_after_a_panic() {
        let (pool, seen) = watched(false);
        let set = pool.submit(&user("a"), 3, |part, engine| {
            evaluate(engine)?;
            assert_ne!(part, 1, "planted");
            Some(())
        });
        assert_eq!(block_on(set.unwrap()), Err(JobError::Failed));
        drop(pool);
        assert_eq!(seen.iter().collect::<Vec<_>>(), [true, true, true]);
    }

    #[test]
    fn a_wipe_that_panics_ends_no_worker() {
        let (pool, seen) = watched(true);
        for _ in 0..3 {
            let job = pool.submit(&user("a"), 1, |_, engine| evaluate(engine));
            assert_eq!(block_on(job.unwrap()), Ok(vec![()]));
        }
        drop(pool);
        assert_eq!(seen.iter().collect::<Vec<_>>(), [true, false, false]);
    }
}
