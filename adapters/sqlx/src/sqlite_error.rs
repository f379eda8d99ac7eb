//! The meaning of SQLite's result codes.

use backup_codes::repository::PutError;

use crate::error::Error;

// Primary result codes: https://www.sqlite.org/rescode.html
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

/// Returns the primary result code, if SQLite itself answered.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i32>().ok().map(|extended| extended & 0xff)
}

impl Error {
    /// Sorts an error of a pool of SQLite connections by what to do about it: for an application
    /// that cannot even connect.
    #[must_use]
    pub fn from_sqlite(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return Error::Busy(error);
        }
        let missing_table = |error: &sqlx::Error| {
            error
                .as_database_error()
                .is_some_and(|answer| answer.message().starts_with("no such table"))
        };
        match primary_code(&error) {
            Some(SQLITE_BUSY | SQLITE_LOCKED) => Error::Busy(error),
            Some(SQLITE_FULL) => Error::Full(error),
            Some(SQLITE_READONLY | SQLITE_PERM) => Error::ReadOnly(error),
            Some(SQLITE_CANTOPEN) => Error::CannotOpen(error),
            Some(SQLITE_CORRUPT | SQLITE_NOTADB) => Error::CorruptFile(error),
            Some(SQLITE_ERROR) if missing_table(&error) => Error::NotMigrated(error),
            _ => Error::Database(error),
        }
    }
}

/// Sorts the error of a failed write by what it is known to have left behind.
///
/// A statement that SQLite refused with one of these codes was rolled back before the answer. After
/// an I/O error, or when the connection's thread is gone, the end of the write may be on disk and
/// be found by the next recovery, so the result is [`PutError::Unknown`].
pub(crate) fn of_write(error: sqlx::Error) -> PutError<Error> {
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
    let error = Error::from_sqlite(error);
    if not_applied {
        PutError::NotApplied(error)
    } else {
        PutError::Unknown(error)
    }
}
