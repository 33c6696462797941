//! Sealed segments: what a finished one becomes. They hold the same lines, byte for byte, in a third of the room or less.
//!
//! Blocks of 1,024 records: texts, compressed together; boxes and entries as bytes, not Base64. The entry of a boxed line follows
//! from it and is left out. Each block ends with its hash. No key is needed to seal. docs/audit-format.md has the form.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zstd::bulk::{Compressor, Decompressor};

use super::boxed::{BEGINS, box_of, mark_of};
use super::finished::{Seeing, Seen};
use super::forget::INDEXES;
use super::line::{ENTRY_FIELD, Line, end_boxed, push_base64, push_decoded, push_digits, push_entry};
use super::lines::Lines;
use super::picked::Front;
use super::segment::{SEALED, number, sync_folder};
use super::tree::merkle::sha256;

/// Records in a block; the last one of a segment may have fewer.
const RECORDS: usize = 1024;
const MAGIC: &[u8; 4] = b"kgs1";
/// The mark, and five numbers of four bytes.
pub(super) const HEAD: usize = 24;
pub(super) const HASH: usize = 32;
/// A block's texts are not longer than this, bytes.
pub(super) const LONGEST: usize = 1 << 30;
/// Sealing has time.
const LEVEL: i32 = 9;

/// The beginning of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) records: u32,
    /// Bytes of texts; what stands behind them in the frame are the lengths of the boxes.
    pub(super) texts: u32,
    pub(super) frame: u32,
    pub(super) boxes: u32,
    pub(super) entries: u32,
}

impl Head {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let numbers = bytes.strip_prefix(MAGIC)?.get(..HEAD - 4)?;
        let at = |n: usize| numbers[4 * n..].first_chunk().map(|four| u32::from_be_bytes(*four));
        let head = Self { records: at(0)?, texts: at(1)?, frame: at(2)?, boxes: at(3)?, entries: at(4)? };
        (1..=RECORDS).contains(&(head.records as usize)).then_some(head)
    }

    /// Bytes of the whole block.
    pub(super) fn length(&self) -> u64 {
        HEAD as u64 + u64::from(self.frame) + u64::from(self.boxes) + u64::from(self.entries) + HASH as u64
    }
}

/// The heads of a file's blocks with their offsets, as far as they can be read.
pub(super) fn heads(file: &File) -> io::Result<Vec<(u64, Head)>> {
    let length = file.metadata()?.len();
    let (mut heads, mut at) = (Vec::new(), 0);
    while at + (HEAD as u64) <= length {
        let mut bytes = [0; HEAD];
        file.read_exact_at(&mut bytes, at)?;
        let Some(head) = Head::parse(&bytes).filter(|head| at + head.length() <= length) else { break };
        heads.push((at, head));
        at += head.length();
    }
    Ok(heads)
}

/// How many records a sealed segment has.
pub(super) fn records(path: &Path) -> io::Result<u64> {
    Ok(heads(&File::open(path)?)?.iter().map(|(_, head)| u64::from(head.records)).sum())
}

/// A sealed segment whose blocks are read one by one.
pub(super) struct SealedFile {
    file: File,
    /// Offset, head, and number of the first record.
    blocks: Vec<(u64, Head, u64)>,
    /// Bytes behind the last block that can be told apart.
    left: u64,
}

impl SealedFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut first = number(path);
        let mut blocks = Vec::new();
        let mut end = 0;
        for (offset, head) in heads(&file)? {
            blocks.push((offset, head, first));
            first += u64::from(head.records);
            end = offset + head.length();
        }
        let left = file.metadata()?.len() - end;
        Ok(Self { file, blocks, left })
    }

    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Where a block begins, counted from 0; none behind the last one.
    pub(super) fn offset(&self, n: usize) -> io::Result<Option<u64>> {
        match self.blocks.get(n) {
            Some((offset, ..)) => Ok(Some(*offset)),
            None if self.left == 0 => Ok(None),
            None => Err(damaged()),
        }
    }

    /// What an index is to know of the block that begins there.
    pub(super) fn front(&self, offset: u64) -> Option<Front> {
        let at = self.blocks.binary_search_by_key(&offset, |(offset, ..)| *offset).ok()?;
        let (_, head, first) = &self.blocks[at];
        Some(Front::of(head, *first))
    }

    /// The lines of the block that begins there, each with its newline.
    pub(super) fn block_at(&self, offset: u64, lines: &mut Vec<u8>) -> io::Result<()> {
        let at = self.blocks.binary_search_by_key(&offset, |(offset, ..)| *offset).map_err(|_| damaged())?;
        let (_, head, first) = &self.blocks[at];
        let mut block = vec![0; usize::try_from(head.length()).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut block, offset)?;
        lines.clear();
        open(&block, *first, lines).ok_or_else(damaged)
    }
}

pub(super) fn damaged() -> io::Error {
    unfit("a block of the sealed segment is damaged")
}

/// A block without its hash, which is right.
pub(super) fn content(block: &[u8]) -> Option<&[u8]> {
    let (content, hash) = block.split_at_checked(block.len().checked_sub(HASH)?)?;
    (sha256(content) == hash).then_some(content)
}

/// A record of a block.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) seq: u64,
    /// What stands in its line before the number; of a boxed one, behind the box's closing quote.
    pub(super) text: &'a [u8],
    pub(super) held: Held<'a>,
}

/// What else is kept of it.
#[derive(Clone, Copy)]
pub(super) enum Held<'a> {
    Entry(&'a [u8; 32]),
    Box(&'a [u8]),
}

impl Item<'_> {
    /// Appends its line up to its entry.
    pub(super) fn push_text(&self, out: &mut Vec<u8>) {
        if let Held::Box(sealed) = self.held {
            out.extend_from_slice(BEGINS);
            push_base64(out, sealed);
            out.push(b'"');
        }
        out.extend_from_slice(self.text);
        out.extend_from_slice(b",\"seq\":");
        push_digits(out, self.seq);
    }

    /// Appends its line.
    pub(super) fn push_line(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.push_text(out);
        match self.held {
            Held::Entry(entry) => push_entry(out, entry),
            Held::Box(_) => drop(end_boxed(out, start)),
        }
    }
}

/// Makes lines of a block whose first record has this number. `None` when it is damaged.
pub(super) fn open(block: &[u8], first: u64, out: &mut Vec<u8>) -> Option<()> {
    each(block, first, |item| item.push_line(out))
}

/// The records of a block whose first one has this number. `None` when it is damaged.
pub(super) fn each(block: &[u8], first: u64, see: impl FnMut(Item<'_>)) -> Option<()> {
    each_in(content(block)?, first, see)
}

/// The same of a block without its hash.
fn each_in(content: &[u8], first: u64, mut see: impl FnMut(Item<'_>)) -> Option<()> {
    let head = Head::parse(content).filter(|head| head.length() == (content.len() + HASH) as u64)?;
    let (frame, rest) = content[HEAD..].split_at_checked(head.frame as usize)?;
    let (mut boxes, mut entries) = rest.split_at_checked(head.boxes as usize)?;
    let plain = Decompressor::new().ok()?.decompress(frame, LONGEST).ok()?;
    let (mut texts, mut lengths) = plain.split_at_checked(head.texts as usize)?;
    for seq in (first..).take(head.records as usize) {
        let end = memchr::memchr(b'\n', texts)?;
        let (text, behind) = texts.split_at(end);
        texts = &behind[1..];
        if text.starts_with(b"{") {
            let (entry, behind) = entries.split_at_checked(HASH)?;
            entries = behind;
            see(Item { seq, text, held: Held::Entry(entry.first_chunk()?) });
            continue;
        }
        let (length, behind) = lengths.split_first_chunk::<4>()?;
        lengths = behind;
        let (sealed, behind) = boxes.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        boxes = behind;
        see(Item { seq, text, held: Held::Box(sealed) });
    }
    (texts.is_empty() && lengths.is_empty() && boxes.is_empty() && entries.is_empty()).then_some(())
}

/// A block that is being made.
#[derive(Default)]
struct Block {
    records: u32,
    texts: Vec<u8>,
    lengths: Vec<u8>,
    boxes: Vec<u8>,
    entries: Vec<u8>,
    /// The lines as they stand in the segment.
    lines: Vec<u8>,
}

impl Block {
    /// A line, and what it was found to be.
    fn push(&mut self, line: &[u8], parsed: &Line<'_>) -> Option<()> {
        // Behind it stand the number and the entry, which follow from the others.
        let number = b",\"seq\":".len() + parsed.seq.checked_ilog10().map_or(1, |log| log as usize + 1);
        if let Some(text) = box_of(line) {
            let before = self.boxes.len();
            push_decoded(&mut self.boxes, text)?;
            let length = u32::try_from(self.boxes.len() - before).ok()?;
            self.lengths.extend_from_slice(&length.to_be_bytes());
            let behind = mark_of(parsed.text());
            self.texts.extend_from_slice(behind.get(..behind.len().checked_sub(number)?)?);
        } else {
            let text = parsed.text();
            self.texts.extend_from_slice(text.get(..text.len().checked_sub(number)?)?);
            self.entries.extend_from_slice(&parsed.entry);
        }
        self.texts.push(b'\n');
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
        self.records += 1;
        Some(())
    }

    /// Its bytes, if the very lines come out of them again. Where their entries are known to be the right ones, those that follow
    /// from the rest of the line are not computed for it.
    fn bytes(&self, first: u64, known: bool, compressor: &mut Compressor<'_>) -> io::Result<Vec<u8>> {
        let frame = compressor.compress(&[&self.texts[..], &self.lengths].concat())?;
        let mut bytes = MAGIC.to_vec();
        for number in [self.texts.len(), frame.len(), self.boxes.len(), self.entries.len()] {
            let number = u32::try_from(number).map_err(io::Error::other)?;
            if bytes.len() == MAGIC.len() {
                bytes.extend_from_slice(&self.records.to_be_bytes());
            }
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&frame);
        bytes.extend_from_slice(&self.boxes);
        bytes.extend_from_slice(&self.entries);
        let (mut rest, mut line, mut same) = (&self.lines[..], Vec::new(), true);
        let again = each_in(&bytes, first, |item| {
            line.clear();
            let unseen = if known && matches!(item.held, Held::Box(_)) {
                item.push_text(&mut line);
                ENTRY_FIELD + 1
            } else {
                item.push_line(&mut line);
                0
            };
            let (before, behind) = rest.split_at_checked(line.len()).unwrap_or_default();
            same &= before == line;
            same &= behind.len() >= unseen;
            rest = behind.get(unseen..).unwrap_or_default();
        });
        if again.is_none() || !same || !rest.is_empty() {
            return Err(unfit("its lines do not come out as they were"));
        }
        let hash = sha256(&bytes);
        bytes.extend_from_slice(&hash);
        Ok(bytes)
    }
}

fn unfit(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Seals a finished segment. It is written beside it, synced and put in its place; until then the other one counts. What cannot be made
/// again from a sealed one stays as it is, and is an error; so does one that is not what is known of it.
pub(super) fn seal(segment: &Path, known: Option<Seen>) -> io::Result<PathBuf> {
    let sealed = segment.with_extension(SEALED);
    let beside = segment.with_extension("sealing");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    write(segment, known, &mut file).inspect_err(|_| drop(fs::remove_file(&beside)))?;
    // When its newest record was written, for retention.
    file.set_modified(fs::metadata(segment)?.modified()?)?;
    file.sync_all()?;
    fs::rename(&beside, &sealed)?;
    // An index speaks of places in the file that goes.
    for index in INDEXES {
        let _ = fs::remove_file(segment.with_extension(index));
    }
    let folder = segment.parent().unwrap_or(Path::new("."));
    sync_folder(folder)?;
    fs::remove_file(segment)?;
    sync_folder(folder)?;
    Ok(sealed)
}

/// Puts the lines of a sealed segment in its place again.
pub(super) fn unseal(sealed: &Path) -> io::Result<()> {
    let (mut lines, mut text, mut line) = (Lines::open(sealed)?, Vec::new(), Vec::new());
    while lines.next(&mut line)? {
        text.extend_from_slice(&line);
    }
    crate::vault::private_file::replace(&sealed.with_extension("jsonl"), &text)?;
    fs::remove_file(sealed)?;
    sync_folder(sealed.parent().unwrap_or(Path::new(".")))
}

fn write(segment: &Path, known: Option<Seen>, file: &mut File) -> io::Result<()> {
    let mut compressor = Compressor::new(LEVEL)?;
    let mut lines = Lines::open(segment)?;
    let (mut line, mut seq, mut seeing) = (Vec::new(), number(segment), Seeing::default());
    loop {
        let (first, mut block) = (seq, Block::default());
        while (block.records as usize) < RECORDS && lines.next(&mut line)? {
            let text = line.strip_suffix(b"\n").ok_or_else(|| unfit("its last line is not whole"))?;
            let parsed =
                Line::parse(text).filter(|line| line.seq == seq).ok_or_else(|| unfit("a line is no record"))?;
            block.push(text, &parsed).ok_or_else(|| unfit("a line has another form"))?;
            seq += 1;
        }
        if block.records == 0 {
            break;
        }
        seeing.see(&block.lines);
        file.write_all(&block.bytes(first, known.is_some(), &mut compressor)?)?;
    }
    if known.is_some_and(|known| known != seeing.end()) {
        return Err(unfit("it was changed since the gate wrote it"));
    }
    if seq == number(segment) { Err(unfit("it has no records")) } else { Ok(()) }
}
