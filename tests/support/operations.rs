//! The operations over a repository of the test.

use backup_codes::repository::CodeRepository;
use backup_codes::{BackupCodes, Config, Format, Formats, Settings};

use super::hashing::cheap_hashing;

/// The default configuration with codes whose hashing is cheap.
pub(crate) fn config() -> Config {
    Config::default().with_formats(Formats::new(Format::HIGH_ENTROPY))
}

/// The operations under [`config`] and the default settings.
pub(crate) fn backup_codes<R: CodeRepository + 'static>(repository: R) -> BackupCodes {
    BackupCodes::new(repository, Settings::default(), cheap_hashing()).with_config(config())
}
