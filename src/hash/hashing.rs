//! Where hashes are computed: in a pool of threads, or on the caller's.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::code::Code;
use crate::code::attempt::Attempt;
use crate::hash::keyring::Keyring;
use crate::hash::pool::Pool;
pub(crate) use crate::hash::pool::{HashingError, Known};
use crate::hash::{
    HashError, HashSalt, Hasher, Matrix, StoredHash, Target, Verified, hash, verify,
};
use crate::id::{SetId, UserId};

/// The size of a hash pool.
///
/// Memory is at most `workers` times that of the costliest evaluation a worker has met, which
/// [`Hasher::max_memory_kib`] bounds: rows stored at a higher cost raise it. Whoever finds the
/// queue full is told so at once ([`Error::Busy`](crate::Error::Busy)). One job of a user is in
/// flight at a time; a set is one job, whose hashes several workers may compute side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSize {
    workers: usize,
    queue: usize,
}

/// A hash pool that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The size is out of its bounds.
    #[error("a pool has 1 to 256 workers and a queue of 1 to 65536")]
    Size,
    /// There was no memory for the check value of a key.
    #[error("no memory for an argon2 evaluation of 19 MiB: check the memory of this machine")]
    Memory(#[from] HashError),
    /// The operating system gave no thread.
    #[error("a worker thread could not be started: use fewer workers")]
    Thread(#[source] io::Error),
}

impl PoolSize {
    /// The number of workers, and the number of jobs that may wait for them.
    ///
    /// # Errors
    /// [`PoolError::Size`] outside 1 to 256 workers and 1 to 65 536 waiting jobs.
    pub fn new(workers: usize, queue: usize) -> Result<Self, PoolError> {
        if !(1..=256).contains(&workers) || !(1..=65_536).contains(&queue) {
            return Err(PoolError::Size);
        }
        Ok(Self { workers, queue })
    }
}

impl Default for PoolSize {
    /// A worker for each core, and 64 waiting jobs for each worker: at 19 MiB and two passes
    /// that is about two seconds for the last in the queue.
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

/// Where hashes are computed. Cheap to clone; clones share the pool.
#[derive(Clone)]
pub struct Hashing(Arc<Inner>);

struct Inner {
    hasher: Arc<Hasher>,
    evaluations: Arc<AtomicU64>,
    place: Place,
}

enum Place {
    Pool(Pool),
    Inline(Mutex<Matrix>),
}

impl Hashing {
    /// A pool of the default size, hashing at the default cost. Its threads end when the last
    /// clone is dropped.
    ///
    /// # Errors
    /// [`PoolError::Thread`] when the operating system gives no thread, [`PoolError::Memory`] when
    /// there is no memory for an evaluation.
    pub fn pool(keyring: Keyring) -> Result<Self, PoolError> {
        Self::pool_with(Hasher::new(keyring)?, PoolSize::default())
    }

    /// A pool of this size with this hasher.
    ///
    /// # Errors
    /// [`PoolError::Thread`] when the operating system gives no thread.
    pub fn pool_with(hasher: Hasher, size: PoolSize) -> Result<Self, PoolError> {
        let pool = Pool::start(size.workers, size.queue).map_err(PoolError::Thread)?;
        Ok(Self::at(hasher, Place::Pool(pool)))
    }

    /// Hashes on the calling thread, one at a time, while the operation's future is polled.
    ///
    /// For blocking applications and tests. On an executor it would hold up everything else for
    /// the time of an evaluation.
    #[must_use]
    pub fn inline(hasher: Hasher) -> Self {
        Self::at(hasher, Place::Inline(Mutex::default()))
    }

    fn at(hasher: Hasher, place: Place) -> Self {
        Self(Arc::new(Inner {
            hasher: Arc::new(hasher),
            evaluations: Arc::default(),
            place,
        }))
    }

    /// How codes are hashed here.
    #[must_use]
    pub fn hasher(&self) -> &Hasher {
        &self.0.hasher
    }

    /// Argon2id evaluations begun so far, by all clones.
    #[must_use]
    pub fn evaluations(&self) -> u64 {
        self.0.evaluations.load(Ordering::Relaxed)
    }

    pub(crate) async fn verify(
        &self,
        user: &UserId,
        attempt: &Arc<Attempt>,
        target: &Target,
        known: Known,
    ) -> Result<Verified, HashingError> {
        let (attempt, target) = (Arc::clone(attempt), target.clone());
        let mut verified = self
            .compute(user, known, 1, move |hasher, user, _, matrix| {
                verify(hasher, matrix, user, &attempt, &target).ok()
            })
            .await?;
        verified.pop().ok_or(HashingError::Failed)
    }

    /// The hashes of a set, in the order of its codes: all or none.
    pub(crate) async fn hash_set(
        &self,
        user: &UserId,
        set: SetId,
        codes: &Arc<[Code]>,
        salts: Vec<HashSalt>,
        known: Known,
    ) -> Result<Vec<StoredHash>, HashingError> {
        let (codes, parts) = (Arc::clone(codes), codes.len());
        self.compute(user, known, parts, move |hasher, user, part, matrix| {
            let (code, salt) = (codes.get(part)?, salts.get(part)?);
            hash(hasher, matrix, user, set, code, *salt).ok()
        })
        .await
    }

    async fn compute<T: Send + 'static>(
        &self,
        user: &UserId,
        known: Known,
        parts: usize,
        compute: impl Fn(&Hasher, &UserId, usize, &mut Matrix) -> Option<T> + Send + Sync + 'static,
    ) -> Result<Vec<T>, HashingError> {
        let Inner {
            hasher,
            evaluations,
            place,
        } = &*self.0;
        let pending = match place {
            Place::Inline(matrix) => {
                let mut matrix = matrix.lock().unwrap_or_else(PoisonError::into_inner);
                // As in the pool a panic is an answer, and the matrix is wiped after it too.
                let computed = catch_unwind(AssertUnwindSafe(|| {
                    let computed = (0..parts).map(|part| {
                        evaluations.fetch_add(1, Ordering::Relaxed);
                        compute(hasher, user, part, &mut matrix)
                    });
                    computed.collect::<Option<Vec<T>>>()
                }));
                matrix.wipe();
                return computed.ok().flatten().ok_or(HashingError::Failed);
            }
            Place::Pool(pool) => {
                let (hasher, evaluations) = (Arc::clone(hasher), Arc::clone(evaluations));
                let owner = user.clone();
                pool.submit(user, known, parts, move |part, matrix| {
                    evaluations.fetch_add(1, Ordering::Relaxed);
                    compute(&hasher, &owner, part, matrix)
                })?
            }
        };
        pending.await
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
            .field("hasher", &self.0.hasher)
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

    /// A pool of two workers and the calling thread, both at the least cost.
    fn places() -> [Hashing; 2] {
        let hasher = || {
            let hasher = Hasher::new(Keyring::without_pepper()).unwrap();
            hasher.with_high_entropy_cost(Cost::LEAST)
        };
        let size = PoolSize::new(2, 8).unwrap();
        [
            Hashing::pool_with(hasher(), size).unwrap(),
            Hashing::inline(hasher()),
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
        let (user, set) = (UserId::new("a").unwrap(), SetId::from_bytes([7; 16]));
        let id = OperationId::from_bytes([9; 16]);
        let typed = codes[1].expose();
        let attempt = Arc::new(Attempt::parse(&typed, &Formats::new(format), id).unwrap());

        let [first, second] = places().map(|hashing| {
            let hashes =
                block_on(hashing.hash_set(&user, set, &codes, salts.clone(), Known::NoRecord))
                    .unwrap();
            assert_eq!(hashing.evaluations(), 3);
            let targets = [
                Target::Hash(set, hashes[1].clone()),
                Target::Hash(set, hashes[0].clone()),
                Target::Nothing,
            ];
            let equalities = targets.map(|target| {
                let verified =
                    block_on(hashing.verify(&user, &attempt, &target, Known::Record)).unwrap();
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
        let user = UserId::new("a").unwrap();
        for hashing in places() {
            let compute = |bad: fn() -> Option<usize>| {
                block_on(
                    hashing.compute(&user, Known::Record, 2, move |_, _, part, _| {
                        if part == 1 { bad() } else { Some(part) }
                    }),
                )
            };
            assert_eq!(compute(|| panic!("planted")), Err(HashingError::Failed));
            assert_eq!(compute(|| None), Err(HashingError::Failed));
            assert_eq!(compute(|| Some(1)), Ok(vec![0, 1]));
        }
    }

    #[test]
    fn the_futures_can_be_sent_between_threads() {
        fn sendable<T: Send>(value: T) -> T {
            value
        }
        let [hashing, _] = places();
        let user = UserId::new("a").unwrap();
        let (set, codes): (_, Arc<[Code]>) = (SetId::from_bytes([7; 16]), Arc::new([]));
        let none = sendable(hashing.hash_set(&user, set, &codes, Vec::new(), Known::Record));
        assert_eq!(block_on(none), Ok(Vec::new()));
        let format = Format::crockford(23).unwrap();
        let code = generate(format, SetSize::new(1).unwrap(), &mut getrandom::SysRng).unwrap();
        let id = OperationId::from_bytes([9; 16]);
        let attempt = Attempt::parse(&code[0].expose(), &Formats::new(format), id).unwrap();
        let attempt = Arc::new(attempt);
        drop(sendable(hashing.verify(
            &user,
            &attempt,
            &Target::Nothing,
            Known::Record,
        )));
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
