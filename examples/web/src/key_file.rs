//! The pepper, in a file beside the database.
//!
//! A real application takes it from its secret store, so that whoever gets the database or its
//! backup does not get it too.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use rand_core::TryRng as _;

/// Bytes of a pepper.
const LEN: usize = 32;

/// Reads the key of this database, or makes one where there is none.
pub(crate) fn read_or_make(database: &Path) -> io::Result<Vec<u8>> {
    let mut path = database.as_os_str().to_owned();
    path.push(".key");
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(&path) {
        Ok(mut file) => {
            // A new pepper beside an old database would make every code worthless.
            if database.exists() {
                fs::remove_file(&path)?;
                return Err(io::Error::other(
                    "the database is there and its key file is not: restore the key file",
                ));
            }
            let mut key = vec![0; LEN];
            getrandom::SysRng
                .try_fill_bytes(&mut key)
                .map_err(io::Error::other)?;
            file.write_all(&key)?;
            file.sync_all()?;
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let key = fs::read(&path)?;
            if key.len() != LEN {
                return Err(io::Error::other("the key file is damaged: restore it"));
            }
            Ok(key)
        }
        Err(error) => Err(error),
    }
}
