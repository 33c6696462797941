//! The thread that makes a segment's index when the segment is finished, so that no search has to.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::index::{self, Index};
use super::text::{Records, Segment};
use super::{keep, list, number};

/// How often finished segments are looked for.
const LOOK: Duration = Duration::from_secs(5);

/// Calls come first: on a busy machine an index is made when there is time.
const NICE: i32 = 10;

/// Makes indexes until it is dropped.
pub struct Indexer {
    /// Ends the wait when it goes.
    stop: Option<Sender<()>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Indexer {
    /// Starts it for a log's folder.
    pub fn start(directory: &Path) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let (over, directory) = (Arc::new(AtomicBool::new(false)), directory.to_owned());
        let go_on = over.clone();
        let run = move || {
            // On Linux this is about the thread. Where it is not granted, the index is made all the same.
            let _ = rustix::process::nice(NICE);
            let mut left = HashSet::new();
            loop {
                if let Err(error) = make_all(&directory, &go_on, &mut left) {
                    tracing::debug!(%error, "indexes of the audit log cannot be made");
                }
                if stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("audit-index".into()).spawn(run)?;
        Ok(Self { stop: Some(stop), over, thread: Some(thread) })
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Makes what is missing. Whether one that is there can be used is for a search to find out. What cannot be made is `left` to
/// it: the gate has no key to records that are encrypted.
fn make_all(directory: &Path, over: &AtomicBool, left: &mut HashSet<PathBuf>) -> io::Result<()> {
    let segments = list(directory)?;
    let finished = segments.split_last().map_or(&[][..], |(_, finished)| finished);
    left.retain(|path| finished.contains(path));
    let mut records = Records::of(directory, None);
    for path in finished {
        let made = [true, false].iter().any(|secret| fs::metadata(index::path(path, *secret)).is_ok());
        if made || left.contains(path) {
            continue;
        }
        let segment = Segment::open(path)?;
        match Index::make(number(path), &segment, &mut records, || !over.load(Ordering::Relaxed)) {
            Ok(Some(index)) if keep(path, &index, None) => {}
            Ok(Some(_)) => drop(left.insert(path.clone())),
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::debug!(%error, path = %path.display(), "its index is left to a search");
                left.insert(path.clone());
            }
        }
    }
    Ok(())
}
