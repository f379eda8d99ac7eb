//! Every row of `docs/standards.md` has a proof that exists.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;

const IDS: &str = "G1 G3 G5 G6 G7 G8 G11 G13 G15 I1 I4 I5 I6 I7 I8 I11 S1 S2 S3 S6 S8 S9 S10 S11 \
                   S12-14 S15 S17 S18 S19 V1 V2 V3 V6 V7 V8 V11 V12 V15 T1 T2 T3 T5-6 T8-9 T10-11 \
                   T12 E1-2 E3 L1-3 L4 L5 L6 L7 N1-3 M1 W1-2 P1";

/// The id and the proof of each row.
fn rows(table: &str) -> Vec<(String, String)> {
    table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| id "))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            (cells[0].to_owned(), cells[cells.len() - 1].to_owned())
        })
        .collect()
}

/// What is wrong with a proof, if anything.
fn flaw(proof: &str) -> Option<String> {
    let mut named = 0;
    for reference in proof.split('`').skip(1).step_by(2) {
        let Some((file, name)) = reference.split_once("::") else {
            continue;
        };
        named += 1;
        let Ok(text) = fs::read_to_string(file) else {
            return Some(format!("{file} does not exist"));
        };
        let there = if name.is_empty() {
            text.contains("```compile_fail")
        } else {
            text.contains(&format!("fn {name}("))
                || text.contains(&format!("fn {name}<"))
                || text.contains(&format!("    {name}: "))
        };
        // A test, the program of the constant-time proof, or a case of the suite.
        let above = text
            .split(&format!("fn {name}("))
            .next()
            .unwrap_or_default();
        let above = &above[above.rfind("\n\n").unwrap_or(0)..];
        let runs = name.is_empty()
            || name == "main"
            || above.contains("#[test]")
            || above.contains("#[tokio::test]")
            || file.starts_with("src/conformance/");
        if there && !runs {
            return Some(format!("{file}: {name} is no test"));
        }
        if !there {
            return Some(format!("{file} has no {name}"));
        }
    }
    if let Some(duty) = proof.strip_prefix("duty: `") {
        named += 1;
        let (file, rest) = duty.split_once('`').unwrap();
        let sentence = rest.split('"').nth(1).unwrap();
        let text = fs::read_to_string(file).unwrap_or_default();
        let text = text.replace("///", " ");
        if !text
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .contains(sentence)
        {
            return Some(format!("{file} does not say: {sentence}"));
        }
    }
    (named == 0).then(|| "no proof is named".to_owned())
}

fn table() -> Vec<(String, String)> {
    rows(&fs::read_to_string("docs/standards.md").unwrap())
}

#[test]
fn every_row_is_there_once() {
    let rows = table();
    let ids: Vec<&str> = rows.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, IDS.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn every_row_has_a_proof_that_exists() {
    let flaws: Vec<String> = table()
        .iter()
        .filter_map(|(id, proof)| flaw(proof).map(|flaw| format!("{id}: {flaw}")))
        .collect();
    assert_eq!(flaws, [] as [String; 0]);
}

#[test]
fn a_proof_that_does_not_exist_is_seen() {
    for proof in [
        "`tests/standards.rs::no_such_test`",
        "`tests/no_such_file.rs::x`",
        "`tests/standards.rs::rows`",
        "duty: `SECURITY.md` \"the application need do nothing\"",
        "somewhere",
    ] {
        assert!(flaw(proof).is_some(), "{proof}");
    }
}
