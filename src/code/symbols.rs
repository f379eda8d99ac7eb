//! The symbols of a code in memory.

use std::ops::{Deref, DerefMut};

use zeroize::Zeroizing;

use crate::code::format::MAX_SYMBOLS;

/// The symbols of one code, in a block of memory of their own that is wiped before it is freed.
///
/// Moving this value moves a pointer. Were the symbols in the value itself, each move, a list that
/// grows, and a `Vec` that becomes an `Arc<[_]>` would leave a copy behind that is never wiped.
pub(crate) struct Symbols(Box<Zeroizing<[u8; MAX_SYMBOLS]>>);

impl Symbols {
    /// Symbols that are still to be written.
    pub(crate) fn blank() -> Self {
        Self(Box::new(Zeroizing::new([0; MAX_SYMBOLS])))
    }
}

impl Deref for Symbols {
    type Target = [u8; MAX_SYMBOLS];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Symbols {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
