//! Who may do what.

use std::time::Duration;

use backup_codes::audit::Reason;
use backup_codes::policy::{Denial, OnRoleLoss};
use backup_codes::{BackupCodes, Context, Error, Redeem, Settings, Switch, UsersQuery};
use pollster::block_on;

use crate::fixture::{by_admin, fixture, own};
use crate::support::hashing::cheap_hashing;
use crate::support::moments::start;
use crate::support::operations::config;
use crate::support::people::{admin, alice, bob};
use crate::support::sheets::code;

#[test]
fn switched_off_nobody_generates_and_nobody_redeems() {
    let on = fixture();
    let sheet = on.issue(&alice(), Duration::ZERO);
    let mut off = Settings::default();
    off.set_switch(Switch::Off);
    let codes = BackupCodes::new(on.store.clone(), off, cheap_hashing()).with_config(config());
    let cx = own(Duration::ZERO);
    assert!(matches!(
        block_on(codes.prepare(&alice(), &cx)),
        Err(Error::Denied(Denial::SwitchedOff))
    ));
    assert!(matches!(
        block_on(codes.issue(&alice(), &cx)),
        Err(Error::Denied(Denial::SwitchedOff))
    ));
    let Redeem::Refused(refusal) = block_on(codes.redeem(&alice(), &code(&sheet, 1), &cx)).unwrap()
    else {
        panic!("redeemed although switched off");
    };
    assert_eq!(refusal.reason(), Reason::SwitchedOff);
    // What is stored is untouched: switched on again, the sheet works.
    let _ = on.accepted(&code(&sheet, 1), Duration::ZERO);
}

#[test]
fn a_lost_role_stops_new_sets_and_redeeming_only_where_set_so() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let mut settings = Settings::default();
    settings.permit_roles(["boss"]);
    for (loss, works) in [
        (OnRoleLoss::KeepRedeeming, true),
        (OnRoleLoss::StopRedeeming, false),
    ] {
        settings.set_on_role_loss(loss);
        let codes = BackupCodes::new(f.store.clone(), settings.clone(), cheap_hashing())
            .with_config(config());
        let cx = own(Duration::ZERO);
        assert!(matches!(
            block_on(codes.prepare(&alice(), &cx)),
            Err(Error::Denied(Denial::RoleNotPermitted))
        ));
        let redeemed = block_on(codes.redeem(&alice(), &code(&sheet, 1), &cx)).unwrap();
        assert_eq!(matches!(redeemed, Redeem::Accepted(_)), works);
    }
}

#[test]
fn only_administrators_act_for_others() {
    let f = fixture();
    let sheet = f.issue(&alice(), Duration::ZERO);
    let bob = bob();
    let cx = Context::new(start(), &bob);
    let denied = |result: Result<(), Error>| matches!(result, Err(Error::Denied(_)));
    assert!(denied(block_on(f.codes.unlock(&alice(), &cx)).map(drop)));
    assert!(denied(block_on(f.codes.erase(&alice(), &cx)).map(drop)));
    assert!(denied(block_on(f.codes.status(&alice(), &cx)).map(drop)));
    assert!(denied(
        block_on(f.reports().users(UsersQuery::new(cx.now()), &cx)).map(drop)
    ));
    assert!(denied(block_on(f.codes.authorize_reports(&cx))));
    assert!(block_on(f.codes.authorize_reports(&by_admin(Duration::ZERO))).is_ok());
    let own = block_on(f.codes.unlock(&admin(), &by_admin(Duration::ZERO)));
    assert!(denied(own.map(drop)));
    for actor in [Context::system(start()), cx, by_admin(Duration::ZERO)] {
        let redeemed = block_on(f.codes.redeem(&alice(), &code(&sheet, 1), &actor)).unwrap();
        let Redeem::Refused(refusal) = redeemed else {
            panic!("redeemed for somebody else")
        };
        assert_eq!(refusal.reason(), Reason::OnlyOwn);
    }
}
