//! File descriptors: as many as the system allows, and what happens when they run out all the same.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Listen;

/// For listeners, the log, the vault, DNS, the admin socket, and connections on their way out.
const RESERVE: u64 = 64;
/// Without an error for so long, they are plenty again; milliseconds.
const CALM: u64 = 5_000;

/// Raises the soft limit to the hard one, and says how many connections fit below it: each call may need a second
/// descriptor, for the upstream.
pub fn connections_that_fit(listen: &Listen) -> u32 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "cannot raise the limit of file descriptors");
    }
    let Some(limit) = getrlimit(Resource::Nofile).current else { return listen.max_connections };
    let slots = fit(listen.max_connections, listen.max_in_flight, limit);
    if slots < listen.max_connections {
        tracing::warn!(
            limit,
            slots,
            "`[listen] max_connections` does not fit into the limit of file descriptors; raise it (`LimitNOFILE` in a \
             unit, `ulimit -Hn` in a shell)"
        );
    }
    slots
}

/// The most descriptors that this process may have, and how many connections would fit. Changes nothing.
pub fn outlook(listen: &Listen) -> (Option<u64>, u32) {
    let limit = getrlimit(Resource::Nofile).maximum;
    (limit, limit.map_or(listen.max_connections, |limit| fit(listen.max_connections, listen.max_in_flight, limit)))
}

fn fit(connections: u32, in_flight: u32, limit: u64) -> u32 {
    let free = limit.saturating_sub(RESERVE);
    // Calls at the upstream take one more each, but no more than may be under way.
    let beside_calls = free.saturating_sub(u64::from(in_flight)).max(free / 2).max(1);
    connections.min(u32::try_from(beside_calls).unwrap_or(u32::MAX))
}

/// Whether an error says that there are none left: of this process, or of the system.
pub fn ran_out(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].iter().any(|errno| code == Some(errno.raw_os_error()))
}

/// Whether descriptors are short at the moment; each change is told once.
#[derive(Default)]
pub struct Shortage {
    short: AtomicBool,
    last: AtomicU64,
}

impl Shortage {
    /// There was none left, at this many milliseconds of any clock. True when that is news.
    pub fn begins(&self, now: u64) -> bool {
        self.last.store(now, Relaxed);
        !self.short.swap(true, Relaxed)
    }

    /// True when it has been over for a while, and that is news.
    pub fn ends(&self, now: u64) -> bool {
        let calm = now.saturating_sub(self.last.load(Relaxed)) > CALM;
        self.short.load(Relaxed) && calm && self.short.swap(false, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_calls_fit_into_the_limit_together() {
        assert_eq!(fit(4096, 1024, 1 << 20), 4096);
        assert_eq!(fit(4096, 1024, 4096 + 1024 + RESERVE), 4096);
        assert_eq!(fit(4096, 1024, 4096), 4096 - 1024 - 64);
        assert_eq!(fit(4096, 1024, 1024), 480, "half for connections, half for their calls");
        assert_eq!(fit(4096, 1024, 10), 1, "it starts all the same");
    }
}
