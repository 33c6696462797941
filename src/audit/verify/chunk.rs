//! A piece of a segment, read and hashed on its own: what needs no neighbour. Pieces are read by several threads.

use std::fs::File;
use std::io::{self, Read as _, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::glance::{Glance, glance, written_at};
use crate::audit::boxed::Unboxer;
use crate::audit::line::{Line, is_of_old};
use crate::audit::salt::{Salt, SaltFiles, SaltReader};
use crate::audit::sealed::{self, Held, heads};
use crate::audit::segment::{is_sealed, number};
use crate::audit::tree::Leaf;
use crate::audit::tree::merkle::sha256;

/// How long a piece is, bytes: large enough that its beginning and end do not count.
const LENGTH: u64 = 4 * 1024 * 1024;

/// Where a piece lies.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// The segment.
    pub(super) path: PathBuf,
    from: u64,
    to: u64,
    /// Whether it is the segment's first.
    pub(super) first: bool,
    /// Whether another segment follows.
    pub(super) followed: bool,
    /// For a block of a sealed segment, the number of its first record.
    block: Option<u64>,
}

/// The pieces of a log.
pub(super) fn pieces(segments: &[PathBuf]) -> io::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    for (n, path) in segments.iter().enumerate() {
        let (length, followed) = (std::fs::metadata(path)?.len(), n + 1 < segments.len());
        if is_sealed(path) {
            blocks(path, length, followed, &mut pieces)?;
            continue;
        }
        let mut from = 0;
        loop {
            let to = (from + LENGTH).min(length);
            pieces.push(Piece { path: path.clone(), from, to, first: from == 0, followed, block: None });
            from = to;
            if from == length {
                break;
            }
        }
    }
    Ok(pieces)
}

/// The blocks of a sealed segment. What stands behind those that can be told apart is one that is damaged.
fn blocks(path: &Path, length: u64, followed: bool, pieces: &mut Vec<Piece>) -> io::Result<()> {
    let mut first = number(path);
    let mut end = 0;
    for (from, head) in heads(&File::open(path)?)? {
        end = from + head.length();
        pieces.push(Piece { path: path.to_owned(), from, to: end, first: from == 0, followed, block: Some(first) });
        first += u64::from(head.records);
    }
    if end < length || length == 0 {
        let first_one = end == 0;
        pieces.push(Piece {
            path: path.to_owned(),
            from: end,
            to: length,
            first: first_one,
            followed,
            block: Some(first),
        });
    }
    Ok(())
}

/// A record of a piece.
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) leaf: Leaf,
    /// For intents and calls, what joins them.
    pub(super) id: u128,
    pub(super) what: What,
    /// Milliseconds since 1970.
    pub(super) written: Option<i64>,
    pub(super) content: Content,
}

/// Whether a record could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// It is not encrypted, or there was what opens it.
    Read,
    /// Encrypted, and its key file too.
    Shut,
    /// Its key is gone.
    Forgotten,
}

/// A thread that reads.
pub(super) struct Eyes<'a> {
    salts: &'a SaltFiles,
    reader: SaltReader,
    /// Made with the first box.
    unboxer: Option<Unboxer>,
}

impl<'a> Eyes<'a> {
    pub(super) fn new(salts: &'a SaltFiles) -> Self {
        Self { salts, reader: SaltReader::default(), unboxer: None }
    }

    /// Opens a box, as far as that is possible.
    fn open(&mut self, line: &Line<'_>) -> Result<(Content, Option<&[u8]>), &'static str> {
        if !self.salts.can_open() {
            return Ok((Content::Shut, None));
        }
        let salt = match self.salts.look(&mut self.reader, line.seq) {
            Salt::Known(salt) => salt,
            Salt::Gone => return Ok((Content::Forgotten, None)),
            Salt::Locked(_) => return Ok((Content::Shut, None)),
        };
        if self.unboxer.is_none() {
            self.unboxer = Unboxer::new().ok();
        }
        let opened = self.unboxer.as_mut().and_then(|unboxer| unboxer.open(line, &salt, self.reader.pieces()));
        opened
            .map(|opened| (Content::Read, Some(opened)))
            .ok_or("the record cannot be opened with its key: its key file was changed")
    }
}

/// What a record is, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Intent,
    Call,
    Stopped,
    Other,
}

/// What is not a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Amiss {
    /// Something is wrong with the line.
    Bad(&'static str),
    /// The file ends inside a line, or zeros follow: so many bytes of it are there.
    Torn(u64),
}

/// A piece, read.
#[derive(Default)]
pub(super) struct Read {
    pub(super) rows: Vec<Row>,
    /// What comes behind the rows. Nothing was read behind it.
    pub(super) amiss: Option<Amiss>,
    /// Bytes.
    pub(super) length: u64,
}

impl Piece {
    /// A whole segment that lies in memory.
    pub(super) fn whole(name: &str) -> Self {
        Self { path: name.into(), from: 0, to: 0, first: true, followed: false, block: None }
    }

    /// Reads the lines that begin in it, the last one to its end.
    pub(super) fn read(&self, eyes: &mut Eyes<'_>, bytes: &mut Vec<u8>) -> io::Result<Read> {
        let mut file = File::open(&self.path)?;
        if let Some(first) = self.block {
            return self.read_block(&file, first, eyes, bytes);
        }
        // One byte more in front tells whether a line begins there.
        let from = self.from.saturating_sub(1);
        bytes.clear();
        file.seek(SeekFrom::Start(from))?;
        (&file).take(self.to - from).read_to_end(bytes)?;
        let skip = match self.from {
            0 => 0,
            _ => match memchr::memchr(b'\n', bytes) {
                Some(at) => at + 1,
                None => return Ok(Read { length: self.to - self.from, ..Read::default() }),
            },
        };
        let mut end = from + bytes.len() as u64;
        while bytes.last().is_some_and(|byte| *byte != b'\n' && *byte != 0) {
            let mut more = [0; 4096];
            let read = fill(&file, &mut more, end)?;
            let line = memchr::memchr(b'\n', &more[..read]).map_or(read, |at| at + 1);
            bytes.extend_from_slice(&more[..line]);
            end += line as u64;
            if line == 0 {
                break;
            }
        }
        let mut read = lines(&bytes[skip..], eyes);
        read.length = self.to - self.from;
        Ok(read)
    }

    fn read_block(&self, file: &File, first: u64, eyes: &mut Eyes<'_>, bytes: &mut Vec<u8>) -> io::Result<Read> {
        bytes.clear();
        bytes.resize(usize::try_from(self.to - self.from).map_err(io::Error::other)?, 0);
        file.read_exact_at(bytes, self.from)?;
        let mut read = Read { length: self.to - self.from, ..Read::default() };
        let mut text = Vec::new();
        let whole = sealed::each(bytes, first, |item| {
            if read.amiss.is_some() {
                return;
            }
            text.clear();
            item.push_text(&mut text);
            let entry = match item.held {
                Held::Entry(entry) => *entry,
                Held::Box(_) => sha256(&text),
            };
            match seen(&Line::of_parts(&text, item.seq, entry), matches!(item.held, Held::Box(_)), eyes) {
                Ok(row) => read.rows.push(row),
                Err(what) => read.amiss = Some(Amiss::Bad(what)),
            }
        });
        if whole.is_none() {
            let amiss = Some(Amiss::Bad("a block of the sealed segment is damaged"));
            return Ok(Read { amiss, length: read.length, ..Read::default() });
        }
        Ok(read)
    }
}

fn fill(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<usize> {
    let wanted = bytes.len();
    while !bytes.is_empty() {
        match file.read_at(bytes, at)? {
            0 => break,
            read => {
                bytes = &mut bytes[read..];
                at += read as u64;
            }
        }
    }
    Ok(wanted - bytes.len())
}

/// Reads whole lines, up to what is none.
pub(super) fn lines(bytes: &[u8], eyes: &mut Eyes<'_>) -> Read {
    let mut read = Read { rows: Vec::with_capacity(bytes.len() / 512), ..Read::default() };
    let mut from = 0;
    while from < bytes.len() {
        let rest = &bytes[from..];
        let end = memchr::memchr(b'\n', rest);
        let line = end.map_or(rest, |end| &rest[..end]);
        if line.first() == Some(&0) || end.is_none() {
            read.amiss = Some(torn(rest));
            break;
        }
        match row(line, eyes) {
            Ok(row) => read.rows.push(row),
            Err(what) => {
                read.amiss = Some(Amiss::Bad(what));
                break;
            }
        }
        from += line.len() + 1;
    }
    read
}

/// Zeros are room that was laid out ahead. Anything behind them is none.
fn torn(rest: &[u8]) -> Amiss {
    let there = memchr::memchr(0, rest).unwrap_or(rest.len());
    if rest[there..].iter().any(|byte| *byte != 0) {
        return Amiss::Bad("bytes stand behind the end of the records");
    }
    Amiss::Torn(there as u64)
}

fn row(text: &[u8], eyes: &mut Eyes<'_>) -> Result<Row, &'static str> {
    let Some(line) = Line::parse(text) else {
        return Err(if is_of_old(text) {
            "this record was written by an earlier version of keygate, which chained records"
        } else {
            "this is no record: its number or its entry is missing or malformed"
        });
    };
    seen(&line, false, eyes)
}

/// A record that has the form of one. `sound`: its entry was made of it just now.
fn seen(line: &Line<'_>, sound: bool, eyes: &mut Eyes<'_>) -> Result<Row, &'static str> {
    let text = line.text();
    let sound = if sound { Some(true) } else { line.is_sound(|| eyes.salts.salt(&mut eyes.reader, line.seq)) };
    if !sound.ok_or("the record's salt is missing: nobody can tell what it was")? {
        return Err("the record is not the one that was written: it, its entry or its salt was changed");
    }
    let (content, opened) = if line.is_boxed() { eyes.open(line)? } else { (Content::Read, Some(text)) };
    let written = opened.and_then(|opened| written_at(opened, &glance(opened).unwrap_or(Glance::Other)));
    let glance = glance(text).unwrap_or(Glance::Other);
    let number = |id: &str| uuid::Uuid::try_parse(id).map_or(0, |id| id.as_u128());
    let (what, id) = match glance {
        Glance::Intent(id) => (What::Intent, number(id)),
        Glance::Call(id) => (What::Call, number(id)),
        Glance::Stopped => (What::Stopped, 0),
        Glance::Began | Glance::Other => (What::Other, 0),
    };
    Ok(Row { seq: line.seq, leaf: Leaf::of(line.entry), id, what, written, content })
}
