//! Some lines of a sealed block, without making the others.
//!
//! Of a block whose records are all boxed only its beginning is read, and the boxes that are wanted: a box that was changed does not open,
//! so the block's hash is not needed. Any other block is read whole, and held to its hash.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::sealed::{HASH, HEAD, Head, Held, Item, LONGEST, content, damaged, open};

/// Text is unpacked in pieces of this size, bytes.
const PIECE: usize = 64 * 1024;
/// More records than this of a block, and it is read whole: one read costs less than many.
const FEW: usize = 32;
/// So many boxes are read from the disk one by one.
const ALONE: usize = 2;

/// What an index knows of a sealed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Front {
    /// Number of its first record.
    pub(super) first: u64,
    /// Bytes of its head and its frame.
    pub(super) bytes: usize,
    /// Bytes of all of it.
    pub(super) length: usize,
}

impl Front {
    /// Of a block, by its head.
    pub(super) fn of(head: &Head, first: u64) -> Self {
        let length = usize::try_from(head.length()).unwrap_or(usize::MAX);
        Self { first, bytes: HEAD + head.frame as usize, length }
    }

    /// How much is read at first, when so many records are wanted.
    pub(super) fn at_first(&self, wanted: usize) -> usize {
        if wanted > FEW || self.bytes > self.length / 2 { self.length } else { self.bytes.min(self.length) }
    }

    /// How much the system is told to have ready, when so many records are wanted: from a disk, one long read costs less than
    /// several short ones that wait for each other.
    pub(super) fn ready(&self, wanted: usize) -> usize {
        if wanted > ALONE { self.length } else { self.at_first(wanted) }
    }
}

/// Where a line lies in its block.
struct Lies {
    seq: u64,
    /// Its text, in what comes out of the frame.
    text: Range<usize>,
    /// Its box, or its entry.
    part: Range<usize>,
    boxed: bool,
}

/// Picks lines, in buffers of its own.
pub(super) struct Picker {
    decoder: Decoder<'static>,
    /// The beginning of the block, or all of it.
    block: Vec<u8>,
    /// What comes out of its frame.
    plain: Vec<u8>,
    part: Vec<u8>,
}

impl Picker {
    pub(super) fn new() -> io::Result<Self> {
        let decoder = Decoder::new()?;
        Ok(Self { decoder, block: Vec::new(), plain: Vec::new(), part: Vec::new() })
    }

    /// Appends the lines at these places, in their order, of the block that begins at `offset`.
    pub(super) fn pick(
        &mut self,
        file: &File,
        (offset, front): (u64, Front),
        rows: &[usize],
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        fits(file, offset, &front)?;
        self.read(file, offset, front.at_first(rows.len()))?;
        let mut head = Head::parse(&self.block).ok_or_else(damaged)?;
        if head.entries > 0 && self.block.len() < front.length {
            self.read(file, offset, front.length)?;
            head = Head::parse(&self.block).ok_or_else(damaged)?;
        }
        let whole = self.block.len() == front.length;
        if Front::of(&head, front.first) != front || whole && content(&self.block).is_none() {
            return Err(damaged());
        }
        // Boxes lie where the end of the frame says; of plain records the text up to the last wanted one is enough.
        let until = if head.boxes == 0 { rows.last().map_or(0, |row| row + 1) } else { usize::MAX };
        let filled = self.decompress(&front, until)?;
        for lies in lie(&self.plain[..filled], &head, &front, rows).ok_or_else(damaged)? {
            let part = if let Some(part) = self.block.get(lies.part.clone()).filter(|_| whole) {
                part
            } else {
                self.part.resize(lies.part.len(), 0);
                file.read_exact_at(&mut self.part, offset + lies.part.start as u64)?;
                &self.part
            };
            let text = &self.plain[lies.text];
            let kept = match part.first_chunk() {
                _ if lies.boxed => Held::Box(part),
                Some(entry) => Held::Entry(entry),
                None => return Err(damaged()),
            };
            Item { seq: lies.seq, text, held: kept }.push_line(out);
        }
        Ok(())
    }

    /// Appends all lines of the block that begins at `offset`.
    pub(super) fn all(&mut self, file: &File, (offset, front): (u64, Front), out: &mut Vec<u8>) -> io::Result<()> {
        fits(file, offset, &front)?;
        self.read(file, offset, front.length)?;
        open(&self.block, front.first, out).ok_or_else(damaged)
    }

    fn read(&mut self, file: &File, offset: u64, length: usize) -> io::Result<()> {
        self.block.resize(length, 0);
        file.read_exact_at(&mut self.block, offset)
    }

    /// Unpacks so many lines of what is in the frame, or all of it; how many bytes that is.
    fn decompress(&mut self, front: &Front, lines: usize) -> io::Result<usize> {
        let frame = self.block.get(HEAD..front.bytes).ok_or_else(damaged)?;
        let size = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten();
        let size = size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= LONGEST);
        let size = size.ok_or_else(damaged)?;
        self.plain.resize(size.max(self.plain.len()), 0);
        self.decoder.reinit()?;
        let (mut from, mut to, mut left) = (InBuffer::around(frame), 0, lines);
        while left > 0 && to < size {
            let end = size.min(to + PIECE);
            let piece = &mut self.plain[to..end];
            let mut out = OutBuffer::around(piece);
            self.decoder.run(&mut from, &mut out)?;
            let made = out.pos();
            if made == 0 {
                return Err(damaged());
            }
            left = left.saturating_sub(memchr::memchr_iter(b'\n', &self.plain[to..to + made]).count());
            to += made;
        }
        Ok(to)
    }
}

/// Whether the file has such a block at all: an index may lie.
fn fits(file: &File, offset: u64, front: &Front) -> io::Result<()> {
    let end = offset.checked_add(front.length as u64);
    if end.is_some_and(|end| file.metadata().is_ok_and(|facts| end <= facts.len())) { Ok(()) } else { Err(damaged()) }
}

/// Where these lines lie; `None` when the block has them not.
fn lie(plain: &[u8], head: &Head, front: &Front, rows: &[usize]) -> Option<Vec<Lies>> {
    let (texts, mut lengths) = plain.split_at_checked(head.texts as usize).unwrap_or((plain, &[]));
    let (mut box_at, mut entry_at) = (front.bytes, front.bytes + head.boxes as usize);
    let (mut found, mut begin) = (Vec::with_capacity(rows.len()), 0);
    for ((row, seq), end) in (0..).zip(front.first..).zip(memchr::memchr_iter(b'\n', texts)) {
        let boxed = texts[begin] != b'{';
        let (at, length) = if boxed {
            let (length, behind) = lengths.split_first_chunk::<4>()?;
            lengths = behind;
            (&mut box_at, u32::from_be_bytes(*length) as usize)
        } else {
            (&mut entry_at, HASH)
        };
        let from = *at;
        *at += length;
        if rows.get(found.len()) == Some(&row) {
            found.push(Lies { seq, text: begin..end, part: from..*at, boxed });
            if found.len() == rows.len() {
                break;
            }
        }
        begin = end + 1;
    }
    (found.len() == rows.len() && box_at <= front.bytes + head.boxes as usize && entry_at <= front.length)
        .then_some(found)
}
