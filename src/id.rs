//! The identifiers of users, roles, sets, events, operations and revisions.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rand_core::TryCryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::machine::RandomError;
use crate::error::value::IdError;

/// The application's key for a user: 1 to 255 bytes, compared byte for byte.
///
/// There is no collation, case folding or normalisation anywhere: `Alice` and `alice` are two
/// users. Use the primary key of the user's row, never a login name that can be edited.
///
/// ```
/// use backup_codes::UserId;
///
/// assert!(UserId::new("").is_err());
/// assert_ne!(UserId::new("Alice")?, UserId::new("alice")?);
/// # Ok::<(), backup_codes::error::IdError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<[u8]>);

impl UserId {
    /// The maximum length in bytes.
    pub const MAX_LEN: usize = 255;

    /// Creates a key from the bytes of the application's own key.
    ///
    /// # Errors
    /// [`IdError::UserId`] when there are no bytes, or more than 255.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, IdError> {
        let bytes = bytes.as_ref();
        if bytes.is_empty() || bytes.len() > Self::MAX_LEN {
            return Err(IdError::UserId(bytes.len()));
        }
        Ok(Self(bytes.into()))
    }

    /// Returns the bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Returns `true` for characters that make a text from outside unsafe to show: those that could end
/// its line, change the order in which the text around it is shown, or hide in it.
///
/// These are, by the properties of Unicode 17.0, the control characters, line separators and
/// paragraph separators (`General_Category` Cc, Zl, Zp) and the format characters (Cf), which
/// include every `Bidi_Control`. Two kinds of format characters are left out, because names are
/// spelt with them: `Join_Control` (U+200C, U+200D) and `Prepended_Concatenation_Mark`.
///
/// This crate escapes or replaces such characters wherever it outputs a text for people or for a
/// log: in the `Display` of [`UserId`] and [`Role`], in [`Context`](crate::Context), on sheets, and
/// in the lines of [`JsonLines`](crate::JsonLines). Call it for texts that your own pages and logs
/// show raw.
///
/// ```
/// use backup_codes::audit::is_forging;
///
/// let agent = "curl/8\u{202e}\r\nforged";
/// let shown: String = agent.chars().map(|c| if is_forging(c) { '?' } else { c }).collect();
/// assert_eq!(shown, "curl/8???forged");
/// ```
#[must_use]
pub fn is_forging(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2064}'
                | '\u{2066}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0001}'
                | '\u{e0020}'..='\u{e007f}'
        )
}

/// Writes a text with forging characters and backslashes escaped, so that two texts never look the
/// same for a character that is escaped.
fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        if is_forging(c) || c == '\\' {
            write!(f, "{}", c.escape_default())?;
        } else {
            write!(f, "{c}")?;
        }
    }
    Ok(())
}

impl fmt::Display for UserId {
    /// Writes UTF-8 with the characters of [`is_forging`] escaped, and other bytes as `\xNN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            write_escaped(f, chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({self})")
    }
}

/// The JSON of a user id: a string where the bytes are UTF-8, else `{"hex": "…"}`; nothing is lost.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum UserIdText {
    Utf8(String),
    Hex { hex: String },
}

impl Serialize for UserId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => UserIdText::Hex { hex: hex(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = match UserIdText::deserialize(deserializer)? {
            UserIdText::Utf8(text) => text.into_bytes(),
            UserIdText::Hex { hex } => unhex(&hex)
                .ok_or_else(|| serde::de::Error::custom("a user id in hex has pairs of digits"))?,
        };
        Self::new(bytes).map_err(serde::de::Error::custom)
    }
}

/// A role, by the name the application gives it; compared exactly.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Role(String);

impl Role {
    /// Returns the role's name with nothing escaped, for comparing. To show it, use its `Display`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Role {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl From<String> for Role {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl fmt::Display for Role {
    /// Writes the name with the characters of [`is_forging`] escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, &self.0)
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Role({self})")
    }
}

/// A user, with the roles that the application says the user has at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    id: UserId,
    roles: BTreeSet<Role>,
}

impl Subject {
    /// Creates a user whom the application has identified, with that user's roles.
    pub fn new<R: Into<Role>>(id: UserId, roles: impl IntoIterator<Item = R>) -> Self {
        Self {
            id,
            roles: roles.into_iter().map(Into::into).collect(),
        }
    }

    /// Returns the user's key.
    #[must_use]
    pub fn id(&self) -> &UserId {
        &self.id
    }

    /// Returns the user's roles.
    #[must_use]
    pub fn roles(&self) -> &BTreeSet<Role> {
        &self.roles
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let value = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|v| u8::try_from(v).ok())
    };
    if digits.len() % 2 != 0 {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| Some(value(pair[0])? << 4 | value(pair[1])?))
        .collect()
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Draws an id of 128 random bits (ASVS 5.0, 11.5.1).
            ///
            /// # Errors
            /// [`RandomError`] when the generator fails.
            pub fn random<R: TryCryptoRng + ?Sized>(rng: &mut R) -> Result<Self, RandomError> {
                let mut bytes = [0; 16];
                rng.try_fill_bytes(&mut bytes).map_err(RandomError::new)?;
                Ok(Self(bytes))
            }

            /// Returns the id's bytes.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0
            }

            /// Creates the id with these bytes, as they were stored.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            /// Writes 32 lower-case hexadecimal digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let bytes = unhex(text).ok_or(IdError::Hexadecimal)?;
                Ok(Self(bytes.try_into().map_err(|_| IdError::Hexadecimal)?))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

random_id! {
    /// The id of one set of codes, or of one override code. Public: a sheet's label comes from it.
    SetId
}
random_id! {
    /// The id of one event, by which a receiver drops a repeated delivery.
    EventId
}
random_id! {
    /// The id of one operation on a record, by which it can tell whether its own write was applied.
    OperationId
}
random_id! {
    /// The id of one state of a stored record. Never used twice, so a late write cannot meet the
    /// state it expects by chance (no ABA).
    Revision
}

impl SetId {
    /// Returns a short name for people to tell sheets apart, for example `7F3A-09C1`; not unique.
    #[must_use]
    pub fn label(self) -> String {
        let digits = hex(&self.0[..4]).to_uppercase();
        format!("{}-{}", &digits[..4], &digits[4..])
    }
}

impl Revision {
    /// Returns the id of the `index`th event written together with this revision.
    ///
    /// The id is derived, not drawn, so that the pure rules need no generator. The revision is
    /// random and used once; the event ids of one write differ in the last byte.
    pub(crate) fn event(self, index: u8) -> EventId {
        let mut bytes = self.0;
        bytes[15] = bytes[15].wrapping_add(index);
        EventId(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_survive_json_whatever_their_bytes() {
        for bytes in [
            b"alice".as_slice(),
            b"\xff\xfe",
            "\u{212b}".as_bytes(),
            b"{\"hex\":\"00\"}",
        ] {
            let id = UserId::new(bytes).unwrap();
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(serde_json::from_str::<UserId>(&json).unwrap(), id);
        }
        assert!(serde_json::from_str::<UserId>("\"\"").is_err());
        assert!(serde_json::from_str::<UserId>("{\"hex\":\"0\"}").is_err());
    }

    #[test]
    fn display_of_a_user_id_stays_on_one_line() {
        let id = UserId::new(b"a\r\nb\xff\\").unwrap();
        assert_eq!(id.to_string(), "a\\r\\nb\\xff\\\\");
    }

    #[test]
    fn forging_characters_are_those_that_unicode_lists() {
        // Unicode 17.0, extracted/DerivedGeneralCategory.txt and PropList.txt.
        let general_category_cc = ['\u{0}'..='\u{1f}', '\u{7f}'..='\u{9f}'];
        let general_category_zl_zp = ['\u{2028}'..='\u{2028}', '\u{2029}'..='\u{2029}'];
        let general_category_cf = [
            '\u{ad}'..='\u{ad}',
            '\u{600}'..='\u{605}',
            '\u{61c}'..='\u{61c}',
            '\u{6dd}'..='\u{6dd}',
            '\u{70f}'..='\u{70f}',
            '\u{890}'..='\u{891}',
            '\u{8e2}'..='\u{8e2}',
            '\u{180e}'..='\u{180e}',
            '\u{200b}'..='\u{200f}',
            '\u{202a}'..='\u{202e}',
            '\u{2060}'..='\u{2064}',
            '\u{2066}'..='\u{206f}',
            '\u{feff}'..='\u{feff}',
            '\u{fff9}'..='\u{fffb}',
            '\u{110bd}'..='\u{110bd}',
            '\u{110cd}'..='\u{110cd}',
            '\u{13430}'..='\u{1343f}',
            '\u{1bca0}'..='\u{1bca3}',
            '\u{1d173}'..='\u{1d17a}',
            '\u{e0001}'..='\u{e0001}',
            '\u{e0020}'..='\u{e007f}',
        ];
        let prepended_concatenation_mark = [
            '\u{600}'..='\u{605}',
            '\u{6dd}'..='\u{6dd}',
            '\u{70f}'..='\u{70f}',
            '\u{890}'..='\u{891}',
            '\u{8e2}'..='\u{8e2}',
            '\u{110bd}'..='\u{110bd}',
            '\u{110cd}'..='\u{110cd}',
        ];
        let join_control = '\u{200c}'..='\u{200d}';
        let bidi_control = [
            '\u{61c}'..='\u{61c}',
            '\u{200e}'..='\u{200f}',
            '\u{202a}'..='\u{202e}',
            '\u{2066}'..='\u{2069}',
        ];
        for c in '\0'..=char::MAX {
            let among = |ranges: &[std::ops::RangeInclusive<char>]| {
                ranges.iter().any(|range| range.contains(&c))
            };
            let format = among(&general_category_cf)
                && !among(&prepended_concatenation_mark)
                && !join_control.contains(&c);
            let listed = among(&general_category_cc) || among(&general_category_zl_zp) || format;
            assert_eq!(is_forging(c), listed, "{c:?}");
            assert!(is_forging(c) || !among(&bidi_control), "{c:?}");
        }
    }

    #[test]
    fn ids_and_roles_show_no_forging_character() {
        let all: String = ('\0'..=char::MAX).filter(|c| is_forging(*c)).collect();
        let role = Role::from(&*all);
        assert_eq!(role.as_str(), all);
        let mut shown = vec![role.to_string(), format!("{role:?}")];
        for c in all.chars() {
            let id = UserId::new(format!("a{c}b")).unwrap();
            shown.push(id.to_string());
            shown.push(format!("{id:?}"));
            let escaped = format!("a{}b", c.escape_default());
            assert_eq!(id.to_string(), escaped);
            assert_eq!(Role::from(format!("a{c}b")).to_string(), escaped);
        }
        for text in shown {
            assert!(!text.contains(is_forging), "{text:?}");
        }
        assert_eq!(Role::from("a\\b").to_string(), "a\\\\b");
        // Some names are spelt with a joiner.
        let name = "\u{645}\u{6cc}\u{200c}\u{62e}";
        assert_eq!(Role::from(name).to_string(), name);
    }

    #[test]
    fn ids_round_trip_and_refuse_other_text() {
        let id = SetId::from_bytes([0xa5; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.label(), "A5A5-A5A5");
        assert_eq!("a5".parse::<SetId>(), Err(IdError::Hexadecimal));
        assert_eq!("+5".repeat(16).parse::<SetId>(), Err(IdError::Hexadecimal));
    }
}
