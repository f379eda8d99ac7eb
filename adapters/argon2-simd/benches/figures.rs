//! The figures of the engine: `cargo bench -p backup-codes-argon2-simd --bench figures`, or with
//! `-- --brief` a short run that only shows that they can be measured.
//!
//! In `redeem_over_best_known` and the burst both sides wipe their memory. The other figures are what
//! a caller waits for: the SIMD engine's wipe is part of each evaluation, the default engine's comes
//! after the answer and is left out.
//!
//! The table compares implementations in one process, in turn, and checks that their tags are equal.
//! The two in C are Debian's `libsodium23` and `libargon2-1`; one that is not installed has no column.
#![expect(unsafe_code, reason = "functions of C libraries")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads clocks")]
#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

#[path = "../../../benches/shared/mod.rs"]
mod shared;

use std::ffi::{c_char, c_int, c_ulonglong, c_void};
use std::hint::black_box;
use std::thread;

use argon2::Block;
use argon2_rust::params::{Memory, TagLen};
use backup_codes::hash::{Cost, DefaultEngine, Engine, PoolSize};
use backup_codes::{HashParams, Hashing, Keyring};
use backup_codes_argon2_simd::SimdEngine;
use libloading::Library;
use shared::{burst, figure, median, ratio, redeem_over, settled};

const MESSAGE: [u8; 80] = [7; 80];
const SALT: [u8; 16] = [9; 16];

/// Computes the tag of [`MESSAGE`].
type Evaluate = Box<dyn FnMut() -> [u8; 32]>;

/// Returns the `argon2` crate with memory of its own, kept for the next evaluation or not.
fn rust_crypto(cost: Cost, is_kept: bool) -> Evaluate {
    let (m, t) = (cost.memory_kib(), cost.passes());
    let params = argon2::Params::new(m, t, 1, Some(32)).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let new = move || vec![Block::new(); m as usize];
    let mut kept = if is_kept { new() } else { Vec::new() };
    Box::new(move || {
        if !is_kept {
            kept = new();
        }
        let mut tag = [0; 32];
        let evaluated = argon2.hash_password_into_with_memory(&MESSAGE, &SALT, &mut tag, &mut kept);
        evaluated.unwrap();
        if !is_kept {
            kept = Vec::new();
        }
        tag
    })
}

/// Returns the `argon2-rust` crate with a kept `Hasher`, which wipes its memory each time.
fn simd(cost: Cost) -> Evaluate {
    let params = argon2_rust::Params::builder()
        .memory(Memory::kib(cost.memory_kib().into()))
        .passes(cost.passes())
        .lanes(1)
        .tag_len(TagLen::bytes(32))
        .build()
        .unwrap();
    let (algorithm, version) = (
        argon2_rust::Algorithm::Argon2id,
        argon2_rust::Version::V0x13,
    );
    let mut hasher = argon2_rust::Argon2::new(algorithm, version, params).hasher();
    Box::new(move || {
        let mut tag = [0; 32];
        hasher.hash_into(&MESSAGE, &SALT, &mut tag).unwrap();
        tag
    })
}

/// Returns one of the engines.
fn engine(mut engine: impl Engine, cost: Cost) -> impl FnMut() -> [u8; 32] {
    move || {
        let mut tag = [0; 32];
        let evaluated = engine.evaluate(cost, &[], &SALT, &MESSAGE, &mut tag);
        evaluated.unwrap();
        tag
    }
}

/// Loads a C library, which lives as long as the process.
fn library(name: &str) -> Option<&'static Library> {
    // SAFETY: both libraries have no constructors that ask for anything of the program.
    match unsafe { Library::new(name) } {
        Ok(library) => Some(Box::leak(Box::new(library))),
        Err(error) => {
            println!("left out: {error}");
            None
        }
    }
}

/// Returns the reference implementation, which allocates its memory each time.
fn libargon2(library: &'static Library, cost: Cost) -> Evaluate {
    type Hash = unsafe extern "C" fn(
        t: u32,
        m: u32,
        lanes: u32,
        message: *const c_void,
        message_len: usize,
        salt: *const c_void,
        salt_len: usize,
        tag: *mut c_void,
        tag_len: usize,
    ) -> c_int;
    // SAFETY: the signature of `argon2id_hash_raw` in argon2.h.
    let hash = unsafe { library.get::<Hash>(b"argon2id_hash_raw") }.unwrap();
    let (m, t) = (cost.memory_kib(), cost.passes());
    Box::new(move || {
        let mut tag = [0; 32];
        let (message, salt) = (MESSAGE.as_ptr().cast(), SALT.as_ptr().cast());
        let out = tag.as_mut_ptr().cast();
        // SAFETY: each pointer is that of an array of the length beside it.
        let status = unsafe { hash(t, m, 1, message, MESSAGE.len(), salt, SALT.len(), out, 32) };
        assert_eq!(status, 0);
        tag
    })
}

/// Returns libsodium, which allocates its memory each time.
fn libsodium(library: &'static Library, cost: Cost) -> Evaluate {
    type Init = unsafe extern "C" fn() -> c_int;
    type Hash = unsafe extern "C" fn(
        tag: *mut u8,
        tag_len: c_ulonglong,
        message: *const c_char,
        message_len: c_ulonglong,
        salt: *const u8,
        t: c_ulonglong,
        memory_bytes: usize,
        algorithm: c_int,
    ) -> c_int;
    const ARGON2ID13: c_int = 2;
    // SAFETY: the signatures of `sodium_init` and `crypto_pwhash_argon2id` in sodium.h.
    let (init, hash) = unsafe {
        let init = library.get::<Init>(b"sodium_init").unwrap();
        (
            init,
            library.get::<Hash>(b"crypto_pwhash_argon2id").unwrap(),
        )
    };
    // SAFETY: it may be called any number of times, and asks for nothing.
    assert!(unsafe { init() } >= 0);
    let (bytes, t) = (cost.memory_kib() as usize * 1024, cost.passes());
    Box::new(move || {
        let mut tag = [0; 32];
        let (message, len) = (MESSAGE.as_ptr().cast(), MESSAGE.len() as c_ulonglong);
        let (salt, out) = (SALT.as_ptr(), tag.as_mut_ptr());
        // SAFETY: each pointer is that of an array of the length beside it; the salt has 16 bytes.
        let status = unsafe { hash(out, 32, message, len, salt, t.into(), bytes, ARGON2ID13) };
        assert_eq!(status, 0);
        tag
    })
}

/// Prints a row of the table: medians in ms.
fn row(cost: Cost, rounds: usize, libraries: [Option<&'static Library>; 2]) {
    let [sodium, reference] = libraries;
    let mut columns = vec![
        ("argon2, kept", rust_crypto(cost, true)),
        ("argon2, fresh", rust_crypto(cost, false)),
        ("argon2-rust, kept", simd(cost)),
    ];
    columns.extend(sodium.map(|library| ("libsodium", libsodium(library, cost))));
    columns.extend(reference.map(|library| ("libargon2", libargon2(library, cost))));
    let expected = columns[0].1();
    let mut times = vec![Vec::new(); columns.len()];
    for _ in 0..rounds {
        for ((name, evaluate), times) in columns.iter_mut().zip(&mut times) {
            let mut tag = [0; 32];
            times.push(settled(|| tag = evaluate()) * 1e3);
            assert_eq!(tag, expected, "{name}");
        }
    }
    print!("m={} KiB, t={}:", cost.memory_kib(), cost.passes());
    for ((name, _), times) in columns.iter().zip(times) {
        print!(" {name} {:.1} ms;", median(times));
    }
    println!();
}

fn hashing(size: PoolSize) -> Hashing {
    let params = HashParams::new(Keyring::without_pepper()).unwrap();
    Hashing::pool_with_engine(params, size, SimdEngine::new).unwrap()
}

fn main() {
    let brief = std::env::args().any(|argument| argument == "--brief");
    let pairs = if brief { 3 } else { 61 };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let instructions = SimdEngine::instruction_set();
    println!("workers {workers}, pairs {pairs}, instruction set {instructions}");
    // Measured first: later, new memory could come unseen from memory that was freed.
    let (users, bursts) = if brief { (50, 2) } else { (1000, 15) };
    burst("_simd", users, bursts, workers, hashing, || {
        let mut bare = simd(Cost::MIB_19);
        move || {
            black_box(bare());
        }
    });
    let mut bare = simd(Cost::MIB_19);
    let size = PoolSize::new(workers, 64).unwrap();
    let value = redeem_over(pairs, hashing(size), || {
        black_box(bare());
    });
    figure("redeem_over_best_known", value, "ratio");
    for (name, cost) in [("19mib", Cost::MIB_19), ("46mib", Cost::MIB_46)] {
        let (mut fast, mut slow) = (
            engine(SimdEngine::new(), cost),
            engine(DefaultEngine::new(), cost),
        );
        assert_eq!(fast(), slow());
        let value = ratio(pairs, || _ = black_box(fast()), || _ = black_box(slow()));
        figure(&format!("engine_simd_over_default_{name}"), value, "ratio");
        let double = Cost::new(2 * cost.memory_kib(), cost.passes()).unwrap();
        let mut double = engine(SimdEngine::new(), double);
        let value = ratio(pairs, || _ = black_box(double()), || _ = black_box(slow()));
        figure(
            &format!("engine_simd_twice_the_memory_over_default_{name}"),
            value,
            "ratio",
        );
    }
    let libraries = ["libsodium.so.23", "libargon2.so.1"].map(library);
    for (memory_kib, passes) in [(19_456, 2), (47_104, 1), (65_536, 3)] {
        row(
            Cost::new(memory_kib, passes).unwrap(),
            if brief { 2 } else { 21 },
            libraries,
        );
    }
}
