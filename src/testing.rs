#![doc = include_str!("../docs/guide/testing.md")]

use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

use crate::audit::MemoryAudit;
use crate::backup_codes::BackupCodes;
use crate::context::Context;
use crate::error::machine::HashError;
use crate::hash::cost::Cost;
use crate::hash::default_engine::DefaultEngine;
use crate::hash::engine::Engine;
use crate::hash::hashing::Hashing;
use crate::hash::params::HashParams;
use crate::id::Subject;
use crate::policy::RolePolicy;
use crate::policy::settings::Settings;
use crate::repository::memory::MemoryRepository;
use crate::timestamp::Timestamp;

/// A kit for the tests of an application: the operations over a repository in memory, the events they
/// logged, and a clock. Clones share all of it.
#[derive(Debug, Clone)]
pub struct TestKit {
    /// The operations, with the fast engine and the generator of the kit.
    pub codes: BackupCodes,
    /// The repository under them.
    pub repository: MemoryRepository,
    /// The sink that receives their events.
    pub audit: MemoryAudit,
    /// The clock that [`context`](Self::context) reads.
    pub clock: TestClock,
}

impl TestKit {
    /// Creates a kit with the default [`Settings`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_policy(Settings::default())
    }

    /// Creates a kit with this role policy.
    #[must_use]
    pub fn with_policy(policy: impl RolePolicy + 'static) -> Self {
        let (repository, audit) = (MemoryRepository::new(), MemoryAudit::new());
        let hashing = hashing(HashParams::unpeppered());
        let codes = BackupCodes::new(repository.clone(), policy, hashing)
            .with_audit(audit.clone())
            .with_rng(TestRng::new(1));
        Self {
            codes,
            repository,
            audit,
            clock: TestClock::new(),
        }
    }

    /// Returns the context of an operation by this actor at the time of the kit's clock.
    #[must_use]
    pub fn context(&self, actor: &Subject) -> Context {
        Context::new(self.clock.now(), actor)
    }
}

impl Default for TestKit {
    fn default() -> Self {
        Self::new()
    }
}

/// Creates hashing on the calling thread with the fast engine of the kit.
#[must_use]
pub fn hashing(params: HashParams) -> Hashing {
    Hashing::inline_untested(params, TestEngine::default())
}

/// An engine that computes every hash at the minimum cost of Argon2, about 20 µs. Its tags are not
/// those of Argon2id at the cost given, so [`self_test`](crate::hash::self_test) fails.
#[derive(Default)]
struct TestEngine(DefaultEngine);

impl Engine for TestEngine {
    fn evaluate(
        &mut self,
        cost: Cost,
        secret: &[u8],
        salt: &[u8; 16],
        message: &[u8],
        tag: &mut [u8; 32],
    ) -> Result<(), HashError> {
        // The cost is a part of the message, so that a hash of another cost is another hash.
        let cost = [cost.memory_kib(), cost.passes()].map(u32::to_be_bytes);
        let costed = Zeroizing::new([message, cost.as_flattened()].concat());
        self.0.evaluate(Cost::LEAST, secret, salt, &costed, tag)
    }

    fn wipe(&mut self) {
        self.0.wipe();
    }
}

/// A clock that a test sets. Clones share its time.
///
/// ```
/// use backup_codes::testing::TestClock;
/// use std::time::Duration;
///
/// let clock = TestClock::new();
/// assert_eq!(clock.now().to_string(), "2026-01-05T09:00:00.000Z");
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().to_string(), "2026-01-05T09:01:00.000Z");
/// clock.set("2030-01-01T00:00:00Z".parse()?);
/// assert_eq!(clock.now().date(), "2030-01-01");
/// # Ok::<(), backup_codes::error::ValueError>(())
/// ```
#[derive(Debug, Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    /// Creates a clock whose time is 2026-01-05T09:00:00Z, a Monday.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_767_603_600_000)))
    }

    /// Returns the time of the clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let millis = self.0.load(Ordering::Relaxed);
        Timestamp::from_unix_millis(millis).unwrap_or(Timestamp::MIN)
    }

    /// Sets the clock forward by this duration, at most to [`Timestamp::MAX`].
    pub fn advance(&self, by: Duration) {
        let later = |millis| {
            let now = Timestamp::from_unix_millis(millis).ok()?;
            Some(now.saturating_add(by).unix_millis())
        };
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, to: Timestamp) {
        self.0.store(to.unix_millis(), Ordering::Relaxed);
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

/// A generator whose numbers are the same in every run: SplitMix64 (Steele, Lea and Flood, 2014).
///
/// # Security
/// Its numbers can be predicted. It implements [`TryCryptoRng`] only because the operations require
/// it.
#[derive(Debug, Clone)]
pub struct TestRng(Arc<Mutex<u64>>);

impl TestRng {
    /// Creates a generator; each seed has numbers of its own.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        Self(Arc::new(Mutex::new(u64::from(seed) << 32)))
    }
}

impl TryRng for TestRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        rand_core::utils::next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        rand_core::utils::next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for TestRng {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{PoolSize, self_test};

    #[test]
    fn production_constructors_refuse_the_engine() {
        let size = PoolSize::default();
        let pool = Hashing::pool_with_engine(HashParams::unpeppered(), size, TestEngine::default);
        assert!(matches!(pool, Err(HashError::Engine(_))));
        let inline = Hashing::inline_with_engine(HashParams::unpeppered(), TestEngine::default());
        assert!(matches!(inline, Err(HashError::Engine(_))));
        assert!(self_test(&mut TestEngine::default()).is_err());
    }

    #[test]
    fn a_hash_of_another_cost_or_key_is_another_hash() {
        let mut engine = TestEngine::default();
        let mut tag = |cost, secret: &[u8]| {
            let mut tag = [0; 32];
            let evaluated = engine.evaluate(cost, secret, &[2; 16], b"x", &mut tag);
            evaluated.unwrap();
            tag
        };
        let first = tag(Cost::MIB_19, &[]);
        assert_ne!(first, tag(Cost::MIB_46, &[]));
        assert_ne!(first, tag(Cost::MIB_19, &[1; 32]));
        assert_eq!(first, tag(Cost::MIB_19, &[]));
    }
}
