//! The Merkle tree over the records (RFC 6962), kept as C2SP tlog-tiles beside the segments, and its signed checkpoints.
//!
//! Its leaves are *entries*: salted hashes of records. So the tree, and every proof, stays whole when a record is
//! forgotten, and standard tools can check it without seeing a record.

pub(super) mod keeper;
pub(super) mod merkle;
pub(super) mod note;
pub(super) mod store;
pub(super) mod tiles;

pub use merkle::Hash;

/// What the tree takes in for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// The salted hash of the record: the log entry that tlog-tiles speak of.
    pub entry: Hash,
    /// RFC 6962's hash of the entry.
    pub hash: Hash,
}

impl Leaf {
    pub(super) fn of(entry: Hash) -> Self {
        Self { entry, hash: merkle::leaf(&entry) }
    }
}
