//! Why a record could not be kept.

use std::sync::Arc;

/// Why records cannot be kept. The gate refuses calls until they can, or until it is started again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct Trouble {
    /// What went wrong, for the operator.
    pub why: Arc<str>,
}

/// A record could not be kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Closed {
    /// Until it can be written again.
    #[error("the audit log is closed")]
    Broken(#[source] Trouble),
    /// For good: the gate is stopping, and the last record is written.
    #[error("the audit log is sealed")]
    Sealed,
    /// For whatever changes something, until there is room on the disk again.
    #[error("the disk of the audit log is full, and what room is left is for the records of reads")]
    ReadsOnly,
    /// For now: more waits to be written than the queue holds.
    #[error("the audit log cannot keep up with the calls")]
    Behind,
}
