//! The thread that looks after the log's folder while the gate writes: it seals finished segments, removes old ones, and puts on
//! record what was forgotten. Nothing waits for it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::lines;
use super::retain::{Due, Retention, bury, clear, removed};
use super::sealed::{seal, unseal};
use super::segment::{is_sealed, list, number};
use super::{Closed, Event, Finished, Kind, Log, Record, forget};
use crate::allocator;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Seals all segments of a log but the last one, as a running gate does in the background; how many.
pub fn seal_all(directory: &Path) -> io::Result<usize> {
    seal_finished(directory, &Finished::default(), &mut BTreeSet::new())
}

/// The reverse, while no gate runs: for who wants to see lines.
pub fn unseal_all(directory: &Path) -> io::Result<()> {
    list(directory)?.iter().filter(|path| is_sealed(path)).try_for_each(|path| unseal(path))
}

/// Looks after a log until it is dropped.
pub struct Caretaker {
    /// Dropped to end it.
    order: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Caretaker {
    /// Begins. `finished`: where the log's sink notes its segments.
    pub fn start(directory: &Path, log: Log, retention: Retention, finished: Finished) -> io::Result<Self> {
        let (order, ordered) = mpsc::channel();
        let directory = directory.to_owned();
        let thread = std::thread::Builder::new()
            .name("audit-care".into())
            .spawn(move || look_after(&directory, &log, retention, &finished, &ordered))?;
        Ok(Self { order: Some(order), thread: Some(thread) })
    }
}

impl Drop for Caretaker {
    fn drop(&mut self) {
        drop(self.order.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn look_after(directory: &Path, log: &Log, retention: Retention, finished: &Finished, ordered: &Receiver<()>) {
    // Lines as they stand in the log alone.
    let _spared = allocator::spare_this_thread();
    let (mut told, mut unfit) = (String::new(), BTreeSet::new());
    while matches!(ordered.recv_timeout(LOOK), Err(RecvTimeoutError::Timeout)) {
        let looked = record_erasure(directory, log)
            .map_err(|error| ("what was forgotten cannot be put on record", error))
            .and_then(|()| {
                let sealed = seal_finished(directory, finished, &mut unfit);
                sealed.map_err(|error| ("segments cannot be sealed", error))
            })
            .and_then(|_| {
                let removed = remove_old(directory, log, retention, SystemTime::now());
                removed.map_err(|error| ("old segments cannot be removed", error))
            });
        match looked {
            Ok(_) => told.clear(),
            Err((what, error)) => {
                // The same trouble each second is told once.
                let now = error.to_string();
                if now != told {
                    tracing::error!(error = now, "{what}");
                    told = now;
                }
            }
        }
    }
}

/// Seals finished segments, the oldest first; how many. One that cannot be sealed stays as it is and is told once.
fn seal_finished(directory: &Path, known: &Finished, unfit: &mut BTreeSet<PathBuf>) -> io::Result<usize> {
    let segments = list(directory)?;
    let mut sealed = 0;
    for path in lines::finished(&segments) {
        if unfit.contains(path) {
            continue;
        }
        match seal(path, known.get(number(path))) {
            Ok(_) => sealed += 1,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::error!(%error, path = %path.display(), "a segment stays as it is: it cannot be sealed");
                unfit.insert(path.clone());
            }
            // A disk that is full has room some time.
            Err(error) => return Err(error),
        }
        known.forget(number(path));
    }
    if sealed > 0 {
        // Megabytes, for some seconds of each hour.
        allocator::give_back();
    }
    Ok(sealed)
}

/// Removes what retention does not keep: on record first, then the tombstone, then the files. The caller writes the log.
pub fn remove_old(directory: &Path, log: &Log, retention: Retention, now: SystemTime) -> io::Result<Option<Due>> {
    let Some(key) = log.key() else { return Ok(None) };
    let before = removed(directory, key.verifier())?.map_err(io::Error::other)?;
    clear(directory, before)?;
    let Some(due) = retention.due(directory, key.verifier(), now)?.filter(|due| due.end > before) else {
        return Ok(None);
    };
    let detail = format!("records {before} to {} are removed by retention: {}", due.end - 1, due.why);
    tracing::info!(detail, "retention");
    let mut record = Record::new(Kind::Gate, Timestamp::now());
    record.event = Some(Event { code: "removed", detail });
    durable(log, &record).map_err(io::Error::other)?;
    bury(directory, key, due.end)?;
    clear(directory, due.end)?;
    Ok(Some(due))
}

/// Puts on record what a command has forgotten. The keys that the gate holds in memory may be among the destroyed ones: they go,
/// too, with the first of these records.
fn record_erasure(directory: &Path, log: &Log) -> io::Result<()> {
    let Some(erasure) = forget::unrecorded(directory)? else { return Ok(()) };
    log.recipients().renew();
    for detail in erasure.told() {
        let mut record = Record::new(Kind::Gate, Timestamp::now());
        record.event = Some(Event { code: "forgotten", detail });
        durable(log, &record).map_err(io::Error::other)?;
    }
    forget::recorded(directory)
}

/// Appends a record and waits for it.
fn durable(log: &Log, record: &Record) -> Result<(), Closed> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut pending = pin!(log.append(record));
    loop {
        match pending.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(receipt) => return receipt.map(drop),
            Poll::Pending => std::thread::park(),
        }
    }
}
