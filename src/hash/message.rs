//! The messages that are hashed, as `docs/framing.md` specifies them.

use zeroize::Zeroizing;

use crate::code::Format;
use crate::hash::keyring::KeyId;
use crate::id::{SetId, UserId};

const DOMAIN: &[u8] = b"backup-codes";
const KEY_CHECK_DOMAIN: &[u8] = b"backup-codes key check";
const FRAMING_VERSION: u8 = 1;

/// Returns the message of a code.
pub(crate) fn code_message(
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

/// Returns the fields one after another, each preceded by its length in two bytes, big-endian.
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

/// Returns the message of a key's check value.
pub(crate) fn key_message(id: &KeyId) -> Zeroizing<Vec<u8>> {
    framed(&[KEY_CHECK_DOMAIN, &[FRAMING_VERSION], id.as_str().as_bytes()])
}
