//! Codes as plaintext: drawing them, and reading what somebody typed.

use std::fmt;
use std::ops::{Deref, DerefMut, RangeInclusive};

use rand_core::TryCryptoRng;
use zeroize::Zeroizing;

use crate::format::{Format, Formats, MAX_SLOT, MAX_SYMBOLS, Verdict, classify};
use crate::id::{AttemptId, RandomError};

/// How many codes a set has: 1 to 31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetSize(u8);

/// A set was asked for with no codes, or with more than 31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a set has 1 to 31 codes, {0} were asked for: 10 is usual")]
pub struct SetSizeError(u8);

impl SetSize {
    /// The greatest number of codes in a set.
    pub const MAX: u8 = MAX_SLOT;

    /// A number of codes.
    ///
    /// # Errors
    /// [`SetSizeError`] outside 1 to 31.
    pub const fn new(codes: u8) -> Result<Self, SetSizeError> {
        if codes == 0 || codes > Self::MAX {
            Err(SetSizeError(codes))
        } else {
            Ok(Self(codes))
        }
    }

    /// The number of codes.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for SetSize {
    /// Ten codes.
    fn default() -> Self {
        Self(10)
    }
}

/// The symbols of one code, in a block of memory of their own that is wiped before it is freed.
///
/// Moving this value moves a pointer. Were the symbols in the value itself, each move, a list that
/// grows, and a `Vec` that becomes an `Arc<[_]>` would leave a copy behind that is never wiped.
struct Symbols(Box<Zeroizing<[u8; MAX_SYMBOLS]>>);

impl Symbols {
    /// Symbols that are still to be written.
    fn blank() -> Self {
        Self(Box::new(Zeroizing::new([0; MAX_SYMBOLS])))
    }
}

impl Deref for Symbols {
    type Target = [u8; MAX_SYMBOLS];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Symbols {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// One code in plaintext. Wiped when dropped, and leaves no copy behind when it is moved.
///
/// It has one door, [`Code::expose`]; it is neither `Clone` nor `Serialize`, and `Debug` shows
/// the slot alone.
pub struct Code {
    format: Format,
    slot: u8,
    symbols: Symbols,
}

impl Code {
    /// The code's number on its sheet; 0 for an override code. Public.
    #[must_use]
    pub fn slot(&self) -> u8 {
        self.slot
    }

    /// How the code is written.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The code as it is shown, in groups joined by hyphens.
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
        classify(&mut self.symbols[from..from + self.format.payload_len()]);
    }

    /// A code whose symbols are still to be drawn.
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
/// Random bytes from the largest multiple of the radix on are thrown away, so there is no modulo
/// bias (CWE-330).
fn fill_uniform<R>(values: &mut [u8], radix: u8, rng: &mut R) -> Result<(), RandomError>
where
    R: TryCryptoRng + ?Sized,
{
    let rejected_from = 256 / u16::from(radix) * u16::from(radix);
    let mut random = Zeroizing::new([0; MAX_SYMBOLS]);
    let mut filled = 0;
    // A byte is thrown away with a chance of at most 6/256, so a sound generator needs a second
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
/// use backup_codes::{Format, SetSize, generate};
///
/// let codes = generate(Format::CROCKFORD, SetSize::default(), &mut getrandom::SysRng)?;
/// assert_eq!(codes.len(), 10);
/// assert!(codes[2].expose().starts_with('3'));
/// # Ok::<(), backup_codes::RandomError>(())
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
/// backup_codes::generate(backup_codes::Format::CROCKFORD, size, &mut Counter(0));
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

/// What somebody typed, read as a code whose check symbol is right.
///
/// Whether it is *the* code is for [`verify`](crate::verify) and [`consume`](crate::consume) to
/// say. The payload is wiped when dropped and shown nowhere.
pub struct Attempt {
    id: AttemptId,
    format: Format,
    slot: u8,
    symbols: Symbols,
}

impl Attempt {
    /// Reads one typed or pasted code.
    ///
    /// Folded are: case; every Unicode space, dash and zero-width character; full-width forms;
    /// `O` to zero, `I` and `L` to one; surrounding newlines; a leading list number as printed
    /// (`3. `), if it is the code's own. Nothing fuzzier: a wrong, missing or extra symbol is
    /// not repaired.
    ///
    /// `id` is one that no attempt before had: [`AttemptId::random`].
    ///
    /// # Errors
    /// [`NotACode`] when the input cannot be a code, which costs no hash and is no guess.
    /// Inputs over [`Attempt::MAX_INPUT_LEN`] bytes are refused before anything is read.
    ///
    /// ```
    /// use backup_codes::{Attempt, AttemptId, Format, Formats, SetSize, generate};
    ///
    /// let mut rng = getrandom::SysRng;
    /// let codes = generate(Format::CROCKFORD, SetSize::default(), &mut rng)?;
    /// let messy = format!(" 3. {}\n", codes[2].expose().to_lowercase().replace('-', " – "));
    /// let attempt = Attempt::parse(&messy, &Formats::default(), AttemptId::random(&mut rng)?)?;
    /// assert_eq!(attempt.slot(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parse(typed: &str, formats: &Formats, id: AttemptId) -> Result<Self, NotACode> {
        let mut shape = Shape::read(typed)?;
        let format = formats.with_symbols(shape.len).ok_or(NotACode::Shape)?;
        classify(&mut shape.symbols[format.slot_len()..shape.len]);
        let (verdict, slot) = format.canonicalize(&mut shape.symbols[..shape.len]);
        match verdict {
            Verdict::Right if shape.list_number.is_none_or(|number| number == slot) => Ok(Self {
                id,
                format,
                slot,
                symbols: shape.symbols,
            }),
            Verdict::WrongCheck => Err(NotACode::Typo),
            Verdict::Right | Verdict::WrongAlphabet => Err(NotACode::Shape),
        }
    }

    /// Inputs longer than this many bytes are not read: a code has at most 39 symbols, each of
    /// at most three bytes in a full-width form, with room for separators.
    pub const MAX_INPUT_LEN: usize = 512;

    /// The attempt's own id.
    #[must_use]
    pub fn id(&self) -> AttemptId {
        self.id
    }

    /// The slot the input names; public.
    #[must_use]
    pub fn slot(&self) -> u8 {
        self.slot
    }

    /// The format the input has.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn with_id(self, id: AttemptId) -> Self {
        Self { id, ..self }
    }

    pub(crate) fn payload(&self) -> &[u8] {
        let from = self.format.slot_len();
        &self.symbols[from..from + self.format.payload_len()]
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("id", &self.id)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

/// An input cannot be a code; no hash was computed and nothing counted against the user.
///
/// This is not a refusal: it says nothing about the codes a user has, so it may be told apart
/// from one in public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotACode {
    /// Empty, too short, too long, or with characters that no code has.
    #[error("this does not look like a backup code: type one code as it is printed")]
    Shape,
    /// Right length and alphabet, wrong check symbol.
    #[error("there is probably a typing error in this code: compare it with your sheet")]
    Typo,
}

/// The symbols of an input without its separators: the part of parsing that looks only at which
/// characters are letters or digits. This shape is public.
struct Shape {
    symbols: Symbols,
    len: usize,
    list_number: Option<u8>,
}

impl Shape {
    fn read(typed: &str) -> Result<Self, NotACode> {
        if typed.len() > Attempt::MAX_INPUT_LEN {
            return Err(NotACode::Shape);
        }
        let mut shape = Self {
            symbols: Symbols::blank(),
            len: 0,
            list_number: None,
        };
        let mut chars = typed.chars().map(fold_width).peekable();
        while let Some(c) = chars.next() {
            match c {
                c if c.is_ascii_alphanumeric() => {
                    *shape.symbols.get_mut(shape.len).ok_or(NotACode::Shape)? = c as u8;
                    shape.len += 1;
                }
                '.' if chars.peek().is_some_and(|next| next.is_whitespace()) => {
                    shape.take_list_number()?;
                }
                c if is_separator(c) => {}
                _ => return Err(NotACode::Shape),
            }
        }
        Ok(shape)
    }

    /// Reads what stands before a dot and a space as the number of a printed list.
    fn take_list_number(&mut self) -> Result<(), NotACode> {
        let digits = &self.symbols[..self.len];
        let printed = digits.len() <= 2 && digits.first().is_some_and(|digit| *digit != b'0');
        if self.list_number.is_some() || !printed || !digits.iter().all(u8::is_ascii_digit) {
            return Err(NotACode::Shape);
        }
        self.list_number = Some(digits.iter().fold(0, |n, digit| n * 10 + (digit - b'0')));
        self.len = 0;
        Ok(())
    }
}

/// Full-width forms (U+FF01 to U+FF5E) as the ASCII characters they stand for.
fn fold_width(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        other => other,
    }
}

/// Spaces, dashes and characters without width.
///
/// Dashes are those with the Unicode property `Dash` (PropList.txt, Unicode 16) and the soft
/// hyphen.
fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '-' | '\u{ad}' | '\u{58a}' | '\u{5be}' | '\u{1400}' | '\u{1806}'
                | '\u{2010}'..='\u{2015}' | '\u{2053}' | '\u{207b}' | '\u{208b}' | '\u{2212}'
                | '\u{2e17}' | '\u{2e1a}' | '\u{2e3a}'..='\u{2e3b}' | '\u{2e40}' | '\u{2e5d}'
                | '\u{301c}' | '\u{3030}' | '\u{30a0}' | '\u{fe31}'..='\u{fe32}' | '\u{fe58}'
                | '\u{fe63}' | '\u{10d6e}' | '\u{10ead}'
        )
        || matches!(
            c,
            '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the bytes of a list over and over.
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
    /// 31 degrees of freedom; the generator is seeded, so the test has no luck in it.
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

    #[test]
    fn shape_takes_a_list_number_only_where_it_is_printed() {
        let list = |text| Shape::read(text).map(|shape| (shape.list_number, shape.len));
        assert_eq!(list("3. abc").unwrap(), (Some(3), 3));
        assert_eq!(list("\u{200b}\n 31.\tabc").unwrap(), (Some(31), 3));
        assert_eq!(list("１０． abc").unwrap(), (Some(10), 3));
        assert!(list("3.abc").is_err());
        assert!(list("3. 4. abc").is_err());
        assert!(list("03. abc").is_err());
        assert!(list("a. abc").is_err());
        assert!(list("123. abc").is_err());
        assert!(list(". abc").is_err());
    }
}
