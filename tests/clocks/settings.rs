//! The settings that a node works from.

use backup_codes::policy::Denial;
use backup_codes::{
    BackupCodes, Error, MemoryRepository, SavedSettings, SettingsSaved, SharedSettings,
};
use pollster::block_on;

use crate::site::{
    HOUR, MINUTE, NOW, SECOND, SKEW, YEAR, YEAR_9999, by_admin, config, length, own,
};
use crate::support::hashing::cheap_hashing;
use crate::support::moments::at;
use crate::support::people::alice;

const MAX_AGE: i64 = 30 * SECOND;

struct Node {
    codes: BackupCodes,
    settings: SavedSettings,
}

impl Node {
    fn new() -> Self {
        let shared = SharedSettings::new(length(MAX_AGE));
        let store = MemoryRepository::new();
        let codes = BackupCodes::new(store.clone(), shared.clone(), cheap_hashing());
        let codes = codes.with_config(config(None));
        Self {
            settings: SavedSettings::new(&codes, store, &shared),
            codes,
        }
    }

    fn refresh(&self, now: i64) {
        block_on(self.settings.refresh(at(now))).unwrap();
    }

    /// Writes the copy by saving.
    fn save(&self, now: i64) {
        let draft = self.settings.edit().unwrap();
        let saved = block_on(self.settings.save(draft, &by_admin(now))).unwrap();
        assert_eq!(saved, SettingsSaved::Saved);
    }

    fn is_trusted(&self, now: i64) -> bool {
        match block_on(self.codes.status(&alice(), &own(now))) {
            Ok(_) => true,
            Err(Error::Denied(Denial::SettingsUnreadable)) => false,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn settings_read_under_a_clock_that_was_ahead_are_not_trusted_before_they_are_read_again() {
    for read_at in [NOW + SKEW + 1, NOW + HOUR, NOW + YEAR, YEAR_9999] {
        for saves in [false, true] {
            let node = Node::new();
            node.refresh(read_at);
            if saves {
                node.save(read_at);
            }
            assert!(
                node.is_trusted(read_at),
                "{read_at}: its clock is as it was"
            );
            for now in [NOW, NOW + 1, read_at - 1, read_at, read_at + MAX_AGE] {
                assert!(!node.is_trusted(now), "{read_at} {saves} {now}");
            }
            node.refresh(NOW);
            assert!(node.is_trusted(NOW));
        }
    }
}

#[test]
fn settings_read_under_a_clock_that_was_behind_are_not_trusted_before_they_are_read_again() {
    for read_at in [NOW - MINUTE, NOW - HOUR, NOW - YEAR, 0] {
        let node = Node::new();
        node.refresh(read_at);
        assert!(
            node.is_trusted(read_at),
            "{read_at}: its clock is as it was"
        );
        assert!(!node.is_trusted(NOW), "{read_at}");
        node.refresh(NOW);
        assert!(node.is_trusted(NOW));
    }
}

#[test]
fn a_request_that_is_decided_late_costs_the_others_no_copy() {
    for late in [MAX_AGE + 1, MINUTE, SKEW] {
        let node = Node::new();
        node.refresh(NOW);
        assert!(!node.is_trusted(NOW - late), "{late}");
        assert!(node.is_trusted(NOW), "{late}");
    }
}

#[test]
fn settings_are_trusted_within_their_bound_on_either_side_to_the_millisecond() {
    for (off, trusted) in [
        (-MAX_AGE - 1, false),
        (-MAX_AGE, true),
        (MAX_AGE, true),
        (MAX_AGE + 1, false),
    ] {
        let node = Node::new();
        node.refresh(NOW);
        assert_eq!(node.is_trusted(NOW + off), trusted, "{off}");
    }
}
