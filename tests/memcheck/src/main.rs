//! Runs the encode-and-compare path with secrets marked as undefined, so that the memory checker
//! reports every branch and every address that depends on them. `--planted` adds a comparison
//! that ends early, which it must report.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use backup_codes::memcheck::{Hooks, set_hooks};
use backup_codes::{
    Attempt, AttemptId, Cost, Format, Formats, HashSalt, Hasher, Keyring, Matrix, NotACode, SetId,
    SetSize, Target, UserId, generate, hash, verify,
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

/// Ends at the first difference: the fault that the checker has to find.
#[inline(never)]
fn planted(a: &[u8], b: &[u8]) -> bool {
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
        black_box(planted(black_box(&secret), black_box(b"0123456789ABCE")));
        return Ok(());
    }
    let mut rng = SysRng;
    let formats = Formats::new(Format::HIGH_ENTROPY)
        .accepting(Format::CROCKFORD)?
        .accepting(Format::DIGITS)?;
    let hasher = Hasher::new(Keyring::without_pepper()).with_high_entropy_cost(Cost::LEAST);
    let (user, set, mut matrix) = (UserId::new("alice")?, SetId::random(&mut rng)?, Matrix::new());

    // Everything that is compared is made before anything is secret to the checker.
    let mut typed = Vec::new();
    for format in [Format::HIGH_ENTROPY, Format::CROCKFORD, Format::DIGITS] {
        for code in generate(format, SetSize::new(3)?, &mut rng)? {
            typed.push(code.expose().to_string());
        }
    }
    let codes = generate(Format::HIGH_ENTROPY, SetSize::new(2)?, &mut rng)?;
    let mut stored = Vec::new();
    for code in &codes {
        let salt = HashSalt::random(&mut rng)?;
        stored.push(hash(&hasher, &mut matrix, &user, set, code, salt)?);
    }
    let ours: Vec<String> = codes.iter().map(|code| code.expose().to_string()).collect();
    let mut typo = ours[0].clone();
    let last = typo.pop();
    typo.push(if last == Some('0') { '1' } else { '0' });

    set_hooks(Hooks { classify, declassify });
    for text in &typed {
        let lower = text.to_lowercase();
        for text in [text, &lower] {
            black_box(Attempt::parse(text, &formats, AttemptId::random(&mut rng)?)?.slot());
        }
    }
    let outcome = Attempt::parse(&typo, &formats, AttemptId::random(&mut rng)?);
    assert_eq!(outcome.err(), Some(NotACode::Typo));
    for text in &ours {
        let attempt = Attempt::parse(text, &formats, AttemptId::random(&mut rng)?)?;
        // Right for one of the two, wrong for the other.
        for stored in &stored {
            let target = Target::Hash(set, stored.clone());
            let _ = black_box(verify(&hasher, &mut matrix, &user, &attempt, &target)?);
        }
        let _ = black_box(verify(&hasher, &mut matrix, &user, &attempt, &Target::Nothing)?);
    }
    // A run that marks nothing proves nothing.
    assert_eq!(CLASSIFIED.load(Ordering::Relaxed), 18 + 1 + 2 + 6);
    assert_eq!(DECLASSIFIED.load(Ordering::Relaxed), 18 + 1 + 2 + 6);
    println!("27 values marked as secret, 27 results declared public");
    Ok(())
}
