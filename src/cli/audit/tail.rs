//! `keygate audit tail`: the last records, and those to come.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::{directory, identity, unread};
use crate::audit::{Follow, ReadError};
use crate::cli::report::Failure;

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Arguments of `audit tail`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate audit tail                       the last ten records, one line each\n  \
    keygate audit tail -f                    and every one that follows\n  \
    keygate audit tail -n 1000 --json | jq 'select(.refusal)'")]
pub struct Tail {
    /// Go on with records as they come
    #[arg(short, long)]
    follow: bool,
    /// How many of the last records
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    lines: usize,
    /// Print the records as they stand in the log, one JSON object a line
    #[arg(long)]
    json: bool,
    /// What opens an encrypted log [default: audit-identity.txt beside the configuration, when it is there]
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Another log than the configuration's
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Runs it.
pub(super) fn tail(args: &Tail, config: &Path) -> Result<(), Failure> {
    let directory = directory(args.directory.as_ref(), config)?;
    let identity = identity(args.identity.as_ref(), config)?;
    let failed = |error: ReadError| unread("cannot show the audit log", error);
    let mut follow = Follow::from_last(&directory, args.lines, identity.as_ref()).map_err(failed)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    loop {
        while let Some(line) = follow.next_line().map_err(failed)? {
            if write_line(&mut out, &line, args.json).is_err() {
                // Whoever read this has gone.
                return Ok(());
            }
        }
        if out.flush().is_err() || !args.follow {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

fn write_line(out: &mut impl Write, line: &[u8], json: bool) -> io::Result<()> {
    if json {
        out.write_all(line)?;
    } else {
        out.write_all(one_line(line).as_bytes())?;
    }
    out.write_all(b"\n")
}

/// The fields of a record that a person looks for first.
#[derive(Deserialize)]
struct Shown {
    /// A record that was forgotten has none.
    #[serde(default)]
    time: String,
    #[serde(default)]
    seq: u64,
    kind: String,
    #[serde(default)]
    integration: Option<String>,
    #[serde(default)]
    peer: Option<String>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    outcome: Option<String>,
    #[serde(default)]
    micros: Option<Micros>,
    #[serde(default)]
    event: Option<ShownEvent>,
}

#[derive(Deserialize)]
struct Micros {
    decide: u64,
    intent: u64,
    upstream: u64,
    body: u64,
}

#[derive(Deserialize)]
struct ShownEvent {
    code: String,
    detail: String,
}

/// A record in one line, for people.
pub(super) fn one_line(line: &[u8]) -> String {
    let Ok(record) = serde_json::from_slice::<Shown>(line) else {
        return format!("(not a record: {} bytes)", line.len());
    };
    if record.kind == "forgotten" {
        return format!("{:23}  record {} was forgotten", "", record.seq);
    }
    let time = record.time.get(..23).unwrap_or(&record.time);
    if let Some(event) = &record.event {
        return format!("{time}  gate        {}: {}", event.code, printable(&event.detail));
    }
    let who = record.integration.or(record.peer).unwrap_or_default();
    let what = record.endpoint.or(record.method).unwrap_or_else(|| record.kind.clone());
    let status = record.status.map_or_else(|| "   ".to_owned(), |status| status.to_string());
    let mut text = format!("{time}  {:<10}  {status}  {}", printable(&who), printable(&what));
    if record.kind == "intent" {
        text.push_str("  (intent)");
    }
    if let Some(refusal) = record.refusal {
        text = format!("{text}  {refusal}");
    }
    if let Some(outcome) = record.outcome.filter(|outcome| outcome != "complete") {
        text = format!("{text}  {outcome}");
    }
    if let Some(detail) = record.detail {
        text = format!("{text}  ({})", printable(&detail));
    }
    if let Some(micros) = record.micros {
        let total = micros.decide + micros.intent + micros.upstream + micros.body;
        text = format!("{text}  {}.{:01} ms", total / 1000, total % 1000 / 100);
    }
    text
}

/// What came over a socket must not move the reader's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
