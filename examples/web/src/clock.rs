//! The clock, which tests replace.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use backup_codes::Timestamp;

/// The clock of this application: locks, logins, figures and events use it. Only the removal of old
/// sessions uses the system's clock, which tower-sessions reads.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Returns the system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(system_time)
    }

    /// Returns a clock that calls this function, for tests.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an application reads the clock; the crates do not"
)]
fn system_time() -> Timestamp {
    // A system clock before 1970 or after 9999 is taken for a broken one.
    Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::MIN)
}
