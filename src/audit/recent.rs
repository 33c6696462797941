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
    /// Number and leaf of each.
    leaves: VecDeque<(u64, Hash)>,
}

impl Recent {
    /// Takes in what became durable, before anybody hears of it.
    pub(super) fn remember(&self, first: u64, leaves: &[Leaf]) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.end += leaves.len() as u64;
        newest.leaves.extend((first..).zip(leaves.iter().map(|leaf| leaf.hash)));
        let over = newest.leaves.len().saturating_sub(KEPT);
        newest.leaves.drain(..over);
    }

    /// Positions whose records are lost have no leaves.
    pub(super) fn skip_to(&self, end: u64) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = Newest { end, leaves: VecDeque::new() };
    }

    /// Number and leaf of the record at a position, while they are at hand.
    pub(super) fn of(&self, position: u64) -> Option<(u64, Hash)> {
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
        leaves.chunks(777).zip((0..).step_by(777)).for_each(|(batch, first)| recent.remember(first, batch));
        assert_eq!(recent.of(10_000), Some((9_999, leaves[9_999].hash)));
        assert_eq!(recent.of(10_001 - 8192), Some((10_000 - 8192, leaves[10_000 - 8192].hash)));
        assert_eq!((recent.of(10_000 - 8192), recent.of(10_001)), (None, None));
        recent.skip_to(10_010);
        recent.remember(10_000, &leaves[..1]);
        assert_eq!((recent.of(10_010), recent.of(10_011)), (None, Some((10_000, leaves[0].hash))));
    }
}
