//! Sets are prepared, activated, used up, replaced, expired and revoked.

use std::time::Duration;

use backup_codes::audit::{EventKind, Reason};
use backup_codes::outcome::{Level, NoticeKind, Reissue};
use backup_codes::{
    Activation, Effect, Redeem, ReissueRule, RevokeReason, SetSize, Sheet, UsersQuery,
};
use pollster::block_on;

use crate::fixture::{MINUTE, by_admin, fixture, fixture_with, own};
use crate::support::moments::since_start;
use crate::support::operations::config;
use crate::support::people::alice;
use crate::support::sheets::{code, wrong};

#[test]
fn the_old_set_works_until_the_new_one_is_activated() {
    let f = fixture();
    let old = f.issue(&alice(), Duration::ZERO);
    let first = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let second = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let _ = f.accepted(&code(&old, 1), Duration::ZERO);
    assert_eq!(
        f.refused(&code(&second, 1), Duration::ZERO).reason(),
        Reason::Wrong
    );
    let activate = |sheet: &Sheet, after| {
        block_on(f.codes.activate(&alice(), sheet.id(), &own(after))).unwrap()
    };
    assert_eq!(
        activate(&first, Duration::ZERO),
        Activation::NoSuchSet,
        "it was replaced"
    );
    assert!(
        matches!(activate(&second, Duration::ZERO), Activation::Activated(notice)
        if notice.kind == NoticeKind::Replaced)
    );
    assert_eq!(activate(&second, Duration::ZERO), Activation::AlreadyActive);
    assert_eq!(
        f.refused(&code(&old, 2), Duration::ZERO).reason(),
        Reason::Wrong
    );
    let _ = f.accepted(&code(&second, 1), Duration::ZERO);
}

#[test]
fn a_prepared_set_is_dropped_by_hand_or_after_an_hour() {
    let f = fixture();
    let prepare = || block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let activate = |sheet: &Sheet, after| {
        block_on(f.codes.activate(&alice(), sheet.id(), &own(after))).unwrap()
    };
    let sheet = prepare();
    let effect = block_on(f.codes.discard(&alice(), sheet.id(), &own(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Done);
    let effect = block_on(f.codes.discard(&alice(), sheet.id(), &own(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Nothing);
    assert_eq!(activate(&sheet, Duration::ZERO), Activation::NoSuchSet);
    let sheet = prepare();
    assert_eq!(activate(&sheet, 60 * MINUTE), Activation::NoSuchSet);
    let last = 60 * MINUTE - Duration::from_millis(1);
    assert!(
        matches!(activate(&sheet, last), Activation::Activated(notice)
        if notice.kind == NoticeKind::Issued)
    );
}

#[test]
fn a_confirmation_spends_nothing_and_a_wrong_one_changes_nothing() {
    let f = fixture();
    let sheet = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let confirm = |typed: &str| {
        block_on(
            f.codes
                .activate_confirmed(&alice(), sheet.id(), typed, &own(Duration::ZERO)),
        )
        .unwrap()
    };
    assert_eq!(confirm(&wrong()), Activation::WrongConfirmation);
    assert!(matches!(confirm("x"), Activation::NotACode(_)));
    assert!(matches!(
        confirm(&code(&sheet, 5)),
        Activation::Activated(_)
    ));
    let _ = f.accepted(&code(&sheet, 5), Duration::ZERO);
}

#[test]
fn using_the_last_code_makes_no_new_one_and_levels_are_told() {
    let f = fixture_with(config().with_set_size(SetSize::new(5).unwrap()));
    let sheet = f.issue(&alice(), Duration::ZERO);
    let told: Vec<(Level, Reissue)> = (1..=5)
        .map(|slot| f.accepted(&code(&sheet, slot), Duration::ZERO))
        .map(|receipt| (receipt.level(), receipt.reissue()))
        .collect();
    assert_eq!(
        told,
        [
            (Level::Ok, Reissue::NotNeeded),
            (Level::Low, Reissue::Suggested),
            (Level::Low, Reissue::Suggested),
            (Level::Low, Reissue::Suggested),
            (Level::Exhausted, Reissue::Required),
        ]
    );
    let kinds = |kind| {
        f.audit
            .events()
            .iter()
            .filter(|event| event.kind == kind)
            .count()
    };
    assert_eq!((kinds(EventKind::Low), kinds(EventKind::Exhausted)), (1, 1));
    let status = block_on(f.codes.status(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!((status.total, status.remaining), (5, 0));
    assert!(status.slots.iter().all(|slot| slot.used_at.is_some()));
}

#[test]
fn the_strict_rule_asks_for_a_new_sheet_after_every_use() {
    let f = fixture_with(config().with_reissue(ReissueRule::AfterEveryUse));
    let sheet = f.issue(&alice(), Duration::ZERO);
    assert_eq!(
        f.accepted(&code(&sheet, 1), Duration::ZERO).reissue(),
        Reissue::Required
    );
}

#[test]
fn a_set_is_refused_from_the_instant_it_expires() {
    let day = 24 * 60 * MINUTE;
    let f = fixture_with(config().with_set_lifetime(day).unwrap());
    let sheet = f.issue(&alice(), Duration::ZERO);
    assert_eq!(sheet.expires_at(), Some(since_start(day)));
    let _ = f.accepted(&code(&sheet, 1), day - Duration::from_millis(1));
    assert_eq!(f.refused(&code(&sheet, 2), day).reason(), Reason::Expired);
    // Nor does a message count what is left of it.
    let over = block_on(
        f.codes
            .issue_override(&alice(), 60 * MINUTE, &by_admin(day)),
    );
    assert_eq!(over.unwrap().notice().remaining, Some(0));
}

#[test]
fn sets_and_overrides_from_before_a_restore_do_not_count() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let prepared = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let over = block_on(
        f.codes
            .issue_override(&alice(), 60 * MINUTE, &by_admin(Duration::ZERO)),
    );
    let restored = f
        .codes
        .clone()
        .with_config(config().with_void_before(since_start(MINUTE)));
    let redeem =
        |typed: &str| block_on(restored.redeem(&alice(), typed, &own(2 * MINUTE))).unwrap();
    let reason = |outcome| match outcome {
        Redeem::Refused(refusal) => refusal.reason(),
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(redeem(&code(&sheet, 1))), Reason::Void);
    assert_eq!(reason(redeem(&over.unwrap().expose())), Reason::Void);
    let activated = block_on(restored.activate(&alice(), prepared.id(), &own(2 * MINUTE))).unwrap();
    assert_eq!(activated, Activation::NoSuchSet);
    let new = block_on(restored.issue(&alice(), &own(2 * MINUTE)))
        .unwrap()
        .sheet;
    assert!(matches!(redeem(&code(&new, 1)), Redeem::Accepted(_)));
}

#[test]
fn codes_do_not_outlive_the_factor_and_do_not_come_back_with_it() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let prepared = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let over = block_on(
        f.codes
            .issue_override(&alice(), 60 * MINUTE, &by_admin(Duration::ZERO)),
    )
    .unwrap();
    let revoke = || {
        block_on(
            f.codes
                .revoke_all(&alice(), RevokeReason::FactorRemoved, &own(Duration::ZERO)),
        )
        .unwrap()
    };
    assert_eq!(
        revoke().map(|notice| notice.kind),
        Some(NoticeKind::Revoked)
    );
    assert_eq!(revoke(), None, "twice is fine");
    for typed in [code(&sheet, 1), code(&prepared, 1)] {
        assert_eq!(f.refused(&typed, Duration::ZERO).reason(), Reason::NoCodes);
    }
    let refusal = f.refused(&over.expose(), Duration::ZERO);
    assert_eq!(refusal.reason(), Reason::NoOverride);
    let activated = block_on(
        f.codes
            .activate(&alice(), prepared.id(), &own(Duration::ZERO)),
    );
    assert_eq!(activated.unwrap(), Activation::NoSuchSet);
}

#[test]
fn the_time_of_each_step_is_kept_and_told() {
    let f = fixture();
    let status = |after| block_on(f.codes.status(&alice(), &own(after))).unwrap();
    let sheet = block_on(f.codes.prepare(&alice(), &own(MINUTE))).unwrap();
    let _ = block_on(f.codes.activate(&alice(), sheet.id(), &own(2 * MINUTE))).unwrap();
    let _ = f.accepted(&code(&sheet, 4), 3 * MINUTE);
    let _ = block_on(f.codes.burn(&alice(), &code(&sheet, 5), &own(4 * MINUTE))).unwrap();
    // Neither a look nor a second try moves a time.
    assert_eq!(
        f.refused(&code(&sheet, 4), 5 * MINUTE).reason(),
        Reason::Used
    );
    let now = status(6 * MINUTE);
    let times = (now.prepared_at, now.activated_at, now.last_used_at);
    assert_eq!(
        times,
        (
            Some(since_start(MINUTE)),
            Some(since_start(2 * MINUTE)),
            Some(since_start(3 * MINUTE))
        )
    );
    // The list says the same as the status.
    let cx = by_admin(6 * MINUTE);
    let rows = block_on(f.reports().users(UsersQuery::new(cx.now()), &cx)).unwrap();
    let row = &rows[0];
    let listed = (row.prepared_at, row.activated_at, row.last_used_at);
    assert_eq!(listed, times);
    for slot in now.slots {
        let used_at = (slot.slot == 4).then_some(since_start(3 * MINUTE));
        let burned_at = (slot.slot == 5).then_some(since_start(4 * MINUTE));
        assert_eq!((slot.used_at, slot.burned_at), (used_at, burned_at));
    }
    assert_eq!(now.revoked_at, None);
    let revoke = |after| {
        let reason = RevokeReason::UserRequest;
        block_on(f.codes.revoke_all(&alice(), reason, &own(after))).unwrap()
    };
    assert_eq!(
        revoke(7 * MINUTE).map(|notice| notice.at),
        Some(since_start(7 * MINUTE))
    );
    assert_eq!(revoke(8 * MINUTE), None);
    let now = status(9 * MINUTE);
    assert_eq!(
        now.revoked_at,
        Some(since_start(7 * MINUTE)),
        "the second voided nothing"
    );
    assert_eq!(
        now.last_used_at,
        Some(since_start(3 * MINUTE)),
        "uses outlive the set"
    );
    assert_eq!((now.prepared_at, now.activated_at), (None, None));
    // The events say the same.
    let expected = [
        (EventKind::Prepare, 1),
        (EventKind::Activate, 2),
        (EventKind::Redeem, 3),
        (EventKind::Burn, 4),
        (EventKind::Redeem, 5),
        (EventKind::Revoke, 7),
    ];
    let told: Vec<_> = f.audit.events().iter().map(|e| (e.kind, e.at)).collect();
    assert_eq!(
        told,
        expected.map(|(kind, minute)| (kind, since_start(minute * MINUTE)))
    );
}
