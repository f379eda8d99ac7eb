//! The written form of codes: alphabets, lengths, check symbols.
//!
//! Everything in this file that touches the value of a payload symbol is free of branches and
//! table look-ups on that value.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::record::RecordError;
use crate::error::value::ValueError;

/// The written form of codes: an alphabet and a number of payload symbols.
///
/// A code is its slot number, then the payload, then one check symbol, shown in groups of three
/// or four. The payload alone is the secret.
///
/// | format | symbols | shown as | payload bits |
/// |---|---|---|---|
/// | [`Format::CROCKFORD`] (default) | 16 | `XXXX-XXXX-XXXX-XXXX` | 70 |
/// | [`Format::DIGITS`] | 24 | `9999-9999-9999-9999-9999-9999` | 69 |
/// | [`Format::HIGH_ENTROPY`] | 28 | seven groups of four | 130 |
///
/// Every format that can be constructed has at least 64 bits of payload (NIST SP 800-63B-4,
/// 4.2.1.1).
///
/// ```
/// use backup_codes::Format;
///
/// assert_eq!(Format::CROCKFORD.payload_bits(), 70);
/// assert!(Format::crockford(12).is_err()); // 60 bits
/// assert!(Format::crockford(13).is_ok()); // 65 bits
/// # Ok::<(), backup_codes::error::ValueError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Format {
    alphabet: Alphabet,
    payload_len: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Alphabet {
    /// Crockford base32: digits and capital letters without I, L, O and U.
    Crockford,
    /// Decimal digits, for keyboards without Latin letters.
    Digits,
}

/// The maximum number of symbols of any format: a two-digit slot, 36 digits and the check digit.
pub(crate) const MAX_SYMBOLS: usize = 39;

/// The highest slot number: the greatest value of one Crockford symbol.
pub(crate) const MAX_SLOT: u8 = 31;

/// The result of reading symbols as a code of one format. The only value derived from payload
/// symbols that the parser branches on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// A code, with its slot.
    Right(u8),
    /// Symbols of the alphabet, and the wrong check symbol.
    WrongCheck,
    /// The right check symbol, but no sheet has this slot or the number before the code is another.
    WrongSlot,
    /// A symbol that the alphabet does not have, or a number that is none.
    WrongAlphabet,
}

impl Format {
    /// 16 Crockford symbols, 70 payload bits.
    pub const CROCKFORD: Self = Self {
        alphabet: Alphabet::Crockford,
        payload_len: 14,
    };
    /// 24 decimal digits, 69 payload bits, for keyboards without Latin letters.
    pub const DIGITS: Self = Self {
        alphabet: Alphabet::Digits,
        payload_len: 21,
    };
    /// 28 Crockford symbols, 130 payload bits: enough for a cheap hash (NIST SP 800-63B-4,
    /// 3.1.2.2 draws that line at 112).
    pub const HIGH_ENTROPY: Self = Self {
        alphabet: Alphabet::Crockford,
        payload_len: 26,
    };

    /// Creates a Crockford base32 format with 13 to 29 payload symbols of five bits each.
    ///
    /// # Errors
    /// [`ValueError::PayloadLength`] outside these bounds. The upper bound comes from the check
    /// symbol, whose weights repeat after 31 symbols.
    pub const fn crockford(payload_len: u8) -> Result<Self, ValueError> {
        if payload_len < 13 || payload_len > 29 {
            return Err(ValueError::PayloadLength);
        }
        Ok(Self {
            alphabet: Alphabet::Crockford,
            payload_len,
        })
    }

    /// Creates a format of decimal digits, with 20 to 36 payload digits of 3.32 bits each.
    ///
    /// # Errors
    /// [`ValueError::PayloadLength`] outside these bounds.
    pub const fn digits(payload_len: u8) -> Result<Self, ValueError> {
        if payload_len < 20 || payload_len > 36 {
            return Err(ValueError::PayloadLength);
        }
        Ok(Self {
            alphabet: Alphabet::Digits,
            payload_len,
        })
    }

    /// Returns the whole bits of randomness in the payload; slot and check symbol are not counted.
    #[must_use]
    pub const fn payload_bits(self) -> u32 {
        match self.alphabet {
            Alphabet::Crockford => 5 * self.payload_len as u32,
            // log2(10) = 3.321928…; rounded down, so never more than the true value.
            Alphabet::Digits => self.payload_len as u32 * 3_321_928 / 1_000_000,
        }
    }

    /// Returns the number of symbols of a whole code, without separators.
    #[must_use]
    pub const fn symbols(self) -> usize {
        self.slot_len() + self.payload_len() + 1
    }

    pub(crate) const fn slot_len(self) -> usize {
        match self.alphabet {
            Alphabet::Crockford => 1,
            Alphabet::Digits => 2,
        }
    }

    pub(crate) const fn payload_len(self) -> usize {
        self.payload_len as usize
    }

    /// Returns the number of symbols in the alphabet.
    pub(crate) const fn radix(self) -> u8 {
        match self.alphabet {
            Alphabet::Crockford => 32,
            Alphabet::Digits => 10,
        }
    }

    /// Returns the symbol of a value below the radix, by arithmetic alone.
    pub(crate) fn symbol(self, value: u8) -> u8 {
        let letter = |from: u8| ge_mask(value, from);
        // After the ten digits the letters begin seven places on; I, L, O and U are skipped.
        b'0' + value
            + (letter(10) & 7)
            + (letter(18) & 1)
            + (letter(20) & 1)
            + (letter(22) & 1)
            + (letter(27) & 1)
    }

    /// Returns the value of one typed symbol, and 0xFF where it belongs to the alphabet.
    ///
    /// Case is folded, `O` is zero, `I` and `L` are one.
    fn value(self, typed: u8) -> (u8, u8) {
        let upper = typed - (range_mask(typed, b'a', b'z') & 32);
        let mut value = 0;
        let mut valid = 0;
        let mut accept = |low: u8, high: u8, first: u8| {
            let mask = range_mask(upper, low, high);
            value |= mask & upper.wrapping_sub(low).wrapping_add(first);
            valid |= mask;
        };
        accept(b'0', b'9', 0);
        accept(b'O', b'O', 0);
        accept(b'I', b'I', 1);
        accept(b'L', b'L', 1);
        if self.alphabet == Alphabet::Crockford {
            accept(b'A', b'H', 10);
            accept(b'J', b'K', 18);
            accept(b'M', b'N', 20);
            accept(b'P', b'T', 22);
            accept(b'V', b'Z', 27);
        }
        (value, valid)
    }

    /// Returns the check symbol's value after these symbol values.
    pub(crate) fn check(self, values: &[u8]) -> u8 {
        match self.alphabet {
            Alphabet::Crockford => times_two(values.iter().fold(0, |sum, v| times_two(sum) ^ v)),
            Alphabet::Digits => values.iter().fold(0, |sum, v| damm(sum, *v)),
        }
    }

    /// Reads the typed symbols of one code, and the digits of the number that stands before it,
    /// if any. Writes the code's canonical symbols to `canonical`, which mean nothing unless the
    /// verdict is [`Verdict::Right`].
    ///
    /// `typed` has [`Format::symbols`] bytes, and all bytes are ASCII letters or digits.
    pub(crate) fn read(
        self,
        number: &[u8],
        typed: &[u8],
        canonical: &mut [u8; MAX_SYMBOLS],
    ) -> Verdict {
        let mut values = zeroize::Zeroizing::new([0; MAX_SYMBOLS]);
        let values = &mut values[..typed.len()];
        let mut all_valid = 0xFF;
        for ((typed, value), canonical) in typed.iter().zip(&mut *values).zip(canonical) {
            let valid;
            (*value, valid) = self.value(*typed);
            *canonical = self.symbol(*value);
            all_valid &= valid;
        }
        let Some((check, body)) = values.split_last() else {
            return Verdict::WrongAlphabet;
        };
        let wrong_check = !ge_mask(0, self.check(body) ^ check);
        let mut slot = [body[..self.slot_len()]
            .iter()
            .fold(0, |slot, v| slot * self.radix() + v)];
        // A two-digit slot beyond 31 was never printed.
        let mut wrong_slot = !ge_mask(MAX_SLOT, slot[0]);
        if !number.is_empty() {
            let mut named = 0u8;
            for typed in number {
                let digit = range_mask(*typed, b'0', b'9');
                all_valid &= digit;
                named = named
                    .wrapping_mul(10)
                    .wrapping_add(digit & typed.wrapping_sub(b'0'));
            }
            wrong_slot |= !ge_mask(0, named ^ slot[0]);
        }
        // 0 right, 1 wrong check, 2 wrong slot, 3 outside the alphabet: the worst of them.
        let mut verdict = [(!all_valid & 3)
            | (all_valid & wrong_check & 1)
            | (all_valid & !wrong_check & wrong_slot & 2)];
        declassify(&mut verdict);
        match verdict[0] {
            0 => {
                declassify(&mut slot);
                Verdict::Right(slot[0])
            }
            1 => Verdict::WrongCheck,
            2 => Verdict::WrongSlot,
            _ => Verdict::WrongAlphabet,
        }
    }

    /// Returns the formats whose codes have this many symbols: at most one for each alphabet.
    pub(crate) fn with_symbols(len: usize) -> impl Iterator<Item = Self> {
        let payload = |others| u8::try_from(len.saturating_sub(others)).unwrap_or(0);
        let (crockford, digits) = (Self::crockford(payload(2)), Self::digits(payload(3)));
        crockford.into_iter().chain(digits)
    }

    /// Returns the symbol values of a slot number.
    pub(crate) fn slot_values(self, slot: u8) -> impl Iterator<Item = u8> {
        let two = [slot / 10, slot % 10];
        let one = [slot];
        match self.alphabet {
            Alphabet::Crockford => one.into_iter().chain(None),
            Alphabet::Digits => [two[0]].into_iter().chain(Some(two[1])),
        }
    }

    /// Returns the lengths of the groups in which a code is shown: fours, then threes.
    ///
    /// Groups of three to four are remembered and copied with the fewest errors (G11 in
    /// `docs/standards.md`). Every length from 15 on can be divided so.
    pub(crate) fn groups(self) -> impl Iterator<Item = usize> {
        let len = self.symbols();
        let groups = len.div_ceil(4);
        let threes = groups * 4 - len;
        (0..groups).map(move |i| if i < groups - threes { 4 } else { 3 })
    }
}

impl Default for Format {
    fn default() -> Self {
        Self::CROCKFORD
    }
}

/// Writes the format's id, as it is stored and hashed: `crockford-14` or `digits-21`, with the
/// number of payload symbols.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alphabet = match self.alphabet {
            Alphabet::Crockford => "crockford",
            Alphabet::Digits => "digits",
        };
        write!(f, "{alphabet}-{}", self.payload_len)
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Format({self})")
    }
}

impl FromStr for Format {
    type Err = RecordError;

    fn from_str(id: &str) -> Result<Self, RecordError> {
        let (alphabet, len) = id.split_once('-').ok_or(RecordError::Format)?;
        let payload_len = len.parse().map_err(|_| RecordError::Format)?;
        let format = match alphabet {
            "crockford" => Self::crockford(payload_len),
            "digits" => Self::digits(payload_len),
            _ => return Err(RecordError::Format),
        };
        let format = format.map_err(|_| RecordError::Format)?;
        // `+14` and `014` parse as numbers; an id has one spelling.
        if format.to_string() == id {
            Ok(format)
        } else {
            Err(RecordError::Format)
        }
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = std::borrow::Cow::<str>::deserialize(deserializer)?;
        id.parse().map_err(serde::de::Error::custom)
    }
}

/// The format in which new codes are issued, and the older formats that printed codes may still
/// have.
///
/// No two have the same length, so an input belongs to at most one of them.
///
/// ```
/// use backup_codes::{Format, Formats};
///
/// let formats = Formats::new(Format::CROCKFORD).accepting(Format::DIGITS)?;
/// assert_eq!(formats.issued(), Format::CROCKFORD);
/// # Ok::<(), backup_codes::error::ValueError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formats(Vec<Format>);

impl Formats {
    /// Creates a list of one format, for issuing and for redeeming.
    #[must_use]
    pub fn new(issued: Format) -> Self {
        Self(vec![issued])
    }

    /// Adds an older format, whose printed codes are still accepted.
    ///
    /// # Errors
    /// [`ValueError::SameLength`] when a format in the list has codes of the same length.
    pub fn accepting(mut self, older: Format) -> Result<Self, ValueError> {
        if self
            .0
            .iter()
            .any(|format| format.symbols() == older.symbols())
        {
            return Err(ValueError::SameLength);
        }
        self.0.push(older);
        Ok(self)
    }

    /// Returns the format in which new codes are issued.
    #[must_use]
    pub fn issued(&self) -> Format {
        self.0[0]
    }

    /// Returns whether codes of this format are accepted.
    pub(crate) fn accept(&self, format: Format) -> bool {
        self.0.contains(&format)
    }

    pub(crate) fn with_symbols(&self, len: usize) -> Option<Format> {
        self.0
            .iter()
            .copied()
            .find(|format| format.symbols() == len)
    }

    /// Returns whether the codes of an accepted format have letters.
    pub(crate) fn have_letters(&self) -> bool {
        let mut formats = self.0.iter();
        formats.any(|format| format.alphabet == Alphabet::Crockford)
    }
}

impl Default for Formats {
    fn default() -> Self {
        Self::new(Format::default())
    }
}

/// Returns 0xFF where `low <= byte <= high`, else 0.
fn range_mask(byte: u8, low: u8, high: u8) -> u8 {
    ge_mask(byte, low) & ge_mask(high, byte)
}

/// Returns 0xFF where `a >= b`, else 0: the borrow of a 16-bit subtraction, spread over a byte.
fn ge_mask(a: u8, b: u8) -> u8 {
    let borrow = u16::from(a).wrapping_sub(u16::from(b)).to_be_bytes()[0];
    !borrow
}

/// Multiplies by the primitive element 2 in GF(32) = GF(2)\[x\]/(x⁵ + x² + 1).
///
/// Reading a code from the right, symbol i has the weight 2^i. The weights of 31 places differ,
/// and so do those of neighbours and of next neighbours, by a factor other than 1: a single
/// substitution, an adjacent swap and a jump swap each change the sum.
fn times_two(a: u8) -> u8 {
    ((a << 1) ^ (0u8.wrapping_sub(a >> 4) & 0b10_0101)) & 31
}

/// Computes one step of Damm's check digit: H. M. Damm, "Total anti-symmetrische Quasigruppen"
/// (2004).
///
/// The whole table is read at every step, because the index depends on the secret.
fn damm(interim: u8, digit: u8) -> u8 {
    const TABLE: [[u8; 10]; 10] = [
        [0, 3, 1, 7, 5, 9, 8, 6, 4, 2],
        [7, 0, 9, 2, 1, 5, 4, 8, 6, 3],
        [4, 2, 0, 6, 8, 7, 1, 3, 5, 9],
        [1, 7, 5, 0, 9, 8, 3, 4, 2, 6],
        [6, 1, 2, 3, 0, 4, 5, 9, 7, 8],
        [3, 6, 7, 4, 2, 0, 9, 5, 8, 1],
        [5, 8, 6, 9, 7, 2, 0, 1, 3, 4],
        [8, 9, 4, 5, 3, 6, 2, 0, 1, 7],
        [9, 4, 3, 8, 6, 1, 7, 2, 0, 5],
        [2, 5, 8, 1, 4, 3, 6, 7, 9, 0],
    ];
    let mut found = 0;
    for (row, entries) in (0u8..).zip(TABLE) {
        for (column, entry) in (0u8..).zip(entries) {
            found |= ge_mask(0, row ^ interim) & ge_mask(0, column ^ digit) & entry;
        }
    }
    found
}

/// Marks bytes as secret for the memory checker: each typed character, and computed tags.
///
/// In a build with `--cfg memcheck` it informs the checker of `tests/memcheck`; otherwise it does
/// nothing.
pub(crate) fn classify(bytes: &mut [u8]) {
    #[cfg(memcheck)]
    crate::memcheck::classify(bytes);
    #[cfg(not(memcheck))]
    let _ = bytes;
}

/// Marks a value as public although it was computed from secrets.
///
/// Called on five values only: whether a typed character is a letter or digit, a character that is
/// neither, the verdict over an input's symbols, the slot of a code whose check symbol is right, and
/// the final equality of two tags.
pub(crate) fn declassify(bytes: &mut [u8]) {
    #[cfg(memcheck)]
    crate::memcheck::declassify(bytes);
    #[cfg(not(memcheck))]
    let _ = bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_format() -> impl Iterator<Item = Format> {
        let crockford = (0..=u8::MAX).filter_map(|n| Format::crockford(n).ok());
        crockford.chain((0..=u8::MAX).filter_map(|n| Format::digits(n).ok()))
    }

    #[test]
    fn every_constructible_format_has_64_bits_and_groups_of_3_to_4() {
        assert_eq!(every_format().count(), 17 + 17);
        for format in every_format() {
            assert!(format.payload_bits() >= 64, "{format}");
            assert!(format.symbols() <= MAX_SYMBOLS);
            assert_eq!(format.groups().sum::<usize>(), format.symbols());
            assert!(
                format.groups().all(|group| group == 3 || group == 4),
                "{format}"
            );
            assert_eq!(format.to_string().parse(), Ok(format));
        }
    }

    #[test]
    fn twelve_symbols_are_refused_and_thirteen_accepted() {
        assert_eq!(Format::crockford(12), Err(ValueError::PayloadLength));
        assert_eq!(Format::crockford(13).unwrap().payload_bits(), 65);
        assert_eq!(Format::digits(19), Err(ValueError::PayloadLength));
        assert_eq!(Format::digits(20).unwrap().payload_bits(), 66);
        assert!(Format::HIGH_ENTROPY.payload_bits() >= 128);
    }

    #[test]
    fn ids_have_one_spelling() {
        for id in [
            "crockford-014",
            "crockford-+14",
            "crockford",
            "hex-14",
            "digits-99",
            "",
        ] {
            assert!(id.parse::<Format>().is_err(), "{id}");
        }
    }

    #[test]
    fn symbols_are_crockfords_and_fold_back() {
        let alphabet: Vec<u8> = (0..32).map(|v| Format::CROCKFORD.symbol(v)).collect();
        assert_eq!(alphabet, b"0123456789ABCDEFGHJKMNPQRSTVWXYZ");
        for typed in 0..=u8::MAX {
            let upper = typed.to_ascii_uppercase();
            let folded = match upper {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            let expected = alphabet.iter().position(|symbol| *symbol == folded);
            let (value, valid) = Format::CROCKFORD.value(typed);
            assert_eq!(valid == 0xFF, expected.is_some(), "{typed}");
            assert_eq!(usize::from(value), expected.unwrap_or(0));
            let (value, valid) = Format::DIGITS.value(typed);
            let expected = expected.filter(|v| *v < 10);
            assert_eq!(valid == 0xFF, expected.is_some(), "{typed}");
            assert_eq!(usize::from(value), expected.unwrap_or(0));
        }
    }

    /// Every substitution, adjacent swap and (in GF(32)) jump swap of a set of sample codes.
    #[test]
    fn the_check_symbol_catches_every_single_typing_error_of_its_class() {
        for format in every_format() {
            let radix = format.radix();
            for seed in 0..8u8 {
                let mut code: Vec<u8> = (0u8..)
                    .map(|i| i.wrapping_mul(7).wrapping_mul(seed + 1).wrapping_add(seed) % radix)
                    .take(format.symbols() - 1)
                    .collect();
                code.push(format.check(&code));
                let wrong = |code: &[u8]| {
                    let (check, body) = code.split_last().unwrap();
                    format.check(body) != *check
                };
                assert!(!wrong(&code));
                for at in 0..code.len() {
                    for value in (0..radix).filter(|value| *value != code[at]) {
                        let mut typo = code.clone();
                        typo[at] = value;
                        assert!(wrong(&typo), "{format} substitution");
                    }
                    let swaps: &[usize] = if format.alphabet == Alphabet::Crockford {
                        &[1, 2]
                    } else {
                        &[1]
                    };
                    for distance in swaps {
                        if at + distance < code.len() && code[at] != code[at + distance] {
                            let mut typo = code.clone();
                            typo.swap(at, at + distance);
                            assert!(wrong(&typo), "{format} swap over {distance}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_check_weights_tell_every_pair_of_swapped_values_apart() {
        // The weights decide alone: a swap over d places of values a and b changes the sum by
        // (a ^ b) * (1 ^ 2^d) * weight, which is zero only for a = b.
        for distance in 1..=2 {
            let factor = (0..distance).fold(1, |power, _| times_two(power)) ^ 1;
            assert_ne!(factor, 0);
        }
        let mut power = 1;
        for _ in 1..31 {
            power = times_two(power);
            assert_ne!(power, 1);
        }
        assert_eq!(times_two(power), 1);
    }

    #[test]
    fn damm_matches_its_published_example() {
        // The example of the literature: 572 has the check digit 4.
        assert_eq!([5, 7, 2].into_iter().fold(0, damm), 4);
        assert_eq!([5, 7, 2, 4].into_iter().fold(0, damm), 0);
    }

    #[test]
    fn formats_of_one_length_cannot_stand_side_by_side() {
        let formats = Formats::new(Format::CROCKFORD)
            .accepting(Format::DIGITS)
            .unwrap();
        assert_eq!(
            formats.clone().accepting(Format::crockford(22).unwrap()),
            Err(ValueError::SameLength)
        );
        assert_eq!(formats.with_symbols(24), Some(Format::DIGITS));
        assert_eq!(formats.with_symbols(25), None);
    }
}
