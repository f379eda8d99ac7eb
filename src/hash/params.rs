//! The parameters of hashing: keys, cost, and bounds.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use zeroize::Zeroizing;

use crate::code::Format;
use crate::error::machine::HashError;
use crate::error::value::ValueError;
use crate::hash::cost::{Cost, HIGH_ENTROPY_BITS};
use crate::hash::default_engine::DefaultEngine;
use crate::hash::engine::Engine;
use crate::hash::keyring::{KeyId, Keyring, StoredKey};
use crate::hash::message::key_message;
use crate::hash::stored::{SALT_LEN, StoredHash, TAG_LEN, Unverifiable};

const KEY_CHECK_SALT: [u8; SALT_LEN] = *b"backup-codes key";

/// The parameters of hashing: keyring, cost of new hashes, and bounds of stored ones.
#[derive(Debug)]
pub struct HashParams {
    keyring: Keyring,
    known: KnownKeys,
    cost: Cost,
    high_entropy_cost: Option<Cost>,
    bounds: CostBounds,
}

impl HashParams {
    /// Creates parameters that hash at [`Cost::MIB_19`] with the keyring's current key.
    ///
    /// It computes the check value of each key with the [`DefaultEngine`], one evaluation at the default
    /// cost each.
    ///
    /// # Errors
    /// [`HashError::Memory`] when there is no memory for an evaluation.
    pub fn new(keyring: Keyring) -> Result<Self, HashError> {
        let mut engine = DefaultEngine::new();
        let checks = keyring.secrets().map(|(id, secret)| {
            let check = key_check(&mut engine, id, secret)?;
            Ok((id.clone(), StoredKey::new(id.clone(), check)))
        });
        let known = KnownKeys {
            checks: checks.collect::<Result<_, HashError>>()?,
            unpeppered: keyring.accepts_unpeppered(),
        };
        Ok(Self::with_known(keyring, known))
    }

    fn with_known(keyring: Keyring, known: KnownKeys) -> Self {
        Self {
            keyring,
            known,
            cost: Cost::MIB_19,
            high_entropy_cost: None,
            bounds: CostBounds::default(),
        }
    }

    /// Returns the parameters without a pepper, for which nothing has to be computed.
    #[cfg(feature = "testing")]
    pub(crate) fn unpeppered() -> Self {
        Self::with_known(Keyring::without_pepper(), KnownKeys::unpeppered())
    }

    /// Sets the cost of new hashes.
    ///
    /// # Errors
    /// [`ValueError::CostBelowFloor`] below the minimum for codes under 112 bits.
    pub fn with_cost(mut self, cost: Cost) -> Result<Self, ValueError> {
        if !cost.suffices(Format::CROCKFORD) {
            return Err(ValueError::CostBelowFloor);
        }
        self.cost = cost;
        self.bounds = self.bounds.raised_to(cost);
        Ok(self)
    }

    /// Sets the cost of new hashes of codes with at least 112 payload bits; there is no minimum.
    ///
    /// Such codes cannot be guessed even with a fast hash (NIST SP 800-63B-4, 3.1.2.2). Other codes
    /// are not affected.
    #[must_use]
    pub fn with_high_entropy_cost(mut self, cost: Cost) -> Self {
        self.high_entropy_cost = Some(cost);
        self.bounds = self.bounds.raised_to(cost);
        self
    }

    /// Returns the cost of new hashes of codes in this format.
    #[must_use]
    pub fn cost(&self, format: Format) -> Cost {
        let enough = format.payload_bits() >= HIGH_ENTROPY_BITS;
        self.high_entropy_cost
            .filter(|_| enough)
            .unwrap_or(self.cost)
    }

    /// Returns the maximum memory of a stored hash, in KiB: 46 MiB, or the configured cost where
    /// that is more. A row that asks for more is not evaluated, nor is one whose memory times
    /// passes exceed both 92 MiB and those of the configured cost.
    #[must_use]
    pub fn max_memory_kib(&self) -> u32 {
        self.bounds.max_memory_kib
    }

    /// Returns the key of new hashes.
    #[must_use]
    pub fn current_key(&self) -> Option<&StoredKey> {
        self.known.checks.get(self.keyring.current()?)
    }

    /// Checks that an engine computes the check value of each key.
    ///
    /// Its codes are hashed with these secrets, whose lengths no known tag may have.
    pub(crate) fn check_keys(&self, engine: &mut dyn Engine) -> Result<(), HashError> {
        for (id, secret) in self.keyring.secrets() {
            let fault = match catch_unwind(AssertUnwindSafe(|| key_check(engine, id, secret))) {
                Err(_) => "panicked at the",
                Ok(Err(error)) => return Err(error),
                Ok(Ok(check)) => {
                    let computed = StoredKey::new(id.clone(), check);
                    if self.known.checks.get(id) == Some(&computed) {
                        continue;
                    }
                    "computed a wrong"
                }
            };
            let said = format!("{fault} check value of the key {id}");
            return Err(HashError::Engine(said));
        }
        Ok(())
    }

    pub(crate) fn known_keys(&self) -> &KnownKeys {
        &self.known
    }

    pub(crate) fn bounds(&self) -> CostBounds {
        self.bounds
    }

    /// Returns the bytes of the key of new hashes.
    pub(crate) fn current_secret(&self) -> &[u8] {
        let secret = |id| self.keyring.secret(id);
        self.keyring.current().and_then(secret).unwrap_or_default()
    }

    /// Returns cost and key of a stored hash, if it may be evaluated for a code of this format.
    pub(crate) fn check<'a>(
        &'a self,
        stored: &StoredHash,
        format: Format,
    ) -> Result<(Cost, &'a [u8]), Unverifiable> {
        self.bounds.check(stored.cost(), format)?;
        self.known.check(stored.key())?;
        let secret = stored.key().and_then(|key| self.keyring.secret(key.id()));
        Ok((stored.cost(), secret.unwrap_or_default()))
    }
}

/// Computes the check value of a key; see `docs/framing.md`.
fn key_check(
    engine: &mut dyn Engine,
    id: &KeyId,
    secret: &[u8],
) -> Result<[u8; StoredKey::CHECK_LEN], HashError> {
    let mut tag = Zeroizing::new([0; TAG_LEN]);
    let message = key_message(id);
    engine.evaluate(Cost::MIB_19, secret, &KEY_CHECK_SALT, &message, &mut tag)?;
    engine.wipe();
    let [a, b, c, d, ..] = *tag;
    Ok([a, b, c, d])
}

/// The bounds of the cost of a stored hash, checked before anything is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CostBounds {
    max_memory_kib: u32,
    max_work: u64,
}

impl Default for CostBounds {
    /// Returns the bounds of 46 MiB of memory, and of twice that in memory times passes.
    fn default() -> Self {
        Self {
            max_memory_kib: Cost::MIB_46.memory_kib(),
            max_work: 2 * Cost::MIB_46.work(),
        }
    }
}

impl CostBounds {
    fn raised_to(self, cost: Cost) -> Self {
        Self {
            max_memory_kib: self.max_memory_kib.max(cost.memory_kib()),
            max_work: self.max_work.max(cost.work()),
        }
    }

    /// Checks whether a hash of this cost may be evaluated for a code of this format.
    pub(crate) fn check(self, cost: Cost, format: Format) -> Result<(), Unverifiable> {
        if cost.memory_kib() > self.max_memory_kib || cost.work() > self.max_work {
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
    /// Returns no keys: only hashes without one.
    pub(crate) fn unpeppered() -> Self {
        Self {
            checks: BTreeMap::new(),
            unpeppered: true,
        }
    }

    /// Checks whether a hash with this key can be evaluated.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::keyring::Pepper;

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
                HashParams::new(Keyring::without_pepper())
                    .unwrap()
                    .with_cost(Cost::new(m, t).unwrap())
                    .is_ok(),
                expected
            );
        }
        for (m, t) in [(7, 1), (8, 0), ((1 << 20) + 1, 1), (8, 17)] {
            assert_eq!(Cost::new(m, t), Err(ValueError::Cost));
        }
    }

    #[test]
    fn cheap_hashing_begins_at_112_bits() {
        let at_110 = Format::crockford(22).unwrap();
        let at_115 = Format::crockford(23).unwrap();
        assert!(!Cost::LEAST.suffices(at_110));
        assert!(Cost::LEAST.suffices(at_115));
        let params = HashParams::new(Keyring::without_pepper())
            .unwrap()
            .with_high_entropy_cost(Cost::LEAST);
        assert_eq!(params.cost(at_110), Cost::MIB_19);
        assert_eq!(params.cost(at_115), Cost::LEAST);
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
        let params = HashParams::new(Keyring::without_pepper()).unwrap();
        assert_eq!(
            params.check(&stored, Format::CROCKFORD),
            Err(Unverifiable::CostAboveCeiling)
        );
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
            HashParams::new(keyring).unwrap().known_keys().check(key)
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

    fn keyring(id: &str, byte: u8) -> Keyring {
        Keyring::new(KeyId::new(id).unwrap(), Pepper::new([byte; 32]).unwrap())
    }

    fn current(keyring: Keyring) -> StoredKey {
        HashParams::new(keyring)
            .unwrap()
            .current_key()
            .unwrap()
            .clone()
    }
}
