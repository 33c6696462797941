//! Buckets in memory: governor's generic cell rate algorithm, one limiter per bucket, none ever evicted.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::{Bucket, Store};

thread_local! {
    /// The moment of the call that this thread is deciding on, ns since the first store began.
    static MOMENT: Cell<u64> = const { Cell::new(0) };
}

/// What a limiter takes for a clock: the moment of the call. Limiters read their clock themselves, each its own.
struct Told;

impl Clock for Told {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        MOMENT.get().into()
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, Told, StateInformationMiddleware>;

/// Buckets of this process alone.
pub struct Memory {
    /// What moments count from: the same for all stores that follow one another.
    began: Instant,
    /// Shared with the store that follows this one, bucket by bucket.
    limiters: Vec<Arc<Limiter>>,
}

impl Memory {
    /// A full bucket for each entry.
    pub fn new(buckets: &[Bucket]) -> Self {
        Self { began: Instant::now(), limiters: buckets.iter().map(full).collect() }
    }
}

fn full(bucket: &Bucket) -> Arc<Limiter> {
    // A limiter counts from its own making, which is the beginning of time for all of them.
    MOMENT.set(0);
    Arc::new(RateLimiter::direct_with_clock(quota(&bucket.limit.quota), Told).with_middleware())
}

fn quota(quota: &crate::config::Quota) -> Quota {
    let one = quota.period.checked_div(quota.count.get()).unwrap_or_default().max(Duration::from_nanos(1));
    // `with_period` refuses only zero, which `max` excludes.
    Quota::with_period(one).unwrap_or(Quota::per_second(quota.count)).allow_burst(quota.burst)
}

impl Store for Memory {
    fn take(&self, bucket: usize, now: Instant) -> Result<u32, Duration> {
        let moment = now.saturating_duration_since(self.began);
        // Enough for 584 years.
        MOMENT.set(moment.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(moment.subsec_nanos())));
        match self.limiters[bucket].check() {
            Ok(state) => Ok(state.remaining_burst_capacity()),
            Err(not_until) => Err(not_until.wait_time_from(Told.now())),
        }
    }

    fn next(&self, buckets: &[Bucket], kept: &[Option<usize>]) -> Box<dyn Store> {
        let each = buckets.iter().zip(kept);
        let limiters = each.map(|(bucket, kept)| kept.map_or_else(|| full(bucket), |n| self.limiters[n].clone()));
        Box::new(Self { began: self.began, limiters: limiters.collect() })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::limit::{Level, Limit};

    fn bucket(count: u32, seconds: u64, burst: u32) -> Bucket {
        let quota = crate::config::Quota {
            count: NonZeroU32::new(count).unwrap(),
            period: Duration::from_secs(seconds),
            burst: NonZeroU32::new(burst).unwrap(),
        };
        Bucket { name: "test".into(), limit: Limit::of(Level::Integration, quota) }
    }

    /// The contract of every store, begun at this moment or before. Bucket 0 is 60/min burst 3, bucket 1 is 1/s.
    fn contract(store: &dyn Store, mut now: Instant) {
        assert_eq!([store.take(0, now), store.take(0, now), store.take(0, now)], [Ok(2), Ok(1), Ok(0)]);
        let wait = store.take(0, now).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        for _ in 0..100 {
            assert!(store.take(0, now).is_err(), "a refused call must not empty the bucket further");
        }
        now += Duration::from_secs(1);
        assert_eq!(store.take(0, now), Ok(0));
        assert!(store.take(0, now).is_err());
        assert!(store.take(1, now).is_ok(), "buckets do not share");
        // Another list: a new bucket before the old one, and the old bucket 1 anew.
        let next = store.next(&[bucket(1, 1, 2), bucket(60, 60, 3), bucket(1, 1, 1)], &[None, Some(0), None]);
        assert!(next.take(1, now).is_err(), "a kept bucket was filled");
        assert_eq!((next.take(0, now), next.take(2, now)), (Ok(1), Ok(0)), "new buckets are full");
        now += Duration::from_secs(1);
        assert_eq!(next.take(1, now), Ok(0));
        assert!(store.take(0, now).is_err(), "a kept bucket is the same one in both stores");
    }

    #[test]
    fn memory_keeps_the_contract() {
        let store = Memory::new(&[bucket(60, 60, 3), bucket(1, 1, 1)]);
        contract(&store, store.began);
    }

    #[test]
    fn a_store_that_is_made_while_calls_are_decided_counts_like_the_others() {
        let older = Memory::new(&[bucket(60, 60, 2)]);
        assert_eq!(older.take(0, older.began + Duration::from_secs(3600)), Ok(1));
        // This thread has just told a moment of an older store. What it makes now must not count from that one.
        let store = Memory::new(&[bucket(60, 60, 2)]);
        let now = store.began + Duration::from_secs(1);
        assert_eq!([store.take(0, now), store.take(0, now)], [Ok(1), Ok(0)]);
        assert_eq!(store.take(0, now + Duration::from_secs(1)), Ok(0));
        // A call that began before its store was made, or before the one that another thread decides on.
        assert!(store.take(0, older.began).is_err());
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_burst_plus_rate_times_time(
            count in 1u32..100,
            seconds in 1u64..60,
            burst in 1u32..50,
            steps in proptest::collection::vec(0u64..3000, 1..200),
        ) {
            let store = Memory::new(&[bucket(count, seconds, burst)]);
            let (mut passed, mut now) = (Vec::new(), 0u64);
            for step in steps {
                now += step;
                if store.take(0, store.began + Duration::from_millis(now)).is_ok() {
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
