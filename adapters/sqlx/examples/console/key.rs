//! The pepper, in a file beside the database.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use backup_codes::hash::KeyId;
use backup_codes::{Keyring, Pepper};
use getrandom::rand_core::TryRng;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::failure::{Failure, complain};

/// Reads the key file, or makes one.
///
/// A real application takes its pepper from its secret store: a key beside the database is in the
/// same backup and protects nothing there.
pub(crate) fn keyring(file: &Path, may_create: bool) -> Result<Keyring, Failure> {
    let shown = file.display();
    if !file.exists() {
        if !may_create {
            return Err(Failure::new(format!(
                "the key file {shown} is missing, and no code can be checked without it: put it back"
            )));
        }
        let mut key = Zeroizing::new([0; 32]);
        getrandom::SysRng.try_fill_bytes(&mut *key)?;
        if save(file, &*key)? {
            complain(format!(
                "made the key file {shown}: no code works without it"
            ));
        }
    }
    let unusable = |error: &dyn std::error::Error| {
        Failure::new(format!("the key file {shown} cannot be used: {error}"))
    };
    let pepper = Pepper::new(fs::read(file).map_err(|error| unusable(&error))?);
    let pepper = pepper.map_err(|error| unusable(&error))?;
    Ok(Keyring::new(KeyId::new("console")?, pepper))
}

/// Writes a file that only its owner may read: whole, or not at all. Returns `false` if the file
/// exists already; it is not overwritten.
pub(crate) fn save(file: &Path, content: &[u8]) -> Result<bool, Failure> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let written = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).and_then(|mut new| {
        new.write_all(content)?;
        new.as_file().sync_all()?;
        match new.persist_noclobber(file) {
            Ok(_) => Ok(true),
            Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(failed) => Err(failed.error),
        }
    });
    written.map_err(|_| Failure::new("the file cannot be written: type one in another folder"))
}
