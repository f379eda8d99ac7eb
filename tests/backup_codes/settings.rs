//! Settings that are saved, and the copy that a node works from.

use std::time::Duration;

use backup_codes::audit::EventKind;
use backup_codes::policy::Denial;
use backup_codes::repository::CodeRepository as _;
use backup_codes::{
    BackupCodes, Error, MemoryRepository, SavedSettings, Settings, SettingsDraft, SettingsSaved,
    SharedSettings, Switch,
};
use pollster::block_on;

use crate::fixture::{MINUTE, by_admin, own};
use crate::support::hashing::cheap_hashing;
use crate::support::moments::{since_start, start};
use crate::support::operations::config;
use crate::support::people::alice;

#[test]
fn settings_are_in_force_when_saved_and_an_overtaken_save_is_shown() {
    let store = MemoryRepository::new();
    let node = || {
        let shared = SharedSettings::new(10 * MINUTE);
        let codes = BackupCodes::new(store.clone(), shared.clone(), cheap_hashing());
        let codes = codes.with_config(config());
        let settings = SavedSettings::new(&codes, store.clone(), &shared);
        (codes, settings)
    };
    let ((first, of_first), (second, of_second)) = (node(), node());
    let cx = by_admin(Duration::ZERO);
    // Not read yet: nothing is allowed.
    assert!(matches!(
        block_on(first.prepare(&alice(), &own(Duration::ZERO))),
        Err(Error::Denied(Denial::SettingsUnreadable))
    ));
    block_on(of_first.refresh(start())).unwrap();
    block_on(of_second.refresh(start())).unwrap();
    let mut one = of_first.edit().unwrap();
    let mut other = of_second.edit().unwrap();
    one.settings.permit_no_roles();
    assert!(
        block_on(first.prepare(&alice(), &own(Duration::ZERO))).is_ok(),
        "not saved yet"
    );
    assert_eq!(
        block_on(of_first.save(one.clone(), &cx)).unwrap(),
        SettingsSaved::Saved
    );
    assert!(block_on(first.prepare(&alice(), &own(Duration::ZERO))).is_err());
    other.settings.set_switch(Switch::Off);
    let saved = block_on(of_second.save(other, &cx)).unwrap();
    let SettingsSaved::Conflict(in_force) = saved else {
        panic!("overwritten unseen")
    };
    assert_eq!(in_force.settings, one.settings);
    // A draft that travelled through a form is held to the state it was based on.
    assert_eq!(
        SettingsDraft::new(in_force.settings.clone(), in_force.based_on()),
        in_force
    );
    let stale = SettingsDraft::new(Settings::default(), one.based_on());
    assert!(matches!(
        block_on(of_second.save(stale, &cx)),
        Ok(SettingsSaved::Conflict(_))
    ));
    // By somebody without the role: denied.
    let draft = of_second.edit().unwrap();
    assert!(matches!(
        block_on(of_second.save(draft, &own(Duration::ZERO))),
        Err(Error::Denied(Denial::NotAdministrator))
    ));
    // A copy older than its bound is not gone by.
    let sheet = block_on(second.status(&alice(), &own(10 * MINUTE)));
    assert!(sheet.is_ok());
    let late = 10 * MINUTE + Duration::from_millis(1);
    assert!(matches!(
        block_on(second.status(&alice(), &own(late))),
        Err(Error::Denied(Denial::SettingsUnreadable))
    ));
    let events = block_on(store.undelivered(100)).unwrap();
    assert!(
        events
            .iter()
            .all(|event| event.kind != EventKind::SaveSettings),
        "delivered"
    );
}

#[test]
fn a_copy_of_the_settings_read_under_a_clock_ahead_is_not_gone_by() {
    let (store, shared) = (MemoryRepository::new(), SharedSettings::new(10 * MINUTE));
    let codes =
        BackupCodes::new(store.clone(), shared.clone(), cheap_hashing()).with_config(config());
    let settings = SavedSettings::new(&codes, store, &shared);
    block_on(settings.refresh(since_start(60 * MINUTE))).unwrap();
    let status = |after| block_on(codes.status(&alice(), &own(after)));
    assert!(status(50 * MINUTE).is_ok());
    assert!(matches!(
        status(50 * MINUTE - Duration::from_millis(1)),
        Err(Error::Denied(Denial::SettingsUnreadable))
    ));
}
