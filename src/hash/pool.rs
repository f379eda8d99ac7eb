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

use crate::hash::Matrix;
use crate::id::UserId;

/// The number of jobs of one user that may wait: no user fills the queue alone.
const WAITING_PER_USER: usize = 16;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HashingError {
    /// The queue is full.
    Busy,
    /// The computation panicked or found no memory.
    Failed,
}

/// Whether a user has a record. Those without share a part of the queue, so that made-up users
/// cannot fill it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    Record,
    NoRecord,
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
    /// The job in flight of each user that has one, and its parts still running.
    running: HashMap<UserId, (u64, usize)>,
    next_id: u64,
    closing: bool,
}

/// A job with parts that no worker has begun.
struct Job {
    id: u64,
    user: UserId,
    known: Known,
    parts: usize,
    begun: usize,
    work: Arc<dyn Work>,
}

/// The parts of one job and the place where their results go.
trait Work: Send + Sync {
    /// Computes one part. The last one is the answer, so the caller frees the user first.
    fn compute(&self, part: usize, matrix: &mut Matrix);
    fn is_abandoned(&self) -> bool;
    /// Hands over the result of one part.
    fn answer(&self, part: usize);
}

struct Task<T, F> {
    compute: F,
    answer: Arc<Answer<T>>,
    /// Results computed, not yet handed over.
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

/// A waker is the executor's code: a panic in it must not end a worker.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}

impl<T, F> Work for Task<T, F>
where
    T: Send,
    F: Fn(usize, &mut Matrix) -> Option<T> + Send + Sync,
{
    fn compute(&self, part: usize, matrix: &mut Matrix) {
        // A panic is an answer too: the worker and its other jobs live on.
        let result = catch_unwind(AssertUnwindSafe(|| (self.compute)(part, matrix)));
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
    /// Fails a job that is left over when the pool ends, so that its caller does not wait for ever.
    fn drop(&mut self) {
        // An abandoned job goes while the queue is locked, and has nobody to wake.
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
    type Output = Result<Vec<T>, HashingError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.0.state);
        if state.missing > 0 {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        if state.failed {
            return Poll::Ready(Err(HashingError::Failed));
        }
        let parts = std::mem::take(&mut state.parts);
        Poll::Ready(
            parts
                .into_iter()
                .collect::<Option<Vec<T>>>()
                .ok_or(HashingError::Failed),
        )
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::Release);
    }
}

impl Pool {
    /// Starts the workers.
    pub(crate) fn start(workers: usize, capacity: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            capacity,
        });
        let pool = Self(Arc::clone(&shared));
        for number in 0..workers {
            let shared = Arc::clone(&shared);
            // If one cannot be started, dropping `pool` ends those before it.
            thread::Builder::new()
                .name(format!("backup-codes-{number}"))
                .spawn(move || shared.work())?;
        }
        Ok(pool)
    }

    /// Queues a job of this number of parts, or returns at once that there is no room.
    ///
    /// A part that returns `None` fails the job.
    pub(crate) fn submit<T, F>(
        &self,
        user: &UserId,
        known: Known,
        parts: usize,
        compute: F,
    ) -> Result<Pending<T>, HashingError>
    where
        T: Send + 'static,
        F: Fn(usize, &mut Matrix) -> Option<T> + Send + Sync + 'static,
    {
        let mut state = lock(&self.0.state);
        if !self.0.has_room(&state, user, known) {
            state.queue.retain(|job| !job.work.is_abandoned());
            if !self.0.has_room(&state, user, known) {
                return Err(HashingError::Busy);
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
        // It has its answer, and no part that a worker could take.
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
            user: user.clone(),
            known,
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
    fn has_room(&self, state: &State, user: &UserId, known: Known) -> bool {
        let waiting =
            |wanted: &dyn Fn(&Job) -> bool| state.queue.iter().filter(|job| wanted(job)).count();
        let of_user = waiting(&|job| job.user == *user);
        let unknown = waiting(&|job| job.known == Known::NoRecord);
        state.queue.len() < self.capacity
            && of_user < WAITING_PER_USER
            && (known == Known::Record || unknown < (self.capacity / 4).max(1))
    }

    /// A worker's life.
    fn work(&self) {
        let mut matrix = Matrix::new();
        loop {
            let Some((user, part, work)) = self.next_part() else {
                return;
            };
            work.compute(part, &mut matrix);
            // The user is free before the answer is out: whoever waits for it may come at once.
            self.end_part(&user);
            work.answer(part);
            // Nobody waits for the wipe.
            matrix.wipe();
        }
    }

    /// The next part of the first job whose user has no other job in flight.
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
                    .get(&job.user)
                    .is_none_or(|(running, _)| *running == job.id)
            });
            if let Some(mut job) = ready.and_then(|index| queue.remove(index)) {
                let part = job.begun;
                job.begun += 1;
                running.entry(job.user.clone()).or_insert((job.id, 0)).1 += 1;
                let next = (job.user.clone(), part, Arc::clone(&job.work));
                // The rest of a set goes behind those who wait: nobody stands behind ten hashes.
                if job.begun < job.parts {
                    queue.push_back(job);
                    // One more worker can go at it, and will call the next. Calling all of them
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
                // A job of this user may have waited for this.
                self.work.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Barrier, mpsc};

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    fn block<T>(pending: Pending<T>) -> Result<Vec<T>, HashingError> {
        struct Unpark(thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut pending = std::pin::pin!(pending);
        loop {
            match pending.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(answer) => return answer,
                Poll::Pending => thread::park(),
            }
        }
    }

    /// Occupies a worker until the sender is dropped; returns once it is occupied.
    fn occupy(pool: &Pool, name: &str) -> (mpsc::Sender<()>, Pending<()>) {
        let (release, wait) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let wait = Mutex::new(wait);
        let pending = pool
            .submit(&user(name), Known::Record, 1, move |_, _| {
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
        let pool = Pool::start(1, 2).unwrap();
        let (release, first) = occupy(&pool, "a");
        let second = pool
            .submit(&user("b"), Known::Record, 1, |_, _| Some(2))
            .unwrap();
        let third = pool
            .submit(&user("c"), Known::Record, 1, |_, _| Some(3))
            .unwrap();
        let submit = || pool.submit(&user("d"), Known::Record, 1, |_, _| Some(4));
        assert_eq!(submit().err(), Some(HashingError::Busy));
        drop(second);
        let fourth = submit().unwrap();
        drop(release);
        assert_eq!(block(first), Ok(vec![()]));
        assert_eq!(block(third), Ok(vec![3]));
        assert_eq!(block(fourth), Ok(vec![4]));
    }

    #[test]
    fn users_without_a_record_share_a_quarter_of_the_queue() {
        let pool = Pool::start(1, 8).unwrap();
        let (release, first) = occupy(&pool, "a");
        let submit = |name: &str, known| pool.submit(&user(name), known, 1, |_, _| Some(()));
        let waiting = [
            submit("x", Known::NoRecord).unwrap(),
            submit("y", Known::NoRecord).unwrap(),
        ];
        assert_eq!(submit("z", Known::NoRecord).err(), Some(HashingError::Busy));
        let known = submit("b", Known::Record).unwrap();
        drop(release);
        for pending in waiting.into_iter().chain([first, known]) {
            assert_eq!(block(pending), Ok(vec![()]));
        }
    }

    #[test]
    fn one_user_has_at_most_sixteen_jobs_waiting() {
        let pool = Pool::start(1, 100).unwrap();
        let (_release, _first) = occupy(&pool, "a");
        let submit = |name: &str| pool.submit(&user(name), Known::Record, 1, |_, _| Some(()));
        let _waiting: Vec<_> = (0..16).map(|_| submit("a").unwrap()).collect();
        assert_eq!(submit("a").err(), Some(HashingError::Busy));
        assert!(submit("b").is_ok());
    }

    #[test]
    fn a_user_has_one_job_in_flight_while_others_go_on() {
        let pool = Pool::start(2, 8).unwrap();
        let (release, first) = occupy(&pool, "a");
        let second = pool
            .submit(&user("a"), Known::Record, 1, |_, _| Some(2))
            .unwrap();
        // The second worker passes over the waiting job of `a` and takes this one.
        let other = pool
            .submit(&user("b"), Known::Record, 1, |_, _| Some(3))
            .unwrap();
        assert_eq!(block(other), Ok(vec![3]));
        assert_eq!(lock(&pool.0.state).queue.len(), 1);
        drop(release);
        assert_eq!(block(first), Ok(vec![()]));
        assert_eq!(block(second), Ok(vec![2]));
    }

    #[test]
    fn the_parts_of_a_set_run_side_by_side_and_come_back_in_order() {
        let pool = Pool::start(2, 8).unwrap();
        let both = Barrier::new(2);
        let set = pool
            .submit(&user("a"), Known::Record, 4, move |part, _| {
                both.wait();
                Some(part)
            })
            .unwrap();
        assert_eq!(block(set), Ok(vec![0, 1, 2, 3]));
    }

    #[test]
    fn a_panicking_part_fails_its_own_job_only() {
        let pool = Pool::start(1, 8).unwrap();
        let set = pool
            .submit(&user("a"), Known::Record, 3, |part, _| {
                assert_ne!(part, 1, "planted");
                Some(part)
            })
            .unwrap();
        assert_eq!(block(set), Err(HashingError::Failed));
        let next = pool
            .submit(&user("a"), Known::Record, 1, |_, _| Some(7))
            .unwrap();
        assert_eq!(block(next), Ok(vec![7]));
    }

    #[test]
    fn an_abandoned_set_is_not_computed_to_its_end() {
        let pool = Pool::start(1, 8).unwrap();
        let (release, first) = occupy(&pool, "a");
        let (computed, counted) = mpsc::channel();
        let set = pool
            .submit(&user("b"), Known::Record, 10, move |part, _| {
                let _ = computed.send(part);
                Some(part)
            })
            .unwrap();
        drop(set);
        drop(release);
        assert_eq!(block(first), Ok(vec![()]));
        let last = pool
            .submit(&user("c"), Known::Record, 1, |_, _| Some(()))
            .unwrap();
        assert_eq!(block(last), Ok(vec![()]));
        assert_eq!(counted.iter().count(), 0);
    }

    #[test]
    fn workers_end_when_the_pool_is_dropped() {
        let pool = Pool::start(3, 8).unwrap();
        let shared = Arc::downgrade(&pool.0);
        let job = pool
            .submit(&user("a"), Known::Record, 1, |_, _| Some(()))
            .unwrap();
        assert_eq!(block(job), Ok(vec![()]));
        drop(pool);
        // Each worker lets go of the pool as it ends.
        while shared.strong_count() > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn a_redeem_waits_for_one_part_of_a_set_not_for_all() {
        let pool = Pool::start(1, 8).unwrap();
        let (release, first) = occupy(&pool, "a");
        let (computed, order) = mpsc::channel();
        let submit = |name: &'static str, parts| {
            let computed = computed.clone();
            pool.submit(&user(name), Known::Record, parts, move |part, _| {
                computed.send((name, part)).ok()
            })
            .unwrap()
        };
        let (set, redeem) = (submit("b", 3), submit("c", 1));
        drop(release);
        assert_eq!(block(first), Ok(vec![()]));
        assert!(block(redeem).is_ok() && block(set).is_ok());
        let order: Vec<_> = order.try_iter().collect();
        assert_eq!(order, [("b", 0), ("c", 0), ("b", 1), ("b", 2)]);
    }

    #[test]
    fn a_set_that_waited_for_its_user_gets_every_idle_worker() {
        let pool = Pool::start(4, 8).unwrap();
        let (release, first) = occupy(&pool, "a");
        let all = Barrier::new(4);
        let set = pool
            .submit(&user("a"), Known::Record, 4, move |part, _| {
                all.wait();
                Some(part)
            })
            .unwrap();
        // Three more come and go, so that the idle workers have passed over the set.
        let three = Arc::new(Barrier::new(3));
        let others = ["b", "c", "d"].map(|name| {
            let three = Arc::clone(&three);
            pool.submit(&user(name), Known::Record, 1, move |_, _| {
                three.wait();
                Some(())
            })
            .unwrap()
        });
        for other in others {
            assert_eq!(block(other), Ok(vec![()]));
        }
        drop(release);
        assert_eq!(block(first), Ok(vec![()]));
        assert_eq!(block(set), Ok(vec![0, 1, 2, 3]));
    }

    #[test]
    fn a_job_of_no_parts_is_answered_and_harms_no_worker() {
        let pool = Pool::start(1, 8).unwrap();
        let none = pool
            .submit(&user("a"), Known::Record, 0, |part, _| Some(part))
            .unwrap();
        let next = pool
            .submit(&user("a"), Known::Record, 1, |_, _| Some(7))
            .unwrap();
        assert_eq!(block(next), Ok(vec![7]));
        assert_eq!(block(none), Ok(vec![]));
    }

    #[test]
    fn a_waker_that_panics_harms_no_worker() {
        struct Panics;
        impl std::task::Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("planted");
            }
        }
        let pool = Pool::start(1, 8).unwrap();
        let (release, mut first) = occupy(&pool, "a");
        let waker = Waker::from(Arc::new(Panics));
        assert!(
            Pin::new(&mut first)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(release);
        let next = pool
            .submit(&user("a"), Known::Record, 1, |_, _| Some(7))
            .unwrap();
        assert_eq!(block(next), Ok(vec![7]));
    }

    #[test]
    fn a_job_that_waits_when_the_pool_is_dropped_fails() {
        let pool = Pool::start(1, 8).unwrap();
        let (release, first) = occupy(&pool, "a");
        let waiting = pool
            .submit(&user("b"), Known::Record, 1, |_, _| Some(()))
            .unwrap();
        drop(pool);
        drop(release);
        assert_eq!(block(first), Ok(vec![()]));
        assert_eq!(block(waiting), Err(HashingError::Failed));
    }

    #[test]
    fn the_matrix_is_wiped_after_each_answer_and_after_a_panic() {
        use crate::hash::{Cost, HashSalt, hash};
        use crate::rules::generate;
        use crate::{Format, Hasher, Keyring, SetId, SetSize};

        let pool = Pool::start(1, 8).unwrap();
        let hasher = Hasher::new(Keyring::without_pepper())
            .unwrap()
            .with_high_entropy_cost(Cost::LEAST);
        let mut rng = getrandom::SysRng;
        let format = Format::crockford(23).unwrap();
        let codes = generate(format, SetSize::new(1).unwrap(), &mut rng).unwrap();
        let (salt, set) = (
            HashSalt::random(&mut rng).unwrap(),
            SetId::from_bytes([7; 16]),
        );
        let owner = user("a");
        let was_zero = pool
            .submit(&user("a"), Known::Record, 3, move |part, matrix| {
                let was_zero = matrix.is_zero();
                hash(&hasher, matrix, &owner, set, &codes[0], salt).ok()?;
                assert!(part != 1 || matrix.is_zero(), "planted");
                Some(was_zero)
            })
            .unwrap();
        assert_eq!(block(was_zero), Err(HashingError::Failed));
        let after = pool.submit(&user("a"), Known::Record, 1, |_, matrix| {
            Some(matrix.memory_kib() > 0 && matrix.is_zero())
        });
        assert_eq!(block(after.unwrap()), Ok(vec![true]));
    }
}
