//! A record is written by a machine whose clock was wrong, and read after it was set right.
//!
//! Every moment that is stored, in every direction: what is accepted, refused and shown then is
//! compared with the rules as they are stated, which are written down here once more and not taken
//! from the crate.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod boundaries;
mod comparison;
mod reported;
mod rules;
mod settings;
mod site;
mod stored;
#[path = "../support/mod.rs"]
mod support;
mod writes;
