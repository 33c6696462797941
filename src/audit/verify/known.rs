//! What a log is held to: its own checkpoints, and those that somebody noted elsewhere.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::Finding;
use crate::audit::receipt_text::{Kept, read as read_receipt};
use crate::audit::recipients::Identity;
use crate::audit::tree::Hash;
use crate::audit::tree::note::{Checkpoint, VerifierKey};
use crate::audit::tree::store::{CHECKPOINT, HISTORY, notes};

/// Who has no key can check no signature.
const NO_KEY: &str = "the log's key is not known";

/// What is known from elsewhere.
#[derive(Default)]
pub struct Known {
    /// The log's key. Without it no signature can be checked.
    pub key: Option<VerifierKey>,
    /// What opens encrypted records. Without it all of them are checked, and none is read.
    pub identity: Option<Identity>,
    /// Checkpoints that were noted, and the files they stand in.
    pub checkpoints: Vec<(PathBuf, String)>,
    /// Receipts that were kept, one a line, and the files they stand in.
    pub receipts: Vec<(PathBuf, String)>,
}

/// A checkpoint that the log is held to.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// Where it stands, and on which line it begins.
    pub(super) file: PathBuf,
    pub(super) line: u64,
    pub(super) root: Hash,
    /// Whether it came from elsewhere.
    pub(super) foreign: bool,
}

/// A receipt that the log is held to.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// Where it stands.
    pub(super) file: PathBuf,
    pub(super) line: u64,
    pub(super) leaf: Hash,
}

/// All checkpoints, by size, and receipts, by number.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) by_size: BTreeMap<u64, Vec<Claim>>,
    pub(super) receipts: BTreeMap<u64, Vec<Given>>,
    /// How many checkpoints there are, and how many receipts.
    pub(super) count: (u64, u64),
    /// The size of the log's newest one.
    pub(super) newest: Option<u64>,
}

impl Claims {
    /// Gathers them. The first that is not signed is a finding.
    pub(super) fn gather(directory: &Path, known: &Known) -> io::Result<Result<Self, Finding>> {
        let mut claims = Self::default();
        for (file, note) in &known.checkpoints {
            if let Err(bad) = claims.add(file, 1, note, known, true) {
                return Ok(Err(bad));
            }
        }
        for (file, text) in &known.receipts {
            if let Err(bad) = claims.add_receipts(file, text, known) {
                return Ok(Err(bad));
            }
        }
        let history = directory.join(HISTORY);
        let mut line = 1;
        for note in notes(&read(&history)?.unwrap_or_default()) {
            // The empty line behind it separates it from the next.
            if let Err(bad) = claims.add(&history, line, &note[..note.len() - 1], known, false) {
                return Ok(Err(bad));
            }
            line += note.matches('\n').count() as u64;
        }
        let newest = directory.join(CHECKPOINT);
        let Some(note) = read(&newest)? else {
            return Ok(Err(finding(&newest, 1, "the log has no checkpoint")));
        };
        Ok(claims.add(&newest, 1, &note, known, false).map(|size| {
            claims.newest = Some(size);
            claims
        }))
    }

    fn add(&mut self, file: &Path, line: u64, note: &str, known: &Known, foreign: bool) -> Result<u64, Finding> {
        let key = known.key.as_ref().ok_or_else(|| finding(file, line, NO_KEY))?;
        let Checkpoint { size, root, .. } = Checkpoint::open(note, key).map_err(|what| finding(file, line, what))?;
        self.by_size.entry(size).or_default().push(Claim { file: file.to_owned(), line, root, foreign });
        self.count.0 += 1;
        Ok(size)
    }

    fn add_receipts(&mut self, file: &Path, text: &str, known: &Known) -> Result<(), Finding> {
        for (text, line) in text.lines().zip(1..).filter(|(text, _)| !text.trim().is_empty()) {
            let key = known.key.as_ref().ok_or_else(|| finding(file, line, NO_KEY))?;
            let Kept { index, leaf } = read_receipt(text, key).map_err(|what| finding(file, line, what))?;
            self.receipts.entry(index).or_default().push(Given { file: file.to_owned(), line, leaf });
            self.count.1 += 1;
        }
        Ok(())
    }
}

pub(super) fn finding(file: &Path, line: u64, what: &str) -> Finding {
    Finding { file: file.to_owned(), line, seq: None, what: what.to_owned() }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // What is no text is no note either.
        read => Ok(Some(String::from_utf8_lossy(&read?).into_owned())),
    }
}
