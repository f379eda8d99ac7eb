//! Records that are damaged in the store.

use std::time::Duration;

use backup_codes::audit::Reason;
use backup_codes::{Burn, Context, Effect, Sheet};
use pollster::block_on;

use crate::fixture::{Fixture, MINUTE, by_admin, fixture, own};
use crate::support::hashing::keyring;
use crate::support::moments::start;
use crate::support::people::{alice, bob};
use crate::support::sheets::code;

/// A sheet whose third code is damaged in the store, and was typed twenty times.
fn damaged_code_typed() -> (Fixture, Sheet) {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    f.damage_slot_3();
    for _ in 0..20 {
        assert_eq!(
            f.refused(&code(&sheet, 3), Duration::ZERO).reason(),
            Reason::Malformed
        );
    }
    (f, sheet)
}

#[test]
fn a_damaged_code_leaves_the_others() {
    let (f, sheet) = damaged_code_typed();
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!((status.damaged, status.remaining, status.total), (1, 9, 10));
    assert_eq!(f.accepted(&code(&sheet, 4), Duration::ZERO).remaining(), 8);
}

#[test]
fn a_write_keeps_a_damaged_code() {
    let (f, sheet) = damaged_code_typed();
    let _ = f.accepted(&code(&sheet, 4), Duration::ZERO);
    assert!(f.load().record.contains("\"slot\":3,\"phc\":\"junk"));
}

#[test]
fn damage_is_not_counted_against_the_sheet() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let over = block_on(
        f.codes
            .issue_override(&alice(), 60 * MINUTE, &by_admin(Duration::ZERO)),
    )
    .unwrap();
    f.tamper(|record| {
        let (before, after) = record.split_once("\"override\":").unwrap();
        let after = after.replacen("$argon2id", "$junk", 1);
        format!("{before}\"override\":{after}").replacen("\"slot\":3,", "\"slot\":\"x\",", 1)
    });
    for typed in [over.expose().to_string(), code(&sheet, 3)] {
        assert_eq!(
            f.refused(&typed, Duration::ZERO).reason(),
            Reason::Malformed
        );
    }
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!((status.wrong_in_a_row, status.damaged), (0, 2));
    let effect = block_on(f.codes.revoke_override(&alice(), &by_admin(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Done);
    assert_eq!(f.accepted(&code(&sheet, 4), Duration::ZERO).remaining(), 8);
}

#[test]
fn burning_says_so_where_the_stored_hash_cannot_be_checked() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    f.damage_slot_3();
    // This node has a pepper, and the stored hashes have none.
    let other = f.with_keyring(keyring("k", 1));
    for (codes, slot, reason) in [
        (other.with_audit(f.audit.clone()), 4, Reason::UnknownKey),
        (f.codes.clone(), 3, Reason::Malformed),
    ] {
        let cx = own(Duration::ZERO);
        let burned = block_on(codes.burn(&alice(), &code(&sheet, slot), &cx)).unwrap();
        let Burn::Refused(refusal) = burned else {
            panic!("{burned:?}")
        };
        assert_eq!(refusal.reason(), reason);
        assert_eq!(f.last_event().reason, Some(reason));
    }
    let _ = f.accepted(&code(&sheet, 4), Duration::ZERO);
}

#[test]
fn what_cannot_be_checked_writes_nothing() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    f.damage_slot_3();
    let before = f.load();
    for _ in 0..5 {
        assert_eq!(
            f.refused(&code(&sheet, 3), Duration::ZERO).reason(),
            Reason::Malformed
        );
    }
    assert_eq!(f.load(), before);
}

#[test]
fn a_damaged_record_does_not_keep_later_ones_from_being_purged() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    f.tamper(|_| "garbage".to_owned());
    let bob = bob();
    let _ = f.issue(&bob, Duration::ZERO);
    let cx = Context::new(start(), &bob);
    assert_eq!(block_on(f.codes.erase(&bob, &cx)).unwrap(), Effect::Done);
    let purged = block_on(
        f.reports()
            .purge(&by_admin(Duration::from_secs(31 * 86_400))),
    )
    .unwrap();
    assert_eq!((purged.removed, purged.unreadable), (1, 1));
    assert_eq!(
        f.load().record,
        "garbage",
        "it is left for whoever repairs it"
    );
}
