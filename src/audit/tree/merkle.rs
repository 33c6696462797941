//! RFC 6962's tree hash, growing leaf by leaf. Pure: where full tiles go is a closure, where hashes come from is another.

use std::io;

use aws_lc_rs::digest::{SHA256, digest};

/// SHA-256.
pub type Hash = [u8; 32];

/// Hashes in a full tile.
pub(in crate::audit) const WIDTH: usize = 256;

/// The hash of a leaf: `SHA-256(0x00 ‖ entry)`.
pub(in crate::audit) fn leaf(entry: &Hash) -> Hash {
    let mut text = [0; 33];
    text[1..].copy_from_slice(entry);
    sha256(&text)
}

/// The hash of a node: `SHA-256(0x01 ‖ left ‖ right)`.
pub(in crate::audit) fn node(left: &Hash, right: &Hash) -> Hash {
    let mut text = [1; 65];
    text[1..33].copy_from_slice(left);
    text[33..].copy_from_slice(right);
    sha256(&text)
}

pub(in crate::audit) fn sha256(text: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text).as_ref());
    hash
}

/// The root of a whole subtree: a power of two of hashes side by side.
fn subtree(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => sha256(b""),
        [only] => *only,
        many => {
            let mut row: Vec<Hash> = many.as_chunks().0.iter().map(|[left, right]| node(left, right)).collect();
            while let (pairs, []) = row.as_chunks()
                && row.len() > 1
            {
                row = pairs.iter().map(|[left, right]| node(left, right)).collect();
            }
            row[0]
        }
    }
}

/// The right edge of a tree: of each level, the hashes of the tile that is not full yet. It is all that is needed to go on.
#[derive(Clone, Debug, Default)]
pub(in crate::audit) struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge of a tree of this size, whose partial tiles (level, index, how many hashes) `read` hands out.
    pub(in crate::audit) fn load(
        size: u64,
        mut read: impl FnMut(u8, u64, usize) -> io::Result<Vec<Hash>>,
    ) -> io::Result<Self> {
        let mut levels = Vec::new();
        let mut rest = size;
        for level in 0.. {
            if rest == 0 {
                break;
            }
            let (tile, width) = (rest / WIDTH as u64, usize::try_from(rest % WIDTH as u64).unwrap_or(0));
            levels.push(if width > 0 { read(level, tile, width)? } else { Vec::new() });
            rest = tile;
        }
        Ok(Self { size, levels })
    }

    /// How many leaves the tree has.
    pub(in crate::audit) fn size(&self) -> u64 {
        self.size
    }

    /// Takes a leaf in. `full` sees each tile that this fills: level, index, hashes.
    pub(in crate::audit) fn push(
        &mut self,
        leaf: Hash,
        mut full: impl FnMut(u8, u64, &[Hash]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut hash = leaf;
        self.size += 1;
        let mut tiles = self.size;
        for level in 0.. {
            if self.levels.len() == usize::from(level) {
                self.levels.push(Vec::with_capacity(WIDTH));
            }
            let row = &mut self.levels[usize::from(level)];
            row.push(hash);
            if row.len() < WIDTH {
                break;
            }
            tiles /= WIDTH as u64;
            full(level, tiles - 1, row)?;
            hash = subtree(row);
            row.clear();
        }
        Ok(())
    }

    /// The tiles that are not full: level, index, hashes.
    pub(in crate::audit) fn partial(&self) -> impl Iterator<Item = (u8, u64, &[Hash])> {
        self.levels.iter().zip(0u8..).filter(|(row, _)| !row.is_empty()).map(|(row, level)| {
            let shift = 8 * (u32::from(level) + 1);
            (level, self.size.checked_shr(shift).unwrap_or(0), &**row)
        })
    }

    /// The root: the whole subtrees of the edge, from right to left.
    pub(in crate::audit) fn root(&self) -> Hash {
        let mut root = None;
        for row in &self.levels {
            let mut rest = row.len();
            while rest > 0 {
                let width = 1 << rest.trailing_zeros();
                let left = subtree(&row[rest - width..rest]);
                root = Some(root.map_or(left, |right| node(&left, &right)));
                rest -= width;
            }
        }
        root.unwrap_or_else(|| sha256(b""))
    }
}

/// Where the hashes of a stored tree come from: level in steps of eight, index of the first, how many within one tile.
pub(in crate::audit) trait Hashes {
    /// Reads them.
    fn hashes(&self, level: u8, first: u64, count: usize) -> io::Result<Vec<Hash>>;

    /// The root of the leaves `from..to`.
    fn range(&self, from: u64, to: u64) -> io::Result<Hash> {
        let width = to - from;
        if width.is_power_of_two() && from.is_multiple_of(width) {
            let height = width.trailing_zeros();
            let level = u8::try_from(height / 8).unwrap_or(0);
            let first = from >> (8 * u32::from(level));
            return Ok(subtree(&self.hashes(level, first, 1 << (height % 8))?));
        }
        let middle = from + split(width);
        Ok(node(&self.range(from, middle)?, &self.range(middle, to)?))
    }

    /// The inclusion proof of a leaf in the first `size` leaves, from its sibling up.
    fn inclusion(&self, index: u64, size: u64) -> io::Result<Vec<Hash>> {
        let (mut from, mut to) = (0, size);
        let mut proof = Vec::new();
        while to - from > 1 {
            let middle = from + split(to - from);
            if index < middle {
                proof.push(self.range(middle, to)?);
                to = middle;
            } else {
                proof.push(self.range(from, middle)?);
                from = middle;
            }
        }
        proof.reverse();
        Ok(proof)
    }
}

/// The largest power of two below `width`.
fn split(width: u64) -> u64 {
    (width - 1).checked_ilog2().map_or(0, |height| 1 << height)
}

/// The root that an inclusion proof leads to; `None` when the proof has not the right length.
pub(in crate::audit) fn root_of(proof: &[Hash], index: u64, size: u64, leaf: Hash) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for step in proof {
        if last == 0 {
            return None;
        }
        if at % 2 == 1 || at == last {
            hash = node(step, &hash);
            while at.is_multiple_of(2) && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, step);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962, section 2.1, word for word.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => sha256(b""),
            [only] => *only,
            many => {
                let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
                node(&mth(left), &mth(right))
            }
        }
    }

    fn leaves(count: u32) -> Vec<Hash> {
        (0..count).map(|n| leaf(&sha256(&n.to_be_bytes()))).collect()
    }

    struct Plain(Vec<Hash>);

    impl Hashes for Plain {
        fn hashes(&self, level: u8, first: u64, count: usize) -> io::Result<Vec<Hash>> {
            let width = 1 << (8 * level);
            let first = usize::try_from(first).unwrap();
            Ok((first..first + count).map(|n| mth(&self.0[n * width..(n + 1) * width])).collect())
        }
    }

    #[test]
    fn a_growing_tree_has_the_root_that_the_rfc_defines() {
        let leaves = leaves(1100);
        let mut edge = Edge::default();
        let mut full = Vec::new();
        assert_eq!(edge.root(), mth(&[]));
        for (n, leaf) in leaves.iter().enumerate() {
            edge.push(*leaf, |level, index, row| {
                full.push((level, index, row.len()));
                Ok(())
            })
            .unwrap();
            assert_eq!(edge.root(), mth(&leaves[..=n]), "size {}", n + 1);
        }
        assert_eq!(full, (0..4).map(|n| (0, n, 256)).collect::<Vec<_>>());
        let again = Edge::load(1100, |level, index, width| Plain(leaves.clone()).hashes(level, index * 256, width));
        assert_eq!(again.unwrap().root(), mth(&leaves));
    }

    #[test]
    fn every_leaf_is_proved_to_be_in_every_tree() {
        let leaves = leaves(70);
        for size in 1..=70 {
            let tree = Plain(leaves[..size].to_vec());
            for index in 0..size {
                let (at, size) = (index as u64, size as u64);
                let mut proof = tree.inclusion(at, size).unwrap();
                assert_eq!(root_of(&proof, at, size, leaves[index]), Some(mth(&tree.0)));
                assert_ne!(root_of(&proof, at, size, sha256(b"another")), Some(mth(&tree.0)));
                proof.push(leaves[0]);
                assert_eq!(root_of(&proof, at, size, leaves[index]), None, "a longer proof passes");
            }
        }
    }

    #[test]
    fn the_root_of_a_tree_is_the_one_that_others_compute() {
        // The tree of the eight entries that Certificate Transparency's own tests use.
        let entries: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let leaves: Vec<Hash> = entries.iter().map(|entry| sha256(&[&[0], *entry].concat())).collect();
        let root = mth(&leaves).map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(root, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }
}
