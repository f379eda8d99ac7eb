//! What a command says: tables that fit a terminal, or plain text for a pipe.

use std::fmt::Display;

use backup_codes::is_forging;
use comfy_table::{ContentArrangement, Table, presets};

/// A part of an answer: lines of text, or rows under a head.
pub(crate) enum Answer {
    Text(String),
    Table(&'static [&'static str], Vec<Vec<String>>),
}

/// A row of whatever can be shown.
macro_rules! row {
    ($($cell:expr),+ $(,)?) => { vec![$($cell.to_string()),+] };
}
pub(crate) use row;

/// A cell that may be empty.
pub(crate) fn maybe(cell: Option<impl Display>) -> String {
    cell.map_or_else(String::new, |cell| cell.to_string())
}

/// One line, or one cell, of what may come from a database that was tampered with.
pub(crate) fn tame(text: &str) -> String {
    text.replace(is_forging, "\u{fffd}")
}

fn tame_cells(row: &[String]) -> Vec<String> {
    row.iter().map(|cell| tame(cell)).collect()
}

/// The answer on a terminal so many columns wide, or as plain text: rows are lines then, and cells
/// stand between tabs.
pub(crate) fn render(answers: &[Answer], width: Option<u16>) -> String {
    let mut lines = Vec::new();
    for answer in answers {
        match (answer, width) {
            (Answer::Text(text), _) => lines.extend(text.trim_end().lines().map(tame)),
            (Answer::Table(head, rows), None) => {
                lines.push(head.join("\t"));
                lines.extend(rows.iter().map(|row| tame_cells(row).join("\t")));
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
                lines.push(table.trim_fmt());
            }
        }
    }
    lines.join("\n") + "\n"
}
