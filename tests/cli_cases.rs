//! Replays `tests/cli/*.toml` against the real binary: arguments, standard input, files, expected output, exit code.
//!
//! Each file is one case with its own empty folder. `KEYGATE_BLESS=1 cargo test --test cli_cases` writes what came as
//! what is expected; read the difference before you commit it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may fail, and tells why")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What the case shows, one sentence.
    about: String,
    /// Files made before the first step.
    #[serde(default)]
    files: BTreeMap<String, String>,
    step: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// A shell command that runs in the folder first.
    sh: Option<String>,
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    stdin: String,
    #[serde(default)]
    code: i32,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
    /// Files that must hold these texts afterwards.
    #[serde(default)]
    holds: BTreeMap<String, Vec<String>>,
    /// Output that depends on the machine is not compared.
    #[serde(default)]
    any_output: bool,
}

/// What came, with everything that differs from run to run replaced.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    code: i32,
    stdout: String,
    stderr: String,
}

#[test]
fn every_case_ends_as_written() {
    let bless = std::env::var_os("KEYGATE_BLESS").is_some();
    let mut failures = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 20, "only {} cases were found", cases.len());
    for path in cases {
        failures.extend(replay(&path, bless));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    cases.sort();
    cases
}

fn replay(path: &Path, bless: bool) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let case: Case = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let folder = tempfile::tempdir().unwrap();
    for (name, contents) in &case.files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, contents).unwrap();
    }
    let mut failures = Vec::new();
    let mut document: toml_edit::DocumentMut = text.parse().unwrap();
    for (index, step) in case.step.iter().enumerate() {
        let seen = play(step, folder.path());
        let wanted = Came { code: step.code, stdout: step.stdout.clone(), stderr: step.stderr.clone() };
        let same = if step.any_output { seen.code == wanted.code } else { seen == wanted };
        if bless && seen.code == wanted.code {
            write_down(&mut document["step"][index], step, &seen);
        } else if !same {
            let (name, args) = (path.file_name().unwrap().to_string_lossy(), &step.args);
            failures.push(format!("{name}: {}\nkeygate {args:?}\n{}", case.about, difference(&wanted, &seen)));
        }
        failures.extend(missing(step, folder.path()).map(|what| format!("{}: {what}", path.display())));
    }
    if bless {
        fs::write(path, document.to_string()).unwrap();
    }
    failures
}

fn play(step: &Step, folder: &Path) -> Came {
    if let Some(line) = &step.sh {
        let status = Command::new("sh").args(["-euc", line]).current_dir(folder).status().unwrap();
        assert!(status.success(), "`{line}` failed");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
    command.args(&step.args).current_dir(folder).env_remove("KEYGATE_CONFIG").env("COLUMNS", "100").envs(&step.env);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that reads nothing may have closed its end already.
    let _ = child.stdin.take().unwrap().write_all(step.stdin.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let tidy = |bytes: Vec<u8>| tidy(&String::from_utf8(bytes).unwrap(), folder);
    Came { code: status.code().unwrap_or(-1), stdout: tidy(stdout), stderr: tidy(stderr) }
}

fn missing(step: &Step, folder: &Path) -> Option<String> {
    step.holds.iter().find_map(|(name, texts)| {
        let contents = fs::read_to_string(folder.join(name)).unwrap_or_default();
        let text = texts.iter().find(|text| !contents.contains(*text))?;
        Some(format!("`{name}` does not hold `{text}` but\n{contents}"))
    })
}

fn difference(wanted: &Came, came: &Came) -> String {
    let mut text = format!("exit code {} (wanted {})", came.code, wanted.code);
    for (name, wanted, came) in [("stdout", &wanted.stdout, &came.stdout), ("stderr", &wanted.stderr, &came.stderr)] {
        if wanted != came {
            text = format!("{text}\n--- {name} wanted\n{wanted}--- {name} came\n{came}---");
        }
    }
    text
}

/// Exit codes are never written down: they are what a case is about.
fn write_down(item: &mut toml_edit::Item, step: &Step, came: &Came) {
    let table = item.as_table_mut().unwrap();
    for (name, text) in [("stdout", &came.stdout), ("stderr", &came.stderr)] {
        table.remove(name);
        if !text.is_empty() && !step.any_output {
            table.insert(name, toml_edit::value(text.as_str()));
        }
    }
}

/// Replaces what differs from run to run: the folder, scoped keys, times.
fn tidy(text: &str, folder: &Path) -> String {
    let text = text.replace(&folder.display().to_string(), "[DIR]");
    let mut tidied = String::new();
    let mut rest = text.as_str();
    while let Some(next) = rest.chars().next() {
        if let Some((mark, len)) = changing(rest) {
            tidied.push_str(mark);
            rest = &rest[len..];
        } else {
            tidied.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    tidied
}

fn changing(text: &str) -> Option<(&'static str, usize)> {
    let shaped = |shape: &str| {
        text.len() >= shape.len()
            && shape.bytes().zip(text.bytes()).all(|(want, is)| match want {
                b'0' => is.is_ascii_digit(),
                b'x' => is.is_ascii_alphanumeric(),
                want => want == is,
            })
    };
    let key = "kg_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    let time = "0000-00-00T00:00:00Z";
    match () {
        () if shaped(key) => Some(("kg_[KEY]", key.len())),
        () if shaped(time) => Some(("[TIME]", time.len())),
        () => None,
    }
}
