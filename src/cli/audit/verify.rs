//! `keygate audit verify`: is the log intact, and is it complete.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{directory, identity, log_key, read};
use crate::audit::{Known, Report, verify};
use crate::cli::output;
use crate::cli::report::Failure;
use crate::config::show_count;

/// Progress is told this often, in bytes read.
const TELL: u64 = 64 * 1024 * 1024;

/// Not intact.
const NOT_INTACT: u8 = 1;
/// Intact, and records are missing.
const INCOMPLETE: u8 = 3;
/// Intact and complete, and nobody has signed for the last records.
const UNSIGNED: u8 = 4;

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate audit verify\n  \
    keygate audit verify --checkpoint noted-in-march.txt --receipts receipts.txt\n  \
    keygate audit verify --directory /mnt/evidence/audit --key audit-signing.pub --json\n\n\
    Two verdicts. Intact: every record is as it was written and in its place, and every checkpoint is\n\
    one of this tree. Complete: nothing is missing that a checkpoint or a receipt was given for. A log\n\
    that was put back to an earlier state as a whole shows only against a checkpoint or a receipt that\n\
    was kept elsewhere: name it.\n\n\
    Exit codes: 0 intact and complete, 1 not intact (the first bad record is named), 3 records are\n\
    missing, 4 nobody has signed for the last records (the gate ended without notice). The log may be\n\
    in use.")]
pub struct Verify {
    /// A checkpoint that was noted elsewhere; may be repeated
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// Receipts that clients kept, one `keygate-receipt` a line; may be repeated
    #[arg(long = "receipts", value_name = "FILE")]
    receipts: Vec<PathBuf>,
    /// The key that the log's checkpoints are signed with, another than the configuration's
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// What opens an encrypted log [default: audit-identity.txt beside the configuration, when it is there]
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Another log than the configuration's
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Runs it; the exit code.
pub(super) fn run(args: &Verify, config: &Path) -> Result<u8, Failure> {
    let directory = directory(args.directory.as_ref(), config)?;
    let noted = |paths: &[PathBuf]| -> Result<Vec<(PathBuf, String)>, Failure> {
        paths.iter().map(|path| Ok((path.clone(), read(path)?))).collect()
    };
    let known = Known {
        key: Some(log_key(args.key.as_ref(), config)?),
        identity: identity(args.identity.as_ref(), config)?,
        checkpoints: noted(&args.checkpoints)?,
        receipts: noted(&args.receipts)?,
    };
    let report = check(&directory, &known)?;
    if args.json {
        output::json(&report)?;
    } else {
        output::result(&tell(&report))?;
    }
    Ok(code(&report))
}

fn code(report: &Report) -> u8 {
    match report {
        Report { intact: false, .. } => NOT_INTACT,
        Report { complete: false, .. } => INCOMPLETE,
        Report { unsigned: 1.., running: false, .. } => UNSIGNED,
        _ => 0,
    }
}

fn check(directory: &Path, known: &Known) -> Result<Report, Failure> {
    let (mut read, mut told) = (0, 0);
    let on_terminal = io::stderr().is_terminal();
    let report = verify(directory, known, |bytes| {
        read += bytes;
        if on_terminal && read - told >= TELL {
            told = read;
            output::note(&format!("\r{} MiB checked", read / (1024 * 1024)));
        }
    });
    if told > 0 {
        output::note("\n");
    }
    report
        .map_err(|error| Failure::new(format!("cannot read the audit log at `{}`", directory.display())).because(error))
}

/// Calls that were begun and have no outcome on record.
fn unknown(ids: &[String]) -> String {
    format!("outcome unknown of {}: {}", show_count(ids.len() as u64, "call"), ids.join(", "))
}

fn tell(report: &Report) -> String {
    let mut lines = Vec::new();
    match &report.first_bad {
        None => {
            let Report { records, segments, checkpoints, receipts, .. } = report;
            lines.push(format!(
                "intact: {records} records in {segments} segments, {checkpoints} checkpoints, {receipts} receipts"
            ));
            lines.extend(missing(report));
        }
        Some(bad) => {
            let seq = bad.seq.map(|seq| format!("record {seq}, ")).unwrap_or_default();
            lines.push(format!("NOT intact: {seq}{}, line {}", bad.file.display(), bad.line));
            lines.push(format!("  {}", bad.what));
            lines.push(format!("  the {} records before it are in their place", report.records));
        }
    }
    lines.push(format!("tree: {} records, root {}", report.records, report.root));
    lines.push(signed(report));
    if report.torn_bytes > 0 {
        lines.push(format!(
            "{} bytes behind the last record: being written, or torn when the gate ended",
            report.torn_bytes
        ));
    }
    if report.removed > 0 {
        lines.push(format!(
            "removed by retention: records 0 to {}; the tree has their entries, and the log's key has signed for it",
            report.removed - 1
        ));
    }
    if report.shut > 0 {
        lines.push(format!(
            "not opened: {} records are encrypted; they were checked, the clock in them was not (--identity FILE)",
            report.shut
        ));
    }
    if report.forgotten > 0 {
        lines.push(format!("forgotten: {} records, whose keys are gone; the tree still has them", report.forgotten));
    }
    for (seq, by) in &report.clock_steps {
        lines.push(format!("record {seq}: the clock stepped back by {by} ms"));
    }
    if !report.unknown.is_empty() {
        lines.push(unknown(&report.unknown));
    }
    lines.join("\n") + "\n"
}

fn missing(report: &Report) -> Vec<String> {
    if report.missing.is_empty() {
        return vec!["complete: nothing is missing that a checkpoint or a receipt was given for".to_owned()];
    }
    let each = report.missing.iter().map(|missing| {
        let (first, last) = missing.seqs;
        format!("NOT complete: records {first} to {last} are missing, as {} shows", missing.file.display())
    });
    each.collect()
}

fn signed(report: &Report) -> String {
    match report {
        Report { unsigned: 0, sealed: true, .. } => {
            "sealed: the gate stopped in good order after the last record, and signed for it".to_owned()
        }
        Report { unsigned: 0, running: true, .. } => "the gate is running; all records are signed for".to_owned(),
        Report { unsigned, running: true, .. } => {
            format!("the gate is running; it has still to sign for the last {unsigned} records")
        }
        Report { unsigned: 0, .. } => {
            "not sealed: the gate ended without notice; all records are signed for".to_owned()
        }
        Report { unsigned, .. } => {
            format!("not sealed: the gate ended without notice, and NOBODY HAS SIGNED for the last {unsigned} records")
        }
    }
}
