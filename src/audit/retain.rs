//! Retention: whole segments go, the oldest first, by age and size. The tree, the checkpoints and a signed tombstone stay.
//!
//! What is removed is always the log's beginning, so one tombstone, `removed`, says all: how many records went. It takes its place before
//! anything goes; what a crash left behind it is removed the next time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::forget::INDEXES;
use super::salt::{FOLDER, first_of};
use super::segment::{list, number, sync_folder};
use super::tree::note::{Checkpoint, Note, SigningKey, VerifierKey};
use super::tree::store::CHECKPOINT;
use crate::config::show_count;
use crate::vault::private_file;

/// The tombstone.
pub(super) const REMOVED: &str = "removed";
/// Keeps it from being taken for a checkpoint.
const TITLE: &str = "keygate-removed/v1";

/// How long, and how much, is kept. None for ever, and for all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retention {
    /// A segment goes when its newest record is older.
    pub keep_for: Option<Duration>,
    /// Bytes of segments.
    pub keep_size: Option<u64>,
}

/// What a log has lost to retention: the records from 0 up to, and without, this number.
pub(super) fn removed(directory: &Path, key: &VerifierKey) -> io::Result<Result<u64, &'static str>> {
    let note = match fs::read(directory.join(REMOVED)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(0)),
        read => String::from_utf8_lossy(&read?).into_owned(),
    };
    let note = Note::parse(&note);
    let text = note.as_ref().and_then(|note| note.signed_by(key));
    let end = text.and_then(|text| {
        let mut lines = text.lines();
        let ours = lines.next() == Some(TITLE) && lines.next() == Some(key.name());
        let end = lines.next().filter(|_| ours)?;
        // One spelling only.
        end.parse().ok().filter(|number: &u64| number.to_string() == end && lines.next().is_none())
    });
    Ok(end.ok_or("this says which records were removed, and the log's key has not signed it"))
}

/// Segments that are due: how many records go with them, and why.
pub struct Due {
    /// The number of the first record that goes.
    pub first: u64,
    /// The number behind the last one.
    pub end: u64,
    /// Bytes of the segments.
    pub bytes: u64,
    /// How many by age and size, for people.
    pub why: String,
}

impl Retention {
    /// What is due. The last segment is written to and stays, and so does what no checkpoint was signed for.
    pub fn due(self, directory: &Path, key: &VerifierKey, now: SystemTime) -> io::Result<Option<Due>> {
        if self.keep_for.is_none() && self.keep_size.is_none() {
            return Ok(None);
        }
        let segments = list(directory)?;
        let facts = segments.iter().map(|path| fs::metadata(path).map(|facts| (facts.len(), facts.modified())));
        let facts: Vec<_> = facts.collect::<io::Result<_>>()?;
        let note = fs::read_to_string(directory.join(CHECKPOINT))?;
        let signed = Checkpoint::open(&note, key).map_err(io::Error::other)?.size;
        let mut size: u64 = facts.iter().map(|(length, _)| length).sum();
        let (mut due, mut old, mut large, mut bytes) = (None, 0, 0, 0);
        for ((length, modified), next) in facts.iter().zip(segments.iter().skip(1)) {
            let age = modified.as_ref().ok().and_then(|modified| now.duration_since(*modified).ok());
            let is_old = self.keep_for.is_some_and(|keep| age.is_some_and(|age| age > keep));
            let is_over = self.keep_size.is_some_and(|keep| size > keep);
            if !(is_old || is_over) || number(next) > signed {
                break;
            }
            (old, large) = (old + u64::from(is_old), large + u64::from(is_over && !is_old));
            size -= length;
            bytes += length;
            due = Some(number(next));
        }
        let first = segments.first().map_or(0, |path| number(path));
        let why = format!("{} by age, {large} by size", show_count(old, "segment"));
        Ok(due.map(|end| Due { first, end, bytes, why }))
    }
}

/// Puts the tombstone in place.
pub(super) fn bury(directory: &Path, key: &SigningKey, end: u64) -> io::Result<()> {
    let note = key.note(&format!("{TITLE}\n{}\n{end}\n", key.verifier().name()));
    private_file::replace(&directory.join(REMOVED), note.as_bytes())
}

/// Removes what the tombstone says is gone: segments, what lies beside them, and key files that serve no other record.
pub(super) fn clear(directory: &Path, end: u64) -> io::Result<usize> {
    let gone: Vec<PathBuf> = list(directory)?.into_iter().filter(|path| number(path) < end).collect();
    for path in &gone {
        for beside in INDEXES.iter().copied().chain(["sealed", "jsonl"]) {
            remove(&path.with_extension(beside))?;
        }
    }
    let folder = directory.join(FOLDER);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        files
            .extend(path.file_name().and_then(|name| first_of(name.to_str()?)).map(|(first, _)| (first, path.clone())));
    }
    files.sort();
    let old = files.iter().zip(files.iter().skip(1)).filter(|(_, (next, _))| *next <= end);
    let old: Vec<_> = old.map(|((_, path), _)| path).collect();
    for path in &old {
        remove(path)?;
    }
    if !old.is_empty() {
        sync_folder(&folder)?;
    }
    if !gone.is_empty() {
        sync_folder(directory)?;
    }
    Ok(gone.len())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
