//! Each file of a package's `src/` imports only from files above it in the table of its
//! `DESIGN.md`.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

const PACKAGES: [&str; 2] = [".", "adapters/sqlx"];

/// The files of the table, in its order, as paths without their ending.
fn modules(package: &Path) -> Vec<String> {
    let design = fs::read_to_string(package.join("DESIGN.md")).unwrap();
    let table = design
        .split("## Modules and their dependencies")
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

/// The paths that a source text names after `crate::`, as `a/b`; tests left out.
fn paths(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let path = |rest: &str| {
        let words = rest.split("::").map(|word| {
            let end = word.find(|c: char| !c.is_alphanumeric() && c != '_');
            (&word[..end.unwrap_or(word.len())], end.is_none())
        });
        let mut path = Vec::new();
        for (word, goes_on) in words {
            path.push(word);
            if !goes_on {
                break;
            }
        }
        path.join("/")
    };
    code.split("crate::").skip(1).map(path).collect()
}

/// The files that a source text imports from: for each path the longest one that is a file.
fn imports(source: &str, modules: &[String]) -> Vec<String> {
    let import = |path: String| {
        let is_in = |module: &&String| path == **module || path.starts_with(&format!("{module}/"));
        modules
            .iter()
            .filter(is_in)
            .max_by_key(|module| module.len())
            .cloned()
    };
    paths(source).into_iter().filter_map(import).collect()
}

/// The files of a folder, as paths without their ending.
fn files(folder: &Path, above: &str) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = format!("{above}{}", path.file_stem().unwrap().to_str().unwrap());
        if path.is_dir() {
            all.extend(files(&path, &format!("{name}/")));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(name);
        }
    }
    all.sort();
    all
}

/// The text of a file, and of those in the folder of its name that are not in the table.
fn source(package: &Path, module: &str, modules: &[String]) -> String {
    let src = package.join("src");
    let read = |name: &str| fs::read_to_string(src.join(format!("{name}.rs"))).unwrap();
    let mut text = read(module);
    for file in files(&src.join(module), &format!("{module}/")) {
        if !modules.contains(&file) {
            text += &read(&file);
        }
    }
    text
}

#[test]
fn the_table_names_every_file() {
    for package in PACKAGES.map(Path::new) {
        let mut modules = modules(package);
        let mut files = files(&package.join("src"), "");
        // The folder of the suite belongs to the file of its name.
        files.retain(|name| name != "lib" && !name.starts_with("conformance/"));
        modules.sort();
        assert_eq!(modules, files);
    }
}

#[test]
fn each_file_imports_only_from_files_above_it() {
    for (package, least) in PACKAGES.map(Path::new).into_iter().zip([50, 5]) {
        let modules = modules(package);
        let mut seen = 0;
        for (place, module) in modules.iter().enumerate() {
            for import in imports(&source(package, module, &modules), &modules) {
                // The hooks of the constant-time proof are called from below; they import nothing.
                if import == "memcheck" || import == *module {
                    continue;
                }
                seen += 1;
                assert!(
                    modules[..place].contains(&import),
                    "{module}.rs imports {import}.rs"
                );
            }
        }
        assert!(seen > least, "imports were found at all");
    }
}

#[test]
fn a_planted_import_from_below_would_be_seen() {
    let modules = ["code", "code/format", "report", "rules"].map(str::to_owned);
    let planted = "use crate::code::format::{Format, MAX_SLOT};\nlet x = crate::rules::Step;\n\
         // crate::no::no\nuse crate::report as counts;\nuse crate::code::Code;\n";
    let found = imports(planted, &modules);
    assert_eq!(found, ["code/format", "rules", "report", "code"]);
}

#[test]
fn nothing_in_src_reads_a_clock() {
    for package in PACKAGES.map(Path::new) {
        for file in files(&package.join("src"), "") {
            let text = fs::read_to_string(package.join(format!("src/{file}.rs"))).unwrap();
            assert!(!text.contains("::now()"), "{file}");
        }
    }
}
