//! Marks: bytes that no JSON has, in the place of what is kept as bytes elsewhere. docs/audit-format.md has the list.

use super::super::instant::nanos;
use super::super::line::push_digits;

/// 32 hexadecimal digits: 16 bytes.
pub(super) const SIXTEEN: u8 = 1;
/// 12 hexadecimal digits: 6 bytes.
pub(super) const SIX: u8 = 2;
/// The record's beginning up to its id: 16 bytes of the id, and by how many nanoseconds the time differs from the milliseconds
/// that the id begins with.
pub(super) const HEAD: u8 = 3;
/// A number: LEB128.
pub(super) const NUMBER: u8 = 4;
/// What stands between two quotes: its length in LEB128, and it.
pub(super) const TEXT: u8 = 5;
/// An IPv4 address: its four bytes.
pub(super) const ADDRESS: u8 = 6;

const TIME: &[u8] = b"{\"time\":\"";
const ID: &[u8] = b"\",\"id\":\"";

/// Appends a text with what its marks stand for; what is left of the bytes. `None` when they do not fit.
pub(super) fn fill<'a>(text: &[u8], mut bytes: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte < b' ') {
        out.extend_from_slice(&rest[..at]);
        bytes = fill_one(rest[at], bytes, out)?;
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    Some(bytes)
}

/// The same for one mark.
pub(super) fn fill_one<'a>(mark: u8, bytes: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    match mark {
        HEAD => {
            let (head, behind) = bytes.split_first_chunk::<20>()?;
            push_head(out, head)?;
            Some(behind)
        }
        SIXTEEN => push_hex::<16>(out, bytes),
        SIX => push_hex::<6>(out, bytes),
        NUMBER => {
            let (number, behind) = number(bytes)?;
            push_digits(out, number);
            Some(behind)
        }
        TEXT => {
            let (length, behind) = number(bytes)?;
            let (text, behind) = behind.split_at_checked(usize::try_from(length).ok()?)?;
            out.extend_from_slice(text);
            Some(behind)
        }
        ADDRESS => {
            let (address, behind) = bytes.split_first_chunk::<4>()?;
            for (n, byte) in address.iter().enumerate() {
                if n > 0 {
                    out.push(b'.');
                }
                push_digits(out, (*byte).into());
            }
            Some(behind)
        }
        _ => None,
    }
}

/// Appends a number in LEB128: seven bits a byte, the lowest first, with a sign that more follow.
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

/// A number in LEB128, and what stands behind it.
pub(super) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (n, byte) in bytes.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f).checked_shl(u32::try_from(7 * n).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((number, &bytes[n + 1..]));
        }
    }
    None
}

/// The bytes that so many hexadecimal digits stand for; `None` when they are others than 0 to 9 and a to f.
pub(super) fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let (mut bytes, mut wrong) = ([0; N], pairs.len() != N);
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (VALUES[usize::from(*high)], VALUES[usize::from(*low)]);
        wrong |= high > 15 || low > 15;
        *byte = high << 4 | low & 15;
    }
    (!wrong).then_some(bytes)
}

/// Whether a byte is one of these digits.
pub(super) fn is_digit(byte: u8) -> bool {
    VALUES[usize::from(byte)] < 16
}

static VALUES: [u8; 256] = {
    let (mut values, mut n) = ([255; 256], 0u8);
    while n < 16 {
        values[DIGITS[n as usize] as usize] = n;
        n += 1;
    }
    values
};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn push_hex<'a, const N: usize>(out: &mut Vec<u8>, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (these, behind) = bytes.split_first_chunk::<N>()?;
    for byte in these {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    Some(behind)
}

/// The id and the difference of the time from it, and what stands behind.
pub(super) fn head(json: &[u8]) -> Option<([u8; 20], &[u8])> {
    let text = json.strip_prefix(TIME)?;
    let end = memchr::memchr(b'"', text)?;
    let (time, rest) = text.split_at(end);
    let (id, rest) = rest.strip_prefix(ID)?.split_at_checked(36)?;
    let id = uuid(id.first_chunk()?)?;
    let begun = nanos(time).filter(|_| is_canonical(time))?;
    let difference = i32::try_from(begun.checked_sub(milliseconds(&id).checked_mul(1_000_000)?)?).ok()?;
    let mut head = [0; 20];
    head[..16].copy_from_slice(&id);
    head[16..].copy_from_slice(&difference.to_be_bytes());
    Some((head, rest.strip_prefix(b"\"")?))
}

/// The same for a record that is not written yet. `None` for one whose time and id do not belong together.
pub(super) fn head_of(time: jiff::Timestamp, id: &uuid::Uuid) -> Option<[u8; 20]> {
    let nanos = i64::try_from(time.as_nanosecond()).ok()?;
    let difference = i32::try_from(nanos.checked_sub(milliseconds(id.as_bytes()).checked_mul(1_000_000)?)?).ok()?;
    let mut head = [0; 20];
    head[..16].copy_from_slice(id.as_bytes());
    head[16..].copy_from_slice(&difference.to_be_bytes());
    Some(head)
}

/// The bytes of an id, in its one spelling.
fn uuid(text: &[u8; 36]) -> Option<[u8; 16]> {
    let (mut digits, mut at) = ([0; 32], 0);
    for group in text.split(|byte| *byte == b'-') {
        digits.get_mut(at..at + group.len())?.copy_from_slice(group);
        at += group.len();
    }
    let hyphens = [8, 13, 18, 23].iter().all(|at| text[*at] == b'-');
    hex(&digits).filter(|_| hyphens && at == 32)
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
