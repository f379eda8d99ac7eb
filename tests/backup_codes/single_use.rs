//! A code works once.

use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use backup_codes::audit::{Event, Reason};
use backup_codes::hash::PoolSize;
use backup_codes::outcome::{Receipt, Refusal};
use backup_codes::{Burn, Error, Hashing, Keyring, Redeem, Sheet};
use pollster::block_on;

use crate::fixture::{Fixture, fixture, fixture_of, own};
use crate::support::hashing::{cheap, cheap_hashing};
use crate::support::people::alice;
use crate::support::sheets::code;

/// Uses four codes out of order, each of them twice: what each use yielded, and the last event.
fn used_twice() -> (Fixture, Vec<(Receipt, Refusal, Event)>) {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let uses = [7, 1, 10, 2].map(|slot| {
        let receipt = f.accepted(&code(&sheet, slot), Duration::ZERO);
        let refusal = f.refused(&code(&sheet, slot), Duration::ZERO);
        (receipt, refusal, f.last_event())
    });
    (f, uses.into())
}

#[test]
fn each_code_works_once_in_any_order() {
    let (f, uses) = used_twice();
    let receipts = uses.iter().map(|(receipt, ..)| receipt);
    let receipts = receipts.map(|receipt| (receipt.slot(), receipt.remaining()));
    assert_eq!(
        receipts.collect::<Vec<_>>(),
        [(7, 9), (1, 8), (10, 7), (2, 6)]
    );
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!((status.remaining, status.total), (6, 10));
}

#[test]
fn a_used_code_is_recognised() {
    for (_, refusal, event) in used_twice().1 {
        assert_eq!(refusal.reason(), Reason::Used);
        assert_eq!(event.reason, Some(Reason::Used));
    }
}

#[test]
fn a_used_code_is_not_counted_as_a_wrong_one() {
    let (f, _) = used_twice();
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!(status.wrong_in_a_row, 0);
}

#[test]
fn of_64_parallel_redeems_of_one_code_one_wins() {
    for pooled in [false, true] {
        let hashing = if pooled {
            let params = cheap(Keyring::without_pepper());
            Hashing::pool_with(params, PoolSize::new(4, 64).unwrap()).unwrap()
        } else {
            cheap_hashing()
        };
        let f = fixture_of(hashing);
        let sheet = f.issue(&alice(), Duration::ZERO);
        let typed = code(&sheet, 4);
        let barrier = Barrier::new(64);
        let accepted = Mutex::new(0);
        thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    barrier.wait();
                    loop {
                        let cx = own(Duration::ZERO);
                        match block_on(f.codes.redeem(&alice(), &typed, &cx)) {
                            Ok(Redeem::Accepted(_)) => *accepted.lock().unwrap() += 1,
                            Ok(Redeem::Refused(refusal)) => {
                                assert_eq!(refusal.reason(), Reason::Used);
                            }
                            Err(Error::Busy | Error::Contended) => continue,
                            other => panic!("{other:?}"),
                        }
                        break;
                    }
                });
            }
        });
        assert_eq!(accepted.into_inner().unwrap(), 1);
    }
}

#[test]
fn a_stored_hash_typed_into_the_form_is_not_a_code() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    let record = f.load().record;
    for piece in record.split('"') {
        assert!(
            matches!(f.redeem(piece, Duration::ZERO), Redeem::NotACode(_)),
            "{piece}"
        );
    }
}

#[test]
fn a_symbol_more_or_less_or_changed_is_not_accepted() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let right = code(&sheet, 1);
    for wrong in [
        right[..right.len() - 1].to_owned(),
        format!("{right}0"),
        format!("{right}{right}"),
        right.replacen(right.chars().nth(3).unwrap(), "U", 1),
    ] {
        assert!(matches!(
            f.redeem(&wrong, Duration::ZERO),
            Redeem::NotACode(_)
        ));
    }
    let _ = f.accepted(&right, Duration::ZERO);
}

fn burned_slot_2() -> (Fixture, Sheet) {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let typed = code(&sheet, 2);
    let burned = block_on(f.codes.burn(&alice(), &typed, &own(Duration::ZERO))).unwrap();
    assert_eq!(burned, Burn::Done(None));
    (f, sheet)
}

#[test]
fn a_burned_code_is_refused() {
    let (f, sheet) = burned_slot_2();
    assert_eq!(
        f.refused(&code(&sheet, 2), Duration::ZERO).reason(),
        Reason::Burned
    );
}

#[test]
fn burning_a_code_leaves_the_others() {
    let (f, sheet) = burned_slot_2();
    assert_eq!(f.accepted(&code(&sheet, 3), Duration::ZERO).remaining(), 8);
}
