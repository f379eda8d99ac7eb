//! The error of a value that is outside its bounds.

/// A value outside its bounds. The message gives the bounds and says what to pass instead.
///
/// Values come from the application's own code and configuration, so the caller corrects the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// A time before 1970 or after 9999.
    #[error("a time lies in the years 1970 to 9999: check the clock it was read from")]
    Timestamp,
    /// A text that is not a moment of RFC 3339.
    #[error("a moment is written as in rfc 3339: for example 2026-01-02T03:04:05Z")]
    TimestampText,
    /// A number of codes outside 1 to 31.
    #[error("a set has 1 to 31 codes, {0} were asked for: 10 is usual")]
    SetSize(u8),
    /// A payload length outside the bounds of its alphabet.
    #[error(
        "a crockford payload has 13 to 29 symbols and a digits payload 20 to 36: fewer carry less \
         than 64 bits, more outgrow the check symbol"
    )]
    PayloadLength,
    /// Two accepted formats whose codes have the same length, so that an input could be either.
    #[error("two accepted formats have codes of the same length: give one another payload length")]
    SameLength,
    /// Hashes that do not make a set.
    #[error(
        "a set has 1 to 31 hashes of one cost and one key: hash all its codes with one `HashParams`"
    )]
    NewSet,
    /// The id of a pepper that is empty, longer than 32 bytes, or has other characters.
    #[error("a key id has 1 to 32 ascii letters, digits, '-', '_' or '.': for example 2026-1")]
    KeyId,
    /// A pepper that is shorter than 32 or longer than 1024 bytes.
    #[error("a pepper has 32 to 1024 bytes, this one has {0}: draw 32 random bytes")]
    Pepper(usize),
    /// A key id that the keyring has already.
    #[error("this key id is in the keyring already: a new pepper needs a new id")]
    RepeatedKey,
    /// A key of a keyring's text that cannot be used.
    #[error("key {position} of the keyring{} {flaw}", .id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default())]
    KeyText {
        /// The place of the key in the text, from 1.
        position: usize,
        /// The id of the key, unless it may be a part of the secret.
        id: Option<String>,
        /// The reason.
        flaw: KeyFlaw,
    },
    /// Memory or passes that are outside the bounds of a cost.
    #[error(
        "a cost is 8 to 1048576 KiB of memory and 1 to 16 passes: 19456 KiB and 2 are the default"
    )]
    Cost,
    /// A cost below the floor for codes of less than 112 bits.
    #[error(
        "codes under 112 bits need m>=47104 t>=1, m>=19456 t>=2 or m>=12288 t>=3 (owasp asvs 5.0, \
         11.4.2): for cheap hashing in tests, use the module `testing` (feature `testing`)"
    )]
    CostBelowFloor,
    /// A number of workers outside 1 to 256, or of waiting jobs outside 1 to 65 536.
    #[error(
        "a pool has 1 to 256 workers and a queue of 1 to 65536: `PoolSize::default()` fits this machine"
    )]
    PoolSize,
    /// A limit of wrong codes outside 1 to 100.
    #[error(
        "a set is disabled after 1 to 100 wrong codes in a row: nist sp 800-63b-4, 3.2.2, allows no more"
    )]
    DisableAfter,
    /// A lifetime of sets under one day.
    #[error("a set's lifetime is at least one day, or leave it out: codes wait in a drawer")]
    SetLifetime,
    /// A longest lifetime of override codes outside one minute to seven days.
    #[error(
        "the longest lifetime of an override code is one minute to seven days: a day is the default"
    )]
    OverrideLifetime,
    /// A time to keep uses that is outside 62 to 400 days.
    #[error("uses are kept 62 to 400 days: the figures of this month and the last need them")]
    KeepUses,
    /// A grace period of tombstones under one day.
    #[error("tombstones stay at least one day, so that late writes find them: pass a day or more")]
    TombstoneGrace,
    /// Settings without a role that could change them again.
    #[error(
        "no role could change the settings again: let at least one role administer backup codes"
    )]
    NoAdministrators,
    /// A low threshold above 31.
    #[error("the low threshold is at most 31, the codes of the largest set: 3 is the default")]
    LowThreshold,
    /// A boundary of a period that is not on a quarter of an hour.
    #[error("a period begins and ends on a whole quarter hour of utc: use local midnights")]
    PeriodBoundary,
    /// Periods that end before they begin, have one boundary alone, or span more than 400 days.
    #[error(
        "periods are in order and span at most 400 days: pass the midnights in ascending order"
    )]
    PeriodOrder,
    /// A day after the last one that a time zone can place, in December 9999.
    #[error("the time zone cannot place this day: check the time and the zone")]
    TimeZone,
}

/// The reason why a key of a keyring's text cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFlaw {
    /// The text of the key does not have three parts, or its id or encoding is not one.
    #[error(
        "is not of the form id:hex:digits or id:base64:digits: for example 2026-1:hex: and 64 digits"
    )]
    Form,
    /// A character or a length that the encoding does not have.
    #[error(
        "is not whole in its encoding: hex has pairs of 0-9 and a-f, base64 the alphabet with + and \
         /, and neither has spaces or line breaks"
    )]
    Digits,
    /// Fewer than 32 bytes, or more than 1024.
    #[error("has {0} bytes, and a pepper has 32 to 1024: draw 32 random bytes")]
    Length(usize),
    /// Bytes that are all printable ASCII characters or white space.
    #[error("is a readable text, which can be guessed: draw 32 random bytes")]
    Printable,
    /// The id of a key before it.
    #[error("has the id of a key before it: a new pepper needs a new id")]
    RepeatedId,
    /// The bytes of a key before it.
    #[error("has the bytes of a key before it: draw 32 random bytes for each")]
    RepeatedBytes,
}

/// A text or bytes that are not an id.
///
/// Ids come from requests and from the application's own tables, so the caller answers as for an
/// unknown user or set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// A user id of no bytes, or of more than 255.
    #[error("a user id has 1 to 255 bytes, this one has {0}: pass the key of the user's account")]
    UserId(usize),
    /// The id of a set, an event, an operation or a revision that is not 32 hexadecimal digits.
    #[error("an id of this kind has 32 hexadecimal digits: pass it as this crate wrote it")]
    Hexadecimal,
}
