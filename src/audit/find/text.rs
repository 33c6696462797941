//! A segment's lines, a block of records at a time: in order, or one block by where it lies. And the records of such lines, also
//! where the log is encrypted.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use super::index::Place;
use crate::audit::boxed::BEGINS;
use crate::audit::opener::Opener;
use crate::audit::picked::{Front, Picker};
use crate::audit::recipients::Identity;
use crate::audit::sealed::SealedFile;
use crate::audit::segment::{SEALED, is_sealed};

/// Records of a block. Tests have logs of few records, and their blocks are to have neighbours.
const BLOCK: usize = if cfg!(test) { 8 } else { 1024 };

/// How much is read at once, bytes.
const PIECE: usize = if cfg!(test) { 700 } else { 256 * 1024 };

/// A segment that is open for reading.
pub(super) enum Segment {
    Live(File),
    Sealed(SealedFile),
}

impl Segment {
    /// Opens it. One that was sealed since it was listed is found as well.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        match File::open(path) {
            Ok(file) if !is_sealed(path) => Ok(Self::Live(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_sealed(path) => {
                SealedFile::open(&path.with_extension(SEALED)).map(Self::Sealed)
            }
            _ => SealedFile::open(path).map(Self::Sealed),
        }
    }

    /// Bytes of the file; room that was laid out ahead counts.
    pub(super) fn length(&self) -> io::Result<u64> {
        match self {
            Self::Live(file) => Ok(file.metadata()?.len()),
            Self::Sealed(file) => file.length(),
        }
    }

    /// What an index is to know of the block that begins there, where that saves time.
    pub(super) fn front(&self, offset: u64) -> Option<Front> {
        match self {
            Self::Live(_) => None,
            Self::Sealed(file) => file.front(offset),
        }
    }

    /// Where the whole lines of a segment end, by now; 0 of one that was sealed since it was listed.
    pub(super) fn written(&self) -> io::Result<u64> {
        let Self::Live(file) = self else { return Ok(0) };
        let (mut end, mut piece) = (file.metadata()?.len(), Vec::new());
        while end > 0 {
            let begin = end.saturating_sub(PIECE as u64);
            piece.resize(usize::try_from(end - begin).unwrap_or(PIECE), 0);
            file.read_exact_at(&mut piece, begin)?;
            if let Some(at) = memchr::memrchr(b'\n', &piece) {
                return Ok(begin + at as u64 + 1);
            }
            end = begin;
        }
        Ok(0)
    }

    /// All blocks in order. Of a segment that is being written, those that are there by now.
    pub(super) fn blocks(&self) -> Blocks<'_> {
        match self {
            Self::Live(file) => {
                Blocks::Live(Walk { file, start: 0, text: Vec::new(), given: 0, below: u64::MAX, ended: false })
            }
            Self::Sealed(file) => Blocks::Sealed(file, 0, Vec::new()),
        }
    }

    /// The same, of the lines that begin in this part of the file. One that was sealed has a single part, which begins at 0.
    pub(super) fn part(&self, part: &Range<u64>) -> io::Result<Blocks<'_>> {
        let Self::Live(file) = self else {
            return Ok(if part.start == 0 { self.blocks() } else { Blocks::None });
        };
        let mut walk = Walk { file, start: part.start, text: Vec::new(), given: 0, below: part.end, ended: false };
        walk.pass_over_begun_line()?;
        Ok(Blocks::Live(walk))
    }
}

/// A segment whose index says which lines may be looked for.
pub(super) struct Picked {
    file: File,
    picker: Picker,
    text: Vec<u8>,
    lines: Vec<u8>,
}

impl Picked {
    /// Opens it; `None` when it is not as long as the index says: it was sealed just now, and its blocks lie elsewhere.
    pub(super) fn open(path: &Path, length: u64) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_sealed(path) => {
                File::open(path.with_extension(SEALED))
            }
            file => file,
        }?;
        let same = file.metadata()?.len() == length;
        Ok(same.then_some(Self { file, picker: Picker::new()?, text: Vec::new(), lines: Vec::new() }))
    }

    /// Tells the system what will be read soon.
    pub(super) fn expect(&self, place: &Place) {
        let wanted = place.rows.as_ref().map_or(usize::MAX, Vec::len);
        let length = place.front.map_or(place.length, |front| front.ready(wanted));
        let _ = fadvise(&self.file, place.offset, NonZeroU64::new(length as u64), Advice::WillNeed);
    }

    /// The lines at a place, each with its newline.
    pub(super) fn read(&mut self, place: &Place) -> io::Result<&[u8]> {
        let Self { file, picker, text, lines } = self;
        lines.clear();
        if let Some(front) = place.front {
            match &place.rows {
                Some(rows) => picker.pick(file, (place.offset, front), rows, lines)?,
                None => picker.all(file, (place.offset, front), lines)?,
            }
            return Ok(lines);
        }
        let end = place.offset.checked_add(place.length as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > file.metadata()?.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.resize(place.length, 0);
        file.read_exact_at(text, place.offset)?;
        let Some(rows) = &place.rows else { return Ok(text) };
        let (mut begin, mut rows) = (0, rows.iter().peekable());
        for (row, end) in memchr::memchr_iter(b'\n', text).enumerate() {
            if rows.next_if_eq(&&row).is_some() {
                lines.extend_from_slice(&text[begin..=end]);
            }
            begin = end + 1;
        }
        Ok(lines)
    }
}

/// Bytes of a segment's file, also when it was sealed since it was listed.
pub(super) fn length(path: &Path) -> io::Result<u64> {
    let facts = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::metadata(path.with_extension(SEALED)),
        facts => facts,
    };
    Ok(facts?.len())
}

/// Walks the blocks of a segment.
pub(super) enum Blocks<'a> {
    Live(Walk<'a>),
    Sealed(&'a SealedFile, usize, Vec<u8>),
    None,
}

impl Blocks<'_> {
    /// Where the next block begins, and its whole lines; `None` behind the last one.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        match self {
            Self::None => Ok(None),
            Self::Live(walk) => walk.next(),
            Self::Sealed(file, n, text) => {
                let Some(offset) = file.offset(*n)? else { return Ok(None) };
                *n += 1;
                file.block_at(offset, text)?;
                Ok(Some((offset, text)))
            }
        }
    }
}

/// Walks lines.
pub(super) struct Walk<'a> {
    file: &'a File,
    /// Where `text` begins in the file.
    start: u64,
    text: Vec<u8>,
    /// Bytes at the beginning of `text` that were handed out.
    given: usize,
    /// Lines that begin there or behind it are somebody else's.
    below: u64,
    /// Whether nothing stands behind `text`.
    ended: bool,
}

impl Walk<'_> {
    fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        self.text.drain(..self.given);
        self.start += self.given as u64;
        self.given = 0;
        let (mut seen, mut lines) = (0, 0);
        while lines < BLOCK && self.start + (self.given as u64) < self.below {
            match memchr::memchr(b'\n', &self.text[seen..]) {
                Some(at) => {
                    seen += at + 1;
                    self.given = seen;
                    lines += 1;
                }
                None if self.ended => break,
                None => {
                    seen = self.text.len();
                    self.fill()?;
                }
            }
        }
        Ok((lines > 0).then_some((self.start, &self.text[..self.given])))
    }

    /// A line that begins before a part is not of it.
    fn pass_over_begun_line(&mut self) -> io::Result<()> {
        let Some(before) = self.start.checked_sub(1) else { return Ok(()) };
        self.start = before;
        loop {
            match memchr::memchr(b'\n', &self.text) {
                Some(at) => {
                    self.given = at + 1;
                    return Ok(());
                }
                None if self.ended => {
                    self.given = self.text.len();
                    return Ok(());
                }
                None => self.fill()?,
            }
        }
    }

    /// Reads on, up to the end or to zeros: no record has one.
    fn fill(&mut self) -> io::Result<()> {
        let had = self.text.len();
        self.text.resize(had + PIECE, 0);
        let read = self.file.read_at(&mut self.text[had..], self.start + had as u64)?;
        let written = memchr::memchr(0, &self.text[had..had + read]).unwrap_or(read);
        self.text.truncate(had + written);
        self.ended = read == 0 || written < read;
        Ok(())
    }
}

/// Opens the records of one log.
pub(super) struct Records {
    opener: Opener,
    text: Vec<u8>,
}

impl Records {
    /// For the log in this folder.
    pub(super) fn of(directory: &Path, identity: Option<&Identity>) -> Self {
        Self { opener: Opener::new(directory, identity), text: Vec::new() }
    }

    /// Lines as they would be in a log that is not encrypted.
    pub(super) fn open<'a>(&'a mut self, lines: &'a [u8]) -> io::Result<&'a [u8]> {
        if !has_boxes(lines) {
            return Ok(lines);
        }
        self.text.clear();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.text.extend_from_slice(&self.opener.open(line).map_err(io::Error::other)?);
            self.text.push(b'\n');
        }
        Ok(&self.text)
    }
}

/// Whether one of these lines is encrypted.
pub(super) fn has_boxes(lines: &[u8]) -> bool {
    lines.starts_with(BEGINS) || memchr::memchr_iter(b'\n', lines).any(|at| lines[at + 1..].starts_with(BEGINS))
}
