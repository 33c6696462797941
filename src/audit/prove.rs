//! Proofs that a record stands in the log (C2SP tlog-proof).

use std::fmt::Write;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::line::Line;
use super::salt::{SaltFiles, SaltReader};
use super::segment::{list, number};
use super::tree::merkle::{Hashes, root_of};
use super::tree::note::{Checkpoint, VerifierKey};
use super::tree::store::CHECKPOINT;
use super::tree::tiles::Stored;

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// No record has this number or id.
    #[error("no record `{0}` is in the log")]
    NoRecord(String),
    /// The newest checkpoint does not reach that far.
    #[error("the newest checkpoint was signed for {signed} records, which record {index} is not one of")]
    Unsigned {
        /// The record.
        index: u64,
        /// How many.
        signed: u64,
    },
    /// The checkpoint is none.
    #[error("the log's checkpoint cannot be used: {0}")]
    Checkpoint(&'static str),
    /// The tiles are damaged.
    #[error("the log's tiles do not lead from this record to the checkpoint")]
    Tiles,
    /// Nobody can tell what the record was.
    #[error("the salt of record {0} is missing")]
    NoSalt(u64),
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Io(#[from] io::Error),
}

impl ProveError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoRecord(_) => "numbers begin at 0; `keygate audit tail --json` shows them as `seq`",
            Self::Unsigned { .. } => {
                "a running gate signs a checkpoint each second; one that crashed, when it starts again"
            }
            _ => "`keygate audit verify` shows what is wrong",
        }
    }
}

/// The number of the record with this id.
pub fn find(directory: &Path, id: &str) -> Result<u64, ProveError> {
    let wanted = format!("\"id\":\"{id}\"");
    for path in list(directory)?.into_iter().rev() {
        let found = each_line(&path, |line| {
            let head = &line[..line.len().min(160)];
            memchr::memmem::find(head, wanted.as_bytes()).and_then(|_| Line::parse(line)).map(|line| line.seq)
        })?;
        // The newest with this id is the outcome, before it stands its intent.
        if let Some(seq) = found {
            return Ok(seq);
        }
    }
    Err(ProveError::NoRecord(id.to_owned()))
}

/// The last line of a segment for which `see` has something.
fn each_line<T>(path: &Path, mut see: impl FnMut(&[u8]) -> Option<T>) -> io::Result<Option<T>> {
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
    let (mut line, mut found) = (Vec::new(), None);
    while reader.read_until(b'\n', &mut line)? > 0 {
        found = line.strip_suffix(b"\n").and_then(&mut see).or(found);
        line.clear();
    }
    Ok(found)
}

/// The proof, as text. With `disclose` the record's salt and text stand in it.
pub fn prove(directory: &Path, key: &VerifierKey, index: u64, disclose: bool) -> Result<String, ProveError> {
    let note = std::fs::read_to_string(directory.join(CHECKPOINT))?;
    let checkpoint = Checkpoint::open(&note, key).map_err(ProveError::Checkpoint)?;
    if index >= checkpoint.size {
        return Err(ProveError::Unsigned { index, signed: checkpoint.size });
    }
    let tiles = Stored { directory, size: checkpoint.size };
    let proof = tiles.inclusion(index, checkpoint.size)?;
    let leaf = tiles.leaf(index)?;
    if root_of(&proof, index, checkpoint.size, leaf.hash) != Some(checkpoint.root) {
        return Err(ProveError::Tiles);
    }
    let mut text = String::from("c2sp.org/tlog-proof@v1\n");
    if disclose {
        let _ = writeln!(text, "extra {}", STANDARD.encode(record(directory, index, leaf.entry)?));
    }
    let _ = writeln!(text, "index {index}");
    for hash in proof {
        let _ = writeln!(text, "{}", STANDARD.encode(hash));
    }
    let _ = write!(text, "\n{note}");
    Ok(text)
}

/// A record's salt and text, which its entry is the hash of.
fn record(directory: &Path, index: u64, entry: [u8; 32]) -> Result<Vec<u8>, ProveError> {
    let segments = list(directory)?;
    let no_record = || ProveError::NoRecord(index.to_string());
    let path = segments.iter().rfind(|path| number(path) <= index).ok_or_else(no_record)?;
    let text = each_line(path, |line| {
        Line::parse(line).filter(|line| line.seq == index).map(|line| (line.entry, line.text().to_vec()))
    })?;
    let (_, text) = text.filter(|(own, _)| *own == entry).ok_or_else(no_record)?;
    let salt = SaltFiles::find(directory)?.salt(&mut SaltReader::default(), index).ok_or(ProveError::NoSalt(index))?;
    Ok([&salt[..], &text].concat())
}
