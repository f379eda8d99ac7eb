//! Each operation that writes, and those that void.

use backup_codes::audit::Reason;
use backup_codes::{Effect, Error, RevokeReason, SetId, Timestamp};
use pollster::block_on;

use crate::comparison::Template;
use crate::rules::in_the_future;
use crate::site::{DAY, HOUR, MINUTE, NOW, SKEW, Site, YEAR, YEAR_9999, by_admin, config, own};
use crate::stored::{CLOCKS, Overriding, Stored};
use crate::support::people::alice;
use crate::support::sheets::{code, wrong};

#[test]
fn every_write_removes_what_is_of_the_future() {
    let mut stored = Stored::usual();
    stored.locked_until = Some(NOW + YEAR);
    stored.prepared = Some((NOW + YEAR, NOW + 3 * YEAR));
    stored.overriding = Some(Overriding {
        issued_at: NOW + YEAR,
        expires_at: NOW + YEAR + HOUR,
        used_at: None,
    });
    let template = Template::new();
    let record = template.record(&stored);
    type Write<'a> = (&'a str, &'a dyn Fn(&Site));
    let writes: [Write<'_>; 7] = [
        ("redeem", &|site| {
            assert_eq!(site.redeem(&code(&template.sheet, 3), NOW), None);
        }),
        ("redeem again", &|site| {
            let refused = site.redeem(&code(&template.sheet, 1), NOW);
            assert_eq!(refused, Some(Reason::Used));
        }),
        ("guess", &|site| {
            assert_eq!(site.redeem(&wrong(), NOW), Some(Reason::Wrong));
        }),
        ("check", &|site| {
            let typed = code(&template.sheet, 3);
            let _ = block_on(site.codes.check(&alice(), &typed, &own(NOW))).unwrap();
        }),
        ("burn", &|site| {
            let typed = code(&template.sheet, 3);
            let _ = block_on(site.codes.burn(&alice(), &typed, &own(NOW))).unwrap();
        }),
        ("unlock", &|site| {
            let (alice, cx) = (alice(), by_admin(NOW));
            let unlocked = block_on(site.codes.unlock(&alice, &cx)).unwrap();
            assert_eq!(unlocked, Effect::Done);
        }),
        ("issue", &|site| {
            let _ = site.issue(NOW);
        }),
    ];
    for (name, write) in writes {
        let site = Site::holding(&record, config(None));
        write(&site);
        let after = site.stored();
        assert!(after["throttle"]["locked_until"].is_null(), "{name}");
        assert!(after["prepared"].is_null(), "{name}");
        assert!(after["override"].is_null(), "{name}");
    }
}

#[test]
fn revoking_voids_what_would_come_into_force_when_the_clock_gets_there() {
    // Either the clock of the revoking machine is behind, or that of the issuing one was ahead.
    for behind in [SKEW + 1, HOUR, YEAR] {
        let site = Site::new();
        let code = site.issue_override(HOUR, NOW);
        let prepared = site.prepare(NOW).id();
        let (alice, cx, why) = (alice(), own(NOW - behind), RevokeReason::FactorRemoved);
        let revoked = block_on(site.codes.revoke_all(&alice, why, &cx)).unwrap();
        assert!(revoked.is_some(), "{behind}");
        let refused = site.redeem(&code, NOW + MINUTE);
        assert_eq!(refused, Some(Reason::NoOverride), "{behind}");
        assert!(!site.activates(prepared, NOW + MINUTE), "{behind}");
        let again = block_on(site.codes.revoke_all(&alice, why, &cx)).unwrap();
        assert_eq!(again, None, "a second call does no harm");
    }
}

#[test]
fn revoking_voids_an_override_alone_that_would_come_into_force() {
    let site = Site::new();
    let code = site.issue_override(HOUR, NOW + YEAR);
    let (alice, cx, why) = (alice(), own(NOW), RevokeReason::FactorRemoved);
    let revoked = block_on(site.codes.revoke_all(&alice, why, &cx)).unwrap();
    assert!(revoked.is_some());
    let refused = site.redeem(&code, NOW + YEAR + MINUTE);
    assert_eq!(refused, Some(Reason::NoOverride));
}

#[test]
fn revoking_voids_a_prepared_set_alone_that_could_be_activated_later() {
    let site = Site::new();
    let prepared = site.prepare(NOW + YEAR).id();
    let (alice, cx, why) = (alice(), own(NOW), RevokeReason::FactorRemoved);
    let revoked = block_on(site.codes.revoke_all(&alice, why, &cx)).unwrap();
    assert!(revoked.is_some());
    assert!(!site.activates(prepared, NOW + YEAR + MINUTE));
}

#[test]
fn an_override_that_would_come_into_force_can_be_voided_alone() {
    for behind in [SKEW + 1, HOUR, YEAR] {
        let site = Site::new();
        let code = site.issue_override(HOUR, NOW);
        let (alice, cx) = (alice(), by_admin(NOW - behind));
        let revoked = block_on(site.codes.revoke_override(&alice, &cx)).unwrap();
        assert_eq!(revoked, Effect::Done);
        let refused = site.redeem(&code, NOW + MINUTE);
        assert_eq!(refused, Some(Reason::NoOverride), "{behind}");
    }
}

#[test]
fn a_prepared_set_that_could_be_activated_later_can_be_discarded() {
    for behind in [SKEW + 1, HOUR, YEAR] {
        let site = Site::new();
        let prepared = site.prepare(NOW).id();
        let other = SetId::from_bytes([9; 16]);
        for (set, effect) in [(other, Effect::Nothing), (prepared, Effect::Done)] {
            let discarded = block_on(site.codes.discard(&alice(), set, &own(NOW - behind)));
            assert_eq!(discarded.unwrap(), effect, "{behind}");
        }
        assert!(!site.activates(prepared, NOW + MINUTE), "{behind}");
    }
}

#[test]
fn revoking_where_nothing_is_stored_writes_nothing() {
    let site = Site::new();
    let code = site.issue_override(HOUR, NOW);
    assert_eq!(site.redeem(&code, NOW), None);
    let before = site.record();
    let (alice, cx, why) = (alice(), own(NOW), RevokeReason::FactorRemoved);
    for _ in 0..2 {
        let revoked = block_on(site.codes.revoke_all(&alice, why, &cx)).unwrap();
        assert_eq!((revoked, site.record()), (None, before.clone()));
    }
}

#[test]
fn an_erased_user_stays_erased_whatever_clock_wrote_the_tombstone() {
    for clock in CLOCKS {
        let mut erased = NOW;
        clock.on(&mut erased);
        let site = Site::new();
        let sheet = site.issue(NOW - MINUTE);
        let _ = block_on(site.codes.erase(&alice(), &by_admin(erased))).unwrap();
        for now in [NOW, erased, 0, YEAR_9999] {
            let issued = block_on(site.codes.issue(&alice(), &own(now)));
            assert!(matches!(issued, Err(Error::Erased)), "{clock:?} {now}");
            assert_eq!(site.redeem(&code(&sheet, 1), now), Some(Reason::NoCodes));
        }
        // A moment of the future becomes that of a forced purge, or the grace might never end.
        let before = site.record();
        let ahead = in_the_future(erased, NOW);
        let purged = site.purge(NOW).unwrap();
        let expected = (usize::from(erased + 30 * DAY <= NOW), usize::from(ahead));
        assert_eq!((purged.removed, purged.ahead), expected, "{clock:?}");
        if ahead {
            assert_eq!(site.record(), before, "{clock:?}");
            assert_eq!(site.force_purge(NOW).removed, 0);
        }
        if erased + 30 * DAY > NOW {
            let from = if ahead { NOW } else { erased };
            assert_eq!(site.stored()["erased_at"], from);
            for (now, removed) in [(0, 0), (from + 30 * DAY - 1, 0), (from + 30 * DAY, 1)] {
                let site = Site::holding(&site.record(), config(None));
                assert_eq!(site.purge(now).unwrap().removed, removed, "{clock:?} {now}");
                let late = block_on(site.codes.issue(&alice(), &own(NOW)));
                assert_eq!(late.is_ok(), removed == 1);
            }
        }
    }
}

#[test]
fn at_the_end_of_time_everything_works_but_what_needs_a_later_moment() {
    let now = Timestamp::MAX.unix_millis();
    let site = Site::under(config(Some(NOW)));
    let sheet = site.issue(now);
    assert_eq!(site.redeem(&code(&sheet, 1), now), None);
    let prepared = site.prepare(now);
    assert!(site.activates(prepared.id(), now));
    assert_eq!(site.redeem(&code(&prepared, 2), now), None);
    let code = site.issue_override(HOUR, now);
    assert_eq!(site.redeem(&code, now), Some(Reason::Expired));
    assert_eq!(site.purge(now).unwrap().trimmed, 1);
}
