//! Proofs that a record stands in the log (C2SP tlog-proof).

use std::fmt::Write;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::boxed;
use super::line::Line;
use super::lines::Lines;
use super::opener::{Opener, Shut};
use super::recipients::Identity;
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
    /// The record is encrypted.
    #[error(transparent)]
    Shut(#[from] Shut),
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Io(#[from] io::Error),
}

impl ProveError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoRecord(_) => {
                "numbers begin at 0; `keygate audit tail --json` shows them as `seq`; the ids of reads stand in an encrypted log only for who has `--identity FILE`"
            }
            Self::Unsigned { .. } => {
                "a running gate signs a checkpoint each second; one that crashed, when it starts again"
            }
            Self::Shut(shut) => shut.hint(),
            _ => "`keygate audit verify` shows what is wrong",
        }
    }
}

/// The number of the record with this id. Without an identity those of writes, and of calls whose reply streamed, are found in an encrypted log.
pub fn find(directory: &Path, id: &str, identity: Option<&Identity>) -> Result<u64, ProveError> {
    let wanted = ["id", "call", "intent"].map(|name| format!("\"{name}\":\"{id}\""));
    let has = |text: &[u8]| wanted.iter().any(|wanted| memchr::memmem::find(text, wanted.as_bytes()).is_some());
    let mut opener = Opener::new(directory, identity);
    for path in list(directory)?.into_iter().rev() {
        let mut shut = None;
        let found = each_line(&path, |line| {
            let parsed = Line::parse(line)?;
            let found = if parsed.is_boxed() && identity.is_none() {
                has(boxed::mark_of(line))
            } else {
                let text = opener.open(line).inspect_err(|_| shut = Some(parsed.seq)).ok()?;
                has(&text[..text.len().min(160)])
            };
            found.then_some(parsed.seq)
        })?;
        // The newest with this id is the outcome, before it stands its intent.
        if let Some(seq) = found {
            return Ok(seq);
        }
        if let Some(seq) = shut {
            opener.open(&line(&path, seq)?.ok_or_else(|| ProveError::NoRecord(id.to_owned()))?)?;
        }
    }
    Err(ProveError::NoRecord(id.to_owned()))
}

/// The last line of a segment for which `see` has something.
fn each_line<T>(path: &Path, mut see: impl FnMut(&[u8]) -> Option<T>) -> io::Result<Option<T>> {
    let mut lines = Lines::open(path)?;
    let (mut line, mut found) = (Vec::new(), None);
    while lines.next(&mut line)? {
        found = line.strip_suffix(b"\n").and_then(&mut see).or(found);
    }
    Ok(found)
}

/// That a record's salt and text are to stand in its proof.
#[derive(Clone, Copy)]
pub struct Disclose<'a> {
    /// What opens the key file of an encrypted record.
    pub identity: Option<&'a Identity>,
}

/// The proof, as text. With `disclose` the record's salt and text stand in it.
pub fn prove(
    directory: &Path,
    key: &VerifierKey,
    index: u64,
    disclose: Option<Disclose<'_>>,
) -> Result<String, ProveError> {
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
    if let Some(Disclose { identity }) = disclose {
        let extra = record(directory, index, leaf.entry, identity)?;
        let _ = writeln!(text, "extra {}", STANDARD.encode(extra));
    }
    let _ = writeln!(text, "index {index}");
    for hash in proof {
        let _ = writeln!(text, "{}", STANDARD.encode(hash));
    }
    let _ = write!(text, "\n{note}");
    Ok(text)
}

/// A record's salt and text. Its entry is the hash of both, or, where it is boxed, of the text, and the salt opens its box: then the
/// pieces that it is made of stand behind it.
fn record(directory: &Path, index: u64, entry: [u8; 32], identity: Option<&Identity>) -> Result<Vec<u8>, ProveError> {
    let no_record = || ProveError::NoRecord(index.to_string());
    let segments = list(directory)?;
    let path = segments.iter().rfind(|path| number(path) <= index).ok_or_else(no_record)?;
    let found = line(path, index)?.ok_or_else(no_record)?;
    let line = Line::parse(&found).filter(|line| line.entry == entry).ok_or_else(no_record)?;
    if line.is_boxed() {
        // It says why when it cannot be opened.
        Opener::new(directory, identity).open(&found)?;
    }
    let mut reader = SaltReader::default();
    let salt = SaltFiles::find(directory, identity)?.salt(&mut reader, index).ok_or(ProveError::NoSalt(index))?;
    let mut extra = [&salt[..], line.text()].concat();
    if line.is_boxed() {
        extra.extend_from_slice(boxed::shown(&line, &salt, reader.pieces())?.as_bytes());
    }
    Ok(extra)
}

/// The line of the record with this number in a segment.
fn line(path: &Path, index: u64) -> io::Result<Option<Vec<u8>>> {
    each_line(path, |text| Line::parse(text).filter(|line| line.seq == index).map(|_| text.to_vec()))
}
