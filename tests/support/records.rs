//! Stored records.

use backup_codes::report::Summary;
use backup_codes::repository::{
    CodeRepository as _, Expected, Freshness, Loaded, Put, PutOutcome, Revision,
};
use backup_codes::{MemoryRepository, UserId};
use getrandom::SysRng;
use pollster::block_on;

use super::people::alice;

/// The stored record of Alice.
pub(crate) fn load(repository: &MemoryRepository) -> Loaded {
    let loaded = block_on(repository.load(alice().id(), Freshness::Latest));
    loaded.unwrap().unwrap()
}

/// Stores the first record of a user.
pub(crate) fn insert(
    repository: &MemoryRepository,
    user: &UserId,
    record: &str,
    summary: &Summary,
) {
    put(repository, user, Expected::Absent, record, summary);
}

/// Replaces the stored text of Alice, as an attacker does who can write to the database.
pub(crate) fn rewrite<F: Fn(&str) -> String>(repository: &MemoryRepository, change: F) {
    let loaded = load(repository);
    let record = change(&loaded.record);
    assert_ne!(record, loaded.record, "the tampering changed nothing");
    let (user, expected) = (alice(), Expected::At(loaded.revision));
    put(
        repository,
        user.id(),
        expected,
        &record,
        &Summary::default(),
    );
}

fn put(
    repository: &MemoryRepository,
    user: &UserId,
    expected: Expected,
    record: &str,
    summary: &Summary,
) {
    let revision = Revision::random(&mut SysRng).unwrap();
    let put = Put::new(user, expected, revision, record, summary, &[]);
    assert_eq!(block_on(repository.put(put)).unwrap(), PutOutcome::Applied);
}
