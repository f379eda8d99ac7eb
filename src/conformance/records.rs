//! Cases of records: reading, conditional writes, races, removal.

use super::Harness;
use super::fixtures::{by_id, event, ids, one_winner, race, revision, user};
use super::watch::Case;
use crate::audit::event::Event;
use crate::id::Revision;
use crate::repository::{CodeRepository, Expected, Freshness, Loaded, PutOutcome};

/// A user without a record is `None`, not an empty record.
pub fn absent_user_has_no_record<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    assert_eq!(
        case.load(&store, &user("a")),
        None,
        "clause 5: an absent user has no record"
    );
    match case.call("load", store.load(&user("a"), Freshness::Any)) {
        Ok(loaded) => assert_eq!(loaded, None, "clause 5: there never was a record"),
        Err(error) => panic!("a load failed: {error:?}"),
    }
}

/// Record and revision come back as they were put.
pub fn put_then_load_gives_the_same_bytes<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, first, second) = (user("a"), revision(), revision());
    let record = "{\"text\":\"ä \\u0000 \\\" ' % _ \u{1f511}\"}";
    assert_eq!(
        case.put(&store, &a, Expected::Absent, first, record, &[]),
        PutOutcome::Applied
    );
    let expected = Some(Loaded {
        record: record.to_owned(),
        revision: first,
    });
    assert_eq!(
        case.load(&store, &a),
        expected,
        "clause 5: what was put is what is loaded"
    );
    assert_eq!(
        case.put(&store, &a, Expected::At(first), second, "{}", &[]),
        PutOutcome::Applied
    );
    let expected = Some(Loaded {
        record: "{}".to_owned(),
        revision: second,
    });
    assert_eq!(
        case.load(&store, &a),
        expected,
        "clause 5: record and revision belong together"
    );
}

/// Records keep their spaces, the order and the repetition of their keys, the digits of their
/// numbers and the spelling of their characters: the repository does not read them.
pub fn records_are_kept_as_they_are_written<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, mut expected) = (user("a"), Expected::Absent);
    for record in [
        "{ \"b\" : 1 ,\n\t\"a\":\t2 }",
        "{\"a\":1,\"a\":2}",
        "[1.0,1e3,-0,12345678901234567890123,0.1000]",
        "[\"\\u00e4\",\"\u{e4}\",\"a\u{308}\",\"\\/\",\"\\ud83d\\udd11\"]",
        " {} ",
        "\"\u{feff}\u{2028}\u{7f}\u{ffff}\u{10ffff}\"",
        "null",
    ] {
        let next = revision();
        case.applied(&store, &a, expected, next, record, &[]);
        let loaded = case.load(&store, &a).expect("it was put");
        assert_eq!(
            loaded.record, record,
            "clause 5: a record comes back as it was put"
        );
        expected = Expected::At(next);
    }
}

/// A put that expects another state changes nothing.
pub fn put_needs_the_expected_state<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, first, second) = (user("a"), revision(), revision());
    let put = |expected, revision, record| case.put(&store, &a, expected, revision, record, &[]);
    assert_eq!(
        put(Expected::At(second), first, "0"),
        PutOutcome::Conflict,
        "clause 2: absent"
    );
    assert_eq!(
        case.load(&store, &a),
        None,
        "clause 2: a conflict changes nothing"
    );
    assert_eq!(put(Expected::Absent, first, "1"), PutOutcome::Applied);
    assert_eq!(
        put(Expected::Absent, second, "2"),
        PutOutcome::Conflict,
        "clause 2: present"
    );
    assert_eq!(
        put(Expected::At(second), second, "3"),
        PutOutcome::Conflict,
        "clause 2: another"
    );
    let loaded = case.load(&store, &a).expect("the first put was applied");
    assert_eq!(
        (loaded.record.as_str(), loaded.revision),
        ("1", first),
        "clause 2: unchanged"
    );
    assert_eq!(put(Expected::At(first), second, "4"), PutOutcome::Applied);
    assert_eq!(
        put(Expected::At(first), revision(), "5"),
        PutOutcome::Conflict,
        "clause 2: stale"
    );
}

/// Keys that differ in case, trailing space, normalisation, prefix or a NUL are different users.
pub fn keys_are_compared_byte_for_byte<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let keys: [&[u8]; 14] = [
        b"alice",
        b"Alice",
        b"ALICE",
        b"alice ",
        b" alice",
        b"alice\0",
        b"alic",
        b"alicea",
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        "\u{df}".as_bytes(),
        b"ss",
        b"1",
        b"01",
    ];
    for (number, key) in keys.iter().enumerate() {
        let record = number.to_string();
        let outcome = case.put(
            &store,
            &user(key),
            Expected::Absent,
            revision(),
            &record,
            &[],
        );
        assert_eq!(
            outcome,
            PutOutcome::Applied,
            "clause 1: {:?} is another user",
            user(key)
        );
    }
    for (number, key) in keys.iter().enumerate() {
        let loaded = case.load(&store, &user(key)).expect("each was put");
        assert_eq!(
            loaded.record,
            number.to_string(),
            "clause 1: the record of {:?}",
            user(key)
        );
    }
}

/// Keys of one byte of any value and of 255 bytes are kept.
pub fn every_key_byte_is_kept<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let mut keys: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    keys.push(vec![0xff; 255]);
    keys.push(vec![0xff; 254]);
    for key in &keys {
        let record = format!("{key:?}");
        let outcome = case.put(
            &store,
            &user(key),
            Expected::Absent,
            revision(),
            &record,
            &[],
        );
        assert_eq!(outcome, PutOutcome::Applied, "clause 1: {key:?}");
    }
    for key in &keys {
        let loaded = case.load(&store, &user(key)).expect("each was put");
        assert_eq!(loaded.record, format!("{key:?}"), "clause 1");
    }
}

/// Of many creations at once exactly one is applied, with its events.
pub fn one_of_two_racing_creations_wins<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    for round in 0..20 {
        let a = user(format!("user {round}"));
        let events: Vec<Event> = (0..8).map(|_| event(&a)).collect();
        let applied = race(&store, 8, |racer, handle| {
            let (record, events) = (racer.to_string(), &events[racer..=racer]);
            case.put(handle, &a, Expected::Absent, revision(), &record, events)
        });
        one_winner(case, &store, &a, &applied, &events);
    }
}

/// Of many updates of the same state exactly one is applied, with its events.
pub fn one_of_many_racing_updates_wins<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    for round in 0..20 {
        let (a, first) = (user(format!("user {round}")), revision());
        case.applied(&store, &a, Expected::Absent, first, "0", &[]);
        let events: Vec<Event> = (0..8).map(|_| event(&a)).collect();
        let applied = race(&store, 8, |racer, handle| {
            let (record, events) = (racer.to_string(), &events[racer..=racer]);
            case.put(handle, &a, Expected::At(first), revision(), &record, events)
        });
        one_winner(case, &store, &a, &applied, &events);
    }
}

/// Of removals and updates of the same state, all at once, exactly one is applied.
pub fn one_of_a_racing_removal_and_updates_wins<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    for round in 0..20 {
        let (a, first) = (user(format!("user {round}")), revision());
        case.applied(&store, &a, Expected::Absent, first, "0", &[]);
        let removes = |racer: usize| racer % 4 < 2;
        let applied = race(&store, 8, |racer, handle| {
            if removes(racer) {
                return case.remove(handle, &a, first);
            }
            let record = racer.to_string();
            case.put(handle, &a, Expected::At(first), revision(), &record, &[])
        });
        assert_eq!(applied.len(), 1, "clause 3: one write wins");
        let left = case.load(&store, &a).map(|loaded| loaded.record);
        let expected = (!removes(applied[0])).then(|| applied[0].to_string());
        assert_eq!(
            left, expected,
            "clause 3: the state is that of the write that was applied"
        );
    }
}

/// Counters raised by load and conditional put from many threads lose nothing.
pub fn no_update_is_lost_in_a_race<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, first) = (user("a"), revision());
    assert_eq!(
        case.put(&store, &a, Expected::Absent, first, "0", &[]),
        PutOutcome::Applied
    );
    race(&store, 4, |_, handle| {
        for _ in 0..10 {
            for attempt in 0.. {
                assert!(attempt < 1000, "clause 3: of two writes one is applied");
                let loaded = case.load(handle, &a).expect("it was put");
                let count: u32 = loaded.record.parse().expect("a number was put");
                let next = (count + 1).to_string();
                let expected = Expected::At(loaded.revision);
                if case.put(handle, &a, expected, revision(), &next, &[]) == PutOutcome::Applied {
                    break;
                }
            }
        }
        PutOutcome::Applied
    });
    let loaded = case.load(&store, &a).expect("it was put");
    assert_eq!(loaded.record, "40", "clauses 2 and 3: no update is lost");
}

/// Users who are created and changed at the same time, each by a thread of its own, are all there
/// afterwards, with all their events.
pub fn writes_to_different_users_are_all_applied<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    for round in 0..10 {
        let a = |racer: usize| user(format!("user {round} {racer}"));
        let events: Vec<Event> = (0..16).map(|number| event(&a(number / 2))).collect();
        race(&store, 8, |racer, handle| {
            let (a, first) = (a(racer), revision());
            let events = &events[2 * racer..2 * racer + 2];
            case.insist(handle, &a, Expected::Absent, first, "1", &events[..1]);
            case.insist(
                handle,
                &a,
                Expected::At(first),
                revision(),
                "2",
                &events[1..],
            );
            PutOutcome::Applied
        });
        for racer in 0..8 {
            let record = case.load(&store, &a(racer)).map(|loaded| loaded.record);
            assert_eq!(
                record.as_deref(),
                Some("2"),
                "clause 2: a write to one user takes nothing from another"
            );
        }
        let listed = case.undelivered(&store);
        assert_eq!(
            by_id(listed),
            by_id(events.clone()),
            "clause 6: every event is listed"
        );
        case.acknowledge(&store, &ids(&events));
    }
}

/// A load with `Latest` sees what another handle has written or removed.
pub fn latest_sees_the_other_handle<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let second = store.second();
    let a = user("a");
    let mut expected = Expected::Absent;
    for number in 0..20 {
        let (writer, reader) = if number % 2 == 0 {
            (&*store, second)
        } else {
            (second, &*store)
        };
        let next = revision();
        let outcome = case.put(writer, &a, expected, next, &number.to_string(), &[]);
        assert_eq!(
            outcome,
            PutOutcome::Applied,
            "clause 2: what was loaded is expected"
        );
        let loaded = case.load(reader, &a).expect("it was put");
        assert_eq!(
            loaded.record,
            number.to_string(),
            "clause 5: latest is latest"
        );
        expected = Expected::At(loaded.revision);
        if number % 3 == 2 {
            let outcome = case.remove(writer, &a, next);
            assert_eq!(
                outcome,
                PutOutcome::Applied,
                "clause 2: a removal at this revision"
            );
            assert_eq!(
                case.load(reader, &a),
                None,
                "clause 5: a removal is seen at once"
            );
            expected = Expected::Absent;
        }
    }
}

/// A load with `Any`, while others write, returns one state: its record and its revision.
pub fn any_is_never_torn<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, first) = (user("a"), revision());
    let text = |revision: Revision| format!("\"{revision}\"");
    case.applied(&store, &a, Expected::Absent, first, &text(first), &[]);
    race(&store, 4, |racer, handle| {
        let mut at = first;
        for _ in 0..50 {
            match case.call("load", handle.load(&a, Freshness::Any)) {
                Ok(Some(loaded)) => {
                    let torn = loaded.record != text(loaded.revision);
                    assert!(!torn, "clause 5: record and revision belong together");
                    at = loaded.revision;
                }
                Ok(None) => {}
                Err(error) => panic!("a load failed: {error:?}"),
            }
            if racer < 2 {
                let next = revision();
                let _ = case.put(handle, &a, Expected::At(at), next, &text(next), &[]);
            }
        }
        PutOutcome::Conflict
    });
}

/// A removal that expects another revision changes nothing.
pub fn remove_needs_the_expected_revision<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, b, first) = (user("a"), user("b"), revision());
    case.applied(&store, &a, Expected::Absent, first, "1", &[]);
    for (user, expected) in [(&a, revision()), (&b, first)] {
        let outcome = case.remove(&store, user, expected);
        assert_eq!(
            outcome,
            PutOutcome::Conflict,
            "clause 2: a removal at another revision"
        );
    }
    assert!(
        case.load(&store, &a).is_some(),
        "clause 2: a conflict removes nothing"
    );
    let outcomes = [(); 2].map(|()| case.remove(&store, &a, first));
    assert_eq!(
        outcomes,
        [PutOutcome::Applied, PutOutcome::Conflict],
        "clause 2: a removal is applied once"
    );
}

/// Revisions that differ in one byte, in the case of a letter, or only as bytes that are not text,
/// are different revisions, and come back as they were put.
pub fn revisions_are_compared_whole<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, mut expected) = (user("a"), Expected::Absent);
    let with = |filling: u8, place: usize, byte: u8| {
        let mut bytes = [filling; 16];
        bytes[place] = byte;
        Revision::from_bytes(bytes)
    };
    for (revision, others) in [
        (
            with(7, 15, 1),
            [with(7, 15, 2), with(7, 0, 1), with(7, 7, 1)],
        ),
        (with(7, 0, 1), [with(7, 0, 2), with(7, 8, 1), with(7, 7, 1)]),
        (
            with(b'a', 8, b'b'),
            [
                with(b'A', 8, b'B'),
                with(b'a', 8, b'B'),
                with(b'a', 8, b'c'),
            ],
        ),
        (
            with(0xff, 0, 0xff),
            [with(0xfe, 0, 0xfe), with(0xff, 15, 0xfe), with(0, 0, 0)],
        ),
        (
            with(0, 15, 0),
            [with(0, 15, b' '), with(0, 0, 1), with(b'0', 15, b'0')],
        ),
        (
            with(b' ', 0, b'1'),
            [with(0, 0, b'1'), with(b' ', 15, b'1'), with(b' ', 1, b'1')],
        ),
    ] {
        case.applied(&store, &a, expected, revision, "1", &[]);
        let loaded = case.load(&store, &a).map(|loaded| loaded.revision);
        assert_eq!(
            loaded,
            Some(revision),
            "clause 5: the revision comes back as it was put"
        );
        for other in others {
            let outcome = case.put(&store, &a, Expected::At(other), self::revision(), "2", &[]);
            assert_eq!(
                outcome,
                PutOutcome::Conflict,
                "clause 2: {other} is not {revision}"
            );
            let outcome = case.remove(&store, &a, other);
            assert_eq!(
                outcome,
                PutOutcome::Conflict,
                "clause 2: {other} is not {revision}"
            );
        }
        expected = Expected::At(revision);
    }
}

/// A put of the text that is stored already is a write: it needs the expected state, has a new
/// revision, and its events are kept.
pub fn a_put_of_the_same_text_is_a_write<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, first, second) = (user("a"), revision(), revision());
    case.applied(&store, &a, Expected::Absent, first, "1", &[]);
    let events = [event(&a)];
    case.applied(&store, &a, Expected::At(first), second, "1", &events);
    let loaded = case.load(&store, &a).map(|loaded| loaded.revision);
    assert_eq!(loaded, Some(second), "clause 2: the revision is new");
    assert_eq!(
        case.undelivered(&store),
        events,
        "clause 2: its events are kept"
    );
    let outcome = case.put(&store, &a, Expected::At(first), revision(), "1", &[]);
    assert_eq!(
        outcome,
        PutOutcome::Conflict,
        "clause 2: the state it met is gone"
    );
}

/// A write that expects a state from before a removal is a conflict, whether or not there is a
/// record again; and after a removal a record is created as for the first time.
pub fn a_late_write_misses_a_record_made_again<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let (a, first, second) = (user("a"), revision(), revision());
    let late = |revision| {
        let put = case.put(
            &store,
            &a,
            Expected::At(revision),
            self::revision(),
            "9",
            &[],
        );
        assert_eq!(
            put,
            PutOutcome::Conflict,
            "clause 2: a put from before the removal"
        );
        let removal = case.remove(&store, &a, revision);
        assert_eq!(
            removal,
            PutOutcome::Conflict,
            "clause 2: a removal from before"
        );
    };
    case.applied(&store, &a, Expected::Absent, first, "1", &[]);
    case.insist_on_removal(&store, &a, first);
    late(first);
    case.applied(&store, &a, Expected::Absent, second, "2", &[]);
    late(first);
    let loaded = case
        .load(&store, &a)
        .map(|loaded| (loaded.record, loaded.revision));
    assert_eq!(
        loaded,
        Some(("2".to_owned(), second)),
        "clause 2: the new record is untouched"
    );
    case.insist_on_removal(&store, &a, second);
    late(second);
    assert_eq!(case.load(&store, &a), None, "clause 5: it is removed");
}

/// A put or a removal leaves records, revisions and events of other users unchanged, and is no
/// conflict for them.
pub fn a_write_leaves_other_users_alone<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let keys = ["a", "aa", "a\0", "%", "_", "b"].map(user);
    let revisions = keys.clone().map(|_| revision());
    let events = keys.clone().map(|key| event(&key));
    for (number, key) in keys.iter().enumerate() {
        let (record, events) = (number.to_string(), &events[number..=number]);
        case.applied(
            &store,
            key,
            Expected::Absent,
            revisions[number],
            &record,
            events,
        );
    }
    let untouched = |but: &[usize]| {
        for (number, key) in keys.iter().enumerate().filter(|(n, _)| !but.contains(n)) {
            let loaded = case
                .load(&store, key)
                .map(|loaded| (loaded.record, loaded.revision));
            let before = Some((number.to_string(), revisions[number]));
            assert_eq!(loaded, before, "clause 2: a write is of one user: {key:?}");
        }
        let listed = by_id(case.undelivered(&store));
        assert_eq!(
            listed,
            by_id(events.clone()),
            "clause 6: the events of all users stay"
        );
    };
    case.applied(
        &store,
        &keys[0],
        Expected::At(revisions[0]),
        revision(),
        "9",
        &[],
    );
    untouched(&[0]);
    // The revision that one user's record has is not that of another's.
    let outcome = case.put(
        &store,
        &keys[1],
        Expected::At(revisions[5]),
        revision(),
        "9",
        &[],
    );
    assert_eq!(
        outcome,
        PutOutcome::Conflict,
        "clause 2: the revision of another user"
    );
    for key in 3..5 {
        let outcome = case.remove(&store, &keys[key], revisions[key]);
        assert_eq!(
            outcome,
            PutOutcome::Applied,
            "clause 2: a removal at this revision"
        );
    }
    untouched(&[0, 3, 4]);
}

/// A record of the maximum size comes back whole, whatever characters it has.
pub fn large_records_are_kept_whole<H: Harness>(case: &Case<H>) {
    let store = case.fresh();
    let a = user("a");
    let mut expected = Expected::Absent;
    for text in ["x", "\u{e4}", "\u{1f511}", "\\\""] {
        let length = crate::repository::Record::MAX_JSON_LEN - 2;
        let filling = "x".repeat(length % text.len());
        let record = format!("\"{}{filling}\"", text.repeat(length / text.len()));
        let next = revision();
        case.applied(&store, &a, expected, next, &record, &[]);
        let loaded = case.load(&store, &a).expect("it was put");
        assert!(
            loaded.record == record,
            "clause 5: a large record comes back whole"
        );
        expected = Expected::At(next);
    }
}
