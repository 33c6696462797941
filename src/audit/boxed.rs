//! Boxed records: a line that shows what a start and a verifier cannot do without, and the record itself encrypted.
//!
//! `{"box":"BASE64",MARK,"seq":N,"entry":"BASE64"}`. The box is a byte that says how the record is packed, and AES-256-GCM over
//! it under a key that serves this record alone: it is derived from the record's place in the key file. The entry is the hash
//! of what stands before it, so everybody can check the line, whether its record can still be read or not.

use std::io;
use std::sync::LazyLock;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem::Finder;
use zeroize::Zeroizing;

use super::line::{Line, push_digits};
use super::pack::{Packer, Unpacker};
use super::tree::Hash;
use super::verify::{Glance, glance};

/// How a boxed line begins.
pub(super) const BEGINS: &[u8] = b"{\"box\":\"";
/// Keeps a box's key apart from what else is derived from the keys of a key file.
const DOMAIN: &[u8] = b"keygate-box/v1";
/// Behind the encrypted bytes.
const TAG: usize = 16;

/// The key of the box of the record whose salt this is.
fn key(salt: &Hash) -> io::Result<LessSafeKey> {
    let mut context = Context::new(&SHA256);
    context.update(salt);
    context.update(DOMAIN);
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(context.finish().as_ref());
    let key = UnboundKey::new(&AES_256_GCM, &*key).map_err(|_| io::Error::other("a box has no key"))?;
    Ok(LessSafeKey::new(key))
}

/// A key is used once, so its nonce need not be.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// Makes boxes, in buffers of its own.
pub(super) struct Boxer {
    packer: Packer,
    packed: Vec<u8>,
}

impl Boxer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { packer: Packer::new()?, packed: Vec::new() })
    }

    /// Appends a record's line up to its entry.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, json: &[u8], seq: u64, salt: &Hash) -> io::Result<()> {
        self.packed.clear();
        self.packed.push(0);
        self.packed[0] = self.packer.pack(json, &mut self.packed)?;
        let sealed =
            key(salt)?.seal_in_place_separate_tag(nonce(), Aad::from(seq.to_be_bytes()), &mut self.packed[1..]);
        let tag = sealed.map_err(|_| io::Error::other("a record cannot be encrypted"))?;
        self.packed.extend_from_slice(tag.as_ref());
        out.extend_from_slice(BEGINS);
        let at = out.len();
        out.resize(at + base64::encoded_len(self.packed.len(), true).unwrap_or(0), 0);
        STANDARD.encode_slice(&self.packed, &mut out[at..]).map_err(io::Error::other)?;
        out.push(b'"');
        push_mark(out, json);
        out.extend_from_slice(b",\"seq\":");
        push_digits(out, seq);
        Ok(())
    }
}

/// What a start and a verifier must see of a record: which writes have no outcome, where a run begins, and whether it ended.
fn push_mark(out: &mut Vec<u8>, json: &[u8]) {
    let (name, value) = match glance(json) {
        Some(Glance::Intent(id)) => ("intent", id),
        Some(Glance::Call(id)) if !is_read(json) => ("call", id),
        Some(Glance::Began) => ("gate", "began"),
        Some(Glance::Stopped) => ("gate", "stopped"),
        _ => return,
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

/// Opens a box.
pub(super) struct Unboxer {
    unpacker: Unpacker,
    sealed: Vec<u8>,
    line: Vec<u8>,
}

impl Unboxer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { unpacker: Unpacker::new()?, sealed: Vec::new(), line: Vec::new() })
    }

    /// The line as it would stand there unboxed: the record, its number and its entry. `None` when this is not its key, or
    /// the box is none.
    pub(super) fn open(&mut self, text: &[u8], line: &Line<'_>, salt: &Hash) -> Option<&[u8]> {
        let Self { unpacker, sealed, line: out } = self;
        sealed.clear();
        STANDARD.decode_vec(box_of(text)?, sealed).ok()?;
        let (how, sealed) = sealed.split_first_mut().filter(|(_, sealed)| sealed.len() >= TAG)?;
        let packed = key(salt).ok()?.open_in_place(nonce(), Aad::from(line.seq.to_be_bytes()), sealed).ok()?;
        out.clear();
        unpacker.unpack(*how, packed, out)?;
        // An object with at least one field, as every record is.
        out.pop().filter(|last| *last == b'}')?;
        super::line::push_end(out, line.seq, &line.entry);
        Some(out)
    }
}
