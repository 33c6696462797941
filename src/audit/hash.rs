//! Keyed hashes of personal data: searchable by who holds the key, meaningless to others.

use std::fmt;

use aws_lc_rs::hmac;
use serde::{Serialize, Serializer};

/// The first 128 bits of HMAC-SHA256 over `name NUL value`; written as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyedHash([u8; 16]);

impl KeyedHash {
    pub(super) fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub(super) fn hex(self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut out = [0; 32];
        for (i, byte) in self.0.iter().enumerate() {
            out[2 * i] = DIGITS[usize::from(byte >> 4)];
            out[2 * i + 1] = DIGITS[usize::from(byte & 15)];
        }
        out
    }
}

impl fmt::Display for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyedHash({self})")
    }
}

impl Serialize for KeyedHash {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

/// Makes keyed hashes. The key is 32 bytes from the file `[audit] hash_key`.
pub struct ParamHasher(hmac::Key);

impl ParamHasher {
    /// Takes the key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Hashes one value under its parameter's name (ASCII case of the name is ignored).
    pub fn hash(&self, name: &str, value: &[u8]) -> KeyedHash {
        let mut context = hmac::Context::with_key(&self.0);
        for byte in name.bytes() {
            context.update(&[byte.to_ascii_lowercase()]);
        }
        context.update(&[0]);
        context.update(value);
        let tag = context.sign();
        let mut short = [0; 16];
        short.copy_from_slice(&tag.as_ref()[..16]);
        KeyedHash(short)
    }
}
