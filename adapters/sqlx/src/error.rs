//! What can go wrong with a database, sorted by what to do about it.

use backup_codes::{PutError, TimestampError};

/// A database that did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else holds the write lock, or all connections of the pool are in use.
    #[error("the database is busy: try again, or raise the pool's busy timeout")]
    Busy(#[source] sqlx::Error),
    /// There is no room for the write.
    #[error("the disk or the database is full: make room, nothing was written")]
    Full(#[source] sqlx::Error),
    /// The file, its folder, or the connection is read-only.
    #[error(
        "the database is read-only: check the rights of the file and its folder, and the pool's options"
    )]
    ReadOnly(#[source] sqlx::Error),
    /// The tables are not there.
    #[error("the tables of backup codes are not there: call migrate() once before")]
    NotMigrated(#[source] sqlx::Error),
    /// A newer version of this crate made the tables.
    #[error(
        "the tables have schema version {found}, this crate knows up to {known}: update it on every node"
    )]
    NewerSchema {
        /// The version found.
        found: i64,
        /// The newest version this crate knows.
        known: i64,
    },
    /// The pool could forget a write that it has confirmed, so that a spent code counts again.
    #[error(
        "the pool could forget a spent code after a power cut: journal_mode is {journal_mode}, \
         synchronous is {synchronous}; use WAL (or TRUNCATE or PERSIST) with synchronous FULL or \
         EXTRA, or DELETE with EXTRA, on a database file"
    )]
    NotDurable {
        /// `PRAGMA journal_mode`, or `none` for a database without a file.
        journal_mode: String,
        /// `PRAGMA synchronous`: 0 off, 1 normal, 2 full, 3 extra.
        synchronous: i64,
    },
    /// A stored row is not what this crate writes. Its text is not repeated.
    #[error("a row of the table {table} is damaged in column {column}: restore or remove it")]
    Corrupt {
        /// The table, without the prefix.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// The database file itself is damaged.
    #[error("the database file is damaged or is no database: restore it from a backup")]
    CorruptFile(#[source] sqlx::Error),
    /// Any other answer of the database.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

// Primary result codes of SQLite: https://www.sqlite.org/rescode.html
const SQLITE_ERROR: i32 = 1;
const SQLITE_PERM: i32 = 3;
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_READONLY: i32 = 8;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_CANTOPEN: i32 = 14;
const SQLITE_CONSTRAINT: i32 = 19;
const SQLITE_NOTADB: i32 = 26;

/// The primary result code, if SQLite itself answered.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i32>().ok().map(|extended| extended & 0xff)
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return Self::Busy(error);
        }
        let missing_table = |error: &sqlx::Error| {
            error
                .as_database_error()
                .is_some_and(|answer| answer.message().starts_with("no such table"))
        };
        match primary_code(&error) {
            Some(SQLITE_BUSY | SQLITE_LOCKED) => Self::Busy(error),
            Some(SQLITE_FULL) => Self::Full(error),
            Some(SQLITE_READONLY | SQLITE_PERM) => Self::ReadOnly(error),
            Some(SQLITE_CORRUPT | SQLITE_NOTADB) => Self::CorruptFile(error),
            Some(SQLITE_ERROR) if missing_table(&error) => Self::NotMigrated(error),
            _ => Self::Database(error),
        }
    }
}

impl Error {
    /// What a failed write is known to have left behind.
    ///
    /// A statement that SQLite refused with one of these codes was rolled back before the answer.
    /// After an error of input or output, or when the connection's thread is gone, the end of the
    /// write may be on disk and be found by the next recovery, so nothing is claimed.
    pub(crate) fn of_write(error: sqlx::Error) -> PutError<Self> {
        let not_applied = match &error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
            _ => matches!(
                primary_code(&error),
                Some(
                    SQLITE_ERROR
                        | SQLITE_PERM
                        | SQLITE_BUSY
                        | SQLITE_LOCKED
                        | SQLITE_READONLY
                        | SQLITE_FULL
                        | SQLITE_CANTOPEN
                        | SQLITE_CONSTRAINT
                        | SQLITE_NOTADB
                )
            ),
        };
        let error = Self::from(error);
        if not_applied {
            PutError::NotApplied(error)
        } else {
            PutError::Unknown(error)
        }
    }

    pub(crate) fn corrupt(table: &'static str, column: &'static str) -> Self {
        Self::Corrupt { table, column }
    }

    pub(crate) fn bad_time(
        table: &'static str,
        column: &'static str,
    ) -> impl Fn(TimestampError) -> Self {
        move |_| Self::Corrupt { table, column }
    }
}
