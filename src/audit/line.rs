//! The form of a line: a record's JSON with its number and chain value as the last two fields.
//!
//! `chain` is SHA-256 over the previous record's chain value and this record's JSON without the two fields. A changed,
//! dropped, swapped or inserted line breaks it.

use aws_lc_rs::digest::{Context, SHA256};

/// The running chain value.
pub struct Chain([u8; 32]);

impl Chain {
    /// Goes on from a value; zeros before the first record.
    pub fn new(value: [u8; 32]) -> Self {
        Self(value)
    }

    /// The value after this record.
    pub fn next(&mut self, json: &[u8]) -> &[u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        context.update(json);
        self.0.copy_from_slice(context.finish().as_ref());
        &self.0
    }

    /// The same for a record whose closing brace was replaced by the two fields.
    fn next_parts(&mut self, open: &[u8]) -> &[u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        context.update(open);
        context.update(b"}");
        self.0.copy_from_slice(context.finish().as_ref());
        &self.0
    }

    /// The present value.
    pub fn value(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Appends a record's line. `json` is an object with at least one field.
pub fn push_line(out: &mut Vec<u8>, json: &[u8], seq: u64, chain: &mut Chain) {
    let open = json.strip_suffix(b"}").unwrap_or(json);
    out.extend_from_slice(open);
    out.extend_from_slice(b",\"seq\":");
    push_digits(out, seq);
    out.extend_from_slice(b",\"chain\":\"");
    push_hex(out, chain.next(json));
    out.extend_from_slice(b"\"}\n");
}

/// Appends a number in decimal digits.
pub fn push_digits(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// A line taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The record's JSON without its closing brace.
    open: &'a [u8],
    /// Its number.
    pub seq: u64,
    /// The chain value that stands in it.
    pub chain: [u8; 32],
}

/// `,"chain":"` + 64 digits + `"}`
const CHAIN_FIELD: usize = 10 + 64 + 2;

impl<'a> Line<'a> {
    /// Takes a line (without its newline) apart by its text. `None` when it has not the form that the writer gives it.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let (rest, field) = line.split_at_checked(line.len().checked_sub(CHAIN_FIELD)?)?;
        let digits = field.strip_prefix(b",\"chain\":\"")?.strip_suffix(b"\"}")?;
        let mut chain = [0; 32];
        for (byte, pair) in chain.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        let at = rest.iter().rposition(|b| !b.is_ascii_digit())? + 1;
        let (open, digits) = rest.split_at(at);
        if digits.is_empty() || (digits[0] == b'0' && digits.len() > 1) {
            return None;
        }
        let seq = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let open = open.strip_suffix(b",\"seq\":")?;
        open.starts_with(b"{").then_some(Self { open, seq, chain })
    }

    /// Whether it continues the chain, which moves on when it does.
    pub fn continues(&self, chain: &mut Chain) -> bool {
        let before = *chain.value();
        if chain.next_parts(self.open) == &self.chain {
            return true;
        }
        *chain = Chain::new(before);
        false
    }
}

/// Lower-case hex only: another spelling of the same value would be another line.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}
