//! Who acts, and when.

use backup_codes::{Context, Timestamp};

use super::people::{admin, alice};

/// Alice acts for herself.
pub(crate) fn own(now: Timestamp) -> Context {
    Context::new(now, alice())
}

pub(crate) fn by_admin(now: Timestamp) -> Context {
    Context::new(now, admin())
}
