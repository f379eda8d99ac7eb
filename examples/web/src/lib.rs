//! A web application with backup codes: login, profile, the administrator's page, the audit log.
//!
//! Everything is built on the public API of `backup-codes` and `backup-codes-sqlx`. Start reading
//! at `app.rs` (the application's state and its start), then `login.rs` and `backup_codes_page.rs`
//! (the user's pages) and `settings_page.rs` (an administrator's page).
#![forbid(unsafe_code)]

mod app;
mod assets;
mod audit_page;
mod authenticator_page;
mod backup_codes_page;
mod client_address;
mod clock;
mod csv;
mod error_pages;
mod frame;
mod key_file;
mod login;
mod password_tries;
mod passwords;
mod profile_page;
mod router;
mod session;
mod session_store;
mod settings_page;
mod throttle;
mod user_page;
mod users;
mod zone;

pub use app::{App, Cookies, Options, StartError};
pub use clock::Clock;
pub use router::router;
pub use users::DEMO_USERS;
