//! The tree of keys in a key file: a file of one line has the keys of 65,536 records, and forgetting one record takes a few
//! lines more and touches nothing else.
//!
//! The root is 32 random bytes; the sixteen keys below a key are `SHA-256(key ‖ digit)`, and the key at the four hexadecimal
//! digits of a record's place in the file is its salt. A file holds `DIGITS KEY` lines, `-` for no digits; to forget a record
//! is to put the keys beside its way in the place of the keys on it. Behind them stand the pieces that its records are made of.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::pack::Pieces;
use super::tree::Hash;
use super::tree::merkle::sha256;

/// Digits of a record's place.
const DIGITS: usize = 4;

/// `SHA-256(key ‖ digit)`.
fn child(key: &Hash, digit: u8) -> Hash {
    child_in(&mut Zeroizing::new([0; 33]), key, digit)
}

/// The same in a text that the caller wipes: byte for byte, which takes longer than the hash.
fn child_in(text: &mut [u8; 33], key: &Hash, digit: u8) -> Hash {
    text[..32].copy_from_slice(key);
    text[32] = digit;
    sha256(text)
}

/// The digits of a place, the highest first.
fn digits(place: u16) -> [u8; DIGITS] {
    let [high, low] = place.to_be_bytes();
    [high >> 4, high & 15, low >> 4, low & 15]
}

/// A key file's keys, and the way down to the last salt that was asked for.
pub(super) struct Keys {
    /// By the digits that lead to them. No way passes two of them.
    known: BTreeMap<Vec<u8>, Zeroizing<Hash>>,
    way: Option<Way>,
    pieces: Arc<Pieces>,
}

/// A way down: neighbours share most of it.
struct Way {
    digits: [u8; DIGITS],
    /// How deep the key lies that it starts at.
    start: usize,
    /// The keys on it, by depth.
    keys: Zeroizing<[Hash; DIGITS + 1]>,
    /// What the last of them was made of.
    text: Zeroizing<[u8; 33]>,
}

impl Way {
    fn shared_with(&self, wanted: [u8; DIGITS]) -> usize {
        self.digits.iter().zip(&wanted).take_while(|(had, wanted)| had == wanted).count()
    }
}

impl Keys {
    /// A file whose root this is.
    fn new(root: Zeroizing<Hash>, pieces: Arc<Pieces>) -> Self {
        Self { known: BTreeMap::from([(Vec::new(), root)]), way: None, pieces }
    }

    /// Fresh ones.
    pub(super) fn random(pieces: Arc<Pieces>) -> io::Result<Self> {
        let mut root = Zeroizing::new([0; 32]);
        rand::fill(&mut *root).map_err(|_| io::Error::other("the system hands out no random bytes"))?;
        Ok(Self::new(root, pieces))
    }

    /// What stands behind the keys.
    pub(super) fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// Reads a file's text. `None` when it is no key file.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (mut known, mut pieces) = (BTreeMap::new(), Vec::new());
        for line in text.lines() {
            if let Some(piece) = Pieces::line(line) {
                pieces.push(piece);
                continue;
            }
            let (digits, key) = line.split_once(' ')?;
            let digits = if digits == "-" { "" } else { digits };
            let digits: Option<Vec<u8>> = digits.bytes().map(digit).collect();
            let digits = digits.filter(|digits| digits.len() <= DIGITS)?;
            let key = Zeroizing::new(STANDARD.decode(key).ok()?);
            known.insert(digits, Zeroizing::new(key.as_slice().try_into().ok()?));
        }
        Some(Self { known, way: None, pieces: Pieces::of_lines(pieces) })
    }

    /// The file's text.
    pub(super) fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        for (digits, key) in &self.known {
            let name: String =
                digits.iter().map(|digit| char::from(b"0123456789abcdef"[usize::from(*digit)])).collect();
            text.push_str(if name.is_empty() { "-" } else { &name });
            text.push(' ');
            STANDARD.encode_string(**key, &mut text);
            text.push('\n');
        }
        self.pieces.push_lines(&mut text);
        text
    }

    /// The salt of the record at a place; `None` when it was forgotten.
    pub(super) fn salt(&mut self, place: u16) -> Option<Hash> {
        let wanted = digits(place);
        let same = self.way.as_ref().map_or(0, |way| way.shared_with(wanted));
        let mut from = same;
        if self.way.as_ref().is_none_or(|way| same < way.start) {
            from = (0..=DIGITS).find(|depth| self.known.contains_key(&wanted[..*depth]))?;
            let mut keys = Zeroizing::new([[0; 32]; DIGITS + 1]);
            keys[from] = **self.known.get(&wanted[..from])?;
            self.way = Some(Way { digits: wanted, start: from, keys, text: Zeroizing::new([0; 33]) });
        }
        let way = self.way.as_mut()?;
        for (depth, digit) in wanted.iter().enumerate().skip(from) {
            way.keys[depth + 1] = child_in(&mut way.text, &way.keys[depth], *digit);
        }
        way.digits = wanted;
        Some(way.keys[DIGITS])
    }

    /// Forgets the salt of a place: the keys beside its way take the place of those on it.
    pub(super) fn forget(&mut self, place: u16) {
        let wanted = digits(place);
        let Some(start) = (0..=DIGITS).find(|depth| self.known.contains_key(&wanted[..*depth])) else { return };
        let Some(mut key) = self.known.remove(&wanted[..start]) else { return };
        for depth in start..DIGITS {
            for other in (0..16).filter(|other| *other != wanted[depth]) {
                let way = [&wanted[..depth], &[other]].concat();
                self.known.insert(way, Zeroizing::new(child(&key, other)));
            }
            key = Zeroizing::new(child(&key, wanted[depth]));
        }
        self.way = None;
    }
}

impl Keys {
    /// Forgets the salts of all places from this one on: nothing was written there, or only what a crash tore.
    pub(super) fn forget_from(&mut self, place: u16) {
        let known = std::mem::take(&mut self.known);
        for (digits, key) in known {
            self.keep_below(place, digits, key);
        }
        self.way = None;
    }

    fn keep_below(&mut self, place: u16, digits: Vec<u8>, key: Zeroizing<Hash>) {
        let free = 4 * (DIGITS - digits.len());
        let first = digits.iter().fold(0u32, |sum, digit| sum << 4 | u32::from(*digit)) << free;
        if first >= u32::from(place) {
            return;
        }
        if first + (1 << free) <= u32::from(place) {
            self.known.insert(digits, key);
            return;
        }
        for digit in 0..16 {
            let below = Zeroizing::new(child(&key, digit));
            self.keep_below(place, [&digits[..], &[digit]].concat(), below);
        }
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(root: &Hash, place: u16) -> Hash {
        digits(place).iter().fold(*root, |key, digit| child(&key, *digit))
    }

    proptest! {
        #[test]
        fn salts_are_the_same_in_whatever_order_they_are_asked_for(
            places in prop::collection::vec(prop_oneof![0u16..40, any::<u16>()], 1..60),
            forgotten in prop::collection::vec(prop_oneof![0u16..40, any::<u16>()], 0..4),
        ) {
            let root = [7; 32];
            let mut keys = Keys::new(Zeroizing::new(root), Arc::default());
            for place in &forgotten {
                keys.forget(*place);
            }
            let mut read = Keys::parse(&keys.text()).unwrap();
            for place in places {
                let wanted = (!forgotten.contains(&place)).then(|| plain(&root, place));
                prop_assert_eq!(keys.salt(place), wanted);
                prop_assert_eq!(read.salt(place), wanted);
            }
        }
    }

    #[test]
    fn what_lies_behind_a_place_is_forgotten_and_what_lies_before_it_is_not() {
        for place in [0, 1, 0x10, 0x1234, 0xffff] {
            let mut keys = Keys::new(Zeroizing::new([7; 32]), Arc::default());
            keys.forget(5);
            keys.forget_from(place);
            for asked in [0, 1, 5, 0xf, 0x10, 0x1233, 0x1234, 0x1235, 0xfffe, 0xffff] {
                let there = asked < place && asked != 5;
                assert_eq!(keys.salt(asked), there.then(|| plain(&[7; 32], asked)), "{asked:x} with {place:x}");
            }
        }
    }

    #[test]
    fn a_forgotten_salt_cannot_be_derived_from_what_is_left() {
        let mut keys = Keys::new(Zeroizing::new([7; 32]), Arc::default());
        keys.forget(0x1234);
        assert_eq!(keys.known.len(), 60);
        let ways: Vec<_> = keys.known.keys().filter(|way| digits(0x1234).starts_with(way)).collect();
        assert!(ways.is_empty(), "{ways:?} lead to it");
    }
}
