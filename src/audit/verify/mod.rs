//! Checks a whole log: every record is as it was written and in its place in the tree, every checkpoint is signed and is one
//! of this tree, and nothing is missing that a checkpoint was signed for.

mod chunk;
mod glance;
mod known;
mod walk;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use serde::Serialize;

use super::retain;
use super::salt::SaltFiles;
use super::segment::{is_held, list, number};
use chunk::{Eyes, Piece, Read, pieces};
use known::Claims;
use walk::Walk;

pub(super) use glance::{Glance, glance};
pub use known::Known;

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The segment, tile or checkpoint.
    pub file: PathBuf,
    /// Line in it, from 1.
    pub line: u64,
    /// The number of the first record that is in doubt; none when it is a checkpoint that is.
    pub seq: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// Records that are not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What shows it.
    pub file: PathBuf,
    /// The numbers of the first and the last one.
    pub seqs: (u64, u64),
}

/// What a log says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own that an auditor asks")]
pub struct Report {
    /// Whether every record is as it was written and in its place, and every checkpoint is one of this tree.
    pub intact: bool,
    /// Whether it is intact and nothing is missing that a checkpoint was signed for.
    pub complete: bool,
    /// The first finding, when it is not intact.
    pub first_bad: Option<Finding>,
    /// What is missing.
    pub missing: Vec<Missing>,
    /// Whole records, in their place.
    pub records: u64,
    /// Records from 0 on that retention has removed. Their entries are in the tree, and the tombstone is signed.
    pub removed: u64,
    /// Records behind the newest checkpoint: nobody has signed for them.
    pub unsigned: u64,
    /// Whether a gate is writing to it: then the newest records are not signed for yet.
    pub running: bool,
    /// Segments.
    pub segments: u64,
    /// Checkpoints that the log was held to.
    pub checkpoints: u64,
    /// Receipts that the log was held to.
    pub receipts: u64,
    /// The root of the tree over the records, Base64.
    pub root: String,
    /// Whether the last record says that the gate stopped in good order. If not, it runs, or it crashed.
    pub sealed: bool,
    /// Bytes behind the last record: a batch that was being written when the gate ended. Not acknowledged to anybody.
    pub torn_bytes: u64,
    /// Times at which the clock stepped back: number of the record, and by how many milliseconds.
    pub clock_steps: Vec<(u64, i64)>,
    /// Encrypted records that were checked and could not be read: nobody said what opens them. The clock was not looked at
    /// in them.
    pub shut: u64,
    /// Records whose key is gone: nobody can read them any more. Told where an identity says so.
    pub forgotten: u64,
    /// Ids of calls whose intent is on record and whose outcome is not.
    pub unknown: Vec<String>,
}

/// Reads a whole log, streaming, with all cores. `progress` hears how many bytes were read.
pub fn verify(directory: &Path, known: &Known, mut progress: impl FnMut(u64)) -> io::Result<Report> {
    for _ in 0..AGAIN {
        match walk(directory, known, &mut progress) {
            // A segment was sealed before it was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_held(directory)? => {}
            done => return done,
        }
    }
    walk(directory, known, &mut progress)
}

/// A running gate seals segments, one a second at most.
const AGAIN: usize = 5;

fn walk(directory: &Path, known: &Known, progress: &mut impl FnMut(u64)) -> io::Result<Report> {
    let running = is_held(directory)?;
    // Before the records: whatever it was signed for is there by now.
    let claims = match Claims::gather(directory, known)? {
        Ok(claims) => claims,
        Err(bad) => return Ok(Report { first_bad: Some(bad), running, ..Report::default() }),
    };
    // Whoever has no key was told so by now.
    let removed = known.key.as_ref().map_or(Ok(Ok(0)), |key| retain::removed(directory, key))?;
    let removed = match removed {
        Ok(removed) => removed,
        Err(what) => {
            let first_bad = Some(known::finding(&directory.join(retain::REMOVED), 1, what));
            return Ok(Report { first_bad, running, ..Report::default() });
        }
    };
    let mut segments = list(directory)?;
    segments.retain(|path| number(path) >= removed);
    let salts = SaltFiles::find(directory, known.identity.as_ref())?;
    let mut walk = Walk::new(directory, claims, running);
    walk.report.segments = segments.len() as u64;
    if !walk.removed(removed)? {
        return Ok(walk.finish());
    }
    let pieces = pieces(&segments)?;
    in_order(&pieces, &salts, |piece, read| {
        progress(read.length);
        walk.piece(piece, &read)
    })?;
    Ok(walk.finish())
}

/// The same for a segment that lies in memory, with the text of its key file: records and their order, no checkpoints.
pub fn verify_bytes(segment: &[u8], keys: &str) -> Report {
    let salts = SaltFiles::in_memory(keys);
    let read = chunk::lines(segment, &mut Eyes::new(&salts));
    let mut walk = Walk::new(Path::new("memory"), Claims::default(), false);
    walk.report.segments = 1;
    // There is nothing to read, so nothing fails.
    let _ = walk.piece(&Piece::whole("segment-00000000000000000000.jsonl"), &read);
    walk.finish()
}

/// Reads pieces on several threads and hands them on in their order. Ends early when `see` says no.
fn in_order(
    pieces: &[Piece],
    salts: &SaltFiles,
    mut see: impl FnMut(&Piece, Read) -> io::Result<bool>,
) -> io::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(pieces.len());
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let shelf = Shelf { state: Mutex::default(), moved: Condvar::new(), ahead: 2 * threads };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let (mut eyes, mut bytes) = (Eyes::new(salts), Vec::new());
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(piece) = pieces.get(n) else { return };
                    shelf.wait_for_room(n, &over);
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    shelf.put(n, piece.read(&mut eyes, &mut bytes));
                }
            });
        }
        let done = pieces.iter().enumerate().try_for_each(|(n, piece)| match see(piece, shelf.take(n)?) {
            Ok(true) => Ok(()),
            Ok(false) => Err(None),
            Err(error) => Err(Some(error)),
        });
        over.store(true, Ordering::Relaxed);
        shelf.moved.notify_all();
        match done {
            Err(Some(error)) => Err(error),
            _ => Ok(()),
        }
    })
}

/// Where pieces wait for their turn.
struct Shelf {
    state: Mutex<(usize, BTreeMap<usize, io::Result<Read>>)>,
    moved: Condvar,
    /// How many may wait.
    ahead: usize,
}

impl Shelf {
    fn wait_for_room(&self, n: usize, over: &AtomicBool) {
        let full = |state: &mut (usize, _)| n >= state.0 + self.ahead && !over.load(Ordering::Relaxed);
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.moved.wait_while(state, full).unwrap_or_else(PoisonError::into_inner));
    }

    fn put(&self, n: usize, read: io::Result<Read>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1.insert(n, read);
        self.moved.notify_all();
    }

    fn take(&self, n: usize) -> Result<Read, Option<io::Error>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state =
            self.moved.wait_while(state, |state| !state.1.contains_key(&n)).unwrap_or_else(PoisonError::into_inner);
        state.0 = n + 1;
        let read = state.1.remove(&n);
        drop(state);
        self.moved.notify_all();
        read.map_or(Err(None), |read| read.map_err(Some))
    }
}
