//! The configuration that the application sets once, in its code: formats, sizes, limits, lifetimes.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::code::SetSize;
use crate::code::format::{Format, Formats};
use crate::error::value::ValueError;
use crate::timestamp::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The rule for when to advise a user to print a new sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReissueRule {
    /// When few codes are left.
    WhenLow,
    /// After every use: the strict reading of NIST SP 800-63B-4, 4.2.1.1.
    AfterEveryUse,
}

/// The application's own rules, which no administrator changes. Keep them in code, not in the
/// repository.
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
///
/// It can also be read from the application's own configuration, by serde and with the same bounds.
/// A field that is left out or null has its default, and an unknown field is an error. The moment is
/// a string, in TOML too.
///
/// ```
/// use backup_codes::Config;
///
/// let config: Config = serde_json::from_str(
///     r#"{
///         "format": "crockford-14",
///         "older_formats": ["digits-21"],
///         "set_size": 10,
///         "disable_after_wrong_codes": 100,
///         "set_lifetime_days": 365,
///         "max_override_lifetime_minutes": 1440,
///         "reissue": "after_every_use",
///         "void_before": "2026-11-25T10:00:00Z",
///         "keep_uses_days": 400,
///         "tombstone_grace_days": 30
///     }"#,
/// )?;
/// assert_eq!(config.void_before(), Some("2026-11-25T10:00:00Z".parse()?));
/// assert!(serde_json::from_str::<Config>(r#"{"disable_after_wrong_codes": 101}"#).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "ConfigText")]
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

/// The fields of [`Config`] as they are read, not yet checked.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ConfigText {
    format: Option<Format>,
    older_formats: Option<Vec<Format>>,
    set_size: Option<u8>,
    disable_after_wrong_codes: Option<u8>,
    set_lifetime_days: Option<u32>,
    max_override_lifetime_minutes: Option<u32>,
    reissue: Option<ReissueRule>,
    #[serde(deserialize_with = "moment")]
    void_before: Option<Timestamp>,
    keep_uses_days: Option<u32>,
    tombstone_grace_days: Option<u32>,
}

/// Reads RFC 3339; a record has moments as numbers.
fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let moment = text.map(|text| text.parse()).transpose();
    moment.map_err(serde::de::Error::custom)
}

impl TryFrom<ConfigText> for Config {
    type Error = ValueError;

    fn try_from(text: ConfigText) -> Result<Self, ValueError> {
        let mut config = Self::default();
        if let Some(format) = text.format {
            config = config.with_formats(Formats::new(format));
        }
        for older in text.older_formats.unwrap_or_default() {
            config.formats = config.formats.accepting(older)?;
        }
        if let Some(codes) = text.set_size {
            config = config.with_set_size(SetSize::new(codes)?);
        }
        if let Some(wrong_codes) = text.disable_after_wrong_codes {
            config = config.with_disable_after(wrong_codes)?;
        }
        if let Some(days) = text.set_lifetime_days {
            config = config.with_set_lifetime(days * DAY)?;
        }
        if let Some(minutes) = text.max_override_lifetime_minutes {
            config = config.with_max_override_lifetime(minutes * Duration::from_secs(60))?;
        }
        if let Some(rule) = text.reissue {
            config = config.with_reissue(rule);
        }
        if let Some(moment) = text.void_before {
            config = config.with_void_before(moment);
        }
        if let Some(days) = text.keep_uses_days {
            config = config.with_keep_uses(days * DAY)?;
        }
        if let Some(days) = text.tombstone_grace_days {
            config = config.with_tombstone_grace(days * DAY)?;
        }
        Ok(config)
    }
}

impl Config {
    /// The set is locked each time the number of wrong codes in a row reaches a multiple of this
    /// (PCI DSS 4.0, 8.3.4).
    pub const LOCK_EVERY: u8 = 10;
    /// The duration of a lock (PCI DSS 4.0, 8.3.4).
    pub const LOCK_FOR: Duration = Duration::from_secs(30 * 60);
    /// The lifetime of a prepared set; one that was not activated by then is dropped.
    pub const PREPARED_LIFETIME: Duration = Duration::from_secs(60 * 60);
    /// The upper bound of [`with_max_override_lifetime`](Self::with_max_override_lifetime): seven
    /// days.
    pub(crate) const LONGEST_OVERRIDE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    /// The number of wrong codes in a row that revokes an override.
    pub const REVOKE_OVERRIDE_AFTER: u8 = 10;

    /// Sets the format of new codes, and the older formats that are still accepted.
    #[must_use]
    pub fn with_formats(mut self, formats: Formats) -> Self {
        self.formats = formats;
        self
    }

    /// Sets the number of codes in a set.
    #[must_use]
    pub fn with_set_size(mut self, size: SetSize) -> Self {
        self.set_size = size;
        self
    }

    /// Sets the number of wrong codes in a row, however far apart, after which the set is disabled:
    /// 1 to 100, by default 100.
    ///
    /// # Errors
    /// [`ValueError::DisableAfter`] outside these bounds (NIST SP 800-63B-4, 3.2.2).
    pub fn with_disable_after(mut self, wrong_codes: u8) -> Result<Self, ValueError> {
        if !(1..=100).contains(&wrong_codes) {
            return Err(ValueError::DisableAfter);
        }
        self.disable_after = wrong_codes;
        Ok(self)
    }

    /// Sets the lifetime of sets, counted from when they were prepared; a set is refused from the
    /// instant it expires. By default sets do not expire.
    ///
    /// # Errors
    /// [`ValueError::SetLifetime`] under one day.
    pub fn with_set_lifetime(mut self, lifetime: Duration) -> Result<Self, ValueError> {
        if lifetime < DAY {
            return Err(ValueError::SetLifetime);
        }
        self.set_lifetime = Some(lifetime);
        Ok(self)
    }

    /// Sets the longest lifetime that an override code can be given: one minute to seven days, by
    /// default one day.
    ///
    /// # Errors
    /// [`ValueError::OverrideLifetime`] outside these bounds.
    pub fn with_max_override_lifetime(mut self, lifetime: Duration) -> Result<Self, ValueError> {
        if lifetime < Duration::from_secs(60) || lifetime > Self::LONGEST_OVERRIDE {
            return Err(ValueError::OverrideLifetime);
        }
        self.max_override_lifetime = lifetime;
        Ok(self)
    }

    /// Sets the rule for when users are advised to print a new sheet.
    #[must_use]
    pub fn with_reissue(mut self, rule: ReissueRule) -> Self {
        self.reissue = rule;
        self
    }

    /// Voids all sets and overrides prepared before this moment, whatever the repository says.
    ///
    /// Use it after a database was restored from a backup, in which spent codes are unspent again:
    /// set it to the time of the restore, in the application's configuration. A set or override
    /// dated more than five minutes after the current time is then void too, and is removed by the
    /// next write to that user's record: a wrong clock dated it, so its time does not prove that it
    /// is younger than the backup. Keep the clocks of all nodes right. Until the moment itself has
    /// come, new sets are void too.
    #[must_use]
    pub fn with_void_before(mut self, moment: Timestamp) -> Self {
        self.void_before = Some(moment);
        self
    }

    /// Sets how long uses are kept for the usage figures: 62 to 400 days, by default 400.
    ///
    /// # Errors
    /// [`ValueError::KeepUses`] outside these bounds.
    pub fn with_keep_uses(mut self, keep: Duration) -> Result<Self, ValueError> {
        if keep < 62 * DAY || keep > 400 * DAY {
            return Err(ValueError::KeepUses);
        }
        self.keep_uses = keep;
        Ok(self)
    }

    /// Sets how long the tombstone of an erased user stays before purging removes it: at least one
    /// day, by default 30.
    ///
    /// # Errors
    /// [`ValueError::TombstoneGrace`] under one day.
    pub fn with_tombstone_grace(mut self, grace: Duration) -> Result<Self, ValueError> {
        if grace < DAY {
            return Err(ValueError::TombstoneGrace);
        }
        self.tombstone_grace = grace;
        Ok(self)
    }

    /// Returns the accepted formats.
    #[must_use]
    pub fn formats(&self) -> &Formats {
        &self.formats
    }

    /// Returns the number of codes in a set.
    #[must_use]
    pub fn set_size(&self) -> SetSize {
        self.set_size
    }

    /// Returns the moment before which sets and overrides are void.
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
