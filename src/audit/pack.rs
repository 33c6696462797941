//! A record's JSON made small before it goes into its box.
//!
//! Digits that nobody can foresee (ids, hashes, the time) are taken out and put in front as bytes; what is left, the
//! *skeleton*, is much the same in every record and is compressed with a dictionary (`dictionary/make.py`). A record alone
//! takes a sixth of its text or a little more then. docs/audit-format.md has the form.

use std::io;
use std::sync::LazyLock;

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::zstd_safe::CParameter;

use super::instant::nanos;

/// The record's JSON as it is.
pub(super) const AS_IS: u8 = 0;
/// Packed with the first dictionary.
pub(super) const PACKED: u8 = 1;

/// In the place of the record's beginning up to its id: 16 bytes of the id, and by how many nanoseconds the time differs
/// from the milliseconds that the id begins with.
const HEAD: u8 = 3;
/// In the place of 32 hexadecimal digits: 16 bytes.
const SIXTEEN: u8 = 1;
/// In the place of 12 hexadecimal digits: 6 bytes.
const SIX: u8 = 2;

const TIME: &[u8] = b"{\"time\":\"";
const ID: &[u8] = b"\",\"id\":\"";
/// What a frame begins with; it need not be kept.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Level 1 takes a third of a microsecond less and leaves 8 % more of a skeleton; level 9 takes ten more and leaves 10 % less.
const LEVEL: i32 = 3;
/// No record is longer, bytes.
const LONGEST: usize = 1 << 24;

static DICTIONARY: &[u8] = include_bytes!("dictionary/records.zdict");
static TO_PACK: LazyLock<EncoderDictionary<'static>> = LazyLock::new(|| EncoderDictionary::copy(DICTIONARY, LEVEL));
static TO_UNPACK: LazyLock<DecoderDictionary<'static>> = LazyLock::new(|| DecoderDictionary::copy(DICTIONARY));

/// Packs one record after the other in buffers of its own.
pub(super) struct Packer {
    compressor: Compressor<'static>,
    skeleton: Vec<u8>,
    bytes: Vec<u8>,
    frame: Vec<u8>,
}

impl Packer {
    pub(super) fn new() -> io::Result<Self> {
        let mut compressor = Compressor::with_prepared_dictionary(&TO_PACK)?;
        compressor.set_parameter(CParameter::DictIdFlag(false))?;
        compressor.set_parameter(CParameter::ChecksumFlag(false))?;
        Ok(Self { compressor, skeleton: Vec::new(), bytes: Vec::new(), frame: Vec::new() })
    }

    /// Appends the packed record, and says how it is packed.
    pub(super) fn pack(&mut self, json: &[u8], out: &mut Vec<u8>) -> io::Result<u8> {
        // JSON has no such bytes; what is no JSON stays as it is.
        if json.iter().all(|byte| *byte >= b' ') {
            self.take_apart(json);
            self.frame.clear();
            self.frame.reserve(zstd::zstd_safe::compress_bound(self.skeleton.len()));
            self.compressor.compress_to_buffer(&self.skeleton, &mut self.frame)?;
            let frame = self.frame.strip_prefix(&MAGIC).ok_or_else(|| io::Error::other("a frame without its mark"))?;
            if self.bytes.len() + frame.len() + 3 < json.len() && self.bytes.len() < 1 << 14 {
                push_length(out, self.bytes.len());
                out.extend_from_slice(&self.bytes);
                out.extend_from_slice(frame);
                return Ok(PACKED);
            }
        }
        out.extend_from_slice(json);
        Ok(AS_IS)
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
            if let Some(other) = window.iter().rposition(|byte| digit(*byte).is_none()) {
                from += other + 1;
                continue;
            }
            let length = rest[from..].iter().take_while(|byte| digit(**byte).is_some()).count();
            let mark = match length {
                32 => SIXTEEN,
                12 => SIX,
                _ => {
                    from += length;
                    continue;
                }
            };
            skeleton.extend_from_slice(&rest[copied..from]);
            skeleton.push(mark);
            from += length;
            for pair in rest[from - length..from].chunks_exact(2) {
                bytes.push(digit(pair[0]).unwrap_or(0) << 4 | digit(pair[1]).unwrap_or(0));
            }
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

/// The id and the difference of the time from it, and what stands behind.
fn head(json: &[u8]) -> Option<([u8; 20], &[u8])> {
    let text = json.strip_prefix(TIME)?;
    let end = memchr::memchr(b'"', text)?;
    let (time, rest) = text.split_at(end);
    let (id, rest) = rest.strip_prefix(ID)?.split_at_checked(36)?;
    let id = *uuid::Uuid::try_parse_ascii(id)
        .ok()
        .filter(|parsed| parsed.hyphenated().encode_lower(&mut [0; 36]).as_bytes() == id)?
        .as_bytes();
    let begun = nanos(time).filter(|_| is_canonical(time))?;
    let difference = i32::try_from(begun.checked_sub(milliseconds(&id).checked_mul(1_000_000)?)?).ok()?;
    let mut head = [0; 20];
    head[..16].copy_from_slice(&id);
    head[16..].copy_from_slice(&difference.to_be_bytes());
    Some((head, rest.strip_prefix(b"\"")?))
}

/// What a `UUIDv7` begins with.
fn milliseconds(id: &[u8; 16]) -> i64 {
    id[..6].iter().fold(0, |sum, byte| sum << 8 | i64::from(*byte))
}

/// Whether the text of a time is the one that its number is written as. Its form was checked.
fn is_canonical(time: &[u8]) -> bool {
    let two = |at: usize| u32::from(time[at] - b'0') * 10 + u32::from(time[at + 1] - b'0');
    let (month, day) = (two(5), two(8));
    // On a 29th of February records are longer by some bytes.
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28,
        _ => 31,
    };
    (1..=12).contains(&month)
        && (1..=days).contains(&day)
        && two(11) < 24
        && two(14) < 60
        && two(17) < 60
        && (time.len() == 20 || time[time.len() - 2] != b'0')
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// Takes records out of what a [`Packer`] made of them.
pub(super) struct Unpacker {
    decompressor: Decompressor<'static>,
    frame: Vec<u8>,
}

impl Unpacker {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { decompressor: Decompressor::with_prepared_dictionary(&TO_UNPACK)?, frame: Vec::new() })
    }

    /// Appends the record's JSON. `None` when that is not how a record is packed.
    pub(super) fn unpack(&mut self, how: u8, packed: &[u8], out: &mut Vec<u8>) -> Option<()> {
        if how == AS_IS {
            out.extend_from_slice(packed);
            return Some(());
        }
        let (first, rest) = packed.split_first().filter(|_| how == PACKED)?;
        let (length, rest) = match first {
            0..128 => (usize::from(*first), rest),
            _ => rest.split_first().map(|(low, rest)| (usize::from(first & 0x7f) << 8 | usize::from(*low), rest))?,
        };
        let (mut bytes, frame) = rest.split_at_checked(length)?;
        self.frame.clear();
        self.frame.extend_from_slice(&MAGIC);
        self.frame.extend_from_slice(frame);
        let skeleton = self.decompressor.decompress(&self.frame, LONGEST).ok()?;
        let mut rest = &skeleton[..];
        while let Some(at) = rest.iter().position(|byte| *byte < b' ') {
            out.extend_from_slice(&rest[..at]);
            match rest[at] {
                HEAD => {
                    let (head, behind) = bytes.split_first_chunk::<20>()?;
                    push_head(out, head)?;
                    bytes = behind;
                }
                SIXTEEN => bytes = push_hex::<16>(out, bytes)?,
                SIX => bytes = push_hex::<6>(out, bytes)?,
                _ => return None,
            }
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
        bytes.is_empty().then_some(())
    }
}

fn push_head(out: &mut Vec<u8>, head: &[u8; 20]) -> Option<()> {
    let (id, difference) = head.split_first_chunk::<16>()?;
    let difference = i32::from_be_bytes(*difference.first_chunk()?);
    let nanos = i128::from(milliseconds(id)) * 1_000_000 + i128::from(difference);
    let time = jiff::Timestamp::from_nanosecond(nanos).ok()?;
    out.extend_from_slice(TIME);
    out.extend_from_slice(time.to_string().as_bytes());
    out.extend_from_slice(ID);
    out.extend_from_slice(uuid::Uuid::from_bytes(*id).hyphenated().encode_lower(&mut [0; 36]).as_bytes());
    out.push(b'"');
    Some(())
}

fn push_hex<'a, const N: usize>(out: &mut Vec<u8>, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (these, behind) = bytes.split_first_chunk::<N>()?;
    for byte in these {
        out.push(b"0123456789abcdef"[usize::from(byte >> 4)]);
        out.push(b"0123456789abcdef"[usize::from(byte & 15)]);
    }
    Some(behind)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn there_and_back(json: &[u8]) -> usize {
        let (mut packed, mut out) = (Vec::new(), Vec::new());
        let how = Packer::new().unwrap().pack(json, &mut packed).unwrap();
        Unpacker::new().unwrap().unpack(how, &packed, &mut out).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(json));
        packed.len()
    }

    proptest! {
        #[test]
        fn whatever_is_packed_comes_out_as_it_was(
            nanos in 0i64..4_102_444_800_000_000_000, digits in 0u32..=9, off in -3_000_000_000i64..3_000_000_000,
            id in any::<[u8; 16]>(), text in "[ -~]{0,60}", hex in "[\"_][0-9a-f]{10,34}", wild in any::<Vec<u8>>(),
        ) {
            let step = 10i64.pow(9 - digits);
            let time = jiff::Timestamp::from_nanosecond((nanos / step * step).into()).unwrap();
            let mut id = id;
            let ms = (nanos.saturating_add(off) / 1_000_000).max(0).to_be_bytes();
            id[..6].copy_from_slice(&ms[2..]);
            let id = uuid::Uuid::from_bytes(id);
            let json = format!("{{\"time\":\"{time}\",\"id\":\"{id}\",\"kind\":\"call\",\"x\":[{text}{hex}\",{hex}{hex}]}}");
            there_and_back(json.as_bytes());
            there_and_back(&wild);
        }
    }

    #[test]
    fn a_record_takes_a_fifth_of_its_text() {
        let json = br#"{"time":"2026-11-28T00:50:21.348869351Z","id":"01a21fa1-b624-750a-818d-b08a9ce0ccdf","kind":"call","integration":"webshop","proof":"header","peer":"127.0.0.1","tls":{"version":"1.3","cipher":"TLS13_AES_128_GCM_SHA256","group":"X25519MLKEM768","sni":"localhost","ja4":"t13d101000_61a7ad8aa9b6_0d308c48d2a3"},"http":"http/1.1","method":"GET","endpoint":"GET /v2/orders","verdict":"allowed","rule":"orders:read","status":200,"upstream":"demo","upstream_status":200,"credential":["demo",1],"bytes_in":0,"bytes_out":23865,"envelope":{"success":true,"log_id":"01a21fa1b62d712eb20097a9b1a11e52","request_id":"0000000000000001"},"outcome":"complete","micros":{"decide":26,"intent":0,"upstream":8888,"body":71}}"#;
        let packed = there_and_back(json);
        assert!(packed * 5 <= json.len(), "{packed} of {}", json.len());
    }

    #[test]
    fn dates_that_are_none_stay_as_they_are() {
        for time in ["2026-02-30T00:00:00Z", "2026-11-28T24:00:00Z", "2026-11-28T00:00:00.10Z", "2026-13-01T00:00:00Z"]
        {
            there_and_back(
                format!("{{\"time\":\"{time}\",\"id\":\"01a21fa1-b624-750a-818d-b08a9ce0ccdf\",\"kind\":\"call\"}}")
                    .as_bytes(),
            );
        }
    }
}
