//! The computation of hashes: in a pool of threads, or on the caller's thread.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::code::Code;
use crate::code::attempt::Attempt;
use crate::error::Error;
use crate::error::machine::HashError;
use crate::error::value::ValueError;
use crate::hash::default_engine::DefaultEngine;
use crate::hash::engine::{Engine, quick_self_test, self_test, wipe};
use crate::hash::keyring::Keyring;
pub(crate) use crate::hash::pool::Owner;
use crate::hash::pool::{JobError, Pool};
use crate::hash::{HashParams, HashSalt, StoredHash, Target, Verified, hash, verify};
use crate::id::{SetId, UserId};

/// The size of a hash pool.
///
/// Memory is at most `workers` times that of the costliest evaluation a worker has met, which
/// [`HashParams::max_memory_kib`] bounds: rows stored at a higher cost raise it. A call that finds
/// the queue full gets [`Error::Busy`](crate::Error::Busy) at once. Each user has one job in flight
/// at a time; a set is one job, whose hashes several workers may compute in parallel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSize {
    workers: usize,
    queue: usize,
}

impl PoolSize {
    /// Creates a size from the number of workers and the number of jobs that may wait for them.
    ///
    /// # Errors
    /// [`ValueError::PoolSize`] outside 1 to 256 workers and 1 to 65 536 waiting jobs.
    pub fn new(workers: usize, queue: usize) -> Result<Self, ValueError> {
        if !(1..=256).contains(&workers) || !(1..=65_536).contains(&queue) {
            return Err(ValueError::PoolSize);
        }
        Ok(Self { workers, queue })
    }
}

impl Default for PoolSize {
    /// Returns a size of one worker for each core, and 64 waiting jobs for each worker: at 19 MiB
    /// and two passes the last job in the queue waits about two seconds.
    fn default() -> Self {
        let workers = thread::available_parallelism()
            .map_or(1, usize::from)
            .min(256);
        Self {
            workers,
            queue: 64 * workers,
        }
    }
}

/// The computation of hashes, in a pool or on the calling thread. Cheap to clone; clones share the
/// pool.
#[derive(Clone)]
pub struct Hashing(Arc<Inner>);

struct Inner {
    params: Arc<HashParams>,
    evaluations: Arc<AtomicU64>,
    place: Place,
}

enum Place {
    Pool(Pool),
    Inline(Mutex<Box<dyn Engine>>),
}

fn inline(engine: impl Engine) -> Place {
    Place::Inline(Mutex::new(Box::new(engine)))
}

impl Hashing {
    /// Creates a pool of the default size that hashes at the default cost. Its threads end when the
    /// last clone is dropped.
    ///
    /// # Errors
    /// [`HashError::Thread`] when the operating system gives no thread, [`HashError::Memory`] when
    /// there is no memory for an evaluation.
    pub fn pool(keyring: Keyring) -> Result<Self, HashError> {
        Self::pool_with(HashParams::new(keyring)?, PoolSize::default())
    }

    /// Creates a pool of this size with these parameters.
    ///
    /// # Errors
    /// [`HashError::Thread`] when the operating system gives no thread, [`HashError::Memory`] when
    /// there is no memory for an evaluation.
    pub fn pool_with(params: HashParams, size: PoolSize) -> Result<Self, HashError> {
        Self::pool_with_engine(params, size, DefaultEngine::new)
    }

    /// Creates a pool of this size with these parameters, whose workers compute with engines of
    /// their own.
    ///
    /// Before a thread is started, every engine has to compute 24 known tags at 9 KiB, and the first
    /// one another tag at [`Cost::MIB_19`](crate::hash::Cost::MIB_19).
    ///
    /// ```
    /// use backup_codes::hash::{DefaultEngine, PoolSize};
    /// use backup_codes::{HashParams, Hashing, Keyring};
    ///
    /// let params = HashParams::new(Keyring::without_pepper())?;
    /// // In an application: `backup_codes_argon2_simd::SimdEngine::new`.
    /// let engine = DefaultEngine::new;
    /// let hashing = Hashing::pool_with_engine(params, PoolSize::new(2, 128)?, engine)?;
    /// # drop(hashing);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`HashError::Engine`] when an engine does not compute a known tag, [`HashError::Memory`] when
    /// there is no memory for an evaluation, [`HashError::Thread`] when the operating system gives
    /// no thread.
    pub fn pool_with_engine<E: Engine>(
        params: HashParams,
        size: PoolSize,
        engine: impl Fn() -> E,
    ) -> Result<Self, HashError> {
        let mut engines: Vec<E> = (0..size.workers).map(|_| engine()).collect();
        for (number, engine) in engines.iter_mut().enumerate() {
            match number {
                0 => self_test(engine)?,
                _ => quick_self_test(engine)?,
            }
        }
        let pool = Pool::start(engines, size.queue).map_err(HashError::Thread)?;
        Ok(Self::at(params, Place::Pool(pool)))
    }

    /// Creates hashing on the calling thread: one hash at a time, while the operation's future is
    /// polled.
    ///
    /// Use it in blocking applications and tests. On an async executor it would block the thread
    /// for the time of an evaluation.
    #[must_use]
    pub fn inline(params: HashParams) -> Self {
        Self::at(params, inline(DefaultEngine::new()))
    }

    /// Creates hashing on the calling thread with this engine, after a [`self_test`].
    ///
    /// # Errors
    /// [`HashError::Engine`] when the engine does not compute a known tag, [`HashError::Memory`]
    /// when there is no memory for an evaluation.
    pub fn inline_with_engine(params: HashParams, engine: impl Engine) -> Result<Self, HashError> {
        let mut engine = engine;
        self_test(&mut engine)?;
        Ok(Self::at(params, inline(engine)))
    }

    fn at(params: HashParams, place: Place) -> Self {
        Self(Arc::new(Inner {
            params: Arc::new(params),
            evaluations: Arc::default(),
            place,
        }))
    }

    /// Returns the parameters of hashing.
    #[must_use]
    pub fn params(&self) -> &HashParams {
        &self.0.params
    }

    /// Returns the number of Argon2id evaluations begun so far, by all clones.
    #[must_use]
    pub fn evaluations(&self) -> u64 {
        self.0.evaluations.load(Ordering::Relaxed)
    }

    pub(crate) async fn verify(
        &self,
        owner: &Owner,
        attempt: &Arc<Attempt>,
        target: &Target,
    ) -> Result<Verified, Error> {
        let (attempt, target) = (Arc::clone(attempt), target.clone());
        let mut verified = self
            .compute(owner, 1, move |params, user, _, engine| {
                verify(params, engine, user, &attempt, &target).ok()
            })
            .await?;
        verified.pop().ok_or(Error::Hashing)
    }

    /// Computes the hashes of a set, in the order of its codes: all or none.
    pub(crate) async fn hash_set(
        &self,
        owner: &Owner,
        set: SetId,
        codes: &Arc<[Code]>,
        salts: Vec<HashSalt>,
    ) -> Result<Vec<StoredHash>, Error> {
        let (codes, parts) = (Arc::clone(codes), codes.len());
        let hashes = self.compute(owner, parts, move |params, user, part, engine| {
            let (code, salt) = (codes.get(part)?, salts.get(part)?);
            hash(params, engine, user, set, code, *salt).ok()
        });
        Ok(hashes.await?)
    }

    async fn compute<T: Send + 'static>(
        &self,
        owner: &Owner,
        parts: usize,
        compute: impl Fn(&HashParams, &UserId, usize, &mut dyn Engine) -> Option<T>
        + Send
        + Sync
        + 'static,
    ) -> Result<Vec<T>, JobError> {
        let Inner {
            params,
            evaluations,
            place,
        } = &*self.0;
        let pending = match place {
            Place::Inline(engine) => {
                let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
                let engine = engine.as_mut();
                // As in the pool, a panic is an answer, and the engine is wiped after it too.
                let computed = catch_unwind(AssertUnwindSafe(|| {
                    let computed = (0..parts).map(|part| {
                        evaluations.fetch_add(1, Ordering::Relaxed);
                        compute(params, &owner.user, part, engine)
                    });
                    computed.collect::<Option<Vec<T>>>()
                }));
                wipe(engine);
                return computed.ok().flatten().ok_or(JobError::Failed);
            }
            Place::Pool(pool) => {
                let (params, evaluations) = (Arc::clone(params), Arc::clone(evaluations));
                let user = owner.user.clone();
                pool.submit(owner, parts, move |part, engine| {
                    evaluations.fetch_add(1, Ordering::Relaxed);
                    compute(&params, &user, part, engine)
                })?
            }
        };
        pending.await
    }
}

impl From<JobError> for Error {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Busy => Self::Busy,
            JobError::Failed => Self::Hashing,
        }
    }
}

impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.0.place {
            Place::Pool(_) => "pool",
            Place::Inline(_) => "inline",
        };
        f.debug_struct("Hashing")
            .field("place", &place)
            .field("params", &self.0.params)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::format::{Format, Formats};
    use crate::code::{SetSize, generate};
    use crate::hash::{Cost, Equality};
    use crate::id::OperationId;
    use pollster::block_on;

    fn user() -> Owner {
        Owner {
            user: UserId::new("a").unwrap(),
            has_record: true,
        }
    }

    /// Returns a pool of two workers and the calling thread, both at the minimum cost.
    fn places() -> [Hashing; 2] {
        let params = || {
            let params = HashParams::new(Keyring::without_pepper()).unwrap();
            params.with_high_entropy_cost(Cost::LEAST)
        };
        let size = PoolSize::new(2, 8).unwrap();
        [
            Hashing::pool_with(params(), size).unwrap(),
            Hashing::inline(params()),
        ]
    }

    #[test]
    fn pool_and_calling_thread_compute_the_same_and_count_each_evaluation() {
        let mut rng = getrandom::SysRng;
        let format = Format::crockford(23).unwrap();
        let codes: Arc<[Code]> = generate(format, SetSize::new(3).unwrap(), &mut rng)
            .unwrap()
            .into();
        let salts: Vec<_> = codes
            .iter()
            .map(|_| HashSalt::random(&mut rng).unwrap())
            .collect();
        let (user, set) = (user(), SetId::from_bytes([7; 16]));
        let id = OperationId::from_bytes([9; 16]);
        let typed = codes[1].expose();
        let attempt = Arc::new(Attempt::parse(&typed, &Formats::new(format), id).unwrap());

        let [first, second] = places().map(|hashing| {
            let hashes = block_on(hashing.hash_set(&user, set, &codes, salts.clone())).unwrap();
            assert_eq!(hashing.evaluations(), 3);
            let targets = [
                Target::Hash(set, hashes[1].clone()),
                Target::Hash(set, hashes[0].clone()),
                Target::Nothing,
            ];
            let equalities = targets.map(|target| {
                let verified = block_on(hashing.verify(&user, &attempt, &target)).unwrap();
                assert_eq!((verified.attempt, &verified.target), (id, &target));
                verified.equality
            });
            assert_eq!(hashing.evaluations(), 6);
            (hashes, equalities)
        });
        assert_eq!(first, second);
        // The hashes are in the order of the codes, so only the second is the attempt's.
        assert_eq!(first.1[..2], [Equality::Equal, Equality::Different]);
    }

    #[test]
    fn a_panic_and_a_missing_result_fail_their_own_job_only() {
        let user = user();
        for hashing in places() {
            let compute = |bad: fn() -> Option<usize>| {
                block_on(hashing.compute(
                    &user,
                    2,
                    move |_, _, part, _| {
                        if part == 1 { bad() } else { Some(part) }
                    },
                ))
            };
            assert_eq!(compute(|| panic!("planted")), Err(JobError::Failed));
            assert_eq!(compute(|| None), Err(JobError::Failed));
            assert_eq!(compute(|| Some(1)), Ok(vec![0, 1]));
        }
    }

    #[test]
    fn the_futures_can_be_sent_between_threads() {
        fn sendable<T: Send>(value: T) -> T {
            value
        }
        let [hashing, _] = places();
        let user = user();
        let (set, codes): (_, Arc<[Code]>) = (SetId::from_bytes([7; 16]), Arc::new([]));
        let none = sendable(hashing.hash_set(&user, set, &codes, Vec::new()));
        assert_eq!(block_on(none).unwrap(), Vec::new());
        let format = Format::crockford(23).unwrap();
        let code = generate(format, SetSize::new(1).unwrap(), &mut getrandom::SysRng).unwrap();
        let id = OperationId::from_bytes([9; 16]);
        let attempt = Attempt::parse(&code[0].expose(), &Formats::new(format), id).unwrap();
        let attempt = Arc::new(attempt);
        drop(sendable(hashing.verify(&user, &attempt, &Target::Nothing)));
    }

    #[test]
    fn the_size_of_a_pool_has_bounds() {
        for (workers, queue, fits) in [
            (1, 1, true),
            (256, 65_536, true),
            (0, 1, false),
            (257, 1, false),
            (1, 0, false),
            (1, 65_537, false),
        ] {
            assert_eq!(
                PoolSize::new(workers, queue).is_ok(),
                fits,
                "{workers} {queue}"
            );
        }
        let PoolSize { workers, queue } = PoolSize::default();
        assert!(PoolSize::new(workers, queue).is_ok());
    }
}
