//! Keeps a busy log from syncing for every handful of records: each sync costs the same, whatever it holds.

use std::time::{Duration, Instant};

/// Under load, time from the beginning of one sync to that of the next, unless every call under way waits for it.
const BUSY: Duration = Duration::from_micros(1_500);
/// The same at most while most of the calls under way wait and the others' records keep coming: the last few are worth a moment.
const NEARLY_ALL: Duration = Duration::from_micros(2_500);
/// They keep coming while there is one in each such time.
const STEP: Duration = Duration::from_micros(500);
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
    /// How long to rest until the next look, when so many calls are about to come; `nearly_all` of those under way wait already, and
    /// records came since the last look. A batch of one is a quiet log, where nobody is made to wait, unless more clients are in
    /// their handshakes: each of them brings a record soon. After a larger one, what arrives meanwhile goes into the next one together.
    pub(super) fn rest(&self, coming: u64, nearly_all: bool) -> Option<Duration> {
        let (began, records, arrived) = self.last?;
        // Handshakes that never end are no queue: nobody waits longer on their account.
        let most = if coming >= CROWD && arrived > 1 { CROWDED } else { BUSY };
        let rested = began.elapsed();
        let left = match most.checked_sub(rested).filter(|left| !left.is_zero()) {
            None if nearly_all => NEARLY_ALL.checked_sub(rested)?.min(STEP),
            // The last look but one is a step before the end, to know whether records still come.
            left => left.map(|left| left.checked_sub(STEP).filter(|time| !time.is_zero()).unwrap_or(left))?,
        };
        (records > 1 || coming > 1).then_some(left).filter(|left| !left.is_zero())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_waits_longer_for_the_last_few_and_not_at_all_for_nobody() {
        // In the future, so that no time has passed since, and long ago.
        let ago = |time| Instant::now().checked_sub(time).unwrap();
        let (to_come, passed) = (Instant::now() + Duration::from_secs(60), ago(Duration::from_secs(3)));
        let last = |began, records, arrived| Pace { last: Some((began, records, arrived)) };
        assert_eq!(Pace::default().rest(9, true), None);
        assert_eq!(last(to_come, 1, 0).rest(0, true), None);
        assert_eq!(last(to_come, 30, 0).rest(0, false), BUSY.checked_sub(STEP));
        assert_eq!(last(to_come, 30, 2).rest(CROWD, false), CROWDED.checked_sub(STEP));
        assert_eq!(last(passed, 30, 0).rest(0, true), None);
        // Behind the usual time, in steps, while they come.
        let just_over = || last(ago(BUSY), 30, 0);
        assert_eq!(just_over().rest(0, false), None);
        assert!(just_over().rest(0, true).is_none_or(|left| left <= STEP));
    }
}
