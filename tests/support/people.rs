//! The people of the tests.

use backup_codes::{Subject, UserId};

pub(crate) fn subject(name: &str, role: &str) -> Subject {
    Subject::new(UserId::new(name).unwrap(), [role])
}

/// A user.
pub(crate) fn alice() -> Subject {
    subject("alice", "staff")
}

/// Another user.
pub(crate) fn bob() -> Subject {
    subject("bob", "staff")
}

pub(crate) fn admin() -> Subject {
    subject("root", "administrator")
}
