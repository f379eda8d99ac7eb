//! The output of a command: tables that fit a terminal, or plain text for a pipe.

use std::borrow::Cow;
use std::fmt::Display;

use backup_codes::audit::is_forging;
use comfy_table::{ContentArrangement, Table, presets};
use zeroize::Zeroizing;

/// A part of an answer: lines of text, which may show codes, or rows under a head.
pub(crate) enum Answer {
    Text(Zeroizing<String>),
    Table(&'static [&'static str], Vec<Vec<String>>),
}

/// Makes a row of values that can be displayed.
macro_rules! row {
    ($($cell:expr),+ $(,)?) => { vec![$($cell.to_string()),+] };
}
pub(crate) use row;

/// Returns the text of a cell that may be empty.
pub(crate) fn maybe(cell: Option<impl Display>) -> String {
    cell.map_or_else(String::new, |cell| cell.to_string())
}

/// Replaces characters that could forge output in a line or a cell, whose text may come from a
/// database that was tampered with. A line without such characters, such as one with a code, is not
/// copied.
pub(crate) fn tame(text: &str) -> Cow<'_, str> {
    if text.contains(is_forging) {
        text.replace(is_forging, "\u{fffd}").into()
    } else {
        text.into()
    }
}

fn tame_cells(row: &[String]) -> Vec<Cow<'_, str>> {
    row.iter().map(|cell| tame(cell)).collect()
}

/// Renders the answer for a terminal of this width in columns, or as plain text: then a row is a
/// line, and tabs separate the cells.
pub(crate) fn render(answers: &[Answer], width: Option<u16>) -> Zeroizing<String> {
    let mut lines: Vec<Cow<'_, str>> = Vec::new();
    for answer in answers {
        match (answer, width) {
            (Answer::Text(text), _) => lines.extend(text.trim_end().lines().map(tame)),
            (Answer::Table(head, rows), None) => {
                lines.push(head.join("\t").into());
                lines.extend(rows.iter().map(|row| tame_cells(row).join("\t").into()));
            }
            (Answer::Table(head, rows), Some(width)) => {
                let rows = rows.iter().map(|row| tame_cells(row));
                let mut table = Table::new();
                table
                    .load_style(presets::UTF8_BORDERS_ONLY)
                    .set_content_arrangement(ContentArrangement::Dynamic)
                    .set_width(width)
                    .set_header(head.to_vec())
                    .add_rows(rows);
                lines.push(table.trim_fmt().into());
            }
        }
    }
    // The text is allocated at its final size: a text that grows leaves copies of codes behind.
    let size = lines.iter().map(|line| line.len() + 1).sum();
    let mut text = Zeroizing::new(String::with_capacity(size));
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text
}
