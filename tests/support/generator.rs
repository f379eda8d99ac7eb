//! Random numbers that are the same in every run.

use std::io;

/// SplitMix64 (Steele, Lea and Flood, 2014), up to a number of draws.
pub(crate) struct Numbers {
    state: u64,
    draws: usize,
}

impl Numbers {
    /// Streams of different seeds do not meet in 2^32 words.
    pub(crate) fn new(seed: u32) -> Self {
        Self {
            state: (u64::from(seed) << 32).wrapping_mul(STEP),
            draws: usize::MAX,
        }
    }

    /// Fails after this many draws.
    pub(crate) fn failing_after(draws: usize, seed: u32) -> Self {
        Self {
            draws,
            ..Self::new(seed)
        }
    }
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl rand_core::TryRng for Numbers {
    type Error = io::Error;
    fn try_next_u32(&mut self) -> Result<u32, io::Error> {
        rand_core::utils::next_word_via_fill(self)
    }
    fn try_next_u64(&mut self) -> Result<u64, io::Error> {
        rand_core::utils::next_word_via_fill(self)
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), io::Error> {
        self.draws = self.draws.checked_sub(1).ok_or(io::ErrorKind::Other)?;
        for chunk in bytes.chunks_mut(8) {
            self.state = self.state.wrapping_add(STEP);
            let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Numbers {}
