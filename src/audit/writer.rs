//! The one writer: everything that arrived while the last sync ran goes into the next one.
//!
//! `append` serialises a record once, straight into the batch that is being filled. The writer thread swaps the batch
//! out, numbers and chains its lines, hands them to the sink, and wakes all who wait for them together.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::line::{Chain, push_line};
use super::{Event, Kind, Record, Sink};

/// Records waiting to be written may take this much memory, bytes. Beyond it, calls are refused until the disk is back.
const MAX_QUEUED: usize = 64 * 1024 * 1024;

/// Under load, time from the beginning of one sync to that of the next.
const BUSY: Duration = Duration::from_millis(1);

/// Where a log goes on: what the next record's number is, and the chain value it continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Number of the next record; the first one is 0.
    pub next_seq: u64,
    /// Chain value of the last record; zeros before the first.
    pub chain: [u8; 32],
}

/// The log as the route sees it. Clones share one writer.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    queue: Mutex<Queue>,
    work: Condvar,
    /// How many records are durable; read without the lock.
    durable: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    batch: Batch,
    /// Records ever appended.
    appended: u64,
    wakers: Vec<(u64, Waker)>,
    trouble: Option<Trouble>,
    sealing: bool,
    idle: bool,
}

/// Lines without number and chain, and where each ends.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Why records cannot be kept any more. Final: the gate refuses calls until it is started again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct Trouble {
    /// What went wrong, for the operator.
    pub why: Arc<str>,
}

/// A record could not be kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Closed {
    /// For good.
    #[error("the audit log is closed")]
    Broken(#[source] Trouble),
    /// For now: more waits to be written than the queue holds.
    #[error("the audit log cannot keep up with the calls")]
    Behind,
}

/// Proof that a record is durable. Only this file makes one.
///
/// ```compile_fail
/// let receipt = keygate::audit::Receipt { seq: 0 };
/// ```
///
/// ```compile_fail
/// fn copy(receipt: &keygate::audit::Receipt) -> keygate::audit::Receipt {
///     receipt.clone()
/// }
/// ```
#[derive(Debug)]
pub struct Receipt {
    seq: u64,
}

impl Receipt {
    /// How many records this log had become durable with it.
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// A record on its way to the disk. Awaiting it yields the receipt; dropping it changes nothing, the record is written
/// all the same.
pub struct Pending {
    log: Log,
    state: Result<u64, Closed>,
}

impl Log {
    /// Starts the writer.
    pub fn start(sink: Box<dyn Sink>, resume: Resume) -> io::Result<Self> {
        let log = Self(Arc::new(Inner {
            queue: Mutex::default(),
            work: Condvar::new(),
            durable: AtomicU64::new(0),
            thread: Mutex::new(None),
        }));
        let inner = log.0.clone();
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || write_all(&inner, sink, resume))?;
        *lock(&log.0.thread) = Some(thread);
        Ok(log)
    }

    /// Puts a record into the batch. Never waits.
    pub fn append(&self, record: &Record) -> Pending {
        let mut queue = lock(&self.0.queue);
        let state = queue.push(record);
        let wake = std::mem::take(&mut queue.idle);
        drop(queue);
        if wake {
            self.0.work.notify_one();
        }
        Pending { log: self.clone(), state }
    }

    /// Whether records can be kept.
    pub fn is_open(&self) -> bool {
        self.trouble().is_none()
    }

    /// The same as an error: a call that cannot be put on record need not be looked at.
    pub fn ensure_open(&self) -> Result<(), Closed> {
        self.trouble().map_or(Ok(()), |trouble| Err(Closed::Broken(trouble)))
    }

    /// Why they cannot.
    pub fn trouble(&self) -> Option<Trouble> {
        lock(&self.0.queue).trouble.clone()
    }

    /// Writes what is queued and a last `stopped` record, seals the sink, and ends the writer.
    pub fn seal(&self) -> Result<(), Closed> {
        let mut record = Record::new(Kind::Gate, Timestamp::now());
        record.event = Some(Event { code: "stopped", detail: "in good order".to_owned() });
        let last = self.append(&record);
        lock(&self.0.queue).sealing = true;
        self.0.work.notify_one();
        let thread = lock(&self.0.thread).take();
        if let Some(thread) = thread {
            // A panic in it was reported by the panic hook, and leaves the record below not durable.
            let _ = thread.join();
        }
        last.settled().unwrap_or_else(|| self.ensure_open()).map(drop_receipt)
    }
}

fn drop_receipt<T>(_: T) {}

impl Queue {
    /// The record's position, from 1.
    fn push(&mut self, record: &Record) -> Result<u64, Closed> {
        if let Some(trouble) = &self.trouble {
            return Err(Closed::Broken(trouble.clone()));
        }
        let before = self.batch.bytes.len();
        if before > MAX_QUEUED {
            return Err(Closed::Behind);
        }
        if let Err(error) = serde_json::to_writer(&mut self.batch.bytes, record) {
            // Serialising into memory fails only when a field cannot be written as JSON, which none of ours is.
            self.batch.bytes.truncate(before);
            return Err(Closed::Broken(Trouble { why: format!("a record cannot be written as JSON: {error}").into() }));
        }
        self.batch.ends.push(self.batch.bytes.len());
        self.appended += 1;
        Ok(self.appended)
    }
}

impl Pending {
    /// What became of it, when that is known.
    fn settled(&self) -> Option<Result<(), Closed>> {
        let position = match &self.state {
            Ok(position) => *position,
            Err(closed) => return Some(Err(closed.clone())),
        };
        if self.log.0.durable.load(Ordering::Acquire) >= position {
            return Some(Ok(()));
        }
        self.log.trouble().map(|trouble| Err(Closed::Broken(trouble)))
    }
}

impl Future for Pending {
    type Output = Result<Receipt, Closed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let position = match &self.state {
            Ok(position) => *position,
            Err(closed) => return Poll::Ready(Err(closed.clone())),
        };
        if self.log.0.durable.load(Ordering::Acquire) >= position {
            return Poll::Ready(Ok(Receipt { seq: position }));
        }
        let mut queue = lock(&self.log.0.queue);
        // Looked at again under the lock: the writer publishes under it too.
        if self.log.0.durable.load(Ordering::Acquire) >= position {
            return Poll::Ready(Ok(Receipt { seq: position }));
        }
        if let Some(trouble) = &queue.trouble {
            return Poll::Ready(Err(Closed::Broken(trouble.clone())));
        }
        match queue.wakers.iter_mut().find(|(n, waker)| *n == position && waker.will_wake(cx.waker())) {
            Some(_) => {}
            None => queue.wakers.push((position, cx.waker().clone())),
        }
        Poll::Pending
    }
}

fn write_all(inner: &Inner, mut sink: Box<dyn Sink>, resume: Resume) {
    let mut chain = Chain::new(resume.chain);
    let mut seq = resume.next_seq;
    let (mut taken, mut lines) = (Batch::default(), Vec::new());
    let mut pace = Pace::default();
    while next_batch(inner, &mut taken, &mut pace) {
        lines.clear();
        let mut from = 0;
        for &end in &taken.ends {
            push_line(&mut lines, &taken.bytes[from..end], seq, &mut chain);
            (from, seq) = (end, seq + 1);
        }
        if let Err(error) = sink.append(&lines) {
            return fail(inner, &error);
        }
        publish(inner, taken.ends.len() as u64);
    }
    if let Err(error) = sink.seal() {
        fail(inner, &error);
    }
}

/// Keeps a busy log from syncing for every handful of records: each sync costs the same, whatever it holds.
#[derive(Default)]
struct Pace {
    last: Option<Instant>,
}

impl Pace {
    /// A batch of one is a quiet log, where nobody is made to wait. After a larger one, syncs begin at most once in
    /// [`BUSY`]; what arrives meanwhile goes into the next one together.
    fn rest(&self, batch: usize) {
        if let Some(left) = self.last.and_then(|last| BUSY.checked_sub(last.elapsed())).filter(|_| batch > 1) {
            std::thread::sleep(left);
        }
    }
}

/// Waits for records and swaps them out; false when the log is to be sealed and nothing is left.
fn next_batch(inner: &Inner, taken: &mut Batch, pace: &mut Pace) -> bool {
    pace.rest(taken.ends.len());
    taken.bytes.clear();
    taken.ends.clear();
    let mut queue = lock(&inner.queue);
    while queue.batch.ends.is_empty() {
        if queue.sealing {
            return false;
        }
        queue.idle = true;
        queue = inner.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
    queue.idle = false;
    std::mem::swap(&mut queue.batch, taken);
    pace.last = Some(Instant::now());
    true
}

fn publish(inner: &Inner, count: u64) {
    let mut queue = lock(&inner.queue);
    let durable = inner.durable.fetch_add(count, Ordering::AcqRel) + count;
    let ready: Vec<_> = queue.wakers.extract_if(.., |(position, _)| *position <= durable).collect();
    drop(queue);
    for (_, waker) in ready {
        waker.wake();
    }
}

fn fail(inner: &Inner, error: &io::Error) {
    tracing::error!(%error, "the audit log cannot be written; every call is refused from now on");
    let mut queue = lock(&inner.queue);
    queue.trouble = Some(Trouble { why: error.to_string().into() });
    let waiting = std::mem::take(&mut queue.wakers);
    drop(queue);
    for (_, waker) in waiting {
        waker.wake();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while appending leaves at most a half line, which the next append would extend; `push` cannot panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
