//! Which writes and streamed replies of the last run have no outcome on record: what a start must tell.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::lines::Lines;
use super::recover::{damaged, io};
use super::segment::OpenError;
use super::verify::{Glance, glance};

/// How much of the last run's earlier segments is searched for intents, bytes.
const SEARCHED: u64 = 256 * 1024 * 1024;

/// Hands the lines of a segment to `see`, one at a time: a whole segment need not lie in memory. Ends where `see` says no.
pub(super) fn each_line(path: &Path, mut see: impl FnMut(&[u8]) -> Result<bool, OpenError>) -> Result<(), OpenError> {
    let number = std::cell::Cell::new(1);
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::InvalidData => damaged(path, number.get(), "a block of the sealed segment is damaged"),
        _ => OpenError::Io { path: path.to_owned(), source },
    };
    let mut lines = Lines::open(path).map_err(io)?;
    let mut line = Vec::new();
    while lines.next(&mut line).map_err(io)? && see(&line)? {
        number.set(number.get() + 1);
    }
    Ok(())
}

/// Ids of calls whose outcome has not been seen.
#[derive(Default)]
pub(super) struct Intents(pub(super) BTreeSet<String>);

impl Intents {
    pub(super) fn see(&mut self, line: &[u8]) {
        match glance(line) {
            Some(Glance::Intent(id)) => drop(self.0.insert(id.to_owned())),
            Some(Glance::Call(id)) => drop(self.0.remove(id)),
            _ => {}
        }
    }

    /// Looks through the segments that the last run filled before its last one. An outcome follows its intent within a
    /// call's time limit, so a bound on how far back that goes loses nothing in practice.
    pub(super) fn earlier(&mut self, before: &[PathBuf], last: &Path) -> Result<(), OpenError> {
        let (mut from, mut earliest, mut searched) = (before.len(), last, 0);
        while from > 0 && searched < SEARCHED && !begins_a_run(earliest)? {
            from -= 1;
            earliest = &before[from];
            searched += std::fs::metadata(earliest).map_err(io(earliest))?.len();
        }
        for path in &before[from..] {
            each_line(path, |line| {
                self.see(line);
                Ok(true)
            })?;
        }
        Ok(())
    }
}

/// Each run begins with a segment of its own. What ran before it was looked at when it began.
fn begins_a_run(path: &Path) -> Result<bool, OpenError> {
    let mut begins = false;
    each_line(path, |first| {
        // A torn line says nothing: its run never began.
        begins = first.ends_with(b"\n") && matches!(glance(first), Some(Glance::Began));
        Ok(false)
    })?;
    Ok(begins)
}
