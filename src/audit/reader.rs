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
            let ends = line_ends(path).map_err(|source| error(path, source))?;
            let skip = ends.len().saturating_sub(wanted);
            wanted -= ends.len() - skip;
            if wanted == 0 || path == &segments[0] {
                let offset = skip.checked_sub(1).map_or(0, |last_skipped| ends[last_skipped]);
                follow.open(path, offset)?;
                break;
            }
        }
        Ok(follow)
    }

    /// The next whole line without its newline; `None` when there is no further one yet.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        loop {
            if self.read()? {
                return Ok(Some(std::mem::take(&mut self.partial)));
            }
            let Some(next) = self.next_segment()? else { return Ok(None) };
            // A segment gets its last line before the next one appears: the end that was seen may not have been the last.
            if self.read()? {
                return Ok(Some(std::mem::take(&mut self.partial)));
            }
            self.partial.clear();
            self.open(&next, 0)?;
        }
    }

    /// Reads on in the current segment; true when `partial` holds a whole line.
    fn read(&mut self) -> Result<bool, ReadError> {
        let Some((path, reader)) = &mut self.current else { return Ok(false) };
        read_written(reader, &mut self.partial).map_err(|source| error(path, source))?;
        let whole = self.partial.last() == Some(&b'\n');
        if whole {
            self.partial.pop();
        }
        Ok(whole)
    }

    /// The segment behind the current one, when there is one.
    fn next_segment(&self) -> Result<Option<PathBuf>, ReadError> {
        let segments = list(&self.directory).map_err(|source| error(&self.directory, source))?;
        Ok(segments.into_iter().find(|path| self.current.as_ref().is_none_or(|(now, _)| path > now)))
    }

    fn open(&mut self, path: &Path, offset: u64) -> Result<(), ReadError> {
        let mut file = File::open(path).map_err(|source| error(path, source))?;
        file.seek(SeekFrom::Start(offset)).map_err(|source| error(path, source))?;
        self.current = Some((path.to_owned(), BufReader::with_capacity(1 << 16, file)));
        Ok(())
    }
}

/// Reads up to the end of a line or of what is written. Zeros are room that was laid out ahead: records may stand there
/// the next time.
fn read_written(reader: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<()> {
    reader.read_until(b'\n', line)?;
    if let Some(end) = memchr::memchr(0, line) {
        let room = i64::try_from(line.len() - end).unwrap_or(0);
        line.truncate(end);
        // Not `seek_relative`, which would keep the zeros in the buffer.
        reader.seek(SeekFrom::Current(-room))?;
    }
    Ok(())
}

fn error(path: &Path, source: io::Error) -> ReadError {
    ReadError { path: path.to_owned(), source }
}

/// Offsets behind whole lines.
fn line_ends(path: &Path) -> io::Result<Vec<u64>> {
    let bytes = std::fs::read(path)?;
    Ok(memchr::memchr_iter(b'\n', &bytes).map(|at| at as u64 + 1).collect())
}
