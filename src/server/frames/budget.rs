//! What a client may send beside its calls. Frames that do no work cost, calls that are answered earn, time refills.
//!
//! The figures and where they come from: `docs/decisions/http2-guard.md`.

use std::time::{Duration, Instant};

/// Frames that do no work: so many at once …
const CALM: i64 = 1_000;
/// … and so many a second for ever.
const CALM_PER_SECOND: i64 = 50;
/// Streams that are reset by the client, or by us for an error of the client's: so many at once …
const RESETS: i64 = 100;
/// … and so many a second for ever.
const RESETS_PER_SECOND: i64 = 5;
/// A call that was answered pays for the frames around it.
const ANSWERED: i64 = 10;
/// A DATA frame of ours pays for the window updates and pings that it brings about …
const FED: i64 = 4;
/// … a tiny one, which only a tiny window makes, for the update that asked for it.
const FED_TINY: i64 = 1;

/// Something that runs out, and comes back.
struct Bucket {
    left: i64,
    size: i64,
    per_second: i64,
    filled: Option<Instant>,
}

impl Bucket {
    fn new(size: i64, per_second: i64) -> Self {
        Self { left: size, size, per_second, filled: None }
    }

    fn earn(&mut self, what: i64) {
        self.left = (self.left + what).min(self.size);
    }

    /// The clock is asked only when nothing is left.
    fn spend(&mut self, cost: i64, began: Instant, now: impl FnOnce() -> Instant) -> bool {
        self.left -= cost;
        if self.left < 0 {
            let now = now();
            let since = now.saturating_duration_since(self.filled.unwrap_or(began)).min(Duration::from_secs(3600));
            let back = i64::try_from(since.as_millis()).unwrap_or(0) * self.per_second / 1000;
            if back > 0 {
                self.filled = Some(now);
                self.earn(back);
            }
        }
        self.left >= 0
    }
}

/// The two budgets of a connection.
pub struct Budget {
    calm: Bucket,
    resets: Bucket,
    began: Instant,
    /// Calls answered so far.
    pub answered: u64,
}

impl Budget {
    /// Full.
    pub fn new(began: Instant) -> Self {
        Self {
            calm: Bucket::new(CALM, CALM_PER_SECOND),
            resets: Bucket::new(RESETS, RESETS_PER_SECOND),
            began,
            answered: 0,
        }
    }

    /// So many calls were answered to their end.
    pub fn answered(&mut self, calls: u32) {
        self.answered += u64::from(calls);
        self.calm.earn(ANSWERED * i64::from(calls));
        self.resets.earn(calls.into());
    }

    /// So many DATA frames went out, and so many tiny ones.
    pub fn fed(&mut self, frames: u32, tiny: u32) {
        self.calm.earn(FED * i64::from(frames) + FED_TINY * i64::from(tiny));
    }

    /// A frame that does no work. False when there were too many.
    pub fn bother(&mut self, cost: i64, now: impl FnOnce() -> Instant) -> bool {
        self.calm.spend(cost, self.began, now)
    }

    /// A stream that was reset. False when there were too many.
    pub fn reset(&mut self, now: impl FnOnce() -> Instant) -> bool {
        self.resets.spend(1, self.began, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bothers(budget: &mut Budget, now: Instant) -> usize {
        (0..5_000).take_while(|_| budget.bother(1, || now)).count()
    }

    #[test]
    fn a_flood_ends_and_time_gives_some_back() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        assert_eq!(bothers(&mut budget, start), 1_000);
        let later = start + Duration::from_secs(2);
        let again = bothers(&mut budget, later);
        assert!((90..=100).contains(&again), "{again}");
        assert!(bothers(&mut budget, later) == 0);
    }

    #[test]
    fn a_client_that_sends_one_a_second_is_never_cut() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        for second in 0..50_000 {
            assert!(budget.bother(1, || start + Duration::from_secs(second)), "{second}");
        }
    }

    #[test]
    fn answered_calls_pay_for_the_frames_around_them() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        for call in 0..10_000 {
            for _ in 0..10 {
                assert!(budget.bother(1, || start), "{call}");
            }
            assert!(budget.reset(|| start), "{call}");
            budget.answered(1);
        }
    }

    #[test]
    fn a_download_pays_for_its_window_updates_and_pings() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        for frame in 0..10_000 {
            for _ in 0..4 {
                assert!(budget.bother(1, || start), "{frame}");
            }
            budget.fed(1, 0);
        }
    }

    #[test]
    fn nothing_is_saved_up_beyond_a_full_budget() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        (0..10_000).for_each(|_| budget.answered(1));
        assert_eq!(bothers(&mut budget, start), 1_000);
        assert_eq!((0..500).take_while(|_| budget.reset(|| start)).count(), 100);
    }
}
