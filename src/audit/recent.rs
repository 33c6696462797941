//! Leaves of the newest durable records, at hand for those who ask for their receipts.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::tree::{Hash, Leaf};

/// How many. Whoever waits for a record asks within a batch or two.
const KEPT: usize = 8192;

/// By position: the first record of a run has 1.
#[derive(Default)]
pub(super) struct Recent(Mutex<Newest>);

#[derive(Default)]
struct Newest {
    /// Position of the last one.
    end: u64,
    leaves: VecDeque<Hash>,
}

impl Recent {
    /// Takes in what became durable, before anybody hears of it.
    pub(super) fn remember(&self, leaves: &[Leaf]) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.end += leaves.len() as u64;
        newest.leaves.extend(leaves.iter().map(|leaf| leaf.hash));
        let over = newest.leaves.len().saturating_sub(KEPT);
        newest.leaves.drain(..over);
    }

    /// The leaf of the record at a position, while it is at hand.
    pub(super) fn leaf(&self, position: u64) -> Option<Hash> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = usize::try_from(newest.end.checked_sub(position)?).ok()?;
        newest.leaves.len().checked_sub(behind + 1).map(|at| newest.leaves[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_leaves_are_at_hand_by_their_position() {
        let recent = Recent::default();
        let leaves: Vec<Leaf> =
            (0..10_000u32).map(|n| Leaf::of([n.to_be_bytes(); 8].as_flattened().try_into().unwrap())).collect();
        leaves.chunks(777).for_each(|batch| recent.remember(batch));
        assert_eq!(recent.leaf(10_000), Some(leaves[9_999].hash));
        assert_eq!(recent.leaf(10_001 - 8192), Some(leaves[10_000 - 8192].hash));
        assert_eq!((recent.leaf(10_000 - 8192), recent.leaf(10_001)), (None, None));
    }
}
