//! Keeps a busy log from syncing for every handful of records: each sync costs the same, whatever it holds.

use std::time::{Duration, Instant};

/// Under load, time from the beginning of one sync to that of the next, unless every call under way waits for it.
const BUSY: Duration = Duration::from_micros(1_500);
/// The same while clients queue for their handshakes: the worker has more to do than it can, and who waits for a record
/// would otherwise wait for the worker.
const CROWDED: Duration = Duration::from_millis(5);
/// So many handshakes at once are a queue.
const CROWD: u64 = 4;

/// When the last sync began, how many records it kept, and how many handshakes had come to their end since the one before.
#[derive(Default)]
pub(super) struct Pace {
    last: Option<(Instant, usize, u64)>,
}

impl Pace {
    /// How much longer to rest, when so many calls are about to come. A batch of one is a quiet log, where nobody is made to
    /// wait, unless more clients are in their handshakes: each of them brings a record soon. After a larger one, what arrives
    /// meanwhile goes into the next one together.
    pub(super) fn rest(&self, coming: u64) -> Option<Duration> {
        let (began, records, arrived) = self.last?;
        // Handshakes that never end are no queue: nobody waits longer on their account.
        let most = if coming >= CROWD && arrived > 1 { CROWDED } else { BUSY };
        most.checked_sub(began.elapsed()).filter(|left| (records > 1 || coming > 1) && !left.is_zero())
    }

    /// So many records are worth a sync before the rest is over, when nobody is left who could bring more: three in four of
    /// what the last one kept. Fewer are a beginning, which more will follow.
    pub(super) fn enough(&self) -> usize {
        self.last.map_or(1, |(_, records, _)| (records * 3 / 4).max(1))
    }

    /// A sync begins.
    pub(super) fn begin(&mut self, records: usize, arrived: u64) {
        self.last = Some((Instant::now(), records, arrived));
    }
}
