//! Reading a log line by line, over all segments, also while it is being written.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::segment::list;

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the audit log at `{path}`")]
pub struct ReadError {
    /// The file or folder.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Walks whole lines in order; new lines and new segments are found when it is asked again.
pub struct Follow {
    directory: PathBuf,
    current: Option<(PathBuf, BufReader<File>)>,
    /// A line that is not whole yet.
    partial: Vec<u8>,
}

impl Follow {
    /// From the first record.
    pub fn from_start(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), current: None, partial: Vec::new() }
    }

    /// From the last `count` records.
    pub fn from_last(directory: &Path, count: usize) -> Result<Self, ReadError> {
        let mut follow = Self::from_start(directory);
        let segments = list(directory).map_err(|source| error(directory, source))?;
        let mut wanted = count;
        for path in segments.iter().rev() {
            let starts = line_starts(path).map_err(|source| error(path, source))?;
            let skip = starts.len().saturating_sub(wanted);
            wanted -= starts.len() - skip;
            if wanted == 0 || path == &segments[0] {
                let offset = starts.get(skip).copied().unwrap_or(0);
                follow.open(path, offset)?;
                break;
            }
        }
        Ok(follow)
    }

    /// The next whole line without its newline; `None` when there is no further one yet.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        loop {
            if self.current.is_none() && !self.advance()? {
                return Ok(None);
            }
            if let Some((path, reader)) = &mut self.current {
                let read = reader.read_until(b'\n', &mut self.partial);
                read.map_err(|source| ReadError { path: path.clone(), source })?;
                if self.partial.ends_with(b"\n") {
                    self.partial.pop();
                    return Ok(Some(std::mem::take(&mut self.partial)));
                }
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// Goes on to the next segment, when there is one.
    fn advance(&mut self) -> Result<bool, ReadError> {
        let segments = list(&self.directory).map_err(|source| error(&self.directory, source))?;
        let next = segments.into_iter().find(|path| self.current.as_ref().is_none_or(|(now, _)| path > now));
        match next {
            None => Ok(false),
            Some(path) => {
                self.partial.clear();
                self.open(&path, 0)?;
                Ok(true)
            }
        }
    }

    fn open(&mut self, path: &Path, offset: u64) -> Result<(), ReadError> {
        let mut file = File::open(path).map_err(|source| error(path, source))?;
        file.seek(SeekFrom::Start(offset)).map_err(|source| error(path, source))?;
        self.current = Some((path.to_owned(), BufReader::with_capacity(1 << 16, file)));
        Ok(())
    }
}

fn error(path: &Path, source: io::Error) -> ReadError {
    ReadError { path: path.to_owned(), source }
}

/// Offsets of whole lines.
fn line_starts(path: &Path) -> io::Result<Vec<u64>> {
    let bytes = std::fs::read(path)?;
    let ends = memchr::memchr_iter(b'\n', &bytes).map(|at| at as u64 + 1);
    let mut starts: Vec<u64> = std::iter::once(0).chain(ends).collect();
    // The last one is where the next line will begin.
    starts.pop();
    Ok(starts)
}
