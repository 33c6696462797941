//! Boxed records: a line that shows what a start and a verifier cannot do without, and the record itself encrypted.
//!
//! `{"box":"BASE64",MARK,"seq":N,"entry":"BASE64"}`. The box is a byte that says how the record is packed, and AES-256-GCM over
//! it under a key that serves this record alone: it is derived from the record's place in the key file. The entry is the hash
//! of what stands before it, so everybody can check the line, whether its record can still be read or not.

use std::io;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use memchr::memmem::Finder;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::batch::Draft;
use super::line::{Line, push_base64, push_decoded, push_digits};
use super::pack::{PIECES, Packer, Pieces, Unpacker};
use super::tree::Hash;
use super::verify::{Glance, glance};

/// How a boxed line begins.
pub(super) const BEGINS: &[u8] = b"{\"box\":\"";
/// Keeps a box's key apart from what else is derived from the keys of a key file.
const DOMAIN: &[u8] = b"keygate-box/v1";
/// Behind the encrypted bytes.
const TAG: usize = 16;

/// What a box's key is made of. It is overwritten with the next one and wiped at the end.
struct KeyText(Zeroizing<[u8; 32 + DOMAIN.len()]>);

impl KeyText {
    fn new() -> Self {
        let mut text = [0; 32 + DOMAIN.len()];
        text[32..].copy_from_slice(DOMAIN);
        Self(Zeroizing::new(text))
    }

    /// The key of the box of the record whose salt this is.
    fn key(&mut self, salt: &Hash) -> io::Result<LessSafeKey> {
        self.0[..32].copy_from_slice(salt);
        let key = digest(&SHA256, &*self.0);
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).map_err(|_| io::Error::other("a box has no key"))?;
        Ok(LessSafeKey::new(key))
    }
}

/// What a box is bound to: its record's number, and the pieces that the record is made of.
struct Bound([u8; 40], usize);

impl AsRef<[u8]> for Bound {
    fn as_ref(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

fn bound(seq: u64, how: u8, pieces: &Pieces) -> Aad<Bound> {
    let mut bytes = [0; 40];
    bytes[..8].copy_from_slice(&seq.to_be_bytes());
    let hash = pieces.hash().filter(|_| how == PIECES);
    bytes[8..].copy_from_slice(hash.unwrap_or(&[0; 32]));
    Aad::from(Bound(bytes, if hash.is_some() { 40 } else { 8 }))
}

/// A key is used once, so its nonce need not be.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// Makes boxes, in buffers of its own.
pub(super) struct Boxer {
    packer: Packer,
    packed: Vec<u8>,
    key: KeyText,
}

impl Boxer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { packer: Packer::new()?, packed: Vec::new(), key: KeyText::new() })
    }

    /// Whether another key file is worth while, since more is known of what calls look like.
    pub(super) fn has_learned(&self) -> bool {
        self.packer.has_learned()
    }

    /// The pieces of a key file that begins.
    pub(super) fn learn(&mut self) -> Arc<Pieces> {
        self.packer.learn()
    }

    /// Appends a record's line up to its entry.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, draft: Draft<'_>, seq: u64, salt: &Hash) -> io::Result<()> {
        self.packed.clear();
        self.packed.push(0);
        let how = self.packer.pack(draft, &mut self.packed)?;
        self.packed[0] = how;
        let bound = bound(seq, how, self.packer.pieces());
        let sealed = self.key.key(salt)?.seal_in_place_separate_tag(nonce(), bound, &mut self.packed[1..]);
        let tag = sealed.map_err(|_| io::Error::other("a record cannot be encrypted"))?;
        self.packed.extend_from_slice(tag.as_ref());
        out.extend_from_slice(BEGINS);
        push_base64(out, &self.packed);
        out.push(b'"');
        push_mark(out, draft);
        out.extend_from_slice(b",\"seq\":");
        push_digits(out, seq);
        Ok(())
    }
}

/// What a start and a verifier must see of a record: which writes have no outcome, where a run begins, and whether it ended.
fn push_mark(out: &mut Vec<u8>, draft: Draft<'_>) {
    let mut buffer = Uuid::encode_buffer();
    let (name, value) = match draft {
        Draft::Apart(parts) if parts.is_read() => return,
        Draft::Apart(parts) => {
            let name = if parts.is_intent() { "intent" } else { "call" };
            (name, &*parts.id().hyphenated().encode_lower(&mut buffer))
        }
        Draft::Json(json) => match glance(json) {
            Some(Glance::Intent(id)) => ("intent", id),
            Some(Glance::Call(id)) if !is_read(json) => ("call", id),
            Some(Glance::Began) => ("gate", "began"),
            Some(Glance::Stopped) => ("gate", "stopped"),
            _ => return,
        },
    };
    for part in [",\"", name, "\":\"", value, "\""] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Whether a call had no intent, as far as its record tells.
fn is_read(json: &[u8]) -> bool {
    static MARKS: LazyLock<[Finder<'static>; 3]> =
        LazyLock::new(|| [",\"method\":\"GET\"", ",\"method\":\"HEAD\"", ",\"intent\":0,"].map(Finder::new));
    let [get, head, no_intent] = &*MARKS;
    (get.find(json).is_some() || head.find(json).is_some()) && no_intent.find(json).is_some()
}

/// The box of a line, if it is a boxed one, in Base64.
pub(super) fn box_of(line: &[u8]) -> Option<&[u8]> {
    let text = line.strip_prefix(BEGINS)?;
    Some(&text[..memchr::memchr(b'"', text)?])
}

/// What stands behind the box of a boxed line: its mark, its number and its entry.
pub(super) fn mark_of(line: &[u8]) -> &[u8] {
    box_of(line).map_or(&[], |text| &line[BEGINS.len() + text.len() + 1..])
}

/// What else is needed to read a record by its salt: the pieces that it is made of, behind a newline.
pub(super) fn shown(line: &Line<'_>, salt: &Hash, pieces: &Pieces) -> io::Result<String> {
    let mut unboxer = Unboxer::new()?;
    unboxer.open(line, salt, pieces);
    let named = unboxer.unpacker.named();
    Ok(if named.is_empty() { String::new() } else { ["\n", &pieces.shown(named)].concat() })
}

/// Opens a box.
pub(super) struct Unboxer {
    unpacker: Unpacker,
    sealed: Vec<u8>,
    line: Vec<u8>,
    key: KeyText,
}

impl Unboxer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { unpacker: Unpacker::new()?, sealed: Vec::new(), line: Vec::new(), key: KeyText::new() })
    }

    /// The line as it would stand there unboxed: the record, its number and its entry. `None` when this is not its key, or
    /// the box is none.
    pub(super) fn open(&mut self, line: &Line<'_>, salt: &Hash, pieces: &Pieces) -> Option<&[u8]> {
        self.sealed.clear();
        push_decoded(&mut self.sealed, box_of(line.text())?)?;
        let Self { unpacker, sealed, line: out, key } = self;
        let (how, sealed) = sealed.split_first_mut().filter(|(_, sealed)| sealed.len() >= TAG)?;
        let packed = key.key(salt).ok()?.open_in_place(nonce(), bound(line.seq, *how, pieces), sealed).ok()?;
        out.clear();
        unpacker.unpack(*how, packed, pieces, out)?;
        // An object with at least one field, as every record is.
        out.pop().filter(|last| *last == b'}')?;
        super::line::push_end(out, line.seq, &line.entry);
        Some(out)
    }
}
