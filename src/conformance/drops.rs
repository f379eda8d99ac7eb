//! Cases of dropped futures: a write is applied as a whole or not at all.

use super::Harness;
use super::fixtures::{Polls, event, other_settings, revision, save, saved, user};
use super::watch::Case;
use crate::policy::settings::Settings;
use crate::report::Summary;
use crate::repository::{CodeRepository, Expected, Freshness, Put, PutOutcome, SettingsStore};

/// A put whose future is dropped after any number of polls is applied with its events, or not at
/// all.
pub fn a_dropped_put_is_whole_or_nothing<H: Harness>(case: &Case<H>) {
    for polls in 0..12 {
        let store = case.fresh();
        let (a, first) = (user("a"), revision());
        let events = [event(&a)];
        let summary = Summary::default();
        let put = Put::new(&a, Expected::Absent, first, "1", &summary, &events);
        case.call(
            "put",
            Polls {
                future: Box::pin(store.put(put)),
                left: polls,
            },
        );
        // The dropped write may still be on its way. This one expects the same state, so at most
        // one of the two is applied, and after it nothing is on its way any more.
        let there = match case.put(&store, &a, Expected::Absent, revision(), "0", &[]) {
            PutOutcome::Applied => false,
            PutOutcome::Conflict => true,
        };
        let loaded = case.load(&store, &a).expect("one of the two was applied");
        assert_eq!(
            loaded.revision == first,
            there,
            "clause 2: a conflict is with the dropped write"
        );
        let listed = case.undelivered(&store).len();
        assert_eq!(
            listed,
            usize::from(there),
            "clause 2: record and events are one write"
        );
        let expected = Expected::At(loaded.revision);
        let outcome = case.put(&store, &a, expected, revision(), "2", &[]);
        assert_eq!(outcome, PutOutcome::Applied, "clause 2: the store works on");
    }
}

/// A removal whose future is dropped after any number of polls is applied or not; its events stay.
pub fn a_dropped_remove_is_whole_or_nothing<H: Harness>(case: &Case<H>) {
    for polls in 0..12 {
        let store = case.fresh();
        let (a, first) = (user("a"), revision());
        let events = [event(&a)];
        case.applied(&store, &a, Expected::Absent, first, "1", &events);
        case.call(
            "remove",
            Polls {
                future: Box::pin(store.remove(&a, first)),
                left: polls,
            },
        );
        if let Some(loaded) = case.load(&store, &a) {
            let whole = loaded.record == "1" && loaded.revision == first;
            assert!(whole, "clause 2: a removal is whole or nothing");
        }
        // As for a dropped put: at most one of the two is applied, and then nothing is on its way.
        match case.put(&store, &a, Expected::At(first), revision(), "2", &[]) {
            PutOutcome::Applied => assert!(
                case.load(&store, &a).is_some(),
                "clause 2: a removal at another revision removes nothing"
            ),
            PutOutcome::Conflict => {
                assert_eq!(
                    case.load(&store, &a),
                    None,
                    "clause 2: a conflict is with the dropped removal"
                );
                let outcome = case.put(&store, &a, Expected::Absent, revision(), "2", &[]);
                assert_eq!(outcome, PutOutcome::Applied, "clause 2: the store works on");
            }
        }
        assert_eq!(
            case.undelivered(&store),
            events,
            "clause 6: events outlive the record"
        );
    }
}

/// An acknowledgement whose future is dropped after any number of polls affects no event but those
/// it names, and can be repeated.
pub fn a_dropped_acknowledge_takes_only_its_own<H: Harness>(case: &Case<H>) {
    for polls in 0..12 {
        let store = case.fresh();
        let a = user("a");
        let events = [event(&a), event(&a), event(&a)];
        case.applied(&store, &a, Expected::Absent, revision(), "1", &events);
        let ids = [events[0].id, events[1].id];
        case.call(
            "acknowledge",
            Polls {
                future: Box::pin(store.acknowledge(&ids)),
                left: polls,
            },
        );
        assert!(
            case.undelivered(&store).contains(&events[2]),
            "clause 6: the other event stays"
        );
        case.acknowledge(&store, &ids);
        assert_eq!(
            case.undelivered(&store),
            events[2..],
            "clause 6: those that were named are gone"
        );
    }
}

/// A load, or a list of events, whose future is dropped after any number of polls leaves
/// everything as it was.
pub fn a_dropped_read_changes_nothing<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, first) = (user("a"), revision());
    let events = [event(&a)];
    case.applied(&store, &a, Expected::Absent, first, "1", &events);
    let before = case.load(&store, &a);
    for polls in 0..12 {
        for freshness in [Freshness::Any, Freshness::Latest] {
            case.call(
                "load",
                Polls {
                    future: Box::pin(store.load(&a, freshness)),
                    left: polls,
                },
            );
        }
        case.call(
            "undelivered",
            Polls {
                future: Box::pin(store.undelivered(10)),
                left: polls,
            },
        );
        assert_eq!(case.load(&store, &a), before, "a read changes nothing");
        assert_eq!(
            case.undelivered(&store),
            events,
            "clause 6: listed is not acknowledged"
        );
    }
    let outcome = case.put(&store, &a, Expected::At(first), revision(), "2", &[]);
    assert_eq!(outcome, PutOutcome::Applied, "clause 2: the store works on");
}

/// A save whose future is dropped after any number of polls is applied with its events, or not at
/// all.
pub fn a_dropped_save_is_whole_or_nothing<H: Harness>(case: &Case<H>)
where
    H::Repository: SettingsStore,
{
    for polls in 0..12 {
        let store = case.fresh();
        let (first, other, default) = (revision(), other_settings(), Settings::default());
        let events = [event(&user("a"))];
        case.call(
            "save_settings",
            Polls {
                future: Box::pin(store.save_settings(Expected::Absent, first, &other, &events)),
                left: polls,
            },
        );
        // As for a dropped put: at most one of the two is applied, and then nothing is on its way.
        let outcome = save(case, &store, Expected::Absent, revision(), &default, &[]);
        let there = outcome == PutOutcome::Conflict;
        let (settings, at) = saved(case, &store).expect("one of the two was applied");
        assert_eq!(
            (at == first, settings == other),
            (there, there),
            "settings: a conflict is with the dropped save"
        );
        assert_eq!(
            case.undelivered(&store).len(),
            usize::from(there),
            "settings: settings and events are one write"
        );
        let outcome = save(case, &store, Expected::At(at), revision(), &default, &[]);
        assert_eq!(outcome, PutOutcome::Applied, "settings: the store works on");
    }
}
