//! Exports: records in the form that others ask for, with a manifest that says what is in it and which signed checkpoint
//! it stands in.
//!
//! The log is walked once, in steps of 65,536 records. After each step what was made is where it belongs, and only then the
//! cursor moves on: an export that was killed goes on from there, and what comes out is the same byte for byte. Nothing of
//! what is made depends on when it was made.

mod csv;
mod ecs;
mod manifest;
mod ocsf;
mod parquet;
mod parts;
mod place;
mod row;
mod s3;

use std::io::{self, Read};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::line::Line;
use super::tree::note::{Checkpoint, VerifierKey};
use super::tree::store::CHECKPOINT;
use super::{Follow, Identity, ReadError};

pub use manifest::{Asked, File, Manifest};
pub use place::{Folder, Place, Single, Trouble};
pub(crate) use row::{COLUMNS, Cell, Row};
pub use s3::{NoBucket, S3};

use manifest::{Progress, Range};
use parts::{Made, Parts};

/// Records in a step. A file in parts has the records of one step and day: in memory until it is whole, some tens of MiB.
const STEP: u64 = 64 * 1024;

/// The form of an export's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The records as they stand in the log, one JSON object a line
    Jsonl,
    /// A table for spreadsheets
    Csv,
    /// Apache Parquet, partitioned by day
    Parquet,
    /// Open Cybersecurity Schema Framework, class API Activity, one JSON object a line
    Ocsf,
    /// Elastic Common Schema, one JSON object a line
    Ecs,
}

impl Format {
    /// How files of this form end.
    fn ending(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Ocsf => "ocsf.jsonl",
            Self::Ecs => "ecs.jsonl",
        }
    }
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its checkpoint is missing or not signed.
    #[error("the log's checkpoint cannot be used: {0}")]
    Checkpoint(String),
    /// What is read is no record, or one is missing.
    #[error("record {seq} of the log {what}")]
    Record {
        /// Its number.
        seq: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Something else lies where the export should go.
    #[error("`{0}` is there already")]
    There(String),
    /// An export that asked for something else was begun there.
    #[error("another export was begun there, of format `{}`", .0.format.ending())]
    Another(Box<Asked>),
    /// What an unfinished export has noted cannot be read.
    #[error("what was noted of the export that was begun there cannot be read")]
    Noted(#[source] serde_json::Error),
    /// The place does not take it.
    #[error("cannot write the export")]
    Place(#[source] Trouble),
    /// A record has no form in the format.
    #[error("cannot make the file")]
    Form(#[source] Trouble),
}

/// Where an export goes.
pub enum Target {
    /// One file: the folder it is in, and its path.
    Single(Box<dyn Place>, std::path::PathBuf),
    /// Files in parts, by day.
    Parts(Box<dyn Place>),
}

impl Target {
    fn place(&mut self) -> &mut dyn Place {
        match self {
            Self::Single(place, _) | Self::Parts(place) => &mut **place,
        }
    }

    fn single(&self) -> Option<String> {
        match self {
            Self::Single(_, path) => Some(path.file_name().unwrap_or_default().to_string_lossy().into_owned()),
            Self::Parts(_) => None,
        }
    }

    /// Nothing may be written over.
    fn must_be_free(&self) -> Result<(), ExportError> {
        match self {
            Self::Single(_, path) if path.exists() => Err(ExportError::There(path.display().to_string())),
            _ => Ok(()),
        }
    }

    /// The name of the manifest.
    pub fn manifest(&self) -> String {
        self.single().map_or_else(|| "manifest.json".to_owned(), |name| format!("{name}.manifest.json"))
    }

    /// The name of what is noted while the export is being made.
    fn progress(&self) -> String {
        self.single().map_or_else(|| ".export.json".to_owned(), |name| format!(".{name}.export.json"))
    }
}

/// What opens a log.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// Its checkpoints are signed with this key.
    pub verifier: &'a VerifierKey,
    /// Opens its records, when they are encrypted.
    pub identity: Option<&'a Identity>,
}

/// Makes an export, or goes on with one. `tell` hears how many records were looked through, of how many.
pub fn export(
    log: &Path,
    keys: Keys<'_>,
    asked: &Asked,
    target: &mut Target,
    tell: impl FnMut(u64, u64),
) -> Result<Manifest, ExportError> {
    in_steps(STEP, log, keys, asked, target, tell)
}

/// The same in steps of another size.
pub(super) fn in_steps(
    step: u64,
    log: &Path,
    keys: Keys<'_>,
    asked: &Asked,
    target: &mut Target,
    mut tell: impl FnMut(u64, u64),
) -> Result<Manifest, ExportError> {
    let mut progress = begin(log, keys, asked, target)?;
    let mut follow = Follow::from_record(log, progress.next, keys.identity)?;
    let mut single = match target {
        Target::Single(_, path) if !is_whole(path, &progress) => {
            let (path, length) = (path.clone(), progress.length);
            target.must_be_free()?;
            Some(Single::open(&path, length).map_err(|error| ExportError::Place(error.into()))?)
        }
        _ => None,
    };
    let Range { from, below } = progress.manifest.looked_through;
    while progress.next < below {
        let end = below.min((progress.next / step + 1) * step);
        let mut parts = Parts::of(asked.format, matches!(target, Target::Parts(_)), progress.length == 0);
        while progress.next < end {
            let line = next(&mut follow, &progress)?;
            take(&line, &mut progress, &mut parts)?;
        }
        let made = parts.finish().map_err(ExportError::Form)?;
        put(made, (end - 1) / step, &mut progress, target, single.as_mut())?;
        tell(progress.next - from, below - from);
    }
    close(progress, target, single)
}

/// The export that was begun at the target, or a fresh one.
fn begin(log: &Path, keys: Keys<'_>, asked: &Asked, target: &mut Target) -> Result<Progress, ExportError> {
    let (noted, manifest) = (target.progress(), target.manifest());
    if let Some(text) = target.place().get(&noted).map_err(ExportError::Place)? {
        let progress: Progress = serde_json::from_slice(&text).map_err(ExportError::Noted)?;
        if progress.manifest.asked == *asked && progress.manifest.keygate == env!("CARGO_PKG_VERSION") {
            return Ok(progress);
        }
        return Err(ExportError::Another(Box::new(progress.manifest.asked)));
    }
    if target.place().get(&manifest).map_err(ExportError::Place)?.is_some() {
        return Err(ExportError::There(manifest));
    }
    target.must_be_free()?;
    let note =
        std::fs::read_to_string(log.join(CHECKPOINT)).map_err(|error| ExportError::Checkpoint(error.to_string()))?;
    let checkpoint = Checkpoint::open(&note, keys.verifier).map_err(|what| ExportError::Checkpoint(what.to_owned()))?;
    // What was kept away by age is not there; the export begins with the first record that is.
    let from = match Follow::from_start(log, keys.identity).next_line()? {
        Some(line) => Line::parse(&line).map_or(0, |line| line.seq).min(checkpoint.size),
        None => checkpoint.size,
    };
    let range = Range { from, below: checkpoint.size };
    let progress = Progress { manifest: Manifest::begin(asked.clone(), range, note), next: from, length: 0 };
    save(&progress, target)?;
    Ok(progress)
}

fn save(progress: &Progress, target: &mut Target) -> Result<(), ExportError> {
    let text = serde_json::to_vec(progress).map_err(|error| ExportError::Form(error.into()))?;
    let name = target.progress();
    target.place().put(&name, text).map_err(ExportError::Place)
}

fn next(follow: &mut Follow, progress: &Progress) -> Result<Vec<u8>, ExportError> {
    let seq = progress.next;
    let missing = || ExportError::Record { seq, what: "is missing" };
    let line = follow.next_line()?.ok_or_else(missing)?;
    let parsed = Line::parse(&line).ok_or(ExportError::Record { seq, what: "is none" })?;
    if parsed.seq == seq { Ok(line) } else { Err(missing()) }
}

/// Takes a record into the files that are being made, if it was asked for.
fn take(line: &[u8], progress: &mut Progress, parts: &mut Parts) -> Result<(), ExportError> {
    let row = Row::parse(line).map_err(|_| ExportError::Record { seq: progress.next, what: "is none" })?;
    progress.next += 1;
    let Manifest { asked, records, .. } = &mut progress.manifest;
    if row.time.is_none() {
        records.forgotten += 1;
    }
    if !asked.is_for(&row) {
        return Ok(());
    }
    if !parts.push(line, &row).map_err(ExportError::Form)? {
        records.left_out += 1;
        return Ok(());
    }
    records.count += 1;
    records.first = records.first.or(Some(row.seq));
    records.last = Some(row.seq);
    if let Some(time) = row.time {
        records.earliest = Some(records.earliest.map_or(time, |earliest| earliest.min(time)));
        records.latest = Some(records.latest.map_or(time, |latest| latest.max(time)));
    }
    Ok(())
}

impl Asked {
    /// Of a record that was forgotten only its number is left: it belongs to an export that leaves nobody out.
    fn is_for(&self, row: &Row) -> bool {
        let Some(time) = row.time else {
            return self.integrations.is_empty() && self.since.is_none() && self.until.is_none();
        };
        let named = || row.integration.as_ref().is_some_and(|name| self.integrations.contains(name));
        self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
            && (self.integrations.is_empty() || named())
    }
}

/// Puts what a step made where it belongs, then moves the cursor on.
fn put(
    made: Vec<Made>,
    step: u64,
    progress: &mut Progress,
    target: &mut Target,
    single: Option<&mut Single>,
) -> Result<(), ExportError> {
    if let Some(single) = single {
        for made in made {
            progress.length = single.append(&made.contents).map_err(|error| ExportError::Place(error.into()))?;
        }
    } else {
        for Made { day, contents, records } in made {
            let name = format!("day={day}/part-{step:08}.{}", progress.manifest.asked.format.ending());
            let sha256 = hex(aws_lc_rs::digest::digest(&SHA256, &contents).as_ref());
            progress.manifest.files.push(File { name: name.clone(), size: contents.len() as u64, sha256, records });
            target.place().put(&name, contents).map_err(ExportError::Place)?;
        }
    }
    save(progress, target)
}

/// Whether the single file is in its place already: the export was killed right behind that.
fn is_whole(path: &Path, progress: &Progress) -> bool {
    progress.next == progress.manifest.looked_through.below && path.exists() && !Single::is_begun(path)
}

fn close(mut progress: Progress, target: &mut Target, single: Option<Single>) -> Result<Manifest, ExportError> {
    let failed = |error: io::Error| ExportError::Place(error.into());
    if let Some(single) = single {
        single.finish().map_err(failed)?;
    }
    if let Target::Single(_, path) = target {
        let (size, sha256) = hash(path).map_err(failed)?;
        let name = target.single().unwrap_or_default();
        progress.manifest.files = vec![File { name, size, sha256, records: progress.manifest.records.count }];
    }
    let text = progress.manifest.text().map_err(|error| ExportError::Form(error.into()))?;
    let (name, noted) = (target.manifest(), target.progress());
    target.place().put(&name, text).map_err(ExportError::Place)?;
    target.place().remove(&noted).map_err(ExportError::Place)?;
    Ok(progress.manifest)
}

/// A file's size and SHA-256.
pub fn hash(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut context) = (std::fs::File::open(path)?, Context::new(&SHA256));
    let (mut block, mut size) = (vec![0; 1 << 16], 0);
    loop {
        match file.read(&mut block)? {
            0 => return Ok((size, hex(context.finish().as_ref()))),
            read => {
                context.update(&block[..read]);
                size += read as u64;
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
