//! `BackupCodes` as an application uses it: each test is a promise of the documentation.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod audit;
mod damage;
mod faults;
mod fixture;
mod hashes;
mod overrides;
mod policy;
mod purging;
mod reports;
mod sets;
mod settings;
mod single_use;
#[path = "../support/mod.rs"]
mod support;
mod texts;
mod throttle;
