//! Passwords: hashed with Argon2id off the executor, under a bound of their own.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use backup_codes::hash::Cost;
use rand_core::TryRng as _;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

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

/// Memory to hash in.
type Matrix = Vec<Block>;

/// Hashes and compares passwords. Hashing of codes has threads and a queue of its own, so a run
/// on the one does not hold up the other.
#[derive(Debug)]
pub(crate) struct Passwords {
    params: Params,
    /// What unknown users are compared with, so that they cost what others do.
    nobody: Arc<str>,
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    /// As many as run at once. They are kept: freed, such pieces stay with the allocator, a pair for
    /// each thread, and under load made up most of the process.
    matrices: Arc<Mutex<Vec<Matrix>>>,
}

impl Passwords {
    pub(crate) fn new(cost: Cost) -> Result<Self, PasswordError> {
        let params = Params::new(cost.memory_kib(), cost.passes(), 1, None).map_err(failed)?;
        let mut matrix = Matrix::new();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            nobody: new_hash("nobody", &params, &mut matrix)?.into(),
            params,
            admitted: Arc::new(Semaphore::new(threads + WAITING)),
            running: Arc::new(Semaphore::new(threads)),
            matrices: Arc::new(Mutex::new(vec![matrix])),
        })
    }

    /// The PHC string of a new password.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let (params, password) = (self.params.clone(), Zeroizing::new(password.to_owned()));
        self.run(move |matrix| new_hash(&password, &params, matrix))
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
        let typed = Zeroizing::new(typed.to_owned());
        let same = self
            .run(move |matrix| is_password(&typed, &hash, matrix))
            .await?;
        Ok(same && known)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Matrix) -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let admitted = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|_| PasswordError::Busy)?;
        let running = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(failed)?;
        let matrices = Arc::clone(&self.matrices);
        // The permits go with the work: a request that ends early does not make room for more
        // than there is.
        spawn_blocking(move || {
            let kept = || matrices.lock().unwrap_or_else(PoisonError::into_inner);
            let matrix = kept().pop();
            let mut matrix = matrix.unwrap_or_default();
            let done = work(&mut matrix);
            kept().push(matrix);
            drop((admitted, running));
            done
        })
        .await
        .map_err(failed)?
    }
}

fn new_hash(password: &str, params: &Params, matrix: &mut Matrix) -> Result<String, PasswordError> {
    let mut salt = [0; 16];
    getrandom::SysRng
        .try_fill_bytes(&mut salt)
        .map_err(failed)?;
    let mut tag = [0; Params::DEFAULT_OUTPUT_LEN];
    compute(password, params, &salt, &mut tag, matrix)?;
    let phc = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(failed)?,
        salt: Some(Salt::new(&salt).map_err(failed)?),
        hash: Some(Output::new(&tag).map_err(failed)?),
    };
    Ok(phc.to_string())
}

/// Whether this is the password behind the PHC string.
fn is_password(typed: &str, phc: &str, matrix: &mut Matrix) -> Result<bool, PasswordError> {
    let phc = PasswordHash::new(phc).map_err(failed)?;
    let params = Params::try_from(&phc).map_err(failed)?;
    let (Some(salt), Some(stored)) = (&phc.salt, &phc.hash) else {
        return Err(failed("the stored password is no hash"));
    };
    let mut tag = [0; Output::MAX_LENGTH];
    let tag = &mut tag[..stored.len()];
    compute(typed, &params, salt, tag, matrix)?;
    // `Output` compares in constant time.
    Ok(Output::new(tag).map_err(failed)? == *stored)
}

fn compute(
    password: &str,
    params: &Params,
    salt: &[u8],
    tag: &mut [u8],
    matrix: &mut Matrix,
) -> Result<(), PasswordError> {
    matrix.resize(params.block_count(), Block::default());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into_with_memory(password.as_bytes(), salt, tag, matrix)
        .map_err(failed)
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
        assert!(hash.starts_with("$argon2id$v=19$m="), "{hash}");
        assert_ne!(hash, passwords.hash("right").await.unwrap());
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
        assert_eq!(passwords.running.available_permits() + WAITING, places);
        assert_eq!(passwords.matrices.lock().unwrap().len(), 1, "one at a time");
    }
}
