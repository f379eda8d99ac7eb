//! The repository of [`backup_codes`] on SQLite, through `sqlx`: records, directory, settings, and
//! the audit log as a table. An application passes in the pool it already has.
//!
//! ```
//! use backup_codes::{BackupCodes, Context, HashParams, Hashing, Keyring, Redeem, Settings, Subject};
//! use backup_codes::{Timestamp, UserId};
//! use backup_codes_sqlx::{AuditQuery, SqliteRepository};
//! use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let file = folder.path().join("codes.db");
//! let options = SqliteConnectOptions::new()
//!     .filename(file)
//!     .create_if_missing(true)
//!     .journal_mode(SqliteJournalMode::Wal);
//! let pool = SqlitePoolOptions::new().connect_with(options).await?;
//! // The events table is the audit log, and no other sink wants its events.
//! let store = SqliteRepository::open(pool).await?.as_audit_log();
//!
//! // In an application: `Hashing::pool(keyring)`, with a pepper.
//! let hashing = Hashing::inline(HashParams::new(Keyring::without_pepper()).unwrap());
//! let codes = BackupCodes::new(store.clone(), Settings::default(), hashing);
//! let alice = Subject::new(UserId::new("42")?, ["staff"]);
//! let cx = Context::new(Timestamp::from_unix_millis(1_790_000_000_000)?, &alice);
//!
//! let issued = codes.issue(&alice, &cx).await?;
//! let code = issued.sheet.expose().codes().next().expect("ten codes").1;
//! assert!(matches!(codes.redeem(&alice, &code, &cx).await?, Redeem::Accepted(_)));
//!
//! let page = store.audit_page(&AuditQuery::new().with_user(alice.id().clone())).await?;
//! assert_eq!(page.events[0].kind.as_str(), "redeem");
//! # Ok(())
//! # }
//! ```
//!
//! This crate chooses no runtime and no TLS: the application's `sqlx` features do that. SQLite
//! itself is built from the copy in `libsqlite3-sys`; no other SQLite may be in the same program.
#![forbid(unsafe_code)]

mod audit_log;
mod columns;
mod error;
mod prefix;
mod sqlite;
mod sqlite_error;
pub mod sqlite_sql;

pub use audit_log::{AuditPage, AuditPosition, AuditPositionError, AuditQuery};
pub use error::Error;
pub use prefix::{Prefix, PrefixError};
pub use sqlite::{SqliteAudit, SqliteRepository};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
