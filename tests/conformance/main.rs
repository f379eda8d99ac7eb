//! The memory store keeps the contract, and for every clause a broken store shows that its case
//! can fail.
#![expect(clippy::unwrap_used, reason = "tests")]

mod hanging;
mod lists;
mod records;
mod stores;
mod suite;
#[path = "../support/mod.rs"]
mod support;
