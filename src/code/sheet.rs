//! The sheet: the codes of one issue in plaintext, to be shown once.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::code::Code;
use crate::id::{SetId, is_forging};
use crate::timestamp::Timestamp;

/// The codes of one set, to be shown to their user once. Wiped when dropped.
///
/// Neither `Clone` nor `Serialize`: what is not shown from here is not shown at all. Plaintext
/// leaves by one door, [`Sheet::expose`].
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
#[must_use = "these codes are shown now or never"]
#[doc(alias = "recovery code")]
pub struct Sheet {
    pub(crate) set: SetId,
    pub(crate) prepared_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) codes: Arc<[Code]>,
}

impl Sheet {
    /// The sheet of codes that an application has drawn with [`generate`](crate::rules::generate()) and
    /// keeps under this set, to export them as [`BackupCodes`](crate::BackupCodes) does.
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

    /// The set's id, for `activate` and `discard`.
    #[must_use]
    pub fn id(&self) -> SetId {
        self.set
    }

    /// A short name to tell sheets apart; the same stands in [`Status`](crate::Status).
    #[must_use]
    pub fn label(&self) -> String {
        self.set.label()
    }

    /// When the codes were made.
    #[must_use]
    pub fn prepared_at(&self) -> Timestamp {
        self.prepared_at
    }

    /// From when on they are refused, if ever.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Codes on the sheet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether there is no code on it. A set of `BackupCodes` has at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// The door to the plaintext.
    ///
    /// # Security
    /// Show it over a session at the user's highest assurance (NIST SP 800-63B-4, 3.1.2.1), on a
    /// page with `Cache-Control: no-store`, and keep no copy: not in a session, a log, a mail, or
    /// a URL.
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
/// [`is_forging`](crate::audit::is_forging) in them become spaces, so a hostile account name adds no line
/// and reorders none.
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
    /// English, for an account on a site, with the sheet's label and its date. Times are in UTC,
    /// and say so; where the page around the sheet shows another zone, put its times into
    /// [`facts`](Self::facts).
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

/// A sheet whose codes can be read.
pub struct ExposedSheet<'a>(&'a Sheet);

impl ExposedSheet<'_> {
    /// Each code with its number, in order, as it is shown.
    pub fn codes(&self) -> impl Iterator<Item = (u8, Zeroizing<String>)> + '_ {
        self.0.codes.iter().map(|code| (code.slot(), code.expose()))
    }

    /// The sheet as plain text, one numbered code a line. Every such line, pasted whole, is
    /// accepted as that code.
    #[must_use]
    pub fn text(&self, wording: &Wording) -> Zeroizing<String> {
        // Codes may be of several formats: room for each of them, its number and its hyphens.
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

/// An override code, to be handed to its user once.
#[must_use = "this code is shown now or never"]
#[derive(Debug)]
pub struct Override {
    pub(crate) code: Arc<[Code]>,
    pub(crate) expires_at: Timestamp,
    pub(crate) notice: crate::outcome::Notice,
}

impl Override {
    /// The code as it is shown: the door to the plaintext, with the same duties as
    /// [`Sheet::expose`].
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        self.code
            .first()
            .map_or_else(|| Zeroizing::new(String::new()), Code::expose)
    }

    /// From when on it is refused.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The message owed to the user it is for.
    pub fn notice(&self) -> &crate::outcome::Notice {
        &self.notice
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
