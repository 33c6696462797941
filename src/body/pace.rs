//! How far a transfer may fall behind: it may pause for a while, and it may be slow for as long, but not for ever.
//!
//! A transfer has an allowance of time. Waiting for the other side uses it up; each byte that comes earns what it takes
//! at the minimum rate, and no more than the whole allowance is ever saved up. So a pause of the whole allowance is
//! forgiven, over and over, and so is any link that is faster than the minimum; a drip is cut as soon as the allowance
//! is used up, whatever came before it.

use std::num::NonZeroU32;
use std::time::Duration;

/// The allowance of one transfer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    whole: Duration,
    rate: Option<NonZeroU32>,
    left: Duration,
    quiet: Duration,
}

/// In which way a transfer fell behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// Nothing came for the larger part of the allowance.
    Stalled,
    /// Something came, below the minimum rate.
    TooSlow,
}

impl Pace {
    /// With this allowance, and this many bytes per second as the minimum; without a minimum any byte earns the whole
    /// allowance.
    pub fn new(whole: Duration, rate: Option<NonZeroU32>) -> Self {
        Self { whole, rate, left: whole, quiet: Duration::ZERO }
    }

    /// The other side was waited for.
    pub fn waited(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
        self.quiet = self.quiet.saturating_add(time);
    }

    /// Bytes came or went.
    pub fn moved(&mut self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.quiet = Duration::ZERO;
        self.left = match self.rate {
            None => self.whole,
            Some(rate) => {
                let millis = bytes.saturating_mul(1000) / u64::from(rate.get());
                self.left.saturating_add(Duration::from_millis(millis)).min(self.whole)
            }
        };
    }

    /// For how long the other side may still be waited for.
    pub fn left(&self) -> Duration {
        self.left
    }

    /// Whether the allowance is used up, and in which way.
    pub fn late(&self) -> Option<Late> {
        let how = if self.quiet >= self.whole / 2 { Late::Stalled } else { Late::TooSlow };
        self.left.is_zero().then_some(how)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: Duration = Duration::from_secs(15);

    fn pace() -> Pace {
        Pace::new(WHOLE, NonZeroU32::new(500))
    }

    /// Seconds until a transfer of `bytes` every `every` seconds is cut; `None` when it is not within an hour.
    fn cut_after(mut pace: Pace, bytes: u64, every: u64) -> Option<(u64, Late)> {
        (1..=3600).find_map(|second| {
            pace.waited(Duration::from_secs(1));
            let late = pace.late();
            if second % every == 0 {
                pace.moved(bytes);
            }
            late.map(|late| (second, late))
        })
    }

    #[test]
    fn a_drip_is_cut_when_the_allowance_is_used_up_however_much_came_before() {
        assert_eq!(cut_after(pace(), 1, 3), Some((16, Late::TooSlow)));
        let mut fast_at_first = pace();
        fast_at_first.moved(1 << 30);
        assert_eq!(cut_after(fast_at_first, 1, 3), Some((16, Late::TooSlow)));
    }

    #[test]
    fn silence_is_cut_as_a_stall() {
        assert_eq!(cut_after(pace(), 0, 1), Some((15, Late::Stalled)));
        assert_eq!(cut_after(Pace::new(WHOLE, None), 0, 1), Some((15, Late::Stalled)));
    }

    #[test]
    fn a_slow_line_and_long_pauses_are_forgiven() {
        assert_eq!(cut_after(pace(), 500, 1), None);
        assert_eq!(cut_after(pace(), 7_000, 14), None);
        assert_eq!(cut_after(Pace::new(WHOLE, None), 1, 14), None, "without a minimum any byte will do");
    }

    proptest! {
        #[test]
        fn at_the_minimum_rate_nobody_is_cut_and_below_half_of_it_everybody(steps in proptest::collection::vec(1u64..14, 200)) {
            let (mut good, mut bad) = (pace(), pace());
            for pause in steps {
                for pace in [&mut good, &mut bad] {
                    pace.waited(Duration::from_secs(pause));
                }
                prop_assert_eq!(good.late(), None);
                good.moved(pause * 500);
                bad.moved(pause * 250);
            }
            prop_assert!(bad.left() < Duration::from_secs(14));
            for _ in 0..60 {
                bad.waited(Duration::from_secs(1));
                if bad.late().is_some() { break; }
                bad.moved(250);
            }
            prop_assert_eq!(bad.late(), Some(Late::TooSlow));
        }
    }
}
