//! The memory store and the default engine keep their contracts, and for every clause a broken
//! store or engine shows that its case can fail.
#![expect(clippy::unwrap_used, reason = "tests")]

mod engines;
mod hanging;
mod lists;
mod records;
mod stores;
mod suite;
#[path = "../support/mod.rs"]
mod support;
