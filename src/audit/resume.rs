//! Where a log goes on: what opening it hands to the writer.

use super::pen::Pen;
use super::tree::store::Store;

/// Where a log goes on.
pub struct Resume {
    /// Number of the next record; the first one is 0.
    pub next_seq: u64,
    pub(super) pen: Pen,
    pub(super) tree: Option<Store>,
}

impl Resume {
    /// For a sink that lies nowhere: a log without a past, without salts and tree.
    pub fn nowhere() -> Self {
        Self { next_seq: 0, pen: Pen::unkept(), tree: None }
    }
}
