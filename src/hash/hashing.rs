//! The computation of hashes: in a pool of threads, or on the caller's thread.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde::Deserialize;

use crate::code::Code;
use crate::code::attempt::Attempt;
use crate::code::format::Format;
use crate::error::Error;
use crate::error::machine::HashError;
use crate::error::value::ValueError;
use crate::hash::default_engine::DefaultEngine;
use crate::hash::engine::{
    Engine, KnownAnswer, checked_and_wiped, quick_self_test, self_test, wipe,
};
use crate::hash::keyring::Keyring;
pub(crate) use crate::hash::pool::Owner;
use crate::hash::pool::{JobError, Pool};
use crate::hash::{HashParams, HashSalt, StoredHash, Target, Verified, hash, verify};
use crate::id::{SetId, UserId};

/// The size of a hash pool.
///
/// A call that finds the queue full gets [`Error::Busy`](crate::Error::Busy) at once. Each user has
/// one job in flight at a time; a set is one job, whose hashes several workers may compute in
/// parallel.
///
/// # Workers and memory
/// A redeem is one evaluation, and a new set of ten codes is ten. With r redeems and s new sets a
/// second at the busiest time, and t seconds for an evaluation, workers that are busy for at most
/// three quarters of that time are
///
/// > workers = (r + 10 s) × t / 0.75, rounded up, and at most the processor's cores,
///
/// and they hold workers × m KiB of memory, where m is the memory of the cost. For example, 100
/// redeems and two new sets a second at [`Cost::MIB_19`](crate::hash::Cost::MIB_19), at 19 ms each,
/// need 120 × 0.019 / 0.75 = 3.04, so 4 workers and 76 MiB. Rows that are stored at a higher cost
/// raise the memory up to workers × [`HashParams::max_memory_kib`], and the first worker holds at
/// least 19 MiB, from the self-test of its engine. The last of q waiting jobs waits for q × t /
/// workers seconds.
///
/// # The cost that the same wait buys
/// Times of one evaluation on a Xeon with AVX-512, in ms (medians of 21, of
/// `cargo bench -p backup-codes-argon2-simd`, December 2026); measure t on your own machine:
///
/// | cost | [`DefaultEngine`] | `SimdEngine`, AVX-512 | `SimdEngine`, AVX2 |
/// |---|---|---|---|
/// | m = 19 456 KiB, t = 2 | 19.2 | 8.7 | 14.3 |
/// | m = 47 104 KiB, t = 1 | 25.2 | 12.6 | 20.3 |
/// | m = 65 536 KiB, t = 3 | 125 | 54.7 | 83.4 |
///
/// In the time of the default engine at 19 MiB and two passes, `SimdEngine` with AVX-512 computes 38
/// MiB and two passes (0.996 of that time). At 46 MiB and one pass it is not quite twice the memory:
/// 92 MiB take 1.15 of the time.
///
/// # Reading it from a configuration
/// With serde, under the bounds of [`PoolSize::new`]. A field that is left out has its default: one
/// worker for each core, and 64 waiting jobs for each worker.
///
/// ```
/// use backup_codes::hash::PoolSize;
///
/// let size: PoolSize = serde_json::from_str(r#"{"workers": 4, "queue": 256}"#)?;
/// assert_eq!(size, PoolSize::new(4, 256)?);
/// assert_eq!(serde_json::from_str::<PoolSize>(r#"{"workers": 4}"#)?, size);
/// assert!(serde_json::from_str::<PoolSize>(r#"{"workers": 0}"#).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PoolSizeText")]
pub struct PoolSize {
    workers: usize,
    queue: usize,
}

/// The fields of [`PoolSize`] as they are read, not yet checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolSizeText {
    workers: Option<usize>,
    queue: Option<usize>,
}

impl TryFrom<PoolSizeText> for PoolSize {
    type Error = ValueError;

    fn try_from(text: PoolSizeText) -> Result<Self, ValueError> {
        let workers = text.workers.unwrap_or(Self::default().workers);
        let queue = text
            .queue
            .unwrap_or(workers.saturating_mul(QUEUE_PER_WORKER));
        Self::new(workers, queue)
    }
}

/// The default number of jobs that may wait for each worker.
const QUEUE_PER_WORKER: usize = 64;

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
            queue: QUEUE_PER_WORKER * workers,
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

/// Returns the engines if each passes its self-test.
fn checked<E: Engine>(engines: impl Iterator<Item = E>) -> Result<Vec<E>, HashError> {
    let test = |(number, mut engine): (usize, E)| {
        match number {
            0 => self_test(&mut engine)?,
            _ => quick_self_test(&mut engine)?,
        }
        Ok(engine)
    };
    engines.enumerate().map(test).collect()
}

/// Checks an engine at the costs and with the keys in use, for which there may be no known tag.
fn compare_with_default(engine: &mut dyn Engine, params: &HashParams) -> Result<(), HashError> {
    let costs = [Format::CROCKFORD, Format::HIGH_ENTROPY].map(|format| params.cost(format));
    for cost in BTreeSet::from(costs) {
        // The default engine gives its memory back before the other one takes as much.
        let answer = KnownAnswer::of(&mut DefaultEngine::new(), cost)?;
        checked_and_wiped(engine, |engine| answer.check(engine))?;
    }
    checked_and_wiped(engine, |engine| params.check_keys(engine))
}

fn inline(engine: impl Engine) -> Place {
    Place::Inline(Mutex::new(Box::new(engine)))
}

impl Hashing {
    /// Creates a pool of the default size that hashes at the default cost. Its threads end when the
    /// last clone is dropped.
    ///
    /// # Errors
    /// As for [`pool_with`](Self::pool_with).
    pub fn pool(keyring: Keyring) -> Result<Self, HashError> {
        Self::pool_with(HashParams::new(keyring)?, PoolSize::default())
    }

    /// Creates a pool of this size with these parameters.
    ///
    /// # Errors
    /// [`HashError::Thread`] when the operating system gives no thread, [`HashError::Memory`] when
    /// there is no memory for an evaluation, [`HashError::Engine`] when the `argon2` crate does not
    /// compute a known tag on this machine.
    pub fn pool_with(params: HashParams, size: PoolSize) -> Result<Self, HashError> {
        let engines = checked((0..size.workers).map(|_| DefaultEngine::new()))?;
        Self::start(params, size, engines)
    }

    /// Creates a pool of this size with these parameters, which creates an engine for each worker.
    ///
    /// Before a thread is started, each engine has to compute 24 known tags at 9 KiB. The first one
    /// has to compute a known tag at [`Cost::MIB_19`](crate::hash::Cost::MIB_19) too, the tag of the
    /// [`DefaultEngine`] at each cost of the parameters, and the check value of each key.
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
        mut engine: impl FnMut() -> E,
    ) -> Result<Self, HashError> {
        let mut engines = checked((0..size.workers).map(|_| engine()))?;
        if let Some(engine) = engines.first_mut() {
            compare_with_default(engine, &params)?;
        }
        Self::start(params, size, engines)
    }

    /// Creates hashing on the calling thread with an engine that may compute anything.
    #[cfg(feature = "testing")]
    pub(crate) fn inline_untested(params: HashParams, engine: impl Engine) -> Self {
        Self::at(params, inline(engine))
    }

    fn start<E: Engine>(
        params: HashParams,
        size: PoolSize,
        engines: Vec<E>,
    ) -> Result<Self, HashError> {
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

    /// Creates hashing on the calling thread with this engine, which is tested as the first one of a
    /// [`pool_with_engine`](Self::pool_with_engine) is.
    ///
    /// # Errors
    /// [`HashError::Engine`] when the engine does not compute a known tag, [`HashError::Memory`]
    /// when there is no memory for an evaluation.
    pub fn inline_with_engine(
        params: HashParams,
        mut engine: impl Engine,
    ) -> Result<Self, HashError> {
        self_test(&mut engine)?;
        compare_with_default(&mut engine, &params)?;
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
                let _ = wipe(engine);
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
    use crate::code::format::Formats;
    use crate::code::{SetSize, generate};
    use crate::hash::default_engine::tests::Watched;
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
    fn the_engine_of_the_calling_thread_is_wiped_after_each_operation() {
        let (engine, was_zero) = Watched::new(false);
        let params = HashParams::new(Keyring::without_pepper()).unwrap();
        let hashing = Hashing::at(params, inline(engine));
        for fails in [false, true, false] {
            let evaluated = block_on(hashing.compute(&user(), 1, move |_, _, _, engine| {
                let evaluated = engine.evaluate(Cost::LEAST, &[], &[2; 16], b"x", &mut [0; 32]);
                assert!(!fails, "planted");
                evaluated.ok()
            }));
            assert_eq!(evaluated.is_err(), fails);
        }
        drop(hashing);
        assert_eq!(was_zero.iter().collect::<Vec<_>>(), [true, true, true]);
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
