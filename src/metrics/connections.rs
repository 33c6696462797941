//! Connections: how many came, what they are doing, how many were closed because nothing came on them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What is counted of connections.
#[derive(Default)]
pub struct Connections {
    accepted: AtomicU64,
    idled: AtomicU64,
    rested: AtomicU64,
    open: Mutex<BTreeMap<usize, Open>>,
}

/// Connections of one worker, by state, as of its last look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open {
    /// In their hello or handshake.
    pub handshake: u64,
    /// Without a call under way.
    pub idle: u64,
    /// With one.
    pub busy: u64,
}

impl Connections {
    /// A connection was accepted.
    pub fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections were asked to leave because no call came on them.
    pub fn idled(&self, times: u64) {
        self.idled.fetch_add(times, Ordering::Relaxed);
    }

    /// Quiet connections were told to rest.
    pub fn rested(&self, times: u64) {
        self.rested.fetch_add(times, Ordering::Relaxed);
    }

    /// What a worker's connections are doing.
    pub fn open(&self, worker: usize, open: Open) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(worker, open);
    }

    /// In the Prometheus text format.
    pub(super) fn write(&self, out: &mut String) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        super::head(out, "keygate_connections_total", "counter", "Connections accepted.");
        let _ = writeln!(out, "keygate_connections_total {}", count(&self.accepted));
        let help = "Connections closed because no call came on them for `idle_timeout`.";
        super::head(out, "keygate_connections_idled_total", "counter", help);
        let _ = writeln!(out, "keygate_connections_idled_total {}", count(&self.idled));
        let help = "Times that a quiet HTTP/1.1 connection was put to rest: it stays open and keeps less memory.";
        super::head(out, "keygate_connections_rested_total", "counter", help);
        let _ = writeln!(out, "keygate_connections_rested_total {}", count(&self.rested));
        super::head(out, "keygate_connections_open", "gauge", "Connections open, by state, as of half a second ago.");
        let all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |of: fn(&Open) -> u64| all.values().map(of).sum::<u64>();
        for (state, open) in [
            ("handshake", sum(|open| open.handshake)),
            ("idle", sum(|open| open.idle)),
            ("busy", sum(|open| open.busy)),
        ] {
            let _ = writeln!(out, "keygate_connections_open{{state=\"{state}\"}} {open}");
        }
    }
}
