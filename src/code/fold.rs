//! Folding of typed characters into symbols.
//!
//! Whether a character is a letter or digit is public, as are the other characters; which letter
//! or digit it is, is not. So that decision and the fold are arithmetic over all alternatives,
//! and only the decision is declared public.

use crate::code::format::{classify, declassify};
use crate::unicode::{DASHES, INVISIBLE, LETTERS, MARKS, SPACES, ZEROS};

/// A typed character, classified and folded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Folded {
    /// A Latin letter or a decimal digit, as an ASCII letter or digit. Secret.
    Symbol(u8),
    /// White space: dropped everywhere; it can separate a number from its code.
    Space,
    /// A dash: dropped everywhere.
    Dash,
    /// An invisible character: dropped everywhere, even between the two digits of a number.
    Invisible,
    /// A quote, bracket or list mark: dropped before and after a code; it can separate a number
    /// from its code.
    Mark,
    /// A letter of another script, which no code has.
    Letter,
    /// A character that no code has.
    Other,
}

/// Folds one character.
pub(crate) fn fold(typed: char) -> Folded {
    // The number of bytes that a character takes in UTF-8 is public: decoding looks at it.
    let ascii = typed.is_ascii();
    let mut bytes = u32::from(typed).to_le_bytes();
    classify(&mut bytes);
    let (symbol, mut found) = if ascii {
        ascii_symbol(u32::from_le_bytes(bytes))
    } else {
        wide_symbol(u32::from_le_bytes(bytes))
    };
    declassify(&mut found);
    if found != [0; 4] {
        return Folded::Symbol(symbol);
    }
    declassify(&mut bytes);
    let typed = u32::from_le_bytes(bytes);
    for (table, folded) in [
        (&SPACES[..], Folded::Space),
        (&DASHES[..], Folded::Dash),
        (&INVISIBLE[..], Folded::Invisible),
        (&MARKS[..], Folded::Mark),
        (&LETTERS[..], Folded::Letter),
    ] {
        // The range it would be in is the last one that does not begin after it.
        let place = table.partition_point(|(from, _)| *from <= typed);
        if place > 0 && typed <= table[place - 1].1 {
            return folded;
        }
    }
    Folded::Other
}

/// Returns an ASCII character as a symbol, with a mask that is all ones where it is one, else zero.
fn ascii_symbol(typed: u32) -> (u8, [u8; 4]) {
    let found = within(typed, 0x30, 10) | within(typed, 0x41, 26) | within(typed, 0x61, 26);
    (typed.to_le_bytes()[0], found.to_le_bytes())
}

/// Returns a character outside ASCII as a symbol, with a mask that is all ones where it is one,
/// else zero.
///
/// A digit's value is its distance from the zero of its script. All scripts are looked at, so
/// timing reveals neither the value nor the script.
fn wide_symbol(typed: u32) -> (u8, [u8; 4]) {
    // Full-width letters stand as far from ASCII's as their zero does.
    let mut found = within(typed, 0xff21, 26) | within(typed, 0xff41, 26);
    let mut distance = found & 0xfee0;
    for zero in ZEROS {
        let digit = within(typed, zero, 10);
        found |= digit;
        distance |= digit & (zero - 0x30);
    }
    (
        typed.wrapping_sub(distance).to_le_bytes()[0],
        found.to_le_bytes(),
    )
}

/// Returns all ones where `typed` is one of `len` characters from `first` on, else zero: the borrow
/// of a subtraction.
fn within(typed: u32, first: u32, len: u32) -> u32 {
    let place = typed.wrapping_sub(first);
    let [b0, b1, b2, b3, ..] = u64::from(place).wrapping_sub(u64::from(len)).to_be_bytes();
    u32::from_be_bytes([b0, b1, b2, b3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_hold_no_symbol() {
        assert!(ZEROS.is_sorted());
        for table in [&SPACES[..], &DASHES, &INVISIBLE, &MARKS, &LETTERS] {
            let ends: Vec<u32> = table.iter().flat_map(|(from, to)| [*from, *to]).collect();
            assert!(ends.is_sorted());
        }
        for table in [&SPACES[..], &DASHES, &INVISIBLE, &MARKS] {
            for typed in table.iter().flat_map(|(from, to)| *from..=*to) {
                let found = if typed < 0x80 {
                    ascii_symbol(typed).1
                } else {
                    wide_symbol(typed).1
                };
                assert_eq!(found, [0; 4], "{typed:x}");
            }
        }
    }

    #[test]
    fn a_run_has_its_first_and_last_character_and_neither_neighbour() {
        for first in [0x30, 0x660, 0x1_d7ce, 0x10_fff6] {
            assert_eq!(within(first - 1, first, 10), 0);
            assert_eq!(within(first, first, 10), u32::MAX);
            assert_eq!(within(first + 9, first, 10), u32::MAX);
            assert_eq!(within(first + 10, first, 10), 0);
        }
    }
}
