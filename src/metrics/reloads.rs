//! How reloads went: for health, for Prometheus, and for the commands that change the configuration.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// How reloads went so far.
#[derive(Default)]
pub struct Reloads {
    applied: AtomicU64,
    refused: AtomicU64,
    /// Why the files as they stand now are not in force; empty when they are.
    problems: Mutex<Vec<String>>,
}

impl Reloads {
    /// What stands in the files is in force now.
    pub fn applied(&self) {
        self.applied.fetch_add(1, Ordering::Relaxed);
        self.settled();
    }

    /// What stands in the files is what was in force all along.
    pub fn settled(&self) {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What stands in the files cannot be used; the former configuration stays in force.
    pub fn refused(&self, problems: Vec<String>) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        *self.problems.lock().unwrap_or_else(PoisonError::into_inner) = problems;
    }

    /// Why the files as they stand now are not in force; empty when they are.
    pub fn problems(&self) -> Vec<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reloads that took effect, and reloads that were refused.
    pub fn counts(&self) -> (u64, u64) {
        (self.applied.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}
