//! How far live sinks have come.

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::head;

/// All sinks of a gate.
#[derive(Default)]
pub struct Sinks(Mutex<Vec<Arc<SinkState>>>);

/// One sink.
#[derive(Default)]
pub struct SinkState {
    name: Arc<str>,
    delivered: AtomicU64,
    failures: AtomicU64,
    refused: AtomicU64,
    /// Records that are not acknowledged yet, of those that the newest checkpoint was signed for.
    lag: AtomicU64,
    /// For how long it has not caught up, milliseconds.
    behind: AtomicU64,
    /// Why the last attempt failed; none when it did not.
    trouble: Mutex<Option<String>>,
}

/// How a sink stands, for health.
#[derive(Debug, Serialize)]
pub struct Standing {
    /// Its name.
    pub name: Arc<str>,
    /// Records that are not acknowledged yet.
    pub lag: u64,
    /// For how long it has not caught up.
    pub behind_ms: u64,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl Sinks {
    /// One more.
    pub fn add(&self, name: Arc<str>) -> Arc<SinkState> {
        let state = Arc::new(SinkState { name, ..SinkState::default() });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(state.clone());
        state
    }

    /// How they stand.
    pub fn standing(&self) -> Vec<Standing> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let each = all.iter().map(|state| Standing {
            name: state.name.clone(),
            lag: state.lag.load(Ordering::Relaxed),
            behind_ms: state.behind.load(Ordering::Relaxed),
            trouble: state.trouble(),
        });
        each.collect()
    }

    /// The Prometheus text.
    pub(super) fn write(&self, out: &mut String) {
        type Of = fn(&SinkState) -> u64;
        let families: [(&str, &str, &str, Of); 6] = [
            ("records_total", "counter", "Records that a sink acknowledged.", |s| s.delivered.load(Ordering::Relaxed)),
            ("failures_total", "counter", "Deliveries that failed and were tried again.", |s| {
                s.failures.load(Ordering::Relaxed)
            }),
            ("refused_total", "counter", "Records that a sink said it will not keep.", |s| {
                s.refused.load(Ordering::Relaxed)
            }),
            ("lag_records", "gauge", "Records that a sink has still to acknowledge.", |s| {
                s.lag.load(Ordering::Relaxed)
            }),
            ("behind_seconds", "gauge", "For how long a sink has not caught up.", |s| {
                s.behind.load(Ordering::Relaxed) / 1000
            }),
            ("ok", "gauge", "1 while the last delivery to a sink went well.", |s| u64::from(s.trouble().is_none())),
        ];
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, kind, help, of) in families.into_iter().filter(|_| !all.is_empty()) {
            let family = format!("keygate_sink_{name}");
            head(out, &family, kind, help);
            for state in &*all {
                let _ = writeln!(out, "{family}{{sink=\"{}\"}} {}", state.name, of(state));
            }
        }
    }
}

impl SinkState {
    /// So many records were acknowledged.
    pub fn delivered(&self, records: u64, refused: u64) {
        self.delivered.fetch_add(records - refused.min(records), Ordering::Relaxed);
        self.refused.fetch_add(refused, Ordering::Relaxed);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A delivery failed.
    pub fn failed(&self, why: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    /// Why the last attempt failed.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far behind it is: `next` is the record that it goes on with, `since` when nothing was left to send.
    pub fn look(&self, log: &Path, next: u64, since: Duration) {
        // Its second line is how many records were signed for.
        let signed = std::fs::read_to_string(log.join("checkpoint")).ok();
        let signed = signed.and_then(|note| note.lines().nth(1)?.parse::<u64>().ok());
        self.lag.store(signed.unwrap_or(0).saturating_sub(next), Ordering::Relaxed);
        self.behind.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
