//! Runs the read-encode-compare path with secrets marked as undefined, so that the memory checker
//! reports every branch and every address that depends on them. Each typed character is marked
//! before it is looked at; whether it is a letter or digit is then declared public, and what is
//! neither. `--planted` does a comparison that ends early instead, which it must report.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use backup_codes::code::NotACode;
use backup_codes::hash::{Cost, DefaultEngine, HashSalt, StoredHash, Target};
use backup_codes::memcheck::{Hooks, set_hooks};
use backup_codes::rules::{Attempt, OperationId, generate, hash, verify};
use backup_codes::{Format, Formats, HashParams, Keyring, SetId, SetSize, UserId};
use getrandom::SysRng;

unsafe extern "C" {
    fn shim_undefined(bytes: *mut u8, len: usize);
    fn shim_defined(bytes: *mut u8, len: usize);
    fn shim_running() -> u32;
}

static CLASSIFIED: AtomicUsize = AtomicUsize::new(0);
static DECLASSIFIED: AtomicUsize = AtomicUsize::new(0);

fn classify(bytes: &mut [u8]) {
    CLASSIFIED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: a request to the checker about memory that is ours.
    unsafe { shim_undefined(bytes.as_mut_ptr(), bytes.len()) }
}

fn declassify(bytes: &mut [u8]) {
    DECLASSIFIED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: a request to the checker about memory that is ours.
    unsafe { shim_defined(bytes.as_mut_ptr(), bytes.len()) }
}

/// Ends at the first difference: the fault that the checker has to find. Its name shows that the
/// suppressions excuse the argon2 crate, not whatever is called so.
#[inline(never)]
fn planted_argon2id(a: &[u8], b: &[u8]) -> bool {
    for (x, y) in a.iter().zip(b) {
        if x != y {
            return false;
        }
    }
    true
}

/// Reads a text, and checks that each character was marked as secret, and that nothing was declared
/// public but: whether it is a symbol, the character if it is none, and this number of verdicts and
/// slots.
fn read(text: &str, formats: &Formats, verdicts: usize) -> Result<Attempt, NotACode> {
    let id = OperationId::from_bytes([1; 16]);
    let before = counts();
    let attempt = Attempt::parse(text, formats, id);
    let after = counts();
    let characters = text.chars().count();
    let separators = text
        .chars()
        .filter(|c| !c.is_alphanumeric() || *c == LONG_MARK);
    assert_eq!(after.0 - before.0, characters, "{text}");
    let public = characters + separators.count() + verdicts;
    assert_eq!(after.1 - before.1, public, "{text}");
    attempt
}

/// What a Japanese keyboard gives for a hyphen. To Unicode it is a letter.
const LONG_MARK: char = '\u{30fc}';

fn counts() -> (usize, usize) {
    let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    (load(&CLASSIFIED), load(&DECLASSIFIED))
}

/// A code with the digits of another script, whose zero this is, and its separators.
fn with_digits(code: &str, zero: char) -> String {
    let typed = code.chars().map(|c| match c.to_digit(10) {
        Some(digit) => char::from_u32(zero as u32 + digit).unwrap_or(c),
        None if c == '-' => LONG_MARK,
        None => c,
    });
    typed.collect()
}

/// A code in full-width forms.
fn full_width(code: &str) -> String {
    let typed = code.chars().map(|c| char::from_u32(c as u32 + 0xfee0));
    typed.map(|c| c.unwrap_or('-')).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: asks only whether the checker is there.
    assert_ne!(unsafe { shim_running() }, 0, "run this under valgrind");
    if std::env::args().any(|argument| argument == "--planted") {
        let mut secret = *b"0123456789ABCD";
        classify(&mut secret);
        black_box(planted_argon2id(
            black_box(&secret),
            black_box(b"0123456789ABCE"),
        ));
        return Ok(());
    }
    let mut rng = SysRng;
    let formats = Formats::new(Format::HIGH_ENTROPY)
        .accepting(Format::CROCKFORD)?
        .accepting(Format::DIGITS)?;
    let params = HashParams::new(Keyring::without_pepper())
        .unwrap()
        .with_high_entropy_cost(Cost::LEAST);
    let (user, set, mut engine) = (
        UserId::new("alice")?,
        SetId::random(&mut rng)?,
        DefaultEngine::new(),
    );

    // Codes are drawn and shown before anything is secret to the checker.
    let mut typed = Vec::new();
    for format in [Format::HIGH_ENTROPY, Format::CROCKFORD, Format::DIGITS] {
        for code in generate(format, SetSize::new(3)?, &mut rng)? {
            typed.push((code.slot(), code.expose().to_string()));
        }
    }
    let older = generate(Format::crockford(15)?, SetSize::new(1)?, &mut rng)?;
    let older = older[0].expose().to_string();
    let mut codes = generate(Format::HIGH_ENTROPY, SetSize::new(2)?, &mut rng)?;
    // One at the default cost, which takes seconds under the checker.
    codes.extend(generate(Format::CROCKFORD, SetSize::new(1)?, &mut rng)?);
    let ours: Vec<String> = codes.iter().map(|code| code.expose().to_string()).collect();
    let mut typo = ours[0].clone();
    let last = typo.pop();
    typo.push(if last == Some('0') { '1' } else { '0' });
    let foreign = ours[0].replace(char::is_alphanumeric, "U");
    let misnumbered = format!("9. {}", ours[0]);

    set_hooks(Hooks {
        classify,
        declassify,
    });
    for (slot, text) in &typed {
        for text in [
            text.clone(),
            text.to_lowercase(),
            full_width(text),
            with_digits(text, '\u{660}'),
            with_digits(text, '\u{1d7ce}'),
            format!("\u{2022} {slot}) \"{text}\"."),
            format!("{slot} {}", with_digits(text, '\u{966}')),
            format!("0{slot}: {text}"),
        ] {
            // A verdict and a slot.
            assert_eq!(read(&text, &formats, 2).map(|code| code.slot()), Ok(*slot));
        }
    }
    for (text, hint, verdicts) in [
        (&typo, NotACode::Typo, 1),
        (&misnumbered, NotACode::Shape, 1),
        // Tried in its own format, then in both that have this length.
        (&foreign, NotACode::Shape, 3),
        // The verdict, and then the slot, in the one format of this length.
        (&older, NotACode::OtherFormat, 2),
    ] {
        assert_eq!(read(text, &formats, verdicts).err(), Some(hint));
    }
    let mut stored: Vec<StoredHash> = Vec::new();
    for code in &mut codes {
        let before = counts();
        code.classify_payload();
        assert_eq!(counts(), (before.0 + 1, before.1));
        let salt = HashSalt::random(&mut rng)?;
        stored.push(hash(&params, &mut engine, &user, set, code, salt)?);
    }
    // Each code of high entropy against its own hash, the other one's and none; the last one
    // against its own.
    for (text, against) in [(0, 0), (0, 1), (0, 9), (1, 1), (1, 0), (1, 9), (2, 2)] {
        let attempt = read(&ours[text], &formats, 2)?;
        let before = counts();
        let target = stored.get(against).cloned();
        let target = target.map_or(Target::Nothing, |stored| Target::Hash(set, stored));
        let verified = verify(&params, &mut engine, &user, &attempt, &target)?;
        let equal = format!("{verified:?}").contains("equality: Equal");
        assert_eq!(equal, text == against);
        // A run that marks nothing proves nothing: the tag, and whether it is equal.
        assert_eq!(counts(), (before.0 + 1, before.1 + 1));
    }
    let (secret, public) = counts();
    println!("{secret} values marked as secret, {public} results declared public");
    Ok(())
}
