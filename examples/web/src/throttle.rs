//! A limit on attempts of passwords and authenticator codes.

use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backup_codes::{Effect, Timestamp};

/// The time over which attempts are counted.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// The number of buckets. A keyed hash assigns a bucket to each name or address: names that do not
/// exist are counted like those that do, and memory is bounded. Two keys in one bucket share its
/// attempts.
const BUCKETS: usize = 16_384;

/// Counts attempts for each bucket since a moment.
///
/// The counters are lost with the process. An attacker who can restart the process can read the
/// database too.
#[derive(Debug)]
pub(crate) struct Throttle {
    tries: u32,
    buckets: Mutex<Vec<Bucket>>,
    secret: u64,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tries: u32,
    since: Timestamp,
}

impl Throttle {
    /// Allows this number of attempts in a quarter of an hour.
    pub(crate) fn new(tries: u32) -> Self {
        let empty = Bucket {
            tries: 0,
            since: Timestamp::MIN,
        };
        Self {
            tries,
            buckets: Mutex::new(vec![empty; BUCKETS]),
            // Fixed in tests, which must not depend on which names share a bucket.
            secret: if cfg!(test) {
                0
            } else {
                RandomState::new().hash_one(0)
            },
        }
    }

    /// Counts an attempt before it is made, so that parallel attempts are counted too. `Err` is the
    /// time to wait.
    pub(crate) fn begin(&self, key: &str, now: Timestamp) -> Result<(), Duration> {
        self.with(key, |bucket| {
            let age = now.saturating_since(bucket.since);
            // A window that begins in the future is left from a clock that was ahead: it begins
            // now.
            bucket.since = bucket.since.min(now);
            if age >= WINDOW {
                *bucket = Bucket {
                    tries: 0,
                    since: now,
                };
            } else if bucket.tries >= self.tries {
                return Err(WINDOW - age);
            }
            bucket.tries += 1;
            Ok(())
        })
    }

    /// Clears the attempts after a right one.
    pub(crate) fn clear(&self, key: &str) -> Effect {
        match self.with(key, |bucket| std::mem::take(&mut bucket.tries)) {
            0 => Effect::Nothing,
            _ => Effect::Done,
        }
    }

    /// Takes back an attempt that ended without a verdict.
    pub(crate) fn take_back(&self, key: &str) {
        self.with(key, |bucket| bucket.tries = bucket.tries.saturating_sub(1));
    }

    fn with<T>(&self, key: &str, change: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut hasher = DefaultHasher::new();
        (self.secret, key).hash(&mut hasher);
        let number = hasher.finish() % BUCKETS as u64;
        let number = usize::try_from(number).unwrap_or(0);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut buckets[number])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_try_after_the_last_waits_and_a_right_one_clears() {
        let throttle = Throttle::new(3);
        let start = Timestamp::from_unix_millis(1_790_000_000_000).unwrap();
        for _ in 0..3 {
            assert_eq!(throttle.begin("alice", start), Ok(()));
        }
        let later = start.saturating_add(Duration::from_secs(60));
        assert_eq!(
            throttle.begin("alice", later),
            Err(Duration::from_secs(14 * 60))
        );
        throttle.take_back("alice");
        assert_eq!(throttle.begin("alice", later), Ok(()));
        assert!(throttle.begin("alice", later).is_err());
        assert_eq!(
            throttle.begin("alice", start.saturating_add(WINDOW)),
            Ok(())
        );
        assert_eq!(throttle.clear("alice"), Effect::Done);
        assert_eq!(throttle.clear("alice"), Effect::Nothing);
        for _ in 0..3 {
            assert_eq!(
                throttle.begin("alice", start.saturating_add(WINDOW)),
                Ok(())
            );
        }
    }

    #[test]
    fn a_clock_that_was_ahead_neither_forgets_tries_nor_holds_up_for_longer() {
        let throttle = Throttle::new(3);
        let now = Timestamp::from_unix_millis(1_790_000_000_000).unwrap();
        let ahead = now.saturating_add(4 * WINDOW);
        for _ in 0..3 {
            assert_eq!(throttle.begin("alice", ahead), Ok(()));
        }
        assert_eq!(throttle.begin("alice", now), Err(WINDOW));
        let later = now.saturating_add(WINDOW);
        assert_eq!(throttle.begin("alice", later), Ok(()));
    }
}
