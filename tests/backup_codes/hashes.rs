//! Stored hashes: salts, peppers, costs, and what they are bound to.

use std::collections::BTreeSet;
use std::time::Duration;

use backup_codes::audit::Reason;
use backup_codes::hash::KeyId;
use backup_codes::repository::{CodeRepository as _, Freshness};
use backup_codes::{Config, Hashing, Keyring, Pepper, Redeem, SetSize, Sheet};
use pollster::block_on;

use crate::fixture::{Fixture, fixture, fixture_of, fixture_with, own};
use crate::support::checksum::sum_again;
use crate::support::hashing::{cheap, keyring};
use crate::support::operations::config;
use crate::support::people::{alice, bob};
use crate::support::sheets::code;

/// Redeems a code on a node with this keyring; the reason if it is refused.
fn redeem(f: &Fixture, keyring: Keyring, sheet: &Sheet, slot: u8) -> Option<Reason> {
    let (codes, cx) = (f.with_keyring(keyring), own(Duration::ZERO));
    match block_on(codes.redeem(&alice(), &code(sheet, slot), &cx)).unwrap() {
        Redeem::Refused(refusal) => Some(refusal.reason()),
        _ => None,
    }
}

#[test]
fn rotating_the_pepper_keeps_printed_codes() {
    let f = fixture_of(Hashing::inline(cheap(keyring("old", 1))));
    let sheet = f.issue(&alice(), Duration::ZERO);
    let (id, pepper) = (KeyId::new("old").unwrap(), Pepper::new([1; 32]).unwrap());
    let rotated = keyring("new", 2).with_older(id, pepper).unwrap();
    assert_eq!(redeem(&f, rotated, &sheet, 1), None);
}

#[test]
fn a_code_is_refused_without_its_pepper() {
    let f = fixture_of(Hashing::inline(cheap(keyring("old", 1))));
    let sheet = f.issue(&alice(), Duration::ZERO);
    assert_eq!(
        redeem(&f, keyring("new", 2), &sheet, 2),
        Some(Reason::UnknownKey)
    );
    assert_eq!(
        redeem(&f, keyring("old", 3), &sheet, 3),
        Some(Reason::KeyMismatch),
        "another key, same name"
    );
    assert_eq!(
        redeem(&f, Keyring::without_pepper(), &sheet, 4),
        Some(Reason::UnknownKey)
    );
}

#[test]
fn a_hash_without_a_pepper_is_accepted_only_where_set_so() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    assert_eq!(
        redeem(&f, keyring("new", 2), &sheet, 1),
        Some(Reason::UnknownKey)
    );
    let accepting = keyring("new", 2).accepting_unpeppered();
    assert_eq!(redeem(&f, accepting, &sheet, 1), None);
}

#[test]
fn a_record_moved_to_another_user_verifies_nothing() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    let bob = bob();
    let bobs = f.issue(&bob, Duration::ZERO);
    let stolen = block_on(f.store.load(bob.id(), Freshness::Latest));
    let stolen = stolen.unwrap().unwrap().record;
    f.tamper(|_| stolen.clone());
    assert_eq!(
        f.refused(&code(&bobs, 1), Duration::ZERO).reason(),
        Reason::Wrong
    );
}

// The attacker of these knows how to sum.

#[test]
fn a_hash_moved_to_another_slot_verifies_nothing() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    f.tamper(|record| {
        let exchanged = record
            .replacen("\"slot\":1,", "\"slot\":99,", 1)
            .replacen("\"slot\":2,", "\"slot\":1,", 1)
            .replacen("\"slot\":99,", "\"slot\":2,", 1);
        sum_again(&exchanged)
    });
    for slot in [1, 2] {
        assert_eq!(
            f.refused(&code(&sheet, slot), Duration::ZERO).reason(),
            Reason::Wrong
        );
    }
    let _ = f.accepted(&code(&sheet, 3), Duration::ZERO);
}

#[test]
fn a_hash_of_another_format_is_not_evaluated() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    f.tamper(|record| sum_again(&record.replacen("\"crockford-26,", "\"crockford-25,", 1)));
    assert_eq!(
        f.refused(&code(&sheet, 4), Duration::ZERO).reason(),
        Reason::FormatNotAccepted
    );
}

#[test]
fn a_hash_moved_to_another_set_verifies_nothing() {
    let f = fixture();
    let other = f.issue(&alice(), Duration::ZERO).id().to_string();
    let sheet = f.issue(&alice(), Duration::ZERO);
    f.tamper(|record| sum_again(&record.replace(&sheet.id().to_string(), &other)));
    assert_eq!(
        f.refused(&code(&sheet, 4), Duration::ZERO).reason(),
        Reason::Wrong
    );
}

#[test]
fn a_row_above_the_ceiling_is_not_evaluated() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    f.tamper(|record| sum_again(&record.replace("m=8,t=1", "m=47104,t=3")));
    assert_eq!(
        f.refused(&code(&sheet, 1), Duration::ZERO).reason(),
        Reason::CostAboveCeiling,
        "passes count too"
    );
    f.tamper(|record| sum_again(&record.replace("m=47104,t=3", "m=1048576,t=1")));
    assert_eq!(
        f.refused(&code(&sheet, 1), Duration::ZERO).reason(),
        Reason::CostAboveCeiling
    );
}

#[test]
fn a_row_below_the_floor_is_not_evaluated() {
    let f = fixture_with(Config::default());
    let sheet = f.issue(&alice(), Duration::ZERO);
    // A standard code whose row claims the cheap cost of the long ones.
    f.tamper(|record| sum_again(&record.replace("m=19456,t=2", "m=8,t=1")));
    assert_eq!(
        f.refused(&code(&sheet, 1), Duration::ZERO).reason(),
        Reason::CostBelowFloor
    );
}

#[test]
fn a_row_of_another_cost_than_the_set_is_not_evaluated() {
    let f = fixture_with(Config::default());
    let sheet = f.issue(&alice(), Duration::ZERO);
    f.tamper(|record| sum_again(&record.replacen("m=19456,t=2,p", "m=8,t=1,p", 1)));
    assert_eq!(
        f.refused(&code(&sheet, 1), Duration::ZERO).reason(),
        Reason::Malformed
    );
    let _ = f.accepted(&code(&sheet, 2), Duration::ZERO);
}

#[test]
fn ten_thousand_codes_have_ten_thousand_salts() {
    let size = SetSize::new(31).unwrap();
    let f = fixture_with(config().with_set_size(size));
    let mut salts = BTreeSet::new();
    let mut codes = 0;
    while codes < 10_000 {
        let _ = f.issue(&alice(), Duration::ZERO);
        let record = f.load().record;
        let stored = record
            .split("p=1$")
            .skip(1)
            .map(|rest| rest[..22].to_owned());
        codes += stored.clone().count();
        salts.extend(stored);
    }
    assert_eq!(salts.len(), codes);
}
