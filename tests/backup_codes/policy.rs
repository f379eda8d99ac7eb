//! Who may do what.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backup_codes::audit::Reason;
use backup_codes::policy::{Decision, Denial, OnRoleLoss, Request, RolePolicy};
use backup_codes::repository::{CodeRepository, Freshness};
use backup_codes::{
    BackupCodes, Context, Error, MemoryRepository, Redeem, Settings, Sheet, Switch, UsersQuery,
};
use pollster::block_on;

use crate::fixture::{Fixture, by_admin, fixture, own};
use crate::support::hashing::cheap_hashing;
use crate::support::moments::start;
use crate::support::operations::config;
use crate::support::people::{admin, alice, bob};
use crate::support::sheets::code;

/// The operations switched off, over a repository with a sheet that was issued before.
fn switched_off() -> (Fixture, BackupCodes, Sheet) {
    let on = fixture();
    let sheet = on.issue(&alice(), Duration::ZERO);
    let mut settings = Settings::default();
    settings.set_switch(Switch::Off);
    let off = BackupCodes::new(on.store.clone(), settings, cheap_hashing()).with_config(config());
    (on, off, sheet)
}

#[test]
fn no_set_is_made_while_switched_off() {
    let (_, off, _) = switched_off();
    let cx = own(Duration::ZERO);
    assert!(matches!(
        block_on(off.prepare(&alice(), &cx)),
        Err(Error::Denied(Denial::SwitchedOff))
    ));
    assert!(matches!(
        block_on(off.issue(&alice(), &cx)),
        Err(Error::Denied(Denial::SwitchedOff))
    ));
}

#[test]
fn no_code_is_accepted_while_switched_off() {
    let (_, off, sheet) = switched_off();
    let cx = own(Duration::ZERO);
    let redeemed = block_on(off.redeem(&alice(), &code(&sheet, 1), &cx)).unwrap();
    let Redeem::Refused(refusal) = redeemed else {
        panic!("redeemed although switched off");
    };
    assert_eq!(refusal.reason(), Reason::SwitchedOff);
}

#[test]
fn a_sheet_works_once_switched_on_again() {
    let (on, off, sheet) = switched_off();
    let typed = code(&sheet, 1);
    let _ = block_on(off.redeem(&alice(), &typed, &own(Duration::ZERO))).unwrap();
    let _ = on.accepted(&typed, Duration::ZERO);
}

/// The operations under settings that permit none of Alice's roles.
fn role_lost(f: &Fixture, loss: OnRoleLoss) -> BackupCodes {
    let mut settings = Settings::default();
    settings.permit_roles(["boss"]);
    settings.set_on_role_loss(loss);
    BackupCodes::new(f.store.clone(), settings, cheap_hashing()).with_config(config())
}

#[test]
fn a_user_who_lost_the_role_gets_no_new_set() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    for loss in [OnRoleLoss::KeepRedeeming, OnRoleLoss::StopRedeeming] {
        assert!(matches!(
            block_on(role_lost(&f, loss).prepare(&alice(), &own(Duration::ZERO))),
            Err(Error::Denied(Denial::RoleNotPermitted))
        ));
    }
}

#[test]
fn a_user_who_lost_the_role_redeems_where_the_settings_say_so() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    for (loss, works) in [
        (OnRoleLoss::KeepRedeeming, true),
        (OnRoleLoss::StopRedeeming, false),
    ] {
        let (codes, cx) = (role_lost(&f, loss), own(Duration::ZERO));
        let redeemed = block_on(codes.redeem(&alice(), &code(&sheet, 1), &cx)).unwrap();
        assert_eq!(matches!(redeemed, Redeem::Accepted(_)), works);
    }
}

#[test]
fn only_administrators_act_for_others() {
    let f = fixture();
    let _ = f.issue(&alice(), Duration::ZERO);
    let cx = Context::new(start(), bob());
    let denied = |result: Result<(), Error>| matches!(result, Err(Error::Denied(_)));
    assert!(denied(block_on(f.codes.unlock(&alice(), &cx)).map(drop)));
    assert!(denied(block_on(f.codes.erase(&alice(), &cx)).map(drop)));
    assert!(denied(block_on(f.codes.status(&alice(), &cx)).map(drop)));
    assert!(denied(
        block_on(f.reports().users(UsersQuery::new(cx.now()), &cx)).map(drop)
    ));
    assert!(denied(block_on(f.codes.authorize_reports(&cx))));
    assert!(block_on(f.codes.authorize_reports(&by_admin(Duration::ZERO))).is_ok());
}

#[test]
fn administrators_do_not_unlock_themselves() {
    let unlocked = block_on(fixture().codes.unlock(&admin(), &by_admin(Duration::ZERO)));
    assert!(matches!(unlocked, Err(Error::Denied(_))));
}

#[test]
fn only_the_user_redeems() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    for actor in [
        Context::system(start()),
        Context::new(start(), bob()),
        by_admin(Duration::ZERO),
    ] {
        let redeemed = block_on(f.codes.redeem(&alice(), &code(&sheet, 1), &actor)).unwrap();
        let Redeem::Refused(refusal) = redeemed else {
            panic!("redeemed for somebody else")
        };
        assert_eq!(refusal.reason(), Reason::OnlyOwn);
    }
}

/// A policy that allows the first questions and then denies.
struct AllowsFirst(AtomicUsize);

impl RolePolicy for AllowsFirst {
    fn decide(&self, _: Request<'_>) -> Decision {
        let left = &self.0;
        match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        }) {
            Ok(_) => Decision::Allow,
            Err(_) => Decision::Deny(Denial::SwitchedOff),
        }
    }

    fn low_threshold(&self) -> u8 {
        3
    }
}

/// The operations under a policy that denies once it has allowed this number of questions.
fn allowing_first(questions: usize) -> (MemoryRepository, BackupCodes) {
    let (store, policy) = (MemoryRepository::new(), AllowsFirst(questions.into()));
    let codes = BackupCodes::new(store.clone(), policy, cheap_hashing()).with_config(config());
    (store, codes)
}

#[test]
fn a_set_is_not_written_once_codes_were_switched_off_while_it_was_hashed() {
    let (store, codes) = allowing_first(1);
    let prepared = block_on(codes.prepare(&alice(), &own(Duration::ZERO)));
    assert!(matches!(prepared, Err(Error::Denied(Denial::SwitchedOff))));
    let loaded = block_on(store.load(alice().id(), Freshness::Latest)).unwrap();
    assert_eq!(loaded, None);
}

#[test]
fn an_override_is_not_written_once_codes_were_switched_off_while_it_was_hashed() {
    let (store, codes) = allowing_first(1);
    let hour = Duration::from_secs(3600);
    let issued = block_on(codes.issue_override(&alice(), hour, &by_admin(Duration::ZERO)));
    assert!(matches!(issued, Err(Error::Denied(Denial::SwitchedOff))));
    let loaded = block_on(store.load(alice().id(), Freshness::Latest)).unwrap();
    assert_eq!(loaded, None);
}
