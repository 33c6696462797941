//! The spellings in which a key may come back: as it is, escaped for JSON, for URLs, inside Base64.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// Text that is wiped when it is no longer needed.
pub(super) type Text = Zeroizing<Vec<u8>>;

/// Empty, with so much room that it never grows: a buffer that grows leaves a copy behind.
pub(super) fn room(bytes: usize) -> Text {
    Zeroizing::new(Vec::with_capacity(bytes))
}

/// All of them, none twice.
pub(super) fn spellings(key: &[u8]) -> Vec<Text> {
    // A key of hex digits is as often written in capitals.
    let mut all = vec![key.to_vec(), key.to_ascii_uppercase(), key.to_ascii_lowercase()]
        .into_iter()
        .map(Zeroizing::new)
        .collect::<Vec<_>>();
    all.extend([json_escaped(key, false), json_escaped(key, true), dotnet_escaped(key)]);
    for escape_all in [false, true] {
        for upper in [false, true] {
            all.push(percent(key, escape_all, upper));
        }
    }
    for shift in 0..3 {
        all.push(base64_core(key, shift, &STANDARD_NO_PAD));
        all.push(base64_core(key, shift, &URL_SAFE_NO_PAD));
    }
    all.sort_by(|a, b| a.as_slice().cmp(b));
    all.dedup();
    all
}

fn json_escaped(key: &[u8], slash: bool) -> Text {
    let mut out = room(2 * key.len());
    for &byte in key {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'/' if slash => out.extend_from_slice(b"\\/"),
            _ => out.push(byte),
        }
    }
    out
}

/// As .NET's own JSON writer does by default.
pub(super) fn dotnet_escaped(key: &[u8]) -> Text {
    let mut out = room(6 * key.len());
    for &byte in key {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' | b'&' | b'\'' | b'+' | b'<' | b'>' | b'`' => {
                out.extend_from_slice(format!("\\u{byte:04X}").as_bytes());
            }
            _ => out.push(byte),
        }
    }
    out
}

/// Reserved bytes escaped, or every byte.
pub(super) fn percent(key: &[u8], escape_all: bool, upper: bool) -> Text {
    let digits: &[u8; 16] = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let mut out = room(key.len() * 3);
    for &byte in key {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if plain && !escape_all {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        }
    }
    out
}

/// The Base64 characters that depend on the key alone when `shift` other bytes stand before it in its group of three.
fn base64_core(key: &[u8], shift: usize, engine: &impl Engine) -> Text {
    let mut padded = room(shift + key.len());
    padded.extend_from_slice(&[0; 2][..shift]);
    padded.extend_from_slice(key);
    let encoded = Zeroizing::new(engine.encode(&*padded).into_bytes());
    // Of `shift` bytes, the first `shift * 8 / 6` characters and one mixed one depend on what stands before.
    let first = (shift * 8).div_ceil(6);
    let whole = padded.len() * 8 / 6;
    Zeroizing::new(encoded[first..whole].to_vec())
}
