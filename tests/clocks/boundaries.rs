//! The boundaries, to the millisecond.

use backup_codes::audit::{EventKind, Reason};
use backup_codes::repository::CodeRepository as _;
use backup_codes::{BackupCodes, Config, Format, Formats, Reports, SetId, Settings};
use pollster::block_on;

use crate::comparison::Template;
use crate::site::{
    BETWEEN, Between, DAY, HOUR, LOCK, MINUTE, NOW, SKEW, Site, YEAR, YEAR_9999, by_admin, config,
    length, millis,
};
use crate::stored::{Overriding, Stored};
use crate::support::hashing::cheap_hashing;
use crate::support::sheets::code;
use crate::support::sinks::Lossy;

#[test]
fn a_lock_is_in_force_up_to_its_end_if_that_is_at_most_35_minutes_off() {
    for (until, locked) in [
        (NOW, false),
        (NOW + 1, true),
        (NOW + LOCK, true),
        (NOW + 35 * MINUTE, true),
        (NOW + 35 * MINUTE + 1, false),
    ] {
        let template = Template::new();
        let stored = Stored {
            locked_until: Some(until),
            ..Stored::locked()
        };
        let site = Site::holding(&template.record(&stored), config(None));
        let shown = site.status(NOW).locked_until;
        assert_eq!(millis(shown), locked.then_some(until));
        let reason = site.redeem(&code(&template.sheet, 3), NOW);
        assert_eq!(reason, locked.then_some(Reason::Locked), "{until}");
    }
}

#[test]
fn a_write_removes_a_lock_that_is_more_than_35_minutes_off() {
    for (until, kept) in [(35 * MINUTE, true), (35 * MINUTE + 1, false)] {
        for between in [Between::Prepare, Between::Override, Between::Purge] {
            let stored = Stored {
                locked_until: Some(NOW + until),
                ..Stored::locked()
            };
            let site = Site::holding(&Template::new().record(&stored), config(None));
            let _ = between.run(&site, NOW);
            let throttle = &site.stored()["throttle"];
            assert_eq!(
                throttle["locked_until"].is_i64(),
                kept,
                "{until} {between:?}"
            );
            assert_eq!(throttle["wrong_in_a_row"], 10);
        }
    }
}

/// Whether an override with these moments is accepted, and whether a write keeps it.
fn override_with(issued_at: i64, expires_at: i64, void_before: Option<i64>) -> (bool, bool) {
    let template = Template::new();
    let overriding = Some(Overriding {
        issued_at,
        expires_at,
        used_at: None,
    });
    let record = template.record(&Stored {
        overriding,
        ..Stored::usual()
    });
    let site = || Site::holding(&record, config(void_before));
    let accepted = site().redeem(&template.override_code, NOW).is_none();
    let shown = site().status(NOW).override_until.is_some();
    assert_eq!(accepted, shown, "{issued_at} {expires_at} {void_before:?}");
    let written = site();
    let _ = written.prepare(NOW);
    (accepted, written.stored()["override"].is_object())
}

#[test]
fn an_override_is_in_force_up_to_its_end_if_its_moments_can_be_those_of_a_right_clock() {
    for (issued_at, expires_at, accepted, kept) in [
        (NOW - HOUR, NOW + 1, true, true),
        // One that has ended is left for purging.
        (NOW - HOUR, NOW, false, true),
        (NOW + SKEW, NOW + HOUR, true, true),
        (NOW + SKEW + 1, NOW + HOUR, false, false),
        (NOW - HOUR, NOW - HOUR + DAY, true, true),
        // Another node may be configured for up to a week.
        (NOW - HOUR, NOW - HOUR + DAY + 1, false, true),
        (NOW - HOUR, NOW - HOUR + 7 * DAY, false, true),
        (NOW - HOUR, NOW - HOUR + 7 * DAY + 1, false, false),
        (NOW + SKEW, NOW + SKEW + DAY, true, true),
    ] {
        let seen = override_with(issued_at, expires_at, None);
        assert_eq!(seen, (accepted, kept), "{issued_at} {expires_at}");
    }
}

fn override_of(issued_at: i64) -> bool {
    override_with(issued_at, NOW + HOUR, Some(NOW - MINUTE)).0
}

#[test]
fn an_override_issued_before_the_moment_is_void() {
    let void_before = NOW - MINUTE;
    for (issued_at, accepted) in [(void_before - 1, false), (void_before, true)] {
        assert_eq!(override_of(issued_at), accepted, "{issued_at}");
    }
}

#[test]
fn an_override_issued_more_than_five_minutes_ahead_is_void() {
    for (issued_at, accepted) in [(NOW + SKEW, true), (NOW + SKEW + 1, false)] {
        assert_eq!(override_of(issued_at), accepted, "{issued_at}");
    }
}

#[test]
fn a_prepared_set_can_be_activated_for_less_than_an_hour() {
    for (prepared_at, activated, kept) in [
        (NOW - HOUR, false, true),
        (NOW - HOUR + 1, true, true),
        (NOW + SKEW, true, true),
        (NOW + SKEW + 1, false, false),
    ] {
        let template = Template::new();
        let record = template.record(&Stored {
            prepared: Some((prepared_at, NOW + YEAR)),
            ..Stored::usual()
        });
        let site = || Site::holding(&record, config(None));
        let shown = site().status(NOW).prepared.is_some();
        let seen = (site().activates(template.prepared, NOW), shown);
        assert_eq!(seen, (activated, activated), "{prepared_at}");
        let written = site();
        let _ = written.issue_override(HOUR, NOW);
        assert_eq!(written.stored()["prepared"].is_object(), kept);
        let purged = site();
        let _ = purged.force_purge(NOW);
        assert_eq!(purged.stored()["prepared"].is_object(), activated);
    }
}

/// A site that holds an active set of this moment, and the code of it that is good.
fn active_of(prepared_at: i64, void_before: Option<i64>) -> (Site, String) {
    let template = Template::new();
    let mut stored = Stored::usual();
    stored.active.as_mut().unwrap().prepared_at = prepared_at;
    let site = Site::holding(&template.record(&stored), config(void_before));
    (site, code(&template.sheet, 3))
}

fn assert_void(prepared_at: i64, void: bool) {
    let (site, code) = active_of(prepared_at, Some(NOW - MINUTE));
    let reason = void.then_some(Reason::Void);
    assert_eq!(site.status(NOW).not_in_force, reason);
    assert_eq!(site.row(NOW).remaining, u8::from(!void));
    assert_eq!(site.usage(NOW).users_exhausted, u64::from(void));
    assert_eq!(site.redeem(&code, NOW), reason, "{prepared_at}");
}

#[test]
fn an_active_set_prepared_before_the_moment_is_void() {
    let void_before = NOW - MINUTE;
    assert_void(void_before - 1, true);
    assert_void(void_before, false);
}

#[test]
fn an_active_set_prepared_more_than_five_minutes_ahead_is_void() {
    assert_void(NOW + SKEW, false);
    assert_void(NOW + SKEW + 1, true);
}

#[test]
fn an_active_set_of_any_moment_counts_where_no_set_is_void() {
    for prepared_at in [0, NOW + SKEW + 1, NOW + YEAR, YEAR_9999] {
        for between in BETWEEN {
            let (site, code) = active_of(prepared_at, None);
            let _ = between.run(&site, NOW);
            assert_eq!(site.redeem(&code, NOW), None, "{prepared_at} {between:?}");
        }
    }
}

/// Calls with a site whose set was of the future, by how much, and whether it is removed.
fn each_set_of_the_future(look: impl Fn(&Site, &str, Option<SetId>, i64, bool)) {
    for (ahead, removed) in [(SKEW, false), (SKEW + 1, true), (YEAR, true)] {
        for between in [Between::Prepare, Between::Override, Between::Purge] {
            let (site, code) = active_of(NOW + ahead, Some(NOW));
            let set = site.status(NOW).set;
            let _ = between.run(&site, NOW);
            look(&site, &code, set, ahead, removed);
        }
    }
}

#[test]
fn a_set_void_as_of_the_future_is_removed_with_an_event() {
    each_set_of_the_future(|site, _, set, ahead, removed| {
        let events = site.audit.events();
        let event = events.iter().find(|event| event.kind == EventKind::Revoke);
        let event = event.map(|event| (event.reason, event.set, event.remaining));
        let told = removed.then_some((Some(Reason::Void), set, Some(0)));
        assert_eq!(event, told, "{ahead}");
    });
}

#[test]
fn a_set_void_as_of_the_future_does_not_come_back() {
    each_set_of_the_future(|site, code, _, ahead, removed| {
        let reason = site.redeem(code, NOW + ahead);
        assert_eq!(reason, removed.then_some(Reason::NoCodes));
    });
}

#[test]
fn whatever_is_removed_as_of_the_future_has_an_event() {
    for between in [Between::Purge, Between::Override, Between::Prepare] {
        for used_at in [None, Some(NOW + YEAR)] {
            let mut stored = Stored::usual();
            stored.active.as_mut().unwrap().prepared_at = NOW + YEAR;
            stored.prepared = Some((NOW + YEAR, NOW + 3 * YEAR));
            stored.overriding = Some(Overriding {
                issued_at: NOW + YEAR,
                expires_at: NOW + YEAR + HOUR,
                used_at,
            });
            let record = Template::new().record(&stored);
            let site = Site::holding(&record, config(Some(NOW)));
            let _ = match between {
                Between::Purge => Some(site.force_purge(NOW)).map(|_| ()),
                _ => between.run(&site, NOW).map(|_| ()),
            };
            let events = site.audit.events();
            let void = events
                .iter()
                .filter(|event| event.reason == Some(Reason::Void));
            let void: Vec<EventKind> = void.map(|event| event.kind).collect();
            let mut expected = vec![
                EventKind::RevokeOverride,
                EventKind::Discard,
                EventKind::Revoke,
            ];
            // The others are replaced by something newer, and their events say so.
            let replaced = |kind| match between {
                Between::Override => kind == EventKind::RevokeOverride,
                Between::Prepare => kind == EventKind::Discard,
                Between::Purge | Between::Nothing => false,
            };
            expected.retain(|kind| !replaced(*kind));
            expected.retain(|kind| used_at.is_none() || *kind != EventKind::RevokeOverride);
            assert_eq!(void, expected, "{between:?} {used_at:?}");
        }
    }
}

#[test]
fn a_purge_under_another_configuration_removes_nothing() {
    let site = Site::new();
    let prepared = site.prepare(NOW).id();
    let code = site.issue_override(23 * HOUR, NOW);
    let before = site.record();
    let other = Config::default().with_formats(Formats::new(Format::DIGITS));
    let other = other.with_max_override_lifetime(length(HOUR)).unwrap();
    let node = BackupCodes::new(site.store.clone(), Settings::default(), cheap_hashing());
    let node = node.with_config(other);
    let reports = Reports::new(&node, site.store.clone());
    let purged = block_on(reports.force_purge(&by_admin(NOW + MINUTE))).unwrap();
    assert_eq!((purged.trimmed, site.record()), (0, before));
    assert_eq!(site.redeem(&code, NOW + MINUTE), None);
    assert!(site.activates(prepared, NOW + MINUTE));
}

#[test]
fn the_event_of_a_set_that_a_purge_removes_waits_in_the_store_for_a_durable_sink() {
    let (site, _) = active_of(NOW + YEAR, Some(NOW));
    let unheard = BackupCodes::new(site.store.clone(), Settings::default(), cheap_hashing())
        .with_audit(Lossy::new())
        .with_config(config(Some(NOW)));
    let reports = Reports::new(&unheard, site.store.clone());
    let _ = block_on(reports.force_purge(&by_admin(NOW))).unwrap();
    let events = block_on(site.store.undelivered(10)).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].reason, Some(Reason::Void));
}

#[test]
fn a_clock_from_before_the_moment_removes_no_active_set() {
    let void_before = NOW - DAY;
    for between in [Between::Prepare, Between::Override, Between::Purge] {
        // Clocks may differ by five minutes here too.
        for (now, removed) in [
            (0, false),
            (void_before - YEAR, false),
            (void_before - SKEW - 1, false),
            (void_before - SKEW, true),
            (void_before, true),
        ] {
            let (site, code) = active_of(NOW, Some(void_before));
            let _ = between.run(&site, now);
            assert_eq!(site.voided(), usize::from(removed), "{now} {between:?}");
            let reason = site.redeem(&code, NOW);
            assert_eq!(reason, removed.then_some(Reason::NoCodes));
        }
    }
}
