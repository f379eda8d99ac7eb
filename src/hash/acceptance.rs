//! The conditions under which a stored set is in force: an accepted format, a known key, a cost
//! within bounds, and a time of preparation that is not void.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::audit::event::Reason;
use crate::code::format::{Format, Formats};
use crate::config::Config;
use crate::error::record::RecordError;
use crate::hash::cost::Cost;
use crate::hash::keyring::StoredKey;
use crate::hash::params::{CostBounds, HashParams, KnownKeys};
use crate::timestamp::Timestamp;

/// The tolerated difference between the clocks of two machines; a stored time further in the future
/// counts as written by a wrong clock.
pub(crate) const SKEW: Duration = Duration::from_secs(5 * 60);

/// The format, cost and key that the hashes of a set share.
///
/// All codes of a set share one scheme. It holds no secret, and a repository may index it: its text
/// is the format's id, the cost, and the key where there is one.
///
/// ```
/// use backup_codes::Format;
/// use backup_codes::hash::{Cost, Scheme};
///
/// let scheme = Scheme::new(Format::CROCKFORD, Cost::MIB_19, Some("2026:9f86d081".parse()?));
/// assert_eq!(scheme.to_string(), "crockford-14,m=19456,t=2,key=2026:9f86d081");
/// assert_eq!(scheme.to_string().parse(), Ok(scheme));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scheme {
    format: Format,
    cost: Cost,
    key: Option<StoredKey>,
}

impl Scheme {
    /// Creates a scheme from its parts.
    #[must_use]
    pub const fn new(format: Format, cost: Cost, key: Option<StoredKey>) -> Self {
        Self { format, cost, key }
    }

    /// Returns the format of the codes.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Returns the cost of one evaluation.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Returns the key of the hashes; `None` without a pepper.
    #[must_use]
    pub fn key(&self) -> Option<&StoredKey> {
        self.key.as_ref()
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (memory, passes) = (self.cost.memory_kib(), self.cost.passes());
        write!(f, "{},m={memory},t={passes}", self.format)?;
        match &self.key {
            Some(key) => write!(f, ",key={key}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Scheme {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let mut parts = text.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        let format = part("").and_then(|id| id.parse().ok());
        let number = |part: Option<&str>| part.and_then(|digits| digits.parse().ok());
        let (memory, passes) = (number(part("m=")), number(part("t=")));
        let key = part("key=").map(str::parse).transpose();
        let scheme = Self {
            format: format.ok_or(RecordError::Scheme)?,
            cost: Cost::new(
                memory.ok_or(RecordError::Scheme)?,
                passes.ok_or(RecordError::Scheme)?,
            )
            .map_err(|_| RecordError::Scheme)?,
            key: key.map_err(|_| RecordError::Scheme)?,
        };
        // `m=019456` and an extra part would parse the same; a scheme has one spelling.
        if scheme.to_string() == text {
            Ok(scheme)
        } else {
            Err(RecordError::Scheme)
        }
    }
}

/// The conditions under which a stored set is in force: accepted formats, known keys, bounds of
/// cost, and the moment before which sets are void.
///
/// It is made from the configuration and the keyring, holds no secret, and is part of every query
/// over users, so that lists and figures count the codes that would be accepted.
///
/// ```
/// use backup_codes::{Config, Format, HashParams, Keyring};
/// use backup_codes::audit::Reason;
/// use backup_codes::hash::{Acceptance, Cost, Scheme};
///
/// let params = HashParams::new(Keyring::without_pepper())?;
/// let acceptance = Acceptance::new(&Config::default(), &params);
/// let digits = Scheme::new(Format::DIGITS, Cost::MIB_19, None);
/// assert_eq!(acceptance.check(&digits), Err(Reason::FormatNotAccepted));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    formats: Formats,
    keys: KnownKeys,
    bounds: CostBounds,
    void_before: Option<Timestamp>,
}

impl Acceptance {
    /// Creates the conditions of a configuration and the parameters of hashing.
    #[must_use]
    pub fn new(config: &Config, params: &HashParams) -> Self {
        Self {
            formats: config.formats.clone(),
            keys: params.known_keys().clone(),
            bounds: params.bounds(),
            void_before: config.void_before,
        }
    }

    /// Sets the moment before which sets are void; `None` for no such moment.
    #[must_use]
    pub fn with_void_before(mut self, moment: Option<Timestamp>) -> Self {
        self.void_before = moment;
        self
    }

    /// Returns the moment before which sets are void.
    #[must_use]
    pub fn void_before(&self) -> Option<Timestamp> {
        self.void_before
    }

    /// Checks whether codes of a scheme can be accepted at all.
    ///
    /// A repository with indexes calls this for each scheme it holds, of which there are few.
    ///
    /// # Errors
    /// [`Reason::FormatNotAccepted`], [`Reason::UnknownKey`], [`Reason::KeyMismatch`],
    /// [`Reason::CostAboveCeiling`] or [`Reason::CostBelowFloor`].
    pub fn check(&self, scheme: &Scheme) -> Result<(), Reason> {
        if !self.formats.accept(scheme.format) {
            return Err(Reason::FormatNotAccepted);
        }
        self.keys.check(scheme.key())?;
        self.bounds.check(scheme.cost, scheme.format)?;
        Ok(())
    }

    /// Returns the first and the last time of preparation, both included, whose sets are not void
    /// at `now`.
    ///
    /// Without `void_before` that is all of time. With it, a time more than five minutes ahead of
    /// `now` is void too: a machine whose clock was wrong wrote it, and it does not tell whether
    /// the set is older than the restored backup.
    #[must_use]
    pub fn prepared_within(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        match self.void_before {
            None => (Timestamp::MIN, Timestamp::MAX),
            Some(moment) => (moment, now.saturating_add(SKEW)),
        }
    }

    /// Returns whether a set or override of this time is void at `now`.
    pub(crate) fn is_void(&self, moment: Timestamp, now: Timestamp) -> bool {
        let (first, last) = self.prepared_within(now);
        moment < first || moment > last
    }

    /// Returns whether a set of this time is void because it lies in the future. A `now` before
    /// `void_before` proves nothing: that clock is wrong itself.
    pub(crate) fn is_void_as_future(&self, moment: Timestamp, now: Timestamp) -> bool {
        let latest = now.saturating_add(SKEW);
        self.void_before.is_some_and(|void| latest >= void) && moment > latest
    }
}

impl Default for Acceptance {
    /// Returns the conditions of the default configuration and of a keyring without a pepper.
    fn default() -> Self {
        Self {
            formats: Formats::default(),
            keys: KnownKeys::unpeppered(),
            bounds: CostBounds::default(),
            void_before: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_has_one_spelling() {
        for text in [
            "crockford-14,m=19456,t=2",
            "digits-21,m=47104,t=1,key=a:00000000",
        ] {
            assert_eq!(text.parse::<Scheme>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "crockford-14",
            "crockford-14,m=19456",
            "crockford-14,t=2,m=19456",
            "crockford-14,m=019456,t=2",
            "crockford-14,m=19456,t=2,",
            "crockford-14,m=19456,t=2,key=",
            "crockford-14,m=19456,t=2,key=a",
            "crockford-14,m=19456,t=2,key=a:00000000,x",
            "crockford-14,m=19456,t=17",
            "hex-14,m=19456,t=2",
        ] {
            assert_eq!(text.parse::<Scheme>(), Err(RecordError::Scheme), "{text}");
        }
    }

    #[test]
    fn the_default_is_that_of_the_default_configuration_without_a_pepper() {
        let params = HashParams::new(crate::Keyring::without_pepper()).unwrap();
        let acceptance = Acceptance::new(&Config::default(), &params);
        assert_eq!(acceptance, Acceptance::default());
    }

    #[test]
    fn a_future_set_is_void_only_where_sets_can_be_void() {
        let at = |minute: i64| Timestamp::from_unix_millis(minute * 60_000).unwrap();
        let acceptance = Acceptance::default();
        assert!(!acceptance.is_void(at(1000), at(0)));
        let acceptance = acceptance.with_void_before(Some(at(100)));
        for (moment, now, void, as_future) in [
            (99, 200, true, false),
            (100, 200, false, false),
            (205, 200, false, false),
            (206, 200, true, true),
            // This clock is wrong: sets are refused, but none is removed because of it.
            (206, 94, true, false),
            (206, 95, true, true),
        ] {
            assert_eq!(
                acceptance.is_void(at(moment), at(now)),
                void,
                "{moment} {now}"
            );
            let future = acceptance.is_void_as_future(at(moment), at(now));
            assert_eq!(future, as_future, "{moment} {now}");
        }
    }
}
