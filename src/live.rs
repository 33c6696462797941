//! What a changed configuration replaces while the gate runs: who may do what, how often, and where calls are counted.
//!
//! One value, swapped as a whole: a call takes all of it once, when it is decided, and keeps what that said to its end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::config::Config;
use crate::limit::{Bucket, Limits, Store};
use crate::metrics::{Counter, Metrics};
use crate::policy::{Integration, Policy};

/// The part of a running gate that a reload replaces.
pub struct Live {
    /// Who may do what.
    pub policy: Policy,
    /// How often.
    pub limits: Limits,
    /// How old keys may become before the operator is told, by upstream.
    pub rotate_after: Vec<Option<Duration>>,
    /// Calls of each integration, in the policy's order.
    calls: Vec<Counter>,
}

impl Live {
    /// From the configuration that the gate starts with.
    pub fn new(config: &Config, metrics: &Metrics, store: impl FnOnce(&[Bucket]) -> Box<dyn Store>) -> Self {
        Self::of(config, metrics, Limits::new(config, store))
    }

    /// From another configuration. A limit that did not change goes on as it stands, and so does a counter.
    #[must_use]
    pub fn next(&self, config: &Config, metrics: &Metrics) -> Self {
        Self::of(config, metrics, self.limits.next(config))
    }

    fn of(config: &Config, metrics: &Metrics, limits: Limits) -> Self {
        let policy = Policy::new(config);
        let calls = metrics.calls_of(policy.integrations().iter().map(|it| &it.name));
        let rotate_after = config.upstreams.iter().map(|upstream| upstream.rotate_after).collect();
        Self { policy, limits, rotate_after, calls }
    }

    /// Counts a call of an integration of this policy.
    pub fn count_call(&self, integration: &Integration) {
        if let Some(count) = self.calls.get(integration.index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
