//! Hashing that costs as little as possible: for codes of the high-entropy format.

use backup_codes::hash::{Cost, KeyId};
use backup_codes::{HashParams, Hashing, Keyring, Pepper};

/// A keyring with one key, of this byte repeated.
pub(crate) fn keyring(id: &str, byte: u8) -> Keyring {
    Keyring::new(KeyId::new(id).unwrap(), Pepper::new([byte; 32]).unwrap())
}

pub(crate) fn cheap(keyring: Keyring) -> HashParams {
    HashParams::new(keyring)
        .unwrap()
        .with_high_entropy_cost(Cost::LEAST)
}

pub(crate) fn cheap_hasher() -> HashParams {
    cheap(Keyring::without_pepper())
}

pub(crate) fn cheap_hashing() -> Hashing {
    Hashing::inline(cheap_hasher())
}
