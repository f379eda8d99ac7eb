//! A site with operations, and the moments of its tests.

use std::time::Duration;

use backup_codes::audit::{EventKind, MemoryAudit, Reason};
use backup_codes::report::UserRow;
use backup_codes::repository::Record;
use backup_codes::{
    Activation, BackupCodes, Config, Context, Error, MemoryRepository, Periods, Purged, Redeem,
    Reports, SetId, SetSize, Settings, Sheet, Status, Timestamp, Usage, UserFilter, UsersQuery,
};
use pollster::block_on;
use serde_json::Value;

use crate::support::hashing::cheap_hashing;
use crate::support::moments::{START, at};
use crate::support::people::alice;
use crate::support::{contexts, operations, records};

/// The right time, where nothing else is said.
pub(crate) const NOW: i64 = START;
pub(crate) const SECOND: i64 = 1000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;
pub(crate) const YEAR: i64 = 365 * DAY;
/// A second into the year 9999.
pub(crate) const YEAR_9999: i64 = 253_370_764_801_000;
/// The last quarter of an hour that there is.
pub(crate) const LAST_QUARTER: i64 = 253_402_299_900_000;

/// How far two clocks may differ.
pub(crate) const SKEW: i64 = 5 * MINUTE;
pub(crate) const LOCK: i64 = 30 * MINUTE;
pub(crate) const QUARTER: i64 = 15 * MINUTE;
/// How long uses are kept by default.
pub(crate) const KEPT: i64 = 400 * DAY;

pub(crate) fn millis(moment: Option<Timestamp>) -> Option<i64> {
    moment.map(Timestamp::unix_millis)
}

pub(crate) fn length(millis: i64) -> Duration {
    Duration::from_millis(millis.try_into().unwrap())
}

pub(crate) fn own(now: i64) -> Context {
    contexts::own(at(now))
}

pub(crate) fn by_admin(now: i64) -> Context {
    contexts::by_admin(at(now))
}

pub(crate) fn config(void_before: Option<i64>) -> Config {
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

pub(crate) struct Site {
    pub(crate) codes: BackupCodes,
    pub(crate) store: MemoryRepository,
    pub(crate) audit: MemoryAudit,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::under(config(None))
    }

    pub(crate) fn under(config: Config) -> Self {
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
    pub(crate) fn holding(record: &str, config: Config) -> Self {
        let site = Self::under(config);
        let summary = Record::from_json(record).unwrap().summary();
        records::insert(&site.store, alice().id(), record, &summary);
        site
    }

    pub(crate) fn reports(&self) -> Reports {
        Reports::new(&self.codes, self.store.clone())
    }

    pub(crate) fn record(&self) -> String {
        records::load(&self.store).record
    }

    pub(crate) fn stored(&self) -> Value {
        serde_json::from_str(&self.record()).unwrap()
    }

    pub(crate) fn issue(&self, now: i64) -> Sheet {
        block_on(self.codes.issue(&alice(), &own(now)))
            .unwrap()
            .sheet
    }

    pub(crate) fn prepare(&self, now: i64) -> Sheet {
        block_on(self.codes.prepare(&alice(), &own(now))).unwrap()
    }

    pub(crate) fn issue_override(&self, lifetime: i64, now: i64) -> String {
        let (alice, cx) = (alice(), by_admin(now));
        let issued = self.codes.issue_override(&alice, length(lifetime), &cx);
        block_on(issued).unwrap().expose().to_string()
    }

    /// `None` where the code is accepted.
    pub(crate) fn redeem(&self, typed: &str, now: i64) -> Option<Reason> {
        match block_on(self.codes.redeem(&alice(), typed, &own(now))).unwrap() {
            Redeem::Accepted(_) => None,
            Redeem::Refused(refusal) => Some(refusal.reason()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn activates(&self, set: SetId, now: i64) -> bool {
        match block_on(self.codes.activate(&alice(), set, &own(now))).unwrap() {
            Activation::Activated(_) => true,
            Activation::NoSuchSet => false,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn status(&self, now: i64) -> Status {
        block_on(self.codes.status(&alice(), &own(now))).unwrap()
    }

    pub(crate) fn row(&self, now: i64) -> UserRow {
        let query = UsersQuery::new(at(now)).with_filter(UserFilter::Every);
        let rows = block_on(self.reports().users(query, &by_admin(now))).unwrap();
        rows.into_iter()
            .find(|row| &row.user == alice().id())
            .unwrap()
    }

    pub(crate) fn usage(&self, now: i64) -> Usage {
        block_on(self.reports().usage(always(), &by_admin(now))).unwrap()
    }

    pub(crate) fn purge(&self, now: i64) -> Result<Purged, Error> {
        block_on(self.reports().purge(&by_admin(now)))
    }

    pub(crate) fn force_purge(&self, now: i64) -> Purged {
        block_on(self.reports().force_purge(&by_admin(now))).unwrap()
    }

    /// Sets that were removed because their moment lies in the future, by the events of it.
    pub(crate) fn voided(&self) -> usize {
        let events = self.audit.events();
        let voided = events
            .iter()
            .filter(|event| event.kind == EventKind::Revoke && event.reason == Some(Reason::Void));
        voided.count()
    }
}

/// What happens between the moment at which the clock is set right and the one that it once showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Between {
    Nothing,
    Prepare,
    Override,
    Purge,
}

pub(crate) const BETWEEN: [Between; 4] = [
    Between::Nothing,
    Between::Prepare,
    Between::Override,
    Between::Purge,
];

impl Between {
    /// Does it; the override code, if there is a new one.
    pub(crate) fn run(self, site: &Site, now: i64) -> Option<String> {
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
