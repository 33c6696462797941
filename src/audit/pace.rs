//! Keeps a busy log from syncing for every handful of records: each sync costs the same, whatever it holds.

use std::time::{Duration, Instant};

/// Under load, time from the beginning of one sync to that of the next.
const BUSY: Duration = Duration::from_millis(1);

/// When the last sync began.
#[derive(Default)]
pub(super) struct Pace {
    last: Option<Instant>,
}

impl Pace {
    /// A batch of one is a quiet log, where nobody is made to wait. After a larger one, syncs begin at most once in
    /// [`BUSY`]; what arrives meanwhile goes into the next one together.
    pub(super) fn rest(&self, batch: usize) {
        if let Some(left) = self.last.and_then(|last| BUSY.checked_sub(last.elapsed())).filter(|_| batch > 1) {
            std::thread::sleep(left);
        }
    }

    /// A sync begins.
    pub(super) fn begin(&mut self) {
        self.last = Some(Instant::now());
    }
}
