//! From the hash of a scoped key to its integration: a table whose cost does not depend on how many there are.
//!
//! SHA-256 spreads keys evenly by itself, so a place in the table is simply the first bytes of a hash; who tries keys
//! cannot choose where they fall, and a look-up walks over at most a few neighbours. The table holds positions only, four
//! bytes each, so that it stays near the processor; what is compared lies in one row of entries.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jiff::Timestamp;

/// No entry here.
const FREE: u32 = u32::MAX;

/// All scoped keys.
pub(super) struct Keys {
    entries: Vec<Entry>,
    /// Positions in `entries`; its length is a power of two and at least twice theirs.
    table: Vec<u32>,
}

/// One scoped key.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) sha256: [u8; 32],
    /// From when on this key alone is refused.
    pub(super) until: Option<Timestamp>,
    /// Position of the integration.
    pub(super) integration: usize,
}

impl Keys {
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        let mut table = vec![FREE; (2 * entries.len()).next_power_of_two().max(16)];
        for (n, entry) in entries.iter().enumerate() {
            let mut at = place(&entry.sha256, table.len());
            while table[at] != FREE {
                at = (at + 1) % table.len();
            }
            table[at] = u32::try_from(n).unwrap_or(FREE);
        }
        Self { entries, table }
    }

    /// The key with this hash. The whole hash is compared, in constant time.
    pub(super) fn find(&self, sha256: &[u8; 32]) -> Option<&Entry> {
        let mut at = place(sha256, self.table.len());
        while self.table[at] != FREE {
            let entry = &self.entries[self.table[at] as usize];
            if verify_slices_are_equal(&entry.sha256, sha256).is_ok() {
                return Some(entry);
            }
            at = (at + 1) % self.table.len();
        }
        None
    }
}

/// `length` is a power of two.
fn place(sha256: &[u8; 32], length: usize) -> usize {
    let first = u32::from_le_bytes([sha256[0], sha256[1], sha256[2], sha256[3]]);
    first as usize & (length - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: usize, sha256: [u8; 32]) -> Entry {
        Entry { sha256, until: None, integration: n }
    }

    #[test]
    fn every_key_is_found_and_no_other_one() {
        for count in [0, 1, 7, 8, 9, 1000] {
            let hash = |n: usize| super::super::scoped_key::sha256(&n.to_le_bytes());
            let keys = Keys::new((0..count).map(|n| entry(n, hash(n))).collect());
            for n in 0..count {
                assert_eq!(keys.find(&hash(n)).map(|it| it.integration), Some(n));
            }
            assert!(keys.find(&hash(count)).is_none());
        }
    }

    #[test]
    fn keys_that_fall_on_one_place_are_told_apart() {
        let hash = |last: u8| {
            let mut hash = [0xff; 32];
            hash[31] = last;
            hash
        };
        let keys = Keys::new((0..8).map(|n| entry(n, hash(u8::try_from(n).unwrap()))).collect());
        assert_eq!(keys.find(&hash(5)).map(|it| it.integration), Some(5));
        assert!(keys.find(&hash(8)).is_none());
    }
}
