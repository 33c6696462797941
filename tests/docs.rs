//! The documents are true: links lead somewhere, commands exist, tests that are named exist.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every Markdown file of the repository, with its text.
fn documents() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new(env!("CARGO_MANIFEST_DIR")), &mut found);
    assert!(found.len() > 10, "only {} documents were found", found.len());
    found
}

/// What stands between two marks, each time.
fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split_once(close).map(|(inside, _)| inside))
}

#[test]
fn every_link_leads_to_a_file() {
    let mut checked = 0;
    for (path, text) in documents() {
        for link in between(&text, "](", ")").filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let file = link.split('#').next().unwrap_or_default();
            assert!(path.parent().unwrap().join(file).exists(), "{}: `{link}` leads nowhere", path.display());
            checked += 1;
        }
    }
    assert!(checked > 20, "only {checked} links were found");
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = fs::read_to_string(root.join("docs/threat-model.md")).unwrap();
    let tests = sources(&[root.join("src"), root.join("tests")]);
    let mut checked = 0;
    for row in model.lines().filter(|line| line.starts_with("| ") && line.matches(" | ").count() == 2) {
        let shown_by = row.rsplit(" | ").next().unwrap();
        // Names of tests are sentences; configuration keys and codes in the same column are shorter.
        let marked = shown_by.split('`').skip(1).step_by(2);
        for name in marked.filter(|name| name.matches('_').count() > 2 && !name.contains(['/', '.'])) {
            assert!(tests.contains(&format!("fn {name}(")), "the threat model names `{name}`, which is no test");
            checked += 1;
        }
    }
    assert!(checked > 40, "only {checked} names were found");
}

fn sources(folders: &[PathBuf]) -> String {
    let mut all = String::new();
    for folder in folders {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all += &sources(&[path]);
            } else if path.extension().is_some_and(|e| e == "rs") {
                all += &fs::read_to_string(path).unwrap();
            }
        }
    }
    all
}

#[test]
fn every_command_that_is_shown_exists() {
    let mut checked = 0;
    for (path, text) in documents() {
        let lines = text.lines().map(|line| line.trim_start_matches(['$', '#', ' ']));
        for line in lines.filter(|line| line.starts_with("keygate ")) {
            let words = line.split_whitespace().skip(1);
            // Options before the subcommand take a value; what follows up to the first option or argument is its name.
            let words: Vec<_> =
                words.skip_while(|w| *w == "--config" || w.contains(".toml") || w.contains('…')).collect();
            let name = words.iter().take(2).take_while(|w| w.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
            let name: Vec<_> = name.filter(|w| !w.starts_with('-')).collect();
            if name.is_empty() || ["gate", "is", "gate:"].contains(name[0]) {
                continue;
            }
            let nested = ["credential", "integration", "profile", "audit"].contains(name[0]);
            let command = Command::new(env!("CARGO_BIN_EXE_keygate"))
                .args(&name[..if nested { name.len() } else { 1 }])
                .arg("--help")
                .output()
                .unwrap();
            assert!(command.status.success(), "{}: there is no such command: {line}", path.display());
            checked += 1;
        }
    }
    assert!(checked > 8, "only {checked} commands were found");
}
