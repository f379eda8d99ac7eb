//! What a command says: tables that fit a terminal, or plain text for a pipe.

use std::fmt::Display;

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

/// The answer on a terminal so many columns wide, or as plain text: rows are lines then, and cells
/// stand between tabs.
pub(crate) fn render(answers: &[Answer], width: Option<u16>) -> String {
    let mut lines = Vec::new();
    for answer in answers {
        match (answer, width) {
            (Answer::Text(text), _) => lines.push(text.trim_end().to_owned()),
            (Answer::Table(head, rows), None) => {
                lines.push(head.join("\t"));
                lines.extend(rows.iter().map(|row| row.join("\t")));
            }
            (Answer::Table(head, rows), Some(width)) => {
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
