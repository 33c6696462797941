//! Counters of what the gate did, for the health endpoint and for Prometheus.

mod connections;
mod reloads;
mod sinks;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::process;

pub use connections::{Connections, Open};
pub use reloads::Reloads;
pub use sinks::{SinkState, Sinks};

/// A number that only rises, shared by whoever counts and whoever shows it.
pub type Counter = Arc<AtomicU64>;

/// All counters of one gate. They only rise.
#[derive(Default)]
pub struct Metrics {
    /// Calls by integration. Whoever counts holds the counter itself; the lock is for laying them out and showing them.
    integrations: Mutex<BTreeMap<Arc<str>, Counter>>,
    /// Refusals by code: rarer than calls, so a lock is cheap enough.
    refusals: Mutex<BTreeMap<&'static str, u64>>,
    scrubbed: AtomicU64,
    in_flight: AtomicU64,
    /// Connections.
    pub connections: Connections,
    /// How reloads went.
    pub reloads: Reloads,
    /// How far live sinks have come.
    pub sinks: Sinks,
}

impl Metrics {
    /// The counters of the integrations that there are now, in this order. Those that are known go on; those of
    /// integrations that are gone are no longer shown.
    pub fn calls_of<'a>(&self, integrations: impl Iterator<Item = &'a Arc<str>>) -> Vec<Counter> {
        let mut known = self.integrations.lock().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::take(&mut *known);
        let counters = integrations.map(|name| {
            let counter = former.get(name).cloned().unwrap_or_default();
            known.insert(name.clone(), counter.clone());
            counter
        });
        counters.collect()
    }

    /// A refusal, by its code; also connections that were refused before any call.
    pub fn refusal(&self, code: &'static str) {
        *self.refusals.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    /// The real key was cut out of a reply this many times.
    pub fn scrubbed(&self, times: u32) {
        self.scrubbed.fetch_add(u64::from(times), Ordering::Relaxed);
    }

    /// A call begins; it ends when the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Calls under way.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The Prometheus text format, version 0.0.4.
    pub fn prometheus(&self, audit_open: bool) -> String {
        let mut out = String::new();
        head(&mut out, "keygate_calls_total", "counter", "Calls of known integrations.");
        for (name, count) in &*self.integrations.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(out, "keygate_calls_total{{integration=\"{name}\"}} {}", count.load(Ordering::Relaxed));
        }
        head(&mut out, "keygate_refusals_total", "counter", "Answers that the gate gave itself, by code.");
        for (code, count) in &*self.refusals.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(out, "keygate_refusals_total{{code=\"{code}\"}} {count}");
        }
        let (applied, refused) = self.reloads.counts();
        head(&mut out, "keygate_reloads_total", "counter", "Changed configurations, by what became of them.");
        for (result, count) in [("applied", applied), ("refused", refused)] {
            let _ = writeln!(out, "keygate_reloads_total{{result=\"{result}\"}} {count}");
        }
        self.connections.write(&mut out);
        self.sinks.write(&mut out);
        let singles = [
            (
                "keygate_reload_ok",
                "gauge",
                "1 while the configuration file, as it stands, is the one in force.",
                u64::from(self.reloads.problems().is_empty()),
            ),
            (
                "keygate_keys_scrubbed_total",
                "counter",
                "Times the real key was cut out of a reply.",
                self.scrubbed.load(Ordering::Relaxed),
            ),
            ("keygate_calls_in_flight", "gauge", "Calls under way.", self.in_flight()),
            (
                "keygate_audit_open",
                "gauge",
                "1 while records can be kept, else 0 and every call is refused.",
                u64::from(audit_open),
            ),
            (
                "keygate_keys_protected",
                "gauge",
                "1 while keys lie in locked memory that is left out of core dumps, in a process closed to debuggers.",
                u64::from(process::standing().is_whole()),
            ),
        ];
        for (name, kind, help, value) in singles {
            head(&mut out, name, kind, help);
            let _ = writeln!(out, "{name} {value}");
        }
        out
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A call under way.
pub struct InFlight(Arc<Metrics>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
