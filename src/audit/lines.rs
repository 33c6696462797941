//! The lines of a segment, live or sealed, one at a time: a whole segment need not lie in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::sealed::{self, Head};
use super::segment::{SEALED, is_sealed, number};

/// Reads them in their order.
pub(super) enum Lines {
    Live(BufReader<File>),
    Sealed(Blocks),
}

/// The blocks of a sealed segment, and the lines of the one that is being read.
pub(super) struct Blocks {
    file: File,
    heads: Vec<(u64, Head)>,
    /// The next block, and the number of its first record.
    next: (usize, u64),
    /// Where its last block that can be read ends, and how long it is.
    ends: (u64, u64),
    lines: Vec<u8>,
    taken: usize,
}

impl Lines {
    /// Opens a segment. One that was sealed since it was looked for is found as well.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        match File::open(path) {
            Ok(file) if !is_sealed(path) => Ok(Self::Live(BufReader::with_capacity(1 << 16, file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_sealed(path) => {
                let path = path.with_extension(SEALED);
                Blocks::new(File::open(&path)?, &path).map(Self::Sealed)
            }
            opened => Blocks::new(opened?, path).map(Self::Sealed),
        }
    }

    /// Puts the next line into `line`, with its newline where it has one; false when there is none.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        match self {
            Self::Live(reader) => Ok(reader.read_until(b'\n', line)? > 0),
            Self::Sealed(blocks) => blocks.next(line),
        }
    }

    /// Passes over so many records of a sealed segment.
    pub(super) fn skip(&mut self, mut records: u64) -> io::Result<()> {
        let Self::Sealed(blocks) = self else { return Ok(()) };
        while let Some((_, head)) =
            blocks.heads.get(blocks.next.0).filter(|(_, head)| u64::from(head.records) <= records)
        {
            records -= u64::from(head.records);
            blocks.next = (blocks.next.0 + 1, blocks.next.1 + u64::from(head.records));
        }
        let mut line = Vec::new();
        for _ in 0..records {
            line.clear();
            blocks.next(&mut line)?;
        }
        Ok(())
    }
}

impl Blocks {
    fn new(file: File, path: &Path) -> io::Result<Self> {
        let heads = sealed::heads(&file)?;
        let end = heads.last().map_or(0, |(at, head)| at + head.length());
        let ends = (end, file.metadata()?.len());
        Ok(Self { file, heads, next: (0, number(path)), ends, lines: Vec::new(), taken: 0 })
    }

    fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        while self.taken == self.lines.len() {
            let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a block of the sealed segment is damaged");
            let (n, first) = self.next;
            let Some((at, head)) = self.heads.get(n) else {
                return if self.ends.0 == self.ends.1 { Ok(false) } else { Err(damaged()) };
            };
            let mut block = vec![0; usize::try_from(head.length()).map_err(io::Error::other)?];
            self.file.read_exact_at(&mut block, *at)?;
            (self.taken, self.next) = (0, (n + 1, first + u64::from(head.records)));
            self.lines.clear();
            sealed::open(&block, first, &mut self.lines).ok_or_else(damaged)?;
        }
        let rest = &self.lines[self.taken..];
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        line.extend_from_slice(&rest[..end]);
        self.taken += end;
        Ok(true)
    }
}

/// The segments of a listing that are not sealed, without the last one, which may be written to.
pub(super) fn finished(segments: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    segments.split_last().map_or(&[][..], |(_, before)| before).iter().filter(|path| !is_sealed(path))
}
