//! The pepper, in a file beside the database.
//!
//! A real application takes the pepper from its secret store, so that an attacker who gets the
//! database or its backup does not get the pepper too.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rand_core::TryRng as _;
use zeroize::Zeroizing;

/// The length of a pepper, in bytes.
const LEN: usize = 32;

/// Reads the key of this database, or makes one where there is neither database nor key.
pub(crate) fn read_or_make(database: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let path = beside(database, ".key");
    if let Some(key) = read(&path)? {
        return Ok(key);
    }
    // A new pepper beside an old database would make every code invalid.
    if database.exists() {
        // Another process may have made both since, when two start at once.
        return read(&path)?.ok_or_else(|| {
            io::Error::other("the database is there and its key file is not: restore the key file")
        });
    }
    make(&path)?;
    read(&path)?.ok_or_else(|| io::Error::other("the key file was removed as it was made"))
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut path = OsString::from(file);
    path.push(ending);
    path.into()
}

fn read(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    // `read` allocates the file's size at once, so no copies of the key are left behind.
    match fs::read(path).map(Zeroizing::new) {
        Ok(key) if key.len() == LEN => Ok(Some(key)),
        Ok(_) => Err(io::Error::other("the key file is damaged: restore it")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a key under a temporary name and then links it to the right one, so that a file of that
/// name is whole, even if a process is stopped or another starts at the same time. A key file that
/// exists already stays.
fn make(path: &Path) -> io::Result<()> {
    let mut rng = getrandom::SysRng;
    let mut key = Zeroizing::new([0; LEN]);
    rng.try_fill_bytes(&mut *key).map_err(io::Error::other)?;
    let number = rng.try_next_u64().map_err(io::Error::other)?;
    let own = &beside(path, &format!(".{number:x}"));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(own)?;
    file.write_all(&*key)?;
    file.sync_all()?;
    let linked = fs::hard_link(own, path);
    fs::remove_file(own)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn one_key_is_made_whoever_starts_and_none_beside_an_old_database() {
        let folder = TempDir::new().unwrap();
        let database = folder.path().join("web.db");
        let key = || read_or_make(&database);
        let keys: Vec<_> = thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(key)).collect();
            let ended = starts.into_iter().map(|start| start.join().unwrap());
            ended.collect::<io::Result<_>>().unwrap()
        });
        assert!(keys.iter().all(|key| *key == keys[0] && key.len() == LEN));
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 1, "nothing else is left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(beside(&database, ".key"))
                .unwrap()
                .permissions();
            assert_eq!(mode.mode() & 0o777, 0o600);
        }

        fs::write(&database, "").unwrap();
        assert_eq!(key().unwrap(), keys[0]);
        let path = beside(&database, ".key");
        fs::write(&path, "short").unwrap();
        assert!(key().unwrap_err().to_string().contains("is damaged"));
        fs::remove_file(&path).unwrap();
        assert!(
            key()
                .unwrap_err()
                .to_string()
                .contains("restore the key file")
        );
        assert!(!path.exists());
    }
}
