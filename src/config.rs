//! The configuration, which the application decides once, in its code: formats, sizes, limits,
//! lifetimes.

use std::time::Duration;

use crate::code::SetSize;
use crate::code::format::Formats;
use crate::timestamp::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// When the application should tell a user to print a new sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReissueRule {
    /// When few codes are left.
    WhenLow,
    /// After every use: the strict reading of NIST SP 800-63B-4, 4.2.1.1.
    AfterEveryUse,
}

/// Rules of the application that no administrator changes. Kept in code, not in the store.
///
/// ```
/// use std::time::Duration;
/// use backup_codes::{Config, Format, Formats, SetSize};
///
/// let config = Config::default()
///     .with_formats(Formats::new(Format::DIGITS))
///     .with_set_size(SetSize::new(12)?)
///     .with_disable_after(50)?;
/// assert!(Config::default().with_disable_after(101).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) formats: Formats,
    pub(crate) set_size: SetSize,
    pub(crate) disable_after: u8,
    pub(crate) set_lifetime: Option<Duration>,
    pub(crate) max_override_lifetime: Duration,
    pub(crate) reissue: ReissueRule,
    pub(crate) void_before: Option<Timestamp>,
    pub(crate) keep_uses: Duration,
    pub(crate) tombstone_grace: Duration,
}

/// A limit or lifetime outside its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The lifetime run is 0 or over 100.
    #[error("the lifetime run is 1 to 100 wrong codes (nist sp 800-63b-4, 3.2.2)")]
    DisableAfter,
    /// A set would expire before its user could use it.
    #[error("a set's lifetime is at least one day, or leave it out: codes wait in a drawer")]
    SetLifetime,
    /// An override could live longer than a week, or not at all.
    #[error("the longest lifetime of an override code is one minute to seven days")]
    OverrideLifetime,
    /// Uses would be forgotten before the month's figures are read.
    #[error("uses are kept 62 to 400 days: the figures of this month and the last need them")]
    KeepUses,
    /// Tombstones would go too soon.
    #[error("tombstones stay at least one day, so that late writes find them")]
    TombstoneGrace,
}

impl Config {
    /// Every this many consecutive wrong codes the set is locked (PCI DSS 4.0, 8.3.4).
    pub const LOCK_EVERY: u8 = 10;
    /// For how long (PCI DSS 4.0, 8.3.4).
    pub const LOCK_FOR: Duration = Duration::from_secs(30 * 60);
    /// A prepared set that was not activated by then is dropped.
    pub const PREPARED_LIFETIME: Duration = Duration::from_secs(60 * 60);
    /// The longest lifetime that an override code can be allowed: seven days.
    pub(crate) const LONGEST_OVERRIDE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    /// The number of wrong codes in a row that revokes an override.
    pub const REVOKE_OVERRIDE_AFTER: u8 = 10;

    /// The format new codes have, and older ones still accepted.
    #[must_use]
    pub fn with_formats(mut self, formats: Formats) -> Self {
        self.formats = formats;
        self
    }

    /// Codes in a set.
    #[must_use]
    pub fn with_set_size(mut self, size: SetSize) -> Self {
        self.set_size = size;
        self
    }

    /// After this many consecutive wrong codes, however far apart, the set is disabled:
    /// 1 to 100.
    ///
    /// # Errors
    /// [`ConfigError::DisableAfter`] outside these bounds (NIST SP 800-63B-4, 3.2.2).
    pub fn with_disable_after(mut self, wrong_codes: u8) -> Result<Self, ConfigError> {
        if !(1..=100).contains(&wrong_codes) {
            return Err(ConfigError::DisableAfter);
        }
        self.disable_after = wrong_codes;
        Ok(self)
    }

    /// Sets expire this long after they were prepared; refused from that instant on. By default
    /// they do not.
    ///
    /// # Errors
    /// [`ConfigError::SetLifetime`] under one day.
    pub fn with_set_lifetime(mut self, lifetime: Duration) -> Result<Self, ConfigError> {
        if lifetime < DAY {
            return Err(ConfigError::SetLifetime);
        }
        self.set_lifetime = Some(lifetime);
        Ok(self)
    }

    /// The longest lifetime an override code can be given: one minute to seven days, by default
    /// one day.
    ///
    /// # Errors
    /// [`ConfigError::OverrideLifetime`] outside these bounds.
    pub fn with_max_override_lifetime(mut self, lifetime: Duration) -> Result<Self, ConfigError> {
        if lifetime < Duration::from_secs(60) || lifetime > Self::LONGEST_OVERRIDE {
            return Err(ConfigError::OverrideLifetime);
        }
        self.max_override_lifetime = lifetime;
        Ok(self)
    }

    /// When users are advised to print a new sheet.
    #[must_use]
    pub fn with_reissue(mut self, rule: ReissueRule) -> Self {
        self.reissue = rule;
        self
    }

    /// Sets and overrides prepared before this moment do not count, whatever the store says.
    ///
    /// The remedy after a database was restored from a backup, in which spent codes are unspent
    /// again: set it to the time of the restore, in the application's configuration. Once it is set,
    /// what was made more than five minutes later than the clock allows does not count either, and
    /// is removed by the next write to that user's record: a wrong clock made it, so its time does
    /// not show that it is younger than the backup. Keep the clocks of all nodes right.
    #[must_use]
    pub fn with_void_before(mut self, moment: Timestamp) -> Self {
        self.void_before = Some(moment);
        self
    }

    /// How long uses are kept for the figures: 62 to 400 days, by default 400.
    ///
    /// # Errors
    /// [`ConfigError::KeepUses`] outside these bounds.
    pub fn with_keep_uses(mut self, keep: Duration) -> Result<Self, ConfigError> {
        if keep < 62 * DAY || keep > 400 * DAY {
            return Err(ConfigError::KeepUses);
        }
        self.keep_uses = keep;
        Ok(self)
    }

    /// How long the tombstone of an erased user stays before purging removes it: at least one
    /// day, by default 30.
    ///
    /// # Errors
    /// [`ConfigError::TombstoneGrace`] under one day.
    pub fn with_tombstone_grace(mut self, grace: Duration) -> Result<Self, ConfigError> {
        if grace < DAY {
            return Err(ConfigError::TombstoneGrace);
        }
        self.tombstone_grace = grace;
        Ok(self)
    }

    /// Formats in use.
    #[must_use]
    pub fn formats(&self) -> &Formats {
        &self.formats
    }

    /// Codes in a set.
    #[must_use]
    pub fn set_size(&self) -> SetSize {
        self.set_size
    }

    /// The moment before which sets do not count.
    #[must_use]
    pub fn void_before(&self) -> Option<Timestamp> {
        self.void_before
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            formats: Formats::default(),
            set_size: SetSize::default(),
            disable_after: 100,
            set_lifetime: None,
            max_override_lifetime: DAY,
            reissue: ReissueRule::WhenLow,
            void_before: None,
            keep_uses: 400 * DAY,
            tombstone_grace: 30 * DAY,
        }
    }
}
