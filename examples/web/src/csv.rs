//! Exports that no spreadsheet takes for a formula.

use backup_codes::audit::is_forging;

/// The characters that a formula begins with, full-width forms included.
const FORMULA: &str = "=+-@|%\u{ff1d}\u{ff0b}\u{ff0d}\u{ff20}";

/// Returns one line of CSV (RFC 4180). Every cell is quoted, and one that a spreadsheet would
/// calculate begins with an apostrophe. Characters that could forge a line are replaced.
pub(crate) fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let mut line = String::new();
    for cell in cells {
        if !line.is_empty() {
            line.push(',');
        }
        line.push('"');
        let first = cell.trim_start().chars().next();
        let formula = first.is_some_and(|c| FORMULA.contains(c));
        if formula || cell.starts_with(is_forging) {
            line.push('\'');
        }
        // Where `;` separates cells, quotes do not keep the rest of this one together, and those
        // at the start of a cell are left out.
        let mut begins = false;
        for c in cell.chars() {
            if begins && FORMULA.contains(c) {
                line.push('\'');
            }
            begins = c == ';' || (begins && (c.is_whitespace() || is_forging(c) || c == '"'));
            match c {
                '"' => line.push_str("\"\""),
                c if is_forging(c) => line.push('\u{fffd}'),
                c => line.push(c),
            }
        }
        line.push('"');
    }
    line.push_str("\r\n");
    line
}

/// Escapes what could begin a formula in this JSON, for users who open it as a table. Inside
/// strings `\u003d` is `=` to every reader of JSON.
pub(crate) fn tame_json(json: &str) -> String {
    let mut tame = String::with_capacity(json.len());
    let (mut in_string, mut escaped, mut before) = (false, false, ' ');
    for c in json.chars() {
        match c {
            '"' if !escaped => in_string = !in_string,
            // In the middle of a word or a date such a character begins no formula.
            c if FORMULA.contains(c) && in_string && !before.is_ascii_alphanumeric() => {
                tame.push_str(&format!("\\u{:04x}", u32::from(c)));
                before = c;
                continue;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        before = c;
        tame.push(c);
    }
    tame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_quoted_and_none_is_a_formula() {
        for (cell, expected) in [
            ("alice", "\"alice\"\r\n"),
            ("a \"b\", c", "\"a \"\"b\"\", c\"\r\n"),
            ("=1+1", "\"'=1+1\"\r\n"),
            ("  @SUM(A1)", "\"'  @SUM(A1)\"\r\n"),
            ("\t=1", "\"'\u{fffd}=1\"\r\n"),
            ("-2", "\"'-2\"\r\n"),
            ("\u{ff1d}1", "\"'\u{ff1d}1\"\r\n"),
            ("a\r\n=1", "\"a\u{fffd}\u{fffd}=1\"\r\n"),
            ("a;=1; -2", "\"a;'=1; '-2\"\r\n"),
            ("a;\" \"=1;b", "\"a;\"\" \"\"'=1;b\"\r\n"),
            ("\u{feff}=1", "\"'\u{fffd}=1\"\r\n"),
            ("a;\u{200e}=1", "\"a;\u{fffd}'=1\"\r\n"),
        ] {
            assert_eq!(line([cell]), expected);
        }
        assert_eq!(line(["a", "", "b"]), "\"a\",\"\",\"b\"\r\n");
    }

    #[test]
    fn no_cell_forges_a_line() {
        for c in ('\0'..=char::MAX).filter(|c| is_forging(*c)) {
            assert_eq!(line([&*format!("a{c}b")]), "\"a\u{fffd}b\"\r\n", "{c:?}");
        }
    }

    #[test]
    fn tame_json_says_the_same_and_begins_no_formula() {
        let agents = ["a,=cmd()", "=1", "\\\"=1,-1", "1999-01-02", ";+1\t@x|calc"];
        let json = serde_json::json!({ "n": -1, "agents": agents }).to_string();
        let tame = tame_json(&json);
        let parsed: serde_json::Value = serde_json::from_str(&tame).unwrap();
        assert_eq!(parsed, serde_json::json!({ "n": -1, "agents": agents }));
        let begins = |pair: &[char]| "=+@|".contains(pair[1]) && !pair[0].is_ascii_alphanumeric();
        let all: Vec<char> = tame.chars().collect();
        assert!(!all.windows(2).any(begins), "{tame}");
        assert!(tame.contains("1999-01-02"));
    }
}
