//! Counters of what the gate did, for the health endpoint and for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

/// All counters of one gate. They only rise.
pub struct Metrics {
    integrations: Vec<(Arc<str>, AtomicU64)>,
    /// Refusals by code: rarer than calls, so a lock is cheap enough.
    refusals: Mutex<BTreeMap<&'static str, u64>>,
    scrubbed: AtomicU64,
    connections: AtomicU64,
    in_flight: AtomicU64,
}

impl Metrics {
    /// One counter of calls for each integration, in the order of the configuration.
    pub fn new(integrations: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self {
            integrations: integrations.into_iter().map(|name| (name, AtomicU64::new(0))).collect(),
            refusals: Mutex::default(),
            scrubbed: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
        }
    }

    /// A call of a known integration.
    pub fn call(&self, integration: usize) {
        if let Some((_, count)) = self.integrations.get(integration) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A refusal, by its code; also connections that were refused before any call.
    pub fn refusal(&self, code: &'static str) {
        *self.refusals.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    /// The real key was cut out of a reply this many times.
    pub fn scrubbed(&self, times: u32) {
        self.scrubbed.fetch_add(u64::from(times), Ordering::Relaxed);
    }

    /// A connection was accepted.
    pub fn connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
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
        for (name, count) in &self.integrations {
            let _ = writeln!(out, "keygate_calls_total{{integration=\"{name}\"}} {}", count.load(Ordering::Relaxed));
        }
        head(&mut out, "keygate_refusals_total", "counter", "Answers that the gate gave itself, by code.");
        for (code, count) in &*self.refusals.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(out, "keygate_refusals_total{{code=\"{code}\"}} {count}");
        }
        let singles = [
            (
                "keygate_keys_scrubbed_total",
                "counter",
                "Times the real key was cut out of a reply.",
                self.scrubbed.load(Ordering::Relaxed),
            ),
            ("keygate_connections_total", "counter", "Connections accepted.", self.connections.load(Ordering::Relaxed)),
            ("keygate_calls_in_flight", "gauge", "Calls under way.", self.in_flight()),
            (
                "keygate_audit_open",
                "gauge",
                "1 while records can be kept, else 0 and every call is refused.",
                u64::from(audit_open),
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
