//! Opening a log: find its last whole record, keep torn bytes aside, say what was found.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::line::{Chain, Line};
use super::segment::{Directory, OpenError, SegmentFile, list, sync_folder};
use super::verify::{Glance, glance};
use super::writer::Resume;

/// How much of the last run's earlier segments is searched for intents, bytes.
const SEARCHED: u64 = 256 * 1024 * 1024;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes behind the last whole record, and the file they were put aside in.
    pub torn: Option<(u64, PathBuf)>,
    /// Whether the last record says that the gate stopped in good order; true for an empty log.
    pub stopped: bool,
    /// Writes of the last run that left, perhaps, and whose outcome is not on record. It is searched backwards up to
    /// 256 MiB; `audit verify` searches the whole log.
    pub unknown: Vec<String>,
}

/// Opens a log for writing.
pub fn open(directory: &Path, segment_size: u64) -> Result<(SegmentFile, Resume, Recovered), OpenError> {
    let lock = Directory::lock(directory)?;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { path, source }
    };
    let segments = written(directory).map_err(io(directory))?;
    let mut resume = Resume { next_seq: 0, chain: [0; 32] };
    let mut recovered = Recovered { stopped: true, ..Recovered::default() };
    let Some((last, before)) = segments.split_last() else {
        return Ok((SegmentFile::new(directory, lock, segment_size), resume, recovered));
    };
    let mut intents = Intents::default();
    if let Some(previous) = before.last() {
        resume = end_of(previous)?;
        intents.earlier(before, last)?;
    }
    let whole = scan(last, &mut resume, &mut recovered, &mut intents)?;
    let (length, torn) = behind(last, whole).map_err(io(last))?;
    if !torn.is_empty() {
        recovered.stopped = false;
        let aside = put_aside(directory, &torn, resume.next_seq).map_err(io(directory))?;
        recovered.torn = Some((torn.len() as u64, aside));
    }
    if whole < length {
        truncate(last, whole).map_err(io(last))?;
    }
    if whole == 0 {
        // The next record's segment has the same name.
        std::fs::remove_file(last).and_then(|()| sync_folder(directory)).map_err(io(last))?;
    }
    Ok((SegmentFile::new(directory, lock, segment_size), resume, recovered))
}

/// Hands the lines of a segment to `see`, one at a time: a whole segment need not lie in memory. Ends where `see` says no.
fn each_line(path: &Path, mut see: impl FnMut(&[u8]) -> Result<bool, OpenError>) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let mut lines = BufReader::with_capacity(1 << 16, File::open(path).map_err(io)?);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).map_err(io)? > 0 && see(&line)? {
        line.clear();
    }
    Ok(())
}

/// The last record of a segment that has a successor, so is whole.
fn end_of(path: &Path) -> Result<Resume, OpenError> {
    let (mut lines, mut last) = (0, None);
    each_line(path, |line| {
        // Zeros at the end are room that was laid out.
        if line.iter().any(|byte| *byte != 0) {
            lines += 1;
            let parsed = line.strip_suffix(b"\n").and_then(Line::parse);
            last = parsed.map(|line| Resume { next_seq: line.seq + 1, chain: line.chain });
        }
        Ok(true)
    })?;
    last.ok_or_else(|| OpenError::Damaged {
        path: path.to_owned(),
        line: lines + 1,
        what: "its last record is not whole",
    })
}

/// Walks the last segment; says how many of its bytes are whole records.
fn scan(path: &Path, resume: &mut Resume, recovered: &mut Recovered, intents: &mut Intents) -> Result<u64, OpenError> {
    let mut chain = Chain::new(resume.chain);
    let (mut whole, mut number) = (0, 0);
    each_line(path, |line| {
        number += 1;
        let text = line.strip_suffix(b"\n");
        let parsed = text.and_then(Line::parse).filter(|l| l.seq == resume.next_seq && l.continues(&mut chain));
        let (Some(parsed), Some(text)) = (parsed, text) else {
            // A torn batch ends the file. A whole record that does not fit was not torn.
            if text.and_then(Line::parse).is_some() {
                let what = "a whole record does not continue the one before it";
                return Err(OpenError::Damaged { path: path.to_owned(), line: number, what });
            }
            return Ok(false);
        };
        recovered.stopped = matches!(glance(text), Some(Glance::Stopped));
        intents.see(text);
        whole += line.len() as u64;
        *resume = Resume { next_seq: parsed.seq + 1, chain: parsed.chain };
        Ok(true)
    })?;
    recovered.unknown = intents.0.iter().cloned().collect();
    Ok(whole)
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

/// Ids of writes whose outcome has not been seen.
#[derive(Default)]
struct Intents(BTreeSet<String>);

impl Intents {
    fn see(&mut self, line: &[u8]) {
        match glance(line) {
            Some(Glance::Intent(id)) => drop(self.0.insert(id.to_owned())),
            Some(Glance::Call(id)) => drop(self.0.remove(id)),
            _ => {}
        }
    }

    /// Looks through the segments that the last run filled before its last one. An outcome follows its intent within a
    /// call's time limit, so a bound on how far back that goes loses nothing in practice.
    fn earlier(&mut self, before: &[PathBuf], last: &Path) -> Result<(), OpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        let (mut from, mut earliest, mut searched) = (before.len(), last, 0);
        while from > 0 && searched < SEARCHED && !begins_a_run(earliest).map_err(io(earliest))? {
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
fn begins_a_run(path: &Path) -> io::Result<bool> {
    let mut first = Vec::new();
    BufReader::new(File::open(path)?).read_until(b'\n', &mut first)?;
    // A torn line says nothing: its run never began.
    Ok(first.ends_with(b"\n") && matches!(glance(&first), Some(Glance::Began)))
}

/// The segments, without those at the end that were begun and never written: the first batch could not be kept. They
/// hold nothing, and the next record needs their name.
fn written(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut segments = list(directory)?;
    while let Some(last) = segments.last() {
        if !is_blank(last)? {
            break;
        }
        std::fs::remove_file(last)?;
        sync_folder(directory)?;
        segments.pop();
    }
    Ok(segments)
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
