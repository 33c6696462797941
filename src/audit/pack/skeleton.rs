//! A record compressed alone: digits that nobody can foresee (ids, hashes, the time) are taken out and put in front as bytes; what
//! is left, the *skeleton*, is much the same in every record and is compressed with a dictionary (`dictionary/make.py`).

use std::io;
use std::sync::LazyLock;

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::zstd_safe::CParameter;

use super::marks::{HEAD, SIX, SIXTEEN, fill, head, hex, is_digit};

/// What a frame begins with; it need not be kept.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Level 1 takes a third of a microsecond less and leaves 8 % more of a skeleton; level 9 takes ten more and leaves 10 % less.
const LEVEL: i32 = 3;
/// No record is longer, bytes.
const LONGEST: usize = 1 << 24;

static DICTIONARY: &[u8] = include_bytes!("../dictionary/records.zdict");
static TO_PACK: LazyLock<EncoderDictionary<'static>> = LazyLock::new(|| EncoderDictionary::copy(DICTIONARY, LEVEL));
static TO_UNPACK: LazyLock<DecoderDictionary<'static>> = LazyLock::new(|| DecoderDictionary::copy(DICTIONARY));

/// Compresses one record after the other in buffers of its own.
pub(super) struct Shrinker {
    compressor: Compressor<'static>,
    skeleton: Vec<u8>,
    bytes: Vec<u8>,
    frame: Vec<u8>,
}

impl Shrinker {
    pub(super) fn new() -> io::Result<Self> {
        let mut compressor = Compressor::with_prepared_dictionary(&TO_PACK)?;
        compressor.set_parameter(CParameter::DictIdFlag(false))?;
        compressor.set_parameter(CParameter::ChecksumFlag(false))?;
        Ok(Self { compressor, skeleton: Vec::new(), bytes: Vec::new(), frame: Vec::new() })
    }

    /// Appends the record, which has no byte that is a mark, if it is smaller then.
    pub(super) fn push(&mut self, json: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        self.take_apart(json);
        self.frame.clear();
        self.frame.reserve(zstd::zstd_safe::compress_bound(self.skeleton.len()));
        self.compressor.compress_to_buffer(&self.skeleton, &mut self.frame)?;
        let frame = self.frame.strip_prefix(&MAGIC).ok_or_else(|| io::Error::other("a frame without its mark"))?;
        let smaller = self.bytes.len() + frame.len() + 3 < json.len() && self.bytes.len() < 1 << 14;
        if smaller {
            push_length(out, self.bytes.len());
            out.extend_from_slice(&self.bytes);
            out.extend_from_slice(frame);
        }
        Ok(smaller)
    }

    fn take_apart(&mut self, json: &[u8]) {
        let Self { skeleton, bytes, .. } = self;
        skeleton.clear();
        bytes.clear();
        let mut rest = json;
        if let Some((head, behind)) = head(json) {
            skeleton.push(HEAD);
            bytes.extend_from_slice(&head);
            rest = behind;
        }
        let (mut copied, mut from) = (0, 0);
        while let Some(window) = rest.get(from..from + 12) {
            // From its end: most text is passed over in steps of twelve.
            if let Some(other) = window.iter().rposition(|byte| !is_digit(*byte)) {
                from += other + 1;
                continue;
            }
            let length = rest[from..].iter().take_while(|byte| is_digit(**byte)).count();
            let digits = &rest[from..from + length];
            from += length;
            let mark = if let Some(taken) = hex::<16>(digits) {
                bytes.extend_from_slice(&taken);
                SIXTEEN
            } else if let Some(taken) = hex::<6>(digits) {
                bytes.extend_from_slice(&taken);
                SIX
            } else {
                continue;
            };
            skeleton.extend_from_slice(&rest[copied..from - length]);
            skeleton.push(mark);
            copied = from;
        }
        skeleton.extend_from_slice(&rest[copied..]);
    }
}

/// Two bytes at most: seven bits in the first, with a sign that the second follows.
fn push_length(out: &mut Vec<u8>, length: usize) {
    let [high, low] = u16::try_from(length).unwrap_or(0).to_be_bytes();
    if length < 128 { out.push(low) } else { out.extend_from_slice(&[high | 0x80, low]) }
}

/// Takes records out of what a [`Shrinker`] made of them.
pub(super) struct Stretcher {
    decompressor: Decompressor<'static>,
    frame: Vec<u8>,
}

impl Stretcher {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { decompressor: Decompressor::with_prepared_dictionary(&TO_UNPACK)?, frame: Vec::new() })
    }

    /// Appends the record's JSON. `None` when it was not made so.
    pub(super) fn push(&mut self, packed: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (first, rest) = packed.split_first()?;
        let (length, rest) = match first {
            0..128 => (usize::from(*first), rest),
            _ => rest.split_first().map(|(low, rest)| (usize::from(first & 0x7f) << 8 | usize::from(*low), rest))?,
        };
        let (bytes, frame) = rest.split_at_checked(length)?;
        self.frame.clear();
        self.frame.extend_from_slice(&MAGIC);
        self.frame.extend_from_slice(frame);
        let skeleton = self.decompressor.decompress(&self.frame, LONGEST).ok()?;
        fill(&skeleton, bytes, out)?.is_empty().then_some(())
    }
}
