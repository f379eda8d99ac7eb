//! Single-use 2FA backup (recovery) codes: made, shown once, redeemed once.
//!
//! ```
//! use backup_codes::{
//!     Activation, BackupCodes, Context, Hasher, Hashing, Keyring, MemoryRepository, Redeem,
//!     Settings, Subject, Timestamp, UserId,
//! };
//!
//! # pollster::block_on(async {
//! // In an application: `Hashing::pool(keyring)`, with a pepper.
//! let hashing = Hashing::inline(Hasher::new(Keyring::without_pepper())?);
//! let codes = BackupCodes::new(MemoryRepository::new(), Settings::default(), hashing);
//! let alice = Subject::new(UserId::new("42")?, ["staff"]);
//! let cx = Context::new(Timestamp::from_unix_millis(1_790_000_000_000)?, &alice);
//!
//! let sheet = codes.prepare(&alice, &cx).await?;
//! let (number, code) = sheet.expose().codes().nth(2).expect("ten codes");
//! assert!(matches!(codes.activate(&alice, sheet.id(), &cx).await?, Activation::Activated(_)));
//!
//! let Redeem::Accepted(receipt) = codes.redeem(&alice, &code, &cx).await? else {
//!     panic!("a right code is accepted");
//! };
//! assert_eq!((receipt.slot(), receipt.remaining()), (number, 9));
//! assert!(matches!(codes.redeem(&alice, &code, &cx).await?, Redeem::Refused(_)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Overview
//!
//! [`BackupCodes`] is the shell: every operation, async, over three traits of yours.
//!
//! * [`CodeRepository`] keeps one record a user, replaced by one conditional write.
//!   [`MemoryRepository`] is the ready one; the `conformance` feature tests yours. [`Directory`]
//!   and [`SettingsStore`] stand beside it for administration.
//! * [`RolePolicy`] says who may hold, redeem and administer codes. [`Settings`] is the ready
//!   one, [`SharedSettings`] a copy of saved ones.
//! * [`AuditSink`] receives every [`Event`]: [`JsonLines`], [`MemoryAudit`], [`NoAudit`], or
//!   `tracing` behind a feature.
//!
//! Below it are pure functions on values, for applications that do their own I/O:
//! [`generate()`], [`hash()`], [`verify()`], [`consume()`], [`usage()`] and the other transitions in
//! [`rules`]. Time and randomness are arguments; nothing here reads a clock.
//!
//! # Cookbook
//!
//! * *A user on the profile page*: [`prepare`](BackupCodes::prepare), show the [`Sheet`], then
//!   [`activate`](BackupCodes::activate); [`status`](BackupCodes::status);
//!   [`check`](BackupCodes::check) tries a code, [`burn`](BackupCodes::burn) voids a leaked one.
//! * *A locked-out user*: [`redeem`](BackupCodes::redeem).
//! * *An administrator*: [`users`](BackupCodes::users), [`usage`](BackupCodes::usage),
//!   [`issue_override`](BackupCodes::issue_override), [`unlock`](BackupCodes::unlock),
//!   [`revoke_all`](BackupCodes::revoke_all), [`save_settings`](BackupCodes::save_settings).
//! * *A schedule*: [`deliver_events`](BackupCodes::deliver_events) each minute and at start,
//!   [`refresh_settings`](BackupCodes::refresh_settings) well within its bound,
//!   [`purge`](BackupCodes::purge) each day.
//! * *At start, and before a key is retired*: [`schemes`](BackupCodes::schemes), which says how many
//!   users' codes depend on each key, format and cost, and which of them are refused here.
//! * *When the second factor is removed*: [`revoke_all`](BackupCodes::revoke_all) with
//!   [`RevokeReason::FactorRemoved`], or its codes would outlive it.
//!
//! # What it does not do
//!
//! It never finds a user by a code, mints no session, draws no login page, and is no first
//! factor: a [`Receipt`] proves one factor of a user whom the application has identified by
//! another. It equalises the work of right and wrong codes; it does not hide whether an account
//! exists, which the first factor has settled.
//!
//! # Features
//!
//! All are off by default, and each adds something without changing anything: `conformance` (the
//! storage contract as tests; for development), `jiff` (periods of figures out of a time zone;
//! without it, pass the midnights yourself), `tracing` (an audit sink).
#![forbid(unsafe_code)]

// Who may import whom is in `DESIGN.md`.
mod acceptance;
mod attempt;
mod audit;
mod code;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod context;
mod error;
mod event;
mod fold;
mod format;
mod hash;
mod hashing;
mod id;
mod keyring;
#[cfg(memcheck)]
#[doc(hidden)]
pub mod memcheck;
mod memory;
mod outcome;
mod policy;
mod pool;
mod record;
mod repository;
pub mod rules;
mod service;
mod settings;
mod shared_settings;
mod sheet;
mod symbols;
mod timestamp;
mod unicode;
mod usage;

pub use acceptance::{Acceptance, Scheme, SchemeError};
pub use attempt::{Attempt, NotACode};
#[cfg(feature = "tracing")]
pub use audit::TracingAudit;
pub use audit::{AuditSink, Durability, JsonLines, MemoryAudit, NoAudit};
pub use code::{Code, SetSize, SetSizeError, generate, generate_override};
pub use config::{Config, ConfigError, ReissueRule};
pub use context::Context;
pub use error::Error;
pub use event::{Event, EventActor, EventKind, EventOutcome, Reason, RevokeReason};
pub use format::{Format, FormatError, Formats};
pub use hash::{
    Cost, CostError, HashError, HashSalt, Hasher, Matrix, StoredHash, StoredHashError, Target,
    Unverifiable, Verified, hash, verify,
};
pub use hashing::{Hashing, PoolError, PoolSize};
pub use id::{
    EventId, IdError, OperationId, RandomError, Revision, Role, SetId, Subject, UserId,
    UserIdError, is_forging,
};
pub use keyring::{KeyId, Keyring, KeyringError, Pepper, StoredKey};
pub use memory::MemoryRepository;
pub use outcome::{
    Activation, Burn, Check, Effect, Level, Notice, NoticeKind, PreparedStatus, Receipt, Redeem,
    Refusal, Reissue, SlotStatus, Status,
};
pub use policy::{Action, Actor, Decision, Denial, Request, RolePolicy};
pub use record::{Record, RecordError, Use};
pub use repository::{
    CodeRepository, Directory, Expected, Freshness, Loaded, Put, PutError, PutOutcome,
    SettingsStore, UserFilter, UserOrder, UsersQuery,
};
pub use rules::consume;
pub use service::{BackupCodes, Confirmation, Delivery, Issued, Purged, SchemeUse, SettingsSaved};
pub use settings::{OnRoleLoss, PermittedRoles, Settings, SettingsError, Switch};
pub use shared_settings::{SettingsDraft, SharedSettings};
pub use sheet::{ExposedSheet, Override, Sheet, Wording};
pub use timestamp::{Timestamp, TimestampError};
pub use usage::{
    Periods, PeriodsError, SetSummary, Summary, Usage, UsageQuery, UserRow, schemes, usage,
};

#[doc = include_str!("../docs/framing.md")]
pub mod framing {}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
