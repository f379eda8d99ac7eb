//! Plaintext codes: their formats, their generation, and the sheets that show them.
//!
//! ```
//! use backup_codes::Format;
//! use backup_codes::code::{SetSize, generate};
//!
//! let codes = generate(Format::CROCKFORD, SetSize::new(10)?, &mut getrandom::SysRng)?;
//! assert_eq!((codes.len(), codes[2].slot()), (10, 3));
//! // Groups of four for reading; the dashes may be left out.
//! assert_eq!(codes[0].expose().len(), "XXXX-XXXX-XXXX-XXXX".len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod attempt;
pub(crate) mod fold;
pub(crate) mod format;
pub(crate) mod override_code;
pub(crate) mod sheet;
pub(crate) mod symbols;

pub use self::attempt::NotACode;
pub use self::format::{Format, Formats};
pub use self::override_code::Override;
pub use self::sheet::{ExposedSheet, Sheet, Wording};

use std::fmt;
use std::ops::RangeInclusive;

use rand_core::TryCryptoRng;
use zeroize::Zeroizing;

use self::format::{MAX_SLOT, MAX_SYMBOLS};
use crate::code::symbols::Symbols;
use crate::error::machine::RandomError;
use crate::error::value::ValueError;

/// The number of codes in a set: 1 to 31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetSize(u8);

impl SetSize {
    /// The maximum number of codes in a set.
    pub const MAX: u8 = MAX_SLOT;

    /// Creates a size of this many codes.
    ///
    /// # Errors
    /// [`ValueError::SetSize`] outside 1 to 31.
    pub const fn new(codes: u8) -> Result<Self, ValueError> {
        if codes == 0 || codes > Self::MAX {
            Err(ValueError::SetSize(codes))
        } else {
            Ok(Self(codes))
        }
    }

    /// Returns the number of codes.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for SetSize {
    /// Returns a size of ten codes.
    fn default() -> Self {
        Self(10)
    }
}

/// One code in plaintext. It is wiped when dropped, and moving it leaves no copy behind.
///
/// Only [`Code::expose`] reveals it; it is neither `Clone` nor `Serialize`, and `Debug` shows only
/// the slot.
pub struct Code {
    format: Format,
    slot: u8,
    symbols: Symbols,
}

impl Code {
    /// Returns the code's number on its sheet; 0 for an override code. Public.
    #[must_use]
    pub fn slot(&self) -> u8 {
        self.slot
    }

    /// Returns the code's format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Returns the code as it is shown, in groups joined by hyphens.
    ///
    /// # Security
    /// This is the secret. Show it to its user over a session at the user's highest assurance
    /// (NIST SP 800-63B-4, 3.1.2.1), once; never log, store or mail it.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(2 * MAX_SYMBOLS));
        let mut symbols = self.symbols[..self.format.symbols()].iter();
        for (i, group) in self.format.groups().enumerate() {
            if i > 0 {
                text.push('-');
            }
            text.extend(
                symbols
                    .by_ref()
                    .take(group)
                    .map(|symbol| char::from(*symbol)),
            );
        }
        text
    }

    pub(crate) fn payload(&self) -> &[u8] {
        let from = self.format.slot_len();
        &self.symbols[from..from + self.format.payload_len()]
    }

    /// Marks the payload as secret, for the constant-time proof.
    #[cfg(memcheck)]
    #[doc(hidden)]
    pub fn classify_payload(&mut self) {
        let from = self.format.slot_len();
        format::classify(&mut self.symbols[from..from + self.format.payload_len()]);
    }

    /// Creates a code whose symbols are still to be drawn.
    fn blank(format: Format, slot: u8) -> Self {
        Self {
            format,
            slot,
            symbols: Symbols::blank(),
        }
    }

    /// Draws the symbols, in the place where they stay.
    fn draw<R>(&mut self, rng: &mut R) -> Result<(), RandomError>
    where
        R: TryCryptoRng + ?Sized,
    {
        let format = self.format;
        let (before, len) = (format.slot_len(), format.symbols());
        let values = &mut self.symbols[..len];
        for (value, slot) in values.iter_mut().zip(format.slot_values(self.slot)) {
            *value = slot;
        }
        fill_uniform(&mut values[before..len - 1], format.radix(), rng)?;
        values[len - 1] = format.check(&values[..len - 1]);
        for value in values {
            *value = format.symbol(*value);
        }
        Ok(())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code")
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

/// Fills `values` with numbers below `radix`, each equally likely.
///
/// Random bytes at or above the largest multiple of the radix are discarded, so there is no modulo
/// bias (CWE-330).
fn fill_uniform<R>(values: &mut [u8], radix: u8, rng: &mut R) -> Result<(), RandomError>
where
    R: TryCryptoRng + ?Sized,
{
    let rejected_from = 256 / u16::from(radix) * u16::from(radix);
    let mut random = Zeroizing::new([0; MAX_SYMBOLS]);
    let mut filled = 0;
    // A byte is discarded with a probability of at most 6/256, so a sound generator needs a second
    // round about half of the time and never a hundredth.
    for _ in 0..100 {
        let wanted = values.len() - filled;
        rng.try_fill_bytes(&mut random[..wanted])
            .map_err(RandomError::new)?;
        for byte in &random[..wanted] {
            if u16::from(*byte) < rejected_from {
                values[filled] = byte % radix;
                filled += 1;
            }
        }
        if filled == values.len() {
            return Ok(());
        }
    }
    Err(RandomError::new("it gives the same bytes over and over"))
}

/// Draws the codes of one set, numbered from 1, no two with the same payload.
///
/// Payload symbols are uniform and come from the generator alone. The type asks for a
/// cryptographic generator; [`BackupCodes`](crate::BackupCodes) uses the operating system's.
///
/// # Errors
/// [`RandomError`] when the generator fails, or repeats itself so that distinct codes cannot be
/// drawn.
///
/// ```
/// use backup_codes::{Format, SetSize};
/// use backup_codes::rules::generate;
///
/// let codes = generate(Format::CROCKFORD, SetSize::default(), &mut getrandom::SysRng)?;
/// assert_eq!(codes.len(), 10);
/// assert!(codes[2].expose().starts_with('3'));
/// # Ok::<(), backup_codes::error::RandomError>(())
/// ```
///
/// A generator that is not cryptographic does not compile:
///
/// ```compile_fail,E0277
/// struct Counter(u64);
/// impl rand_core::TryRng for Counter {
///     type Error = rand_core::Infallible;
///     fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
///         Ok(0)
///     }
///     fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
///         Ok(0)
///     }
///     fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
///         Ok(bytes.fill(0))
///     }
/// }
/// let size = backup_codes::SetSize::default();
/// backup_codes::rules::generate(backup_codes::Format::CROCKFORD, size, &mut Counter(0));
/// ```
pub fn generate<R>(format: Format, size: SetSize, rng: &mut R) -> Result<Vec<Code>, RandomError>
where
    R: TryCryptoRng + ?Sized,
{
    draw_distinct(format, 1..=size.get(), rng)
}

/// Draws an override code: slot 0, otherwise like any other.
///
/// # Errors
/// [`RandomError`] when the generator fails.
pub fn generate_override<R>(format: Format, rng: &mut R) -> Result<Code, RandomError>
where
    R: TryCryptoRng + ?Sized,
{
    let mut code = Code::blank(format, 0);
    code.draw(rng)?;
    Ok(code)
}

fn draw_distinct<R>(
    format: Format,
    slots: RangeInclusive<u8>,
    rng: &mut R,
) -> Result<Vec<Code>, RandomError>
where
    R: TryCryptoRng + ?Sized,
{
    let mut codes: Vec<Code> = slots.map(|slot| Code::blank(format, slot)).collect();
    for drawn in 0..codes.len() {
        let (before, rest) = codes.split_at_mut(drawn);
        let code = &mut rest[0];
        // Two payloads of 64 bits meet by chance about once in 2^59 sets of 31.
        let mut draws = 0;
        loop {
            code.draw(rng)?;
            if before.iter().all(|other| other.payload() != code.payload()) {
                break;
            }
            draws += 1;
            if draws == 8 {
                return Err(RandomError::new("it gives the same bytes over and over"));
            }
        }
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator that repeats the bytes of a list.
    pub(super) struct Scripted(Vec<u8>, usize);

    impl rand_core::TryRng for Scripted {
        type Error = rand_core::Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            rand_core::utils::next_word_via_fill(self)
        }
        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            rand_core::utils::next_word_via_fill(self)
        }
        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
            for byte in bytes {
                *byte = self.0[self.1 % self.0.len()];
                self.1 += 1;
            }
            Ok(())
        }
    }

    impl TryCryptoRng for Scripted {}

    #[test]
    fn bytes_that_would_bias_are_thrown_away() {
        let mut values = [0; 4];
        let script = vec![255, 250, 249, 0, 251, 7, 13];
        fill_uniform(&mut values, 10, &mut Scripted(script, 0)).unwrap();
        assert_eq!(values, [9, 0, 7, 3]);
    }

    #[test]
    fn a_generator_stuck_on_a_rejected_byte_is_an_error_not_a_hang() {
        let mut values = [0; 4];
        assert!(fill_uniform(&mut values, 10, &mut Scripted(vec![255], 0)).is_err());
    }

    #[test]
    fn a_repeated_payload_is_drawn_again_and_a_stuck_generator_refused() {
        let payload: Vec<u8> = (0..14).collect();
        let mut script = payload.clone();
        script.extend(&payload);
        script.extend([31; 14]);
        let codes = generate(
            Format::CROCKFORD,
            SetSize::new(2).unwrap(),
            &mut Scripted(script, 0),
        )
        .unwrap();
        assert_ne!(codes[0].payload(), codes[1].payload());
        assert!(
            generate(
                Format::CROCKFORD,
                SetSize::new(2).unwrap(),
                &mut Scripted(vec![1], 0)
            )
            .is_err()
        );
    }

    /// Chi-square over a million symbols of each alphabet. The bound is the quantile at 1e-9 for
    /// 31 degrees of freedom; the generator is seeded, so the test is deterministic.
    #[test]
    fn symbols_are_uniform() {
        struct SplitMix(u64);
        impl rand_core::TryRng for SplitMix {
            type Error = rand_core::Infallible;
            fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
                rand_core::utils::next_word_via_fill(self)
            }
            fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
                self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                Ok(z ^ (z >> 31))
            }
            fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
                for chunk in bytes.chunks_mut(8) {
                    let word = self.try_next_u64()?.to_le_bytes();
                    chunk.copy_from_slice(&word[..chunk.len()]);
                }
                Ok(())
            }
        }
        impl TryCryptoRng for SplitMix {}

        for format in [Format::CROCKFORD, Format::DIGITS] {
            let mut counts = vec![0u32; usize::from(format.radix())];
            let mut rng = SplitMix(42);
            let mut drawn = 0u32;
            while drawn < 1_000_000 {
                let mut values = [0; 32];
                fill_uniform(&mut values, format.radix(), &mut rng).unwrap();
                for value in values {
                    counts[usize::from(value)] += 1;
                }
                drawn += 32;
            }
            let expected = f64::from(drawn) / f64::from(format.radix());
            let chi: f64 = counts
                .iter()
                .map(|n| (f64::from(*n) - expected).powi(2) / expected)
                .sum();
            assert!(chi < 105.0, "{format}: {chi}");
        }
    }
}
