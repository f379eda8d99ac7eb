//! The pages as a browser without script uses them, in process.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod administrator;
mod security;
mod site;
mod user;
