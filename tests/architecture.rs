//! Each file of a package's `src/` imports only from files above it in the table of its
//! `DESIGN.md`.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

const PACKAGES: [&str; 2] = [".", "adapters/sqlx"];

fn rooms(package: &Path) -> Vec<String> {
    let design = fs::read_to_string(package.join("DESIGN.md")).unwrap();
    let table = design
        .split("## Rooms")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    table
        .lines()
        .filter_map(|line| {
            line.strip_prefix("| `")?
                .split_once(".rs`")
                .map(|(name, _)| name.to_owned())
        })
        .collect()
}

/// The files of this crate that a source text imports from, tests left out.
fn imports(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    code.split("crate::")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .filter_map(|mut words| words.next().map(str::to_owned))
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect()
}

/// The text of a file and of those in the folder of its name.
fn source(package: &Path, room: &str) -> String {
    let src = package.join("src");
    let mut text = fs::read_to_string(src.join(format!("{room}.rs"))).unwrap();
    for entry in fs::read_dir(src.join(room)).into_iter().flatten() {
        text += &fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    text
}

#[test]
fn the_table_names_every_file() {
    for package in PACKAGES.map(Path::new) {
        let mut rooms = rooms(package);
        let mut files: Vec<String> = fs::read_dir(package.join("src"))
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .file_stem()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .filter(|name| name != "lib")
            .collect();
        rooms.sort();
        files.sort();
        // A folder belongs to the file of its name.
        files.dedup();
        assert_eq!(rooms, files);
    }
}

#[test]
fn each_file_imports_only_from_files_above_it() {
    for (package, least) in PACKAGES.map(Path::new).into_iter().zip([50, 5]) {
        let rooms = rooms(package);
        let mut seen = 0;
        for (place, room) in rooms.iter().enumerate() {
            for import in imports(&source(package, room)) {
                // The hooks of the constant-time proof are called from below; they import nothing.
                if import == "memcheck" || import == *room || !rooms.contains(&import) {
                    continue;
                }
                seen += 1;
                assert!(
                    rooms[..place].contains(&import),
                    "{room}.rs imports {import}.rs"
                );
            }
        }
        assert!(seen > least, "imports were found at all");
    }
}

#[test]
fn a_planted_import_from_below_would_be_seen() {
    let planted = "use crate::service::BackupCodes;\nlet x = crate::rules::Erased;\n// crate::no::no\n\
         use crate::usage as counts;\n";
    assert_eq!(imports(planted), ["service", "rules", "usage"]);
}

#[test]
fn nothing_in_src_reads_a_clock() {
    for package in PACKAGES.map(Path::new) {
        for room in rooms(package).iter().chain([&"lib".to_owned()]) {
            assert!(!source(package, room).contains("::now()"), "{room}");
        }
    }
}
