//! The form of a line: a record's JSON with its number and its entry as the last two fields.
//!
//! `entry` is `SHA-256(salt ‖ the line before ,"entry":")`: what the tree takes in for the record. It binds the number as
//! well, and it stays when the salt is destroyed. The entry of a boxed line has no salt: what it hashes hides the record.

use aws_lc_rs::digest::{Context, SHA256};
use base64_simd::{Out, STANDARD};

use super::boxed::BEGINS;
use super::tree::merkle::sha256;
use super::tree::{Hash, Leaf};

/// `,"entry":"` + 44 digits of Base64 + `"}`
pub(super) const ENTRY_FIELD: usize = ENTRY.len() + BASE64 + 2;
const ENTRY: &[u8] = b",\"entry\":\"";
const BASE64: usize = 44;

/// The salted hash of a record.
fn commit(salt: &Hash, text: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(salt);
    context.update(text);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Appends a record's line; what the tree takes in for it. `json` is an object with at least one field.
pub(super) fn push_line(out: &mut Vec<u8>, json: &[u8], seq: u64, salt: &Hash) -> Leaf {
    let start = out.len();
    out.extend_from_slice(json.strip_suffix(b"}").unwrap_or(json));
    out.extend_from_slice(b",\"seq\":");
    push_digits(out, seq);
    let entry = commit(salt, &out[start..]);
    push_entry(out, &entry);
    Leaf::of(entry)
}

/// Ends a boxed line that begins at `start`; what the tree takes in for it.
pub(super) fn end_boxed(out: &mut Vec<u8>, start: usize) -> Leaf {
    let entry = sha256(&out[start..]);
    push_entry(out, &entry);
    Leaf::of(entry)
}

/// Appends number and entry to a record's JSON without its last brace.
pub(super) fn push_end(out: &mut Vec<u8>, seq: u64, entry: &Hash) {
    out.extend_from_slice(b",\"seq\":");
    push_digits(out, seq);
    push_entry(out, entry);
    out.pop();
}

/// Ends a line with its entry and a newline.
pub(super) fn push_entry(out: &mut Vec<u8>, entry: &Hash) {
    out.extend_from_slice(ENTRY);
    push_base64(out, entry);
    out.extend_from_slice(b"\"}\n");
}

/// Appends bytes in Base64.
pub(super) fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    STANDARD.encode_append(bytes, out);
}

/// Appends the bytes that Base64 stands for. `None` when it is none, or not in the one spelling that it has.
pub(super) fn push_decoded(out: &mut Vec<u8>, digits: &[u8]) -> Option<()> {
    out.reserve(digits.len() / 4 * 3);
    STANDARD.decode_append(digits, out).ok()
}

/// Appends a number in decimal digits.
pub fn push_digits(out: &mut Vec<u8>, number: u64) {
    let (digits, at) = digits(number);
    out.extend_from_slice(&digits[at..]);
}

/// A number in decimal digits, and where they begin.
pub(super) fn digits(number: u64) -> ([u8; 20], usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            return (digits, at);
        }
    }
}

/// A line taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// What the entry is a hash of.
    text: &'a [u8],
    /// The record's number.
    pub(super) seq: u64,
    /// The entry that stands in it.
    pub(super) entry: Hash,
}

impl<'a> Line<'a> {
    /// Takes a line (without its newline) apart by its text. `None` when it has not the form that the writer gives it.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let (text, field) = line.split_at_checked(line.len().checked_sub(ENTRY_FIELD)?)?;
        let digits = field.strip_prefix(ENTRY)?.strip_suffix(b"\"}")?;
        let mut entry = [0; 33];
        // One spelling only: the decoder refuses digits that stand for nothing.
        let entry: &[u8] = STANDARD.decode(digits, Out::from_slice(&mut entry)).ok()?;
        let entry: Hash = entry.try_into().ok()?;
        let at = text.iter().rposition(|b| !b.is_ascii_digit())? + 1;
        let (open, digits) = text.split_at(at);
        if digits.is_empty() || (digits[0] == b'0' && digits.len() > 1) {
            return None;
        }
        let seq = digits.iter().try_fold(0u64, |n, digit| n.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
        (open.starts_with(b"{") && open.ends_with(b",\"seq\":")).then_some(Self { text, seq, entry })
    }

    /// What the entry is a hash of, behind the salt.
    pub(super) fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Whether the record is boxed: then nobody needs its salt to check it.
    pub(super) fn is_boxed(&self) -> bool {
        self.text.starts_with(BEGINS)
    }

    /// The same of a line that was taken apart before.
    pub(super) fn of_parts(text: &'a [u8], seq: u64, entry: Hash) -> Self {
        Self { text, seq, entry }
    }

    /// Whether the record is the one that its entry was made of. `None` when that needs a salt and there is none.
    pub(super) fn is_sound(&self, salt: impl FnOnce() -> Option<Hash>) -> Option<bool> {
        if self.is_boxed() {
            return Some(sha256(self.text) == self.entry);
        }
        salt().map(|salt| commit(&salt, self.text) == self.entry)
    }
}

/// Whether a line was written by an earlier version, which chained records.
pub(super) fn is_of_old(line: &[u8]) -> bool {
    line.starts_with(b"{") && memchr::memmem::rfind(line, b",\"chain\":\"").is_some_and(|at| line.len() == at + 76)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_written_as_everybody_writes_it_and_read_in_that_one_spelling() {
        use base64::Engine;
        use base64::engine::general_purpose::STANDARD as PLAIN;
        for length in 0..100usize {
            let bytes: Vec<u8> = (0..length).map(|n| u8::try_from(n * 37 % 251).unwrap()).collect();
            let (mut digits, mut back) = (b"in front".to_vec(), b"in front".to_vec());
            push_base64(&mut digits, &bytes);
            let text = &digits[8..];
            assert_eq!(text, PLAIN.encode(&bytes).as_bytes());
            push_decoded(&mut back, text).unwrap();
            assert_eq!(back[8..], bytes);
            // No bit of it can be another one, and it can be neither longer nor shorter, and stand for the same.
            for at in 0..text.len() * 8 {
                let mut other = text.to_vec();
                other[at / 8] ^= 1 << (at % 8);
                let mut got = Vec::new();
                assert!(push_decoded(&mut got, &other).is_none() || got != bytes, "{length} bytes, bit {at}");
            }
            for other in [[text, b"="].concat(), [text, b"\n"].concat(), text[..text.len().saturating_sub(1)].to_vec()]
            {
                assert!(other == text || push_decoded(&mut Vec::new(), &other).is_none(), "{length} bytes");
            }
        }
    }

    #[test]
    fn a_line_is_taken_apart_in_its_one_form() {
        let mut line = Vec::new();
        let text = b"{\"a\":1";
        line.extend_from_slice(text);
        push_end(&mut line, 18_446_744_073_709_551_615, &[7; 32]);
        let parsed = Line::parse(&line).unwrap();
        assert_eq!((parsed.seq, parsed.entry), (u64::MAX, [7; 32]));
        let as_text = String::from_utf8(line.clone()).unwrap();
        for (from, to) in [
            ("18446744073709551615", "18446744073709551616"),
            ("18446744073709551615", "018"),
            ("18446744073709551615", ""),
            ("18446744073709551615", "-1"),
            // The same bytes in other digits, and one byte too many.
            ("BwcHBwc=", "BwcHBwd="),
            ("BwcHBwc=", "BwcHBwcH"),
        ] {
            assert!(as_text.contains(from));
            assert!(Line::parse(as_text.replace(from, to).as_bytes()).is_none(), "{to}");
        }
    }
}
