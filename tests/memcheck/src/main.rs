//! Runs the encode-and-compare path with secrets marked as undefined, so that the memory checker
//! reports every branch and every address that depends on them. `--planted` does a comparison
//! that ends early instead, which it must report.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use backup_codes::memcheck::{Hooks, set_hooks};
use backup_codes::{
    Attempt, AttemptId, Cost, Format, Formats, HashSalt, Hasher, Keyring, Matrix, NotACode, SetId,
    SetSize, StoredHash, Target, UserId, generate, hash, verify,
};
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
    let hasher = Hasher::new(Keyring::without_pepper()).with_high_entropy_cost(Cost::LEAST);
    let (user, set, mut matrix) = (
        UserId::new("alice")?,
        SetId::random(&mut rng)?,
        Matrix::new(),
    );

    // Codes are drawn and shown before anything is secret to the checker.
    let mut typed = Vec::new();
    for format in [Format::HIGH_ENTROPY, Format::CROCKFORD, Format::DIGITS] {
        for code in generate(format, SetSize::new(3)?, &mut rng)? {
            typed.push(code.expose().to_string());
        }
    }
    let mut codes = generate(Format::HIGH_ENTROPY, SetSize::new(2)?, &mut rng)?;
    // One at the default cost, which takes seconds under the checker.
    codes.extend(generate(Format::CROCKFORD, SetSize::new(1)?, &mut rng)?);
    let ours: Vec<String> = codes.iter().map(|code| code.expose().to_string()).collect();
    let mut typo = ours[0].clone();
    let last = typo.pop();
    typo.push(if last == Some('0') { '1' } else { '0' });
    let foreign = ours[0].replace(char::is_alphanumeric, "U");

    set_hooks(Hooks {
        classify,
        declassify,
    });
    for text in &typed {
        let lower = text.to_lowercase();
        for text in [text, &lower] {
            black_box(Attempt::parse(text, &formats, AttemptId::random(&mut rng)?)?.slot());
        }
    }
    for (text, hint) in [(&typo, NotACode::Typo), (&foreign, NotACode::Shape)] {
        let outcome = Attempt::parse(text, &formats, AttemptId::random(&mut rng)?);
        assert_eq!(outcome.err(), Some(hint));
    }
    let mut stored: Vec<StoredHash> = Vec::new();
    for code in &mut codes {
        code.classify_payload();
        let salt = HashSalt::random(&mut rng)?;
        stored.push(hash(&hasher, &mut matrix, &user, set, code, salt)?);
    }
    // Each code of high entropy against its own hash, the other one's and none; the last one
    // against its own.
    for (text, against) in [(0, 0), (0, 1), (0, 9), (1, 1), (1, 0), (1, 9), (2, 2)] {
        let attempt = Attempt::parse(&ours[text], &formats, AttemptId::random(&mut rng)?)?;
        let target = stored.get(against).cloned();
        let target = target.map_or(Target::Nothing, |stored| Target::Hash(set, stored));
        let verified = verify(&hasher, &mut matrix, &user, &attempt, &target)?;
        let equal = format!("{verified:?}").contains("equality: Equal");
        assert_eq!(equal, text == against);
    }
    // A run that marks nothing proves nothing: 18 + 2 inputs, 3 codes hashed, 7 inputs and tags.
    let (secret, public) = (
        CLASSIFIED.load(Ordering::Relaxed),
        DECLASSIFIED.load(Ordering::Relaxed),
    );
    assert_eq!((secret, public), (18 + 2 + 3 + 7 * 2, 18 + 2 + 7 * 2));
    println!("{secret} values marked as secret, {public} results declared public");
    Ok(())
}
