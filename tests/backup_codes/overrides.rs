//! Override codes of an administrator.

use std::time::Duration;

use backup_codes::audit::{Event, EventKind, Reason};
use backup_codes::outcome::NoticeKind;
use backup_codes::policy::Denial;
use backup_codes::{Check, Context, Effect, Error, Subject};
use pollster::block_on;

use crate::fixture::{MINUTE, by_admin, fixture, fixture_with, own};
use crate::support::operations::config;
use crate::support::people::{admin, alice};
use crate::support::sheets::{code, wrong};

#[test]
fn an_override_works_while_the_set_is_locked_or_disabled_and_once() {
    let f = fixture_with(config().with_disable_after(10).unwrap());
    let sheet = f.issue(&alice(), Duration::ZERO);
    let wrong = wrong();
    for _ in 0..10 {
        let _ = f.refused(&wrong, Duration::ZERO);
    }
    let over = block_on(
        f.codes
            .issue_override(&alice(), 60 * MINUTE, &by_admin(Duration::ZERO)),
    )
    .unwrap();
    let receipt = f.accepted(&over.expose(), MINUTE);
    assert_eq!(
        (receipt.slot(), receipt.notice().kind),
        (0, NoticeKind::OverrideUsed)
    );
    // It lets in; it does not enable what a hundred guesses have disabled.
    assert_eq!(
        f.refused(&code(&sheet, 1), MINUTE).reason(),
        Reason::Disabled
    );
    assert_eq!(f.refused(&over.expose(), MINUTE).reason(), Reason::Disabled);
    let effect = block_on(f.codes.unlock(&alice(), &by_admin(MINUTE)));
    assert_eq!(effect.unwrap(), Effect::Done);
    let refusal = f.refused(&over.expose(), MINUTE);
    assert_eq!(refusal.reason(), Reason::NoOverride);
    let _ = f.accepted(&code(&sheet, 1), MINUTE);
}

#[test]
fn an_override_expires_is_revocable_and_has_a_run_of_its_own() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let issue = || {
        block_on(
            f.codes
                .issue_override(&alice(), 60 * MINUTE, &by_admin(Duration::ZERO)),
        )
        .unwrap()
    };
    let over = issue();
    let last = 60 * MINUTE - Duration::from_millis(1);
    let valid = block_on(f.codes.check(&alice(), &over.expose(), &own(last))).unwrap();
    assert_eq!(valid, Check::Valid(0));
    for _ in 0..20 {
        // It was right once, so it is no guess: nothing is counted.
        let refusal = f.refused(&over.expose(), 60 * MINUTE);
        assert_eq!(refusal.reason(), Reason::Expired);
    }
    let over = issue();
    let effect = block_on(f.codes.revoke_override(&alice(), &by_admin(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Done);
    for _ in 0..20 {
        let refusal = f.refused(&over.expose(), Duration::ZERO);
        assert_eq!(refusal.reason(), Reason::NoOverride);
    }
    let first = issue();
    let second = issue();
    for left in (0..10).rev() {
        assert_eq!(
            f.refused(&first.expose(), Duration::ZERO).tries_left(),
            Some(left)
        );
    }
    // After ten the override is revoked, and the sheet is not touched by it.
    let refusal = f.refused(&second.expose(), Duration::ZERO);
    assert_eq!(refusal.reason(), Reason::NoOverride);
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!((status.override_until, status.wrong_in_a_row), (None, 0));
    let _ = f.accepted(&code(&sheet, 1), Duration::ZERO);
}

#[test]
fn an_override_has_a_capped_lifetime_and_is_for_somebody_else() {
    let f = fixture();
    let issue = |subject: &Subject, lifetime, cx: &Context| {
        block_on(f.codes.issue_override(subject, lifetime, cx))
    };
    for lifetime in [
        Duration::ZERO,
        Duration::from_secs(59),
        Duration::from_secs(86_401),
    ] {
        let issued = issue(&alice(), lifetime, &by_admin(Duration::ZERO));
        assert!(matches!(issued, Err(Error::OverrideLifetime { .. })));
    }
    let denied = |result: Result<_, Error>| match result {
        Err(Error::Denied(denial)) => denial,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        denied(issue(&admin(), MINUTE, &by_admin(Duration::ZERO))),
        Denial::NotOneself
    );
    assert_eq!(
        denied(issue(&admin(), MINUTE, &own(Duration::ZERO))),
        Denial::NotAdministrator
    );
}

#[test]
fn activating_a_set_voids_an_older_override() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    let over = block_on(
        f.codes
            .issue_override(&alice(), 60 * MINUTE, &by_admin(Duration::ZERO)),
    )
    .unwrap();
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
