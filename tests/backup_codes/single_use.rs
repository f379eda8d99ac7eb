//! A code works once.

use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use backup_codes::audit::Reason;
use backup_codes::hash::PoolSize;
use backup_codes::{Burn, Error, Hashing, Keyring, Redeem};
use pollster::block_on;

use crate::fixture::{fixture, fixture_of, own};
use crate::support::hashing::{cheap, cheap_hashing};
use crate::support::people::alice;
use crate::support::sheets::code;

#[test]
fn a_code_works_once_in_any_order_and_the_reuse_is_recognised_inside() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    for (left, slot) in [(9, 7), (8, 1), (7, 10), (6, 2)] {
        let receipt = f.accepted(&code(&sheet, slot), Duration::ZERO);
        assert_eq!((receipt.slot(), receipt.remaining()), (slot, left));
        let refusal = f.refused(&code(&sheet, slot), Duration::ZERO);
        assert_eq!(refusal.reason(), Reason::Used);
        assert_eq!(f.last_event().reason, Some(Reason::Used));
    }
    // Reuse is not counted against anybody.
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!(
        (status.wrong_in_a_row, status.remaining, status.total),
        (0, 6, 10)
    );
}

#[test]
fn of_64_parallel_redeems_of_one_code_one_wins() {
    for pooled in [false, true] {
        let hashing = if pooled {
            let hasher = cheap(Keyring::without_pepper());
            Hashing::pool_with(hasher, PoolSize::new(4, 64).unwrap()).unwrap()
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

#[test]
fn a_burned_code_is_void_and_the_others_are_not() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let burned = block_on(
        f.codes
            .burn(&alice(), &code(&sheet, 2), &own(Duration::ZERO)),
    )
    .unwrap();
    assert_eq!(burned, Burn::Done(None));
    assert_eq!(
        f.refused(&code(&sheet, 2), Duration::ZERO).reason(),
        Reason::Burned
    );
    assert_eq!(f.accepted(&code(&sheet, 3), Duration::ZERO).remaining(), 8);
}
