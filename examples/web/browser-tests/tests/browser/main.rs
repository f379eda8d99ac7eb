//! The web application as people use it: in Chromium, clicked through.
//!
//! Without a browser each test prints that it is skipped. With `BACKUP_CODES_BROWSER=required` a
//! missing one is a failure. With `BACKUP_CODES_SCREENSHOTS=FOLDER` the pictures of the README are
//! made anew.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod accessibility;
mod audit;
mod authenticator;
mod browser;
mod checks;
mod driver;
mod keyboard;
mod paper;
mod settings;
mod site;
mod user;
mod user_page;
mod users_list;
mod without_script;
