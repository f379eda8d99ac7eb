//! The cost of an evaluation.

use serde::Deserialize;

use crate::code::Format;
use crate::error::value::ValueError;

/// The payload bits from which a code may be hashed cheaply: NIST SP 800-63B-4, 3.1.2.2.
pub(crate) const HIGH_ENTROPY_BITS: u32 = 112;

/// The cost of one Argon2id evaluation: memory in KiB and passes, always one lane.
///
/// It can be read from a configuration by serde, under the bounds of [`Cost::new`].
///
/// ```
/// use backup_codes::hash::Cost;
///
/// let cost: Cost = serde_json::from_str(r#"{"memory_kib": 19456, "passes": 2}"#)?;
/// assert_eq!(cost, Cost::MIB_19);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "CostText")]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
}

/// The fields of [`Cost`] as they are read, not yet checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CostText {
    memory_kib: u32,
    passes: u32,
}

impl TryFrom<CostText> for Cost {
    type Error = ValueError;

    fn try_from(text: CostText) -> Result<Self, ValueError> {
        Self::new(text.memory_kib, text.passes)
    }
}

impl Cost {
    /// 19 MiB, two passes: the default.
    pub const MIB_19: Self = Self {
        memory_kib: 19_456,
        passes: 2,
    };
    /// 46 MiB, one pass.
    pub const MIB_46: Self = Self {
        memory_kib: 47_104,
        passes: 1,
    };
    /// 12 MiB, three passes.
    pub const MIB_12: Self = Self {
        memory_kib: 12_288,
        passes: 3,
    };
    /// The minimum cost of Argon2: 8 KiB, one pass. For formats of at least 112 bits only.
    pub const LEAST: Self = Self {
        memory_kib: 8,
        passes: 1,
    };

    /// Creates a cost of this many KiB and passes.
    ///
    /// # Errors
    /// [`ValueError::Cost`] outside 8 to 1 048 576 KiB (1 GiB) and 1 to 16 passes.
    pub const fn new(memory_kib: u32, passes: u32) -> Result<Self, ValueError> {
        if memory_kib < 8 || memory_kib > 1 << 20 || passes < 1 || passes > 16 {
            return Err(ValueError::Cost);
        }
        Ok(Self { memory_kib, passes })
    }

    /// Returns the memory of one evaluation in KiB.
    #[must_use]
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Returns the number of passes over the memory.
    #[must_use]
    pub const fn passes(self) -> u32 {
        self.passes
    }

    /// Returns the KiB written in one evaluation, to which its time is proportional.
    pub(crate) const fn work(self) -> u64 {
        self.memory_kib as u64 * self.passes as u64
    }

    /// Returns whether codes of this format may be hashed at this cost (OWASP ASVS 5.0, 11.4.2).
    pub(crate) const fn suffices(self, format: Format) -> bool {
        let Self {
            memory_kib: m,
            passes: t,
        } = self;
        format.payload_bits() >= HIGH_ENTROPY_BITS
            || (m >= 47_104 || (m >= 19_456 && t >= 2) || (m >= 12_288 && t >= 3))
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self::MIB_19
    }
}
