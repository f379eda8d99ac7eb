//! Reading what a user typed as a code.

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
    format: Format,
    slot: u8,
    symbols: Symbols,
}

impl Attempt {
    /// Reads one typed or pasted code.
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
    /// * Anything else makes the input no code. Letters of other scripts are not folded, even where
    ///   they look like Latin ones; accented Latin letters are not folded either.
    ///
    /// A number of one or two digits before the code is dropped, too, if white space or a mark parts
    /// it from the code (`4 CODE`, `4. CODE`, `(4) CODE`, `#4: CODE`) and it is the code's own slot.
    /// `4 CODE` without a mark could also be a code that is one symbol longer. Where a format of that
    /// length is accepted, it is never read as a number and a code. Where that reading would have
    /// the right check symbol, the input is no code at all ([`NotACode::Shape`]).
    ///
    /// Nothing fuzzier: a wrong, missing or extra symbol is not repaired.
    ///
    /// `id` is one that no attempt before had: [`OperationId::random`].
    ///
    /// # Errors
    /// [`NotACode`] when the input cannot be a code, which costs no hash and is no guess.
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
        let typed = match Typed::read(typed) {
            // No keyboard layout helps with a letter in a code of digits.
            Err(NotACode::OtherScript) if !formats.have_letters() => return Err(NotACode::Shape),
            read => read?,
        };
        let readings = [typed.whole(), typed.numbered()];
        let read = |reading: &Option<Reading<'_>>| {
            let reading = reading.as_ref()?;
            let format = formats.with_symbols(reading.symbols.len())?;
            Some(reading.read_as(format, id))
        };
        let read = match readings.each_ref().map(read) {
            [Some(_), Some(Ok(_))] => return Err(NotACode::Shape),
            [Some(read), _] | [None, Some(read)] => read,
            [None, None] => Err(Verdict::WrongAlphabet),
        };
        let of_another_format = || {
            readings.iter().flatten().any(|reading| {
                Format::with_symbols(reading.symbols.len())
                    .any(|format| reading.read_as(format, id).is_ok())
            })
        };
        read.map_err(|verdict| match verdict {
            Verdict::WrongCheck => NotACode::Typo,
            Verdict::WrongAlphabet if of_another_format() => NotACode::OtherFormat,
            Verdict::WrongAlphabet | Verdict::WrongSlot | Verdict::Right(_) => NotACode::Shape,
        })
    }

    /// The greatest number of bytes in an input that is read: 512.
    ///
    /// The longest code has 39 symbols and its number two, each of at most four bytes, which leaves
    /// room for two separators of four bytes after every symbol.
    pub const MAX_INPUT_LEN: usize = 512;

    /// The attempt's own id.
    #[must_use]
    pub fn id(&self) -> OperationId {
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

    pub(crate) fn with_id(self, id: OperationId) -> Self {
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

/// An input that cannot be a code; no hash was computed and nothing counted against the user.
///
/// This is not a refusal: it depends on the input and the accepted formats alone, never on the
/// codes a user has, so the hint may be shown in public. `Display` gives it in English.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotACode {
    /// Empty, too short, too long, with characters that no code has, or with the number of another
    /// code before it.
    #[error("this does not look like a backup code: type one code as it is printed")]
    Shape,
    /// Right length and alphabet, wrong check symbol.
    #[error("there is probably a typing error in this code: compare it with your sheet")]
    Typo,
    /// Letters of a script other than Latin, where the codes have Latin letters.
    #[error("this has letters of another alphabet: switch the keyboard to Latin letters")]
    OtherScript,
    /// The right check symbol for a format that is not accepted: probably a code of an older sheet.
    ///
    /// One in 32 inputs of a wrong length passes by chance, and one in ten of digits alone.
    #[error(
        "this looks like a code of an older kind, which is no longer accepted: compare it with your \
         newest sheet"
    )]
    OtherFormat,
}

/// The symbols of an input, and what stands between them. All but the symbols' values is public.
struct Typed {
    symbols: Zeroizing<[u8; MAX_TYPED]>,
    len: usize,
    /// What stands after the first symbol, after the second, and after all others but the last.
    gaps: [Gap; 3],
}

/// The most symbols of an input: those of a code, and of a number before it.
const MAX_TYPED: usize = MAX_SYMBOLS + 2;

/// What stands between two symbols.
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

    /// Whether it parts a number from its code.
    fn parts(self) -> bool {
        self.space || self.mark
    }

    /// Whether it parts nothing at all, so that two digits are one number.
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

    /// Adds a symbol and what stands before it, and says whether there was room.
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

    /// The input as one code without a number.
    fn whole(&self) -> Option<Reading<'_>> {
        let one = self.gaps.iter().all(|gap| !gap.mark);
        one.then(|| self.after(0))
    }

    /// The input as a number and a code. What stands between the symbols leaves at most one way.
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
    fn read_as(&self, format: Format, id: OperationId) -> Result<Attempt, Verdict> {
        let mut symbols = Symbols::blank();
        match format.read(self.number, self.symbols, &mut symbols) {
            Verdict::Right(slot) => Ok(Attempt {
                id,
                format,
                slot,
                symbols,
            }),
            wrong => Err(wrong),
        }
    }
}
