//! Override codes of an administrator.

use std::time::Duration;

use backup_codes::audit::{Event, EventKind, Reason};
use backup_codes::outcome::{NoticeKind, Receipt};
use backup_codes::policy::Denial;
use backup_codes::{Check, Context, Effect, Error, Override, Sheet};
use pollster::block_on;

use crate::fixture::{Fixture, MINUTE, by_admin, fixture, fixture_with, own};
use crate::support::operations::config;
use crate::support::people::{admin, alice};
use crate::support::sheets::{code, wrong};

/// A set that wrong codes have disabled, and an override that was used since.
fn used_while_disabled() -> (Fixture, Sheet, Override, Receipt) {
    let f = fixture_with(config().with_disable_after(10).unwrap());
    let sheet = f.issue(&alice(), Duration::ZERO);
    let wrong = wrong();
    for _ in 0..10 {
        let _ = f.refused(&wrong, Duration::ZERO);
    }
    let over = issue(&f);
    let receipt = f.accepted(&over.expose(), MINUTE);
    (f, sheet, over, receipt)
}

#[test]
fn an_override_works_while_the_set_is_disabled() {
    let (.., receipt) = used_while_disabled();
    assert_eq!(
        (receipt.slot(), receipt.notice().kind),
        (0, NoticeKind::OverrideUsed)
    );
}

#[test]
fn using_an_override_leaves_the_set_disabled() {
    let (f, sheet, ..) = used_while_disabled();
    assert_eq!(
        f.refused(&code(&sheet, 1), MINUTE).reason(),
        Reason::Disabled
    );
    unlock(&f);
    let _ = f.accepted(&code(&sheet, 1), MINUTE);
}

#[test]
fn an_override_works_once() {
    let (f, _, over, _) = used_while_disabled();
    assert_eq!(f.refused(&over.expose(), MINUTE).reason(), Reason::Disabled);
    unlock(&f);
    let refusal = f.refused(&over.expose(), MINUTE);
    assert_eq!(refusal.reason(), Reason::NoOverride);
}

fn unlock(f: &Fixture) {
    let effect = block_on(f.codes.unlock(&alice(), &by_admin(MINUTE)));
    assert_eq!(effect.unwrap(), Effect::Done);
}

/// Issues an override that lasts an hour.
fn issue(f: &Fixture) -> Override {
    let (user, cx) = (alice(), by_admin(Duration::ZERO));
    block_on(f.codes.issue_override(&user, 60 * MINUTE, &cx)).unwrap()
}

#[test]
fn an_override_is_refused_from_the_instant_it_expires() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    let over = issue(&f);
    let last = 60 * MINUTE - Duration::from_millis(1);
    let valid = block_on(f.codes.check(&alice(), &over.expose(), &own(last))).unwrap();
    assert_eq!(valid, Check::Valid(0));
    for _ in 0..20 {
        // It was right once, so it is no guess: nothing is counted.
        let refusal = f.refused(&over.expose(), 60 * MINUTE);
        assert_eq!(refusal.reason(), Reason::Expired);
    }
}

#[test]
fn a_revoked_override_is_refused() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    let over = issue(&f);
    let effect = block_on(f.codes.revoke_override(&alice(), &by_admin(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Done);
    for _ in 0..20 {
        let refusal = f.refused(&over.expose(), Duration::ZERO);
        assert_eq!(refusal.reason(), Reason::NoOverride);
    }
}

/// Types a replaced override ten times, which is a wrong code for the newer one.
fn after_ten_wrong_override_codes() -> (Fixture, Sheet, Override) {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let first = issue(&f);
    let second = issue(&f);
    for left in (0..10).rev() {
        assert_eq!(
            f.refused(&first.expose(), Duration::ZERO).tries_left(),
            Some(left)
        );
    }
    (f, sheet, second)
}

#[test]
fn ten_wrong_override_codes_revoke_the_override() {
    let (f, _, over) = after_ten_wrong_override_codes();
    let refusal = f.refused(&over.expose(), Duration::ZERO);
    assert_eq!(refusal.reason(), Reason::NoOverride);
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!(status.override_until, None);
}

#[test]
fn wrong_override_codes_do_not_count_against_the_sheet() {
    let (f, sheet, over) = after_ten_wrong_override_codes();
    let _ = f.refused(&over.expose(), Duration::ZERO);
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!(status.wrong_in_a_row, 0);
    let _ = f.accepted(&code(&sheet, 1), Duration::ZERO);
}

#[test]
fn the_lifetime_of_an_override_is_bounded() {
    let f = fixture();
    for lifetime in [
        Duration::ZERO,
        Duration::from_secs(59),
        Duration::from_secs(86_401),
    ] {
        let cx = by_admin(Duration::ZERO);
        let issued = block_on(f.codes.issue_override(&alice(), lifetime, &cx));
        assert!(matches!(issued, Err(Error::OverrideLifetime { .. })));
    }
}

#[test]
fn only_another_administrator_issues_an_override() {
    let f = fixture();
    let denied = |cx: &Context| match block_on(f.codes.issue_override(&admin(), MINUTE, cx)) {
        Err(Error::Denied(denial)) => denial,
        other => panic!("{other:?}"),
    };
    assert_eq!(denied(&by_admin(Duration::ZERO)), Denial::NotOneself);
    assert_eq!(denied(&own(Duration::ZERO)), Denial::NotAdministrator);
}

#[test]
fn activating_a_set_voids_an_older_override() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    let over = issue(&f);
    let _ = f.issue(&alice(), MINUTE);
    let refusal = f.refused(&over.expose(), MINUTE);
    assert_eq!(refusal.reason(), Reason::NoOverride);
    let revoked = |event: &Event| {
        event.kind == EventKind::RevokeOverride && event.reason == Some(Reason::Replaced)
    };
    assert_eq!(
        f.audit
            .events()
            .iter()
            .filter(|event| revoked(event))
            .count(),
        1
    );
}
