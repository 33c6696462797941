//! The one writer: everything that arrived while the last sync ran goes into the next one.
//!
//! `append` serialises a record once, straight into the batch that is being filled. The writer thread swaps the batch
//! out, numbers and hashes its lines, hands them to the sink, and wakes all who wait for them together.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::again::{Again, LOOK};
use super::batch::Batch;
use super::bell::{Attendance, Bell};
use super::pace::Pace;
use super::queue::{Queue, Stop};
use super::receipt::{Pending, State};
use super::recent::Recent;
use super::resume::Resume;
use super::tree::Leaf;
use super::tree::keeper::Keeper;
use super::tree::note::SigningKey;
use super::{Closed, Receipt, Recipients, Record, Sink, Trouble, receipt_text};
use crate::allocator;

/// A buffer that grew beyond this in a rush is given back, bytes.
const KEPT: usize = 4 * 1024 * 1024;

/// The log as the route sees it. Clones share one writer; when the last of them is dropped without [`Log::seal`], what
/// is queued is still written, and the log is let go.
#[derive(Clone)]
pub struct Log(pub(super) Arc<Handle>);

/// What clones of the log share, and the writer does not: its end is the end of the log.
pub(super) struct Handle {
    pub(super) shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

pub(super) struct Shared {
    pub(super) queue: Mutex<Queue>,
    work: Condvar,
    /// How many records are durable; read without the lock.
    pub(super) durable: AtomicU64,
    /// Calls that are about to come.
    coming: AtomicU64,
    /// Handshakes that came to their end since the last sync.
    arrived: AtomicU64,
    /// The highest position whose record is lost, or 0; read without the lock, before `durable` says anything of it.
    pub(super) lost: AtomicU64,
    pub(super) recent: Recent,
    /// Signs receipts; none where there is no tree.
    key: Option<Arc<SigningKey>>,
    /// Who may read the records.
    recipients: Arc<Recipients>,
    /// Whether records are taken; read without the lock, and true only while `Queue::end` is none and `stop` is no.
    pub(super) open: AtomicBool,
    /// Whether those of calls that change something are; read without the lock, and false while `Queue::reads_only` is set.
    pub(super) takes_writes: AtomicBool,
}

/// A call that is about to come.
pub struct Coming(Arc<Shared>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.coming.fetch_sub(1, Ordering::Relaxed);
        self.0.arrived.fetch_add(1, Ordering::Relaxed);
    }
}

impl Log {
    /// Starts the writer.
    pub fn start(sink: Box<dyn Sink>, resume: Resume) -> io::Result<Self> {
        Self::start_again(sink, resume, Again::never())
    }

    /// The same for a log that can be opened again when it could not be written for a while.
    pub fn start_again(sink: Box<dyn Sink>, resume: Resume, again: Again) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            durable: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            recent: Recent::default(),
            key: resume.tree.as_ref().map(|tree| tree.key().clone()),
            recipients: resume.pen.recipients().clone(),
            coming: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            open: AtomicBool::new(true),
            takes_writes: AtomicBool::new(true),
        });
        let writer = shared.clone();
        let thread =
            std::thread::Builder::new().name("audit".into()).spawn(move || write(&writer, sink, resume, again))?;
        Ok(Self(Arc::new(Handle { shared, thread: Mutex::new(Some(thread)) })))
    }

    /// Puts a record into the batch. Never waits.
    pub fn append(&self, record: &Record) -> Pending {
        self.append_among(record, u64::MAX)
    }

    /// The same for one of `under_way` calls: once all of them wait for their records, the writer need not wait for more.
    pub fn append_among(&self, record: &Record, under_way: u64) -> Pending {
        let shared = &self.0.shared;
        let under_way = under_way.saturating_add(shared.coming.load(Ordering::Relaxed));
        let mut queue = lock(&shared.queue);
        let state = match queue.take(record, under_way) {
            Ok(position) => State::Waiting(shared.clone(), position, None),
            Err(closed) => State::Refused(closed),
        };
        shared.wake_writer(queue);
        Pending::new(state)
    }

    /// A call is about to come: its client is in its handshake. While several are, the writer lets their records come
    /// together. Ends when what it returns is dropped.
    pub fn expect(&self) -> Coming {
        self.0.shared.coming.fetch_add(1, Ordering::Relaxed);
        Coming(self.0.shared.clone())
    }

    /// Lets the tasks of this thread wait for their receipts together: one wake-up from the writer for all that a batch
    /// settles. Runs until it is dropped; without it each task is woken on its own.
    pub async fn attend(self) {
        let shared = self.0.shared.clone();
        // The last handle must still end the writer, so the task keeps none.
        drop(self);
        let bell = Bell::default();
        let attendance = Attendance::begin(shared.number());
        lock(&shared.queue).bells.push(bell.clone());
        loop {
            bell.notified().await;
            let ended = lock(&shared.queue).end.is_some();
            attendance.wake(if ended { u64::MAX } else { shared.durable.load(Ordering::Acquire) });
        }
    }

    /// A receipt as its client gets it. `signed` costs a signature. None where there is no tree, or when the receipt was
    /// fetched so late that its leaf is not at hand any more.
    pub fn receipt_text(&self, receipt: &Receipt, signed: bool) -> Option<String> {
        let key = self.0.shared.key.as_ref()?;
        receipt.known().map(|(index, leaf)| receipt_text::write(key, *index, leaf, signed))
    }

    /// What signs for it; none where there is no tree.
    pub(super) fn key(&self) -> Option<&Arc<SigningKey>> {
        self.0.shared.key.as_ref()
    }

    /// Who may read its records. Others can take their place while it is written.
    pub fn recipients(&self) -> &Recipients {
        &self.0.shared.recipients
    }

    /// Whether records can be kept.
    pub fn is_open(&self) -> bool {
        self.0.shared.open.load(Ordering::Acquire)
    }

    /// The same as an error: a call that cannot be put on record need not be looked at.
    pub fn ensure_open(&self) -> Result<(), Closed> {
        if self.is_open() {
            return Ok(());
        }
        Err(lock(&self.0.shared.queue).end.clone().unwrap_or(Closed::Sealed))
    }

    /// Why they cannot; a log that was sealed is in no trouble.
    pub fn trouble(&self) -> Option<Trouble> {
        match &lock(&self.0.shared.queue).end {
            Some(Closed::Broken(trouble)) => Some(trouble.clone()),
            _ => None,
        }
    }

    /// Writes what is queued and a last `stopped` record, seals the sink, and ends the writer. Blocks until that is done.
    /// Nothing is taken any more from the moment it is called; to seal a sealed log is no error.
    pub fn seal(&self) -> Result<(), Closed> {
        self.0.stop(Stop::Seal);
        self.trouble().map_or(Ok(()), |trouble| Err(Closed::Broken(trouble)))
    }
}

impl Handle {
    fn stop(&self, how: Stop) {
        let mut queue = lock(&self.shared.queue);
        if queue.stop == Stop::No {
            // Under one lock: no record can come between the last one and the end.
            if how == Stop::Seal && queue.end.is_none() {
                queue.push_stopped();
            }
            queue.stop = how;
            self.shared.open.store(false, Ordering::Release);
        }
        self.shared.wake_writer(queue);
        // Held while joining, so that a second caller waits for the end as well.
        let mut thread = lock(&self.thread);
        // A task that the writer woke may drop the last handle on the writer's own thread.
        let own = thread.as_ref().is_some_and(|writer| writer.thread().id() == std::thread::current().id());
        if let Some(writer) = thread.take().filter(|_| !own) {
            // When it panicked, it has left that as trouble.
            let _ = writer.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop(Stop::LetGo);
    }
}

impl Shared {
    /// Tells this log from others of the process.
    pub(super) fn number(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Waits, while the log is closed; false when it is to stop.
    pub(super) fn rests(&self, time: Duration) -> bool {
        let going = |queue: &mut Queue| queue.stop == Stop::No;
        let queue = lock(&self.queue);
        let waited = self.work.wait_timeout_while(queue, time, going).unwrap_or_else(PoisonError::into_inner);
        waited.0.stop == Stop::No
    }

    /// How many records were not taken since the log closed.
    pub(super) fn refused(&self) -> u64 {
        lock(&self.queue).refused
    }

    /// Takes records again, perhaps of reads only. Whoever waited for one before was told that it is lost.
    fn open_again(&self, reads_only: Option<Trouble>) {
        let mut queue = lock(&self.queue);
        if queue.stop == Stop::No {
            self.takes_writes.store(reads_only.is_none(), Ordering::Release);
            queue.reads_only = reads_only;
            (queue.end, queue.refused) = (None, 0);
            self.recent.skip_to(queue.appended);
            self.durable.store(queue.appended, Ordering::Release);
            self.open.store(true, Ordering::Release);
        }
    }

    fn wake_writer(&self, mut queue: MutexGuard<'_, Queue>) {
        let wanted = std::mem::take(&mut queue.idle) || queue.is_stopped_while_resting();
        drop(queue);
        if wanted {
            self.work.notify_one();
        }
    }
}

/// The writer. Whatever ends it, nobody waits in vain.
fn write(shared: &Shared, mut sink: Box<dyn Sink>, mut resume: Resume, mut again: Again) {
    struct Ending<'a>(&'a Shared, Closed);
    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            end(self.0, &self.1);
        }
    }
    // No key of a vault comes here, and the log's own keys are wiped where they are used.
    let _spared = allocator::spare_this_thread();
    let gone = Trouble { why: "its writer is gone".into() };
    let mut ending = Ending(shared, Closed::Broken(gone));
    loop {
        let mut kept = resume.next_seq;
        let error = match write_all(shared, sink, resume, &mut kept, &mut again) {
            Ok(()) => {
                ending.1 = Closed::Sealed;
                return;
            }
            Err(error) => error,
        };
        tracing::error!(%error, "the audit log cannot be written");
        ending.1 = Closed::Broken(Trouble { why: error.to_string().into() });
        end(shared, &ending.1);
        let Some(opened) = again.open(shared, kept, &error) else { return };
        (sink, resume) = opened;
        let reads_only = again.reads_only();
        if reads_only.is_some() {
            tracing::error!("only reads are served: their records are kept in what lay in reserve");
        } else {
            tracing::info!("the audit log can be written again");
        }
        shared.open_again(reads_only);
    }
}

/// Writes until it is told to stop, or cannot. `kept` is the number behind the last record that is durable.
fn write_all(
    shared: &Shared,
    mut sink: Box<dyn Sink>,
    resume: Resume,
    kept: &mut u64,
    again: &mut Again,
) -> io::Result<()> {
    let Resume { next_seq: mut seq, mut pen, tree } = resume;
    let mut keeper = tree.map(Keeper::start).transpose()?;
    let (mut taken, mut lines, mut leaves) = (Batch::default(), Vec::new(), Vec::<Leaf>::new());
    let mut pace = Pace::default();
    loop {
        let look = again.reads_only().map(|_| LOOK);
        match next_batch(shared, &mut taken, &pace, look, pen.boxes()) {
            Stop::No => {}
            Stop::Seal => {
                sink.seal()?;
                return keeper.as_mut().map_or(Ok(()), Keeper::seal);
            }
            Stop::LetGo => return Ok(()),
        }
        if let Some(reopened) = again.has_room() {
            shared.take_writes(&reopened);
        }
        if taken.is_empty() {
            continue;
        }
        pace.begin(taken.len(), shared.arrived.swap(0, Ordering::Relaxed));
        for draft in taken.drafts() {
            leaves.push(pen.line(&mut lines, draft, seq)?);
            seq += 1;
        }
        keeper.as_ref().map_or(Ok(()), Keeper::check)?;
        sink.append(&lines)?;
        shared.recent.remember(*kept, &leaves);
        *kept = seq;
        publish(shared, taken.len() as u64);
        keeper.as_ref().map_or(Ok(()), |keeper| keeper.take(&leaves))?;
        lines.clear();
        leaves.clear();
        lines.shrink_to(KEPT);
        leaves.shrink_to(KEPT / size_of::<Leaf>());
    }
}

/// Waits for records, or at most so long, and swaps them out. Says how to stop when that was asked for and nothing is left.
fn next_batch(shared: &Shared, taken: &mut Batch, pace: &Pace, most: Option<Duration>, packs: bool) -> Stop {
    taken.clear(KEPT);
    let mut queue = lock(&shared.queue);
    queue.packs = packs;
    queue.rest(pace.enough());
    while let Some(left) = pace.rest(shared.coming.load(Ordering::Relaxed)).filter(|_| queue.resting.is_some()) {
        queue = shared.work.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    (queue.resting, queue.idle) = (None, false);
    while queue.batch.is_empty() {
        if queue.stop != Stop::No {
            return queue.stop;
        }
        queue.idle = true;
        let Some(most) = most else {
            queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let (woken, waited) = shared.work.wait_timeout(queue, most).unwrap_or_else(PoisonError::into_inner);
        queue = woken;
        if waited.timed_out() && queue.stop == Stop::No {
            break;
        }
    }
    queue.idle = false;
    std::mem::swap(&mut queue.batch, taken);
    Stop::No
}

fn publish(shared: &Shared, count: u64) {
    let mut queue = lock(&shared.queue);
    let durable = shared.durable.fetch_add(count, Ordering::AcqRel) + count;
    let ready: Vec<_> = queue.wakers.extract_if(.., |(position, _)| *position <= durable).collect();
    queue.bells.iter().for_each(|bell| bell.notify_one());
    drop(queue);
    for (_, waker) in ready {
        waker.wake();
    }
}

fn end(shared: &Shared, how: &Closed) {
    let mut queue = lock(&shared.queue);
    shared.open.store(false, Ordering::Release);
    if let Some(lost) = queue.close(shared.durable.load(Ordering::Acquire), how) {
        shared.lost.store(lost, Ordering::Release);
    }
    let waiting = std::mem::take(&mut queue.wakers);
    queue.bells.iter().for_each(|bell| bell.notify_one());
    drop(queue);
    for (_, waker) in waiting {
        waker.wake();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while appending leaves at most a half line, which the next append would extend; `push` cannot panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
