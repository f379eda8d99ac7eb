//! The error of stored text that cannot be read.

/// Stored text that this crate cannot read: a record, or a part of one.
///
/// The caller restores the row from a backup, removes it, or updates the crate. The text is not
/// repeated in the message, as it may hold a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A record larger than any that this crate writes.
    #[error(
        "a record has at most {max} bytes, this one has {len}: it was not written by this crate, \
         restore or remove it"
    )]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The greatest length in bytes.
        max: usize,
    },
    /// A record that a newer version of this crate wrote.
    #[error(
        "the record has format version {found}, this crate reads up to {supported}: update the crate \
         on every node before a newer one writes"
    )]
    Newer {
        /// The version found.
        found: u32,
        /// The newest version that is read.
        supported: u32,
    },
    /// A damaged record, and where reading stopped.
    #[error("the record is damaged at line {line}, column {column}: restore or remove it")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A text that is not the id of a code format.
    #[error(
        "unknown code format: a newer version wrote it, so update the crate, or restore the row"
    )]
    Format,
    /// A text that is not the scheme of a set.
    #[error(
        "unknown scheme of a set: a newer version wrote it, so update the crate, or restore the row"
    )]
    Scheme,
    /// A text that is not a hash as this crate writes it.
    #[error(
        "not an argon2id phc string of this crate: the stored text was altered, restore the row"
    )]
    Hash,
    /// A text that is not a key id and a check value.
    #[error("a stored key is an id, ':' and eight lower-case hexadecimal digits: restore the row")]
    Key,
}
