//! Cases of the saved settings.

use super::Harness;
use super::fixtures::{by_id, event, ids, other_settings, race, revision, save, saved, user};
use super::watch::Case;
use crate::audit::event::{Event, EventKind};
use crate::id::Revision;
use crate::policy::settings::{OnRoleLoss, Settings};
use crate::repository::{Expected, PutOutcome, SettingsStore};

/// Before the first save there are no settings; then they come back as they were saved, each of
/// them, with roles of any text.
pub fn settings_come_back_as_they_were_saved<H: Harness>(case: &Case<H>)
where
    H::Repository: SettingsStore,
{
    let store = case.fresh();
    let handles = [&*store, store.second()];
    for handle in handles {
        assert_eq!(
            saved(case, handle),
            None,
            "settings: none before the first save"
        );
    }
    let mut none = Settings::default();
    none.permit_no_roles();
    none.set_on_role_loss(OnRoleLoss::StopRedeeming);
    let mut unusual = Settings::default();
    let long = "\u{1f511}".repeat(500);
    let roles = [
        "Staff", "staff", "staff ", " staff", "", "a\0b", "\"'\\%_", "\u{e9}", "e\u{301}", "1",
        "01", "null", &long,
    ];
    unusual.permit_roles(roles);
    unusual.set_administrators(roles).unwrap();
    unusual.set_low_threshold(0).unwrap();
    let mut expected = Expected::Absent;
    let all = [other_settings(), none, unusual, Settings::default()];
    // The same settings once more are a save, too.
    for (number, settings) in all.iter().chain(&all[3..]).enumerate() {
        let next = revision();
        let outcome = save(case, handles[number % 2], expected, next, settings, &[]);
        assert_eq!(
            outcome,
            PutOutcome::Applied,
            "settings: the state was as expected"
        );
        for handle in handles {
            assert_eq!(
                saved(case, handle),
                Some((settings.clone(), next)),
                "settings: as they were saved, through both handles"
            );
        }
        expected = Expected::At(next);
    }
}

/// A save that expects another state changes nothing: no administrator overwrites another one's
/// changes without seeing them.
pub fn saving_settings_needs_the_expected_state<H: Harness>(case: &Case<H>)
where
    H::Repository: SettingsStore,
{
    let store = case.fresh();
    let (first, second) = (revision(), revision());
    let save = |expected, revision, settings: &Settings| {
        save(case, &store, expected, revision, settings, &[])
    };
    let default = Settings::default();
    assert_eq!(
        save(Expected::At(second), first, &default),
        PutOutcome::Conflict,
        "settings: absent"
    );
    assert_eq!(
        saved(case, &store),
        None,
        "settings: a conflict saves nothing"
    );
    assert_eq!(
        save(Expected::Absent, first, &other_settings()),
        PutOutcome::Applied
    );
    assert_eq!(
        save(Expected::Absent, second, &default),
        PutOutcome::Conflict,
        "settings: present"
    );
    let mut near = first.to_bytes();
    near[15] ^= 1;
    for other in [second, Revision::from_bytes(near)] {
        assert_eq!(
            save(Expected::At(other), second, &default),
            PutOutcome::Conflict,
            "settings: another revision"
        );
    }
    assert_eq!(
        saved(case, &store),
        Some((other_settings(), first)),
        "settings: unchanged"
    );
    assert_eq!(
        save(Expected::At(first), second, &default),
        PutOutcome::Applied
    );
    assert_eq!(
        save(Expected::At(first), revision(), &other_settings()),
        PutOutcome::Conflict,
        "settings: stale"
    );
}

/// Of many saves in the same state, the first save and later ones, exactly one is applied, with its
/// events.
pub fn one_of_many_racing_saves_wins<H: Harness>(case: &Case<H>)
where
    H::Repository: SettingsStore,
{
    let store = case.fresh();
    let mut expected = Expected::Absent;
    for _ in 0..20 {
        let revisions = [(); 8].map(|()| revision());
        let events = [(); 8].map(|()| event(&user("a")));
        let settings = |racer: usize| {
            let mut settings = Settings::default();
            settings.permit_roles([racer.to_string()]);
            settings
        };
        let applied = race(&store, 8, |racer, handle| {
            let (settings, events) = (settings(racer), &events[racer..=racer]);
            save(case, handle, expected, revisions[racer], &settings, events)
        });
        assert_eq!(applied.len(), 1, "settings: one save wins");
        let winner = applied[0];
        assert_eq!(
            saved(case, &store),
            Some((settings(winner), revisions[winner])),
            "settings: those of the save that was applied"
        );
        let listed = case.undelivered(&store);
        assert_eq!(
            listed,
            events[winner..=winner],
            "settings: the events of the save that was applied"
        );
        case.acknowledge(&store, &ids(&listed));
        expected = Expected::At(revisions[winner]);
    }
}

/// The events of a save are listed like those of a put, through both handles; those of a conflict
/// are not kept.
pub fn settings_events_come_with_their_save<H: Harness>(case: &Case<H>)
where
    H::Repository: SettingsStore,
{
    let store = case.fresh();
    let (first, settings) = (revision(), Settings::default());
    let mut kept = Event {
        subject: None,
        ..event(&user("a"))
    };
    kept.kind = EventKind::SaveSettings;
    let events = std::slice::from_ref(&kept);
    let outcome = save(case, &store, Expected::Absent, first, &settings, events);
    assert_eq!(outcome, PutOutcome::Applied);
    for expected in [Expected::Absent, Expected::At(revision())] {
        let lost = [event(&user("a"))];
        let outcome = save(case, &store, expected, revision(), &settings, &lost);
        assert_eq!(outcome, PutOutcome::Conflict);
    }
    for handle in [&*store, store.second()] {
        assert_eq!(
            case.undelivered(handle),
            events,
            "settings: the events of the save, and no others"
        );
    }
    let more = event(&user("a"));
    let later = std::slice::from_ref(&more);
    let outcome = save(
        case,
        &store,
        Expected::At(first),
        revision(),
        &settings,
        later,
    );
    assert_eq!(outcome, PutOutcome::Applied);
    assert_eq!(
        by_id(case.undelivered(&store)),
        by_id([kept.clone(), more.clone()]),
        "settings: a later save keeps earlier events"
    );
    case.acknowledge(store.second(), &ids(events));
    assert_eq!(
        case.undelivered(&store),
        [more],
        "clause 6: the acknowledged one is gone"
    );
}
