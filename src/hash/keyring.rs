//! Peppers: keys that are stored apart from the hashes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::error::record::RecordError;
use crate::error::value::ValueError;

/// The public name of a pepper, stored beside each hash: 1 to 32 letters, digits, `-`, `_` or `.`
/// in ASCII.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// Creates a key's name.
    ///
    /// # Errors
    /// [`ValueError::KeyId`] when it is empty, longer than 32 bytes or has other characters.
    pub fn new(name: impl Into<String>) -> Result<Self, ValueError> {
        let name: String = name.into();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 32 || !name.bytes().all(allowed) {
            return Err(ValueError::KeyId);
        }
        Ok(Self(name.into()))
    }

    /// Returns the key's name.
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
    type Err = ValueError;

    fn from_str(name: &str) -> Result<Self, ValueError> {
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

/// The key of a stored hash: its id and its check value.
///
/// The check value is four bytes derived from the pepper by Argon2id at the default cost
/// ([`framing`](crate::framing) specifies the bytes). It tells a pepper from another one under the
/// same id before a code is compared, so that a wrong pepper counts against no user. It is slow to
/// compute because the database stores it: a fast hash would let an attacker test a passphrase.
///
/// As text it is the id, a colon and eight lower-case hexadecimal digits.
///
/// ```
/// use backup_codes::hash::StoredKey;
///
/// let key: StoredKey = "2026:9f86d081".parse()?;
/// assert_eq!(key.id().as_str(), "2026");
/// assert_eq!(key.to_string(), "2026:9f86d081");
/// assert!("2026".parse::<StoredKey>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredKey {
    id: KeyId,
    check: [u8; StoredKey::CHECK_LEN],
}

impl StoredKey {
    /// The length of a check value in bytes.
    pub(crate) const CHECK_LEN: usize = 4;

    pub(crate) fn new(id: KeyId, check: [u8; Self::CHECK_LEN]) -> Self {
        Self { id, check }
    }

    /// Returns the key's id.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }
}

impl fmt::Display for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:08x}", self.id, u32::from_be_bytes(self.check))
    }
}

impl FromStr for StoredKey {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let (id, check) = text.split_once(':').ok_or(RecordError::Key)?;
        let digits = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
        if check.len() != 2 * Self::CHECK_LEN || !check.bytes().all(digits) {
            return Err(RecordError::Key);
        }
        let check = u32::from_str_radix(check, 16).map_err(|_| RecordError::Key)?;
        Ok(Self::new(
            KeyId::new(id).map_err(|_| RecordError::Key)?,
            check.to_be_bytes(),
        ))
    }
}

/// A secret key of 32 to 1024 bytes that goes into every hash. Wiped when dropped.
///
/// # Security
/// Keep it away from the database's backups: in a secret manager, an environment variable, or a
/// file outside the data directory. An attacker who has only the hashes cannot start guessing (NIST
/// SP 800-63B-4, 3.1.1.2; OWASP Password Storage Cheat Sheet, "Peppering").
pub struct Pepper(Zeroizing<Vec<u8>>);

impl Pepper {
    /// Creates a pepper from the bytes of a key.
    ///
    /// # Security
    /// A `Vec` is moved in and wiped. A slice or an array is copied, and the caller has to wipe the
    /// original; an array is also copied on the stack on its way here, so prefer a `Vec`.
    ///
    /// # Errors
    /// [`ValueError::Pepper`] when there are fewer than 32 bytes or more than 1024.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, ValueError> {
        let bytes = Zeroizing::new(bytes.into());
        if bytes.len() < 32 || bytes.len() > 1024 {
            return Err(ValueError::Pepper(bytes.len()));
        }
        Ok(Self(bytes))
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper([REDACTED])")
    }
}

/// The peppers in use: the current one for new hashes, and older ones of stored hashes.
///
/// To rotate, add a new current key and keep the old one as long as sheets printed under it have to
/// work. A stored hash is checked only with the key it was made with, recognised by id and check
/// value ([`StoredKey`]). A hash whose key is missing, or has other bytes here, is refused and
/// counts against no user; so is a hash without a key while the keyring has keys, unless
/// [`accepting_unpeppered`](Keyring::accepting_unpeppered) was called.
///
/// ```
/// use backup_codes::{Keyring, Pepper};
/// use backup_codes::hash::KeyId;
///
/// let keyring = Keyring::new(KeyId::new("2026")?, Pepper::new([7; 32])?);
/// // A year later:
/// let keyring = Keyring::new(KeyId::new("2027")?, Pepper::new([8; 32])?)
///     .with_older(KeyId::new("2026")?, Pepper::new([7; 32])?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A keyring can also be read from one text, as an environment variable or a secret store holds it:
/// `id:hex:…` or `id:base64:…`, separated by commas, the current key first.
///
/// ```
/// use backup_codes::{HashParams, Keyring};
///
/// // Each key of `openssl rand -base64 32`, or `-hex 32`.
/// let text = "2027:base64:Qo/8ayBu1xRVhQTHxbRgMPb3pKGyXMkQtbG0IQiWSvE=,\
///     2026:hex:1f9e0c37b0de5d6d2ac0d0dc8f3f7b7a0ac6c2b1f3b7f0a5c1d2e3f405162738";
/// let keyring: Keyring = text.parse()?;
/// let params = HashParams::new(keyring)?;
/// assert_eq!(params.current_key().expect("a pepper").id().as_str(), "2027");
///
/// assert_eq!(
///     "2027:hex:1f9e0c37b0de5d6d2ac0d0dc8f3f7b7a0ac6".parse::<Keyring>().unwrap_err().to_string(),
///     "key 1 of the keyring (2027) has 18 bytes, and a pepper has 32 to 1024: draw 32 random bytes",
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Keyring {
    current: Option<KeyId>,
    keys: BTreeMap<KeyId, Pepper>,
    accept_unpeppered: bool,
}

impl Keyring {
    /// Creates a keyring with this current key.
    #[must_use]
    pub fn new(id: KeyId, pepper: Pepper) -> Self {
        Self {
            current: Some(id.clone()),
            keys: BTreeMap::from([(id, pepper)]),
            accept_unpeppered: false,
        }
    }

    /// Creates a keyring without a pepper: hashes are bound to salt and user only.
    ///
    /// An attacker with a stolen database can then guess offline. The 70 random bits of a code at
    /// 19 MiB a guess still protect it, but a pepper costs nothing.
    #[must_use]
    pub fn without_pepper() -> Self {
        Self {
            current: None,
            keys: BTreeMap::new(),
            accept_unpeppered: true,
        }
    }

    /// Adds an older key, so that codes printed under it still work.
    ///
    /// # Errors
    /// [`ValueError::RepeatedKey`] when the id is in the keyring already.
    pub fn with_older(mut self, id: KeyId, pepper: Pepper) -> Result<Self, ValueError> {
        if self.keys.contains_key(&id) {
            return Err(ValueError::RepeatedKey);
        }
        self.keys.insert(id, pepper);
        Ok(self)
    }

    /// Accepts hashes without a key too, as they were stored before there was a pepper.
    ///
    /// # Security
    /// An attacker who can write to the database could plant such a hash. Remove this call once the
    /// old sheets have been replaced.
    #[must_use]
    pub fn accepting_unpeppered(mut self) -> Self {
        self.accept_unpeppered = true;
        self
    }

    pub(crate) fn current(&self) -> Option<&KeyId> {
        self.current.as_ref()
    }

    /// Returns whether hashes without a key are accepted.
    pub(crate) fn accepts_unpeppered(&self) -> bool {
        self.accept_unpeppered
    }

    /// Returns the id and the bytes of each key.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (&KeyId, &[u8])> {
        self.keys.iter().map(|(id, pepper)| (id, pepper.expose()))
    }

    /// Returns the bytes of a key.
    pub(crate) fn secret(&self, id: &KeyId) -> Option<&[u8]> {
        self.keys.get(id).map(Pepper::expose)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_ids_and_peppers() {
        for name in ["", "a b", "ä", &"x".repeat(33)] {
            assert_eq!(KeyId::new(name), Err(ValueError::KeyId));
        }
        assert_eq!(Pepper::new([0; 31]).unwrap_err(), ValueError::Pepper(31));
        assert!(Pepper::new([0; 32]).is_ok());
        assert_eq!(
            Pepper::new([0; 1025]).unwrap_err(),
            ValueError::Pepper(1025)
        );
    }

    #[test]
    fn a_key_id_is_added_once() {
        let id = |name: &str| KeyId::new(name).unwrap();
        let keyring = Keyring::new(id("a"), Pepper::new([1; 32]).unwrap());
        let repeated = keyring.with_older(id("a"), Pepper::new([2; 32]).unwrap());
        assert_eq!(repeated.err(), Some(ValueError::RepeatedKey));
    }

    #[test]
    fn a_stored_key_has_one_spelling() {
        let key: StoredKey = "a.b:00ff0a10".parse().unwrap();
        assert_eq!(key.to_string(), "a.b:00ff0a10");
        for text in [
            "",
            "a",
            "a:",
            ":00ff0a10",
            "a:00FF0a10",
            "a:00ff0a1",
            "a:00ff0a100",
            "a:+0ff0a10",
            "a:b:00ff0a10",
        ] {
            assert!(text.parse::<StoredKey>().is_err(), "{text}");
        }
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
