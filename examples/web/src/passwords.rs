//! Passwords: hashed with Argon2id off the executor, under a bound of their own.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::PasswordHasher as _;
use argon2::password_hash::phc::Output;
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use backup_codes::Cost;
use rand_core::TryRng as _;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Passwords that may wait for a hash; who comes after them is told to come again.
const WAITING: usize = 64;

/// No password could be hashed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    /// Too many wait already.
    #[error("too many passwords are being checked at this moment")]
    Busy,
    /// It could not be computed.
    #[error("a password could not be hashed: {0}")]
    Failed(String),
}

fn failed(error: impl ToString) -> PasswordError {
    PasswordError::Failed(error.to_string())
}

/// Hashes and compares passwords. Hashing of codes has threads and a queue of its own, so a run
/// on the one does not hold up the other.
#[derive(Debug)]
pub(crate) struct Passwords {
    argon2: Argon2<'static>,
    /// What unknown users are compared with, so that they cost what others do.
    nobody: Arc<str>,
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    /// Memory to hash in, as much as runs at once. It is kept: freed, such pieces stay with the
    /// allocator, a pair for each thread, and under load made up most of the process.
    matrices: Arc<Mutex<Vec<Vec<Block>>>>,
}

impl Passwords {
    pub(crate) fn new(cost: Cost) -> Result<Self, PasswordError> {
        let params = Params::new(cost.memory_kib(), cost.passes(), 1, None).map_err(failed)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody = hash(&argon2, &random_salt()?)?.into();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            argon2,
            nobody,
            admitted: Arc::new(Semaphore::new(threads + WAITING)),
            running: Arc::new(Semaphore::new(threads)),
            matrices: Arc::default(),
        })
    }

    /// The PHC string of a new password.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let (argon2, password) = (self.argon2.clone(), password.to_owned());
        let salt = random_salt()?;
        self.run(move || {
            let hash = argon2.hash_password_with_salt(password.as_bytes(), &salt);
            Ok(hash.map_err(failed)?.to_string())
        })
        .await
    }

    /// Whether this is the password behind the hash; never without one, at the same cost.
    pub(crate) async fn verify(
        &self,
        typed: &str,
        hash: Option<&str>,
    ) -> Result<bool, PasswordError> {
        let known = hash.is_some();
        let hash: Arc<str> = hash.map_or_else(|| Arc::clone(&self.nobody), Arc::from);
        let (matrices, typed) = (Arc::clone(&self.matrices), typed.to_owned());
        let same = self
            .run(move || {
                let kept = matrices
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop();
                let mut matrix = kept.unwrap_or_default();
                let same = is_password(&typed, &hash, &mut matrix);
                let mut matrices = matrices.lock().unwrap_or_else(PoisonError::into_inner);
                matrices.push(matrix);
                same
            })
            .await?;
        Ok(same && known)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let admitted = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|_| PasswordError::Busy)?;
        let running = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(failed)?;
        // The permits go with the work: a request that ends early does not make room for more
        // than there is.
        spawn_blocking(move || {
            let done = work();
            drop((admitted, running));
            done
        })
        .await
        .map_err(failed)?
    }
}

/// Whether this is the password behind the PHC string.
fn is_password(typed: &str, phc: &str, matrix: &mut Vec<Block>) -> Result<bool, PasswordError> {
    let phc = PasswordHash::new(phc).map_err(failed)?;
    let params = Params::try_from(&phc).map_err(failed)?;
    let (Some(salt), Some(stored)) = (&phc.salt, &phc.hash) else {
        return Err(failed("the stored password is no hash"));
    };
    matrix.resize(params.block_count(), Block::default());
    let mut computed = [0; Output::MAX_LENGTH];
    let computed = &mut computed[..stored.len()];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(typed.as_bytes(), salt, computed, matrix)
        .map_err(failed)?;
    // `Output` compares in constant time.
    Ok(Output::new(computed).map_err(failed)? == *stored)
}

fn hash(argon2: &Argon2<'_>, salt: &[u8; 16]) -> Result<String, PasswordError> {
    let hash = argon2.hash_password_with_salt(salt, salt);
    Ok(hash.map_err(failed)?.to_string())
}

fn random_salt() -> Result<[u8; 16], PasswordError> {
    let mut salt = [0; 16];
    getrandom::SysRng
        .try_fill_bytes(&mut salt)
        .map_err(failed)?;
    Ok(salt)
}

#[cfg(test)]
impl Passwords {
    /// As if so many passwords were being checked that no more may wait, until it is dropped.
    pub(crate) fn take_all_places(&self) -> tokio::sync::OwnedSemaphorePermit {
        let places = u32::try_from(self.admitted.available_permits()).unwrap();
        Arc::clone(&self.admitted)
            .try_acquire_many_owned(places)
            .unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn where_all_places_are_taken_the_next_is_told_so_and_leaves_nothing_behind() {
        let passwords = Passwords::new(Cost::LEAST).unwrap();
        let places = passwords.admitted.available_permits();
        let taken = passwords.take_all_places();
        let busy = passwords.verify("right", None).await;
        assert!(matches!(busy, Err(PasswordError::Busy)));
        drop(taken);
        let hash = passwords.hash("right").await.unwrap();
        for (typed, hash, right) in [
            ("right", Some(&*hash), true),
            ("wrong", Some(&hash), false),
            ("right", None, false),
        ] {
            assert_eq!(
                passwords.verify(typed, hash).await.unwrap(),
                right,
                "{typed}"
            );
        }
        let damaged = passwords.verify("right", Some("no hash")).await;
        assert!(matches!(damaged, Err(PasswordError::Failed(_))));
        assert_eq!(passwords.admitted.available_permits(), places);
        assert_eq!(passwords.running.available_permits() + 64, places);
    }
}
