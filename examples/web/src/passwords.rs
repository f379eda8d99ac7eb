//! Hashing of passwords with Argon2id: off the executor, under a bound of its own.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use backup_codes::hash::Cost;
use rand_core::TryRng as _;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

/// The number of passwords that may wait to be hashed; later requests are told to try again.
const WAITING: usize = 64;

/// An error of hashing a password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    /// Too many wait already.
    #[error("too many passwords are being checked at this moment")]
    Busy,
    /// The hash could not be computed.
    #[error("a password could not be hashed: {0}")]
    Failed(String),
}

fn failed(error: impl ToString) -> PasswordError {
    PasswordError::Failed(error.to_string())
}

/// The memory that one hash needs.
type Matrix = Vec<Block>;

/// Hashes and compares passwords. Codes are hashed by threads and a queue of their own, so a rush
/// on the one does not delay the other.
#[derive(Debug)]
pub(crate) struct Passwords {
    params: Params,
    /// The hash that passwords of unknown users are compared with, so that they take as long as
    /// known ones.
    dummy: Arc<str>,
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    /// The memory of the hashes that run at once. It is reused: once freed, blocks of this size
    /// stay with the allocator, two for each thread, and under load they made up most of the
    /// process.
    matrices: Arc<Mutex<Vec<Matrix>>>,
}

impl Passwords {
    pub(crate) fn new(cost: Cost) -> Result<Self, PasswordError> {
        let params = Params::new(cost.memory_kib(), cost.passes(), 1, None).map_err(failed)?;
        let mut matrix = Matrix::new();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            dummy: new_hash("dummy", &params, &mut matrix)?.into(),
            params,
            admitted: Arc::new(Semaphore::new(threads + WAITING)),
            running: Arc::new(Semaphore::new(threads)),
            matrices: Arc::new(Mutex::new(vec![matrix])),
        })
    }

    /// Returns the PHC string of a new password.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let (params, password) = (self.params.clone(), Zeroizing::new(password.to_owned()));
        self.run(move |matrix| new_hash(&password, &params, matrix))
            .await
    }

    /// Returns whether this is the password of the hash. Without a hash the answer is no, at the
    /// same cost.
    pub(crate) async fn verify(
        &self,
        typed: &str,
        hash: Option<&str>,
    ) -> Result<bool, PasswordError> {
        let known = hash.is_some();
        let hash: Arc<str> = hash.map_or_else(|| Arc::clone(&self.dummy), Arc::from);
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
        // The permits move into the work: a request that ends early frees no place before its hash
        // is done.
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

/// Returns whether this is the password of the PHC string.
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
    /// Takes every place of the queue, so that no more passwords may wait until the permit is
    /// dropped.
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
