#![doc = include_str!("../docs/guide/testing.md")]

use std::convert::Infallible;
use std::fmt;
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

/// The operations over a repository in memory, and what a test turns and reads. Clones share it all.
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
    Hashing::inline_untested(params, TestEngine::new())
}

/// An engine that computes every hash at the minimum cost of Argon2, about 20 µs. Its tags are not
/// those of Argon2id at the cost given, so [`self_test`](crate::hash::self_test) fails.
#[derive(Default)]
pub struct TestEngine(DefaultEngine);

impl TestEngine {
    /// Creates an engine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

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

impl fmt::Debug for TestEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TestEngine").field(&self.0).finish()
    }
}

/// A clock that a test turns. Clones share its time.
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
    /// Creates a clock that stands at nine o'clock UTC of Monday, 5 January 2026.
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

    /// Turns the clock forward, at most to [`Timestamp::MAX`].
    pub fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(by));
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
/// Its numbers can be predicted. [`TryCryptoRng`], which it implements because the operations ask for
/// it, is a lie here.
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
