//! Opening a log: find its last whole record, keep torn bytes aside, say what was found.
//!
//! The checkpoint tells what was torn from what was damaged. It is signed for records that were durable: one of them that is
//! missing or changed is damage, and nothing is touched. What stands behind them and does not fit was being written.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::finished::{Finished, Seeing};
use super::intents::{Intents, each_line};
use super::line::{Line, is_of_old};
use super::pen::Pen;
use super::recipients::Recipients;
use super::resume::Resume;
use super::retain::{REMOVED, removed};
use super::salt::{Salt, SaltFiles, SaltReader};
use super::sealed;
use super::segment::{Directory, Disk, OpenError, SegmentFile, is_sealed, list, number, sync_folder};
use super::tree::Leaf;
use super::tree::note::{Checkpoint, SigningKey};
use super::tree::store::{CHECKPOINT, Store};
use super::tree::tiles::Stored;
use super::verify::{Glance, glance};
use crate::config::Durability;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// What stood behind the last whole record and was put aside.
    pub torn: Option<Torn>,
    /// Whether the last record says that the gate stopped in good order, and a checkpoint is signed for it; true for an
    /// empty log.
    pub stopped: bool,
    /// Records behind the last checkpoint: whole, and not signed for before this start.
    pub unsigned: u64,
    /// Whether the tree had to be built anew from the records.
    pub rebuilt: bool,
    /// Writes of the last run that left, perhaps, and whose outcome is not on record. It is searched backwards up to
    /// 256 MiB; `audit verify` searches the whole log.
    pub unknown: Vec<String>,
}

/// Bytes that were put aside.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Torn {
    /// How many.
    pub bytes: u64,
    /// Whole lines among them: records behind a place that is damaged, or such a one themselves.
    pub records: u64,
    /// Where they are now.
    pub aside: PathBuf,
}

pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path: path.clone(), source }
}

pub(super) fn damaged(path: &Path, line: u64, what: &'static str) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), line, what }
}

/// Opens a log for writing.
pub fn open(
    directory: &Path,
    disk: Disk,
    key: Arc<SigningKey>,
    recipients: Arc<Recipients>,
) -> Result<(SegmentFile, Resume, Recovered), OpenError> {
    open_from(directory, disk, key, recipients, Finished::default(), 0)
}

/// The same for a log that is known to have so many records at least, and of whose finished segments something is known.
pub fn open_from(
    directory: &Path,
    disk: Disk,
    key: Arc<SigningKey>,
    recipients: Arc<Recipients>,
    finished: Finished,
    kept: u64,
) -> Result<(SegmentFile, Resume, Recovered), OpenError> {
    let lock = Directory::lock(directory)?;
    let signed = newest(directory, &key)?;
    let (segments, blank) = written(directory).map_err(io(directory))?;
    let mut recovered = Recovered { stopped: true, ..Recovered::default() };
    let tombstone = directory.join(REMOVED);
    let removed = removed(directory, key.verifier()).map_err(io(&tombstone))?;
    let removed = removed.map_err(|what| damaged(&tombstone, 1, what))?;
    let end = match segments.split_last() {
        None => End::default(),
        Some((last, before)) => find_end(directory, last, before, &signed, removed, &mut recovered)?,
    };
    let durable = signed.size.max(kept);
    if end.next_seq < durable {
        return Err(OpenError::Cut { signed: durable, found: end.next_seq });
    }
    // Until here nothing was touched.
    let mut tree = tree(directory, key, &signed, removed, &segments, end.next_seq, &mut recovered)?;
    tree.syncs_records(disk.durability == Durability::Os);
    recovered.unsigned = end.next_seq - signed.size;
    recovered.stopped &= recovered.unsigned == 0;
    tidy(directory, segments.last(), &blank, &end, &mut recovered)?;
    let resume = Resume { next_seq: end.next_seq, pen: Pen::new(directory, recipients), tree: Some(tree) };
    if let Some(last) = segments.last().filter(|last| end.whole > 0 && !is_sealed(last)) {
        // Each of its lines was looked at. What its writer knows of it says more.
        finished.note_unknown(number(last), end.seen.end());
    }
    Ok((SegmentFile::new(directory, lock, disk, finished), resume, recovered))
}

/// The newest checkpoint, which `init` made the first of.
fn newest(directory: &Path, key: &SigningKey) -> Result<Checkpoint, OpenError> {
    let path = directory.join(CHECKPOINT);
    let note = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(&path, 1, "the log has no checkpoint; `init` makes the first one"));
        }
        read => read.map_err(io(&path))?,
    };
    Checkpoint::open(&note, key.verifier()).map_err(|what| damaged(&path, 1, what))
}

/// Where the whole records end.
#[derive(Default)]
struct End {
    next_seq: u64,
    /// Bytes of whole records in the last segment.
    whole: u64,
    /// Bytes of the last segment.
    length: u64,
    /// What stands behind the whole records.
    torn: Vec<u8>,
    /// The whole records' bytes.
    seen: Seeing,
}

fn find_end(
    directory: &Path,
    last: &Path,
    before: &[PathBuf],
    signed: &Checkpoint,
    removed: u64,
    recovered: &mut Recovered,
) -> Result<End, OpenError> {
    let mut intents = Intents::default();
    let mut end = End { next_seq: number(last), ..End::default() };
    let expected = match before.last() {
        Some(previous) => {
            intents.earlier(before, last)?;
            end_of(previous)?
        }
        // What went before it by retention.
        None if end.next_seq > 0 => removed,
        None => 0,
    };
    if end.next_seq != expected {
        return Err(damaged(last, 1, "the segment's name is not the number of the record that comes next"));
    }
    let salts = SaltFiles::find(directory, None).map_err(io(directory))?;
    scan(last, &salts, signed, &mut end, recovered, &mut intents)?;
    if is_sealed(last) {
        // It was durable as a whole before it took its place: nothing in it was torn.
        if end.next_seq != end_of(last)? {
            return Err(damaged(last, end.next_seq - number(last) + 1, "a record is not as it was written"));
        }
        return Ok(End { torn: Vec::new(), length: end.whole, ..end });
    }
    (end.length, end.torn) = behind(last, end.whole).map_err(io(last))?;
    Ok(end)
}

/// Puts torn bytes aside and leaves whole records alone in the last segment.
fn tidy(
    directory: &Path,
    last: Option<&PathBuf>,
    blank: &[PathBuf],
    end: &End,
    recovered: &mut Recovered,
) -> Result<(), OpenError> {
    for path in blank {
        std::fs::remove_file(path).map_err(io(path))?;
    }
    if let Some(last) = last {
        if !end.torn.is_empty() {
            recovered.stopped = false;
            let aside = put_aside(directory, &end.torn, end.next_seq).map_err(io(directory))?;
            let records = end.torn.split(|byte| *byte == b'\n').filter(|line| Line::parse(line).is_some()).count();
            recovered.torn = Some(Torn { bytes: end.torn.len() as u64, records: records as u64, aside });
        }
        if end.whole < end.length {
            truncate(last, end.whole).map_err(io(last))?;
        }
        if end.whole == 0 {
            // The next record's segment has the same name.
            std::fs::remove_file(last).map_err(io(last))?;
        }
    }
    sync_folder(directory).map_err(io(directory))
}

/// The tree up to the last whole record: from the tiles of the checkpoint, or built anew when they do not hash to it.
fn tree(
    directory: &Path,
    key: Arc<SigningKey>,
    signed: &Checkpoint,
    removed: u64,
    segments: &[PathBuf],
    next_seq: u64,
    recovered: &mut Recovered,
) -> Result<Store, OpenError> {
    let mut tree = match Store::load(directory, key.clone(), signed) {
        Ok(tree) => tree,
        Err(error) => {
            tracing::warn!(%error, "the log's tree is built anew from its records");
            recovered.rebuilt = true;
            let mut tree = Store::empty(directory, key);
            // Of records that went by retention there are the entries.
            let stored = Stored { directory, size: signed.size };
            for seq in 0..removed {
                tree.push(stored.leaf(seq).map_err(io(directory))?).map_err(io(directory))?;
            }
            tree
        }
    };
    for (n, path) in segments.iter().enumerate() {
        if segments.get(n + 1).is_some_and(|next| number(next) <= tree.edge().size()) {
            continue;
        }
        each_line(path, |line| {
            let parsed = line.strip_suffix(b"\n").and_then(Line::parse);
            let Some(line) = parsed.filter(|line| line.seq < next_seq) else { return Ok(false) };
            if line.seq == tree.edge().size() {
                tree.push(Leaf::of(line.entry)).map_err(io(directory))?;
                if tree.edge().size() == signed.size && tree.edge().root() != signed.root {
                    return Err(damaged(path, 1, "the records up to the checkpoint do not hash to it"));
                }
            }
            Ok(true)
        })?;
        tree.flush().map_err(io(directory))?;
    }
    if tree.edge().size() == next_seq {
        Ok(tree)
    } else {
        Err(OpenError::Cut { signed: signed.size, found: tree.edge().size() })
    }
}

/// The number behind the last record of a segment that has a successor, so is whole.
fn end_of(path: &Path) -> Result<u64, OpenError> {
    if is_sealed(path) {
        return Ok(number(path) + sealed::records(path).map_err(io(path))?);
    }
    let (mut lines, mut last) = (0, None);
    each_line(path, |line| {
        // Zeros at the end are room that was laid out.
        if line.iter().any(|byte| *byte != 0) {
            lines += 1;
            if is_of_old(line.strip_suffix(b"\n").unwrap_or(line)) {
                return Err(damaged(path, lines, OLD));
            }
            last = line.strip_suffix(b"\n").and_then(Line::parse).map(|line| line.seq + 1);
        }
        Ok(true)
    })?;
    last.ok_or_else(|| damaged(path, lines + 1, "its last record is not whole"))
}

/// What is wrong with a log of an earlier version.
const OLD: &str = "it was written by an earlier version of keygate, which chained records";

/// Walks the last segment up to its last whole record.
fn scan(
    path: &Path,
    salts: &SaltFiles,
    signed: &Checkpoint,
    end: &mut End,
    recovered: &mut Recovered,
    intents: &mut Intents,
) -> Result<(), OpenError> {
    let mut number = 0;
    let mut reader = SaltReader::default();
    each_line(path, |line| {
        number += 1;
        let text = line.strip_suffix(b"\n");
        let mut fits = |parsed: &Line<'_>| {
            // Without its salt a record was forgotten: its entry is all there is to go by.
            let sound = match salts.look(&mut reader, parsed.seq) {
                Salt::Known(salt) => parsed.is_sound(|| Some(salt)),
                Salt::Gone => parsed.is_sound(|| None),
                // What such a key file serves is boxed.
                Salt::Locked(_) => parsed.is_sound(|| None).or(Some(false)),
            };
            parsed.seq == end.next_seq && sound != Some(false)
        };
        let Some(text) = text.filter(|text| Line::parse(text).is_some_and(|parsed| fits(&parsed))) else {
            if is_of_old(text.unwrap_or_default()) {
                return Err(damaged(path, number, OLD));
            }
            // A torn batch ends the file. What a checkpoint was signed for was not torn.
            if end.next_seq < signed.size && line.iter().any(|byte| *byte != 0) {
                return Err(damaged(
                    path,
                    number,
                    "a record that a checkpoint was signed for is not as it was written",
                ));
            }
            return Ok(false);
        };
        recovered.stopped = matches!(glance(text), Some(Glance::Stopped));
        intents.see(text);
        end.whole += line.len() as u64;
        end.seen.see(line);
        end.next_seq += 1;
        Ok(true)
    })?;
    recovered.unknown = intents.0.iter().cloned().collect();
    Ok(())
}

/// How long a segment is, and what stands behind its whole records, without the zeros that were laid out ahead.
fn behind(path: &Path, whole: u64) -> io::Result<(u64, Vec<u8>)> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(whole))?;
    let mut torn = Vec::new();
    file.read_to_end(&mut torn)?;
    let length = whole + torn.len() as u64;
    torn.truncate(torn.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1));
    Ok((length, torn))
}

/// The segments, and apart from them those at the end that were begun and never written: the first batch could not be kept.
/// They hold nothing, and the next record needs their name.
fn written(directory: &Path) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let mut segments = list(directory)?;
    let mut blank = Vec::new();
    while let Some(last) = segments.pop() {
        if !is_blank(&last)? {
            segments.push(last);
            break;
        }
        blank.push(last);
    }
    Ok((segments, blank))
}

/// Whether a segment holds nothing, or nothing but room.
fn is_blank(path: &Path) -> io::Result<bool> {
    let mut reader = BufReader::new(File::open(path)?);
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(true);
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        let read = bytes.len();
        reader.consume(read);
    }
}

fn put_aside(directory: &Path, torn: &[u8], seq: u64) -> io::Result<PathBuf> {
    for n in 0.. {
        let path = directory.join(format!("torn-{seq:020}-{n}.bin"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                file.write_all(torn)?;
                file.sync_all()?;
                sync_folder(directory)?;
                return Ok(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn truncate(path: &Path, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}
