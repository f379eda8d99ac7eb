//! A faster engine for the hashes of [`backup_codes`]: Argon2id with AVX-512, AVX2, SSE2 or NEON,
//! whichever the processor has, on the crate `argon2-rust`.
//!
//! With AVX-512 an evaluation takes about half the time of the default engine's, with AVX2 0.76 to
//! 0.85 of it. `argon2-rust` is young, unaudited and written with much `unsafe`: this package's README
//! says what limits the risk, and how to leave it again. Nothing that is stored depends on the engine.
//!
//! ```
//! use backup_codes::hash::PoolSize;
//! use backup_codes::{HashParams, Hashing, Keyring};
//! use backup_codes_argon2_simd::SimdEngine;
//!
//! // In an application with a pepper.
//! let params = HashParams::new(Keyring::without_pepper())?;
//! let hashing = Hashing::pool_with_engine(params, PoolSize::default(), SimdEngine::new)?;
//! assert_eq!(hashing.evaluations(), 0);
//! # Ok::<(), backup_codes::hash::HashError>(())
//! ```
#![forbid(unsafe_code)]

use std::fmt;

use argon2_rust::params::{Memory, TagLen};
use argon2_rust::{Algorithm, Argon2, Hasher, Params, Version};
use backup_codes::hash::{Cost, Engine, HashError};

/// An [`Engine`] on the `argon2-rust` crate.
///
/// It keeps its memory between evaluations. The memory grows to the largest cost it meets, which
/// [`HashParams`](backup_codes::HashParams) bounds, and is wiped at the end of each evaluation.
///
/// ```
/// use backup_codes::hash::{Cost, DefaultEngine, Engine};
/// use backup_codes_argon2_simd::SimdEngine;
///
/// let (mut tag, mut same) = ([0; 32], [0; 32]);
/// SimdEngine::new().evaluate(Cost::MIB_19, &[], &[2; 16], b"message", &mut tag)?;
/// DefaultEngine::new().evaluate(Cost::MIB_19, &[], &[2; 16], b"message", &mut same)?;
/// assert_eq!(tag, same);
/// # Ok::<(), backup_codes::hash::HashError>(())
/// ```
pub struct SimdEngine(Hasher);

impl SimdEngine {
    /// Creates an engine without memory; the first evaluation allocates it.
    #[must_use]
    pub fn new() -> Self {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default());
        Self(argon2.hasher())
    }

    /// Returns the name of the instruction set that evaluations use on this processor, such as
    /// `avx512`, `avx2`, `sse2`, `neon` or `scalar`. For a log.
    #[must_use]
    pub fn instruction_set() -> &'static str {
        argon2_rust::detected_backend().name()
    }

    /// Returns the memory held, in KiB.
    #[must_use]
    pub fn memory_kib(&self) -> usize {
        self.0.reserved_blocks()
    }
}

impl Engine for SimdEngine {
    fn evaluate(
        &mut self,
        cost: Cost,
        secret: &[u8],
        salt: &[u8; 16],
        message: &[u8],
        tag: &mut [u8; 32],
    ) -> Result<(), HashError> {
        // The parameters set here are valid for every cost, so an error means that there is no
        // memory.
        let params = Params::builder()
            .memory(Memory::kib(cost.memory_kib().into()))
            .passes(cost.passes())
            .lanes(1)
            .tag_len(TagLen::bytes(32))
            .build()
            .map_err(|_| HashError::Memory)?;
        self.0
            .set_argon2(Argon2::new(Algorithm::Argon2id, Version::V0x13, params));
        self.0
            .hash_into_with_ad(message, salt, secret, &[], tag)
            .map_err(|_| HashError::Memory)
    }

    /// Does nothing: `argon2-rust` wipes its memory at the end of each evaluation.
    fn wipe(&mut self) {}
}

impl Default for SimdEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SimdEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimdEngine")
            .field("instruction_set", &Self::instruction_set())
            .field("memory_kib", &self.memory_kib())
            .finish_non_exhaustive()
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
