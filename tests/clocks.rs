//! A record is written by a machine whose clock was wrong, and read after it was set right.
//!
//! Every moment that is stored, in every direction: what is accepted, refused and shown then is
//! compared with the rules as they are stated, which are written down here once more and not taken
//! from the crate.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use backup_codes::audit::{EventKind, MemoryAudit, Reason};
use backup_codes::policy::Denial;
use backup_codes::report::UserRow;
use backup_codes::repository::{CodeRepository, Record};
use backup_codes::{
    Activation, BackupCodes, Config, Context, Effect, Error, Format, Formats, MemoryRepository,
    Periods, Purged, Redeem, Reports, RevokeReason, SavedSettings, SetId, SetSize, Settings,
    SettingsSaved, SharedSettings, Sheet, Status, Timestamp, Usage, UserFilter, UsersQuery,
};
use pollster::block_on;
use serde_json::{Value, json};
use support::checksum::sum_again;
use support::hashing::cheap_hashing;
use support::moments::{START, at};
use support::people::{alice, bob};
use support::sheets::{code, wrong};
use support::sinks::Lossy;
use support::{contexts, operations, records};

// Moments, in milliseconds since 1970.

/// The right time, where nothing else is said.
const NOW: i64 = START;
const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
/// A second into the year 9999.
const YEAR_9999: i64 = 253_370_764_801_000;
/// The last quarter of an hour that there is.
const LAST_QUARTER: i64 = 253_402_299_900_000;

/// How far two clocks may differ.
const SKEW: i64 = 5 * MINUTE;
const LOCK: i64 = 30 * MINUTE;
const QUARTER: i64 = 15 * MINUTE;
/// How long uses are kept by default.
const KEPT: i64 = 400 * DAY;

fn millis(moment: Option<Timestamp>) -> Option<i64> {
    moment.map(Timestamp::unix_millis)
}

fn length(millis: i64) -> Duration {
    Duration::from_millis(millis.try_into().unwrap())
}

// The site: operations over a repository.

fn own(now: i64) -> Context {
    contexts::own(at(now))
}

fn by_admin(now: i64) -> Context {
    contexts::by_admin(at(now))
}

fn config(void_before: Option<i64>) -> Config {
    let config = operations::config().with_set_size(SetSize::new(3).unwrap());
    match void_before {
        Some(moment) => config.with_void_before(at(moment)),
        None => config,
    }
}

/// All of time, so that no use is left out for when it was.
fn always() -> Periods {
    let all = at(0)..at(LAST_QUARTER);
    Periods::new(all.clone(), all, &[]).unwrap()
}

struct Site {
    codes: BackupCodes,
    store: MemoryRepository,
    audit: MemoryAudit,
}

impl Site {
    fn new() -> Self {
        Self::under(config(None))
    }

    fn under(config: Config) -> Self {
        let (store, audit) = (MemoryRepository::new(), MemoryAudit::new());
        let codes = BackupCodes::new(store.clone(), Settings::default(), cheap_hashing())
            .with_audit(audit.clone())
            .with_config(config);
        Self {
            codes,
            store,
            audit,
        }
    }

    /// A site whose store holds this record of Alice.
    fn holding(record: &str, config: Config) -> Self {
        let site = Self::under(config);
        let summary = Record::from_json(record).unwrap().summary();
        records::insert(&site.store, alice().id(), record, &summary);
        site
    }

    fn reports(&self) -> Reports {
        Reports::new(&self.codes, self.store.clone())
    }

    fn record(&self) -> String {
        records::load(&self.store).record
    }

    fn stored(&self) -> Value {
        serde_json::from_str(&self.record()).unwrap()
    }

    fn issue(&self, now: i64) -> Sheet {
        block_on(self.codes.issue(&alice(), &own(now)))
            .unwrap()
            .sheet
    }

    fn prepare(&self, now: i64) -> Sheet {
        block_on(self.codes.prepare(&alice(), &own(now))).unwrap()
    }

    fn issue_override(&self, lifetime: i64, now: i64) -> String {
        let (alice, cx) = (alice(), by_admin(now));
        let issued = self.codes.issue_override(&alice, length(lifetime), &cx);
        block_on(issued).unwrap().expose().to_string()
    }

    /// `None` where the code is accepted.
    fn redeem(&self, typed: &str, now: i64) -> Option<Reason> {
        match block_on(self.codes.redeem(&alice(), typed, &own(now))).unwrap() {
            Redeem::Accepted(_) => None,
            Redeem::Refused(refusal) => Some(refusal.reason()),
            other => panic!("{other:?}"),
        }
    }

    fn activates(&self, set: SetId, now: i64) -> bool {
        match block_on(self.codes.activate(&alice(), set, &own(now))).unwrap() {
            Activation::Activated(_) => true,
            Activation::NoSuchSet => false,
            other => panic!("{other:?}"),
        }
    }

    fn status(&self, now: i64) -> Status {
        block_on(self.codes.status(&alice(), &own(now))).unwrap()
    }

    fn row(&self, now: i64) -> UserRow {
        let query = UsersQuery::new(at(now)).filter(UserFilter::Every);
        let rows = block_on(self.reports().users(query, &by_admin(now))).unwrap();
        rows.into_iter()
            .find(|row| &row.user == alice().id())
            .unwrap()
    }

    fn usage(&self, now: i64) -> Usage {
        block_on(self.reports().usage(always(), &by_admin(now))).unwrap()
    }

    fn purge(&self, now: i64) -> Result<Purged, Error> {
        block_on(self.reports().purge(&by_admin(now)))
    }

    fn force_purge(&self, now: i64) -> Purged {
        block_on(self.reports().force_purge(&by_admin(now))).unwrap()
    }

    /// Sets that were removed because their moment lies in the future, by the events of it.
    fn voided(&self) -> usize {
        let events = self.audit.events();
        let voided = events
            .iter()
            .filter(|event| event.kind == EventKind::Revoke && event.reason == Some(Reason::Void));
        voided.count()
    }
}

// What was reported.

/// What happens between the moment at which the clock is set right and the one that it once showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    Prepare,
    Override,
    Purge,
}

const BETWEEN: [Between; 4] = [
    Between::Nothing,
    Between::Prepare,
    Between::Override,
    Between::Purge,
];

impl Between {
    /// Does it; the override code, if there is a new one.
    fn run(self, site: &Site, now: i64) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Prepare => {
                let _ = site.prepare(now);
                None
            }
            Self::Override => Some(site.issue_override(HOUR, now)),
            Self::Purge => {
                let _ = site.force_purge(now);
                None
            }
        }
    }
}

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

// Every stored moment, moved.

/// What is stored of Alice, as plain numbers.
#[derive(Debug, Clone)]
struct Stored {
    active: Option<Active>,
    /// When it was prepared, and when it expires.
    prepared: Option<(i64, i64)>,
    overriding: Option<Overriding>,
    wrong_in_a_row: u8,
    locked_until: Option<i64>,
    disabled_at: Option<i64>,
    uses: Vec<i64>,
    last_used_at: i64,
    revoked_at: i64,
}

#[derive(Debug, Clone)]
struct Active {
    prepared_at: i64,
    activated_at: i64,
    expires_at: i64,
    proved_at: i64,
    /// Of code 1.
    used_at: i64,
    /// Of code 2. Code 3 is good.
    burned_at: i64,
}

#[derive(Debug, Clone)]
struct Overriding {
    issued_at: i64,
    expires_at: i64,
    used_at: Option<i64>,
}

impl Stored {
    fn usual() -> Self {
        Self {
            active: Some(Active {
                prepared_at: NOW - 40 * MINUTE,
                activated_at: NOW - 39 * MINUTE,
                expires_at: NOW + 2 * YEAR,
                proved_at: NOW - 37 * MINUTE,
                used_at: NOW - 38 * MINUTE,
                burned_at: NOW - 36 * MINUTE,
            }),
            prepared: Some((NOW - 10 * MINUTE, NOW + 2 * YEAR)),
            overriding: Some(Overriding {
                issued_at: NOW - 9 * MINUTE,
                expires_at: NOW + 3 * HOUR,
                used_at: None,
            }),
            wrong_in_a_row: 3,
            locked_until: None,
            disabled_at: None,
            uses: vec![NOW - 38 * MINUTE],
            last_used_at: NOW - 38 * MINUTE,
            revoked_at: NOW - 41 * MINUTE,
        }
    }

    fn locked() -> Self {
        Self {
            wrong_in_a_row: 10,
            locked_until: Some(NOW + 20 * MINUTE),
            ..Self::usual()
        }
    }

    fn disabled() -> Self {
        Self {
            wrong_in_a_row: 100,
            disabled_at: Some(NOW - 8 * MINUTE),
            ..Self::usual()
        }
    }

    fn overridden() -> Self {
        let mut stored = Self::usual();
        stored.overriding.as_mut().unwrap().used_at = Some(NOW - 7 * MINUTE);
        stored
    }
}

/// Which clock wrote it.
#[derive(Debug, Clone, Copy)]
enum Clock {
    Off(i64),
    Showed(i64),
}

const CLOCKS: [Clock; 9] = [
    Clock::Off(0),
    Clock::Off(MINUTE),
    Clock::Off(HOUR),
    Clock::Off(YEAR),
    Clock::Showed(YEAR_9999),
    Clock::Off(-MINUTE),
    Clock::Off(-HOUR),
    Clock::Off(-YEAR),
    Clock::Showed(0),
];

impl Clock {
    fn on(self, moment: &mut i64) {
        *moment = match self {
            Self::Off(by) => *moment + by,
            Self::Showed(moment) => moment,
        };
    }
}

/// One stored moment, or all that one operation or one clock writes.
struct Moment {
    name: &'static str,
    stored: fn() -> Stored,
    /// The moment itself.
    shown: fn(&Stored) -> i64,
    write: fn(&mut Stored, Clock),
}

macro_rules! moment {
    ($name:literal, $stored:ident, $stored_name:ident => $($place:expr),+) => {
        Moment {
            name: $name,
            stored: Stored::$stored,
            shown: |stored| {
                let mut copy = stored.clone();
                let $stored_name = &mut copy;
                let places = [$(&mut $place),+];
                *places[0]
            },
            write: |stored, clock| {
                let $stored_name = stored;
                $(clock.on(&mut $place);)+
            },
        }
    };
}

fn moments() -> Vec<Moment> {
    macro_rules! active {
        ($s:ident) => {
            $s.active.as_mut().unwrap()
        };
    }
    macro_rules! code {
        ($s:ident) => {
            $s.overriding.as_mut().unwrap()
        };
    }
    vec![
        moment!("active, prepared", usual, s => active!(s).prepared_at),
        moment!("active, activated", usual, s => active!(s).activated_at),
        moment!("active, expires", usual, s => active!(s).expires_at),
        moment!("active, proved", usual, s => active!(s).proved_at),
        moment!("code used", usual, s => active!(s).used_at),
        moment!("code burned", usual, s => active!(s).burned_at),
        moment!("prepared set, prepared", usual, s => s.prepared.as_mut().unwrap().0),
        moment!("prepared set, expires", usual, s => s.prepared.as_mut().unwrap().1),
        moment!("override, issued", usual, s => code!(s).issued_at),
        moment!("override, expires", usual, s => code!(s).expires_at),
        moment!("override, used", overridden, s => *code!(s).used_at.as_mut().unwrap()),
        moment!("locked until", locked, s => *s.locked_until.as_mut().unwrap()),
        moment!("disabled", disabled, s => *s.disabled_at.as_mut().unwrap()),
        moment!("use", usual, s => s.uses[0]),
        moment!("last used", usual, s => s.last_used_at),
        moment!("revoked", usual, s => s.revoked_at),
    ]
}

/// What one operation writes at once.
fn operations() -> Vec<Moment> {
    fn shift(moment: &mut i64, clock: Clock, now: i64) {
        let mut clock_now = now;
        clock.on(&mut clock_now);
        *moment = (*moment - now + clock_now).clamp(0, LAST_QUARTER);
    }
    vec![
        Moment {
            name: "activating",
            stored: Stored::usual,
            shown: |stored| stored.active.as_ref().unwrap().prepared_at,
            write: |stored, clock| {
                let active = stored.active.as_mut().unwrap();
                let now = active.prepared_at;
                for moment in [
                    &mut active.prepared_at,
                    &mut active.activated_at,
                    &mut active.expires_at,
                ] {
                    shift(moment, clock, now);
                }
            },
        },
        Moment {
            name: "preparing",
            stored: Stored::usual,
            shown: |stored| stored.prepared.unwrap().0,
            write: |stored, clock| {
                let (prepared, expires) = stored.prepared.as_mut().unwrap();
                let now = *prepared;
                shift(prepared, clock, now);
                shift(expires, clock, now);
            },
        },
        Moment {
            name: "issuing an override",
            stored: Stored::usual,
            shown: |stored| stored.overriding.as_ref().unwrap().issued_at,
            write: |stored, clock| {
                let code = stored.overriding.as_mut().unwrap();
                let now = code.issued_at;
                shift(&mut code.issued_at, clock, now);
                shift(&mut code.expires_at, clock, now);
            },
        },
        Moment {
            name: "redeeming",
            stored: Stored::usual,
            shown: |stored| stored.last_used_at,
            write: |stored, clock| {
                let active = stored.active.as_mut().unwrap();
                for moment in [
                    &mut active.used_at,
                    &mut active.proved_at,
                    &mut stored.uses[0],
                    &mut stored.last_used_at,
                ] {
                    clock.on(moment);
                }
            },
        },
    ]
}

// The rules, once more.

fn in_the_future(moment: i64, now: i64) -> bool {
    moment > now + SKEW
}

fn void(moment: i64, void_before: Option<i64>, now: i64) -> bool {
    void_before.is_some_and(|first| moment < first || in_the_future(moment, now))
}

fn lock_in_force(until: i64, now: i64) -> bool {
    now < until && until <= now + LOCK + SKEW
}

/// Why an override is refused.
fn override_refused(code: &Overriding, void_before: Option<i64>, now: i64) -> Option<Reason> {
    if now >= code.expires_at {
        Some(Reason::Expired)
    } else if void(code.issued_at, void_before, now) {
        Some(Reason::Void)
    } else if code.used_at.is_some()
        || in_the_future(code.issued_at, now)
        || code.expires_at > code.issued_at + DAY
    {
        Some(Reason::NoOverride)
    } else {
        None
    }
}

fn set_refused(prepared: i64, expires: i64, void_before: Option<i64>, now: i64) -> Option<Reason> {
    if now >= expires {
        Some(Reason::Expired)
    } else {
        void(prepared, void_before, now).then_some(Reason::Void)
    }
}

fn can_be_activated(set: (i64, i64), void_before: Option<i64>, now: i64) -> bool {
    let (prepared, expires) = set;
    !in_the_future(prepared, now)
        && now - prepared < HOUR
        && set_refused(prepared, expires, void_before, now).is_none()
}

/// What a write at this time removes; whether it removes the active set.
fn forget_the_future(stored: &mut Stored, void_before: Option<i64>, now: i64) -> bool {
    stored
        .locked_until
        .take_if(|until| *until > now + LOCK + SKEW);
    stored
        .prepared
        .take_if(|(prepared, _)| in_the_future(*prepared, now));
    // No node allows more than a week.
    stored.overriding.take_if(|code| {
        in_the_future(code.issued_at, now) || code.expires_at > code.issued_at + 7 * DAY
    });
    let believed = void_before.is_some_and(|first| now + SKEW >= first);
    let removed = stored
        .active
        .take_if(|set| believed && in_the_future(set.prepared_at, now));
    removed.is_some()
}

/// What is stored after it; whether the active set was removed.
fn after(between: Between, stored: &mut Stored, void_before: Option<i64>, now: i64) -> bool {
    match between {
        Between::Nothing => return false,
        // Sets do not expire by themselves here.
        Between::Prepare => stored.prepared = Some((now, i64::MAX)),
        Between::Override => {
            stored.overriding = Some(Overriding {
                issued_at: now,
                expires_at: now + HOUR,
                used_at: None,
            });
        }
        Between::Purge => {
            let oldest = (now - KEPT) / QUARTER;
            stored.uses.retain(|used| used / QUARTER >= oldest);
            stored
                .prepared
                .take_if(|set| !can_be_activated(*set, void_before, now));
            stored.overriding.take_if(|code| {
                let refused = override_refused(code, void_before, now);
                matches!(refused, Some(Reason::Expired | Reason::Void))
            });
        }
    }
    forget_the_future(stored, void_before, now)
}

/// All that is accepted, refused and shown.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// `None` is accepted.
    code_used: Option<Reason>,
    code_burned: Option<Reason>,
    code_good: Option<Reason>,
    override_code: Option<Reason>,
    activated: bool,
    /// After the good code was tried.
    last_used_after: Option<i64>,
    uses_after: u64,
    /// Status: total, left, why not in force.
    left: (u8, u8, Option<Reason>),
    locked_until: Option<i64>,
    disabled_at: Option<i64>,
    wrong_in_a_row: u8,
    prepared: Option<i64>,
    override_until: Option<i64>,
    /// Prepared, activated, expires, proved, used, burned.
    moments: [Option<i64>; 6],
    last_used_at: Option<i64>,
    revoked_at: Option<i64>,
    /// The row: left, prepared, activated, last used.
    row: (u8, Option<i64>, Option<i64>, Option<i64>),
    /// Users with codes, users with none left, uses.
    usage: (u64, u64, u64),
}

/// By the rules.
fn expected(stored: &Stored, void_before: Option<i64>, now: i64) -> Seen {
    let active = stored.active.as_ref();
    let not_in_force =
        active.and_then(|set| set_refused(set.prepared_at, set.expires_at, void_before, now));
    let left = u8::from(active.is_some() && not_in_force.is_none());
    let locked_until = stored
        .locked_until
        .filter(|until| lock_in_force(*until, now));
    let closed = if stored.disabled_at.is_some() {
        Some(Reason::Disabled)
    } else {
        locked_until.map(|_| Reason::Locked)
    };
    let of_set = match active {
        None => closed.or(Some(Reason::NoCodes)),
        Some(_) => closed.or(not_in_force),
    };
    let overriding = stored.overriding.as_ref();
    let override_code = match overriding.map(|code| override_refused(code, void_before, now)) {
        Some(None) => None,
        Some(refused) => closed.or(refused),
        None => closed.or(Some(Reason::NoOverride)),
    };
    let prepared = stored
        .prepared
        .filter(|set| can_be_activated(*set, void_before, now));
    let uses = stored.uses.len().try_into().unwrap();
    let (users, exhausted) = (u64::from(active.is_some()), 1 - u64::from(left));
    Seen {
        code_used: of_set.or(Some(Reason::Used)),
        code_burned: of_set.or(Some(Reason::Burned)),
        code_good: of_set,
        override_code,
        activated: prepared.is_some(),
        last_used_after: Some(if of_set.is_none() {
            now
        } else {
            stored.last_used_at
        }),
        uses_after: uses + u64::from(of_set.is_none()),
        left: (active.map_or(0, |_| 3), left, not_in_force),
        locked_until,
        disabled_at: stored.disabled_at,
        wrong_in_a_row: stored.wrong_in_a_row,
        prepared: prepared.map(|(prepared, _)| prepared),
        override_until: overriding
            .filter(|_| override_code.is_none())
            .map(|code| code.expires_at),
        moments: active.map_or([None; 6], |set| {
            [
                set.prepared_at,
                set.activated_at,
                set.expires_at,
                set.proved_at,
                set.used_at,
                set.burned_at,
            ]
            .map(Some)
        }),
        last_used_at: Some(stored.last_used_at),
        revoked_at: Some(stored.revoked_at),
        row: (
            left,
            active.map(|set| set.prepared_at),
            active.map(|set| set.activated_at),
            Some(stored.last_used_at),
        ),
        usage: (users, users.min(exhausted), uses),
    }
}

/// A record as it is written, and what its user holds. The moments are put in later.
struct Template {
    record: Value,
    sheet: Sheet,
    prepared: SetId,
    override_code: String,
}

impl Template {
    fn new() -> Self {
        let site = Site::new();
        let sheet = site.issue(NOW);
        assert_eq!(site.redeem(&code(&sheet, 1), NOW), None);
        let _ = block_on(site.codes.burn(&alice(), &code(&sheet, 2), &own(NOW))).unwrap();
        let prepared = site.prepare(NOW).id();
        let override_code = site.issue_override(HOUR, NOW);
        Self {
            record: site.stored(),
            sheet,
            prepared,
            override_code,
        }
    }

    /// The record with these moments, as if they had been written so.
    fn record(&self, stored: &Stored) -> String {
        let mut record = self.record.clone();
        let set = &mut record["active"];
        match &stored.active {
            None => *set = Value::Null,
            Some(active) => {
                set["prepared_at"] = json!(active.prepared_at);
                set["activated_at"] = json!(active.activated_at);
                set["expires_at"] = json!(active.expires_at);
                set["proved_at"] = json!(active.proved_at);
                set["slots"][0]["used_at"] = json!(active.used_at);
                set["slots"][1]["burned_at"] = json!(active.burned_at);
            }
        }
        let set = &mut record["prepared"];
        match stored.prepared {
            None => *set = Value::Null,
            Some((prepared, expires)) => {
                set["prepared_at"] = json!(prepared);
                set["expires_at"] = json!(expires);
            }
        }
        let code = &mut record["override"];
        match &stored.overriding {
            None => *code = Value::Null,
            Some(overriding) => {
                code["issued_at"] = json!(overriding.issued_at);
                code["expires_at"] = json!(overriding.expires_at);
                if let Some(used) = overriding.used_at {
                    code["used_at"] = json!(used);
                }
            }
        }
        let mut throttle = json!({ "wrong_in_a_row": stored.wrong_in_a_row });
        if let Some(until) = stored.locked_until {
            throttle["locked_until"] = json!(until);
        }
        if let Some(disabled) = stored.disabled_at {
            throttle["disabled_at"] = json!(disabled);
        }
        record["throttle"] = throttle;
        let uses = stored.uses.iter().map(|used| json!([used / QUARTER, 1]));
        record["uses"] = uses.collect();
        record["last_used_at"] = json!(stored.last_used_at);
        record["revoked_at"] = json!(stored.revoked_at);
        sum_again(&record.to_string())
    }

    /// By the operations: each question is asked of a store of its own, so that none changes the
    /// answer to another.
    fn seen(&self, record: &str, override_code: &str, config: &Config, now: i64) -> Seen {
        let site = || Site::holding(record, config.clone());
        let shown = site();
        let (status, row, usage) = (shown.status(now), shown.row(now), shown.usage(now));
        assert_eq!(shown.record(), record, "looking changes nothing");
        let stored: Value = serde_json::from_str(record).unwrap();
        let prepared = match stored["prepared"]["id"].as_str() {
            Some(id) => SetId::from_bytes(u128::from_str_radix(id, 16).unwrap().to_be_bytes()),
            None => self.prepared,
        };
        let tried = site();
        let code_good = tried.redeem(&code(&self.sheet, 3), now);
        let slot = |number: usize| status.slots.get(number - 1);
        Seen {
            code_used: site().redeem(&code(&self.sheet, 1), now),
            code_burned: site().redeem(&code(&self.sheet, 2), now),
            code_good,
            override_code: site().redeem(override_code, now),
            activated: site().activates(prepared, now),
            last_used_after: millis(tried.status(now).last_used_at),
            uses_after: tried.usage(now).used_today,
            left: (status.total, status.remaining, status.not_in_force),
            locked_until: millis(status.locked_until),
            disabled_at: millis(status.disabled_at),
            wrong_in_a_row: status.wrong_in_a_row,
            prepared: status.prepared.map(|set| set.prepared_at.unix_millis()),
            override_until: millis(status.override_until),
            moments: [
                status.prepared_at,
                status.activated_at,
                status.expires_at,
                status.proved_at,
                slot(1).and_then(|slot| slot.used_at),
                slot(2).and_then(|slot| slot.burned_at),
            ]
            .map(millis),
            last_used_at: millis(status.last_used_at),
            revoked_at: millis(status.revoked_at),
            row: (
                row.remaining,
                millis(row.prepared_at),
                millis(row.activated_at),
                millis(row.last_used_at),
            ),
            usage: (
                usage.users_with_codes,
                usage.users_exhausted,
                usage.used_today,
            ),
        }
    }
}

/// Compares operations and rules for these moments under every clock, before and after each of the
/// things that may happen at these times, then and when the clock reaches what was stored.
fn compare(moments: &[Moment], clocks: &[Clock], writes_at: &[i64]) {
    let template = Template::new();
    let written_by = |moment: &Moment, clock: Clock| {
        let mut stored = (moment.stored)();
        (moment.write)(&mut stored, clock);
        let record = template.record(&stored);
        let reached = (moment.shown)(&stored);
        for void_before in [None, Some(NOW - 50 * MINUTE)] {
            let config = config(void_before);
            for (between, then) in BETWEEN
                .into_iter()
                .flat_map(|between| writes_at.iter().map(move |then| (between, *then)))
            {
                let name = format!(
                    "{} under {clock:?}, void before {void_before:?}, then {between:?} at {}",
                    moment.name,
                    at(then)
                );
                let site = Site::holding(&record, config.clone());
                let new_code = between.run(&site, then);
                let override_code = new_code.as_ref().unwrap_or(&template.override_code);
                let mut stored = stored.clone();
                let removed = after(between, &mut stored, void_before, then);
                assert_eq!(site.voided(), usize::from(removed), "{name}");
                let written = site.record();
                let looks = [NOW, reached - 10 * MINUTE, reached, reached + 10 * MINUTE];
                for now in looks.into_iter().filter(|now| *now >= 0) {
                    let seen = template.seen(&written, override_code, &config, now);
                    let expected = expected(&stored, void_before, now);
                    assert_eq!(seen, expected, "{name}, seen at {}", at(now));
                }
            }
        }
    };
    for moment in moments {
        for clock in clocks {
            written_by(moment, *clock);
        }
    }
}

#[test]
fn each_stored_moment_means_what_the_rules_say_whatever_clock_wrote_it() {
    compare(&moments(), &CLOCKS, &[NOW]);
}

#[test]
fn what_one_operation_stores_means_what_the_rules_say_whatever_clock_wrote_it() {
    compare(&operations(), &CLOCKS, &[NOW]);
}

#[test]
fn a_write_under_a_wrong_clock_removes_exactly_what_the_rules_say() {
    let wrong = [0, NOW - YEAR, NOW - HOUR, NOW + HOUR, NOW + YEAR, YEAR_9999];
    compare(&moments(), &[Clock::Off(0)], &wrong);
}

// The boundaries, to the millisecond.

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

// Each operation that writes, and those that void.

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
            assert!(matches!(issued, Err(Error::Erased(_))), "{clock:?} {now}");
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

// The settings that a node works from.

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
