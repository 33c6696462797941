//! Searching a log: all segments in order, several at once, through the index that lies beside each finished one.

mod index;
mod indexer;
mod query;
mod rows;
mod seen;
mod text;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::line::Line;
use super::reader::{Follow, ReadError};
use super::recipients::{self, Identity};
use super::segment::{list, number};
use crate::vault::private_file;
use index::Index;
pub use indexer::Indexer;
pub use query::{Named, Query, Wanted};
pub use seen::Field;
use text::{Picked, Records, Segment, length};

/// Records that were found in a segment whose turn has not come are handed over in pieces of this size, bytes.
const HITS: usize = 64 * 1024;
/// So many of which wait for their turn, at most, for each thread.
const WAITING: usize = 16;
/// What is left on the disk is for records: no index takes of the last so many bytes.
const ROOM: u64 = 16 << 20;
/// The last segment is read in parts of this size, bytes.
const PART: u64 = if cfg!(test) { 3000 } else { 4 << 20 };
/// Blocks that the system is told of before they are read.
const AHEAD: usize = 32;
/// How often progress is told.
const TELL: Duration = Duration::from_millis(250);

/// How a log is searched.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Whether what lies beside segments tells where records may be; else every record is read.
    pub by_index: bool,
    /// Segments that are searched at once.
    pub threads: usize,
}

/// How far a search has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Bytes that were searched, or that need not be.
    pub done: u64,
    /// Bytes of the log.
    pub all: u64,
    /// Whether it takes long because an index is being made.
    pub indexing: bool,
}

/// Where a search ended: at the end of what was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct End {
    next_seq: u64,
}

/// What a thread hands over.
enum Message {
    /// Lines of records that were found.
    Hits(Vec<u8>),
    /// The segment ends, and with it the record before this number.
    End(u64),
    Failed(ReadError),
}

/// What the threads of a search share.
struct Search<'a> {
    directory: &'a Path,
    identity: Option<&'a Identity>,
    query: &'a Query,
    by_index: bool,
    segments: &'a [PathBuf],
    /// The last segment, opened once: its parts are of one file, also when it is sealed meanwhile.
    last: Option<Segment>,
    /// The last segment may be written to and has no index; it is read in parts, so that every thread has some.
    parts: Vec<Range<u64>>,
    /// Place of the segment, or part, whose hits are told at the moment.
    turn: AtomicUsize,
    done: AtomicU64,
    indexing: AtomicUsize,
    over: AtomicBool,
}

/// What a search tells.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// A record that was found, as it stands in the log.
    Hit(&'a [u8]),
    /// How far it has come; also after each handful of hits.
    Progress(Progress),
}

/// Hands over the records that are found, in order, each as soon as all before it are known. Ends when `told` says so. An encrypted
/// log needs an identity.
pub fn find(
    directory: &Path,
    query: &Query,
    how: How,
    identity: Option<&Identity>,
    mut told: impl FnMut(Told<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<(), End>, ReadError> {
    let failed = |source| ReadError { path: directory.to_owned(), source };
    let segments = list(directory).map_err(failed)?;
    let open = |path: &PathBuf| Segment::open(path).map_err(|source| ReadError { path: path.clone(), source });
    let last = segments.last().map(open).transpose()?;
    let all = segments.iter().filter_map(|path| fs::metadata(path).ok()).map(|facts| facts.len()).sum();
    let search = Search {
        directory,
        identity,
        query,
        by_index: how.by_index,
        segments: &segments,
        parts: parts(last.as_ref()),
        last,
        turn: AtomicUsize::new(0),
        done: AtomicU64::new(0),
        indexing: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    };
    let progress = || {
        let indexing = search.indexing.load(Ordering::Relaxed) > 0;
        Progress { done: search.done.load(Ordering::Relaxed), all, indexing }
    };
    std::thread::scope(|scope| {
        let threads = how.threads.clamp(1, search.places().max(1));
        let begin = |first: usize| {
            let (to, from) = sync_channel(WAITING);
            let search = &search;
            scope.spawn(move || search.run(first, threads, &to));
            from
        };
        let threads: Vec<_> = (0..threads).map(begin).collect();
        let ended = search.tell(&threads, &mut told, progress);
        search.over.store(true, Ordering::Relaxed);
        ended
    })
}

impl Search<'_> {
    /// Hands over what the threads find, segment by segment.
    fn tell(
        &self,
        threads: &[Receiver<Message>],
        told: &mut impl FnMut(Told<'_>) -> ControlFlow<()>,
        progress: impl Fn() -> Progress,
    ) -> Result<ControlFlow<(), End>, ReadError> {
        let mut end = End::default();
        for place in 0..self.places() {
            self.turn.store(place, Ordering::Relaxed);
            loop {
                match threads[place % threads.len()].recv_timeout(TELL) {
                    Ok(Message::Hits(lines)) => {
                        let mut lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                        if lines.try_for_each(|line| told(Told::Hit(line))).is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                    }
                    Ok(Message::End(next_seq)) => {
                        end.next_seq = end.next_seq.max(next_seq);
                        break;
                    }
                    Ok(Message::Failed(error)) => return Err(error),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => {
                        let source = io::Error::other("the thread that searched it ended");
                        return Err(ReadError { path: self.path(place).clone(), source });
                    }
                }
                if told(Told::Progress(progress())).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(end))
    }

    /// One of the threads: every so-many-th segment from the first on.
    fn run(&self, first: usize, threads: usize, to: &SyncSender<Message>) {
        let records = Records::of(self.directory, self.identity);
        let mut hits = Hits { search: self, place: first, to, records, lines: Vec::new() };
        for place in (first..self.places()).step_by(threads) {
            hits.place = place;
            let told = match self.segment(place, &mut hits) {
                Ok(next_seq) => hits.flush().is_continue() && to.send(Message::End(next_seq)).is_ok(),
                Err(source) => {
                    let path = self.path(place).clone();
                    to.send(Message::Failed(ReadError { path, source })).is_ok()
                }
            };
            if !told || self.over.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// How many segments and parts of the last one there are.
    fn places(&self) -> usize {
        (self.segments.len() + self.parts.len()).saturating_sub(1)
    }

    /// The segment at a place.
    fn path(&self, place: usize) -> &PathBuf {
        &self.segments[place.min(self.segments.len() - 1)]
    }

    /// Searches a segment, or a part of the last one; the number behind its last record.
    fn segment(&self, place: usize, hits: &mut Hits<'_>) -> io::Result<u64> {
        let path = self.path(place);
        let next = self.segments.get(place + 1);
        let part = (place + 1).checked_sub(self.segments.len()).and_then(|part| self.parts.get(part));
        let whole = 0..u64::MAX;
        let searched = match (next, &self.last) {
            (Some(next), _) if self.by_index => self.by_index(path, hits).map(|()| number(next)),
            (None, Some(last)) => self.through(number(path), last, part.unwrap_or(&whole), hits),
            _ => Segment::open(path).and_then(|segment| self.through(number(path), &segment, &whole, hits)),
        };
        match (searched, next) {
            // It went by its age or the log's size: what is kept is what is searched.
            (Err(error), Some(next)) if error.kind() == io::ErrorKind::NotFound && length(path).is_err() => {
                Ok(number(next))
            }
            (searched, _) => searched,
        }
    }

    /// Reads all lines of a segment that begin in that part.
    fn through(&self, first: u64, segment: &Segment, part: &Range<u64>, hits: &mut Hits<'_>) -> io::Result<u64> {
        let (mut next_seq, mut blocks, mut done) = (first, segment.part(part)?, part.start);
        while let Some((offset, text)) = blocks.next()? {
            self.done.fetch_add(offset - done, Ordering::Relaxed);
            done = offset;
            hits.among(text)?;
            let last = text.strip_suffix(b"\n").unwrap_or(text);
            let last = &last[memchr::memrchr(b'\n', last).map_or(0, |at| at + 1)..];
            next_seq = Line::parse(last).map_or(next_seq, |line| line.seq + 1);
            if hits.in_turn().is_break() {
                break;
            }
        }
        self.done.fetch_add(segment.length()?.min(part.end).saturating_sub(done), Ordering::Relaxed);
        Ok(next_seq)
    }

    /// Reads the blocks that may have records; a segment that has none is not even opened.
    fn by_index(&self, path: &Path, hits: &mut Hits<'_>) -> io::Result<()> {
        let length = length(path)?;
        let Some(index) = self.index(path, length, &mut hits.records)? else { return Ok(()) };
        let places = index.places(self.query);
        if !places.is_empty() {
            let Some(mut segment) = Picked::open(path, length)? else {
                return self.through(number(path), &Segment::open(path)?, &(0..u64::MAX), hits).map(drop);
            };
            places.iter().take(AHEAD).for_each(|place| segment.expect(place));
            for (n, place) in places.iter().enumerate() {
                if let Some(place) = places.get(n + AHEAD) {
                    segment.expect(place);
                }
                hits.among(segment.read(place)?)?;
                if hits.in_turn().is_break() {
                    break;
                }
            }
        }
        self.done.fetch_add(length, Ordering::Relaxed);
        Ok(())
    }

    /// The index of a segment, made now where there is none that can be used; `None` when the search is over.
    fn index(&self, path: &Path, length: u64, records: &mut Records) -> io::Result<Option<Index>> {
        if let Some(index) = kept(path, length, self.identity) {
            return Ok(Some(index));
        }
        self.indexing.fetch_add(1, Ordering::Relaxed);
        let made = Segment::open(path)
            .and_then(|segment| Index::make(number(path), &segment, records, || !self.over.load(Ordering::Relaxed)));
        self.indexing.fetch_sub(1, Ordering::Relaxed);
        let made = made?;
        if let Some(index) = &made {
            keep(path, index, self.identity);
        }
        Ok(made)
    }
}

/// The parts of a segment that may be written to. All but the last one have their whole lines by now: what is written while they are
/// read is the last one's, so that nothing between two of them is missed.
fn parts(segment: Option<&Segment>) -> Vec<Range<u64>> {
    let Some(segment) = segment else { return Vec::new() };
    // One that cannot be read is told when it is searched.
    let count = segment.written().unwrap_or(0).div_ceil(PART).max(1);
    (0..count).map(|n| n * PART..if n + 1 == count { u64::MAX } else { (n + 1) * PART }).collect()
}

/// The index that lies beside a segment of that length.
fn kept(segment: &Path, length: u64, identity: Option<&Identity>) -> Option<Index> {
    let read = |secret| {
        let bytes = fs::read(index::path(segment, secret)).ok()?;
        if secret {
            return Index::read(&identity?.decrypt(&bytes)?, secret, number(segment), length);
        }
        Index::read(&bytes, secret, number(segment), length)
    };
    read(false).or_else(|| read(true))
}

/// Puts an index beside its segment; whether it lies there. Who may only read the log makes it anew each time.
fn keep(segment: &Path, index: &Index, identity: Option<&Identity>) -> bool {
    let path = index::path(segment, index.secret);
    let sealed = index.bytes().and_then(|bytes| match identity.filter(|_| index.secret) {
        Some(identity) => recipients::encrypt(&identity.recipients(), &bytes),
        None => Ok(bytes),
    });
    let written = sealed.and_then(|bytes| {
        let disk = rustix::fs::statvfs(path.parent().unwrap_or(Path::new(".")))?;
        match disk.f_bavail.saturating_mul(disk.f_frsize).checked_sub(bytes.len() as u64) {
            Some(ROOM..) => private_file::replace(&path, &bytes),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    });
    written.inspect_err(|error| tracing::debug!(%error, path = %path.display(), "the index is not kept")).is_ok()
}

/// Hits of a segment on their way to whoever asked.
struct Hits<'a> {
    search: &'a Search<'a>,
    place: usize,
    to: &'a SyncSender<Message>,
    records: Records,
    lines: Vec<u8>,
}

impl Hits<'_> {
    fn among(&mut self, text: &[u8]) -> io::Result<()> {
        let (query, lines) = (self.search.query, &mut self.lines);
        query.each(self.records.open(text)?, |line| {
            lines.extend_from_slice(line);
            lines.push(b'\n');
        });
        Ok(())
    }

    /// Hands over what there is when it is the segment's turn, or much. Breaks when nobody wants more.
    fn in_turn(&mut self) -> ControlFlow<()> {
        if self.search.over.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        let turn = self.search.turn.load(Ordering::Relaxed) == self.place;
        if turn || self.lines.len() >= HITS { self.flush() } else { ControlFlow::Continue(()) }
    }

    fn flush(&mut self) -> ControlFlow<()> {
        if self.lines.is_empty() {
            return ControlFlow::Continue(());
        }
        match self.to.send(Message::Hits(std::mem::take(&mut self.lines))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// Records that come after a search, as they are written.
pub struct ToCome(Follow);

impl ToCome {
    /// From where a search ended.
    pub fn after(directory: &Path, end: End, identity: Option<&Identity>) -> Result<Self, ReadError> {
        Follow::from_record(directory, end.next_seq, identity).map(Self)
    }

    /// The next one that is found; `None` when there is none yet.
    pub fn next(&mut self, query: &Query) -> Result<Option<Vec<u8>>, ReadError> {
        while let Some(line) = self.0.next_line()? {
            if query.finds(&line) {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }
}
