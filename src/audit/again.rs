//! A log that cannot be written: it says so on record while it can, tries to open again, and says what was missed.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::resume::Resume;
use super::segment::sync_folder;
use super::writer::Shared;
use super::{Event, Kind, OpenError, Record, Recovered, SegmentFile, Sink};

/// From one try to the next: at first, and at most.
const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(10);

/// Opens the log, which must have as many records at least.
pub type Reopen = Box<dyn FnMut(u64) -> Result<(SegmentFile, Resume, Recovered), OpenError> + Send>;

/// How a log is opened again.
pub struct Again {
    reopen: Option<Reopen>,
    reserve: Option<Reserve>,
}

type Opened = (Box<dyn Sink>, Resume);

impl Again {
    /// Not before the gate is started again.
    pub fn never() -> Self {
        Self { reopen: None, reserve: None }
    }

    /// By this. What lies in reserve lets the log say that it closes.
    pub fn by(reopen: Reopen, reserve: Option<Reserve>) -> Self {
        Self { reopen: Some(reopen), reserve }
    }

    /// Opens a log that could not be written; none when the gate is to stop before. `kept` is the number behind the last
    /// record that is durable.
    pub(super) fn open(&mut self, shared: &Shared, mut kept: u64, error: &io::Error) -> Option<Opened> {
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
    let leaf = resume.pen.line(&mut line, &json, resume.next_seq)?;
    sink.append(&line)?;
    resume.next_seq += 1;
    resume.tree.as_mut().map_or(Ok(()), |tree| tree.push(leaf))?;
    Ok((Box::new(sink), resume))
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
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        let zeros = vec![0; 64 * 1024];
        let mut left = self.size;
        while left > 0 {
            let some = usize::try_from(left).map_or(zeros.len(), |left| left.min(zeros.len()));
            file.write_all(&zeros[..some])?;
            left -= some as u64;
        }
        file.sync_all()?;
        self.path.parent().map_or(Ok(()), sync_folder)
    }

    /// Keeps it again, if there ever was room for it.
    fn keep(&mut self) -> io::Result<()> {
        if self.fitted { self.make() } else { Ok(()) }
    }

    fn let_go(&mut self) {
        // Where it cannot be removed, the log cannot be written either.
        let _ = fs::remove_file(&self.path);
    }
}
