//! Tests of the web application in Chromium, used as people use it.
//!
//! Without a browser each test prints that it is skipped. With `BACKUP_CODES_BROWSER=required` a
//! missing browser is a failure. With `BACKUP_CODES_SCREENSHOTS=FOLDER` the tests make the pictures
//! of the README again.
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
