//! Buckets in memory: governor's generic cell rate algorithm, one limiter per bucket, none ever evicted.

use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::{Bucket, Store};

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>;

/// Buckets of this process alone. `C` is the clock; tests hand in one that they move.
pub struct Memory<C: Clock = DefaultClock> {
    clock: C,
    /// Shared with the store that follows this one, bucket by bucket.
    limiters: Vec<Arc<Limiter<C>>>,
}

impl Memory {
    /// A full bucket for each entry.
    pub fn new(buckets: &[Bucket]) -> Self {
        Memory::with_clock(buckets, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Memory<C> {
    /// The same with a clock of the caller's.
    pub fn with_clock(buckets: &[Bucket], clock: C) -> Self {
        let limiters = buckets.iter().map(|bucket| full(bucket, &clock)).collect();
        Self { clock, limiters }
    }
}

fn full<C: Clock + Clone>(bucket: &Bucket, clock: &C) -> Arc<Limiter<C>> {
    Arc::new(RateLimiter::direct_with_clock(quota(&bucket.quota), clock.clone()).with_middleware())
}

fn quota(quota: &crate::config::Quota) -> Quota {
    let one = quota.period.checked_div(quota.count.get()).unwrap_or_default().max(Duration::from_nanos(1));
    // `with_period` refuses only zero, which `max` excludes.
    Quota::with_period(one).unwrap_or(Quota::per_second(quota.count)).allow_burst(quota.burst)
}

impl<C: Clock + Clone + Send + Sync + 'static> Store for Memory<C>
where
    C::Instant: Send + Sync,
{
    fn take(&self, bucket: usize) -> Result<u32, Duration> {
        match self.limiters[bucket].check() {
            Ok(state) => Ok(state.remaining_burst_capacity()),
            Err(not_until) => Err(not_until.wait_time_from(self.clock.now())),
        }
    }

    fn next(&self, buckets: &[Bucket], kept: &[Option<usize>]) -> Box<dyn Store> {
        let each = buckets.iter().zip(kept);
        let limiters = each.map(|(bucket, kept)| match kept {
            Some(n) => self.limiters[*n].clone(),
            None => full(bucket, &self.clock),
        });
        Box::new(Self { clock: self.clock.clone(), limiters: limiters.collect() })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;
    use crate::limit::Level;

    fn bucket(count: u32, seconds: u64, burst: u32) -> Bucket {
        let quota = crate::config::Quota {
            count: NonZeroU32::new(count).unwrap(),
            period: Duration::from_secs(seconds),
            burst: NonZeroU32::new(burst).unwrap(),
        };
        Bucket { name: "test".into(), quota, level: Level::Integration }
    }

    /// The contract of every store, at whatever speed its clock runs: `pass` moves that clock. Bucket 0 is 60/min burst 3,
    /// bucket 1 is 1/s.
    fn contract(store: &dyn Store, pass: &dyn Fn(Duration)) {
        assert_eq!([store.take(0), store.take(0), store.take(0)], [Ok(2), Ok(1), Ok(0)]);
        let wait = store.take(0).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        for _ in 0..100 {
            assert!(store.take(0).is_err(), "a refused call must not empty the bucket further");
        }
        pass(Duration::from_secs(1));
        assert_eq!(store.take(0), Ok(0));
        assert!(store.take(0).is_err());
        assert!(store.take(1).is_ok(), "buckets do not share");
        // Another list: a new bucket before the old one, and the old bucket 1 anew.
        let next = store.next(&[bucket(1, 1, 2), bucket(60, 60, 3), bucket(1, 1, 1)], &[None, Some(0), None]);
        assert!(next.take(1).is_err(), "a kept bucket was filled");
        assert_eq!((next.take(0), next.take(2)), (Ok(1), Ok(0)), "new buckets are full");
        pass(Duration::from_secs(1));
        assert_eq!(next.take(1), Ok(0));
        assert!(store.take(0).is_err(), "a kept bucket is the same one in both stores");
    }

    #[test]
    fn memory_keeps_the_contract() {
        let clock = FakeRelativeClock::default();
        let store = Memory::with_clock(&[bucket(60, 60, 3), bucket(1, 1, 1)], clock.clone());
        contract(&store, &|time| clock.advance(time));
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_burst_plus_rate_times_time(
            count in 1u32..100,
            seconds in 1u64..60,
            burst in 1u32..50,
            steps in proptest::collection::vec(0u64..3000, 1..200),
        ) {
            let clock = FakeRelativeClock::default();
            let store = Memory::with_clock(&[bucket(count, seconds, burst)], clock.clone());
            let (mut passed, mut now) = (Vec::new(), 0u64);
            for step in steps {
                clock.advance(Duration::from_millis(step));
                now += step;
                if store.take(0).is_ok() {
                    passed.push(now);
                }
            }
            for (i, from) in passed.iter().enumerate() {
                for (j, to) in passed.iter().enumerate().skip(i) {
                    let most = f64::from(burst) + f64::from(count) * (to - from) as f64 / (seconds as f64 * 1000.0);
                    prop_assert!((j - i + 1) as f64 <= most + 0.001);
                }
            }
        }
    }
}
