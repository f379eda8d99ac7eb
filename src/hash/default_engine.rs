//! The engine on the `argon2` crate.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, ParamsBuilder, Version};
use zeroize::Zeroize;

use crate::error::machine::HashError;
use crate::hash::cost::Cost;
use crate::hash::engine::Engine;
use crate::hash::stored::{SALT_LEN, TAG_LEN};

/// The default [`Engine`], on the `argon2` crate, which uses AVX2 where the processor has it.
///
/// It keeps its memory between evaluations, which saves the page faults of fresh memory
/// (`fresh_over_warm_46mib` of the benchmark). The memory grows to the largest cost it meets, which
/// [`HashParams`](crate::hash::HashParams) bounds.
#[derive(Default)]
pub struct DefaultEngine {
    blocks: Vec<Block>,
    dirty: usize,
}

impl DefaultEngine {
    /// Creates an engine without memory; the first evaluation allocates it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the memory held, in KiB.
    #[must_use]
    pub fn memory_kib(&self) -> usize {
        self.blocks.len()
    }

    fn reserve(&mut self, cost: Cost) -> Result<&mut [Block], HashError> {
        let wanted = cost.memory_kib() as usize;
        if self.blocks.len() < wanted {
            self.wipe();
            // Dropped before the larger one is allocated: the two never exist at the same time.
            self.blocks = Vec::new();
            self.blocks
                .try_reserve_exact(wanted)
                .map_err(|_| HashError::Memory)?;
            self.blocks.resize(wanted, Block::new());
        }
        self.dirty = self.dirty.max(wanted);
        Ok(&mut self.blocks[..wanted])
    }

    /// Returns what the memory holds.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn blocks(&self) -> Vec<&[u64]> {
        self.blocks.iter().map(Block::as_ref).collect()
    }

    #[cfg(test)]
    pub(crate) fn is_zero(&self) -> bool {
        self.blocks()
            .iter()
            .all(|block| block.iter().all(|word| *word == 0))
    }
}

impl Engine for DefaultEngine {
    fn evaluate(
        &mut self,
        cost: Cost,
        secret: &[u8],
        salt: &[u8; SALT_LEN],
        message: &[u8],
        tag: &mut [u8; TAG_LEN],
    ) -> Result<(), HashError> {
        // The parameters set here are valid for every cost, so an error means that there is no
        // memory.
        let params = ParamsBuilder::new()
            .m_cost(cost.memory_kib())
            .t_cost(cost.passes())
            .p_cost(1)
            .output_len(TAG_LEN)
            .build()
            .map_err(|_| HashError::Memory)?;
        let blocks = self.reserve(cost)?;
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        let argon2 = if secret.is_empty() {
            Argon2::new(algorithm, version, params)
        } else {
            Argon2::new_with_secret(secret, algorithm, version, params)
                .map_err(|_| HashError::Memory)?
        };
        argon2
            .hash_password_into_with_memory(message, salt, tag, blocks)
            .map_err(|_| HashError::Memory)
    }

    fn wipe(&mut self) {
        for block in &mut self.blocks[..self.dirty] {
            block.as_mut().zeroize();
        }
        self.dirty = 0;
    }
}

impl Drop for DefaultEngine {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl fmt::Debug for DefaultEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultEngine")
            .field("memory_kib", &self.memory_kib())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::mpsc;

    /// The default engine, which tells at each evaluation whether its memory was wiped before, and
    /// panics in the wipe where that is planted.
    pub(crate) struct Watched {
        engine: DefaultEngine,
        was_zero: mpsc::Sender<bool>,
        wipe_panics: bool,
    }

    impl Watched {
        pub(crate) fn new(wipe_panics: bool) -> (Self, mpsc::Receiver<bool>) {
            let (was_zero, seen) = mpsc::channel();
            let engine = Self {
                engine: DefaultEngine::new(),
                was_zero,
                wipe_panics,
            };
            (engine, seen)
        }
    }

    impl Engine for Watched {
        fn evaluate(
            &mut self,
            cost: Cost,
            secret: &[u8],
            salt: &[u8; SALT_LEN],
            message: &[u8],
            tag: &mut [u8; TAG_LEN],
        ) -> Result<(), HashError> {
            let _ = self.was_zero.send(self.engine.is_zero());
            self.engine.evaluate(cost, secret, salt, message, tag)
        }

        fn wipe(&mut self) {
            assert!(!self.wipe_panics, "planted");
            self.engine.wipe();
        }
    }

    /// RFC 9106, 5.3: Argon2id with secret and associated data. This crate uses no associated data,
    /// so the `argon2` crate is tested.
    #[test]
    fn the_argon2_crate_computes_the_vector_of_rfc_9106() {
        let mut params = ParamsBuilder::new();
        params.m_cost(32).t_cost(3).p_cost(4).output_len(TAG_LEN);
        params.data(argon2::AssociatedData::new(&[4; 12]).unwrap());
        let params = params.build().unwrap();
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        let argon2 = Argon2::new_with_secret(&[3; 8], algorithm, version, params).unwrap();
        let mut tag = [0; TAG_LEN];
        argon2
            .hash_password_into(&[1; 32], &[2; 16], &mut tag)
            .unwrap();
        let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
        );
    }

    #[test]
    fn wiping_clears_what_an_evaluation_left() {
        let mut engine = DefaultEngine::new();
        let mut tag = [0; TAG_LEN];
        engine
            .evaluate(Cost::LEAST, &[], &[2; 16], b"x", &mut tag)
            .unwrap();
        assert!(!engine.is_zero());
        engine.wipe();
        assert!(engine.is_zero());
    }
}
