//! Parsing of what a user typed.

use std::fmt;

use zeroize::Zeroizing;

use crate::code::fold::{Folded, fold};
use crate::code::format::{Format, Formats, MAX_SYMBOLS, Verdict};
use crate::code::symbols::Symbols;
use crate::id::OperationId;

/// A typed input that was read as a code: its check symbol is right.
///
/// It need not be a code of the user: [`verify`](crate::rules::verify) and
/// [`consume`](crate::rules::consume) decide that. The payload is wiped when dropped and shown nowhere.
pub struct Attempt {
    id: OperationId,
    code: TypedCode,
}

impl Attempt {
    /// Parses one typed or pasted code.
    ///
    /// Each character has one meaning, by its Unicode properties (version 17.0):
    ///
    /// * A decimal digit (general category `Nd`) of any script is that digit; one code may mix
    ///   scripts. ASCII and full-width Latin letters of either case are capital letters, `O` is zero,
    ///   `I` and `L` are one.
    /// * White space, dashes (`Dash`, and U+2500, U+30FC, U+FF5E and U+FF70, which keyboards give
    ///   for one), format characters (`Cf`) and ignorable characters
    ///   (`Default_Ignorable_Code_Point`) are dropped everywhere.
    /// * Quotes, brackets, sentence punctuation and list marks such as `•`, `*` or `#` are dropped
    ///   before the first and after the last symbol.
    /// * Anything else means that the input is not a code. Letters of other scripts are not folded,
    ///   even where they look like Latin ones; accented Latin letters are not folded either.
    ///
    /// A number of one or two digits before the code is dropped, too, if white space or a mark
    /// separates it from the code (`4 CODE`, `4. CODE`, `(4) CODE`, `#4: CODE`) and it is the
    /// code's own slot.
    /// `4 CODE` without a mark could also be a code that is one symbol longer. Where a format of that
    /// length is accepted, it is never read as a number and a code. Where that reading would have
    /// the right check symbol, the input is not a code ([`NotACode::Shape`]).
    ///
    /// Nothing is guessed: a wrong, missing or extra symbol is not corrected.
    ///
    /// `id` must be new for every attempt: pass [`OperationId::random`].
    ///
    /// # Errors
    /// [`NotACode`] when the input cannot be a code. That costs no hash and does not count as a
    /// wrong code.
    /// Inputs over [`Attempt::MAX_INPUT_LEN`] bytes are refused before anything is read.
    ///
    /// ```
    /// use backup_codes::{Format, Formats, SetSize};
    /// use backup_codes::rules::{Attempt, OperationId, generate};
    ///
    /// let mut rng = getrandom::SysRng;
    /// let codes = generate(Format::CROCKFORD, SetSize::default(), &mut rng)?;
    /// let messy = format!(" ٣) {}.\n", codes[2].expose().to_lowercase().replace('-', "ー"));
    /// let attempt = Attempt::parse(&messy, &Formats::default(), OperationId::random(&mut rng)?)?;
    /// assert_eq!(attempt.slot(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parse(typed: &str, formats: &Formats, id: OperationId) -> Result<Self, NotACode> {
        Ok(Self::new(TypedCode::parse(typed, formats)?, id))
    }

    pub(crate) fn new(code: TypedCode, id: OperationId) -> Self {
        Self { id, code }
    }

    /// The maximum length of an input in bytes: 512.
    ///
    /// The longest code has 39 symbols and its number two, each of at most four bytes, which leaves
    /// space for two separators of four bytes after every symbol.
    pub const MAX_INPUT_LEN: usize = 512;

    /// Returns the attempt's own id.
    #[must_use]
    pub fn id(&self) -> OperationId {
        self.id
    }

    /// Returns the slot that the input names; public.
    #[must_use]
    pub fn slot(&self) -> u8 {
        self.code.slot
    }

    /// Returns the format of the input.
    #[must_use]
    pub fn format(&self) -> Format {
        self.code.format
    }

    pub(crate) fn payload(&self) -> &[u8] {
        let TypedCode {
            format, symbols, ..
        } = &self.code;
        let from = format.slot_len();
        &symbols[from..from + format.payload_len()]
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("id", &self.id)
            .field("slot", &self.code.slot)
            .finish_non_exhaustive()
    }
}

/// An input that cannot be a code; no hash was computed and nothing counted against the user.
///
/// This is not a refusal: it depends on the input and the accepted formats alone, never on the
/// codes a user has, so the hint may be shown in public. `Display` gives it in English.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotACode {
    /// The input is empty, too short or too long, or it has characters that no code has, or the
    /// number of another code before it.
    #[error("this does not look like a backup code: type one code as it is printed")]
    Shape,
    /// The length and the alphabet are right, the check symbol is wrong.
    #[error("there is probably a typing error in this code: compare it with your sheet")]
    Typo,
    /// The input has letters of a script other than Latin, and the codes have Latin letters.
    #[error("this has letters of another alphabet: switch the keyboard to Latin letters")]
    OtherScript,
    /// The check symbol is right for a format that is not accepted: probably a code of an older
    /// sheet.
    ///
    /// By chance, one in 32 inputs of a wrong length ends up here, and one in ten of digits alone.
    #[error(
        "this looks like a code of an older kind, which is no longer accepted: compare it with your \
         newest sheet"
    )]
    OtherFormat,
}

/// An input that was read as a code: its check symbol is right.
pub(crate) struct TypedCode {
    format: Format,
    slot: u8,
    symbols: Symbols,
}

impl TypedCode {
    /// Parses an input, in constant time for all inputs of its length and format.
    pub(crate) fn parse(typed: &str, formats: &Formats) -> Result<Self, NotACode> {
        let typed = match Typed::read(typed) {
            // No keyboard layout helps with a letter in a code of digits.
            Err(NotACode::OtherScript) if !formats.have_letters() => return Err(NotACode::Shape),
            read => read?,
        };
        let readings = [typed.whole(), typed.numbered()];
        let read = |reading: &Option<Reading<'_>>| {
            let reading = reading.as_ref()?;
            let format = formats.with_symbols(reading.symbols.len())?;
            Some(reading.read_as(format))
        };
        let read = match readings.each_ref().map(read) {
            [Some(_), Some(Ok(_))] => return Err(NotACode::Shape),
            [Some(read), _] | [None, Some(read)] => read,
            [None, None] => Err(Verdict::WrongAlphabet),
        };
        let of_another_format = || {
            readings.iter().flatten().any(|reading| {
                Format::with_symbols(reading.symbols.len())
                    .any(|format| reading.read_as(format).is_ok())
            })
        };
        read.map_err(|verdict| match verdict {
            Verdict::WrongCheck => NotACode::Typo,
            Verdict::WrongAlphabet if of_another_format() => NotACode::OtherFormat,
            Verdict::WrongAlphabet | Verdict::WrongSlot | Verdict::Right(_) => NotACode::Shape,
        })
    }
}

/// The symbols of an input and the gaps between them. Only the symbols' values are secret.
struct Typed {
    symbols: Zeroizing<[u8; MAX_TYPED]>,
    len: usize,
    /// The gaps after the first symbol, after the second, and after all others but the last.
    gaps: [Gap; 3],
}

/// The maximum number of symbols in an input: those of a code, and of a number before it.
const MAX_TYPED: usize = MAX_SYMBOLS + 2;

/// The characters between two symbols, by kind.
#[derive(Clone, Copy, Default)]
struct Gap {
    space: bool,
    dash: bool,
    mark: bool,
}

impl Gap {
    fn add(&mut self, other: Self) {
        self.space |= other.space;
        self.dash |= other.dash;
        self.mark |= other.mark;
    }

    /// Returns whether this gap separates a number from its code.
    fn parts(self) -> bool {
        self.space || self.mark
    }

    /// Returns whether this gap separates nothing, so that two digits are one number.
    fn joins(self) -> bool {
        !(self.space || self.dash || self.mark)
    }
}

impl Typed {
    fn read(typed: &str) -> Result<Self, NotACode> {
        if typed.len() > Attempt::MAX_INPUT_LEN {
            return Err(NotACode::Shape);
        }
        let mut read = Self {
            symbols: Zeroizing::new([0; MAX_TYPED]),
            len: 0,
            gaps: [Gap::default(); 3],
        };
        let mut gap = Gap::default();
        let (mut fits, mut letters) = (true, false);
        for c in typed.chars() {
            match fold(c) {
                Folded::Symbol(symbol) => fits &= read.push(std::mem::take(&mut gap), symbol),
                Folded::Space => gap.space = true,
                Folded::Dash => gap.dash = true,
                Folded::Invisible => {}
                Folded::Mark => gap.mark = true,
                Folded::Letter => letters = true,
                Folded::Other => fits = false,
            }
        }
        if letters {
            Err(NotACode::OtherScript)
        } else if fits {
            Ok(read)
        } else {
            Err(NotACode::Shape)
        }
    }

    /// Adds a symbol and the gap before it; returns whether there was room.
    fn push(&mut self, before: Gap, symbol: u8) -> bool {
        let Some(place) = self.symbols.get_mut(self.len) else {
            return false;
        };
        *place = symbol;
        if self.len > 0 {
            self.gaps[self.len.min(3) - 1].add(before);
        }
        self.len += 1;
        true
    }

    /// Returns the input as one code without a number.
    fn whole(&self) -> Option<Reading<'_>> {
        let one = self.gaps.iter().all(|gap| !gap.mark);
        one.then(|| self.after(0))
    }

    /// Returns the input as a number and a code. The gaps leave at most one way to read it so.
    fn numbered(&self) -> Option<Reading<'_>> {
        let [first, second, later] = self.gaps;
        if first.parts() && !second.mark && !later.mark {
            Some(self.after(1))
        } else if first.joins() && second.parts() && !later.mark {
            Some(self.after(2))
        } else {
            None
        }
    }

    fn after(&self, digits: usize) -> Reading<'_> {
        let (number, symbols) = self.symbols[..self.len].split_at(digits);
        Reading { number, symbols }
    }
}

/// The symbols of an input as those of a number, which may be missing, and of a code.
struct Reading<'a> {
    number: &'a [u8],
    symbols: &'a [u8],
}

impl Reading<'_> {
    /// Reads the code in a format of its length.
    fn read_as(&self, format: Format) -> Result<TypedCode, Verdict> {
        let mut symbols = Symbols::blank();
        match format.read(self.number, self.symbols, &mut symbols) {
            Verdict::Right(slot) => Ok(TypedCode {
                format,
                slot,
                symbols,
            }),
            wrong => Err(wrong),
        }
    }
}
