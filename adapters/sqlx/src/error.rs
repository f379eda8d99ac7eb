//! The errors of a database, sorted by what the caller does about them.

use backup_codes::error::ValueError;

/// A failure of the database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another connection holds the write lock, or all connections of the pool are in use.
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
    /// The file cannot be opened.
    #[error("the database file cannot be opened: check its path and the rights of its folder")]
    CannotOpen(#[source] sqlx::Error),
    /// The tables do not exist.
    #[error("the tables of backup codes do not exist: call migrate() once before")]
    NotMigrated(#[source] sqlx::Error),
    /// A newer version of this crate created the tables.
    #[error(
        "the tables have schema version {found}, this crate knows up to {known}: update it on every node"
    )]
    NewerSchema {
        /// The version found.
        found: i64,
        /// The newest version this crate knows.
        known: i64,
    },
    /// Some of the tables, indexes or triggers exist and others do not.
    #[error(
        "the schema of backup codes is incomplete: restore the tables, indexes and triggers of \
         sqlite_sql::SCHEMA, writes would lose their events"
    )]
    IncompleteSchema,
    /// The pool could lose a write that it has confirmed, so that a spent code works again.
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
    /// A stored row is not what this crate writes. The row's text is not repeated.
    #[error("a row of the table {table} is damaged in column {column}: restore or remove it")]
    Corrupt {
        /// The table, without the prefix.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// The database file itself is damaged.
    #[error("the database file is damaged or is not a database: restore it from a backup")]
    CorruptFile(#[source] sqlx::Error),
    /// Any other error of the database.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

impl Error {
    pub(crate) fn corrupt(table: &'static str, column: &'static str) -> Self {
        Self::Corrupt { table, column }
    }

    pub(crate) fn bad_time(
        table: &'static str,
        column: &'static str,
    ) -> impl Fn(ValueError) -> Self {
        move |_| Self::Corrupt { table, column }
    }
}
