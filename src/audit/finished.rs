//! What is known of finished segments: that each boxed line's entry is the hash of its text, as long as the bytes are still the ones
//! that the writer wrote, or that the start looked at. Whoever seals them need not hash each line again to know it, and hears of it when
//! somebody else wrote to one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crc_fast::{CrcAlgorithm, Digest};

/// The segments that were finished in this run, and the last one of the run before, by the numbers of their first records. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Finished(Arc<Mutex<BTreeMap<u64, Seen>>>);

/// Bytes, told from others. A checksum is against accidents: whoever forges a text to fit it is found out by the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    length: u64,
    checksum: u64,
}

/// Bytes while they are seen.
pub(super) struct Seeing {
    length: u64,
    checksum: Digest,
}

impl Finished {
    pub(super) fn note(&self, first: u64, seen: Seen) {
        self.lock().insert(first, seen);
    }

    /// The same of one of which nothing is known.
    pub(super) fn note_unknown(&self, first: u64, seen: Seen) {
        self.lock().entry(first).or_insert(seen);
    }

    /// What is known of a segment.
    pub(super) fn get(&self, first: u64) -> Option<Seen> {
        self.lock().get(&first).copied()
    }

    /// It will not be asked for any more.
    pub(super) fn forget(&self, first: u64) {
        self.lock().remove(&first);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Seeing {
    fn default() -> Self {
        Self { length: 0, checksum: Digest::new(CrcAlgorithm::Crc64Nvme) }
    }
}

impl Seeing {
    pub(super) fn see(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.checksum.update(bytes);
    }

    pub(super) fn end(&self) -> Seen {
        Seen { length: self.length, checksum: self.checksum.finalize() }
    }
}
