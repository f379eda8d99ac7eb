//! Hashing: Argon2id over a framed code, and the constant-time comparison.
//!
//! [`framing`](crate::framing) specifies the bytes that are hashed.
//!
//! ```
//! use backup_codes::hash::{Cost, HashParams, KeyId, Keyring, Pepper};
//! use backup_codes::Format;
//!
//! // In an application, 32 random bytes from a secret store.
//! let pepper = Pepper::new([7; 32])?;
//! let keyring = Keyring::new(KeyId::new("2026-1")?, pepper);
//! let params = HashParams::new(keyring)?.with_cost(Cost::MIB_46)?;
//! assert_eq!(params.cost(Format::CROCKFORD), Cost::MIB_46);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! For cheap hashing in tests, take the module `testing` (feature `testing`).

pub(crate) mod acceptance;
pub(crate) mod cost;
pub(crate) mod default_engine;
pub(crate) mod engine;
pub(crate) mod hashing;
pub(crate) mod keyring;
mod keyring_text;
pub(crate) mod message;
pub(crate) mod params;
pub(crate) mod pool;
pub(crate) mod stored;

pub use self::acceptance::{Acceptance, Scheme};
pub use self::cost::Cost;
pub use self::default_engine::DefaultEngine;
pub use self::engine::{Engine, self_test};
pub use self::hashing::{Hashing, PoolSize};
pub use self::keyring::{KeyId, Keyring, Pepper, StoredKey};
pub use self::params::HashParams;
pub use self::stored::{HashSalt, StoredHash, Unverifiable};
pub use crate::error::machine::HashError;

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::code::Code;
use crate::code::attempt::Attempt;
use crate::code::format::{classify, declassify};
use crate::hash::message::code_message;
use crate::hash::stored::{SALT_LEN, TAG_LEN};
use crate::id::{OperationId, SetId, UserId};

/// Hashes one code for its user and set.
///
/// It does one Argon2id evaluation over the message described in [`framing`](crate::framing). The
/// engine keeps traces of the code: call [`Engine::wipe`] once the answer is out.
///
/// # Errors
/// [`HashError::Memory`] when there is no memory for the evaluation.
pub fn hash(
    params: &HashParams,
    engine: &mut dyn Engine,
    user: &UserId,
    set: SetId,
    code: &Code,
    salt: HashSalt,
) -> Result<StoredHash, HashError> {
    let cost = params.cost(code.format());
    let message = code_message(code.format(), user, set, code.slot(), code.payload());
    let mut tag = [0; TAG_LEN];
    let secret = params.current_secret();
    engine.evaluate(cost, secret, salt.as_bytes(), &message, &mut tag)?;
    let key = params.current_key().cloned();
    Ok(StoredHash::new(cost, salt, tag, key))
}

/// The stored hash with which an attempt is to be compared; [`consume`](crate::rules::consume)
/// returns it.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// The hash in the attempt's slot, of this set.
    Hash(SetId, StoredHash),
    /// No code can match. One hash is still computed, so that timing does not tell.
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

/// The result of comparing one attempt with one target. Only [`verify`] creates it, and
/// [`consume`](crate::rules::consume) accepts it only for that attempt and that target.
#[must_use = "a verification decides nothing by itself: pass it to `consume`"]
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

/// Compares an attempt with a stored hash: exactly one Argon2id evaluation, whatever the target.
///
/// Tags are compared in constant time. Where there is no hash to compare with, or the stored hash
/// may not be evaluated, one evaluation at the current cost is done and its result discarded, so
/// that all of these take the same time (OWASP ASVS 5.0, 6.3.8). The engine keeps traces of the
/// code: call [`Engine::wipe`] once the answer is out.
///
/// # Errors
/// [`HashError::Memory`] when there is no memory for the evaluation.
pub fn verify(
    params: &HashParams,
    engine: &mut dyn Engine,
    user: &UserId,
    attempt: &Attempt,
    target: &Target,
) -> Result<Verified, HashError> {
    let format = attempt.format();
    let nothing = || (params.cost(format), params.current_secret());
    let no_set = SetId::from_bytes([0; 16]);
    let (set, salt, stored_tag, (cost, secret), unverifiable) = match target {
        Target::Hash(set, stored) => match params.check(stored, format) {
            Ok(checked) => (*set, *stored.salt(), *stored.tag(), checked, None),
            Err(why) => (*set, *stored.salt(), [0; TAG_LEN], nothing(), Some(why)),
        },
        Target::Nothing => (no_set, [0; SALT_LEN], [0; TAG_LEN], nothing(), None),
    };
    let message = code_message(format, user, set, attempt.slot(), attempt.payload());
    let mut tag = Zeroizing::new([0; TAG_LEN]);
    engine.evaluate(cost, secret, &salt, &message, &mut tag)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::format::Format;
    use crate::hash::message::key_message;

    #[test]
    fn the_documented_example_is_what_is_computed() {
        let set = SetId::from_bytes(std::array::from_fn(|i| u8::try_from(i).unwrap()));
        let user = UserId::new("42").unwrap();
        let message = code_message(Format::CROCKFORD, &user, set, 3, b"0123456789ABCD");
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
        let salt = [0x5a; SALT_LEN];
        DefaultEngine::new()
            .evaluate(cost, &[], &salt, &message, &mut tag)
            .unwrap();
        let phc = StoredHash::new(cost, HashSalt::from_bytes(salt), tag, None).expose_phc();
        assert!(document.contains(&format!("{phc}\n")), "{phc}");
    }

    #[test]
    fn the_published_vectors_are_what_is_computed() {
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
            let message = key_message(&KeyId::new(&*id).unwrap());
            assert_eq!(hex(&message), key["message"], "{id}");
            let pepper = Pepper::new(bytes(&key["pepper"])).unwrap();
            let stored = HashParams::new(Keyring::new(KeyId::new(&*id).unwrap(), pepper)).unwrap();
            let stored = stored.current_key().unwrap();
            assert_eq!(stored.to_string(), format!("{id}:{}", text(&key["check"])));
        }

        let codes = vectors["codes"].as_array().unwrap();
        assert_eq!(codes.len(), 30);
        let mut engine = DefaultEngine::new();
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
            let message = code_message(format, &user, set, attempt.slot(), attempt.payload());
            assert_eq!(hex(&message), code["message"], "{shown}");

            let cost = Cost::new(number(&code["m"]), number(&code["t"])).unwrap();
            let pepper = &code["pepper"];
            let secret = match pepper {
                Value::Null => Vec::new(),
                pepper => bytes(pepper),
            };
            let salt: [u8; SALT_LEN] = bytes(&code["salt"]).try_into().unwrap();
            let mut tag = [0; TAG_LEN];
            engine
                .evaluate(cost, &secret, &salt, &message, &mut tag)
                .unwrap();
            let key = keys.iter().find(|key| key["pepper"] == *pepper);
            let key =
                key.map(|key| format!("{}:{}", text(&key["id"]), text(&key["check"])).parse());
            let key: Option<StoredKey> = key.transpose().unwrap();
            let stored = StoredHash::new(cost, HashSalt::from_bytes(salt), tag, key.clone());
            assert_eq!(stored.expose_phc(), code["phc"], "{shown}");
            let scheme = Scheme::new(format, cost, key);
            assert_eq!(scheme.to_string(), code["scheme"], "{shown}");
        }
    }
}
