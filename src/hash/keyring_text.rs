//! A keyring as one text, as an environment variable or a secret store holds it.

use std::str::FromStr;

use base64ct::{Base64Unpadded, Encoding};
use zeroize::Zeroizing;

use crate::error::value::{KeyFlaw, ValueError};
use crate::hash::keyring::{KeyId, Keyring, Pepper};

impl FromStr for Keyring {
    type Err = ValueError;

    /// Reads keys as `id:hex:…` or `id:base64:…`, separated by commas. The first is the current one.
    ///
    /// Base64 has the standard alphabet (RFC 4648, section 4), with or without padding. White space
    /// around a key is ignored, such as the line break at the end of a file. The text stays the
    /// caller's: wipe it.
    ///
    /// # Errors
    /// [`ValueError::KeyText`], with the position of the key and its id, and no other part of the
    /// text: a key that is not of this form, that has fewer than 32 bytes or more than 1024, that is
    /// printable ASCII and white space and so not random, or that has the id or the bytes of a key
    /// before it.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut keyring: Option<Self> = None;
        for (before, text) in text.split(',').enumerate() {
            let position = before + 1;
            let (id, encoding, digits) = fields(text).ok_or(ValueError::KeyText {
                position,
                id: None,
                flaw: KeyFlaw::Form,
            })?;
            // Where the rest is as short as an id, the secret may stand in the place of the id.
            let shown = (digits.len() > 32).then(|| id.to_string());
            let error = |flaw| ValueError::KeyText {
                position,
                id: shown.clone(),
                flaw,
            };
            let pepper = pepper(encoding, digits).map_err(error)?;
            let repeats = |(_, secret): (_, &[u8])| secret == pepper.expose();
            keyring = Some(match keyring {
                None => Self::new(id, pepper),
                Some(keyring) if keyring.secrets().any(repeats) => {
                    return Err(error(KeyFlaw::RepeatedBytes));
                }
                Some(keyring) => {
                    let older = keyring.with_older(id, pepper);
                    older.map_err(|_| error(KeyFlaw::RepeatedId))?
                }
            });
        }
        // A split text has at least one part.
        keyring.ok_or(ValueError::KeyId)
    }
}

/// The encodings of a key's bytes.
enum Digits {
    Hex,
    Base64,
}

/// Divides the text of one key.
fn fields(text: &str) -> Option<(KeyId, Digits, &str)> {
    let (id, rest) = text.trim_ascii().split_once(':')?;
    let (encoding, digits) = rest.split_once(':')?;
    let encoding = match encoding {
        "hex" => Digits::Hex,
        "base64" => Digits::Base64,
        _ => return None,
    };
    Some((KeyId::new(id).ok()?, encoding, digits))
}

fn pepper(encoding: Digits, digits: &str) -> Result<Pepper, KeyFlaw> {
    // Both encodings are longer than their bytes, so the buffer never grows and leaves no copy.
    let mut bytes = Zeroizing::new(vec![0; digits.len()]);
    let decoded = match encoding {
        Digits::Hex => base16ct::mixed::decode(digits, &mut bytes)
            .ok()
            .map(<[u8]>::len),
        Digits::Base64 => {
            let unpadded = match digits.len() % 4 {
                0 => digits.strip_suffix("==").or(digits.strip_suffix('=')),
                _ => None,
            };
            let unpadded = unpadded.unwrap_or(digits);
            Base64Unpadded::decode(unpadded, &mut bytes)
                .ok()
                .map(<[u8]>::len)
        }
    };
    let len = decoded.ok_or(KeyFlaw::Digits)?;
    bytes.truncate(len);
    if len > 0
        && bytes
            .iter()
            .all(|byte| matches!(byte, b'\t'..=b'\r' | b' '..=b'~'))
    {
        return Err(KeyFlaw::Printable);
    }
    Pepper::new(std::mem::take(&mut *bytes)).map_err(|_| KeyFlaw::Length(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::HashParams;

    /// 32 bytes, from this one on.
    fn bytes(first: u8) -> Vec<u8> {
        (first..first + 32).collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn base64(bytes: &[u8]) -> String {
        let mut text = vec![0; 2 * bytes.len()];
        Base64Unpadded::encode(bytes, &mut text).unwrap().to_owned()
    }

    /// Returns the current key, and each id with its bytes.
    fn read(text: &str) -> (String, Vec<(String, Vec<u8>)>) {
        let keyring: Keyring = text.parse().unwrap();
        let secrets = keyring.secrets();
        let all = secrets.map(|(id, secret)| (id.to_string(), secret.to_vec()));
        (keyring.current().unwrap().to_string(), all.collect())
    }

    #[test]
    fn keys_are_read_in_both_encodings() {
        let (one, two) = (bytes(1), bytes(101));
        let expected = vec![("a".to_owned(), two.clone()), ("b".to_owned(), one.clone())];
        for one in [
            format!("b:hex:{}", hex(&one)),
            format!("b:hex:{}", hex(&one).to_uppercase()),
            format!("b:base64:{}", base64(&one)),
            format!("b:base64:{}=", base64(&one)),
            format!("\n b:base64:{}=\r\n", base64(&one)),
        ] {
            let text = format!("{one},a:hex:{}", hex(&two));
            assert_eq!(read(&text), ("b".to_owned(), expected.clone()), "{text}");
            let text = format!("a:hex:{} , {one}", hex(&two));
            assert_eq!(read(&text), ("a".to_owned(), expected.clone()), "{text}");
        }
        for len in [32, 33, 34, 1024] {
            let long = vec![0xff; len];
            let padding = ["", "==", "="][len % 3];
            let text = format!("a:base64:{}{padding}", base64(&long));
            assert_eq!(read(&text).1, [("a".to_owned(), long)]);
        }
    }

    #[test]
    fn a_keyring_from_text_hashes_as_one_from_bytes() {
        let key = |keyring: Keyring| HashParams::new(keyring).unwrap().current_key().cloned();
        let text: Keyring = format!("a:hex:{}", hex(&bytes(1))).parse().unwrap();
        let same = Keyring::new(KeyId::new("a").unwrap(), Pepper::new(bytes(1)).unwrap());
        assert_eq!(key(text), key(same));
    }

    #[test]
    fn what_is_no_key_is_refused_with_its_position_and_id() {
        let (good, other) = (hex(&bytes(1)), hex(&bytes(101)));
        let printable = hex(b"correct horse battery staple 123");
        for (text, position, id, flaw) in [
            (String::new(), 1, None, KeyFlaw::Form),
            (good.clone(), 1, None, KeyFlaw::Form),
            (format!("a:{good}"), 1, None, KeyFlaw::Form),
            (format!("a:HEX:{good}"), 1, None, KeyFlaw::Form),
            (format!("a:base64url:{good}"), 1, None, KeyFlaw::Form),
            (format!(":hex:{good}"), 1, None, KeyFlaw::Form),
            (format!("a b:hex:{good}"), 1, None, KeyFlaw::Form),
            (format!("a:hex:{good},"), 2, None, KeyFlaw::Form),
            (
                format!("a:hex:{good};b:hex:{other}"),
                1,
                Some("a"),
                KeyFlaw::Digits,
            ),
            (format!("a:hex:{good}0"), 1, Some("a"), KeyFlaw::Digits),
            (format!("a:hex:0x{good}"), 1, Some("a"), KeyFlaw::Digits),
            (
                format!("a:hex:{good},b:hex:{}g{}", &other[..9], &other[10..]),
                2,
                Some("b"),
                KeyFlaw::Digits,
            ),
            (
                format!("a:base64:{}", base64(&[0xff; 32]).replace('/', "_")),
                1,
                Some("a"),
                KeyFlaw::Digits,
            ),
            (
                format!("a:base64:{}==", base64(&bytes(1))),
                1,
                Some("a"),
                KeyFlaw::Digits,
            ),
            (
                format!("a:base64:{}", &base64(&[9; 36])[..45]),
                1,
                Some("a"),
                KeyFlaw::Digits,
            ),
            ("a:hex:".to_owned(), 1, None, KeyFlaw::Length(0)),
            (
                format!("a:hex:{}", &good[..32]),
                1,
                None,
                KeyFlaw::Length(16),
            ),
            (
                format!("a:hex:{}", &good[..34]),
                1,
                Some("a"),
                KeyFlaw::Length(17),
            ),
            (
                format!("a:hex:{printable}0a"),
                1,
                Some("a"),
                KeyFlaw::Printable,
            ),
            (
                format!("a:hex:{}", &good[2..]),
                1,
                Some("a"),
                KeyFlaw::Length(31),
            ),
            (
                format!("a:base64:{}", base64(&[200; 1025])),
                1,
                Some("a"),
                KeyFlaw::Length(1025),
            ),
            (
                format!("a:hex:{printable}"),
                1,
                Some("a"),
                KeyFlaw::Printable,
            ),
            (
                format!("a:hex:{good},a:hex:{other}"),
                2,
                Some("a"),
                KeyFlaw::RepeatedId,
            ),
            (
                format!("a:hex:{good},b:base64:{}", base64(&bytes(1))),
                2,
                Some("b"),
                KeyFlaw::RepeatedBytes,
            ),
        ] {
            let id = id.map(str::to_owned);
            let expected = ValueError::KeyText { position, id, flaw };
            assert_eq!(text.parse::<Keyring>().err(), Some(expected), "{text}");
        }
    }

    #[test]
    fn an_error_repeats_no_part_of_the_secret() {
        let secret = hex(&bytes(1));
        let (start, end) = (&secret[..10], &secret[54..]);
        for text in [
            secret.clone(),
            format!("a:hex:{secret}0"),
            format!("{secret}:hex:a"),
            format!("{start}:2026:hex"),
            format!("{start}:hex:2026"),
            format!("{start}:base64:2026-1"),
            format!("hex:{start}"),
            format!("base64:{start}:2026"),
            format!("a:hex:{end}"),
        ] {
            let error = text.parse::<Keyring>().unwrap_err();
            for said in [error.to_string(), format!("{error:?}")] {
                assert!(!said.contains(start) && !said.contains(end), "{said}");
            }
        }
    }
}
