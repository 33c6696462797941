//! The thread that keeps the tree. The writer hands it what it made durable; once a second it signs a checkpoint.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Leaf;
use super::store::Store;
use crate::allocator;
use crate::descriptors::ran_out;

/// From one checkpoint to the next while records come: "at least once a second", and some time to write it.
const EVERY: Duration = Duration::from_millis(800);
/// So many leaves are taken in without waiting for the next checkpoint.
const MANY: usize = 1 << 12;
/// While more than this are to be taken in, the writer waits: the disk takes records faster than their tree.
const TOO_MANY: usize = 1 << 18;

/// The writer's end.
pub(in crate::audit) struct Keeper {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
    /// Told when leaves were taken over, and at the end.
    room: Condvar,
}

#[derive(Default)]
struct State {
    leaves: Vec<Leaf>,
    end: Option<End>,
    /// Nothing wakes the keeper but us.
    idle: bool,
    failed: Option<(io::ErrorKind, String)>,
    /// The thread has ended.
    over: bool,
}

/// However the thread ends, nobody waits for it.
struct Ending<'a>(&'a Inbox);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.room.notify_all();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With a last checkpoint.
    Sealed,
    /// At once.
    LetGo,
}

impl Keeper {
    /// Starts it.
    pub(in crate::audit) fn start(store: Store) -> io::Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let own = inbox.clone();
        let thread = std::thread::Builder::new().name("audit-tree".into()).spawn(move || {
            // Hashes alone.
            let _spared = allocator::spare_this_thread();
            let ending = Ending(&own);
            if let Err(error) = keep(&own, store) {
                own.lock().failed = Some((error.kind(), error.to_string()));
            }
            drop(ending);
        })?;
        Ok(Self { inbox, thread: Some(thread) })
    }

    /// Whether the tree could be kept so far.
    pub(in crate::audit) fn check(&self) -> io::Result<()> {
        self.inbox.lock().check()
    }

    /// Hands durable records over, in their order. Waits only for a tree that is far behind: so do, then, whose records come next.
    pub(in crate::audit) fn take(&self, leaves: &[Leaf]) -> io::Result<()> {
        let behind = |state: &mut State| state.leaves.len() > TOO_MANY && !state.over;
        let state = self.inbox.lock();
        let mut state = self.inbox.room.wait_while(state, behind).unwrap_or_else(PoisonError::into_inner);
        state.check()?;
        state.leaves.extend_from_slice(leaves);
        let wake = std::mem::take(&mut state.idle) || state.leaves.len() >= MANY;
        drop(state);
        if wake {
            self.inbox.wake.notify_one();
        }
        Ok(())
    }

    /// Signs the last checkpoint; returns when it is durable.
    pub(in crate::audit) fn seal(&mut self) -> io::Result<()> {
        self.end(End::Sealed);
        self.inbox.lock().check()
    }

    fn end(&mut self, how: End) {
        self.inbox.lock().end.get_or_insert(how);
        self.inbox.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            self.inbox.lock().failed = Some((io::ErrorKind::Other, "its keeper is gone".to_owned()));
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end(End::LetGo);
    }
}

impl State {
    fn check(&self) -> io::Result<()> {
        match &self.failed {
            // The kind says whether it is room that is missing.
            Some((kind, why)) => Err(io::Error::new(*kind, format!("the log's tree cannot be kept: {why}"))),
            None => Ok(()),
        }
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to do, and takes it. `due`: when the next checkpoint is, when there is one to sign.
    fn next(&self, due: Option<Instant>, earliest: Option<Instant>, taken: &mut Vec<Leaf>) -> Option<End> {
        let mut state = self.lock();
        let mut due = due;
        while state.end.is_none() && state.leaves.len() < MANY {
            if !state.leaves.is_empty() && due.is_none() {
                due = Some(earliest.unwrap_or_else(Instant::now));
            }
            let Some(due) = due else {
                state.idle = true;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.idle = false;
        std::mem::swap(&mut state.leaves, taken);
        self.room.notify_one();
        state.end
    }
}

fn keep(inbox: &Inbox, mut store: Store) -> io::Result<()> {
    let mut taken = Vec::new();
    let mut last: Option<Instant> = None;
    loop {
        let earliest = last.map(|last| last + EVERY);
        let due = store.is_unsigned().then(|| earliest.unwrap_or_else(Instant::now));
        let end = inbox.next(due, earliest, &mut taken);
        if end == Some(End::LetGo) {
            return Ok(());
        }
        taken.drain(..).try_for_each(|leaf| store.push(leaf))?;
        // Some more come while it is woken.
        taken.shrink_to(2 * MANY);
        let now = Instant::now();
        let done = if end.is_some() || store.is_unsigned() && earliest.is_none_or(|earliest| earliest <= now) {
            last = Some(now);
            store.publish(end.is_some())
        } else {
            store.flush()
        };
        match done {
            // The records are safe, and their tree can be written when there are descriptors again.
            Err(error) if ran_out(&error) && end.is_none() => {}
            Err(error) => return Err(error),
            Ok(()) if end.is_some() => return Ok(()),
            Ok(()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_is_far_behind_slows_the_writer_and_closes_nothing() {
        let keeper = Keeper { inbox: Arc::default(), thread: None };
        let leaf = Leaf::of([0; 32]);
        keeper.take(&vec![leaf; TOO_MANY + 1]).unwrap();
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| keeper.take(&[leaf]));
            assert!(keeper.inbox.next(None, None, &mut taken).is_none());
            writer.join().unwrap().unwrap();
        });
        assert_eq!((taken.len(), keeper.inbox.lock().leaves.len()), (TOO_MANY + 1, 1));
        // Whose thread is gone is not waited for.
        keeper.take(&taken).unwrap();
        drop(Ending(&keeper.inbox));
        keeper.take(&[leaf]).unwrap();
    }
}
