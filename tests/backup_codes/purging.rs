//! Erased users and what a purge forgets.

use std::time::Duration;

use backup_codes::audit::Reason;
use backup_codes::report::Summary;
use backup_codes::repository::{
    CodeRepository as _, Expected, Freshness, Put, PutOutcome, Revision,
};
use backup_codes::{Effect, Error};
use pollster::block_on;

use crate::fixture::{MINUTE, by_admin, fixture, own};
use crate::support::people::alice;
use crate::support::sheets::code;

#[test]
fn an_erased_user_leaves_no_personal_data_and_cannot_be_brought_back_by_a_late_write() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let _ = f.accepted(&code(&sheet, 1), Duration::ZERO);
    let stale = f.load();
    let effect = block_on(f.codes.erase(&alice(), &own(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Done);
    let effect = block_on(f.codes.erase(&alice(), &own(Duration::ZERO)));
    assert_eq!(effect.unwrap(), Effect::Nothing);
    let tombstone = f.load();
    for gone in ["alice", "phc", "used", "uses", &sheet.id().to_string()] {
        assert!(
            !tombstone.record.contains(gone),
            "{gone} in {}",
            tombstone.record
        );
    }
    let late = Put::new;
    let (user, summary) = (alice(), Summary::default());
    let revision = Revision::random(&mut getrandom::SysRng).unwrap();
    let put = late(
        user.id(),
        Expected::At(stale.revision),
        revision,
        &stale.record,
        &summary,
        &[],
    );
    assert_eq!(block_on(f.store.put(put)).unwrap(), PutOutcome::Conflict);
    let prepared = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO)));
    assert!(matches!(prepared, Err(Error::Erased(_))));
    assert_eq!(
        f.refused(&code(&sheet, 2), Duration::ZERO).reason(),
        Reason::NoCodes
    );
    let month = Duration::from_secs(30 * 86_400);
    let early = block_on(f.reports().purge(&by_admin(month - MINUTE))).unwrap();
    assert_eq!(early.removed, 0);
    assert_eq!(
        block_on(f.reports().purge(&by_admin(month)))
            .unwrap()
            .removed,
        1
    );
    assert_eq!(
        block_on(f.store.load(alice().id(), Freshness::Latest)).unwrap(),
        None
    );
    let _ = f.issue(&alice(), month);
}

#[test]
fn purging_forgets_old_uses_sets_never_activated_and_overrides_past_their_end() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let _ = f.accepted(&code(&sheet, 1), Duration::ZERO);
    let _ = block_on(f.codes.prepare(&alice(), &own(Duration::ZERO))).unwrap();
    let _ = block_on(
        f.codes
            .issue_override(&alice(), MINUTE, &by_admin(Duration::ZERO)),
    )
    .unwrap();
    let years = Duration::from_secs(401 * 86_400);
    assert_eq!(
        block_on(f.reports().purge(&by_admin(Duration::ZERO)))
            .unwrap()
            .trimmed,
        0
    );
    let forced = block_on(f.reports().force_purge(&by_admin(years)));
    assert_eq!(forced.unwrap().trimmed, 1);
    let record = f.load().record;
    for gone in ["uses", "prepared", "override"] {
        assert!(
            !record.contains(&format!("\"{gone}\"")),
            "{gone} in {record}"
        );
    }
    assert_eq!(
        f.accepted(&code(&sheet, 2), years).remaining(),
        8,
        "the sheet is untouched"
    );
}
