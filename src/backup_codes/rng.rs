//! The random number generator of the async operations.

use std::sync::{Arc, Mutex, PoisonError};

use rand_core::{TryCryptoRng, TryRng};

use crate::error::machine::RandomError;

/// A generator shared by all clones. Its error type is out of the way.
#[derive(Clone)]
pub(crate) struct SharedRng(Arc<Mutex<dyn Fill>>);

trait Fill: Send {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

impl<R: TryCryptoRng + Send> Fill for R {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        self.try_fill_bytes(bytes).map_err(RandomError::new)
    }
}

impl SharedRng {
    pub(crate) fn new(rng: impl TryCryptoRng + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(rng)))
    }
}

impl TryRng for SharedRng {
    type Error = RandomError;

    fn try_next_u32(&mut self) -> Result<u32, RandomError> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, RandomError> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rng.fill(bytes)
    }
}

impl TryCryptoRng for SharedRng {}
