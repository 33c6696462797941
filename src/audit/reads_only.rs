//! A log that keeps the records of reads only: how the route hears of it, and how it ends.

use std::sync::atomic::Ordering;

use super::queue::Stop;
use super::writer::{Log, Shared, lock};
use super::{Closed, Record, Trouble};

impl Log {
    /// Whether the record of a call that changes something can be kept.
    pub fn ensure_takes_writes(&self) -> Result<(), Closed> {
        self.ensure_open()?;
        if self.0.shared.takes_writes.load(Ordering::Acquire) { Ok(()) } else { Err(Closed::ReadsOnly) }
    }

    /// Why only the records of reads are kept, while that is so.
    pub fn reads_only(&self) -> Option<Trouble> {
        lock(&self.0.shared.queue).reads_only.clone()
    }
}

impl Shared {
    /// Takes the records of all calls again; this one is in front of them.
    pub(super) fn take_writes(&self, reopened: &Record) {
        let mut queue = lock(&self.queue);
        if queue.stop == Stop::No && queue.push(reopened).is_ok() {
            queue.reads_only = None;
            self.takes_writes.store(true, Ordering::Release);
            tracing::info!("there is room on the audit log's disk again; calls that change something are taken");
        }
    }
}
