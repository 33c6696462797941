//! Checks a whole log: every record continues the one before it, none is missing in between, none was changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use memchr::memmem;
use serde::Serialize;

use super::line::{Chain, Line};
use super::segment::list;

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The segment.
    pub file: PathBuf,
    /// Line in it, from 1.
    pub line: u64,
    /// The number that the record should have.
    pub seq: u64,
    /// What is wrong.
    pub what: String,
}

/// What a log says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether every record is as it was written, and none is missing before the last one.
    pub intact: bool,
    /// The first finding, when it is not.
    pub first_bad: Option<Finding>,
    /// Whole, chained records.
    pub records: u64,
    /// Segments.
    pub segments: u64,
    /// Chain value of the last record, hex. Kept elsewhere, it shows later whether the tail was cut.
    pub head: String,
    /// Whether the last record says that the gate stopped in good order. If not, it runs, or it crashed.
    pub sealed: bool,
    /// Bytes behind the last record: a batch that was being written when the gate ended. Not acknowledged to anybody.
    pub torn_bytes: u64,
    /// Times at which the clock stepped back: number of the record, and by how many milliseconds.
    pub clock_steps: Vec<(u64, i64)>,
    /// Ids of writes whose intent is on record and whose outcome is not.
    pub unknown: Vec<String>,
}

/// Records are made by many threads: a clock that steps back by less than this is calls that overtook each other.
const CLOCK_SLACK_MS: i64 = 2_000;

/// Reads a whole log, streaming. `progress` hears how many bytes were read.
pub fn verify(directory: &Path, mut progress: impl FnMut(u64)) -> io::Result<Report> {
    let mut walk = Walk::default();
    let segments = list(directory)?;
    for (n, path) in segments.iter().enumerate() {
        walk.report.segments += 1;
        walk.segment(path, n + 1 == segments.len(), &mut progress)?;
        if walk.report.first_bad.is_some() {
            break;
        }
    }
    Ok(walk.finish())
}

/// The same for a log that lies in memory, in one segment.
pub fn verify_bytes(segment: &[u8]) -> Report {
    let mut walk = Walk::default();
    walk.report.segments = 1;
    // Memory can be read to its end.
    let _ = walk.lines(Path::new("memory"), io::Cursor::new(segment), true, &mut |_| ());
    walk.finish()
}

struct Walk {
    report: Report,
    chain: Chain,
    open: BTreeMap<String, u64>,
    newest: i64,
}

impl Default for Walk {
    fn default() -> Self {
        Self { report: Report::default(), chain: Chain::new([0; 32]), open: BTreeMap::new(), newest: i64::MIN }
    }
}

impl Walk {
    fn segment(&mut self, path: &Path, last: bool, progress: &mut impl FnMut(u64)) -> io::Result<()> {
        let reader = BufReader::with_capacity(1 << 20, File::open(path)?);
        if !path.to_string_lossy().contains(&format!("{:020}", self.report.records)) {
            self.bad(path, 1, "the segment's name is not the number of the record that comes next");
            return Ok(());
        }
        self.lines(path, reader, last, progress)
    }

    fn lines(
        &mut self,
        path: &Path,
        mut reader: impl BufRead + Seek,
        last: bool,
        progress: &mut impl FnMut(u64),
    ) -> io::Result<()> {
        let (mut text, mut number) = (Vec::new(), 0);
        loop {
            text.clear();
            let read = reader.read_until(b'\n', &mut text)?;
            if read == 0 {
                return Ok(());
            }
            number += 1;
            progress(read as u64);
            if text.contains(&0) && is_room(&mut reader, &mut text)? {
                return Ok(());
            }
            let Some(line) = text.strip_suffix(b"\n") else {
                if last {
                    self.report.torn_bytes = text.len() as u64;
                } else {
                    self.bad(path, number, "the record is cut off, and another segment follows");
                }
                return Ok(());
            };
            if let Err(what) = self.record(line) {
                self.bad(path, number, what);
                return Ok(());
            }
        }
    }

    fn record(&mut self, text: &[u8]) -> Result<(), &'static str> {
        let line = Line::parse(text).ok_or("this is no record: its number or chain value is missing or malformed")?;
        let next = self.report.records;
        if line.seq != next {
            return Err(if line.seq > next {
                "records are missing before this one"
            } else {
                "this record's number was used already"
            });
        }
        if !line.continues(&mut self.chain) {
            return Err("the record does not continue the one before it: it, or the chain value in it, was changed");
        }
        self.report.records += 1;
        self.look(text, next);
        Ok(())
    }

    fn look(&mut self, text: &[u8], seq: u64) {
        self.report.sealed = false;
        match glance(text) {
            Some(Glance::Intent(id)) => drop(self.open.insert(id.to_owned(), seq)),
            Some(Glance::Call(id)) if !self.open.is_empty() => drop(self.open.remove(id)),
            Some(Glance::Stopped) => self.report.sealed = true,
            _ => {}
        }
        if let Some(time) = written_at(text) {
            if time < self.newest.saturating_sub(CLOCK_SLACK_MS) {
                self.report.clock_steps.push((seq, self.newest - time));
                // The clock goes on from here; each step is told once.
                self.newest = time;
            }
            self.newest = self.newest.max(time);
        }
    }

    fn bad(&mut self, path: &Path, line: u64, what: &str) {
        let (file, what) = (path.to_owned(), what.to_owned());
        self.report.first_bad = Some(Finding { file, line, seq: self.report.records, what });
    }

    fn finish(mut self) -> Report {
        use std::fmt::Write;
        self.report.intact = self.report.first_bad.is_none();
        self.report.unknown = self.open.into_keys().collect();
        for byte in self.chain.value() {
            let _ = write!(self.report.head, "{byte:02x}");
        }
        self.report
    }
}

/// What stands here has zeros in it. True when there is nothing else: room that was laid out, where the segment ends for
/// now. Otherwise `text` is what was read at a second look: a gate that writes just now fills the room from its beginning.
fn is_room(reader: &mut (impl BufRead + Seek), text: &mut Vec<u8>) -> io::Result<bool> {
    reader.seek(SeekFrom::Current(-i64::try_from(text.len()).unwrap_or(0)))?;
    text.clear();
    reader.read_until(b'\n', text)?;
    let written = text.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    text.truncate(written);
    Ok(text.is_empty())
}

/// What a line is about, without parsing it: the writer gives fields a fixed order.
pub(super) enum Glance<'a> {
    /// The intent of a write, with its id.
    Intent(&'a str),
    /// A call's outcome, with its id.
    Call(&'a str),
    /// The gate began: `started`, or `recovered` before it.
    Began,
    /// The gate stopped in good order.
    Stopped,
    /// Anything else.
    Other,
}

/// `{"time":"…","id":"…","kind":"…"`
pub(super) fn glance(line: &[u8]) -> Option<Glance<'_>> {
    let head = &line[..line.len().min(160)];
    let id = after(head, b"\"id\":\"")?;
    let kind = after(head, b"\"kind\":\"")?;
    Some(match kind {
        "intent" => Glance::Intent(id),
        "call" => Glance::Call(id),
        "gate" => match after(line, b"\"event\":{\"code\":\"") {
            Some("stopped") => Glance::Stopped,
            Some("started" | "recovered") => Glance::Began,
            _ => Glance::Other,
        },
        _ => Glance::Other,
    })
}

fn after<'a>(text: &'a [u8], mark: &[u8]) -> Option<&'a str> {
    let from = memmem::find(text, mark)? + mark.len();
    let to = from + memchr::memchr(b'"', &text[from..])?;
    std::str::from_utf8(&text[from..to]).ok()
}

/// When a record was written, milliseconds since 1970. Its `time` is when the call began, and calls end in another order;
/// with the time spent it is when the call ended. `None` when that cannot be told: the time of an intent's writing is not
/// on record, and a step's time has a ceiling.
fn written_at(line: &[u8]) -> Option<i64> {
    let head = &line[..line.len().min(160)];
    let begun = after(head, b"\"time\":\"")?.parse::<jiff::Timestamp>().ok()?.as_millisecond();
    match after(head, b"\"kind\":\"")? {
        "intent" => None,
        "call" => Some(begun + spent(line)? / 1000),
        _ => Some(begun),
    }
}

/// The sum of a record's `micros`; 0 when it has none.
fn spent(line: &[u8]) -> Option<i64> {
    const MICROS: &[u8] = b",\"micros\":{";
    let Some(at) = memmem::rfind(line, MICROS) else { return Some(0) };
    let fields = &line[at + MICROS.len()..];
    let fields = std::str::from_utf8(&fields[..memchr::memchr(b'}', fields)?]).ok()?;
    let mut sum = 0;
    for field in fields.split(',') {
        let micros: u32 = field.split_once(':')?.1.parse().ok()?;
        sum += i64::from((micros < u32::MAX).then_some(micros)?);
    }
    Some(sum)
}
