//! What a typed text is read as.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use backup_codes::code::{Code, NotACode};
use backup_codes::rules::{Attempt, OperationId, generate};
use backup_codes::{Format, Formats, SetSize};
use getrandom::SysRng;
use proptest::prelude::*;

/// Known codes, with their slots: Crockford base32, and digits.
const CODE: &str = "39WA-3GNM-1JH6-5XZR";
const SLOT: u8 = 3;
const DIGITS: &str = "1140-4239-2772-2271-0588-7026";
const DIGITS_SLOT: u8 = 11;

type Read = Result<(Format, u8), NotACode>;

fn read(typed: &str, formats: &Formats) -> Read {
    Attempt::parse(typed, formats, OperationId::from_bytes([7; 16]))
        .map(|attempt| (attempt.format(), attempt.slot()))
}

fn parse(typed: &str, format: Format) -> Result<u8, NotACode> {
    read(typed, &Formats::new(format)).map(|(_, slot)| slot)
}

/// Read where the default format and digits are accepted.
fn slot(typed: &str) -> Result<u8, NotACode> {
    let formats = Formats::default().accepting(Format::DIGITS).unwrap();
    read(typed, &formats).map(|(_, slot)| slot)
}

fn every_format() -> Vec<Format> {
    let crockford = (0..=u8::MAX).filter_map(|n| Format::crockford(n).ok());
    let digits = (0..=u8::MAX).filter_map(|n| Format::digits(n).ok());
    crockford.chain(digits).collect()
}

fn any_format() -> impl Strategy<Value = Format> {
    prop::sample::select(every_format())
}

fn codes(format: Format) -> Vec<Code> {
    generate(format, SetSize::new(31).unwrap(), &mut SysRng).unwrap()
}

// The rule for each character.

/// What becomes of a character, found out by typing it into codes.
#[derive(PartialEq, Clone, Copy)]
enum Meaning {
    /// The symbol of this value.
    Symbol(usize),
    Said(&'static str),
}

struct Probe {
    /// The code above with each symbol in turn at its ninth place, and the right check symbol.
    crockford: Vec<String>,
    digits: Vec<String>,
}

const SYMBOLS: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl Probe {
    fn new() -> Self {
        let variants = |code: &str, format, radix| {
            let plain = code.replace('-', "");
            let variant = |symbol: char| {
                let mut checks = SYMBOLS.chars().map(|check| {
                    let end = plain.len() - 1;
                    format!("{}{symbol}{}{check}", &plain[..9], &plain[10..end])
                });
                checks.find(|text| parse(text, format).is_ok())
            };
            let all: Vec<String> = SYMBOLS[..radix].chars().filter_map(variant).collect();
            assert_eq!(all.len(), radix);
            all
        };
        Self {
            crockford: variants(CODE, Format::CROCKFORD, 32),
            digits: variants(DIGITS, Format::DIGITS, 10),
        }
    }

    /// The value of the symbol that a character is, in one of the formats.
    fn value(variants: &[String], format: Format, c: char) -> Option<usize> {
        let with = |text: &str| parse(&format!("{}{c}{}", &text[..9], &text[10..]), format);
        if with(&variants[0]) == Err(NotACode::Shape) {
            return None;
        }
        let mut right = (0..variants.len()).filter(|value| with(&variants[*value]).is_ok());
        let value = right.next();
        assert!(right.next().is_none(), "{c:?} is two symbols");
        value
    }

    fn meaning(&self, c: char) -> Meaning {
        let right = |text: String| parse(&text, Format::CROCKFORD) == Ok(SLOT);
        match parse(
            &format!("{}{c}{}", &CODE[..9], &CODE[9..]),
            Format::CROCKFORD,
        ) {
            Ok(_) => {
                assert!(right(format!("{c}{CODE}{c}{c}")), "{c:?}");
                return Meaning::Said(if right(format!("{SLOT}{c}{CODE}")) {
                    "dropped: space"
                } else if right(format!("0{c}{SLOT}. {CODE}")) {
                    "dropped: invisible"
                } else {
                    "dropped: dash"
                });
            }
            Err(NotACode::OtherScript) => return Meaning::Said("letter of another script"),
            Err(_) => {}
        }
        if right(format!("{c}{CODE}")) {
            assert!(right(format!("{CODE}{c}{c}")), "{c:?}");
            assert!(right(format!("{c}{SLOT}{c}{CODE}")), "{c:?}");
            return Meaning::Said("mark: dropped before and after a code");
        }
        let value = Self::value(&self.crockford, Format::CROCKFORD, c);
        let digit = Self::value(&self.digits, Format::DIGITS, c);
        assert_eq!(value.filter(|value| *value < 10), digit, "{c:?}");
        value.map_or(Meaning::Said("no code has it"), Meaning::Symbol)
    }
}

/// Every character of Unicode and what becomes of it, in ranges.
fn every_meaning() -> String {
    let probe = Probe::new();
    // First and last character, meaning of the first, and whether the meanings count up.
    let mut ranges: Vec<(u32, u32, Meaning, bool)> = Vec::new();
    for c in '\0'..=char::MAX {
        let meaning = probe.meaning(c);
        let c = u32::from(c);
        match ranges.last_mut() {
            Some((_, to, first, counting)) if *to + 1 == c && *first == meaning && !*counting => {
                *to = c;
            }
            Some((from, to, Meaning::Symbol(first), counting))
                if *to + 1 == c
                    && (*counting || from == to)
                    && meaning == Meaning::Symbol(*first + (c - *from) as usize) =>
            {
                (*to, *counting) = (c, true);
            }
            _ => ranges.push((c, c, meaning, false)),
        }
    }
    let mut text = String::from(
        "# What becomes of each character of a typed code, of every character of Unicode.\n\
         # Compared with the parser by tests/reading.rs.\n",
    );
    for (from, to, meaning, _) in ranges {
        let place = if from == to {
            format!("{from:04X}")
        } else {
            format!("{from:04X}..{to:04X}")
        };
        let said = match meaning {
            Meaning::Said(said) => said.to_owned(),
            Meaning::Symbol(value) => {
                let last = value + (to - from) as usize;
                let symbol = |value: usize| SYMBOLS.chars().nth(value).unwrap();
                if last == value {
                    format!("symbol {}", symbol(value))
                } else {
                    format!("symbols {} to {}", symbol(value), symbol(last))
                }
            }
        };
        writeln!(text, "{place:<14} {said}").unwrap();
    }
    text
}

/// Where the difference is wanted, copy the file that the failing test names over the golden one.
#[test]
fn each_character_of_unicode_becomes_what_the_golden_file_says() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reading/fold.txt");
    let golden = fs::read_to_string(golden).unwrap_or_default();
    let found = every_meaning();
    let differing: Vec<&str> = found
        .lines()
        .filter(|line| !golden.lines().any(|other| other == *line))
        .take(20)
        .collect();
    let written = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fold.txt");
    if golden != found {
        fs::write(&written, &found).unwrap();
    }
    assert!(
        golden == found,
        "{} differs from tests/reading/fold.txt, first in: {differing:#?}",
        written.display()
    );
}

#[test]
fn a_japanese_long_mark_between_the_groups_is_a_dash() {
    for dash in [
        "\u{30fc}", "\u{ff70}", "\u{ff5e}", "\u{301c}", "\u{2212}", "\u{2500}",
    ] {
        assert_eq!(slot(&CODE.replace('-', dash)), Ok(SLOT), "{dash}");
        assert_eq!(slot(&DIGITS.replace('-', dash)), Ok(DIGITS_SLOT), "{dash}");
    }
}

#[test]
fn the_digits_of_every_script_are_digits() {
    // The first digits of scripts on keyboards, and the mathematical ones.
    for zero in [
        0x660, 0x6f0, 0x966, 0x9e6, 0xe50, 0x1040, 0x17e0, 0xff10, 0x1d7ce, 0x1d7f6, 0x1e950,
    ] {
        let native = |code: &str| -> String {
            let fold = |c: char| c.to_digit(10).and_then(|d| char::from_u32(zero + d));
            code.chars().map(|c| fold(c).unwrap_or(c)).collect()
        };
        assert_eq!(slot(&native(DIGITS)), Ok(DIGITS_SLOT), "{zero:x}");
        assert_eq!(slot(&native(CODE)), Ok(SLOT), "{zero:x}");
        let listed = format!("{}. {}", native("11"), native(DIGITS));
        assert_eq!(slot(&listed), Ok(DIGITS_SLOT), "{zero:x}");
    }
}

#[test]
fn digits_of_several_scripts_may_stand_in_one_code() {
    let mixed = DIGITS.replace('4', "\u{664}").replace('2', "\u{968}");
    assert_eq!(slot(&mixed), Ok(DIGITS_SLOT));
}

#[test]
fn numbers_that_are_no_decimal_digits_are_not_folded() {
    for other in [
        "\u{b2}", "\u{bd}", "\u{2463}", "\u{2167}", "\u{3007}", "\u{4e09}",
    ] {
        assert!(slot(&DIGITS.replacen('4', other, 1)).is_err(), "{other}");
    }
}

// What may stand before and after a code.

#[test]
fn punctuation_around_a_code_does_not_matter() {
    for around in [
        "{}.",
        "\"{}\"",
        "• {}",
        "'{}',",
        "“{}”",
        "„{}“",
        "«\u{a0}{}\u{a0}»",
        "「{}」",
        "({})",
        "- {}",
        "* {}",
        "[ ] {}",
        "☐ {}",
        "・{}。",
        "`{}`",
        "**{}**!",
        "\u{202a}{}\u{202c};",
    ] {
        let typed = around.replace("{}", CODE);
        assert_eq!(slot(&typed), Ok(SLOT), "{typed}");
    }
}

#[test]
fn other_characters_around_a_code_make_it_no_code() {
    for around in [
        "{}…",
        "${}",
        "{}/",
        "<{}>",
        "|{}|",
        "{}\0",
        "{}=",
        "😀{}",
        "4\u{fe0f}\u{20e3} {}",
    ] {
        let typed = around.replace("{}", CODE);
        assert_eq!(slot(&typed), Err(NotACode::Shape), "{typed}");
    }
}

#[test]
fn a_mark_between_two_symbols_makes_it_no_code() {
    for mark in [".", ",", "\"", "•", "*", ")", "'", "。"] {
        for at in 3..CODE.len() {
            let typed = format!("{}{mark}{}", &CODE[..at], &CODE[at..]);
            assert!(slot(&typed).is_err(), "{typed}");
        }
    }
}

#[test]
fn the_number_of_a_code_may_stand_before_it() {
    for number in [
        "3. ",
        "3.",
        "3) ",
        "3)",
        "3: ",
        "3 ",
        "3\t",
        "3\n",
        "3.\n",
        "#3 ",
        "# 3: ",
        "(3) ",
        "[3] ",
        "• 3. ",
        "03. ",
        "03 ",
        "3 - ",
        "3、",
        "３．　",
        "３）",
        "٣. ",
        "३। ",
        "№3 ",
        "\u{200f}3\u{200f}. ",
        "\u{feff}0\u{2060}3. ",
    ] {
        for code in [CODE, &format!("\"{CODE}\"."), &CODE.to_lowercase()] {
            let typed = format!("{number}{code}");
            assert_eq!(slot(&typed), Ok(SLOT), "{typed}");
        }
    }
    for number in ["11. ", "11 ", "#11 ", "١١) ", "(11) "] {
        let typed = format!("{number}{DIGITS}");
        assert_eq!(slot(&typed), Ok(DIGITS_SLOT), "{typed}");
    }
}

#[test]
fn the_number_of_another_code_before_it_makes_it_no_code() {
    for number in ["4. ", "4 ", "13. ", "30) ", "0. ", "33 ", "99: "] {
        let typed = format!("{number}{CODE}");
        assert_eq!(slot(&typed), Err(NotACode::Shape), "{typed}");
    }
}

#[test]
fn what_is_no_number_of_one_or_two_digits_makes_it_no_code() {
    for number in [
        "3",
        "3-",
        "03",
        "003. ",
        "3. 3. ",
        "3.3. ",
        "0 3. ",
        "0-3. ",
        "0.3 ",
        "x. ",
        "x ",
        "l. ",
        "Nr. 3 ",
        "3x ",
        "3\u{200b}",
        "-3",
        "3/ ",
        "3| ",
        "3= ",
    ] {
        let typed = format!("{number}{CODE}");
        assert!(slot(&typed).is_err(), "{typed}");
    }
    assert!(slot("3. ").is_err());
    assert!(slot(&format!("{CODE} 3")).is_err());
}

/// One of the spellings of the rule, for each symbol and separator.
fn spelled(text: &str, next: &mut impl FnMut() -> usize) -> String {
    let separators = [
        "-", "", " ", "\u{2013}", "\u{2014}", "\u{a0}", "\u{3000}", "\u{200b}", "\u{2212}",
        "\u{ad}", "\t", "\u{feff}", "\u{30a0}", "\u{2060}", "--", "\n", "\u{30fc}", "\u{ff70}",
        "\u{301c}", "\u{ff5e}", "\u{fe0f}", "\u{3164}", "\u{2066}", "\u{1806}", " - ",
    ];
    let mut out = String::new();
    for c in text.chars() {
        if c == '-' {
            out.push_str(separators[next() % separators.len()]);
            continue;
        }
        let c = match (c, next() % 3) {
            ('0', 1) => 'o',
            ('0', 2) => 'O',
            ('1', 1) => 'l',
            ('1', 2) => 'I',
            (c, 1) => c.to_ascii_lowercase(),
            (c, _) => c,
        };
        out.push(in_some_script(c, next));
        if next() % 5 == 0 {
            out.push_str(separators[next() % separators.len()]);
        }
    }
    out
}

/// A digit in one of several scripts, a letter in one of two widths.
fn in_some_script(c: char, next: &mut impl FnMut() -> usize) -> char {
    let zeros = [
        0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0xf20, 0xff10, 0x104a0, 0x116da, 0x1d7e2, 0x1fbf0,
    ];
    let point = match c.to_digit(10) {
        Some(digit) => zeros[next() % zeros.len()] + digit,
        None if next() % 4 == 0 => c as u32 + 0xfee0,
        None => c as u32,
    };
    char::from_u32(point).unwrap()
}

/// A number before a code, in one of the spellings of the rule.
fn number(slot: u8, next: &mut impl FnMut() -> usize) -> String {
    let before = ["", " ", "• ", "#", "(", "- ", "\u{200e}"];
    let after = [
        ". ",
        ".",
        ") ",
        ")",
        ": ",
        " ",
        "\t",
        "\u{3000}",
        "、",
        "。",
        " \u{2013} ",
        " • ",
        ": \"",
    ];
    let digits = if next() % 4 == 0 {
        format!("{slot:02}")
    } else {
        slot.to_string()
    };
    let mut out = before[next() % before.len()].to_owned();
    out.extend(digits.chars().map(|digit| in_some_script(digit, next)));
    out.push_str(after[next() % after.len()]);
    out
}

/// A source of choices out of a list of them.
fn choices(list: &[u8]) -> impl FnMut() -> usize {
    let mut cycle = list.iter().copied().cycle();
    move || usize::from(cycle.next().unwrap_or(0))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_spelling_of_a_code_is_that_code(
        format in any_format(),
        list in prop::collection::vec(any::<u8>(), 1..80),
    ) {
        let marks = ["", "\"", "'", ".", ",", "\u{201c}", "(", ")", "•", "*", " ", "\n", "!"];
        let mut next = choices(&list);
        for code in codes(format) {
            let shown = code.expose();
            prop_assert_eq!(parse(&shown, format), Ok(code.slot()));
            let mut text = spelled(&shown, &mut next);
            for _ in 0..next() % 3 {
                text.insert_str(0, marks[next() % marks.len()]);
                text.push_str(marks[next() % marks.len()]);
            }
            prop_assert_eq!(parse(&text, format), Ok(code.slot()), "{:?}", text);
            let listed = format!("{}{text}", number(code.slot(), &mut next));
            prop_assert_eq!(parse(&listed, format), Ok(code.slot()), "{:?}", listed);
            let other = format!("{}{text}", number(code.slot() % 31 + 1, &mut next));
            prop_assert_eq!(parse(&other, format), Err(NotACode::Shape), "{:?}", other);
        }
    }

    #[test]
    fn a_code_with_one_wrong_symbol_is_a_typo(
        format in any_format(),
        at in any::<prop::sample::Index>(),
        step in 1u8..10,
        list in prop::collection::vec(any::<u8>(), 1..80),
        listed in any::<bool>(),
    ) {
        let code = codes(format).remove(4);
        let mut symbols: Vec<u8> = code.expose().replace('-', "").into_bytes();
        let at = at.index(symbols.len());
        let digit = symbols[at].checked_sub(b'0').filter(|digit| *digit < 10);
        symbols[at] = match digit {
            Some(digit) => b'0' + (digit + step) % 10,
            None => b'0' + step,
        };
        let mut next = choices(&list);
        let mut typed = spelled(std::str::from_utf8(&symbols).unwrap(), &mut next);
        if listed {
            typed.insert_str(0, &number(code.slot(), &mut next));
        }
        prop_assert_eq!(parse(&typed, format), Err(NotACode::Typo), "{:?}", typed);
    }

    #[test]
    fn a_letter_of_another_script_in_a_code_is_told_as_one(
        format in any_format(),
        at in any::<prop::sample::Index>(),
        letter in prop::sample::select(vec!['А', 'о', 'Ω', 'ש', 'ش', 'क', 'か', 'カ', 'ㅁ', '中', 'ა']),
    ) {
        let code = codes(format).remove(4);
        let shown = code.expose();
        let typed: String = {
            let at = at.index(shown.len());
            format!("{}{letter}{}", &shown[..at], &shown[at + 1..])
        };
        let digits = format.to_string().starts_with("digits");
        let hint = if digits { NotACode::Shape } else { NotACode::OtherScript };
        prop_assert_eq!(parse(&typed, format), Err(hint));
    }

    #[test]
    fn arbitrary_text_never_panics(typed in ".*", format in any_format()) {
        let _ = parse(&typed, format);
    }

    #[test]
    fn whatever_has_no_right_check_is_no_code(typed in "[0-9A-TV-Za-tv-z]{16}") {
        // One of 32 such texts has the right check symbol by chance.
        match parse(&typed, Format::CROCKFORD) {
            Ok(slot) => prop_assert!(slot <= 31),
            Err(hint) => prop_assert_eq!(hint, NotACode::Typo),
        }
    }
}

// Formats accepted together.

/// Every set of two or three formats whose lengths differ by one or two from one to the next.
fn neighbours() -> Vec<(Formats, Vec<Format>)> {
    let all = every_format();
    let near = |a: Format, b: Format| [1, 2].contains(&b.symbols().wrapping_sub(a.symbols()));
    let mut sets = Vec::new();
    for a in &all {
        for b in all.iter().filter(|b| near(*a, **b)) {
            let pair = Formats::new(*a).accepting(*b).unwrap();
            for c in all.iter().filter(|c| near(*b, **c)) {
                sets.push((pair.clone().accepting(*c).unwrap(), vec![*a, *b, *c]));
            }
            sets.push((pair, vec![*a, *b]));
        }
    }
    sets
}

/// The codes that an input is where each format is the only one accepted.
fn readings(typed: &str, formats: &[Format]) -> Vec<(Format, u8)> {
    let read = |format: &Format| parse(typed, *format).ok().map(|slot| (*format, slot));
    formats.iter().filter_map(read).collect()
}

#[test]
fn no_input_is_read_as_another_code_where_formats_of_neighbouring_lengths_are_accepted() {
    let (mut read_as_codes, mut ambiguous) = (0, 0);
    for (formats, each) in neighbours() {
        for format in &each {
            for code in codes(*format) {
                let (code, slot) = (code.expose(), code.slot());
                // As shown, it is itself whatever else is accepted.
                assert_eq!(read(&code, &formats), Ok((*format, slot)));
                for typed in [
                    format!("{slot}. {}", *code),
                    format!("{slot:02}) {}", *code),
                    format!("{slot} {}", *code),
                    format!("{slot:02} {}", *code),
                    format!("{} {}", &code[..1], &code[1..]),
                    format!("{} {}", &code[..2], &code[2..]),
                ] {
                    let possible = readings(&typed, &each);
                    assert!(possible.contains(&(*format, slot)), "{typed}");
                    match read(&typed, &formats) {
                        Ok(read) => {
                            read_as_codes += 1;
                            assert_eq!(possible, [read], "{typed}");
                        }
                        Err(_) => ambiguous += usize::from(possible.len() > 1),
                    }
                    let marked = typed.contains(['.', ')']);
                    let wrong = marked && read(&typed, &formats) != Ok((*format, slot));
                    assert!(!wrong, "{typed}: a mark leaves one reading");
                }
            }
        }
    }
    assert!(read_as_codes > 10_000 && ambiguous > 100, "{ambiguous}");
}

#[test]
fn one_symbol_changed_is_no_code_whatever_else_is_accepted() {
    for (formats, each) in neighbours() {
        let code = codes(each[0]).remove(11);
        let symbols = code.expose().replace('-', "");
        for at in 0..symbols.len() {
            let mut typed = symbols.clone();
            let other = if typed[at..].starts_with('4') {
                "5"
            } else {
                "4"
            };
            typed.replace_range(at..=at, other);
            for gap in [0, 1, 2] {
                let typed = format!("{} {}", &typed[..gap], &typed[gap..]);
                assert!(read(&typed, &formats).is_err(), "{typed}");
            }
        }
    }
}

/// Some numbers before a code leave the check symbol right, those of which the second digit is the
/// check symbol of the first.
#[test]
fn an_input_with_two_right_readings_is_no_code() {
    for (short, long, numbers) in [
        (Format::CROCKFORD, Format::crockford(16), [12, 24]),
        (Format::DIGITS, Format::digits(23), [13, 21]),
    ] {
        let long = long.unwrap();
        let both = Formats::new(short).accepting(long).unwrap();
        for number in numbers {
            let typed = format!("{number} {}", *codes(short)[number - 1].expose());
            assert!(parse(&typed, short).is_ok(), "a number and a code");
            assert!(parse(&typed, long).is_ok(), "a code that is longer");
            assert_eq!(read(&typed, &both), Err(NotACode::Shape));
        }
    }
}

#[test]
fn a_text_of_an_accepted_length_is_never_read_as_a_numbered_shorter_code() {
    let (short, long) = (Format::CROCKFORD, Format::crockford(15).unwrap());
    let both = Formats::new(long).accepting(short).unwrap();
    for code in &codes(short)[..9] {
        let typed = format!("{} {}", code.slot(), *code.expose());
        assert_eq!(parse(&typed, short), Ok(code.slot()));
        assert_eq!(read(&typed, &both), Err(NotACode::Shape), "{typed}");
    }
}

// The hints.

#[test]
fn a_code_of_a_format_that_is_not_accepted_is_told_as_one_of_an_older_kind() {
    for older in every_format() {
        for format in [Format::CROCKFORD, Format::DIGITS] {
            if older.symbols() == format.symbols() && older != format {
                // Told as a typing error where its symbols are all of the accepted alphabet.
                continue;
            }
            for code in codes(older) {
                let listed = format!("{}. {}", code.slot(), *code.expose());
                for typed in [&*code.expose(), &listed] {
                    let hint = (older != format).then_some(NotACode::OtherFormat);
                    assert_eq!(parse(typed, format).err(), hint, "{typed}");
                }
            }
        }
    }
}

#[test]
fn a_code_of_letters_is_told_as_of_an_older_kind_where_digits_of_its_length_are_accepted() {
    let older = Format::crockford(22).unwrap();
    assert_eq!(older.symbols(), Format::DIGITS.symbols());
    for code in codes(older) {
        let read = parse(&code.expose(), Format::DIGITS);
        assert_eq!(read, Err(NotACode::OtherFormat));
    }
}

#[test]
fn each_hint_has_its_text() {
    for (typed, text) in [
        (
            "39WA-3GNM-1JH6",
            "this does not look like a backup code: type one code as it is printed",
        ),
        (
            "39WA-3GNM-1JH6-5XZS",
            "there is probably a typing error in this code: compare it with your sheet",
        ),
        (
            "39ЦФ-3ПТЬ-1ОР6-5ЧЯК",
            "this has letters of another alphabet: switch the keyboard to Latin letters",
        ),
        (
            "BQQ1-NTQ1-AKNG-CDCW-97B5-1MHT-FFQB",
            "this looks like a code of an older kind, which is no longer accepted: compare it with \
             your newest sheet",
        ),
    ] {
        let hint = slot(typed).unwrap_err();
        assert_eq!(hint.to_string(), text);
    }
}

#[test]
fn accented_latin_letters_are_not_told_as_of_another_script() {
    for typed in ["ü", "39WÀ-3GNM-1JH6-5XZR", "ﬁ", "ℂ", "𝐀"] {
        assert_eq!(slot(typed), Err(NotACode::Shape), "{typed}");
    }
}

// The bound on length.

#[test]
fn the_longest_code_fits_in_four_byte_digits_with_two_four_byte_separators_after_each() {
    let format = Format::digits(36).unwrap();
    let code = codes(format).remove(30);
    let listed = format!("31.{}", code.expose().replace('-', ""));
    let typed: String = listed
        .chars()
        .map(|c| match c.to_digit(10) {
            Some(digit) => char::from_u32(0x1d7ce + digit).unwrap().to_string(),
            None => c.to_string(),
        })
        .collect();
    let spread: String = typed[4 + 4 + 1..]
        .chars()
        .flat_map(|c| [c, '\u{10ead}', '\u{e0020}'])
        .collect();
    let typed = format!("{} {spread}", &typed[..9]);
    assert!((450..=Attempt::MAX_INPUT_LEN).contains(&typed.len()));
    assert_eq!(parse(&typed, format), Ok(31));
}

fn padded(len: usize) -> String {
    format!("{CODE}{}", " ".repeat(len - CODE.len()))
}

#[test]
fn an_input_of_512_bytes_is_read() {
    assert_eq!(slot(&padded(512)), Ok(SLOT));
}

#[test]
fn an_input_of_more_than_512_bytes_is_no_code() {
    assert_eq!(slot(&padded(513)), Err(NotACode::Shape));
    assert_eq!(slot(&"Ж".repeat(257)), Err(NotACode::Shape));
}
