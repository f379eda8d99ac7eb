//! Wrong codes are counted, lock a set for a time, and disable it.

use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use backup_codes::audit::Reason;
use backup_codes::outcome::NoticeKind;
use backup_codes::{Burn, Check, Config, Context, Effect, Error, Redeem, Sheet};
use pollster::block_on;

use crate::fixture::{Fixture, MINUTE, by_admin, fixture, fixture_with, own};
use crate::support::moments::since_start;
use crate::support::operations::config;
use crate::support::people::{alice, bob};
use crate::support::sheets::{code, wrong};

#[test]
fn of_200_parallel_wrong_codes_no_more_verdicts_are_told_than_the_limit() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    let wrong = wrong();
    let told = Mutex::new(0);
    let barrier = Barrier::new(50);
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..4 {
                    match block_on(f.codes.redeem(&alice(), &wrong, &own(Duration::ZERO))) {
                        Ok(Redeem::Refused(refusal)) if refusal.reason() == Reason::Wrong => {
                            *told.lock().unwrap() += 1;
                        }
                        Ok(Redeem::Refused(_)) | Err(Error::Contended) => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    assert_eq!(told.into_inner().unwrap(), 10);
}

/// Types nine wrong codes, then a right one.
fn right_after_nine_wrong() -> (Fixture, Sheet, String) {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let wrong = wrong();
    for left in (1..=9).rev() {
        assert_eq!(f.refused(&wrong, Duration::ZERO).tries_left(), Some(left));
    }
    let _ = f.accepted(&code(&sheet, 1), Duration::ZERO);
    (f, sheet, wrong)
}

#[test]
fn the_tenth_code_may_be_right() {
    let _ = right_after_nine_wrong();
}

#[test]
fn ten_wrong_codes_in_a_row_lock_for_half_an_hour() {
    let (f, sheet, wrong) = right_after_nine_wrong();
    for _ in 0..9 {
        let _ = f.refused(&wrong, Duration::ZERO);
    }
    let tenth = f.refused(&wrong, Duration::ZERO);
    assert_eq!(
        (tenth.tries_left(), tenth.wait()),
        (Some(0), Some(30 * MINUTE))
    );
    assert_eq!(
        tenth.notice().map(|notice| notice.kind),
        Some(NoticeKind::Locked)
    );
    let almost = 30 * MINUTE - Duration::from_millis(1);
    let locked = f.refused(&code(&sheet, 2), almost);
    assert_eq!(locked.reason(), Reason::Locked);
    assert_eq!(locked.wait(), Some(Duration::from_millis(1)));
    let _ = f.accepted(&code(&sheet, 2), 30 * MINUTE);
}

#[test]
fn no_configuration_takes_the_limit_away() {
    assert!(Config::default().with_disable_after(101).is_err());
    assert!(Config::default().with_disable_after(0).is_err());
}

const FIVE_YEARS: Duration = Duration::from_secs(5 * 365 * 86_400);

/// A hundred wrong codes, each typed as soon as the set is not locked.
fn after_a_hundred_wrong_codes() -> (Fixture, Sheet) {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let wrong = wrong();
    let mut time = Duration::ZERO;
    for number in 1..=100 {
        let refusal = f.refused(&wrong, time);
        assert_eq!(refusal.reason(), Reason::Wrong, "{number}");
        time += refusal.wait().unwrap_or_default();
        let disabled = refusal
            .notice()
            .is_some_and(|n| n.kind == NoticeKind::Disabled);
        assert_eq!(disabled, number == 100);
    }
    (f, sheet)
}

#[test]
fn a_hundred_wrong_codes_in_a_row_disable_the_set_for_good() {
    let (f, sheet) = after_a_hundred_wrong_codes();
    assert_eq!(
        f.refused(&code(&sheet, 1), FIVE_YEARS).reason(),
        Reason::Disabled
    );
}

#[test]
fn an_unlock_enables_a_disabled_set() {
    let (f, sheet) = after_a_hundred_wrong_codes();
    let effect = block_on(f.codes.unlock(&alice(), &by_admin(FIVE_YEARS)));
    assert_eq!(effect.unwrap(), Effect::Done);
    let _ = f.accepted(&code(&sheet, 1), FIVE_YEARS);
}

#[test]
fn wrong_codes_of_one_user_leave_another_alone() {
    let f = fixture_with(config().with_disable_after(20).unwrap());
    let bob = bob();
    let (_, bobs) = (
        f.issue(&alice(), Duration::ZERO),
        f.issue(&bob, Duration::ZERO),
    );
    let wrong = wrong();
    let mut slots = 1..;
    let mut bob_gets_in_after = |reason: Reason, after: Duration| {
        assert_eq!(f.refused(&wrong, after).reason(), reason);
        let cx = Context::new(since_start(after), &bob);
        let redeem = |typed: &str| block_on(f.codes.redeem(&bob, typed, &cx)).unwrap();
        let Redeem::Refused(refusal) = redeem(&wrong) else {
            panic!("a wrong code of Bob's")
        };
        assert_eq!(refusal.tries_left(), Some(9), "his run is his own");
        let accepted = redeem(&code(&bobs, slots.next().unwrap()));
        assert!(matches!(accepted, Redeem::Accepted(_)), "{accepted:?}");
        let status = block_on(f.codes.status(&bob, &cx)).unwrap();
        assert_eq!(
            (
                status.wrong_in_a_row,
                status.locked_until,
                status.disabled_at
            ),
            (0, None, None)
        );
    };
    bob_gets_in_after(Reason::Wrong, Duration::ZERO);
    for _ in 0..9 {
        let _ = f.refused(&wrong, Duration::ZERO);
    }
    bob_gets_in_after(Reason::Locked, Duration::ZERO);
    for _ in 0..10 {
        let _ = f.refused(&wrong, 30 * MINUTE);
    }
    bob_gets_in_after(Reason::Disabled, 30 * MINUTE);
}

#[test]
fn a_set_can_be_disabled_at_the_first_wrong_code() {
    let f = fixture_with(config().with_disable_after(1).unwrap());
    let sheet = f.issue(&alice(), Duration::ZERO);
    assert_eq!(f.refused(&wrong(), Duration::ZERO).tries_left(), Some(0));
    assert_eq!(
        f.refused(&code(&sheet, 1), Duration::ZERO).reason(),
        Reason::Disabled
    );
}

#[test]
fn what_is_no_guess_is_not_counted() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let typo = {
        let mut text = code(&sheet, 1);
        let last = text.pop().unwrap();
        text.push(if last == '0' { '1' } else { '0' });
        text
    };
    for _ in 0..50 {
        for text in ["123456", "", "ü", &typo] {
            assert!(matches!(
                f.redeem(text, Duration::ZERO),
                Redeem::NotACode(_)
            ));
        }
    }
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!(status.wrong_in_a_row, 0);
}

#[test]
fn only_a_right_code_an_unlock_or_a_new_set_clears_the_count() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let wrong = wrong();
    let run = || {
        block_on(f.codes.status(&alice(), &own(Duration::ZERO)))
            .unwrap()
            .wrong_in_a_row
    };
    let guess = || {
        let _ = f.refused(&wrong, Duration::ZERO);
    };
    guess();
    assert_eq!(
        block_on(
            f.codes
                .check(&alice(), &code(&sheet, 1), &own(Duration::ZERO))
        )
        .unwrap(),
        Check::Valid(1)
    );
    let prepared = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!(run(), 1, "neither a check nor a prepared set clears");
    let _ = f.accepted(&code(&sheet, 1), Duration::ZERO);
    assert_eq!(run(), 0);
    guess();
    let _ = block_on(
        f.codes
            .activate(&alice(), prepared.id(), &own(Duration::ZERO)),
    )
    .unwrap();
    assert_eq!(run(), 0);
    guess();
    let effect = block_on(f.codes.unlock(&alice(), &by_admin(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Done);
    assert_eq!(run(), 0);
}

#[test]
fn a_wrong_code_counts_whatever_it_is_typed_for() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let wrong = wrong();
    for _ in 0..5 {
        let checked = block_on(f.codes.check(&alice(), &wrong, &own(Duration::ZERO))).unwrap();
        assert!(matches!(checked, Check::Refused(_)));
        let burned = block_on(f.codes.burn(&alice(), &wrong, &own(Duration::ZERO))).unwrap();
        assert!(matches!(burned, Burn::Done(_)), "burning tells nothing");
    }
    assert_eq!(
        f.refused(&code(&sheet, 1), Duration::ZERO).reason(),
        Reason::Locked
    );
    let burned = block_on(f.codes.burn(&alice(), &wrong, &own(Duration::ZERO))).unwrap();
    assert!(matches!(burned, Burn::Refused(_)));
}

#[test]
fn burning_one_wrong_code_too_many_yields_the_notice() {
    let f = fixture_with(config().with_disable_after(1).unwrap());
    let _ = f.issue(&alice(), Duration::ZERO);
    let burned = block_on(f.codes.burn(&alice(), &wrong(), &own(Duration::ZERO))).unwrap();
    let Burn::Done(Some(notice)) = burned else {
        panic!("{burned:?}")
    };
    assert_eq!(notice.kind, NoticeKind::Disabled);
}
