//! How long a sink waits before it tries again: twice as long each time, and never as long as another one that failed at
//! the same moment.

use std::time::Duration;

use aws_lc_rs::rand;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// Counts failures in a row.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait after one more failure: from half to all of what is due.
    pub(super) fn next(&mut self) -> Duration {
        let due = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let mut random = [0; 2];
        // Without random bytes it waits as long as is due.
        let part = rand::fill(&mut random).map_or(u16::MAX, |()| u16::from_le_bytes(random));
        due / 2 + (due / 2).mul_f64(f64::from(part) / f64::from(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_longer_each_time_up_to_a_minute_and_never_less_than_half() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        for (n, wait) in waits.iter().enumerate() {
            let due = FIRST.saturating_mul(1 << n.min(10)).min(LONGEST);
            assert!(*wait >= due / 2 && *wait <= due, "{n}: {wait:?} of {due:?}");
        }
        assert!(waits[30..].iter().any(|wait| *wait != waits[30]), "there is no jitter");
    }
}
