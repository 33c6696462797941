//! What the gate counts, by name.

use super::{Proxy, until};

impl Proxy {
    /// How often a refusal or a cut with this code was counted.
    pub fn refusals(&self, code: &str) -> u64 {
        self.metric(&format!("keygate_refusals_total{{code=\"{code}\"}}")).unwrap_or_default()
    }

    /// Connections in all states together.
    pub fn open_connections(&self) -> u64 {
        ["handshake", "idle", "busy"]
            .map(|state| self.metric(&format!("keygate_connections_open{{state=\"{state}\"}}")).unwrap_or_default())
            .iter()
            .sum()
    }

    /// Waits until so many connections are open.
    pub fn await_connections(&self, open: u64) {
        until(&format!("{open} open connections"), || (self.open_connections() == open).then_some(()));
    }
}
