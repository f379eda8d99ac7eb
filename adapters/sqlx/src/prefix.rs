//! The names of the tables.

use std::borrow::Cow;

/// The prefix of the names of tables, indexes and triggers.
///
/// It becomes part of SQL text, so only a checked prefix can be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(Cow<'static, str>);

/// The error of a text that cannot be a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a table prefix has 1 to 32 of a-z, 0-9 and _, and begins with a letter, for example `shop_codes_`"
)]
pub struct PrefixError;

impl Prefix {
    /// The prefix of the published SQL text.
    pub const DEFAULT: Self = Self(Cow::Borrowed("backup_codes_"));

    /// Checks a prefix: 1 to 32 of `a`-`z`, `0`-`9` and `_`, a letter first, and not `sqlite_`.
    ///
    /// # Errors
    /// [`PrefixError`] for any other text.
    pub fn new(prefix: &str) -> Result<Self, PrefixError> {
        let letter_first = prefix.starts_with(|c: char| c.is_ascii_lowercase());
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if letter_first
            && prefix.len() <= 32
            && prefix.chars().all(allowed)
            && !prefix.starts_with("sqlite_")
        {
            Ok(Self(Cow::Owned(prefix.to_owned())))
        } else {
            Err(PrefixError)
        }
    }

    /// Returns the SQL text under this prefix.
    pub(crate) fn apply(&self, sql: &str) -> String {
        sql.replace(&*Self::DEFAULT.0, &self.0)
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_name_is_a_prefix() {
        for good in ["a", "shop_codes_", "b2_", &"a".repeat(32)] {
            assert!(Prefix::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "1a",
            "_a",
            "A",
            "a-b",
            "a b",
            "a\"",
            "a;--",
            "sqlite_x",
            "\u{e4}",
            &"a".repeat(33),
        ] {
            assert_eq!(Prefix::new(bad), Err(PrefixError), "{bad}");
        }
        let sql = Prefix::new("shop_")
            .unwrap()
            .apply("SELECT 1 FROM backup_codes_records");
        assert_eq!(sql, "SELECT 1 FROM shop_records");
    }
}
