//! What was reported.

use backup_codes::audit::Reason;
use backup_codes::{Context, Error, Periods, Redeem};
use pollster::block_on;
use serde_json::{Value, json};

use crate::comparison::Template;
use crate::site::{
    BETWEEN, Between, DAY, HOUR, KEPT, LAST_QUARTER, MINUTE, NOW, QUARTER, SKEW, Site, YEAR,
    YEAR_9999, by_admin, config, millis,
};
use crate::stored::Stored;
use crate::support::moments::at;
use crate::support::people::bob;
use crate::support::sheets::{code, wrong};

#[test]
fn a_lock_of_a_clock_a_year_ahead_ends_when_the_clock_is_set_right() {
    for (later, between) in [0, DAY, 363 * DAY, 364 * DAY]
        .into_iter()
        .flat_map(|later| BETWEEN.map(|between| (later, between)))
    {
        let site = Site::new();
        let sheet = site.issue(NOW);
        for _ in 0..10 {
            assert_eq!(site.redeem(&wrong(), NOW + YEAR), Some(Reason::Wrong));
        }
        let right = code(&sheet, 1);
        assert_eq!(site.redeem(&right, NOW + YEAR), Some(Reason::Locked));
        let _ = between.run(&site, NOW + later);
        let status = site.status(NOW + later);
        assert_eq!(
            (status.locked_until, status.wrong_in_a_row),
            (None, 10),
            "the lock ends, the count stays"
        );
        assert_eq!(
            site.redeem(&right, NOW + later),
            None,
            "{later} {between:?}"
        );
        assert_eq!(site.redeem(&code(&sheet, 2), NOW + YEAR), None);
    }
}

#[test]
fn a_lock_of_a_clock_a_year_ahead_does_not_come_back_once_something_was_written() {
    for between in BETWEEN {
        let site = Site::new();
        let sheet = site.issue(NOW);
        for _ in 0..10 {
            let _ = site.redeem(&wrong(), NOW + YEAR);
        }
        let _ = between.run(&site, NOW);
        let locked = (between == Between::Nothing).then_some(Reason::Locked);
        let right = code(&sheet, 1);
        assert_eq!(
            site.redeem(&right, NOW + YEAR + MINUTE),
            locked,
            "{between:?}"
        );
    }
}

#[test]
fn wrong_clocks_give_no_more_than_a_hundred_wrong_codes() {
    let site = Site::new();
    let sheet = site.issue(NOW);
    let clocks = [NOW, NOW + YEAR, 0, YEAR_9999, NOW - HOUR, NOW + HOUR];
    let mut told = 0;
    for round in 0..1000 {
        let now = clocks[round % clocks.len()];
        if site.redeem(&wrong(), now) == Some(Reason::Wrong) {
            told += 1;
        }
        if round % 7 == 0 {
            let _ = site.force_purge(clocks[round / 7 % clocks.len()]);
        }
    }
    assert_eq!(told, 100);
    for now in clocks {
        assert_eq!(site.redeem(&code(&sheet, 1), now), Some(Reason::Disabled));
    }
}

#[test]
fn an_override_of_a_clock_a_year_ahead_is_refused_300_days_later() {
    for later in [0, HOUR, 300 * DAY, YEAR - HOUR] {
        for between in BETWEEN {
            let site = Site::new();
            let _ = site.issue(NOW - DAY);
            let code = site.issue_override(HOUR, NOW + YEAR);
            let _ = between.run(&site, NOW);
            let expected = match between {
                Between::Override if later >= HOUR => Reason::Expired,
                // A new override is there, and this is not its code.
                Between::Override => Reason::Wrong,
                _ => Reason::NoOverride,
            };
            let refused = site.redeem(&code, NOW + later);
            assert_eq!(refused, Some(expected), "{later} {between:?}");
        }
    }
}

#[test]
fn an_override_of_a_clock_a_year_ahead_does_not_come_into_force_once_something_was_written() {
    for between in BETWEEN {
        let site = Site::new();
        let sheet = site.issue(NOW - DAY);
        let code = site.issue_override(HOUR, NOW + YEAR);
        let _ = between.run(&site, NOW);
        let untouched = between == Between::Nothing;
        let redeemed = site.redeem(&code, NOW + YEAR + MINUTE);
        assert_eq!(redeemed.is_none(), untouched, "{between:?}");
        // The sheet is as good as ever.
        assert_eq!(
            site.redeem(&self::code(&sheet, 1), NOW + YEAR + MINUTE),
            None
        );
    }
}

#[test]
fn a_redeem_under_the_year_9999_leaves_the_earlier_uses_in_the_figures() {
    let site = Site::new();
    let sheet = site.issue(NOW);
    assert_eq!(site.redeem(&code(&sheet, 1), NOW), None);
    assert_eq!(site.redeem(&code(&sheet, 2), YEAR_9999), None);
    let today = {
        let day = NOW - NOW % DAY;
        let day = at(day)..at(day + DAY);
        Periods::new(day.clone(), day, &[]).unwrap()
    };
    let figures = block_on(site.reports().usage(today, &by_admin(NOW))).unwrap();
    assert_eq!((figures.used_today, site.usage(NOW).used_today), (1, 2));
    assert_eq!(millis(site.row(NOW).last_used_at), Some(YEAR_9999));
    // The next use is the latest one, whatever was stored.
    assert_eq!(site.redeem(&code(&sheet, 3), NOW + DAY), None);
    let last = (site.row(NOW).last_used_at, site.status(NOW).last_used_at);
    assert_eq!(last, (Some(at(NOW + DAY)), Some(at(NOW + DAY))));
    assert_eq!(site.purge(NOW + DAY).unwrap().trimmed, 0);
    assert_eq!(site.usage(NOW + DAY).used_today, 3);
}

#[test]
fn an_activation_under_the_year_9999_leaves_the_uses_in_the_figures() {
    let site = Site::new();
    let sheet = site.issue(NOW);
    assert_eq!(site.redeem(&code(&sheet, 1), NOW), None);
    let prepared = site.prepare(YEAR_9999);
    assert!(site.activates(prepared.id(), YEAR_9999));
    assert_eq!(site.usage(NOW).used_today, 1);
    assert_eq!(
        site.redeem(&code(&prepared, 1), NOW),
        None,
        "it goes on counting"
    );
    assert_eq!(site.usage(NOW).used_today, 2);
}

/// A use, and the record and the error of a purge under a clock that is 500 days ahead.
fn refused_purge() -> (Site, String, Error) {
    let site = Site::new();
    let sheet = site.issue(NOW);
    assert_eq!(site.redeem(&code(&sheet, 1), NOW + MINUTE), None);
    let before = site.record();
    let error = site.purge(NOW + 500 * DAY).unwrap_err();
    assert!(matches!(error, Error::ClockAhead { .. }));
    (site, before, error)
}

#[test]
fn a_purge_under_a_clock_500_days_ahead_removes_nothing() {
    let (site, before, _) = refused_purge();
    assert_eq!(site.record(), before);
    assert_eq!(site.usage(NOW).used_today, 1);
}

#[test]
fn a_refused_purge_names_the_newest_moments() {
    let (.., error) = refused_purge();
    assert_eq!(
        error.to_string(),
        "the time is 2028-02-03T14:13:20.000Z, but the newest use is of 2026-09-21T14:14:20.000Z \
         and the newest activation of 2026-09-21T14:13:20.000Z: check the clock, then purge again, \
         or force it"
    );
}

#[test]
fn a_refused_purge_can_be_forced() {
    let (site, ..) = refused_purge();
    assert_eq!(site.force_purge(NOW + 500 * DAY).trimmed, 1);
    assert_eq!(site.usage(NOW).used_today, 0);
}

#[test]
fn a_refused_purge_says_that_there_was_no_use() {
    let site = Site::new();
    let _ = site.issue(NOW);
    let error = site.purge(NOW + 500 * DAY).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the time is 2028-02-03T14:13:20.000Z, but the newest use is of none and the newest \
         activation of 2026-09-21T14:13:20.000Z: check the clock, then purge again, or force it"
    );
}

#[test]
fn a_moment_of_the_future_does_not_make_a_clock_credible_that_is_500_days_ahead() {
    for (activated, used) in [(NOW, YEAR_9999), (YEAR_9999, NOW), (NOW + 600 * DAY, NOW)] {
        let site = Site::new();
        let sheet = site.issue(activated);
        assert_eq!(site.redeem(&code(&sheet, 1), used), None);
        let bob = bob();
        let _ = block_on(site.codes.issue(&bob, &Context::new(at(NOW), &bob))).unwrap();
        let before = site.record();
        let error = site.purge(NOW + 500 * DAY).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the time is 2028-02-03T14:13:20.000Z, but the newest use is of {} and the newest \
                 activation of 2026-09-21T14:13:20.000Z: check the clock, then purge again, or \
                 force it",
                if used == NOW {
                    "2026-09-21T14:13:20.000Z"
                } else {
                    "none"
                },
            )
        );
        assert_eq!(site.record(), before);
        assert!(site.purge(NOW + KEPT).is_ok());
    }
}

#[test]
fn a_purge_goes_by_the_newest_moment_that_is_not_in_the_future_to_the_millisecond() {
    for (activated, believed) in [
        (NOW + SKEW - 1, true),
        (NOW + SKEW, true),
        // Nothing is left to compare with, as where nobody has codes.
        (NOW + SKEW + 1, true),
        (NOW + SKEW + 2, true),
        (YEAR_9999, true),
        (NOW - KEPT, true),
        (NOW - KEPT - 1, false),
    ] {
        let site = Site::new();
        let _ = site.issue(activated);
        assert_eq!(site.purge(NOW).is_ok(), believed, "{activated}");
    }
}

#[test]
fn a_purge_under_a_clock_that_is_ahead_forgets_no_use_that_is_not_old() {
    for ahead in [MINUTE, HOUR, 100 * DAY, YEAR, KEPT] {
        let site = Site::new();
        let sheet = site.issue(NOW - KEPT - DAY);
        let uses = [NOW - KEPT - HOUR, NOW - KEPT, NOW];
        for (number, used_at) in (1..).zip(uses) {
            assert_eq!(site.redeem(&code(&sheet, number), used_at), None);
        }
        assert_eq!(site.purge(NOW + ahead).unwrap().trimmed, 1, "{ahead}");
        let kept = uses[1..]
            .iter()
            .map(|used_at| json!([used_at / QUARTER, 1]));
        assert_eq!(site.stored()["uses"], kept.collect::<Value>(), "{ahead}");
    }
}

#[test]
fn a_use_or_an_activation_of_anybody_makes_the_uses_of_everybody_older() {
    for (used, activated) in [(Some(NOW + 30 * DAY), NOW), (None, NOW + 30 * DAY)] {
        let site = Site::new();
        let sheet = site.issue(NOW - KEPT);
        assert_eq!(site.redeem(&code(&sheet, 1), NOW - KEPT + DAY), None);
        assert_eq!(site.redeem(&code(&sheet, 2), NOW), None);
        assert_eq!(site.purge(NOW + 300 * DAY).unwrap().trimmed, 0);
        let bob = bob();
        let of_bob = block_on(site.codes.issue(&bob, &Context::new(at(activated), &bob)));
        if let Some(used) = used {
            let code = code(&of_bob.unwrap().sheet, 1);
            let cx = Context::new(at(used), &bob);
            let redeemed = block_on(site.codes.redeem(&bob, &code, &cx)).unwrap();
            assert!(matches!(redeemed, Redeem::Accepted(_)), "{redeemed:?}");
        }
        assert_eq!(site.purge(NOW + 300 * DAY).unwrap().trimmed, 1);
    }
}

#[test]
fn a_purge_leaves_sets_of_the_future_until_somebody_vouches_for_the_clock() {
    let void_before = NOW - 50 * MINUTE;
    for (behind, ahead) in [
        (SKEW, 0),
        (SKEW + 1, 1),
        (55 * MINUTE, 1),
        // From before the moment: such a clock says nothing.
        (HOUR, 0),
    ] {
        let site = Site::under(config(Some(void_before)));
        let sheet = site.issue(NOW);
        let before = site.record();
        let purged = site.purge(NOW - behind).unwrap();
        assert_eq!((purged.trimmed, purged.ahead), (0, ahead), "{behind}");
        assert_eq!(site.record(), before);
        assert_eq!(site.redeem(&code(&sheet, 1), NOW), None);
    }
    // The clock is right, and one set is not: everybody else is purged, day by day.
    let site = Site::under(config(Some(void_before)));
    let _ = site.issue(NOW + YEAR);
    let bob = bob();
    let _ = block_on(site.codes.prepare(&bob, &Context::new(at(NOW), &bob))).unwrap();
    let purged = site.purge(NOW + HOUR).unwrap();
    assert_eq!((purged.trimmed, purged.ahead, site.voided()), (1, 1, 0));
    let forced = site.force_purge(NOW + HOUR);
    assert_eq!((forced.trimmed, forced.ahead, site.voided()), (1, 0, 1));
    assert_eq!(site.purge(NOW + HOUR).unwrap().ahead, 0);
}

#[test]
fn a_purge_without_any_use_or_activation_is_never_refused() {
    let site = Site::new();
    let _ = site.prepare(NOW);
    assert_eq!(site.purge(YEAR_9999).unwrap().trimmed, 1);
}

#[test]
fn a_purge_is_refused_from_the_millisecond_after_uses_are_kept() {
    for (use_at, activated) in [(Some(NOW), NOW - DAY), (None, NOW), (Some(NOW - DAY), NOW)] {
        let site = Site::new();
        let sheet = site.issue(activated);
        if let Some(use_at) = use_at {
            assert_eq!(site.redeem(&code(&sheet, 1), use_at), None);
        }
        assert!(site.purge(NOW + KEPT).is_ok(), "{use_at:?} {activated}");
        let refused = site.purge(NOW + KEPT + 1);
        assert!(matches!(refused, Err(Error::ClockAhead { .. })));
    }
}

#[test]
fn a_purge_removes_no_use_for_lying_in_the_future() {
    for use_at in [NOW + 1, NOW + HOUR, NOW + YEAR, YEAR_9999] {
        let site = Site::new();
        let sheet = site.issue(NOW);
        assert_eq!(site.redeem(&code(&sheet, 1), use_at), None);
        for now in [NOW, 0] {
            let _ = site.purge(now).unwrap();
            let _ = site.force_purge(now);
            assert_eq!(site.usage(NOW).used_today, 1, "{use_at} {now}");
        }
    }
}

#[test]
fn only_purging_forgets_uses_by_their_age() {
    let site = Site::new();
    let sheet = site.issue(NOW);
    assert_eq!(site.redeem(&code(&sheet, 1), NOW), None);
    let later = NOW + 2 * KEPT;
    assert_eq!(site.redeem(&code(&sheet, 2), later), None);
    let prepared = site.prepare(later);
    assert!(site.activates(prepared.id(), later));
    let _ = site.issue_override(HOUR, later);
    assert_eq!(site.usage(later).used_today, 2);
    assert_eq!(site.purge(later).unwrap().trimmed, 1);
    assert_eq!(site.usage(later).used_today, 1);
}

#[test]
fn redeeming_keeps_the_newest_uses_up_to_their_greatest_number() {
    // The quarter hours of 62 days, and the one that has begun.
    let most = 62 * 96 + 1;
    let first = NOW - 1000 * DAY;
    // Where the use is the oldest of all, it is the one to go.
    for (now, dropped) in [(NOW, true), (YEAR_9999, true), (0, false)] {
        let template = Template::new();
        let mut stored = Stored::usual();
        // Otherwise it has expired in the year 9999.
        stored.active.as_mut().unwrap().expires_at = LAST_QUARTER;
        stored.uses = (0..most).map(|number| first + number * QUARTER).collect();
        let site = Site::holding(&template.record(&stored), config(None));
        assert_eq!(site.redeem(&code(&template.sheet, 3), now), None);
        let uses = site.stored()["uses"].as_array().unwrap().clone();
        let oldest = first / QUARTER + i64::from(dropped);
        assert_eq!(uses.len(), usize::try_from(most).unwrap(), "{now}");
        assert_eq!(uses[0][0], oldest, "{now}");
    }
}
