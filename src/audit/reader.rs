//! Reading a log line by line, over all segments, also while it is being written.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::line::Line;
use super::lines::Lines;
use super::opener::{Opener, Shut};
use super::recipients::Identity;
use super::sealed;
use super::segment::{is_sealed, list, number};

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

impl ReadError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        self.source.get_ref().and_then(|why| why.downcast_ref::<Shut>()).map(Shut::hint)
    }
}

/// Read at once.
const BLOCK: usize = 1 << 16;

/// Walks whole lines in order; new lines and new segments are found when it is asked again.
pub struct Follow {
    directory: PathBuf,
    current: Option<Source>,
    /// Records with a smaller number are passed over.
    from: u64,
    opener: Opener,
}

impl Follow {
    /// From the first record. An encrypted log needs an identity.
    pub fn from_start(directory: &Path, identity: Option<&Identity>) -> Self {
        Self { directory: directory.to_owned(), current: None, from: 0, opener: Opener::new(directory, identity) }
    }

    /// From the record with this number, or the first one behind it that is there.
    pub fn from_record(directory: &Path, seq: u64, identity: Option<&Identity>) -> Result<Self, ReadError> {
        let mut follow = Self { from: seq, ..Self::from_start(directory, identity) };
        let segments = list(directory).map_err(|source| error(directory, source))?;
        if let Some(path) = segments.iter().rfind(|path| number(path) <= seq) {
            follow.open(path, 0)?;
        }
        Ok(follow)
    }

    /// From the last `count` records.
    pub fn from_last(directory: &Path, count: usize, identity: Option<&Identity>) -> Result<Self, ReadError> {
        let mut follow = Self::from_start(directory, identity);
        let segments = list(directory).map_err(|source| error(directory, source))?;
        let mut wanted = count;
        for path in segments.iter().rev() {
            let (found, offset) = last_lines(path, wanted).map_err(|source| error(path, source))?;
            wanted -= found;
            if wanted == 0 || path == &segments[0] {
                follow.open(path, offset)?;
                break;
            }
        }
        Ok(follow)
    }

    /// The next whole line without its newline; `None` when there is no further one yet. A record that is encrypted comes as
    /// it would stand in a log that is not; of one that was forgotten, `{"kind":"forgotten","seq":N,"entry":"…"}`.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        while let Some(line) = self.next_of_all()? {
            if self.from == 0 || Line::parse(&line).is_none_or(|line| line.seq >= self.from) {
                self.from = 0;
                return self.opened(line).map(Some);
            }
        }
        Ok(None)
    }

    fn opened(&mut self, line: Vec<u8>) -> Result<Vec<u8>, ReadError> {
        let opened = match self.opener.open(&line) {
            Ok(Cow::Borrowed(same)) if std::ptr::eq(same, &raw const *line) => None,
            Ok(opened) => Some(opened.into_owned()),
            Err(shut) => return Err(error(&self.directory, io::Error::other(shut))),
        };
        Ok(opened.unwrap_or(line))
    }

    fn next_of_all(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        loop {
            if let Some(line) = self.read()? {
                return Ok(Some(line));
            }
            let Some(next) = self.next_segment()? else { return Ok(None) };
            // A segment gets its last line before the next one appears: the end that was seen may not have been the last.
            if let Some(line) = self.read()? {
                return Ok(Some(line));
            }
            self.open(&next, 0)?;
        }
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        match &mut self.current {
            None => Ok(None),
            Some(Source::Live(reading)) => reading.line().map_err(|source| error(&reading.path, source)),
            Some(Source::Sealed(path, lines)) => {
                let mut line = Vec::new();
                let there = lines.next(&mut line).map_err(|source| error(path, source))?;
                line.pop();
                Ok(there.then_some(line))
            }
        }
    }

    /// The segment behind the current one, when there is one.
    fn next_segment(&self) -> Result<Option<PathBuf>, ReadError> {
        let segments = list(&self.directory).map_err(|source| error(&self.directory, source))?;
        Ok(segments.into_iter().find(|path| self.current.as_ref().is_none_or(|now| number(path) > now.number())))
    }

    fn open(&mut self, path: &Path, offset: u64) -> Result<(), ReadError> {
        let failed = |source| error(path, source);
        let file = match File::open(path) {
            // Sealed since it was listed: `Lines` finds the sealed one.
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => None,
            file => Some(file.map_err(failed)?).filter(|_| !is_sealed(path)),
        };
        self.current = Some(if let Some(file) = file {
            Source::Live(Reading { path: path.to_owned(), file, offset, held: Vec::new(), taken: 0 })
        } else {
            let mut lines = Lines::open(path).map_err(failed)?;
            lines.skip(offset).map_err(failed)?;
            Source::Sealed(path.to_owned(), lines)
        });
        Ok(())
    }
}

/// A segment that is being read.
enum Source {
    Live(Reading),
    Sealed(PathBuf, Lines),
}

impl Source {
    fn number(&self) -> u64 {
        match self {
            Self::Live(reading) => number(&reading.path),
            Self::Sealed(path, _) => number(path),
        }
    }
}

/// A segment as far as it was read.
struct Reading {
    path: PathBuf,
    file: File,
    /// Where to read on.
    offset: u64,
    /// What was read; the first `taken` bytes of it were handed out.
    held: Vec<u8>,
    taken: usize,
}

impl Reading {
    /// The next line, when all of it is there.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = self.taken;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.held[searched..]) {
                let line = self.held[self.taken..searched + at].to_vec();
                self.taken = searched + at + 1;
                return Ok(Some(line));
            }
            self.held.drain(..self.taken);
            self.taken = 0;
            searched = self.held.len();
            if self.read_on()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads up to a block of what is written; how much. Zeros are room that was laid out ahead: records may stand there
    /// the next time, so nothing of what lies behind the first one is kept.
    fn read_on(&mut self) -> io::Result<usize> {
        let start = self.held.len();
        self.held.resize(start + BLOCK, 0);
        let read = self.file.read_at(&mut self.held[start..], self.offset);
        let read = read.inspect_err(|_| self.held.truncate(start))?;
        let block = &self.held[start..start + read];
        let written = memchr::memchr(0, block).unwrap_or(read);
        self.held.truncate(start + written);
        self.offset += written as u64;
        Ok(written)
    }
}

/// How many of the last lines a segment has, at most as many as are wanted, and where the first of them begins: its offset, or, in a sealed
/// segment, how many records stand before it. It is read
/// from its end, in blocks: of a large one only what is needed.
fn last_lines(path: &Path, wanted: usize) -> io::Result<(usize, u64)> {
    if is_sealed(path) {
        let there = sealed::records(path)?;
        let skipped = there.saturating_sub(wanted as u64);
        return Ok((usize::try_from(there - skipped).unwrap_or(wanted), skipped));
    }
    let file = File::open(path)?;
    let (mut end, mut found) = (file.metadata()?.len(), 0);
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let begin = end.saturating_sub(BLOCK as u64);
        let block = &mut block[..usize::try_from(end - begin).unwrap_or(BLOCK)];
        file.read_exact_at(block, begin)?;
        for at in memchr::memrchr_iter(b'\n', block) {
            // It ends the line before the wanted ones.
            if found == wanted {
                return Ok((found, begin + at as u64 + 1));
            }
            found += 1;
        }
        end = begin;
    }
    Ok((found, 0))
}

fn error(path: &Path, source: io::Error) -> ReadError {
    ReadError { path: path.to_owned(), source }
}
