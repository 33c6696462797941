//! A log that cannot be written: it says so on record while it can, tries to open again, and says what was missed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::batch::Draft;
use super::resume::Resume;
use super::segment::sync_folder;
use super::writer::Shared;
use super::{Event, Kind, OpenError, Record, Recovered, SegmentFile, Sink, Trouble};
use crate::config::{LAST_WORDS, OnFailure};

/// From one try to the next: at first, and at most.
const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(10);

/// How often a log that keeps reads only looks whether there is room again.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// Opens the log, which must have as many records at least.
pub type Reopen = Box<dyn FnMut(u64) -> Result<(SegmentFile, Resume, Recovered), OpenError> + Send>;

/// How a log is opened again.
pub struct Again {
    reopen: Option<Reopen>,
    reserve: Option<Reserve>,
    on_failure: OnFailure,
    /// Set while only the records of reads are kept.
    reads_only: Option<ReadsOnly>,
}

/// Only the records of reads are kept: since when, and why.
struct ReadsOnly {
    since: Timestamp,
    why: Trouble,
    looked: Instant,
}

type Opened = (Box<dyn Sink>, Resume);

impl Again {
    /// Not before the gate is started again.
    pub fn never() -> Self {
        Self { reopen: None, reserve: None, on_failure: OnFailure::Stop, reads_only: None }
    }

    /// By this. What lies in reserve lets the log say that it closes, or keep the records of reads until then.
    pub fn by(reopen: Reopen, reserve: Option<Reserve>, on_failure: OnFailure) -> Self {
        Self { reopen: Some(reopen), reserve, on_failure, reads_only: None }
    }

    /// Why only the records of reads are kept, while that is so.
    pub(super) fn reads_only(&self) -> Option<Trouble> {
        self.reads_only.as_ref().map(|it| it.why.clone())
    }

    /// Goes on with the reserve's room when the disk is full; none when that is not wanted, not the trouble, or used up.
    fn open_for_reads(&mut self, kept: u64, error: &io::Error) -> Option<Opened> {
        let (wanted, before) = (self.on_failure == OnFailure::ReadsOnly, self.reads_only.take());
        if !wanted || before.is_some() || !is_full(error) {
            return None;
        }
        let (since, why) = (Timestamp::now(), Trouble { why: error.to_string().into() });
        self.reserve.as_mut()?.shrink().ok()?;
        let told = format!("calls that change something are refused until there is room on the disk again: {why}");
        let opened = begin(self.reopen.as_mut()?, kept, "reads-only", |_| told).ok()?;
        self.reads_only = Some(ReadsOnly { since, why, looked: Instant::now() });
        Some(opened)
    }

    /// Looks once in a while whether there is room again; the record that says so, when there is.
    pub(super) fn has_room(&mut self) -> Option<Record> {
        let reads_only = self.reads_only.as_mut().filter(|it| it.looked.elapsed() >= LOOK)?;
        reads_only.looked = Instant::now();
        let back = self.reserve.as_mut()?.grow();
        if !back.inspect_err(|error| tracing::debug!(%error, "the log's reserve cannot be made again")).ok()? {
            return None;
        }
        let ReadsOnly { since, why, .. } = self.reads_only.take()?;
        let mut record = Record::new(Kind::Gate, Timestamp::now());
        let detail = format!("calls that change something were refused since {since}: {why}; none is missing");
        record.event = Some(Event { code: "reopened", detail });
        Some(record)
    }

    /// Opens a log that could not be written; none when the gate is to stop before. `kept` is the number behind the last
    /// record that is durable.
    pub(super) fn open(&mut self, shared: &Shared, mut kept: u64, error: &io::Error) -> Option<Opened> {
        if let Some(opened) = self.open_for_reads(kept, error) {
            return Some(opened);
        }
        let since = Timestamp::now();
        let reopen = self.reopen.as_mut()?;
        if let Some(reserve) = &mut self.reserve {
            reserve.let_go();
        }
        let closed = format!("no call is served until records can be kept again: {error}");
        if let Ok((_, resume)) = begin(reopen, kept, "closed", |_| closed.clone()) {
            kept = resume.next_seq;
        }
        let mut wait = FIRST;
        while shared.rests(wait) {
            wait = (wait * 2).min(LAST);
            if let Some(Err(error)) = self.reserve.as_mut().map(Reserve::keep) {
                tracing::debug!(%error, "there is no room for the log's reserve yet");
                continue;
            }
            let told = |recovered: &Recovered| reopened(since, error, shared.refused(), recovered);
            match begin(reopen, kept, "reopened", told) {
                Ok(opened) => return Some(opened),
                Err(error) => tracing::debug!(%error, "the audit log cannot be written yet"),
            }
        }
        None
    }
}

/// Opens the log and makes one record durable in it.
fn begin(
    reopen: &mut Reopen,
    kept: u64,
    code: &'static str,
    detail: impl FnOnce(&Recovered) -> String,
) -> io::Result<Opened> {
    let (mut sink, mut resume, recovered) = reopen(kept).map_err(io::Error::other)?;
    let mut record = Record::new(Kind::Gate, Timestamp::now());
    record.event = Some(Event { code, detail: detail(&recovered) });
    let (mut json, mut line) = (Vec::new(), Vec::new());
    record.write(&mut json)?;
    let leaf = resume.pen.line(&mut line, Draft::Json(&json), resume.next_seq)?;
    sink.append(&line)?;
    resume.next_seq += 1;
    resume.tree.as_mut().map_or(Ok(()), |tree| tree.push(leaf))?;
    Ok((Box::new(sink), resume))
}

/// Whether it is room that is missing, and nothing worse.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn reopened(since: Timestamp, error: &io::Error, refused: u64, recovered: &Recovered) -> String {
    let torn = recovered.torn.as_ref().map_or_else(String::new, |torn| {
        format!("; {} bytes that were not whole are kept in {}", torn.bytes, torn.aside.display())
    });
    format!("records could not be kept since {since}: {error}; {refused} of calls that were refused are missing{torn}")
}

/// Room on the disk that is let go of when there is none left, so that the log can say so.
pub struct Reserve {
    path: PathBuf,
    size: u64,
    /// Whether there was room for it once. What never fitted does not keep the log closed.
    fitted: bool,
}

impl Reserve {
    /// In a log's folder, so many bytes. Where there is no room for it, the log is opened all the same.
    pub fn new(directory: &Path, size: u64) -> Self {
        let mut reserve = Self { path: directory.join("reserve"), size, fitted: false };
        if let Err(error) = reserve.make() {
            tracing::warn!(%error, path = %reserve.path.display(), "there is no room for the log's reserve");
        }
        reserve
    }

    fn make(&mut self) -> io::Result<()> {
        if fs::metadata(&self.path).is_ok_and(|there| there.len() == self.size) {
            self.fitted = true;
            return Ok(());
        }
        let written = self.write();
        self.fitted |= written.is_ok();
        written.inspect_err(|_| drop(fs::remove_file(&self.path)))
    }

    fn write(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        fill(&file, 0, self.size)?;
        file.sync_all()?;
        self.path.parent().map_or(Ok(()), sync_folder)
    }

    /// Keeps it again, if there ever was room for it.
    fn keep(&mut self) -> io::Result<()> {
        if self.fitted { self.make() } else { Ok(()) }
    }

    /// Gives its room to records, all but what the last words need.
    fn shrink(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        if file.metadata()?.len() <= LAST_WORDS {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.set_len(LAST_WORDS)?;
        // Some file systems hand the room out only when that is durable.
        file.sync_all()
    }

    /// Takes the room back; false while there is not so much that records have some as well.
    fn grow(&mut self) -> io::Result<bool> {
        let disk = rustix::fs::statvfs(self.path.parent().unwrap_or(Path::new(".")))?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < self.size.saturating_add(LAST_WORDS) {
            return Ok(false);
        }
        let file = OpenOptions::new().write(true).open(&self.path)?;
        let had = file.metadata()?.len();
        let grown = fill(&file, had, self.size).and_then(|()| file.sync_all());
        // What a failure leaves is the room of the last words.
        grown.inspect_err(|_| drop(file.set_len(had)))?;
        Ok(true)
    }

    fn let_go(&mut self) {
        // Where it cannot be removed, the log cannot be written either.
        let _ = fs::remove_file(&self.path);
    }
}

/// Zeros from here to there.
pub(super) fn fill(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; 64 * 1024];
    let mut at = from;
    while at < to {
        let some = usize::try_from(to - at).map_or(zeros.len(), |left| left.min(zeros.len()));
        file.write_all_at(&zeros[..some], at)?;
        at += some as u64;
    }
    Ok(())
}
