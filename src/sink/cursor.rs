//! How far a sink has come: one number in a file beside the log, replaced as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::audit::{Follow, Identity};
use crate::config::Sink;
use crate::vault::private_file;

/// Where cursors lie, below the log's folder.
const FOLDER: &str = "sinks";

pub(super) struct Cursor {
    path: PathBuf,
    next: u64,
}

impl Cursor {
    /// The sink's cursor; a sink that has none yet gets one, at the log's first record or at the next one to come.
    pub(super) fn open(directory: &Path, sink: &Sink, identity: Option<&Identity>) -> io::Result<Self> {
        let folder = directory.join(FOLDER);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let path = folder.join(&*sink.name);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let next = text.trim_end().parse();
                let next = next.map_err(|_| io::Error::other(format!("`{}` holds no number", path.display())))?;
                Ok(Self { path, next })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let next = if sink.from_first { 0 } else { end(directory, identity)? };
                let mut cursor = Self { path, next };
                cursor.advance(next)?;
                Ok(cursor)
            }
            Err(error) => Err(error),
        }
    }

    /// The record to go on with.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Everything before this record is acknowledged. On return that stays known.
    pub(super) fn advance(&mut self, next: u64) -> io::Result<()> {
        private_file::replace(&self.path, format!("{next}\n").as_bytes())?;
        self.next = next;
        Ok(())
    }
}

/// The number of the next record to come.
fn end(directory: &Path, identity: Option<&Identity>) -> io::Result<u64> {
    let failed = |error: crate::audit::ReadError| io::Error::other(crate::causes::chain(&error));
    let mut last = Follow::from_last(directory, 1, identity).map_err(failed)?;
    let line = last.next_line().map_err(failed)?;
    let row = line.map(|line| super::batch::number(&line)).transpose().map_err(io::Error::other)?;
    Ok(row.map_or(0, |seq| seq + 1))
}
