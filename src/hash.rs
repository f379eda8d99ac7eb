//! Hashing: Argon2id over a framed code, and the constant-time comparison.
//!
//! The bytes that are hashed are written down in `docs/framing.md`.

pub(crate) mod acceptance;
pub(crate) mod hashing;
pub(crate) mod keyring;
pub(crate) mod pool;

pub use self::acceptance::{Acceptance, Scheme, SchemeError};
pub use self::hashing::{Hashing, PoolError, PoolSize};
pub use self::keyring::{KeyId, Keyring, KeyringError, Pepper, StoredKey};

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use argon2::password_hash::phc::{Ident, Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, AssociatedData, Block, ParamsBuilder, Version};
use rand_core::TryCryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::code::attempt::Attempt;
use crate::code::format::{classify, declassify};
use crate::code::{Code, Format};
use crate::id::{OperationId, RandomError, SetId, UserId};

const SALT_LEN: usize = 16;
const TAG_LEN: usize = 32;
const DOMAIN: &[u8] = b"backup-codes";
const KEY_CHECK_DOMAIN: &[u8] = b"backup-codes key check";
const KEY_CHECK_SALT: [u8; SALT_LEN] = *b"backup-codes key";
const FRAMING_VERSION: u8 = 1;
const ARGON2_VERSION: u32 = 19;

/// Payload bits from which a code may be hashed cheaply: NIST SP 800-63B-4, 3.1.2.2.
const HIGH_ENTROPY_BITS: u32 = 112;

/// The cost of one Argon2id evaluation: memory in KiB and passes, always one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
}

/// A cost outside its bounds, or below the floor for the codes it is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CostError {
    /// Less memory or fewer passes than Argon2 takes, or more than this crate does.
    #[error("argon2 takes 8 to 1048576 KiB of memory and, here, 1 to 16 passes")]
    OutOfBounds,
    /// Below the floor for codes of less than 112 bits.
    #[error(
        "codes under 112 bits need m>=47104 t>=1, m>=19456 t>=2 or m>=12288 t>=3 (owasp asvs 5.0, \
         11.4.2)"
    )]
    BelowFloor,
}

impl Cost {
    /// 19 MiB, two passes: the default.
    pub const MIB_19: Self = Self {
        memory_kib: 19_456,
        passes: 2,
    };
    /// 46 MiB, one pass.
    pub const MIB_46: Self = Self {
        memory_kib: 47_104,
        passes: 1,
    };
    /// 12 MiB, three passes.
    pub const MIB_12: Self = Self {
        memory_kib: 12_288,
        passes: 3,
    };
    /// The least Argon2 takes: 8 KiB, one pass. For formats of at least 112 bits only.
    pub const LEAST: Self = Self {
        memory_kib: 8,
        passes: 1,
    };

    /// A cost of this many KiB and passes.
    ///
    /// # Errors
    /// [`CostError::OutOfBounds`] outside 8 to 1 048 576 KiB (1 GiB) and 1 to 16 passes.
    pub const fn new(memory_kib: u32, passes: u32) -> Result<Self, CostError> {
        if memory_kib < 8 || memory_kib > 1 << 20 || passes < 1 || passes > 16 {
            return Err(CostError::OutOfBounds);
        }
        Ok(Self { memory_kib, passes })
    }

    /// Memory of one evaluation in KiB.
    #[must_use]
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    #[must_use]
    pub const fn passes(self) -> u32 {
        self.passes
    }

    /// KiB written in one evaluation: what its time is proportional to.
    const fn work(self) -> u64 {
        self.memory_kib as u64 * self.passes as u64
    }

    /// Whether codes of this format may be hashed at this cost (OWASP ASVS 5.0, 11.4.2).
    const fn suffices(self, format: Format) -> bool {
        let Self {
            memory_kib: m,
            passes: t,
        } = self;
        format.payload_bits() >= HIGH_ENTROPY_BITS
            || (m >= 47_104 || (m >= 19_456 && t >= 2) || (m >= 12_288 && t >= 3))
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self::MIB_19
    }
}

/// The bounds of the cost of a stored hash, checked before anything is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CostBounds {
    max_memory_kib: u32,
    max_work: u64,
}

impl Default for CostBounds {
    /// 46 MiB of memory, and that twice over.
    fn default() -> Self {
        Self {
            max_memory_kib: Cost::MIB_46.memory_kib,
            max_work: 2 * Cost::MIB_46.work(),
        }
    }
}

impl CostBounds {
    fn raised_to(self, cost: Cost) -> Self {
        Self {
            max_memory_kib: self.max_memory_kib.max(cost.memory_kib),
            max_work: self.max_work.max(cost.work()),
        }
    }

    /// Whether a hash of this cost may be evaluated for a code of this format.
    pub(crate) fn check(self, cost: Cost, format: Format) -> Result<(), Unverifiable> {
        if cost.memory_kib > self.max_memory_kib || cost.work() > self.max_work {
            return Err(Unverifiable::CostAboveCeiling);
        }
        if !cost.suffices(format) {
            return Err(Unverifiable::CostBelowFloor);
        }
        Ok(())
    }
}

/// The keys that stored hashes may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownKeys {
    checks: BTreeMap<KeyId, StoredKey>,
    unpeppered: bool,
}

impl KnownKeys {
    /// No key: only hashes without one.
    pub(crate) fn unpeppered() -> Self {
        Self {
            checks: BTreeMap::new(),
            unpeppered: true,
        }
    }

    /// Whether a hash with this key can be evaluated.
    pub(crate) fn check(&self, key: Option<&StoredKey>) -> Result<(), Unverifiable> {
        match key {
            None if self.unpeppered => Ok(()),
            None => Err(Unverifiable::UnknownKey),
            Some(key) => match self.checks.get(key.id()) {
                None => Err(Unverifiable::UnknownKey),
                Some(known) if known == key => Ok(()),
                Some(_) => Err(Unverifiable::KeyMismatch),
            },
        }
    }
}

/// The stored hash of one code: an Argon2id hash and the key it was made with.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredHash {
    cost: Cost,
    salt: [u8; SALT_LEN],
    tag: [u8; TAG_LEN],
    key: Option<StoredKey>,
}

/// A stored text is not a hash that this crate could have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an argon2id phc string of this crate: the stored text was altered")]
pub struct StoredHashError;

impl StoredHash {
    /// Reads a PHC string, with the key it was made with, if any.
    ///
    /// Only the one spelling that [`StoredHash::expose_phc`] writes is read: Argon2id, version 19,
    /// one lane, 16 bytes of salt, 32 of tag, cost within the bounds of [`Cost::new`].
    ///
    /// # Errors
    /// [`StoredHashError`] for anything else.
    pub fn from_phc(phc: &str, key: Option<StoredKey>) -> Result<Self, StoredHashError> {
        // The longest text this crate writes has 101 bytes.
        if phc.len() > 128 {
            return Err(StoredHashError);
        }
        let parsed = PasswordHash::new(phc).map_err(|_| StoredHashError)?;
        let number = |name: &str| parsed.params.get_decimal(name).ok_or(StoredHashError);
        let cost = Cost::new(number("m")?, number("t")?).map_err(|_| StoredHashError)?;
        let salt = parsed.salt.as_ref().ok_or(StoredHashError)?;
        let tag = parsed.hash.as_ref().ok_or(StoredHashError)?;
        let stored = Self {
            cost,
            salt: salt.as_ref().try_into().map_err(|_| StoredHashError)?,
            tag: tag.as_bytes().try_into().map_err(|_| StoredHashError)?,
            key,
        };
        // Algorithm, version, lanes, order and extra parameters: what is not written back to the
        // letter was not written by this crate.
        if stored.to_phc().as_deref() == Some(phc) {
            Ok(stored)
        } else {
            Err(StoredHashError)
        }
    }

    /// The PHC string, or `None` if the encoder refuses, which no valid value makes it do.
    fn to_phc(&self) -> Option<String> {
        let mut params = ParamsString::new();
        for (name, value) in [
            ("m", self.cost.memory_kib),
            ("t", self.cost.passes),
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

    /// The hash as a PHC string; its key is [`StoredHash::key`].
    ///
    /// # Security
    /// For storage only. An attacker who reads it can guess offline, where there is no pepper.
    #[must_use]
    pub fn expose_phc(&self) -> String {
        self.to_phc().unwrap_or_default()
    }

    /// The key this hash was made with; `None` without a pepper.
    #[must_use]
    pub fn key(&self) -> Option<&StoredKey> {
        self.key.as_ref()
    }

    /// The cost this hash was computed at.
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
    type Err = StoredHashError;

    /// A PHC string without a pepper.
    fn from_str(phc: &str) -> Result<Self, StoredHashError> {
        Self::from_phc(phc, None)
    }
}

/// A salt for each code of a set: 128 random bits each.
#[derive(Clone, Copy)]
pub struct HashSalt([u8; SALT_LEN]);

// Kept where the hash is kept, and nowhere else.
impl fmt::Debug for HashSalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashSalt").finish_non_exhaustive()
    }
}

impl HashSalt {
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

/// Argon2's working memory, kept between evaluations and wiped after each.
///
/// A warm one saves the page faults of a fresh one (`fresh_over_warm_46mib` of the benchmark).
/// It grows to the largest cost it meets, which [`Hasher`] bounds.
#[derive(Default)]
pub struct Matrix {
    blocks: Vec<Block>,
    dirty: usize,
}

impl Matrix {
    /// An empty one; memory comes with the first evaluation.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Memory held, in KiB.
    #[must_use]
    pub fn memory_kib(&self) -> usize {
        self.blocks.len()
    }

    fn blocks(&mut self, cost: Cost) -> Result<&mut [Block], HashError> {
        let wanted = cost.memory_kib as usize;
        if self.blocks.len() < wanted {
            self.wipe();
            // Dropped before the larger one is made: the two never exist side by side.
            self.blocks = Vec::new();
            self.blocks
                .try_reserve_exact(wanted)
                .map_err(|_| HashError)?;
            self.blocks.resize(wanted, Block::new());
        }
        self.dirty = self.dirty.max(wanted);
        Ok(&mut self.blocks[..wanted])
    }

    /// Overwrites with zeros what the last evaluation left behind.
    pub fn wipe(&mut self) {
        for block in &mut self.blocks[..self.dirty] {
            block.as_mut().zeroize();
        }
        self.dirty = 0;
    }

    #[cfg(test)]
    pub(crate) fn is_zero(&self) -> bool {
        self.blocks
            .iter()
            .all(|block| block.as_ref().iter().all(|word| *word == 0))
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl fmt::Debug for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matrix")
            .field("memory_kib", &self.memory_kib())
            .finish_non_exhaustive()
    }
}

/// There was no memory for an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory for an argon2 evaluation: use fewer workers or a smaller cost")]
pub struct HashError;

/// How codes are hashed: keyring, cost of new hashes, and the bounds of stored ones.
#[derive(Debug)]
pub struct Hasher {
    keyring: Keyring,
    known: KnownKeys,
    cost: Cost,
    high_entropy_cost: Option<Cost>,
    bounds: CostBounds,
}

impl Hasher {
    /// Hashes at [`Cost::MIB_19`] with the keyring's current key.
    ///
    /// Computes the check value of each key, one evaluation at the default cost each.
    ///
    /// # Errors
    /// [`HashError`] when there is no memory for an evaluation.
    pub fn new(keyring: Keyring) -> Result<Self, HashError> {
        let mut matrix = Matrix::new();
        let checks = keyring.secrets().map(|(id, secret)| {
            let check = key_check(&mut matrix, id, secret)?;
            Ok((id.clone(), StoredKey::new(id.clone(), check)))
        });
        let known = KnownKeys {
            checks: checks.collect::<Result<_, HashError>>()?,
            unpeppered: keyring.accepts_unpeppered(),
        };
        Ok(Self {
            keyring,
            known,
            cost: Cost::MIB_19,
            high_entropy_cost: None,
            bounds: CostBounds::default(),
        })
    }

    /// Hashes new codes at this cost.
    ///
    /// # Errors
    /// [`CostError::BelowFloor`] below what codes under 112 bits need.
    pub fn with_cost(mut self, cost: Cost) -> Result<Self, CostError> {
        if !cost.suffices(Format::CROCKFORD) {
            return Err(CostError::BelowFloor);
        }
        self.cost = cost;
        self.bounds = self.bounds.raised_to(cost);
        Ok(self)
    }

    /// Hashes new codes of at least 112 payload bits at this cost, whatever it is.
    ///
    /// Their randomness alone is beyond guessing, so a fast hash is enough (NIST SP 800-63B-4,
    /// 3.1.2.2). Other codes are not affected.
    #[must_use]
    pub fn with_high_entropy_cost(mut self, cost: Cost) -> Self {
        self.high_entropy_cost = Some(cost);
        self.bounds = self.bounds.raised_to(cost);
        self
    }

    /// The cost of new hashes of codes in this format.
    #[must_use]
    pub fn cost(&self, format: Format) -> Cost {
        let enough = format.payload_bits() >= HIGH_ENTROPY_BITS;
        self.high_entropy_cost
            .filter(|_| enough)
            .unwrap_or(self.cost)
    }

    /// The most memory a stored hash may ask for, in KiB: 46 MiB, or the configured cost where
    /// that is more. A row that asks for more is not evaluated, nor is one whose memory times
    /// passes are more than 92 MiB, or than those of the configured cost.
    #[must_use]
    pub fn max_memory_kib(&self) -> u32 {
        self.bounds.max_memory_kib
    }

    /// The key that new hashes get.
    #[must_use]
    pub fn current_key(&self) -> Option<&StoredKey> {
        self.known.checks.get(self.keyring.current()?)
    }

    pub(crate) fn known_keys(&self) -> &KnownKeys {
        &self.known
    }

    pub(crate) fn bounds(&self) -> CostBounds {
        self.bounds
    }

    /// The bytes of the key that new hashes get.
    fn current_secret(&self) -> &[u8] {
        let secret = |id| self.keyring.secret(id);
        self.keyring.current().and_then(secret).unwrap_or_default()
    }

    /// Cost and key of a stored hash, if it may be evaluated for a code of this format.
    fn check<'a>(
        &'a self,
        stored: &StoredHash,
        format: Format,
    ) -> Result<(Cost, &'a [u8]), Unverifiable> {
        self.bounds.check(stored.cost, format)?;
        self.known.check(stored.key())?;
        let secret = stored.key().and_then(|key| self.keyring.secret(key.id()));
        Ok((stored.cost, secret.unwrap_or_default()))
    }
}

/// The check value of a key; see `docs/framing.md`.
fn key_check(
    matrix: &mut Matrix,
    id: &KeyId,
    secret: &[u8],
) -> Result<[u8; StoredKey::CHECK_LEN], HashError> {
    let message = framed(&[KEY_CHECK_DOMAIN, &[FRAMING_VERSION], id.as_str().as_bytes()]);
    let mut tag = Zeroizing::new([0; TAG_LEN]);
    argon2id(
        matrix,
        Cost::MIB_19.into(),
        secret,
        &[],
        &KEY_CHECK_SALT,
        &message,
        tag.as_mut_slice(),
    )?;
    matrix.wipe();
    let [a, b, c, d, ..] = *tag;
    Ok([a, b, c, d])
}

/// Hashes one code for its user and set.
///
/// One Argon2id evaluation over the message described in [`framing`](crate::framing). The matrix
/// keeps traces of it until it is wiped, which the caller does once the answer is out.
///
/// # Errors
/// [`HashError`] when there is no memory for the evaluation.
pub fn hash(
    hasher: &Hasher,
    matrix: &mut Matrix,
    user: &UserId,
    set: SetId,
    code: &Code,
    salt: HashSalt,
) -> Result<StoredHash, HashError> {
    let cost = hasher.cost(code.format());
    let message = frame(code.format(), user, set, code.slot(), code.payload());
    let mut tag = [0; TAG_LEN];
    let secret = hasher.current_secret();
    argon2id(
        matrix,
        cost.into(),
        secret,
        &[],
        &salt.0,
        &message,
        &mut tag,
    )?;
    Ok(StoredHash {
        cost,
        salt: salt.0,
        tag,
        key: hasher.current_key().cloned(),
    })
}

/// Why a stored hash cannot be evaluated: an error of the configuration or of the repository. It
/// never counts against the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unverifiable {
    /// Its key is not in the keyring, or it has none and must have one.
    UnknownKey,
    /// The keyring has other bytes under the id of its key.
    KeyMismatch,
    /// It asks for more memory, or more passes over it, than is allowed.
    CostAboveCeiling,
    /// It is cheaper than its format allows.
    CostBelowFloor,
}

/// The stored hash that an attempt is to be compared with; [`consume`](crate::rules::consume) names it.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// The hash in the attempt's slot, of this set.
    Hash(SetId, StoredHash),
    /// No hash to compare with. One evaluation is done all the same, so that timing does not tell.
    Nothing,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(set, hash) => f.debug_tuple("Hash").field(set).field(hash).finish(),
            Self::Nothing => f.write_str("Nothing"),
        }
    }
}

/// The result of comparing one attempt with one target. Only [`verify`] makes it, and
/// [`consume`](crate::rules::consume) takes it only for the attempt and the target it was made for.
#[must_use = "a verification decides nothing by itself: hand it to `consume`"]
#[derive(Debug, Clone)]
pub struct Verified {
    pub(crate) attempt: OperationId,
    pub(crate) target: Target,
    pub(crate) equality: Equality,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Equality {
    Equal,
    Different,
    Unknown(Unverifiable),
}

/// Compares an attempt with what is stored: exactly one Argon2id evaluation, whatever the target.
///
/// Tags are compared in constant time. Where there is nothing to compare with, or the stored
/// hash may not be evaluated, an evaluation at the current cost is done and its result thrown
/// away, so that all of these take the same time (OWASP ASVS 5.0, 6.3.8). The matrix keeps traces
/// of it until it is wiped, which the caller does once the answer is out.
///
/// # Errors
/// [`HashError`] when there is no memory for the evaluation.
pub fn verify(
    hasher: &Hasher,
    matrix: &mut Matrix,
    user: &UserId,
    attempt: &Attempt,
    target: &Target,
) -> Result<Verified, HashError> {
    let format = attempt.format();
    let nothing = || (hasher.cost(format), hasher.current_secret());
    let no_set = SetId::from_bytes([0; 16]);
    let (set, salt, stored_tag, (cost, secret), unverifiable) = match target {
        Target::Hash(set, stored) => match hasher.check(stored, format) {
            Ok(checked) => (*set, stored.salt, stored.tag, checked, None),
            Err(why) => (*set, stored.salt, [0; TAG_LEN], nothing(), Some(why)),
        },
        Target::Nothing => (no_set, [0; SALT_LEN], [0; TAG_LEN], nothing(), None),
    };
    let message = frame(format, user, set, attempt.slot(), attempt.payload());
    let mut tag = Zeroizing::new([0; TAG_LEN]);
    argon2id(
        matrix,
        cost.into(),
        secret,
        &[],
        &salt,
        &message,
        tag.as_mut_slice(),
    )?;
    let equal = tags_equal(&mut tag, &stored_tag);
    let equality = match (target, unverifiable) {
        (_, Some(why)) => Equality::Unknown(why),
        (Target::Hash(..), None) if equal => Equality::Equal,
        _ => Equality::Different,
    };
    Ok(Verified {
        attempt: attempt.id(),
        target: target.clone(),
        equality,
    })
}

fn tags_equal(computed: &mut [u8; TAG_LEN], stored: &[u8; TAG_LEN]) -> bool {
    classify(computed);
    let mut equal = [computed.ct_eq(stored).unwrap_u8()];
    declassify(&mut equal);
    equal[0] == 1
}

/// The message that is hashed; see `docs/framing.md`.
fn frame(
    format: Format,
    user: &UserId,
    set: SetId,
    slot: u8,
    payload: &[u8],
) -> Zeroizing<Vec<u8>> {
    framed(&[
        DOMAIN,
        &[FRAMING_VERSION],
        format.to_string().as_bytes(),
        user.as_bytes(),
        &set.to_bytes(),
        &[slot],
        payload,
    ])
}

/// The fields one after another, each behind its length in two bytes, big-endian.
fn framed(fields: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let len = fields.iter().map(|field| 2 + field.len()).sum();
    let mut message = Zeroizing::new(Vec::with_capacity(len));
    for field in fields {
        // The longest field is a user id of 255 bytes.
        let [.., high, low] = field.len().to_be_bytes();
        message.extend_from_slice(&[high, low]);
        message.extend_from_slice(field);
    }
    message
}

/// Argon2's own numbers; the crate itself only ever has one lane.
#[derive(Clone, Copy)]
struct Numbers {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl From<Cost> for Numbers {
    fn from(cost: Cost) -> Self {
        Self {
            memory_kib: cost.memory_kib,
            passes: cost.passes,
            lanes: 1,
        }
    }
}

/// The one place that calls Argon2.
fn argon2id(
    matrix: &mut Matrix,
    numbers: Numbers,
    secret: &[u8],
    associated: &[u8],
    salt: &[u8],
    message: &[u8],
    tag: &mut [u8],
) -> Result<(), HashError> {
    let Numbers {
        memory_kib,
        passes,
        lanes,
    } = numbers;
    let mut params = ParamsBuilder::new();
    params
        .m_cost(memory_kib)
        .t_cost(passes)
        .p_cost(lanes)
        .output_len(tag.len());
    params.data(AssociatedData::new(associated).map_err(|_| HashError)?);
    let params = params.build().map_err(|_| HashError)?;
    let blocks = matrix.blocks(Cost { memory_kib, passes })?;
    let argon2 = if secret.is_empty() {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
    } else {
        Argon2::new_with_secret(secret, Algorithm::Argon2id, Version::V0x13, params)
            .map_err(|_| HashError)?
    };
    argon2
        .hash_password_into_with_memory(message, salt, tag, blocks)
        .map_err(|_| HashError)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9106, 5.3: Argon2id with secret and associated data.
    #[test]
    fn rfc_9106_vector() {
        let mut tag = [0; 32];
        let numbers = Numbers {
            memory_kib: 32,
            passes: 3,
            lanes: 4,
        };
        argon2id(
            &mut Matrix::new(),
            numbers,
            &[3; 8],
            &[4; 12],
            &[2; 16],
            &[1; 32],
            &mut tag,
        )
        .unwrap();
        let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
        );
    }

    #[test]
    fn the_documented_example_is_what_is_computed() {
        let set = SetId::from_bytes(std::array::from_fn(|i| u8::try_from(i).unwrap()));
        let user = UserId::new("42").unwrap();
        let message = frame(Format::CROCKFORD, &user, set, 3, b"0123456789ABCD");
        let document = include_str!("../docs/framing.md");
        let hex = |text: &str| {
            text.chars()
                .filter(char::is_ascii_hexdigit)
                .collect::<String>()
        };
        let documented: String = document
            .lines()
            .skip_while(|line| !line.starts_with("000c 6261"))
            .take(3)
            .map(hex)
            .collect();
        let actual: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(actual, documented);

        let mut tag = [0; TAG_LEN];
        let cost = Cost::MIB_19;
        argon2id(
            &mut Matrix::new(),
            cost.into(),
            &[],
            &[],
            &[0x5a; 16],
            &message,
            &mut tag,
        )
        .unwrap();
        let phc = StoredHash {
            cost,
            salt: [0x5a; 16],
            tag,
            key: None,
        }
        .expose_phc();
        assert!(document.contains(&format!("{phc}\n")), "{phc}");
    }

    #[test]
    fn the_published_vectors_are_what_is_computed() {
        use crate::hash::keyring::Pepper;
        use serde_json::Value;

        let vectors: Value = serde_json::from_str(include_str!("../docs/vectors.json")).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let bytes = |value: &Value| -> Vec<u8> {
            let digits = text(value);
            let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
            pairs.map(|p| u8::from_str_radix(p, 16).unwrap()).collect()
        };
        let number = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };

        let keys = vectors["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 3);
        for key in keys {
            let id = text(&key["id"]);
            let message = framed(&[KEY_CHECK_DOMAIN, &[FRAMING_VERSION], id.as_bytes()]);
            assert_eq!(hex(&message), key["message"], "{id}");
            let pepper = Pepper::new(bytes(&key["pepper"])).unwrap();
            let stored = current(Keyring::new(KeyId::new(&*id).unwrap(), pepper));
            assert_eq!(stored.to_string(), format!("{id}:{}", text(&key["check"])));
        }

        let codes = vectors["codes"].as_array().unwrap();
        assert_eq!(codes.len(), 30);
        let mut matrix = Matrix::new();
        for code in codes {
            let shown = text(&code["shown"]);
            let format: Format = text(&code["format"]).parse().unwrap();
            let formats = crate::code::format::Formats::new(format);
            let attempt =
                Attempt::parse(&shown, &formats, OperationId::from_bytes([1; 16])).unwrap();
            assert_eq!(u32::from(attempt.slot()), number(&code["slot"]), "{shown}");
            assert_eq!(attempt.payload(), text(&code["payload"]).as_bytes());
            assert!(shown.ends_with(&text(&code["check"])), "{shown}");

            let user = UserId::new(bytes(&code["user"])).unwrap();
            let set = SetId::from_bytes(bytes(&code["set"]).try_into().unwrap());
            let message = frame(format, &user, set, attempt.slot(), attempt.payload());
            assert_eq!(hex(&message), code["message"], "{shown}");

            let cost = Cost::new(number(&code["m"]), number(&code["t"])).unwrap();
            let pepper = &code["pepper"];
            let secret = match pepper {
                Value::Null => Vec::new(),
                pepper => bytes(pepper),
            };
            let salt: [u8; SALT_LEN] = bytes(&code["salt"]).try_into().unwrap();
            let mut tag = [0; TAG_LEN];
            argon2id(
                &mut matrix,
                cost.into(),
                &secret,
                &[],
                &salt,
                &message,
                &mut tag,
            )
            .unwrap();
            let key = keys.iter().find(|key| key["pepper"] == *pepper);
            let key =
                key.map(|key| format!("{}:{}", text(&key["id"]), text(&key["check"])).parse());
            let stored = StoredHash {
                cost,
                salt,
                tag,
                key: key.transpose().unwrap(),
            };
            assert_eq!(stored.expose_phc(), code["phc"], "{shown}");
            let scheme = Scheme::new(format, cost, stored.key);
            assert_eq!(scheme.to_string(), code["scheme"], "{shown}");
        }
    }

    #[test]
    fn the_cost_floor_has_its_three_steps() {
        let suffices = |m, t| Cost::new(m, t).unwrap().suffices(Format::CROCKFORD);
        for (m, t, expected) in [
            (47_104, 1, true),
            (47_103, 1, false),
            (19_456, 2, true),
            (19_455, 2, false),
            (12_288, 3, true),
            (12_287, 3, false),
            (12_287, 16, false),
            (8, 1, false),
        ] {
            assert_eq!(suffices(m, t), expected, "m={m} t={t}");
            assert_eq!(
                Hasher::new(Keyring::without_pepper())
                    .unwrap()
                    .with_cost(Cost::new(m, t).unwrap())
                    .is_ok(),
                expected
            );
        }
        for (m, t) in [(7, 1), (8, 0), ((1 << 20) + 1, 1), (8, 17)] {
            assert_eq!(Cost::new(m, t), Err(CostError::OutOfBounds));
        }
    }

    #[test]
    fn cheap_hashing_begins_at_112_bits() {
        let at_110 = Format::crockford(22).unwrap();
        let at_115 = Format::crockford(23).unwrap();
        assert!(!Cost::LEAST.suffices(at_110));
        assert!(Cost::LEAST.suffices(at_115));
        let hasher = Hasher::new(Keyring::without_pepper())
            .unwrap()
            .with_high_entropy_cost(Cost::LEAST);
        assert_eq!(hasher.cost(at_110), Cost::MIB_19);
        assert_eq!(hasher.cost(at_115), Cost::LEAST);
    }

    #[test]
    fn a_row_that_asks_for_four_gibibytes_is_refused_without_allocating() {
        let phc = |m: u64| {
            format!(
                "$argon2id$v=19$m={m},t=1,p=1$WlpaWlpaWlpaWlpaWlpaWg$\
                 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            )
        };
        assert!(phc(4 << 20).parse::<StoredHash>().is_err());
        let stored: StoredHash = phc(1 << 20).parse().unwrap();
        let hasher = Hasher::new(Keyring::without_pepper()).unwrap();
        assert_eq!(
            hasher.check(&stored, Format::CROCKFORD),
            Err(Unverifiable::CostAboveCeiling)
        );
    }

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
            assert_eq!(bad.parse::<StoredHash>(), Err(StoredHashError), "{bad}");
        }
    }

    #[test]
    fn the_matrix_is_wiped_after_a_hash_and_by_hand() {
        let mut matrix = Matrix::new();
        let mut tag = [0; 32];
        argon2id(
            &mut matrix,
            Cost::LEAST.into(),
            &[],
            &[],
            &[2; 16],
            b"x",
            &mut tag,
        )
        .unwrap();
        let zero = |matrix: &Matrix| {
            matrix
                .blocks
                .iter()
                .all(|block| block.as_ref().iter().all(|word| *word == 0))
        };
        assert!(!zero(&matrix));
        matrix.wipe();
        assert!(zero(&matrix));
    }

    fn keyring(id: &str, byte: u8) -> Keyring {
        use crate::hash::keyring::Pepper;
        Keyring::new(KeyId::new(id).unwrap(), Pepper::new([byte; 32]).unwrap())
    }

    fn current(keyring: Keyring) -> StoredKey {
        Hasher::new(keyring).unwrap().current_key().unwrap().clone()
    }

    #[test]
    fn a_check_value_depends_on_the_key_and_on_its_id() {
        let key = current(keyring("a", 1));
        assert_eq!(key, current(keyring("a", 1)));
        assert_ne!(
            key.to_string()[1..],
            current(keyring("b", 1)).to_string()[1..]
        );
        assert_ne!(key, current(keyring("a", 2)));
    }

    #[test]
    fn unknown_other_and_missing_keys_fail_closed() {
        let check = |keyring: Keyring, key: Option<&StoredKey>| {
            Hasher::new(keyring).unwrap().known_keys().check(key)
        };
        let key = current(keyring("a", 1));
        let (unknown, mismatch) = (Unverifiable::UnknownKey, Unverifiable::KeyMismatch);
        assert_eq!(check(keyring("a", 1), Some(&key)), Ok(()));
        assert_eq!(check(keyring("a", 2), Some(&key)), Err(mismatch));
        assert_eq!(check(keyring("b", 1), Some(&key)), Err(unknown));
        assert_eq!(check(keyring("a", 1), None), Err(unknown));
        assert_eq!(check(keyring("a", 1).accepting_unpeppered(), None), Ok(()));
        assert_eq!(check(Keyring::without_pepper(), Some(&key)), Err(unknown));
        assert_eq!(check(Keyring::without_pepper(), None), Ok(()));
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
