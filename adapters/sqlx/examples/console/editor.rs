//! The line editor: prompt, history, completion.

use std::io;
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use zeroize::Zeroizing;

use crate::command::{may_be_kept, next_words};

/// The names offered for completion.
pub(crate) struct Names {
    pub(crate) accounts: Vec<String>,
    pub(crate) roles: Vec<String>,
}

impl Completer for Names {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let before = &line[..pos];
        let start = before
            .rfind(char::is_whitespace)
            .map_or(0, |space| space + 1);
        let typed: Vec<&str> = before[..start].split_whitespace().collect();
        let next = next_words(&typed, &self.accounts, &self.roles);
        let fitting = next
            .into_iter()
            .filter(|word| word.starts_with(&before[start..]));
        Ok((start, fitting.map(|word| word + " ").collect()))
    }
}

impl Hinter for Names {
    type Hint = String;
}
impl Highlighter for Names {}
impl Validator for Names {}
impl Helper for Names {}

/// A line editor whose history is a file beside the database.
pub(crate) struct LineEditor {
    editor: Editor<Names, DefaultHistory>,
    history: PathBuf,
}

impl LineEditor {
    pub(crate) fn new(history: PathBuf) -> rustyline::Result<Self> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .build();
        let mut editor = Editor::with_config(config)?;
        // At the first start there is no history yet.
        let _ = editor.load_history(&history);
        Ok(Self { editor, history })
    }

    /// Returns the terminal's width, if the output is a terminal.
    pub(crate) fn width(&mut self) -> Option<u16> {
        self.editor.dimensions().map(|(columns, _)| columns)
    }

    /// Reads the next line, or `None` at the end: Ctrl-D, or Ctrl-C.
    pub(crate) fn read(
        &mut self,
        prompt: &str,
        names: Names,
    ) -> io::Result<Option<Zeroizing<String>>> {
        self.editor.set_helper(Some(names));
        match self.editor.readline(prompt).map(Zeroizing::new) {
            Ok(line) => {
                // A history that cannot be kept is no reason to stop.
                if may_be_kept(&line) && self.editor.add_history_entry(line.as_str()).is_ok() {
                    let _ = self.editor.append_history(&self.history);
                }
                Ok(Some(line))
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => Ok(None),
            Err(ReadlineError::Io(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}
