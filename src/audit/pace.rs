//! Keeps a busy log from syncing for every handful of records: each sync costs the same, whatever it holds.

use std::time::{Duration, Instant};

/// Under load, time from the beginning of one sync to that of the next, unless every call under way waits for it.
const BUSY: Duration = Duration::from_micros(1_500);

/// When the last sync began, and how many records it kept.
#[derive(Default)]
pub(super) struct Pace {
    last: Option<(Instant, usize)>,
}

impl Pace {
    /// How much longer to rest, when so many calls are about to come. A batch of one is a quiet log, where nobody is made to
    /// wait, unless more clients are in their handshakes: each of them brings a record soon. After a larger one, what arrives
    /// meanwhile goes into the next one together.
    pub(super) fn rest(&self, coming: u64) -> Option<Duration> {
        let (began, records) = self.last?;
        BUSY.checked_sub(began.elapsed()).filter(|left| (records > 1 || coming > 1) && !left.is_zero())
    }

    /// So many records are worth a sync before the rest is over, when nobody is left who could bring more: three in four of
    /// what the last one kept. Fewer are a beginning, which more will follow.
    pub(super) fn enough(&self) -> usize {
        self.last.map_or(1, |(_, records)| (records * 3 / 4).max(1))
    }

    /// A sync begins.
    pub(super) fn begin(&mut self, records: usize) {
        self.last = Some((Instant::now(), records));
    }
}
