//! `keygate scan`: where keys lie about: in files, backups, logs and what was typed into shells.

mod files;
mod find;
mod run;
mod whose;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::output;
use super::report::Failure;
use files::Files;
use find::{Hit, Kind};
use run::Outcome;
pub use run::size;
use whose::{Owners, Whose};

/// Exit code: there is something to do.
const FOUND: u8 = 1;
/// Exit code: nothing was found, and something could not be looked into.
const UNREADABLE: u8 = 2;

/// Arguments of `scan`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = "Examples:\n  \
    keygate scan /srv/webshop /var/log\n  \
    keygate scan --history                        what was typed into shells, by the present user\n  \
    keygate scan . --gitignore --json | jq '.findings[].file'\n\n\
    Finds scoped keys (`kg_`, checksum verified) and 40-digit hex values, as ChannelEngine's API keys are. Shows where they\n\
    are and never what they are; with a configuration it says whose a key is. Hex values that the words around them call\n\
    a hash (`commit`, `sha1`, `etag`, …), and those in `.git` folders, are counted and listed with `--all` only.\n\
    Hidden and binary files are looked through too; links are not followed, nor other file systems entered; archives are\n\
    not unpacked.\n\n\
    Exit code 0 when nothing was found, 1 when something was, 2 when nothing was and some file could not be read.")]
pub struct Scan {
    /// Files and folders to look through
    #[arg(required_unless_present = "history", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Look through the history files of the present user's shells too
    #[arg(long)]
    history: bool,
    /// Leave out what `.gitignore` files name
    #[arg(long)]
    gitignore: bool,
    /// List hex values that seem to be hashes, too
    #[arg(long)]
    all: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    findings: Vec<Finding>,
    /// Hex values that seem to be hashes and are not listed.
    hashes: usize,
    files: usize,
    bytes: u64,
    unreadable: Vec<Unreadable>,
}

#[derive(Serialize)]
struct Finding {
    file: String,
    line: u64,
    column: u64,
    kind: Kind,
    /// What may be shown of it.
    masked: String,
    #[serde(flatten)]
    whose: Whose,
    next: String,
}

#[derive(Serialize)]
struct Unreadable {
    file: String,
    why: String,
}

/// Runs it; the exit code.
pub fn run(args: &Scan, config: &Path) -> Result<u8, Failure> {
    if let Some(missing) = args.paths.iter().find(|path| path.symlink_metadata().is_err()) {
        return Err(Failure::usage(format!("there is no `{}`", missing.display())));
    }
    let mut paths = args.paths.clone();
    paths.extend(args.history.then(files::histories).unwrap_or_default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let files = files::below(&paths, args.gitignore);
    let outcome = run::look_at(&files.files, threads);
    let report = Report::new(args, &files, outcome, &Owners::of(config));
    if args.json {
        output::json(&report)?;
    } else {
        report.tell()?;
    }
    Ok(report.code())
}

impl Report {
    fn new(args: &Scan, files: &Files, outcome: Outcome, owners: &Owners) -> Self {
        let Outcome { hits, unreadable, bytes } = outcome;
        let count = hits.len();
        let listed = hits.into_iter().filter(|(n, hit)| args.all || !is_hash(&files.files[*n].0, hit, owners));
        let findings: Vec<_> = listed.map(|(n, hit)| Finding::new(&files.files[n].0, hit, owners)).collect();
        let unreadable = files.unreadable.iter().chain(&unreadable);
        Self {
            hashes: count - findings.len(),
            findings,
            files: files.files.len(),
            bytes,
            unreadable: unreadable.map(|(file, why)| Unreadable { file: shown(file), why: why.clone() }).collect(),
        }
    }

    fn code(&self) -> u8 {
        match (self.findings.is_empty(), self.unreadable.is_empty()) {
            (false, _) => FOUND,
            (true, false) => UNREADABLE,
            (true, true) => 0,
        }
    }

    fn tell(&self) -> Result<(), Failure> {
        let mut next: Vec<&str> = Vec::new();
        for finding in &self.findings {
            let Finding { file, line, column, masked, whose, .. } = finding;
            output::result(&format!("{file}:{line}:{column}: {masked}  {whose}\n"))?;
            if !next.contains(&finding.next.as_str()) {
                next.push(&finding.next);
            }
        }
        for Unreadable { file, why } in &self.unreadable {
            output::note(&format!("could not look into `{file}`: {why}\n"));
        }
        let (count, files) = (self.findings.len(), self.files);
        output::note(&format!("{count} found in {files} files, {}\n", run::size(self.bytes)));
        if self.hashes > 0 {
            output::note(&format!("{} hex values seem to be hashes; `--all` lists them\n", self.hashes));
        }
        for what in next {
            output::note(&format!("hint: {what}\n"));
        }
        Ok(())
    }
}

impl Finding {
    fn new(file: &Path, hit: Hit, owners: &Owners) -> Self {
        let whose = owners.whose(&hit);
        let Hit { kind, line, column, masked, .. } = hit;
        Self { file: shown(file), line, column, kind, masked, next: whose.next(), whose }
    }
}

/// A name may hold anything; what is printed must not play with the terminal.
fn shown(path: &Path) -> String {
    path.display().to_string().replace(char::is_control, "?")
}

/// A key that is known to be one never counts as a hash.
fn is_hash(file: &Path, hit: &Hit, owners: &Owners) -> bool {
    let in_git = file.components().any(|part| part.as_os_str() == ".git");
    let hex = match hit.kind {
        Kind::Hash => true,
        Kind::ApiKey => in_git,
        Kind::ScopedKey => false,
    };
    hex && matches!(owners.whose(hit), Whose::Unknown { .. })
}
