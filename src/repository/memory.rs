//! A repository in memory: for tests, examples, and applications that may lose all codes on
//! restart.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::audit::event::Event;
use crate::hash::acceptance::Scheme;
use crate::id::{EventId, Revision, UserId};
use crate::policy::settings::Settings;
use crate::report::{Summary, Usage, UsageQuery, UserRow, schemes, usage};
use crate::repository::record::Record;
use crate::repository::{
    CodeRepository, Directory, Expected, Freshness, Loaded, Put, PutError, PutOutcome,
    SettingsStore, UsersQuery,
};

/// Records, events and settings in this process's memory. Clones share them.
///
/// It passes the conformance suite, but nothing outlives the process: after a restart no printed
/// code works, spent or unspent.
#[derive(Debug, Clone, Default)]
pub struct MemoryRepository(Arc<Mutex<Tables>>);

#[derive(Debug, Default)]
struct Tables {
    records: BTreeMap<UserId, Row>,
    undelivered: VecDeque<Event>,
    settings: Option<(Settings, Revision)>,
}

struct Row {
    record: String,
    revision: Revision,
    summary: Summary,
}

// The record holds hashes.
impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("revision", &self.revision)
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}

impl MemoryRepository {
    /// Creates an empty repository.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the stored record of a user; `None` where there is none, or its text is damaged.
    ///
    /// ```
    #[doc = include_str!("../backup_codes/example_begin.txt")]
    /// let _sheet = codes.prepare(&alice, &cx).await?;
    /// let record = repository.record(alice.id()).expect("it was just written");
    /// assert!(record.summary().set.is_none(), "a prepared set is not active yet");
    #[doc = include_str!("../backup_codes/example_end.txt")]
    /// ```
    #[must_use]
    pub fn record(&self, user: &UserId) -> Option<Record> {
        let tables = self.tables();
        let row = tables.records.get(user)?;
        Record::from_json(&row.record).ok()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_expected(current: Option<Revision>, expected: Expected) -> bool {
    match expected {
        Expected::Absent => current.is_none(),
        Expected::At(revision) => current == Some(revision),
    }
}

impl CodeRepository for MemoryRepository {
    type Error = Infallible;

    async fn load(&self, user: &UserId, _: Freshness) -> Result<Option<Loaded>, Infallible> {
        let tables = self.tables();
        Ok(tables.records.get(user).map(|row| Loaded {
            record: row.record.clone(),
            revision: row.revision,
        }))
    }

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Infallible>> {
        let mut tables = self.tables();
        let current = tables.records.get(put.user).map(|row| row.revision);
        if !is_expected(current, put.expected) {
            return Ok(PutOutcome::Conflict);
        }
        let row = Row {
            record: put.record.to_owned(),
            revision: put.revision,
            summary: put.summary.clone(),
        };
        tables.records.insert(put.user.clone(), row);
        tables.undelivered.extend(put.events.iter().cloned());
        Ok(PutOutcome::Applied)
    }

    async fn remove(
        &self,
        user: &UserId,
        expected: Revision,
    ) -> Result<PutOutcome, PutError<Infallible>> {
        let mut tables = self.tables();
        let current = tables.records.get(user).map(|row| row.revision);
        if !is_expected(current, Expected::At(expected)) {
            return Ok(PutOutcome::Conflict);
        }
        tables.records.remove(user);
        Ok(PutOutcome::Applied)
    }

    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Infallible> {
        Ok(self
            .tables()
            .undelivered
            .iter()
            .take(limit)
            .cloned()
            .collect())
    }

    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Infallible> {
        self.tables()
            .undelivered
            .retain(|event| !events.contains(&event.id));
        Ok(())
    }
}

impl Directory for MemoryRepository {
    type Error = Infallible;

    async fn users(&self, query: &UsersQuery) -> Result<Vec<UserRow>, Infallible> {
        let tables = self.tables();
        Ok(query.page(
            tables
                .records
                .iter()
                .map(|(user, row)| (user, &row.summary)),
        ))
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Usage, Infallible> {
        Ok(usage(
            self.tables().records.values().map(|row| &row.summary),
            query,
        ))
    }

    async fn schemes(&self) -> Result<Vec<(Scheme, u64)>, Infallible> {
        Ok(schemes(
            self.tables().records.values().map(|row| &row.summary),
        ))
    }
}

impl SettingsStore for MemoryRepository {
    type Error = Infallible;

    async fn load_settings(&self) -> Result<Option<(Settings, Revision)>, Infallible> {
        Ok(self.tables().settings.clone())
    }

    async fn save_settings(
        &self,
        expected: Expected,
        revision: Revision,
        settings: &Settings,
        events: &[Event],
    ) -> Result<PutOutcome, PutError<Infallible>> {
        let mut tables = self.tables();
        let current = tables.settings.as_ref().map(|(_, revision)| *revision);
        if !is_expected(current, expected) {
            return Ok(PutOutcome::Conflict);
        }
        tables.settings = Some((settings.clone(), revision));
        tables.undelivered.extend(events.iter().cloned());
        Ok(PutOutcome::Applied)
    }
}
