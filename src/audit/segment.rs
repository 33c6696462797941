//! Segments on disk: `segment-00000000000000000000.jsonl`, named by the number of their first record.
//!
//! A line is durable when `fdatasync` on its file has returned *and* the file is still the one that its name leads to:
//! writing to an unlinked or replaced file succeeds and keeps nothing. Where a file appears, its folder is synced too,
//! because the name is data of the folder (`fsync(2)`).
//!
//! A segment is laid out ahead with zeros: to sync a file that grows, the file system writes its journal each time, which
//! took twice the processor time and twice as long. Zeros behind the last line are room, not records; they are cut off
//! when the segment is closed, or at the next start.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Sink;
use super::again::fill;
use super::facts::{Facts, Id};
use super::finished::{Finished, Seeing};
use super::line::Line;
use super::spare::Spare;
use super::tree::note::SigningKey;
use super::tree::store::Store;
use crate::config::Durability;

/// Ends and begins of segment names.
const PREFIX: &str = "segment-";
const SUFFIX: &str = ".jsonl";
/// What a sealed one's name ends with, behind the point.
pub(super) const SEALED: &str = "sealed";
/// Held open and locked by the one gate that writes here. It is made with the log, so it also tells a log's folder from
/// an empty one, which is what a disk that is not mounted looks like.
const LOCK: &str = "lock";

/// How far ahead a segment is laid out, bytes.
const AHEAD: u64 = 1024 * 1024;

/// How records are kept on the disk.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    /// A segment is closed and a new one begun at this size, bytes.
    pub segment_size: u64,
    /// When a record counts as kept.
    pub durability: Durability,
}

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No such folder.
    #[error("there is no audit directory `{0}`")]
    Missing(PathBuf),
    /// A folder, but no log was ever made in it.
    #[error("`{0}` is not the folder of an audit log")]
    NotALog(PathBuf),
    /// Another gate writes here.
    #[error("another gate is writing to `{0}`")]
    InUse(PathBuf),
    /// Something on the way failed.
    #[error("cannot open the audit log at `{path}`")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What a checkpoint was signed for is not as it was: that is no torn tail.
    #[error("the audit log is damaged in `{path}`, line {line}: {what}")]
    Damaged {
        /// The segment, or the checkpoint.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Records are missing that were durable: a checkpoint was signed for them, or the gate kept them in this run.
    #[error(
        "the audit log was cut: {signed} records were durable, as its checkpoint or the gate itself knows, and {found} are there"
    )]
    Cut {
        /// How many were durable.
        signed: u64,
        /// How many there are.
        found: u64,
    },
}

impl OpenError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing(_) => {
                "`keygate init` makes it; `run` never does, so that a mistyped path cannot begin a new history"
            }
            Self::NotALog(_) => {
                "is its disk mounted? `keygate init` makes a log in a new folder; `run` begins none, so that no history is lost unnoticed"
            }
            Self::InUse(_) => "each gate needs an audit directory of its own; stop the other one first",
            Self::Io { .. } => "the user that runs the gate must be able to read and write there",
            Self::Damaged { .. } | Self::Cut { .. } => {
                "`keygate audit verify` shows all findings; keep the directory as evidence and begin a new one with `[audit] directory`"
            }
        }
    }
}

/// An audit directory.
pub struct Directory;

impl Directory {
    /// Makes one, 0700. It must not exist. The first checkpoint says that the log has no record yet, so that an empty folder
    /// is never taken for a new log.
    pub fn init(path: &Path, key: SigningKey) -> io::Result<()> {
        std::fs::DirBuilder::new().mode(0o700).create(path)?;
        Store::init(path, Arc::new(key))?;
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path.join(LOCK))?.sync_all()?;
        sync_folder(path)?;
        path.parent().filter(|p| !p.as_os_str().is_empty()).map_or(Ok(()), sync_folder)
    }

    /// Takes the lock of one that exists. Whoever holds it is the only one to write.
    pub fn lock(path: &Path) -> Result<File, OpenError> {
        let failed = |source| OpenError::Io { path: path.to_owned(), source };
        match std::fs::metadata(path) {
            Ok(facts) if facts.is_dir() => {}
            Ok(_) => return Err(failed(io::ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(OpenError::Missing(path.to_owned())),
            Err(error) => return Err(failed(error)),
        }
        let lock = OpenOptions::new().write(true).open(path.join(LOCK)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OpenError::NotALog(path.to_owned()),
            _ => failed(error),
        })?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
            Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

/// Whether a gate writes to a log at this moment.
pub(super) fn is_held(directory: &Path) -> io::Result<bool> {
    match File::open(directory.join(LOCK)) {
        // A copy need not have it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(lock) => match lock.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(std::fs::TryLockError::WouldBlock) => Ok(true),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        },
    }
}

/// Whether a segment is a sealed one.
pub(super) fn is_sealed(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == SEALED)
}

/// The segments of a directory, in order. Where there are a sealed one and the one that it was made of, that one counts.
pub fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if name.to_str().is_some_and(|n| first_seq(n).is_some()) {
            found.push(directory.join(name));
        }
    }
    // Names are padded with zeros, so their order is that of the numbers; `jsonl` comes before `sealed`.
    found.sort();
    found.dedup_by_key(|path| number(path));
    Ok(found)
}

/// The number of a segment's first record.
pub(super) fn number(path: &Path) -> u64 {
    path.file_name().and_then(|name| first_seq(name.to_str()?)).unwrap_or(0)
}

pub(super) fn first_seq(name: &str) -> Option<u64> {
    let name = name.strip_prefix(PREFIX)?;
    let digits = name.strip_suffix(SUFFIX).or_else(|| name.strip_suffix(SEALED)?.strip_suffix('.'))?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// The sink that writes segments.
pub struct SegmentFile {
    directory: PathBuf,
    /// Held for as long as this lives; where it lies is where the log is.
    lock: File,
    spare: Spare,
    disk: Disk,
    current: Option<Segment>,
    finished: Finished,
}

struct Segment {
    /// The number of its first record.
    first: u64,
    path: PathBuf,
    file: File,
    id: Id,
    /// Bytes of records that are durable.
    length: u64,
    /// Bytes of the file: records, then zeros.
    laid_out: u64,
    /// The records' bytes.
    seeing: Seeing,
}

impl SegmentFile {
    /// A sink that begins a new segment with the first record. `lock` is the directory's; `finished` is where it notes the segments
    /// that it has finished.
    pub fn new(directory: &Path, lock: File, disk: Disk, finished: Finished) -> Self {
        Self { directory: directory.to_owned(), lock, spare: Spare::new(directory), disk, current: None, finished }
    }

    /// Where it notes the segments that it has finished.
    pub fn finished(&self) -> Finished {
        self.finished.clone()
    }

    fn segment_for(&mut self, lines: &[u8]) -> io::Result<&mut Segment> {
        let full = self.current.as_ref().is_some_and(|s| s.length + lines.len() as u64 > self.disk.segment_size);
        if let Some(segment) = self.current.take_if(|_| full) {
            segment.close(&self.finished)?;
        }
        if self.current.is_none() {
            // A new segment in a folder put in the place of ours would go on where nobody finds the rest.
            still_named(Facts::of(&self.lock)?.id, &self.directory.join(LOCK))?;
            let segment = self.spare.with(|directory| Segment::create(directory, lines))?;
            self.spare.with(sync_folder)?;
            self.current = Some(segment);
        }
        self.current.as_mut().ok_or_else(|| io::Error::other("no segment is open"))
    }
}

impl Segment {
    fn create(directory: &Path, lines: &[u8]) -> io::Result<Self> {
        let first = lines.split(|b| *b == b'\n').next().and_then(Line::parse);
        let first = first.ok_or_else(|| io::Error::other("a record without a number"))?.seq;
        let path = directory.join(format!("{PREFIX}{first:020}{SUFFIX}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let id = Facts::of(&file)?.id;
        Ok(Self { first, path, file, id, length: 0, laid_out: 0, seeing: Seeing::default() })
    }

    fn append(&mut self, lines: &[u8], disk: Disk) -> io::Result<()> {
        // Until here nothing of ours is in doubt, so what somebody else did stays as it is, as evidence.
        self.untouched(&Facts::of(&self.file)?)?;
        let length = self.length + lines.len() as u64;
        self.lay_out(length, disk.segment_size);
        let sync = || if disk.durability == Durability::Sync { self.file.sync_data() } else { Ok(()) };
        let written = self.file.write_all_at(lines, self.length).and_then(|()| sync());
        self.laid_out = self.laid_out.max(length);
        // Checked once more before anybody hears of it: a file that lost its name keeps nothing.
        let kept = written.and_then(|()| self.untouched(&still_named(self.id, &self.path)?));
        kept.inspect_err(|_| self.take_back())?;
        self.length = length;
        self.seeing.see(lines);
        Ok(())
    }

    /// Makes room ahead of the records. Where there is none, as on a disk that is nearly full, the file grows as it is
    /// written: slower, and no record is given up for it.
    fn lay_out(&mut self, length: u64, segment_size: u64) {
        let wanted = (length + AHEAD).min(segment_size);
        if length <= self.laid_out || wanted <= length {
            return;
        }
        match fill(&self.file, self.laid_out, wanted) {
            Ok(()) => self.laid_out = wanted,
            Err(error) => {
                tracing::debug!(%error, path = %self.path.display(), "cannot lay out a segment ahead");
                // Part of it may have been written.
                if let Err(error) = self.file.set_len(self.laid_out) {
                    tracing::error!(%error, path = %self.path.display(), "cannot cut a segment to its records");
                }
            }
        }
    }

    /// Whether the open file is writable and as long as we made it.
    fn untouched(&self, open: &Facts) -> io::Result<()> {
        let wrong = |what: &str| io::Error::other(format!("`{}` was {what} under the gate", self.path.display()));
        // What is open may be written whatever its mode says; but who took the right away meant it.
        if open.mode & 0o200 == 0 {
            return Err(wrong("made read-only"));
        }
        if open.length == self.laid_out { Ok(()) } else { Err(wrong("written to or cut")) }
    }

    /// Cuts the room off. The file then holds records and nothing else.
    fn close(self, finished: &Finished) -> io::Result<()> {
        if self.laid_out > self.length {
            self.file.set_len(self.length)?;
        }
        self.file.sync_all()?;
        finished.note(self.first, self.seeing.end());
        Ok(())
    }

    /// Takes back what was written and not synced, so that nothing unacknowledged is found later.
    fn take_back(&mut self) {
        let cut = || -> io::Result<()> {
            // A file that somebody cut shorter must not grow zeros.
            if self.file.metadata()?.len() > self.length {
                self.file.set_len(self.length)?;
            }
            self.file.sync_data()
        };
        let truncated = cut();
        self.laid_out = self.length;
        if let Err(error) = truncated {
            tracing::error!(%error, path = %self.path.display(), "cannot take back a half-written batch");
        }
    }
}

impl Sink for SegmentFile {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let disk = self.disk;
        self.segment_for(lines)?.append(lines, disk)
    }

    fn seal(&mut self) -> io::Result<()> {
        if let Some(segment) = self.current.take() {
            segment.close(&self.finished)?;
        }
        self.spare.with(sync_folder)
    }
}

/// What a name leads to, if that is still the open file.
fn still_named(open: Id, path: &Path) -> io::Result<Facts> {
    let gone = |what: &str| io::Error::other(format!("`{}` was {what} under the gate", path.display()));
    let named = Facts::named(path).map_err(|_| gone("removed or renamed"))?;
    if named.id == open { Ok(named) } else { Err(gone("replaced")) }
}

/// Makes the names in a folder durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
