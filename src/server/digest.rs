//! One record for many events of a kind: whoever opens a thousand connections must not write a thousand records.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use super::seat::Moment;

/// After the first record of a kind and a source, what follows is put together for this long, milliseconds.
const WINDOW: Moment = 10_000;
/// Sources that are told apart at once, at most; the others share one record, whose address is `::`.
const MOST: usize = 1024;

/// What has happened and is not on record yet.
#[derive(Default)]
pub(super) struct Digest(HashMap<(&'static str, IpAddr), Window>);

struct Window {
    until: Moment,
    more: u64,
}

/// Events that go into one record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Together {
    pub(super) code: &'static str,
    pub(super) source: IpAddr,
    pub(super) times: u64,
}

impl Digest {
    /// Notes an event; true when it needs a record of its own now.
    pub(super) fn note(&mut self, code: &'static str, source: IpAddr, now: Moment) -> bool {
        let known = self.0.contains_key(&(code, source));
        let source = if known || self.0.len() < MOST { source } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        if let Some(window) = self.0.get_mut(&(code, source)) {
            window.more += 1;
            return false;
        }
        self.0.insert((code, source), Window { until: now + WINDOW, more: 0 });
        true
    }

    /// What is to be put on record now. A source that has gone quiet is forgotten.
    pub(super) fn due(&mut self, now: Moment) -> Vec<Together> {
        let mut due = Vec::new();
        self.0.retain(|(code, source), window| {
            if now < window.until {
                return true;
            }
            let times = std::mem::take(&mut window.more);
            window.until = now + WINDOW;
            if times > 0 {
                due.push(Together { code, source: *source, times });
            }
            times > 0
        });
        due
    }

    /// Everything, because the gate ends.
    pub(super) fn rest(&mut self) -> Vec<Together> {
        self.due(Moment::MAX - WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn the_first_event_is_recorded_at_once_and_the_rest_of_the_window_together() {
        let mut digest = Digest::default();
        assert!(digest.note("a", address(1), 0));
        assert!(digest.note("a", address(2), 0), "each source has a window of its own");
        assert!((0..99).all(|n| !digest.note("a", address(1), n)));
        assert_eq!(digest.due(9_999), []);
        assert_eq!(digest.due(10_000), [Together { code: "a", source: address(1), times: 99 }]);
        assert!(!digest.note("a", address(1), 10_001), "the flood goes on");
        assert_eq!(digest.due(20_000).len(), 1);
        assert_eq!(digest.due(30_000), []);
        assert!(digest.note("a", address(1), 30_001), "a quiet source is forgotten");
    }

    #[test]
    fn more_sources_than_are_told_apart_share_one_record_and_little_memory() {
        let mut digest = Digest::default();
        let recorded: u64 = (0..100_000).map(|n| u64::from(digest.note("a", address(n), 0))).sum();
        assert!(recorded <= MOST as u64 + 1 && digest.0.len() <= MOST + 1, "{recorded}");
        let rest = digest.rest();
        assert_eq!(rest.iter().map(|together| together.times).sum::<u64>() + recorded, 100_000);
    }
}
