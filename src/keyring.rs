//! Peppers: keys that are stored apart from the hashes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// The public name of a pepper, stored beside each hash: 1 to 32 letters, digits, `-`, `_` or `.`
/// in ASCII.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

/// A pepper, a key id or a keyring that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// A key id has other characters, or not 1 to 32 of them.
    #[error("a key id has 1 to 32 ascii letters, digits, '-', '_' or '.'")]
    KeyId,
    /// A pepper is shorter than 32 or longer than 1024 bytes.
    #[error("a pepper has 32 to 1024 bytes, this one has {0}: draw 32 random bytes")]
    PepperLength(usize),
    /// The same key id was added twice.
    #[error("this key id is in the keyring already: a new pepper needs a new id")]
    Repeated,
}

impl KeyId {
    /// Takes a key's name.
    ///
    /// # Errors
    /// [`KeyringError::KeyId`] when it is empty, longer than 32 bytes or has other characters.
    pub fn new(name: impl Into<String>) -> Result<Self, KeyringError> {
        let name = name.into();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 32 || !name.bytes().all(allowed) {
            return Err(KeyringError::KeyId);
        }
        Ok(Self(name))
    }

    /// The key's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyId {
    type Err = KeyringError;

    fn from_str(name: &str) -> Result<Self, KeyringError> {
        Self::new(name)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A secret key of 32 to 1024 bytes that goes into every hash. Wiped when dropped.
///
/// # Security
/// Keep it where the database's backups are not: a secret manager, an environment variable, a
/// file outside the data folder. Whoever has the hashes alone can then not even begin to guess
/// (NIST SP 800-63B-4, 3.1.1.2; OWASP Password Storage Cheat Sheet, "Peppering").
pub struct Pepper(Zeroizing<Vec<u8>>);

impl Pepper {
    /// Takes the bytes of a key.
    ///
    /// # Security
    /// A `Vec` is taken as it is and wiped. Of a slice or an array a copy is made, and wiping the
    /// original is left to the caller; an array is also copied on the stack on its way here, so
    /// prefer a `Vec`.
    ///
    /// # Errors
    /// [`KeyringError::PepperLength`] when there are fewer than 32 bytes or more than 1024.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, KeyringError> {
        let bytes = Zeroizing::new(bytes.into());
        if bytes.len() < 32 || bytes.len() > 1024 {
            return Err(KeyringError::PepperLength(bytes.len()));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper([REDACTED])")
    }
}

/// The peppers in use: one that new hashes get, and older ones that stored hashes still have.
///
/// Rotation adds a new current key and keeps the old one as long as sheets printed under it are
/// to work. A stored hash whose key is not here cannot be checked and never matches; nor does a
/// hash without a key id while the keyring has keys, unless
/// [`accepting_unpeppered`](Keyring::accepting_unpeppered) says otherwise.
///
/// ```
/// use backup_codes::{KeyId, Keyring, Pepper};
///
/// let keyring = Keyring::new(KeyId::new("2026")?, Pepper::new([7; 32])?);
/// // A year later:
/// let keyring = Keyring::new(KeyId::new("2027")?, Pepper::new([8; 32])?)
///     .with_older(KeyId::new("2026")?, Pepper::new([7; 32])?)?;
/// # Ok::<(), backup_codes::KeyringError>(())
/// ```
#[derive(Debug)]
pub struct Keyring {
    current: Option<KeyId>,
    keys: BTreeMap<KeyId, Pepper>,
    accept_unpeppered: bool,
}

/// The key a stored hash needs cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnknownKey;

impl Keyring {
    /// A keyring whose current key is this one.
    #[must_use]
    pub fn new(id: KeyId, pepper: Pepper) -> Self {
        Self {
            current: Some(id.clone()),
            keys: BTreeMap::from([(id, pepper)]),
            accept_unpeppered: false,
        }
    }

    /// No pepper: hashes are bound to salt and user only.
    ///
    /// A stolen database can then be attacked offline; 70 random bits at 19 MiB a guess still
    /// stand, but a pepper costs nothing.
    #[must_use]
    pub fn without_pepper() -> Self {
        Self {
            current: None,
            keys: BTreeMap::new(),
            accept_unpeppered: true,
        }
    }

    /// Keeps an older key, so that codes printed under it still work.
    ///
    /// # Errors
    /// [`KeyringError::Repeated`] when the id is in the keyring already.
    pub fn with_older(mut self, id: KeyId, pepper: Pepper) -> Result<Self, KeyringError> {
        if self.keys.contains_key(&id) {
            return Err(KeyringError::Repeated);
        }
        self.keys.insert(id, pepper);
        Ok(self)
    }

    /// Also accepts hashes without a key id, as they were stored before there was a pepper.
    ///
    /// # Security
    /// Somebody who can write to the database could plant such a hash. Take this out once the
    /// old sheets have been replaced.
    #[must_use]
    pub fn accepting_unpeppered(mut self) -> Self {
        self.accept_unpeppered = true;
        self
    }

    pub(crate) fn current(&self) -> Option<&KeyId> {
        self.current.as_ref()
    }

    /// The secret for a hash with this key id; empty for one without.
    pub(crate) fn secret(&self, id: Option<&KeyId>) -> Result<&[u8], UnknownKey> {
        match id {
            Some(id) => self
                .keys
                .get(id)
                .map(|pepper| pepper.0.as_slice())
                .ok_or(UnknownKey),
            None if self.accept_unpeppered => Ok(&[]),
            None => Err(UnknownKey),
        }
    }

    /// The secret that new hashes get.
    pub(crate) fn current_secret(&self) -> &[u8] {
        let current = self.current.as_ref().and_then(|id| self.keys.get(id));
        current.map_or(&[], |pepper| pepper.0.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_ids_and_peppers() {
        for name in ["", "a b", "ä", &"x".repeat(33)] {
            assert_eq!(KeyId::new(name), Err(KeyringError::KeyId));
        }
        assert_eq!(
            Pepper::new([0; 31]).unwrap_err(),
            KeyringError::PepperLength(31)
        );
        assert!(Pepper::new([0; 32]).is_ok());
        assert_eq!(
            Pepper::new([0; 1025]).unwrap_err(),
            KeyringError::PepperLength(1025)
        );
    }

    #[test]
    fn unknown_and_missing_keys_fail_closed() {
        let id = |name: &str| KeyId::new(name).unwrap();
        let keyring = || Keyring::new(id("a"), Pepper::new([1; 32]).unwrap());
        assert_eq!(keyring().secret(Some(&id("b"))), Err(UnknownKey));
        assert_eq!(keyring().secret(None), Err(UnknownKey));
        assert_eq!(
            keyring().accepting_unpeppered().secret(None),
            Ok([].as_slice())
        );
        assert_eq!(
            Keyring::without_pepper().secret(Some(&id("a"))),
            Err(UnknownKey)
        );
        assert!(
            keyring()
                .with_older(id("a"), Pepper::new([2; 32]).unwrap())
                .is_err()
        );
    }

    #[test]
    fn debug_shows_no_key() {
        let keyring = Keyring::new(KeyId::new("a").unwrap(), Pepper::new([0xab; 32]).unwrap());
        let text = format!("{keyring:?}");
        assert!(
            text.contains("REDACTED") && !text.contains("171") && !text.contains("ab"),
            "{text}"
        );
    }
}
