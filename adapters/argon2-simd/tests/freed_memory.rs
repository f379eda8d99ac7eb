//! No block of memory that the engine gives back holds a part of a message or a secret.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../../../tests/support/freed.rs"]
mod freed;

use backup_codes::hash::{Cost, Engine};
use backup_codes_argon2_simd::SimdEngine;
use freed::{Watching, search, secret};

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// Returns bytes that stand nowhere else in memory.
fn bytes<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

#[test]
fn an_evaluation_leaves_no_message_and_no_secret() {
    let found = search(|| {
        let (message, key) = (bytes::<200>(), bytes::<1024>());
        secret(&message);
        secret(&key);
        let mut engine = SimdEngine::new();
        for kib in [8, 4096, 64] {
            let cost = Cost::new(kib, 2).unwrap();
            let evaluated = engine.evaluate(cost, &key, &[2; 16], &message, &mut [0; 32]);
            assert!(evaluated.is_ok());
            engine.wipe();
        }
    });
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_message_that_is_left_is_found() {
    let found = search(|| {
        let message = bytes::<200>();
        secret(&message);
        drop(message.to_vec());
    });
    assert!(!found.is_empty());
}
