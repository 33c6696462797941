//! Salts of records: leaves of small trees of keys, so that a file of one line has them all, and forgetting one record
//! takes a few lines more and touches nothing else.
//!
//! A key file `salts/FIRST.keys` serves up to 65,536 records from number FIRST on. Its root is 32 random bytes; the sixteen
//! keys below a key are `SHA-256(key ‖ digit)`, and the key at the four hexadecimal digits of a record's place in the file
//! is its salt. A file holds `DIGITS KEY` lines, `-` for no digits; to forget a record is to put the keys beside its way
//! in the place of the keys on it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::spare::Spare;
use super::tree::Hash;
use super::tree::merkle::sha256;
use crate::vault::private_file::{self, PRIVATE};

/// Records that a key file serves.
const RECORDS: u64 = 1 << 16;
/// Digits of a record's place.
const DIGITS: usize = 4;
/// Where key files lie, below the log's folder.
pub(super) const FOLDER: &str = "salts";
const SUFFIX: &str = ".keys";

/// `SHA-256(key ‖ digit)`.
fn child(key: &Hash, digit: u8) -> Hash {
    let mut text = Zeroizing::new([0; 33]);
    text[..32].copy_from_slice(key);
    text[32] = digit;
    sha256(&*text)
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
}

/// A way down: neighbours share most of it.
struct Way {
    digits: [u8; DIGITS],
    /// How deep the key lies that it starts at.
    start: usize,
    /// The keys on it, by depth.
    keys: Zeroizing<[Hash; DIGITS + 1]>,
}

impl Way {
    fn shared_with(&self, wanted: [u8; DIGITS]) -> usize {
        self.digits.iter().zip(&wanted).take_while(|(had, wanted)| had == wanted).count()
    }
}

impl Keys {
    /// A file whose root this is.
    fn new(root: Zeroizing<Hash>) -> Self {
        Self { known: BTreeMap::from([(Vec::new(), root)]), way: None }
    }

    /// Fresh ones.
    fn random() -> io::Result<Self> {
        let mut root = Zeroizing::new([0; 32]);
        rand::fill(&mut *root).map_err(|_| io::Error::other("the system hands out no random bytes"))?;
        Ok(Self::new(root))
    }

    /// Reads a file's text. `None` when it is no key file.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut known = BTreeMap::new();
        for line in text.lines() {
            let (digits, key) = line.split_once(' ')?;
            let digits = if digits == "-" { "" } else { digits };
            let digits: Option<Vec<u8>> = digits.bytes().map(digit).collect();
            let digits = digits.filter(|digits| digits.len() <= DIGITS)?;
            let key = Zeroizing::new(STANDARD.decode(key).ok()?);
            known.insert(digits, Zeroizing::new(key.as_slice().try_into().ok()?));
        }
        Some(Self { known, way: None })
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
            self.way = Some(Way { digits: wanted, start: from, keys });
        }
        let way = self.way.as_mut()?;
        for (depth, digit) in wanted.iter().enumerate().skip(from) {
            way.keys[depth + 1] = child(&way.keys[depth], *digit);
        }
        way.digits = wanted;
        Some(way.keys[DIGITS])
    }

    /// Forgets the salt of a place: the keys beside its way take the place of those on it.
    #[cfg(test)]
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

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// The writer's salts. Each run begins a key file of its own, and another every 65,536 records.
pub(super) struct Salts {
    /// Of the log's folder; `None` keeps nothing.
    spare: Option<Spare>,
    current: Option<(u64, Keys)>,
}

impl Salts {
    /// For a log's folder. Nothing is made before the first record.
    pub(super) fn new(directory: &Path) -> Self {
        Self { spare: Some(Spare::new(directory)), current: None }
    }

    /// In memory only.
    pub(super) fn unkept() -> Self {
        Self { spare: None, current: None }
    }

    /// The salt of a record; its key file is durable by then.
    pub(super) fn of(&mut self, seq: u64) -> io::Result<Hash> {
        let serves = |first: &u64| seq.checked_sub(*first).is_some_and(|place| place < RECORDS);
        if self.current.as_ref().is_none_or(|(first, _)| !serves(first)) {
            self.current = Some((seq, self.begin(seq)?));
        }
        let (first, keys) = self.current.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let place = u16::try_from(seq - *first).map_err(|_| io::ErrorKind::InvalidInput)?;
        keys.salt(place).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn begin(&mut self, first: u64) -> io::Result<Keys> {
        let keys = Keys::random()?;
        let text = keys.text();
        let keep = |directory: &Path| keep(directory, first, &text);
        self.spare.as_mut().map_or(Ok(()), |spare| spare.with(keep))?;
        Ok(keys)
    }
}

/// Makes a key file durable.
fn keep(directory: &Path, first: u64, text: &str) -> io::Result<()> {
    let folder = directory.join(FOLDER);
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => super::segment::sync_folder(directory)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let path = folder.join(format!("{first:020}{SUFFIX}"));
    match fs::remove_file(&path) {
        // Begun and never used: no record was kept with it.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => private_file::create(&path, text.as_bytes(), PRIVATE),
    }
}

/// A reader's salts: all key files of a log.
pub(super) struct SaltFiles {
    files: Vec<(u64, Place)>,
}

enum Place {
    File(PathBuf),
    Memory(Zeroizing<String>),
}

/// One reader's place in them.
#[derive(Default)]
pub(super) struct SaltReader {
    current: Option<(u64, u64, Option<Keys>)>,
}

impl SaltFiles {
    /// Finds them.
    pub(super) fn find(directory: &Path) -> io::Result<Self> {
        let entries = match fs::read_dir(directory.join(FOLDER)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { files: Vec::new() }),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(SUFFIX));
            if let Some(first) = name.filter(|name| name.len() == 20).and_then(|name| name.parse().ok()) {
                files.push((first, Place::File(path)));
            }
        }
        files.sort_by_key(|(first, _)| *first);
        Ok(Self { files })
    }

    /// One file that lies in memory, for records from 0 on.
    pub(super) fn in_memory(text: &str) -> Self {
        Self { files: vec![(0, Place::Memory(Zeroizing::new(text.to_owned())))] }
    }

    /// The salt of a record; `None` when there is none, or none that can be read.
    pub(super) fn salt(&self, reader: &mut SaltReader, seq: u64) -> Option<Hash> {
        if reader.current.as_ref().is_none_or(|(first, end, _)| !(*first..*end).contains(&seq)) {
            let at = self.files.partition_point(|(first, _)| *first <= seq).checked_sub(1)?;
            let (first, place) = &self.files[at];
            let end = self.files.get(at + 1).map_or(u64::MAX, |(next, _)| *next).min(first + RECORDS);
            let keys = match place {
                Place::File(path) => fs::read_to_string(path).ok().and_then(|text| Keys::parse(&Zeroizing::new(text))),
                Place::Memory(text) => Keys::parse(text),
            };
            reader.current = Some((*first, end, keys));
        }
        let (first, end, keys) = reader.current.as_mut()?;
        let place = seq.checked_sub(*first).filter(|_| seq < *end)?;
        keys.as_mut()?.salt(u16::try_from(place).ok()?)
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
            let mut keys = Keys::new(Zeroizing::new(root));
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
    fn a_forgotten_salt_cannot_be_derived_from_what_is_left() {
        let mut keys = Keys::new(Zeroizing::new([7; 32]));
        keys.forget(0x1234);
        assert_eq!(keys.known.len(), 60);
        let ways: Vec<_> = keys.known.keys().filter(|way| digits(0x1234).starts_with(way)).collect();
        assert!(ways.is_empty(), "{ways:?} lead to it");
    }
}
