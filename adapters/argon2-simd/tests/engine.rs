//! The engine keeps its contract, and its hashes and those of the default engine are the same.

use backup_codes::hash::{DefaultEngine, PoolSize};
use backup_codes::{
    BackupCodes, Context, HashParams, Hashing, Keyring, MemoryRepository, Pepper, Redeem, Settings,
    Subject, Timestamp, UserId,
};
use backup_codes_argon2_simd::SimdEngine;
use pollster::block_on;

backup_codes::engine_conformance_tests!(SimdEngine::new);

/// Changing to this engine and back needs no new sheets.
#[test]
fn codes_hashed_by_one_engine_are_accepted_by_the_other() {
    let params = || {
        let pepper = Pepper::new([7; 32]).unwrap();
        HashParams::new(Keyring::new("2026".parse().unwrap(), pepper)).unwrap()
    };
    let size = PoolSize::new(2, 8).unwrap();
    let simd = || Hashing::pool_with_engine(params(), size, SimdEngine::new).unwrap();
    let default = || Hashing::pool_with_engine(params(), size, DefaultEngine::new).unwrap();
    for (issuing, redeeming) in [(simd(), default()), (default(), simd())] {
        let store = MemoryRepository::new();
        let with = |hashing| BackupCodes::new(store.clone(), Settings::default(), hashing);
        let alice = Subject::new(UserId::new("42").unwrap(), ["staff"]);
        let now = Timestamp::from_unix_millis(1_790_000_000_000).unwrap();
        let cx = Context::new(now, &alice);
        let sheet = block_on(with(issuing).issue(&alice, &cx)).unwrap().sheet;
        let codes = with(redeeming);
        for (_, code) in sheet.expose().codes() {
            let redeemed = block_on(codes.redeem(&alice, &code, &cx)).unwrap();
            assert!(matches!(redeemed, Redeem::Accepted(_)));
        }
    }
}

#[test]
fn the_engine_names_its_instruction_set_and_memory() {
    let mut engine = SimdEngine::new();
    assert_eq!(engine.memory_kib(), 0);
    backup_codes::hash::self_test(&mut engine).unwrap();
    assert_eq!(engine.memory_kib(), 19_456);
    let said = format!("{engine:?}");
    assert!(said.contains(SimdEngine::instruction_set()), "{said}");
}
