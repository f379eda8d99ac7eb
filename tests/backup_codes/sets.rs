//! Sets are prepared, activated, used up, replaced, expired and revoked.

use std::time::Duration;

use backup_codes::audit::{EventKind, Reason};
use backup_codes::outcome::{Level, NoticeKind, Receipt, Reissue};
use backup_codes::{
    Activation, BackupCodes, Effect, Notice, Override, Redeem, ReissueRule, RevokeReason, SetSize,
    Sheet, Status, UsersQuery,
};
use pollster::block_on;

use crate::fixture::{Fixture, MINUTE, by_admin, fixture, fixture_with, own};
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
fn a_discarded_set_cannot_be_activated() {
    let f = fixture();
    let sheet = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let effect = block_on(f.codes.discard(&alice(), sheet.id(), &own(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Done);
    let effect = block_on(f.codes.discard(&alice(), sheet.id(), &own(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Nothing);
    let activated = block_on(f.codes.activate(&alice(), sheet.id(), &own(Duration::ZERO)));
    assert_eq!(activated.unwrap(), Activation::NoSuchSet);
}

#[test]
fn a_prepared_set_can_be_activated_for_less_than_an_hour() {
    let f = fixture();
    let sheet = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let activate = |after| block_on(f.codes.activate(&alice(), sheet.id(), &own(after))).unwrap();
    assert_eq!(activate(60 * MINUTE), Activation::NoSuchSet);
    let last = 60 * MINUTE - Duration::from_millis(1);
    assert!(matches!(activate(last), Activation::Activated(notice)
        if notice.kind == NoticeKind::Issued));
}

fn confirm(f: &Fixture, sheet: &Sheet, typed: &str) -> Activation {
    let cx = own(Duration::ZERO);
    block_on(f.codes.activate_confirmed(&alice(), sheet.id(), typed, &cx)).unwrap()
}

#[test]
fn a_wrong_confirmation_can_be_tried_again() {
    let f = fixture();
    let sheet = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    assert_eq!(confirm(&f, &sheet, &wrong()), Activation::WrongConfirmation);
    assert!(matches!(confirm(&f, &sheet, "x"), Activation::NotACode(_)));
    let confirmed = confirm(&f, &sheet, &code(&sheet, 5));
    assert!(matches!(confirmed, Activation::Activated(_)));
}

#[test]
fn a_confirmation_does_not_spend_the_code() {
    let f = fixture();
    let sheet = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let confirmed = confirm(&f, &sheet, &code(&sheet, 5));
    assert!(matches!(confirmed, Activation::Activated(_)));
    let _ = f.accepted(&code(&sheet, 5), Duration::ZERO);
}

/// Uses all five codes of a set; the receipts.
fn all_five_used() -> (Fixture, Vec<Receipt>) {
    let f = fixture_with(config().with_set_size(SetSize::new(5).unwrap()));
    let sheet = f.issue(&alice(), Duration::ZERO);
    let receipts = (1..=5).map(|slot| f.accepted(&code(&sheet, slot), Duration::ZERO));
    let receipts = receipts.collect();
    (f, receipts)
}

#[test]
fn each_use_tells_how_few_codes_are_left() {
    let (_, receipts) = all_five_used();
    let told = receipts
        .iter()
        .map(|receipt| (receipt.level(), receipt.reissue()));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (Level::Ok, Reissue::NotNeeded),
            (Level::Low, Reissue::Suggested),
            (Level::Low, Reissue::Suggested),
            (Level::Low, Reissue::Suggested),
            (Level::Exhausted, Reissue::Required),
        ]
    );
}

#[test]
fn a_level_has_an_event_when_it_is_reached() {
    let (f, _) = all_five_used();
    let kinds = |kind| {
        f.audit
            .events()
            .iter()
            .filter(|event| event.kind == kind)
            .count()
    };
    assert_eq!((kinds(EventKind::Low), kinds(EventKind::Exhausted)), (1, 1));
}

#[test]
fn using_the_last_code_makes_no_new_set() {
    let (f, _) = all_five_used();
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

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_set_is_refused_from_the_instant_it_expires() {
    let f = fixture_with(config().with_set_lifetime(DAY).unwrap());
    let sheet = f.issue(&alice(), Duration::ZERO);
    assert_eq!(sheet.expires_at(), Some(since_start(DAY)));
    let _ = f.accepted(&code(&sheet, 1), DAY - Duration::from_millis(1));
    assert_eq!(f.refused(&code(&sheet, 2), DAY).reason(), Reason::Expired);
}

#[test]
fn a_notice_counts_no_code_of_an_expired_set() {
    let f = fixture_with(config().with_set_lifetime(DAY).unwrap());
    let _ = f.issue(&alice(), Duration::ZERO);
    let over = block_on(
        f.codes
            .issue_override(&alice(), 60 * MINUTE, &by_admin(DAY)),
    );
    assert_eq!(over.unwrap().notice().remaining, Some(0));
}

/// A set, a prepared set and an override of before a restore, and the operations after it.
fn restored() -> (BackupCodes, Sheet, Sheet, Override) {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let prepared = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let over = block_on(
        f.codes
            .issue_override(&alice(), 60 * MINUTE, &by_admin(Duration::ZERO)),
    );
    let restored = config().with_void_before(since_start(MINUTE));
    let codes = f.codes.with_config(restored);
    (codes, sheet, prepared, over.unwrap())
}

#[test]
fn nothing_from_before_a_restore_counts() {
    let (codes, sheet, prepared, over) = restored();
    let reason = |typed: &str| {
        let outcome = block_on(codes.redeem(&alice(), typed, &own(2 * MINUTE))).unwrap();
        match outcome {
            Redeem::Refused(refusal) => refusal.reason(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reason(&code(&sheet, 1)), Reason::Void);
    assert_eq!(reason(&over.expose()), Reason::Void);
    let activated = block_on(codes.activate(&alice(), prepared.id(), &own(2 * MINUTE))).unwrap();
    assert_eq!(activated, Activation::NoSuchSet);
}

#[test]
fn a_set_issued_after_a_restore_counts() {
    let (codes, ..) = restored();
    let cx = own(2 * MINUTE);
    let new = block_on(codes.issue(&alice(), &cx)).unwrap().sheet;
    let redeemed = block_on(codes.redeem(&alice(), &code(&new, 1), &cx)).unwrap();
    assert!(matches!(redeemed, Redeem::Accepted(_)));
}

fn revoke(f: &Fixture) -> Option<Notice> {
    let reason = RevokeReason::FactorRemoved;
    block_on(f.codes.revoke_all(&alice(), reason, &own(Duration::ZERO))).unwrap()
}

/// A set, a prepared set and an override, all revoked.
fn revoked() -> (Fixture, Sheet, Sheet, Override) {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let prepared = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let over = block_on(
        f.codes
            .issue_override(&alice(), 60 * MINUTE, &by_admin(Duration::ZERO)),
    );
    let notice = revoke(&f);
    assert_eq!(notice.map(|notice| notice.kind), Some(NoticeKind::Revoked));
    (f, sheet, prepared, over.unwrap())
}

#[test]
fn a_revoked_code_is_refused() {
    let (f, sheet, prepared, over) = revoked();
    for typed in [code(&sheet, 1), code(&prepared, 1)] {
        assert_eq!(f.refused(&typed, Duration::ZERO).reason(), Reason::NoCodes);
    }
    let refusal = f.refused(&over.expose(), Duration::ZERO);
    assert_eq!(refusal.reason(), Reason::NoOverride);
}

#[test]
fn revoking_twice_is_fine() {
    let (f, ..) = revoked();
    assert_eq!(revoke(&f), None);
}

#[test]
fn a_revoked_set_does_not_come_back() {
    let (f, _, prepared, _) = revoked();
    let activated = block_on(
        f.codes
            .activate(&alice(), prepared.id(), &own(Duration::ZERO)),
    );
    assert_eq!(activated.unwrap(), Activation::NoSuchSet);
}

fn status(f: &Fixture, after: Duration) -> Status {
    block_on(f.codes.status(&alice(), &own(after))).unwrap()
}

/// A set of which one code was used and one burned; a step each minute.
fn used_and_burned() -> Fixture {
    let f = fixture();
    let sheet = block_on(f.codes.prepare(&alice(), &own(MINUTE))).unwrap();
    let _ = block_on(f.codes.activate(&alice(), sheet.id(), &own(2 * MINUTE))).unwrap();
    let _ = f.accepted(&code(&sheet, 4), 3 * MINUTE);
    let _ = block_on(f.codes.burn(&alice(), &code(&sheet, 5), &own(4 * MINUTE))).unwrap();
    // Neither a look nor a second try moves a time.
    assert_eq!(
        f.refused(&code(&sheet, 4), 5 * MINUTE).reason(),
        Reason::Used
    );
    f
}

#[test]
fn the_time_of_each_step_is_kept() {
    let now = status(&used_and_burned(), 6 * MINUTE);
    assert_eq!(
        (now.prepared_at, now.activated_at, now.last_used_at),
        (
            Some(since_start(MINUTE)),
            Some(since_start(2 * MINUTE)),
            Some(since_start(3 * MINUTE))
        )
    );
    for slot in now.slots {
        let used_at = (slot.slot == 4).then_some(since_start(3 * MINUTE));
        let burned_at = (slot.slot == 5).then_some(since_start(4 * MINUTE));
        assert_eq!((slot.used_at, slot.burned_at), (used_at, burned_at));
    }
    assert_eq!(now.revoked_at, None);
}

#[test]
fn the_list_of_users_has_the_times_of_the_status() {
    let f = used_and_burned();
    let now = status(&f, 6 * MINUTE);
    let cx = by_admin(6 * MINUTE);
    let rows = block_on(f.reports().users(UsersQuery::new(cx.now()), &cx)).unwrap();
    let row = &rows[0];
    assert_eq!(
        (row.prepared_at, row.activated_at, row.last_used_at),
        (now.prepared_at, now.activated_at, now.last_used_at)
    );
}

/// The set of [`used_and_burned`], revoked twice.
fn revoked_twice() -> Fixture {
    let f = used_and_burned();
    let revoke = |after| {
        let reason = RevokeReason::UserRequest;
        block_on(f.codes.revoke_all(&alice(), reason, &own(after))).unwrap()
    };
    assert_eq!(
        revoke(7 * MINUTE).map(|notice| notice.at),
        Some(since_start(7 * MINUTE))
    );
    assert_eq!(revoke(8 * MINUTE), None);
    f
}

#[test]
fn the_time_of_the_revocation_is_kept() {
    let now = status(&revoked_twice(), 9 * MINUTE);
    assert_eq!(
        now.revoked_at,
        Some(since_start(7 * MINUTE)),
        "the second voided nothing"
    );
    assert_eq!((now.prepared_at, now.activated_at), (None, None));
}

#[test]
fn the_time_of_the_last_use_outlives_the_set() {
    let now = status(&revoked_twice(), 9 * MINUTE);
    assert_eq!(now.last_used_at, Some(since_start(3 * MINUTE)));
}

#[test]
fn each_event_has_the_time_of_its_step() {
    let f = revoked_twice();
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
