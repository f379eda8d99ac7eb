//! Stored hashes: salts, peppers, costs, and what they are bound to.

use std::collections::BTreeSet;
use std::time::Duration;

use backup_codes::audit::Reason;
use backup_codes::hash::KeyId;
use backup_codes::repository::{CodeRepository as _, Freshness};
use backup_codes::{Config, Hashing, Keyring, Pepper, Redeem, SetSize, Subject};
use pollster::block_on;

use crate::fixture::{fixture, fixture_of, fixture_with, own};
use crate::support::checksum::sum_again;
use crate::support::hashing::{cheap, keyring};
use crate::support::operations::config;
use crate::support::people::{alice, bob};
use crate::support::sheets::code;

#[test]
fn rotating_the_pepper_keeps_printed_codes() {
    let f = fixture_of(Hashing::inline(cheap(keyring("old", 1))));
    let sheet = f.issue(&alice(), Duration::ZERO);
    let redeem = |keyring, slot| {
        let cx = own(Duration::ZERO);
        match block_on(
            f.with_keyring(keyring)
                .redeem(&alice(), &code(&sheet, slot), &cx),
        )
        .unwrap()
        {
            Redeem::Refused(refusal) => Some(refusal.reason()),
            _ => None,
        }
    };
    let (id, pepper) = (KeyId::new("old").unwrap(), Pepper::new([1; 32]).unwrap());
    assert_eq!(
        redeem(keyring("new", 2).with_older(id, pepper).unwrap(), 1),
        None
    );
    assert_eq!(redeem(keyring("new", 2), 2), Some(Reason::UnknownKey));
    assert_eq!(
        redeem(keyring("old", 3), 3),
        Some(Reason::KeyMismatch),
        "another key, same name"
    );
    assert_eq!(
        redeem(Keyring::without_pepper(), 4),
        Some(Reason::UnknownKey)
    );
    // Hashes from before there was a pepper.
    let bare = fixture();
    let sheet = bare.issue(&alice(), Duration::ZERO);
    let redeem = |keyring, slot| {
        let codes = bare.with_keyring(keyring);
        let typed = code(&sheet, slot);
        match block_on(codes.redeem(&alice(), &typed, &own(Duration::ZERO))).unwrap() {
            Redeem::Refused(refusal) => Some(refusal.reason()),
            _ => None,
        }
    };
    assert_eq!(redeem(keyring("new", 2), 1), Some(Reason::UnknownKey));
    assert_eq!(redeem(keyring("new", 2).accepting_unpeppered(), 1), None);
}

#[test]
fn a_hash_moved_to_another_user_slot_or_set_verifies_nothing() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let bob = bob();
    let bobs = f.issue(&bob, Duration::ZERO);
    let record = |user: &Subject| {
        block_on(f.store.load(user.id(), Freshness::Latest))
            .unwrap()
            .unwrap()
            .record
    };
    // Bob's whole record under Alice's key.
    let stolen = record(&bob);
    f.tamper(|_| stolen.clone());
    assert_eq!(
        f.refused(&code(&bobs, 1), Duration::ZERO).reason(),
        Reason::Wrong
    );
    // Slots 1 and 2 exchanged, and a set id changed, by somebody who knows how to sum.
    let g = fixture();
    let own_sheet = g.issue(&alice(), Duration::ZERO);
    g.tamper(|record| {
        let exchanged = record
            .replacen("\"slot\":1,", "\"slot\":99,", 1)
            .replacen("\"slot\":2,", "\"slot\":1,", 1)
            .replacen("\"slot\":99,", "\"slot\":2,", 1);
        sum_again(&exchanged)
    });
    for slot in [1, 2] {
        assert_eq!(
            g.refused(&code(&own_sheet, slot), Duration::ZERO).reason(),
            Reason::Wrong
        );
    }
    let _ = g.accepted(&code(&own_sheet, 3), Duration::ZERO);
    g.tamper(|record| sum_again(&record.replacen("\"crockford-26,", "\"crockford-25,", 1)));
    assert_eq!(
        g.refused(&code(&own_sheet, 4), Duration::ZERO).reason(),
        Reason::FormatNotAccepted,
        "format"
    );
    g.tamper(|record| sum_again(&record.replacen("\"crockford-25,", "\"crockford-26,", 1)));
    g.tamper(|record| {
        sum_again(&record.replace(&own_sheet.id().to_string(), &sheet.id().to_string()))
    });
    assert_eq!(
        g.refused(&code(&own_sheet, 4), Duration::ZERO).reason(),
        Reason::Wrong
    );
}

#[test]
fn a_row_that_is_too_costly_or_too_cheap_is_not_evaluated() {
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
    // A standard code whose row claims the cheap cost of the long ones.
    let standard = fixture_with(Config::default());
    let sheet = standard.issue(&alice(), Duration::ZERO);
    let written = standard.load().record;
    standard.tamper(|record| sum_again(&record.replace("m=19456,t=2", "m=8,t=1")));
    assert_eq!(
        standard.refused(&code(&sheet, 1), Duration::ZERO).reason(),
        Reason::CostBelowFloor
    );
    // In one row only: it is not a code of this set.
    standard.tamper(|_| sum_again(&written.replacen("m=19456,t=2,p", "m=8,t=1,p", 1)));
    assert_eq!(
        standard.refused(&code(&sheet, 1), Duration::ZERO).reason(),
        Reason::Malformed
    );
    let _ = standard.accepted(&code(&sheet, 2), Duration::ZERO);
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
