//! Cases of events: kept with their write until they are acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::Harness;
use super::fixtures::{by_id, event, ids, revision, user};
use super::watch::{Case, together};
use crate::audit::event::{Event, EventKind, EventOutcome, Reason};
use crate::context::Context;
use crate::id::{EventId, Revision, SetId, Subject, UserId};
use crate::repository::{Expected, PutOutcome};
use crate::timestamp::Timestamp;

/// The events of an applied put are listed, whole and unchanged.
pub fn events_come_with_their_write<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let a = user(b"\xff\0a");
    let events = [event(&a), event(&a)];
    let outcome = case.put(&store, &a, Expected::Absent, revision(), "{}", &events);
    assert_eq!(outcome, PutOutcome::Applied);
    let mut listed = case.undelivered(&store);
    listed.sort_by_key(|event| event.id);
    let mut expected = events.to_vec();
    expected.sort_by_key(|event| event.id);
    assert_eq!(
        listed, expected,
        "clause 6: the events of the write are listed unchanged"
    );
    let page = case.listed(&store, 1);
    assert_eq!(page.len(), 1, "clause 6: at most `limit` events");
}

/// Events of every kind, with all their details or none, from the earliest time to the latest, come
/// back unchanged.
pub fn every_kind_of_event_comes_unchanged<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let users = [
        user("a"),
        user("b\0 \"'\\%_"),
        user(b"\xff\xfe\0"),
        user("\u{1f511}e\u{301}"),
        user([0xff; 255]),
        user("{\"hex\":\"00\"}"),
    ];
    let times = [0, 1, 1_790_000_000_123, Timestamp::MAX.unix_millis()];
    let agents = [
        "curl/8".to_owned(),
        "\"'\\%_\u{fffd}\u{1f511} ".to_owned(),
        "\u{e4}".repeat(Context::MAX_USER_AGENT_LEN / 2),
        "\u{1f511}".repeat(Context::MAX_USER_AGENT_LEN / 4),
        String::new(),
    ];
    let addresses = ["203.0.113.7", "2001:db8::1", "::ffff:203.0.113.7"];
    let reasons = [
        Reason::Wrong,
        Reason::NotACodeTypo,
        Reason::CostAboveCeiling,
        Reason::SettingsUnreadable,
    ];
    let mut events = Vec::new();
    // Ids that differ in one byte, as those of one write do.
    let first = revision();
    for (number, kind) in (0..).zip(EventKind::ALL.iter().chain(EventKind::ALL)) {
        let index = usize::from(number);
        let subject = &users[index % users.len()];
        let at = Timestamp::from_unix_millis(times[index % times.len()]).unwrap();
        let context = match number % 4 {
            0 => Context::new(at, Subject::new(subject.clone(), ["staff"])),
            1 => Context::system(at),
            _ => Context::new(
                at,
                Subject::new(users[(index + 1) % users.len()].clone(), ["staff"]),
            )
            .with_address(addresses[index % 3].parse::<std::net::IpAddr>().unwrap())
            .with_user_agent(&agents[index % agents.len()])
            .with_correlation(&agents[(index + 1) % agents.len()]),
        };
        let outcome = if number % 3 == 0 {
            EventOutcome::Failure
        } else {
            EventOutcome::Success
        };
        let subject = (number % 5 > 0).then_some(subject);
        let mut event = Event::new(first.event(number), *kind, outcome, subject, &context);
        if number % 2 == 0 {
            let set = SetId::from_bytes([number.wrapping_mul(37); 16]);
            let left = [0, 31, u8::MAX][index % 3];
            event = event.because(reasons[index % 4]).of_set(set).leaving(left);
        }
        events.push(event);
    }
    case.applied(&store, &users[0], Expected::Absent, first, "1", &events);
    let listed = by_id(case.undelivered(&store));
    for (listed, written) in listed.iter().zip(by_id(events.clone())) {
        assert_eq!(*listed, written, "clause 6: an event comes back unchanged");
    }
    assert_eq!(
        listed.len(),
        events.len(),
        "clause 6: every event of a write is listed"
    );
    for event in &events {
        case.acknowledge(&store, &[event.id]);
    }
    assert_eq!(
        case.undelivered(&store),
        [],
        "clause 6: each was acknowledged"
    );
}

/// A put that is not applied leaves no events, whatever other state it met.
pub fn events_of_a_conflict_are_not_kept<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, b, first) = (user("a"), user("b"), revision());
    case.applied(&store, &a, Expected::Absent, first, "1", &[]);
    for (user, expected) in [
        (&b, Expected::At(first)),
        (&a, Expected::Absent),
        (&a, Expected::At(revision())),
    ] {
        let outcome = case.put(&store, user, expected, revision(), "2", &[event(user)]);
        assert_eq!(outcome, PutOutcome::Conflict, "clause 2: another state");
        assert_eq!(
            case.undelivered(&store),
            [],
            "clause 2: a conflict keeps no events"
        );
    }
}

/// Events are listed again and again, whatever is put, until they are acknowledged.
pub fn events_stay_until_acknowledged<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, first) = (user("a"), revision());
    let events = [event(&a), event(&a)];
    case.applied(&store, &a, Expected::Absent, first, "1", &events[..1]);
    case.applied(
        &store,
        &a,
        Expected::At(first),
        revision(),
        "2",
        &events[1..],
    );
    assert_eq!(
        case.undelivered(&store).len(),
        2,
        "clause 6: later puts keep earlier events"
    );
    case.acknowledge(&store, &[events[0].id]);
    assert_eq!(
        case.undelivered(&store),
        events[1..],
        "clause 6: the acknowledged one is gone"
    );
}

/// Acknowledging an event twice, or an unknown id, changes nothing.
pub fn acknowledging_is_idempotent<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let a = user("a");
    let events = [event(&a), event(&a)];
    case.applied(&store, &a, Expected::Absent, revision(), "1", &events);
    for ids in [
        vec![events[0].id],
        vec![events[0].id],
        vec![event(&a).id],
        vec![],
    ] {
        case.acknowledge(&store, &ids);
    }
    assert_eq!(
        case.undelivered(&store),
        events[1..],
        "clause 6: the other event stays"
    );
}

/// Acknowledging an event affects none that was written before it, with it, after it, or for the
/// same user; and it stays acknowledged when more is written.
pub fn acknowledging_takes_only_what_it_names<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, b) = (user("a"), user("b"));
    let revisions = [revision(), revision(), revision()];
    // Ids of one write differ in their last byte.
    let written = |revision: Revision, user: &UserId| -> Vec<Event> {
        let numbers = [0, 1, 2, 0x20];
        let numbered = |index| Event {
            id: revision.event(index),
            ..event(user)
        };
        numbers.into_iter().map(numbered).collect()
    };
    let [first, second, third] = revisions.map(|revision| written(revision, &a));
    let other = written(revision(), &b);
    case.applied(&store, &a, Expected::Absent, revisions[0], "1", &first);
    case.applied(&store, &b, Expected::Absent, revision(), "1", &other);
    case.applied(
        &store,
        &a,
        Expected::At(revisions[0]),
        revisions[1],
        "2",
        &second,
    );
    case.acknowledge(&store, &[second[1].id]);
    let mut left = [first, other, second].concat();
    left.retain(|event| event.id != revisions[1].event(1));
    let listed = || by_id(case.undelivered(&store));
    assert_eq!(listed(), by_id(left.clone()), "clause 6: the others stay");
    case.applied(
        &store,
        &a,
        Expected::At(revisions[1]),
        revisions[2],
        "3",
        &third,
    );
    left.extend(third);
    assert_eq!(
        listed(),
        by_id(left),
        "clause 6: what is acknowledged does not come again"
    );
}

/// While events are written over one handle, the other lists and acknowledges them: each is
/// delivered, and none is listed again.
pub fn no_event_is_lost_while_others_are_acknowledged<H: Harness>(case: &Case<H>) {
    /// Lists that were not empty, and puts at most.
    const LISTS: usize = 30;
    const PUTS: usize = 2000;
    /// Notifies the other thread at the end, in a panic too, that this one has ended.
    struct Ending<'a>(&'a AtomicBool);
    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let store = case.fresh();
    let second = store.second();
    let (enough, written_all) = (AtomicBool::new(false), AtomicBool::new(false));
    let written = Mutex::new(Vec::new());
    let delivered = Mutex::new(Vec::new());
    together(2, |thread| {
        if thread == 0 {
            let _ending = Ending(&written_all);
            let (a, mut expected) = (user("a"), Expected::Absent);
            for _ in 0..PUTS {
                let (next, event) = (revision(), event(&a));
                case.insist(
                    &store,
                    &a,
                    expected,
                    next,
                    "1",
                    std::slice::from_ref(&event),
                );
                expected = Expected::At(next);
                written
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(event);
                if enough.load(Ordering::SeqCst) {
                    break;
                }
            }
            return;
        }
        let _ending = Ending(&enough);
        let mut delivered = delivered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lists = 0;
        loop {
            let last = written_all.load(Ordering::SeqCst);
            let page = case.listed(second, 1000);
            if last && page.is_empty() {
                break;
            }
            if page.is_empty() {
                thread::yield_now();
                continue;
            }
            case.acknowledge(second, &ids(&page));
            delivered.extend(page);
            lists += 1;
            if lists == LISTS {
                enough.store(true, Ordering::SeqCst);
            }
            assert!(
                delivered.len() <= PUTS,
                "clause 6: what is acknowledged comes again"
            );
        }
    });
    let of = |events: Mutex<Vec<Event>>| {
        by_id(events.into_inner().unwrap_or_else(PoisonError::into_inner))
    };
    assert_eq!(
        of(delivered),
        of(written),
        "clause 6: each event is delivered, and none comes again"
    );
}

/// An event put over one handle is listed by the other at once, and no longer listed by either when
/// one of them has acknowledged it.
pub fn events_are_the_same_through_both_handles<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let handles = [&*store, store.second()];
    let a = user("a");
    for (writer, acknowledger) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let (next, event) = (revision(), event(&a));
        let events = std::slice::from_ref(&event);
        case.applied(handles[writer], &a, Expected::Absent, next, "1", events);
        for handle in handles {
            assert_eq!(
                case.undelivered(handle),
                events,
                "clause 6: listed by both handles"
            );
        }
        // Removed by the other one: the events stay.
        let outcome = case.remove(handles[1 - writer], &a, next);
        assert_eq!(
            outcome,
            PutOutcome::Applied,
            "clause 2: a removal at this revision"
        );
        for handle in handles {
            assert_eq!(
                case.undelivered(handle),
                events,
                "clause 6: events outlive the record"
            );
        }
        case.acknowledge(handles[acknowledger], &[event.id]);
        for handle in handles {
            assert_eq!(
                case.undelivered(handle),
                [],
                "clause 6: gone from both handles"
            );
        }
    }
}

/// Removing a record keeps its events, and so does creating the record again.
pub fn events_outlive_their_record<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, first) = (user("a"), revision());
    let events = [event(&a), event(&a)];
    case.applied(&store, &a, Expected::Absent, first, "1", &events[..1]);
    let outcome = case.remove(&store, &a, first);
    assert_eq!(
        outcome,
        PutOutcome::Applied,
        "clause 2: a removal at the right revision"
    );
    assert_eq!(case.load(&store, &a), None, "a removed record is absent");
    assert_eq!(
        case.undelivered(&store),
        events[..1],
        "clause 6: events outlive the record"
    );
    case.applied(&store, &a, Expected::Absent, revision(), "2", &events[1..]);
    assert_eq!(
        by_id(case.undelivered(&store)),
        by_id(events),
        "clause 6: events outlive the record"
    );
}

/// Events of many writes, taken and acknowledged a page at a time, come each once and to an end.
///
/// The order is not tested: a repository of many partitions has none across them.
pub fn every_event_comes_page_by_page<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let mut written = Vec::new();
    for number in 0..20u8 {
        let a = user([number]);
        let kept = event(&a);
        let events = std::slice::from_ref(&kept);
        case.applied(&store, &a, Expected::Absent, revision(), "1", events);
        written.push(kept.id);
    }
    let mut listed = Vec::new();
    loop {
        let page = case.listed(&store, 3);
        assert!(page.len() <= 3, "clause 6: at most `limit` events");
        let ids: Vec<EventId> = page.iter().map(|event| event.id).collect();
        if ids.is_empty() {
            break;
        }
        case.acknowledge(&store, &ids);
        listed.extend(ids);
        assert!(
            listed.len() <= written.len(),
            "clause 6: what is acknowledged does not come again"
        );
    }
    listed.sort_unstable();
    written.sort_unstable();
    assert_eq!(listed, written, "clause 6: every event comes");
}

/// A list holds no event where its limit is 0, as many as the limit where there are more, and all
/// where there are fewer, whatever their number; and any number of them is acknowledged at once.
pub fn the_list_of_events_holds_what_its_limit_lets_in<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let mut written = Vec::new();
    for number in 0..12u8 {
        let a = user([number]);
        let events: Vec<Event> = (0..100).map(|_| event(&a)).collect();
        case.applied(&store, &a, Expected::Absent, revision(), "1", &events);
        written.extend(events);
    }
    for (limit, length) in [
        (0, 0),
        (1, 1),
        (1000, 1000),
        (1199, 1199),
        (1200, 1200),
        (1201, 1200),
        (usize::MAX, 1200),
    ] {
        let listed = case.listed(&store, limit).len();
        assert_eq!(listed, length, "clause 6: a list with the limit {limit}");
    }
    assert_eq!(
        by_id(case.listed(&store, 2000)),
        by_id(written.clone()),
        "clause 6: every event is listed"
    );
    case.acknowledge(&store, &ids(&written[..1100]));
    assert_eq!(
        by_id(case.listed(&store, 2000)),
        by_id(written[1100..].to_vec()),
        "clause 6: those that were named are gone, and no others"
    );
}
