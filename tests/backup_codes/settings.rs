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

/// A node with a copy of the settings that it trusts for ten minutes.
fn node(store: &MemoryRepository) -> (BackupCodes, SavedSettings) {
    let shared = SharedSettings::new(10 * MINUTE);
    let codes = BackupCodes::new(store.clone(), shared.clone(), cheap_hashing());
    let codes = codes.with_config(config());
    let settings = SavedSettings::new(&codes, store.clone(), &shared);
    (codes, settings)
}

/// A node that has read the settings at the start.
fn ready_node(store: &MemoryRepository) -> (BackupCodes, SavedSettings) {
    let (codes, settings) = node(store);
    block_on(settings.refresh(start())).unwrap();
    (codes, settings)
}

#[test]
fn nothing_is_allowed_before_the_settings_are_read() {
    let (codes, _) = node(&MemoryRepository::new());
    assert!(matches!(
        block_on(codes.prepare(&alice(), &own(Duration::ZERO))),
        Err(Error::Denied(Denial::SettingsUnreadable))
    ));
}

#[test]
fn settings_are_in_force_once_they_are_saved() {
    let (codes, settings) = ready_node(&MemoryRepository::new());
    let mut draft = settings.edit().unwrap();
    draft.settings.permit_no_roles();
    assert!(
        block_on(codes.prepare(&alice(), &own(Duration::ZERO))).is_ok(),
        "not saved yet"
    );
    assert_eq!(
        block_on(settings.save(draft, &by_admin(Duration::ZERO))).unwrap(),
        SettingsSaved::Saved
    );
    assert!(block_on(codes.prepare(&alice(), &own(Duration::ZERO))).is_err());
}

/// A draft that was saved on one node, and the settings of another node that has not read it.
fn overtaken() -> (SavedSettings, SettingsDraft) {
    let store = MemoryRepository::new();
    let ((_, first), (_, second)) = (ready_node(&store), ready_node(&store));
    let mut draft = first.edit().unwrap();
    draft.settings.permit_no_roles();
    let saved = block_on(first.save(draft.clone(), &by_admin(Duration::ZERO))).unwrap();
    assert_eq!(saved, SettingsSaved::Saved);
    (second, draft)
}

#[test]
fn a_save_that_another_one_overtook_is_a_conflict() {
    let (settings, saved) = overtaken();
    let mut draft = settings.edit().unwrap();
    draft.settings.set_switch(Switch::Off);
    let outcome = block_on(settings.save(draft, &by_admin(Duration::ZERO))).unwrap();
    let SettingsSaved::Conflict(in_force) = outcome else {
        panic!("overwritten unseen")
    };
    assert_eq!(in_force.settings, saved.settings);
    assert_eq!(
        SettingsDraft::new(in_force.settings.clone(), in_force.based_on()),
        in_force
    );
}

#[test]
fn a_draft_that_travelled_through_a_form_can_be_overtaken() {
    let (settings, saved) = overtaken();
    let stale = SettingsDraft::new(Settings::default(), saved.based_on());
    assert!(matches!(
        block_on(settings.save(stale, &by_admin(Duration::ZERO))),
        Ok(SettingsSaved::Conflict(_))
    ));
}

#[test]
fn only_an_administrator_saves_settings() {
    let (_, settings) = ready_node(&MemoryRepository::new());
    let draft = settings.edit().unwrap();
    assert!(matches!(
        block_on(settings.save(draft, &own(Duration::ZERO))),
        Err(Error::Denied(Denial::NotAdministrator))
    ));
}

#[test]
fn a_copy_of_the_settings_is_trusted_up_to_its_bound() {
    let (codes, _) = ready_node(&MemoryRepository::new());
    assert!(block_on(codes.status(&alice(), &own(10 * MINUTE))).is_ok());
    let late = 10 * MINUTE + Duration::from_millis(1);
    assert!(matches!(
        block_on(codes.status(&alice(), &own(late))),
        Err(Error::Denied(Denial::SettingsUnreadable))
    ));
}

#[test]
fn the_event_of_a_save_is_delivered() {
    let store = MemoryRepository::new();
    let (_, settings) = ready_node(&store);
    let draft = settings.edit().unwrap();
    let saved = block_on(settings.save(draft, &by_admin(Duration::ZERO))).unwrap();
    assert_eq!(saved, SettingsSaved::Saved);
    let events = block_on(store.undelivered(100)).unwrap();
    assert!(
        events
            .iter()
            .all(|event| event.kind != EventKind::SaveSettings),
        "delivered"
    );
}

#[test]
fn a_copy_of_the_settings_read_under_a_clock_ahead_is_not_trusted() {
    let (codes, settings) = node(&MemoryRepository::new());
    block_on(settings.refresh(since_start(60 * MINUTE))).unwrap();
    let status = |after| block_on(codes.status(&alice(), &own(after)));
    assert!(status(50 * MINUTE).is_ok());
    assert!(matches!(
        status(50 * MINUTE - Duration::from_millis(1)),
        Err(Error::Denied(Denial::SettingsUnreadable))
    ));
}
