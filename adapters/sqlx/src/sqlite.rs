//! The repository on SQLite.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backup_codes::audit::{AuditSink, Durability, Event, EventId};
use backup_codes::hash::{Acceptance, Scheme};
use backup_codes::report::{Summary, UsageQuery, UserRow};
use backup_codes::repository::{
    CodeRepository, Directory, Expected, Freshness, Loaded, Put, PutError, PutOutcome, Revision,
    SettingsStore,
};
use backup_codes::{Settings, Timestamp, Usage, UserFilter, UserId, UserOrder, UsersQuery};
use sqlx::sqlite::{SqliteExecutor, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _, SqlitePool};

use crate::audit_log::{AuditPage, AuditPosition, AuditQuery};
use crate::columns::{NEVER, NONE, SummaryColumns, keys, scheme, step, uses};
use crate::error::Error;
use crate::prefix::Prefix;
use crate::sqlite_error::of_write;
use crate::sqlite_sql as sql;

/// The number of events removed by one statement of a retention run: other writes wait no longer
/// than that for the lock.
const PURGE_AT_A_TIME: i64 = 1000;

/// Records, directory, settings and audit log in an SQLite database, through a pool that the
/// application already has. Cheap to clone.
///
/// Every write is one statement: the record, its events and its share of the figures are applied
/// together or not at all, and nothing is read inside (SQLite refuses at once a transaction that
/// reads first and then finds another connection writing). Times are the caller's.
///
/// # Time limits
/// A call waits for a connection as long as the pool's acquire timeout allows, and for the write
/// lock as long as its busy timeout allows; both are bounded by default (30 and 5 seconds in
/// `sqlx`). Neither limits a call while the disk does not answer.
///
/// # Durability
/// A statement that runs inside a transaction that the application began is durable only with that
/// transaction. `sqlx` returns connections to the pool without an open transaction only if `sqlx`
/// began it: begin transactions with `pool.begin()` or `begin_with`, never with `BEGIN` or
/// `SAVEPOINT` as text on a connection of this pool, or give the repository a pool of its own. The
/// tables are expected in the main database, not in an attached one.
///
/// ```
/// use backup_codes_sqlx::SqliteRepository;
/// use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("codes.db");
/// let options = SqliteConnectOptions::new()
///     .filename(file)
///     .create_if_missing(true)
///     .journal_mode(SqliteJournalMode::Wal);
/// let pool = SqlitePoolOptions::new().connect_with(options).await?;
/// let store = SqliteRepository::open(pool).await?;
/// # assert_eq!(store.audit_page(&backup_codes_sqlx::AuditQuery::new()).await?.events, []);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteRepository {
    pool: SqlitePool,
    sql: Arc<Statements>,
    /// True if events count as delivered when they are written.
    delivered: bool,
}

/// The SQL text under the repository's prefix.
struct Statements {
    prefix: Prefix,
    load: Arc<str>,
    create: Arc<str>,
    replace: Arc<str>,
    remove: Arc<str>,
    undelivered: Arc<str>,
    acknowledge: Arc<str>,
    acknowledge_all: Arc<str>,
    add_events: Arc<str>,
    purge_events: Arc<str>,
    load_settings: Arc<str>,
    create_settings: Arc<str>,
    replace_settings: Arc<str>,
    usage: Arc<str>,
    schemes: Arc<str>,
    count_schemes: Arc<str>,
    among: Arc<str>,
}

impl Statements {
    fn new(prefix: Prefix) -> Self {
        let text = |sql| Arc::from(prefix.apply(sql));
        Self {
            load: text(sql::LOAD),
            create: text(sql::CREATE),
            replace: text(sql::REPLACE),
            remove: text(sql::REMOVE),
            undelivered: text(sql::UNDELIVERED),
            acknowledge: text(sql::ACKNOWLEDGE),
            acknowledge_all: text(sql::ACKNOWLEDGE_ALL),
            add_events: text(sql::ADD_EVENTS),
            purge_events: text(sql::PURGE_EVENTS),
            load_settings: text(sql::LOAD_SETTINGS),
            create_settings: text(sql::CREATE_SETTINGS),
            replace_settings: text(sql::REPLACE_SETTINGS),
            usage: text(sql::USAGE),
            schemes: text(sql::SCHEMES),
            count_schemes: text(sql::COUNT_SCHEMES),
            among: text(sql::AMONG),
            prefix,
        }
    }
}

/// Marks this crate's own text as safe: only its checked prefix varies.
fn safe(sql: &Arc<str>) -> AssertSqlSafe<Arc<str>> {
    AssertSqlSafe(Arc::clone(sql))
}

impl fmt::Debug for SqliteRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteRepository")
            .field("prefix", &self.sql.prefix)
            .field("delivered", &self.delivered)
            .finish_non_exhaustive()
    }
}

impl SqliteRepository {
    /// Opens the repository in this pool's database: creates the tables if they do not exist yet,
    /// and checks that the database cannot lose confirmed writes.
    ///
    /// # Errors
    /// As for [`migrate`](Self::migrate) and [`check_durability`](Self::check_durability).
    pub async fn open(pool: SqlitePool) -> Result<Self, Error> {
        Self::open_with_prefix(pool, Prefix::DEFAULT).await
    }

    /// Creates the repository in this pool's database without any check. Use it to call
    /// [`migrate`](Self::migrate) and [`check_durability`](Self::check_durability) yourself, or to
    /// test on a database in memory.
    #[must_use]
    pub fn new(pool: SqlitePool) -> Self {
        Self {
            pool,
            sql: Arc::new(Statements::new(Prefix::DEFAULT)),
            delivered: false,
        }
    }

    /// Opens the repository as [`open`](Self::open) does, with other table names.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub async fn open_with_prefix(pool: SqlitePool, prefix: Prefix) -> Result<Self, Error> {
        let store = Self::new(pool).with_prefix(prefix);
        store.check_durability().await?;
        store.migrate().await?;
        Ok(store)
    }

    /// Sets other table names. Call it on a repository that is [`new`](Self::new), and
    /// [`migrate`](Self::migrate) afterwards.
    #[must_use]
    pub fn with_prefix(self, prefix: Prefix) -> Self {
        Self {
            sql: Arc::new(Statements::new(prefix)),
            ..self
        }
    }

    /// Makes the events table the audit log, for an application without another sink: events count
    /// as delivered when they are written, so a redeem makes two round trips, not three.
    ///
    /// Do not use it with a sink of your own: events that the sink misses would not be delivered
    /// again. The next [`deliver_events`](backup_codes::BackupCodes::deliver_events) acknowledges
    /// events left undelivered from before.
    #[must_use]
    pub fn as_audit_log(self) -> Self {
        Self {
            delivered: true,
            ..self
        }
    }

    /// Creates the tables. Does nothing if they exist; many processes may call it at once.
    ///
    /// # Errors
    /// [`Error::NewerSchema`], [`Error::IncompleteSchema`], or any error of the database; no part
    /// of the schema is left behind then.
    pub async fn migrate(&self) -> Result<(), Error> {
        if self.schema_version().await? == Some(sql::SCHEMA_VERSION) {
            return self.check_schema().await;
        }
        let text = |sql| AssertSqlSafe(self.sql.prefix.apply(sql));
        // The lock comes first: a process that waited for it finds the tables created.
        let mut transaction = self
            .pool
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(Error::from_sqlite)?;
        sqlx::raw_sql(text(sql::VERSION_TABLE))
            .execute(&mut *transaction)
            .await
            .map_err(Error::from_sqlite)?;
        let found: Option<i64> = sqlx::query_scalar(text(sql::VERSION))
            .fetch_optional(&mut *transaction)
            .await
            .map_err(Error::from_sqlite)?;
        if known_version(found)?.is_none() {
            if self.objects_there(&mut *transaction).await? > 0 {
                return Err(Error::IncompleteSchema);
            }
            sqlx::raw_sql(text(sql::SCHEMA))
                .execute(&mut *transaction)
                .await
                .map_err(Error::from_sqlite)?;
            sqlx::query(text(sql::SET_VERSION))
                .bind(sql::SCHEMA_VERSION)
                .execute(&mut *transaction)
                .await
                .map_err(Error::from_sqlite)?;
        }
        transaction.commit().await.map_err(Error::from_sqlite)?;
        Ok(())
    }

    /// Checks that no part of the schema was lost: without a trigger a write would lose its events.
    async fn check_schema(&self) -> Result<(), Error> {
        if self.objects_there(&self.pool).await? == sql::schema_names().count() {
            Ok(())
        } else {
            Err(Error::IncompleteSchema)
        }
    }

    /// Returns the number of the schema's tables, indexes and triggers that exist.
    async fn objects_there(&self, database: impl SqliteExecutor<'_>) -> Result<usize, Error> {
        let names = sql::schema_names().map(|name| self.sql.prefix.apply(name));
        let names = serde_json::Value::from(names.collect::<Vec<_>>());
        let there: i64 = sqlx::query_scalar(sql::OBJECTS)
            .bind(names.to_string())
            .fetch_one(database)
            .await
            .map_err(Error::from_sqlite)?;
        Ok(usize::try_from(there).unwrap_or(0))
    }

    /// Returns the version of the schema, if the tables exist.
    async fn schema_version(&self) -> Result<Option<i64>, Error> {
        let sql = AssertSqlSafe(self.sql.prefix.apply(sql::VERSION));
        match sqlx::query_scalar(sql).fetch_optional(&self.pool).await {
            Ok(found) => known_version(found),
            Err(error) => match Error::from_sqlite(error) {
                Error::NotMigrated(_) => Ok(None),
                other => Err(other),
            },
        }
    }

    /// Checks that a write survives a power cut once it is confirmed, as far as SQLite's settings
    /// tell: `synchronous` FULL or EXTRA with the journal modes WAL, TRUNCATE or PERSIST, or EXTRA
    /// with DELETE, which otherwise does not sync the folder
    /// (<https://www.sqlite.org/pragma.html#pragma_synchronous>), and a database that has a file.
    ///
    /// `synchronous` is a setting of a connection; one connection of the pool is asked. Whether the
    /// file system and the disk carry out a sync cannot be checked here.
    ///
    /// # Errors
    /// [`Error::NotDurable`], or any error of the database.
    pub async fn check_durability(&self) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await.map_err(Error::from_sqlite)?;
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(&mut *connection)
            .await
            .map_err(Error::from_sqlite)?;
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
            .fetch_one(&mut *connection)
            .await
            .map_err(Error::from_sqlite)?;
        let file: String = sqlx::query("PRAGMA database_list")
            .fetch_one(&mut *connection)
            .await
            .map_err(Error::from_sqlite)?
            .try_get(2)
            .map_err(Error::from_sqlite)?;
        let enough = match mode.as_str() {
            "wal" | "truncate" | "persist" => synchronous >= 2,
            "delete" => synchronous >= 3,
            _ => false,
        };
        if file.is_empty() || !enough {
            return Err(Error::NotDurable {
                journal_mode: if file.is_empty() {
                    "none".to_owned()
                } else {
                    mode
                },
                synchronous,
            });
        }
        Ok(())
    }

    /// Returns the audit log as a sink, for outcomes that are not stored with a record: input that
    /// is not a code, and locked, denied or busy attempts. If writing such an event fails, it is
    /// lost. The sink costs every operation one more round trip.
    ///
    /// Anyone who can reach the login form can make this log grow; remove old events with
    /// [`purge_events`](Self::purge_events).
    #[must_use]
    pub fn audit_sink(&self) -> SqliteAudit {
        SqliteAudit(self.clone())
    }

    /// Returns one page of the audit log, newest event first. Ask the role policy before you show
    /// it.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn audit_page(&self, query: &AuditQuery) -> Result<AuditPage, Error> {
        let sql = sql::audit(query.user.is_some(), query.kind.is_some());
        let after = query.after.unwrap_or(AuditPosition {
            at: i64::MAX,
            seq: i64::MAX,
        });
        let limit = query.limit.clamp(1, 1000);
        let mut rows = sqlx::query(AssertSqlSafe(self.sql.prefix.apply(&sql)))
            .bind(query.from.unix_millis())
            .bind(query.until.unix_millis())
            .bind(after.at)
            .bind(after.seq)
            // One row more than asked for: if it exists, there is a next page.
            .bind(i64::from(limit) + 1)
            .bind(query.user.as_ref().map(|user| user.as_bytes().to_vec()))
            .bind(query.kind.map(|kind| kind.as_str()))
            .fetch_all(&self.pool)
            .await
            .map_err(Error::from_sqlite)?;
        let more = rows.len() > usize::from(limit);
        rows.truncate(limit.into());
        let next = match rows.last() {
            Some(last) if more => Some(AuditPosition {
                at: last.try_get(0).map_err(Error::from_sqlite)?,
                seq: last.try_get(1).map_err(Error::from_sqlite)?,
            }),
            _ => None,
        };
        let events: Vec<Event> = rows.iter().filter_map(|row| event(row, 2).ok()).collect();
        let unreadable = rows.len() - events.len();
        Ok(AuditPage {
            events,
            unreadable,
            next,
        })
    }

    /// Removes delivered events older than `keep`, and returns the number of events removed.
    ///
    /// An event's age is counted from the newest event that does not lie after `now`, so a clock
    /// that is ahead removes no event that is not old, as long as nothing was logged under it. On a
    /// site without new events, old ones stay.
    ///
    /// # Errors
    /// Any error of the database; events removed before it stay removed.
    pub async fn purge_events(&self, keep: Duration, now: Timestamp) -> Result<u64, Error> {
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let mut removed = 0;
        loop {
            let some = sqlx::query(safe(&self.sql.purge_events))
                .bind(now.unix_millis())
                .bind(keep)
                .bind(PURGE_AT_A_TIME)
                .execute(&self.pool)
                .await
                .map_err(Error::from_sqlite)?
                .rows_affected();
            if some == 0 {
                return Ok(removed);
            }
            removed += some;
        }
    }

    fn step(&self, events: &[Event]) -> Result<String, Error> {
        step(events, self.delivered).map_err(encode)
    }

    /// Returns the schemes of active sets that are not accepted, as a JSON array. A scheme that
    /// cannot be read is among them: it must not stop the reports on all other users.
    ///
    /// The statement that follows may meet a scheme that came into use in between; it then counts
    /// as accepted, because it is the scheme of new sets.
    async fn refused_schemes(&self, acceptance: &Acceptance) -> Result<String, Error> {
        let found: Vec<String> = sqlx::query_scalar(safe(&self.sql.schemes))
            .fetch_all(&self.pool)
            .await
            .map_err(Error::from_sqlite)?;
        let mut refused = Vec::new();
        for text in found {
            let accepted = |scheme| acceptance.check(&scheme).is_ok();
            if !scheme(&text).is_ok_and(accepted) {
                refused.push(text);
            }
        }
        Ok(serde_json::Value::from(refused).to_string())
    }

    /// Returns the rows of one page query, in its order.
    async fn rows(
        &self,
        query: &UsersQuery,
        refused: &str,
        order: [&str; 3],
        filter: &str,
        after: (i64, &[u8]),
        limit: usize,
    ) -> Result<Vec<UserRow>, Error> {
        let sql = self.sql.prefix.apply(&sql::users(order, filter));
        let (first, last) = prepared_within(&query.acceptance, query.now);
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(query.now.unix_millis())
            .bind(first)
            .bind(last)
            .bind(refused)
            .bind(i64::from(query.low_threshold))
            .bind(after.0)
            .bind(after.1)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await
            .map_err(Error::from_sqlite)?;
        let row = |row| {
            let (user, summary) = user_summary(row)?;
            Ok(UserRow::new(user, &summary, &query.acceptance, query.now))
        };
        rows.iter().map(row).collect()
    }

    /// Returns a page of named users: loads those that exist, and applies [`UsersQuery::page`] to
    /// them.
    async fn among(
        &self,
        query: &UsersQuery,
        named: &BTreeSet<UserId>,
    ) -> Result<Vec<UserRow>, Error> {
        let rows = sqlx::query(safe(&self.sql.among))
            .bind(keys(named))
            .fetch_all(&self.pool)
            .await
            .map_err(Error::from_sqlite)?;
        let users: Vec<_> = rows.iter().map(user_summary).collect::<Result<_, _>>()?;
        Ok(query.page(users.iter().map(|(user, summary)| (user, summary))))
    }

    /// Returns users with no code left first, by key; then the others by the number of codes left.
    async fn fewest_left(
        &self,
        query: &UsersQuery,
        refused: &str,
        limit: usize,
    ) -> Result<Vec<UserRow>, Error> {
        let (without, with) = match query.filter {
            UserFilter::Holding => (None, sql::HOLDING.to_owned()),
            UserFilter::WithSet => (Some(sql::EXHAUSTED), sql::HOLDING.to_owned()),
            UserFilter::Low => (
                Some(sql::EXHAUSTED),
                format!("{} AND unused <= ?5", sql::HOLDING),
            ),
            UserFilter::Exhausted => (Some(sql::EXHAUSTED), "false".to_owned()),
            UserFilter::Every => (Some(sql::NOT_HOLDING), sql::HOLDING.to_owned()),
        };
        let after = query.after.as_ref();
        let mut rows = Vec::new();
        if let Some(without) = without
            && after.is_none_or(|row| row.remaining == 0)
        {
            let user = after.map_or(&[][..], |row| row.user.as_bytes());
            rows = self
                .rows(query, refused, sql::BY_USER, without, (0, user), limit)
                .await?;
        }
        if rows.len() < limit {
            let place = match after {
                Some(row) if row.remaining > 0 => (i64::from(row.remaining), row.user.as_bytes()),
                _ => (1, &[][..]),
            };
            let missing = limit - rows.len();
            let mut holding = self
                .rows(query, refused, sql::BY_LEFT, &with, place, missing)
                .await?;
            // A user whose scheme came into use since the refused schemes were read is in the wrong
            // half; the next page would begin after that row and repeat users.
            holding.retain(|row| row.remaining > 0);
            rows.extend(holding);
        }
        Ok(rows)
    }
}

/// Refuses tables of a newer version of this crate.
fn known_version(found: Option<i64>) -> Result<Option<i64>, Error> {
    match found {
        Some(found) if found > sql::SCHEMA_VERSION => Err(Error::NewerSchema {
            found,
            known: sql::SCHEMA_VERSION,
        }),
        Some(found) if found < 1 => Err(Error::corrupt("schema", "version")),
        other => Ok(other),
    }
}

/// Returns the error of a value that cannot be written as JSON; it never reaches the database.
fn encode(error: serde_json::Error) -> Error {
    Error::Database(sqlx::Error::Encode(error.into()))
}

fn revision(row: &SqliteRow, table: &'static str) -> Result<Revision, Error> {
    let bytes: &[u8] = row
        .try_get("revision")
        .map_err(|_| Error::corrupt(table, "revision"))?;
    let bytes = bytes
        .try_into()
        .map_err(|_| Error::corrupt(table, "revision"))?;
    Ok(Revision::from_bytes(bytes))
}

fn event(row: &SqliteRow, column: usize) -> Result<Event, Error> {
    let corrupt = || Error::corrupt("events", "body");
    let body: &str = row.try_get(column).map_err(|_| corrupt())?;
    serde_json::from_str(body).map_err(|_| corrupt())
}

fn user_summary(row: &SqliteRow) -> Result<(UserId, Summary), Error> {
    let key: &[u8] = row.try_get("user_key").map_err(Error::from_sqlite)?;
    let user = UserId::new(key).map_err(|_| Error::corrupt("records", "user_key"))?;
    let columns = SummaryColumns {
        scheme: row.try_get("scheme").map_err(Error::from_sqlite)?,
        total: row.try_get("total").map_err(Error::from_sqlite)?,
        unused: row.try_get("unused").map_err(Error::from_sqlite)?,
        prepared_at: row.try_get("prepared_at").map_err(Error::from_sqlite)?,
        activated_at: row.try_get("activated_at").map_err(Error::from_sqlite)?,
        expires_at: row.try_get("expires_at").map_err(Error::from_sqlite)?,
        last_used_at: row.try_get("last_used_at").map_err(Error::from_sqlite)?,
        proved_at: row.try_get("proved_at").map_err(Error::from_sqlite)?,
    };
    Ok((user, columns.summary()?))
}

/// Returns the first and the last time of preparation that is not void; all numbers where none is
/// void, so that a damaged time is read and reported.
fn prepared_within(acceptance: &Acceptance, now: Timestamp) -> (i64, i64) {
    match acceptance.void_before() {
        None => (NONE, NEVER),
        Some(_) => {
            let (first, last) = acceptance.prepared_within(now);
            (first.unix_millis(), last.unix_millis())
        }
    }
}

/// Returns the outcome of one conditional write: it met the expected state, or changed nothing.
fn outcome(rows: u64) -> PutOutcome {
    if rows == 0 {
        PutOutcome::Conflict
    } else {
        PutOutcome::Applied
    }
}

impl CodeRepository for SqliteRepository {
    type Error = Error;

    async fn load(&self, user: &UserId, _: Freshness) -> Result<Option<Loaded>, Error> {
        let row = sqlx::query(safe(&self.sql.load))
            .bind(user.as_bytes())
            .fetch_optional(&self.pool)
            .await
            .map_err(Error::from_sqlite)?;
        let Some(row) = row else {
            return Ok(None);
        };
        // A damaged text need not be UTF-8. The core reads the readable rest of it.
        let record: &[u8] = row
            .try_get_unchecked("record")
            .map_err(|_| Error::corrupt("records", "record"))?;
        Ok(Some(Loaded {
            record: String::from_utf8_lossy(record).into_owned(),
            revision: revision(&row, "records")?,
        }))
    }

    async fn put(&self, put: Put<'_>) -> Result<PutOutcome, PutError<Error>> {
        let columns = SummaryColumns::from(put.summary);
        let step = self.step(put.events).map_err(PutError::NotApplied)?;
        let sql = match put.expected {
            Expected::Absent => &self.sql.create,
            Expected::At(_) => &self.sql.replace,
        };
        let query = sqlx::query(safe(sql))
            .bind(put.user.as_bytes())
            .bind(put.revision.to_bytes().to_vec())
            .bind(put.record)
            .bind(columns.scheme)
            .bind(columns.total)
            .bind(columns.unused)
            .bind(columns.prepared_at)
            .bind(columns.activated_at)
            .bind(columns.expires_at)
            .bind(columns.last_used_at)
            .bind(columns.proved_at)
            .bind(uses(put.summary))
            .bind(step);
        let query = match put.expected {
            Expected::Absent => query,
            Expected::At(old) => query.bind(old.to_bytes().to_vec()),
        };
        let done = query.execute(&self.pool).await.map_err(of_write)?;
        Ok(outcome(done.rows_affected()))
    }

    async fn remove(
        &self,
        user: &UserId,
        expected: Revision,
    ) -> Result<PutOutcome, PutError<Error>> {
        let done = sqlx::query(safe(&self.sql.remove))
            .bind(user.as_bytes())
            .bind(expected.to_bytes().to_vec())
            .execute(&self.pool)
            .await
            .map_err(of_write)?;
        Ok(outcome(done.rows_affected()))
    }

    async fn undelivered(&self, limit: usize) -> Result<Vec<Event>, Error> {
        // Events from before `as_audit_log` was set: no sink waits for them any more.
        if self.delivered {
            sqlx::query(safe(&self.sql.acknowledge_all))
                .execute(&self.pool)
                .await
                .map_err(Error::from_sqlite)?;
            return Ok(Vec::new());
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut after = i64::MIN;
        let mut damaged = None;
        loop {
            let rows = sqlx::query(safe(&self.sql.undelivered))
                .bind(limit)
                .bind(after)
                .fetch_all(&self.pool)
                .await
                .map_err(Error::from_sqlite)?;
            // An event that cannot be read must not keep the others from their sink.
            let events: Vec<Event> = rows.iter().filter_map(|row| event(row, 0).ok()).collect();
            if !events.is_empty() {
                return Ok(events);
            }
            match (rows.last(), damaged) {
                (Some(last), _) => {
                    after = last.try_get(1).map_err(Error::from_sqlite)?;
                    damaged = Some(Error::corrupt("events", "body"));
                }
                (None, Some(damaged)) => return Err(damaged),
                (None, None) => return Ok(events),
            }
        }
    }

    async fn acknowledge(&self, events: &[EventId]) -> Result<(), Error> {
        // The events were delivered when they were written.
        if self.delivered {
            return Ok(());
        }
        let ids: Vec<String> = events.iter().map(EventId::to_string).collect();
        sqlx::query(safe(&self.sql.acknowledge))
            .bind(serde_json::Value::from(ids).to_string())
            .execute(&self.pool)
            .await
            .map_err(Error::from_sqlite)?;
        Ok(())
    }
}

impl Directory for SqliteRepository {
    type Error = Error;

    async fn users(&self, query: &UsersQuery) -> Result<Vec<UserRow>, Error> {
        if let Some(named) = &query.among {
            return self.among(query, named).await;
        }
        let filter = match query.filter {
            UserFilter::Holding => sql::HOLDING,
            UserFilter::WithSet => sql::WITH_SET,
            UserFilter::Low => sql::LOW,
            UserFilter::Exhausted => sql::EXHAUSTED,
            UserFilter::Every => sql::EVERY,
        };
        let refused = self.refused_schemes(&query.acceptance).await?;
        let limit = usize::from(query.limit.clamp(1, 1000));
        let latest = |at: Option<Timestamp>| at.map_or(NONE, Timestamp::unix_millis);
        let after = query.after.as_ref();
        let user = after.map_or(&[][..], |row| row.user.as_bytes());
        let (order, number) = match query.order {
            UserOrder::FewestLeft => return self.fewest_left(query, &refused, limit).await,
            UserOrder::User => (sql::BY_USER, 0),
            UserOrder::NewestSet => (
                sql::BY_SET,
                after.map_or(NEVER, |row| latest(row.activated_at)),
            ),
            UserOrder::LatestUse => (
                sql::BY_USE,
                after.map_or(NEVER, |row| latest(row.last_used_at)),
            ),
        };
        self.rows(query, &refused, order, filter, (number, user), limit)
            .await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Usage, Error> {
        let days: Vec<_> = query.periods.days().collect();
        let all = || {
            let periods = [query.periods.today(), query.periods.month()];
            periods.into_iter().chain(days.iter().cloned())
        };
        let first = all().map(|period| period.start).min();
        let last = all().map(|period| period.end).max();
        let refused = self.refused_schemes(&query.acceptance).await?;
        let (prepared_first, prepared_last) = prepared_within(&query.acceptance, query.now);
        let row = sqlx::query(safe(&self.sql.usage))
            .bind(query.now.unix_millis())
            .bind(prepared_first)
            .bind(prepared_last)
            .bind(refused)
            .bind(i64::from(query.low_threshold))
            .bind(first.map_or(0, Timestamp::unix_millis))
            .bind(last.map_or(0, Timestamp::unix_millis))
            .fetch_one(&self.pool)
            .await
            .map_err(Error::from_sqlite)?;
        let number = |column: usize| -> Result<u64, Error> {
            let number: i64 = row.try_get(column).map_err(Error::from_sqlite)?;
            u64::try_from(number).map_err(|_| Error::corrupt("records", "unused"))
        };
        let mut usage = Usage::empty(query);
        usage.users_with_codes = number(0)?;
        usage.users_low = number(1)? + number(3)? + number(5)? + number(7)?;
        usage.users_exhausted = number(2)? + number(4)? + number(6)? + number(8)?;
        let corrupt = || Error::corrupt("uses", "count");
        let uses: &str = row.try_get(9).map_err(Error::from_sqlite)?;
        let uses: Vec<(i64, u64)> = serde_json::from_str(uses).map_err(|_| corrupt())?;
        for (quarter, codes) in uses {
            let quarter =
                Timestamp::from_unix_millis(quarter).map_err(Error::bad_time("uses", "quarter"))?;
            usage.count_uses(quarter, codes, query);
        }
        Ok(usage)
    }

    async fn schemes(&self) -> Result<Vec<(Scheme, u64)>, Error> {
        let rows: Vec<(String, i64)> = sqlx::query_as(safe(&self.sql.count_schemes))
            .fetch_all(&self.pool)
            .await
            .map_err(Error::from_sqlite)?;
        // A scheme that cannot be read must not hide the others.
        let known =
            |(text, users): (String, i64)| Some((scheme(&text).ok()?, u64::try_from(users).ok()?));
        let mut schemes: Vec<_> = rows.into_iter().filter_map(known).collect();
        // In the order of schemes, not of their texts.
        schemes.sort_unstable();
        Ok(schemes)
    }
}

impl SettingsStore for SqliteRepository {
    type Error = Error;

    async fn load_settings(&self) -> Result<Option<(Settings, Revision)>, Error> {
        let row = sqlx::query(safe(&self.sql.load_settings))
            .fetch_optional(&self.pool)
            .await
            .map_err(Error::from_sqlite)?;
        let Some(row) = row else {
            return Ok(None);
        };
        let corrupt = || Error::corrupt("settings", "settings");
        let settings: &str = row.try_get("settings").map_err(|_| corrupt())?;
        let settings = serde_json::from_str(settings).map_err(|_| corrupt())?;
        Ok(Some((settings, revision(&row, "settings")?)))
    }

    async fn save_settings(
        &self,
        expected: Expected,
        revision: Revision,
        settings: &Settings,
        events: &[Event],
    ) -> Result<PutOutcome, PutError<Error>> {
        let step = self.step(events).map_err(PutError::NotApplied)?;
        let settings =
            serde_json::to_string(settings).map_err(|error| PutError::NotApplied(encode(error)))?;
        let sql = match expected {
            Expected::Absent => &self.sql.create_settings,
            Expected::At(_) => &self.sql.replace_settings,
        };
        let query = sqlx::query(safe(sql))
            .bind(revision.to_bytes().to_vec())
            .bind(settings)
            .bind(step);
        let query = match expected {
            Expected::Absent => query,
            Expected::At(old) => query.bind(old.to_bytes().to_vec()),
        };
        let done = query.execute(&self.pool).await.map_err(of_write)?;
        Ok(outcome(done.rows_affected()))
    }
}

/// The audit log as a sink: see [`SqliteRepository::audit_sink`].
#[derive(Debug, Clone)]
pub struct SqliteAudit(SqliteRepository);

impl AuditSink for SqliteAudit {
    type Error = Error;

    /// Adds the events that are not in the log yet.
    async fn record(&self, events: &[Event]) -> Result<(), Error> {
        let step = step(events, true).map_err(encode)?;
        sqlx::query(safe(&self.0.sql.add_events))
            .bind(step)
            .execute(&self.0.pool)
            .await
            .map_err(Error::from_sqlite)?;
        Ok(())
    }

    fn durability(&self) -> Durability {
        Durability::Durable
    }
}
