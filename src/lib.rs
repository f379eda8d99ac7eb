//! Single-use 2FA backup (recovery) codes: issue a set, show it once, accept each code once.
//!
//! ```
//! use backup_codes::{Activation, BackupCodes, Context, HashParams, Hashing, Keyring, MemoryRepository, Redeem, Settings, Subject, Timestamp, UserId};
//!
//! # pollster::block_on(async {
//! // In an application: `Hashing::pool(keyring)`, with a pepper.
//! let hashing = Hashing::inline(HashParams::new(Keyring::without_pepper())?);
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
//! # Which entrance to take
//!
//! *The everyday entrance is [`BackupCodes`].* It does every operation, async, over three traits that
//! the application implements or takes built-in:
//!
//! * [`CodeRepository`](repository::CodeRepository) keeps one record a user, replaced by one
//!   conditional write. [`MemoryRepository`] is built in, and the `conformance` feature tests yours.
//!   [`Directory`](repository::Directory) and [`SettingsStore`](repository::SettingsStore) are for
//!   administration.
//! * [`RolePolicy`](policy::RolePolicy) decides who may hold, redeem and administer codes.
//!   [`Settings`] is built in, and [`SharedSettings`] is a copy of saved ones.
//! * [`AuditSink`](audit::AuditSink) receives every [`Event`](audit::Event): [`JsonLines`],
//!   [`MemoryAudit`](audit::MemoryAudit), [`NoAudit`](audit::NoAudit), or `tracing` behind a feature.
//!
//! Codes are hashed by an [`Engine`](hash::Engine): the built-in one on the `argon2` crate, or a faster
//! one from the package `backup-codes-argon2-simd`.
//!
//! *The second entrance is [`rules`]*, for applications that do their own I/O: pure functions on
//! values, which generate, hash, verify and consume codes and compute usage. Time and randomness are
//! arguments; nothing in this crate reads a clock.
//!
//! The root holds the names that a login page, a profile page and an administrator's page need. All
//! others stand in the module of their subject: [`code`], [`hash`], [`policy`], [`audit`],
//! [`repository`], [`report`], [`outcome`], [`error`], [`rules`].
//!
//! # Cookbook
//!
//! * *A user on the profile page*: [`prepare`](BackupCodes::prepare), show the [`Sheet`], then
//!   [`activate`](BackupCodes::activate); [`status`](BackupCodes::status);
//!   [`check`](BackupCodes::check) tests a code, [`burn`](BackupCodes::burn) voids a leaked one.
//! * *A locked-out user*: [`redeem`](BackupCodes::redeem).
//! * *An administrator*: [`issue_override`](BackupCodes::issue_override),
//!   [`unlock`](BackupCodes::unlock), [`revoke_all`](BackupCodes::revoke_all);
//!   [`users`](Reports::users) and [`usage`](Reports::usage) of [`Reports`], which exist where the
//!   repository has a [`Directory`](repository::Directory); [`save`](SavedSettings::save) of
//!   [`SavedSettings`], where it has a [`SettingsStore`](repository::SettingsStore).
//! * *A schedule*: [`deliver_events`](BackupCodes::deliver_events) each minute and at start,
//!   [`refresh`](SavedSettings::refresh) of the settings well within its bound,
//!   [`purge`](Reports::purge) each day.
//! * *At start, and before a key is retired*: [`schemes`](Reports::schemes), which returns how
//!   many users' codes depend on each key, format and cost, and which of them are refused here.
//! * *When the second factor is removed*: [`revoke_all`](BackupCodes::revoke_all) with
//!   [`RevokeReason::FactorRemoved`], otherwise its codes stay valid.
//!
//! # What it does not do
//!
//! It never finds a user by a code, creates no session, renders no login page, and is no first
//! factor: a [`Receipt`](outcome::Receipt) proves one factor of a user whom the application has
//! identified by another. It equalises the work of right and wrong codes; it does not hide whether an
//! account exists, which the first factor has settled.
//!
//! # Features
//!
//! All features are additive, and off by default: `conformance` (the contracts of storage and
//! engines as tests; for development), `jiff` (periods of figures out of a time zone; without it, pass the midnights
//! yourself), `tracing` (an audit sink), `testing` (a kit for the tests of an
//! application).
#![forbid(unsafe_code)]
// Labels on docs.rs for what needs a feature.
#![cfg_attr(docsrs, feature(doc_cfg))]

// Which module may import which is in `DESIGN.md`.
pub mod audit;
mod backup_codes;
pub mod code;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod context;
pub mod error;
pub mod hash;
mod id;
#[cfg(memcheck)]
#[doc(hidden)]
pub mod memcheck;
pub mod outcome;
pub mod policy;
pub mod report;
pub mod repository;
pub mod rules;
#[cfg(feature = "testing")]
pub mod testing;
mod timestamp;
mod unicode;

pub use audit::{JsonLines, RevokeReason};
pub use backup_codes::{
    BackupCodes, Confirmation, Delivery, Issued, Purged, Reports, SavedSettings, SchemeUse,
    SettingsSaved,
};
pub use code::{Format, Formats, Override, SetSize, Sheet, Wording};
pub use config::{Config, ReissueRule};
pub use context::Context;
pub use error::Error;
pub use hash::{HashParams, Hashing, Keyring, Pepper};
pub use id::{SetId, Subject, UserId};
pub use outcome::{Activation, Burn, Check, Effect, Notice, Redeem, Status};
pub use policy::{Settings, SettingsDraft, SharedSettings, Switch};
pub use report::{Periods, Usage, UserFilter, UserOrder, UsersQuery};
pub use repository::MemoryRepository;
pub use timestamp::Timestamp;

#[doc = include_str!("../docs/framing.md")]
pub mod framing {}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
