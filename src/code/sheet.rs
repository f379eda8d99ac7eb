//! The sheet: the codes of one set in plaintext, to be shown once.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::code::Code;
use crate::id::{SetId, is_forging};
use crate::timestamp::Timestamp;

/// The codes of one set, to be shown to their user once. Wiped when dropped.
///
/// Only [`Sheet::expose`] reveals the plaintext. A sheet is neither `Clone` nor `Serialize`: once it
/// is dropped, its codes cannot be shown.
///
/// ```compile_fail,E0277
/// fn copied<T: Clone>() {}
/// copied::<backup_codes::Sheet>();
/// ```
///
/// ```compile_fail,E0277
/// fn stored<T: serde::Serialize>() {}
/// stored::<backup_codes::Sheet>();
/// ```
#[must_use = "show these codes now: they cannot be shown later"]
#[doc(alias = "recovery code")]
pub struct Sheet {
    pub(crate) set: SetId,
    pub(crate) prepared_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) codes: Arc<[Code]>,
}

impl Sheet {
    /// Creates a sheet of codes that an application has drawn with
    /// [`generate`](crate::rules::generate()) and stored under this set's id, to export them as
    /// [`BackupCodes`](crate::BackupCodes) does.
    pub fn new(
        set: SetId,
        prepared_at: Timestamp,
        expires_at: Option<Timestamp>,
        codes: Vec<Code>,
    ) -> Self {
        Self {
            set,
            prepared_at,
            expires_at,
            codes: codes.into(),
        }
    }

    /// Returns the set's id, for `activate` and `discard`.
    #[must_use]
    pub fn id(&self) -> SetId {
        self.set
    }

    /// Returns a short name to tell sheets apart, as in [`Status`](crate::Status).
    #[must_use]
    pub fn label(&self) -> String {
        self.set.label()
    }

    /// Returns the time at which the codes were made.
    #[must_use]
    pub fn prepared_at(&self) -> Timestamp {
        self.prepared_at
    }

    /// Returns the time from which the codes are refused, if they expire.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Returns the number of codes on the sheet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Returns whether the sheet has no codes. A set of `BackupCodes` has at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// Reveals the plaintext.
    ///
    /// # Security
    /// Show it over a session at the user's highest assurance (NIST SP 800-63B-4, 3.1.2.1), on a
    /// page with `Cache-Control: no-store`, and keep no copy: not in a session, a log, a mail, or a
    /// URL.
    #[must_use]
    pub fn expose(&self) -> ExposedSheet<'_> {
        ExposedSheet(self)
    }
}

impl fmt::Debug for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sheet")
            .field("set", &self.set)
            .field("codes", &self.codes.len())
            .finish_non_exhaustive()
    }
}

/// The words around the codes in an exported sheet; translate them at will. The characters of
/// [`is_forging`](crate::audit::is_forging) in them become spaces, so a hostile account name cannot
/// add or reorder lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wording {
    /// The first line.
    pub title: String,
    /// Lines before the codes.
    pub facts: Vec<String>,
    /// Lines after the codes.
    pub advice: Vec<String>,
}

impl Wording {
    /// Creates the English words for an account on a site, with the sheet's label and its date.
    /// Times are in UTC, and marked as such; where the page around the sheet shows another zone,
    /// put that zone's times into [`facts`](Self::facts).
    #[must_use]
    pub fn english(sheet: &Sheet, site: &str, account: &str) -> Self {
        let mut facts = vec![
            format!("Account: {account}"),
            format!("Sheet:   {}", sheet.label()),
            format!("Made on: {} UTC", sheet.prepared_at.date()),
        ];
        facts.extend(
            sheet
                .expires_at
                .map(|expiry| format!("Valid until: {expiry}")),
        );
        Self {
            title: format!("Backup codes for {site}"),
            facts,
            advice: vec![
                "Each code works once, in any order. Keep this sheet apart from your password."
                    .into(),
                "A new sheet makes this one useless.".into(),
            ],
        }
    }
}

/// A sheet in plaintext, to be shown.
pub struct ExposedSheet<'a>(&'a Sheet);

impl<'a> ExposedSheet<'a> {
    /// Returns each code with its number, in order, as it is shown.
    pub fn codes(&self) -> impl Iterator<Item = (u8, Zeroizing<String>)> + use<'a> {
        let Self(sheet) = self;
        sheet.codes.iter().map(|code| (code.slot(), code.expose()))
    }

    /// Returns the sheet as plain text, one numbered code a line. Every such line, pasted whole, is
    /// accepted as that code.
    #[must_use]
    pub fn text(&self, wording: &Wording) -> Zeroizing<String> {
        // Codes may be of several formats: reserve for each code, its number and its hyphens.
        let codes: usize = self
            .0
            .codes
            .iter()
            .map(|code| code.format().symbols() * 2 + 8)
            .sum();
        let words: usize = wording
            .facts
            .iter()
            .chain(&wording.advice)
            .map(|line| line.len() + 1)
            .sum();
        // Reserved in one piece: a text that grows leaves unwiped copies behind.
        let capacity = wording.title.len() + words + codes + 8;
        let mut text = Zeroizing::new(String::with_capacity(capacity));
        let mut line = |parts: &[&str]| {
            for part in parts {
                text.extend(part.chars().map(|c| if is_forging(c) { ' ' } else { c }));
            }
            text.push('\n');
        };
        line(&[&wording.title]);
        for fact in &wording.facts {
            line(&[fact]);
        }
        line(&[]);
        for (slot, code) in self.codes() {
            let pad = if slot < 10 { " " } else { "" };
            line(&[pad, &slot.to_string(), ". ", &code]);
        }
        line(&[]);
        for advice in &wording.advice {
            line(&[advice]);
        }
        text
    }
}

impl fmt::Debug for ExposedSheet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExposedSheet([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_around_the_codes_forges_a_line() {
        let all: String = ('\0'..=char::MAX).filter(|c| is_forging(*c)).collect();
        let wording = Wording {
            title: all.clone(),
            facts: vec![all.clone()],
            advice: vec![all.clone()],
        };
        let sheet = Sheet::new(SetId::from_bytes([1; 16]), Timestamp::MIN, None, Vec::new());
        let text = sheet.expose().text(&wording);
        let spaces = " ".repeat(all.chars().count());
        assert_eq!(*text, format!("{spaces}\n{spaces}\n\n\n{spaces}\n"));
    }
}
