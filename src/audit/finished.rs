//! What is known of finished segments: that each boxed line's entry is the hash of its text, as long as the bytes are still the ones
//! that the writer wrote, or that the start looked at. Whoever seals them need not hash each line again to know it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crc_fast::{CrcAlgorithm, Digest};

/// The segments that were finished in this run, and the last one of the run before, by the numbers of their first records. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Finished(Arc<Mutex<BTreeMap<u64, Seen>>>);

/// Bytes, told from others. Against accidents: who forges some to fit changes what the tree holds, and `audit verify` says so.
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(first, seen);
    }

    /// What is known of a segment; it is asked for once.
    pub(super) fn take(&self, first: u64) -> Option<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&first)
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
