//! Pieces: what parts of records say over and over. They stand in a key file, and its records name them by their numbers.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::marks::{fill_one, number};
use crate::audit::tree::Hash;
use crate::audit::tree::merkle::sha256;

/// What a piece begins with in a key file, and where a record is shown to others.
const SHOWN: &str = "= ";
/// The same for the hash of one that is not shown.
const HIDDEN: &str = "# ";

/// Those of one key file.
#[derive(Debug, Default)]
pub(in crate::audit) struct Pieces {
    list: Vec<Piece>,
    hash: Option<Hash>,
}

#[derive(Debug)]
struct Piece {
    text: Box<[u8]>,
    /// Where its marks stand.
    marks: Box<[usize]>,
}

impl Pieces {
    /// In the order of their numbers.
    pub(super) fn new(texts: impl IntoIterator<Item = Box<[u8]>>) -> Arc<Self> {
        let list: Vec<Piece> = texts.into_iter().map(Piece::new).collect();
        let hashes: Vec<u8> = list.iter().flat_map(|piece| sha256(&piece.text)).collect();
        let hash = (!list.is_empty()).then(|| sha256(&hashes));
        Arc::new(Self { list, hash })
    }

    /// What boxes that name pieces are bound to: others in their place would tell another story.
    pub(in crate::audit) fn hash(&self) -> Option<&Hash> {
        self.hash.as_ref()
    }

    /// Takes the lines of a key file that are pieces; `None` for a line that is none.
    pub(in crate::audit) fn line(line: &str) -> Option<Box<[u8]>> {
        line.strip_prefix(SHOWN).map(|text| text.as_bytes().into())
    }

    /// From such lines.
    pub(in crate::audit) fn of_lines(lines: Vec<Box<[u8]>>) -> Arc<Self> {
        Self::new(lines)
    }

    /// Appends them as lines.
    pub(in crate::audit) fn push_lines(&self, out: &mut String) {
        for piece in &self.list {
            piece.push_line(out);
        }
    }

    /// The same for whoever is shown one record: of pieces that it does not name there are hashes alone.
    pub(in crate::audit) fn shown(&self, named: &[usize]) -> String {
        let mut out = String::new();
        for (n, piece) in self.list.iter().enumerate() {
            if named.contains(&n) {
                piece.push_line(&mut out);
            } else {
                out.push_str(HIDDEN);
                STANDARD.encode_string(sha256(&piece.text), &mut out);
                out.push('\n');
            }
        }
        out
    }

    /// Appends the record that names them; `None` when it does not fit. Which ones, by their numbers, goes to `named`.
    pub(super) fn unpack(&self, mut packed: &[u8], named: &mut Vec<usize>, out: &mut Vec<u8>) -> Option<()> {
        named.clear();
        while !packed.is_empty() {
            let (n, mut bytes) = number(packed)?;
            let n = usize::try_from(n).ok()?;
            let Piece { text, marks } = self.list.get(n)?;
            named.push(n);
            let mut from = 0;
            for at in marks {
                out.extend_from_slice(&text[from..*at]);
                bytes = fill_one(text[*at], bytes, out)?;
                from = at + 1;
            }
            out.extend_from_slice(&text[from..]);
            packed = bytes;
        }
        Some(())
    }
}

impl Piece {
    fn new(text: Box<[u8]>) -> Self {
        let marks = text.iter().enumerate().filter(|(_, byte)| **byte < b' ').map(|(at, _)| at).collect();
        Self { text, marks }
    }

    fn push_line(&self, out: &mut String) {
        out.push_str(SHOWN);
        out.push_str(std::str::from_utf8(&self.text).unwrap_or_default());
        out.push('\n');
    }
}
