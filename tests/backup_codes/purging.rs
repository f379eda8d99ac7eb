//! Erased users and what a purge forgets.

use std::time::Duration;

use backup_codes::audit::Reason;
use backup_codes::report::Summary;
use backup_codes::repository::{
    CodeRepository as _, Expected, Freshness, Loaded, Put, PutOutcome, Revision,
};
use backup_codes::{Effect, Error, Sheet};
use pollster::block_on;

use crate::fixture::{Fixture, MINUTE, by_admin, fixture, own};
use crate::support::people::alice;
use crate::support::sheets::code;

const DAY: Duration = Duration::from_secs(86_400);

/// Alice erased: her sheet, and her record of before.
fn erased() -> (Fixture, Sheet, Loaded) {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let _ = f.accepted(&code(&sheet, 1), Duration::ZERO);
    let stale = f.load();
    let effect = block_on(f.codes.erase(&alice(), &own(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Done);
    (f, sheet, stale)
}

#[test]
fn erasing_twice_is_fine() {
    let (f, ..) = erased();
    let effect = block_on(f.codes.erase(&alice(), &own(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Nothing);
}

#[test]
fn an_erased_user_leaves_no_personal_data() {
    let (f, sheet, _) = erased();
    let tombstone = f.load();
    for gone in ["alice", "phc", "used", "uses", &sheet.id().to_string()] {
        assert!(
            !tombstone.record.contains(gone),
            "{gone} in {}",
            tombstone.record
        );
    }
}

#[test]
fn a_late_write_does_not_bring_an_erased_user_back() {
    let (f, sheet, stale) = erased();
    let (user, summary) = (alice(), Summary::default());
    let revision = Revision::random(&mut getrandom::SysRng).unwrap();
    let expected = Expected::At(stale.revision);
    let put = Put::new(user.id(), expected, revision, &stale.record, &summary, &[]);
    assert_eq!(block_on(f.store.put(put)).unwrap(), PutOutcome::Conflict);
    assert_eq!(
        f.refused(&code(&sheet, 2), Duration::ZERO).reason(),
        Reason::NoCodes
    );
}

#[test]
fn an_erased_user_gets_no_new_set() {
    let (f, ..) = erased();
    let prepared = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO)));
    assert!(matches!(prepared, Err(Error::Erased)));
}

/// A purge a month after the user was erased.
fn purged_after_a_month() -> Fixture {
    let (f, ..) = erased();
    let early = block_on(f.reports().purge(&by_admin(30 * DAY - MINUTE))).unwrap();
    assert_eq!(early.removed, 0);
    let purged = block_on(f.reports().purge(&by_admin(30 * DAY))).unwrap();
    assert_eq!(purged.removed, 1);
    f
}

#[test]
fn a_purge_removes_what_is_left_of_an_erased_user_after_a_month() {
    let f = purged_after_a_month();
    assert_eq!(
        block_on(f.store.load(alice().id(), Freshness::Latest)).unwrap(),
        None
    );
}

#[test]
fn a_purged_user_can_get_a_set_again() {
    let _ = purged_after_a_month().issue(&alice(), 30 * DAY);
}

/// A used sheet, a prepared set and an override, purged when all but the sheet are long over.
fn purged_after_401_days() -> (Fixture, Sheet) {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let _ = f.accepted(&code(&sheet, 1), Duration::ZERO);
    let _ = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let _ = block_on(
        f.codes
            .issue_override(&alice(), MINUTE, &by_admin(Duration::ZERO)),
    )
    .unwrap();
    assert_eq!(
        block_on(f.reports().purge(&by_admin(Duration::ZERO)))
            .unwrap()
            .trimmed,
        0
    );
    let forced = block_on(f.reports().force_purge(&by_admin(401 * DAY)));
    assert_eq!(forced.unwrap().trimmed, 1);
    (f, sheet)
}

#[test]
fn a_purge_forgets_what_is_long_over() {
    let (f, _) = purged_after_401_days();
    let record = f.load().record;
    for gone in ["uses", "prepared", "override"] {
        assert!(
            !record.contains(&format!("\"{gone}\"")),
            "{gone} in {record}"
        );
    }
}

#[test]
fn a_purge_leaves_the_sheet() {
    let (f, sheet) = purged_after_401_days();
    let accepted = f.accepted(&code(&sheet, 2), 401 * DAY);
    assert_eq!(accepted.remaining(), 8);
}
