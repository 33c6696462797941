//! Tells in passing where a spelling of a key cannot be. Most replies hold none, and each of their bytes would be looked at for it.
//!
//! Every spelling is so long that one of its eight-byte words stands at each multiple of some stride, wherever the spelling
//! begins. So only those words of a text are looked at: whether they may be words of a spelling. That is a set of hashes; it
//! tells much of the key, so it lies where keys lie.

use bytes::Bytes;

use super::spellings::{Text, room};

/// Bytes of a word.
const WORD: usize = 8;
/// Bytes of the set: of a key of forty digits some three hundred words, each of which sets two bits of 8,192. One word in two
/// hundred that is of no spelling passes.
pub(super) const SET: usize = 1024;
/// Words further apart would gain little, and set more bits.
const LONGEST_STRIDE: usize = 32;
/// Below this, looking at every byte costs no more.
const SHORTEST_STRIDE: usize = 8;

/// Knows the words of all spellings.
pub(super) struct Sieve {
    set: Bytes,
    stride: usize,
}

/// How far apart words may be looked at so that none of these is missed. `None` when they are too short for that.
pub(super) fn stride(spellings: &[Text]) -> Option<usize> {
    let shortest = spellings.iter().map(|spelling| spelling.len()).min()?;
    let stride = (shortest + 1).checked_sub(WORD)?.min(LONGEST_STRIDE);
    (stride >= SHORTEST_STRIDE).then_some(stride)
}

/// The set of the words that stand in the spellings' first bytes: of each spelling, one in a stride is met, so those that begin
/// within the first stride are enough.
pub(super) fn set(spellings: &[Text], stride: usize) -> Text {
    let mut set = room(SET);
    set.resize(SET, 0);
    for spelling in spellings {
        for word in spelling.windows(WORD).take(stride) {
            for bit in bits(word) {
                set[bit / 8] |= 1 << (bit % 8);
            }
        }
    }
    set
}

/// The two bits of a word.
fn bits(word: &[u8]) -> [usize; 2] {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut bytes = [0; WORD];
    bytes.copy_from_slice(word);
    let hash = u64::from_le_bytes(bytes).wrapping_mul(SPREAD);
    let bit = |shift: u32| usize::try_from(hash >> shift).unwrap_or(0) % (SET * 8);
    [bit(51), bit(38)]
}

impl Sieve {
    /// With the set as [`set`] made it for this stride.
    pub(super) fn new(set: Bytes, stride: usize) -> Self {
        Self { set, stride }
    }

    /// Where the next word stands, at or behind `from`, that may be of a spelling which begins there or later.
    pub(super) fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        let set: &[u8; SET] = self.set.first_chunk()?;
        let is_set = |bit: usize| set[bit / 8] & 1 << (bit % 8) != 0;
        let words = text.get(from..)?.windows(WORD).step_by(self.stride);
        let found = words.map(bits).position(|[one, other]| is_set(one) && is_set(other))?;
        Some(from + found * self.stride)
    }

    /// Behind this word.
    pub(super) fn behind(&self, word: usize) -> usize {
        word + self.stride
    }
}
