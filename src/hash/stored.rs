//! Stored hashes: their text, and the reasons why one cannot be evaluated.

use std::fmt;
use std::str::FromStr;

use argon2::password_hash::phc::{Ident, Output, ParamsString, PasswordHash, Salt};
use rand_core::TryCryptoRng;

use crate::error::machine::RandomError;
use crate::error::record::RecordError;
use crate::hash::cost::Cost;
use crate::hash::keyring::StoredKey;

pub(crate) const SALT_LEN: usize = 16;
pub(crate) const TAG_LEN: usize = 32;
const ARGON2_VERSION: u32 = 19;

/// The stored hash of one code: an Argon2id hash and the key it was made with.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredHash {
    cost: Cost,
    salt: [u8; SALT_LEN],
    tag: [u8; TAG_LEN],
    key: Option<StoredKey>,
}

impl StoredHash {
    pub(crate) fn new(
        cost: Cost,
        salt: HashSalt,
        tag: [u8; TAG_LEN],
        key: Option<StoredKey>,
    ) -> Self {
        let HashSalt(salt) = salt;
        Self {
            cost,
            salt,
            tag,
            key,
        }
    }

    pub(crate) fn salt(&self) -> &[u8; SALT_LEN] {
        &self.salt
    }

    pub(crate) fn tag(&self) -> &[u8; TAG_LEN] {
        &self.tag
    }

    /// Parses a PHC string, with the key it was made with, if any.
    ///
    /// Only the spelling that [`StoredHash::expose_phc`] writes is accepted: Argon2id, version 19,
    /// one lane, 16 bytes of salt, 32 of tag, cost within the bounds of [`Cost::new`].
    ///
    /// # Errors
    /// [`RecordError::Hash`] for any other text.
    pub fn from_phc(phc: &str, key: Option<StoredKey>) -> Result<Self, RecordError> {
        // The longest text this crate writes has 101 bytes.
        if phc.len() > 128 {
            return Err(RecordError::Hash);
        }
        let parsed = PasswordHash::new(phc).map_err(|_| RecordError::Hash)?;
        let number = |name: &str| parsed.params.get_decimal(name).ok_or(RecordError::Hash);
        let cost = Cost::new(number("m")?, number("t")?).map_err(|_| RecordError::Hash)?;
        let salt = parsed.salt.as_ref().ok_or(RecordError::Hash)?;
        let tag = parsed.hash.as_ref().ok_or(RecordError::Hash)?;
        let stored = Self {
            cost,
            salt: salt.as_ref().try_into().map_err(|_| RecordError::Hash)?,
            tag: tag.as_bytes().try_into().map_err(|_| RecordError::Hash)?,
            key,
        };
        // Algorithm, version, lanes, order and extra parameters: a text that differs from what this
        // crate would write was not written by it.
        if stored.to_phc().as_deref() == Some(phc) {
            Ok(stored)
        } else {
            Err(RecordError::Hash)
        }
    }

    /// Returns the PHC string, or `None` if the encoder refuses, which no valid value causes.
    fn to_phc(&self) -> Option<String> {
        let mut params = ParamsString::new();
        for (name, value) in [
            ("m", self.cost.memory_kib()),
            ("t", self.cost.passes()),
            ("p", 1),
        ] {
            params.add_decimal(name, value).ok()?;
        }
        let hash = PasswordHash {
            algorithm: Ident::new("argon2id").ok()?,
            version: Some(ARGON2_VERSION),
            params,
            salt: Some(Salt::new(&self.salt).ok()?),
            hash: Some(Output::new(&self.tag).ok()?),
        };
        Some(hash.to_string())
    }

    /// Returns the hash as a PHC string; its key is [`StoredHash::key`].
    ///
    /// # Security
    /// For storage only. Without a pepper, an attacker who reads it can guess offline.
    #[must_use]
    pub fn expose_phc(&self) -> String {
        self.to_phc().unwrap_or_default()
    }

    /// Returns the key this hash was made with; `None` without a pepper.
    #[must_use]
    pub fn key(&self) -> Option<&StoredKey> {
        self.key.as_ref()
    }

    /// Returns the cost at which this hash was computed.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredHash")
            .field("cost", &self.cost)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl FromStr for StoredHash {
    type Err = RecordError;

    /// Parses a PHC string without a pepper.
    fn from_str(phc: &str) -> Result<Self, RecordError> {
        Self::from_phc(phc, None)
    }
}

/// The salt of one code: 128 random bits, a new one for each code of a set.
#[derive(Clone, Copy)]
pub struct HashSalt([u8; SALT_LEN]);

// Stored together with the hash, and nowhere else.
impl fmt::Debug for HashSalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashSalt").finish_non_exhaustive()
    }
}

impl HashSalt {
    #[cfg(test)]
    pub(crate) fn from_bytes(bytes: [u8; SALT_LEN]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; SALT_LEN] {
        &self.0
    }

    /// Draws a salt.
    ///
    /// # Errors
    /// [`RandomError`] when the generator fails.
    pub fn random<R: TryCryptoRng + ?Sized>(rng: &mut R) -> Result<Self, RandomError> {
        let mut salt = [0; SALT_LEN];
        rng.try_fill_bytes(&mut salt).map_err(RandomError::new)?;
        Ok(Self(salt))
    }
}

/// The reason why a stored hash cannot be evaluated: an error of the configuration or of the
/// repository. It never counts against the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unverifiable {
    /// The hash's key is not in the keyring, or the hash has no key and must have one.
    UnknownKey,
    /// The keyring has other bytes under the id of the hash's key.
    KeyMismatch,
    /// The hash asks for more memory, or more passes over it, than allowed.
    CostAboveCeiling,
    /// The hash is cheaper than its format allows.
    CostBelowFloor,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_spelling_this_crate_writes_is_read() {
        let good = "$argon2id$v=19$m=19456,t=2,p=1$WlpaWlpaWlpaWlpaWlpaWg$\
                    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(good.parse::<StoredHash>().unwrap().expose_phc(), good);
        for bad in [
            "",
            "$",
            "plain",
            &good.replace("argon2id", "argon2i"),
            &good.replace("v=19", "v=16"),
            &good.replace("$v=19", ""),
            &good.replace("p=1", "p=2"),
            &good.replace("m=19456,t=2", "t=2,m=19456"),
            &good.replace("m=19456", "m=019456"),
            &good.replace("p=1", "p=1,keyid=Zm8"),
            &good.replace("p=1", "p=1,data=Zm8"),
            &good.replace("WlpaWlpaWlpaWlpaWlpaWg", "WlpaWlpaWlpaWlpaWlpa"),
            &good.replace("WlpaWlpaWlpaWlpaWlpaWg", "WlpaWlpaWlpaWlpaWlpaWh"),
            &good[..good.len() - 4],
            &format!("{good}="),
            &format!("{good}$"),
            &format!(" {good}"),
        ] {
            assert_eq!(bad.parse::<StoredHash>(), Err(RecordError::Hash), "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_hash() {
        let text = format!(
            "{:?}",
            StoredHash {
                cost: Cost::LEAST,
                salt: [0xab; 16],
                tag: [0xcd; 32],
                key: None
            }
        );
        assert!(!text.contains("171") && !text.contains("205"), "{text}");
    }
}
