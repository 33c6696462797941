//! Scoped keys: the tokens that Keygate issues to integrations, and the check that tells a mistyped one from an unknown one.
//!
//! A scoped key is `kg_`, 43 base62 digits (256 random bits) and 6 base62 digits of CRC-32 over all that stands before:
//! the form of GitHub's tokens, so that secret scanners can find it and a broken copy is told apart without a look-up.
//! Only its SHA-256 is kept anywhere. This file makes no randomness of its own; it gets the bytes handed in.

use aws_lc_rs::digest;
use zeroize::{Zeroize, Zeroizing};

/// Length of a scoped key in bytes.
pub const LENGTH: usize = PREFIX.len() + BODY + CHECK;

const PREFIX: &[u8] = b"kg_";
const BODY: usize = 43;
const CHECK: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A freshly made scoped key. It has no `Debug`, `Display` or `Serialize` and is wiped on drop; it exists only between
/// its making and the one time it is shown.
pub struct ScopedKey(Zeroizing<String>);

impl ScopedKey {
    /// Makes the key that stands for 32 random bytes. The same bytes give the same key.
    pub fn from_random(mut random: [u8; 32]) -> Self {
        let mut text = Zeroizing::new([0; LENGTH]);
        text[..PREFIX.len()].copy_from_slice(PREFIX);
        for digit in text[PREFIX.len()..PREFIX.len() + BODY].iter_mut().rev() {
            *digit = DIGITS[divide(&mut random)];
        }
        random.zeroize();
        let check = check_digits(&text[..PREFIX.len() + BODY]);
        text[PREFIX.len() + BODY..].copy_from_slice(&check);
        Self(Zeroizing::new(text.iter().map(|&byte| char::from(byte)).collect()))
    }

    /// The key itself. Every place that calls this is a place to review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the key: what the configuration keeps.
    pub fn sha256(&self) -> [u8; 32] {
        sha256(self.0.as_bytes())
    }
}

/// Why a text cannot be a scoped key. Says nothing of the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It does not begin with `kg_`: probably the merchant API's own key.
    #[error("a scoped key begins with `kg_`")]
    Prefix,
    /// Too short or too long: probably a broken copy.
    #[error("a scoped key has {LENGTH} characters")]
    Length,
    /// Characters that a scoped key never has.
    #[error("a scoped key has only letters and digits after `kg_`")]
    Alphabet,
    /// The checksum does not fit: a character was mistyped.
    #[error("the scoped key's checksum does not fit")]
    Checksum,
}

/// Whether a text may be a scoped key at all, told at a glance: where it begins and how long it is.
pub fn has_the_form(text: &[u8]) -> bool {
    text.len() == LENGTH && text.starts_with(PREFIX)
}

/// Checks form and checksum; allocates nothing. A text that passes may still be unknown.
pub fn check(text: &[u8]) -> Result<(), Malformed> {
    if !text.starts_with(PREFIX) {
        return Err(Malformed::Prefix);
    }
    if text.len() != LENGTH {
        return Err(Malformed::Length);
    }
    let (body, found) = text.split_at(PREFIX.len() + BODY);
    if !text[PREFIX.len()..].iter().all(u8::is_ascii_alphanumeric) {
        return Err(Malformed::Alphabet);
    }
    if found == check_digits(body) { Ok(()) } else { Err(Malformed::Checksum) }
}

/// SHA-256 of a scoped key as presented.
pub fn sha256(text: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
    hash
}

/// Divides a big-endian number by 62 in place; the remainder.
fn divide(number: &mut [u8; 32]) -> usize {
    let mut rest = 0_u16;
    for byte in number {
        let part = rest << 8 | u16::from(*byte);
        *byte = u8::try_from(part / 62).unwrap_or(u8::MAX);
        rest = part % 62;
    }
    usize::from(rest)
}

fn check_digits(body: &[u8]) -> [u8; CHECK] {
    let mut rest = crc32(body);
    let mut digits = [b'0'; CHECK];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// CRC-32 as zip and Ethernet have it (reflected, polynomial 0xEDB88320).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| CRC_TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ crc >> 8)
}

const CRC_TABLE: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0_u32;
    while index < 256 {
        let mut value = index;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[index as usize] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_is_the_crc_32_that_everyone_means() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn the_hash_is_plain_sha_256() {
        let expected = [0xba, 0x78, 0x16, 0xbf];
        assert_eq!(sha256(b"abc")[..4], expected);
    }

    #[test]
    fn the_smallest_and_the_largest_number_have_the_same_length() {
        let zero = ScopedKey::from_random([0; 32]);
        assert!(zero.expose().starts_with(&format!("kg_{}", "0".repeat(43))));
        assert_eq!(ScopedKey::from_random([0xff; 32]).expose().len(), LENGTH);
        assert_eq!(check(ScopedKey::from_random([0xff; 32]).expose().as_bytes()), Ok(()));
    }

    #[test]
    fn each_kind_of_damage_has_its_own_name() {
        let key = ScopedKey::from_random([7; 32]);
        let key = key.expose();
        assert_eq!(check(b""), Err(Malformed::Prefix));
        assert_eq!(check(b"1234567890abcdef"), Err(Malformed::Prefix));
        assert_eq!(check(key.to_lowercase().as_bytes()), Err(Malformed::Checksum));
        assert_eq!(check(&key.as_bytes()[..LENGTH - 1]), Err(Malformed::Length));
        assert_eq!(check(format!("{key}0").as_bytes()), Err(Malformed::Length));
        assert_eq!(check(key.replace(&key[10..11], "-").as_bytes()), Err(Malformed::Alphabet));
    }

    proptest! {
        #[test]
        fn every_key_that_is_made_passes_its_own_check(random: [u8; 32]) {
            prop_assert_eq!(check(ScopedKey::from_random(random).expose().as_bytes()), Ok(()));
        }

        #[test]
        fn different_bytes_give_different_keys(a: [u8; 32], b: [u8; 32]) {
            let same = ScopedKey::from_random(a).expose() == ScopedKey::from_random(b).expose();
            prop_assert_eq!(same, a == b);
        }

        #[test]
        fn one_changed_character_is_always_noticed(random: [u8; 32], at in 0..LENGTH, to in 0_u8..62) {
            let mut text = ScopedKey::from_random(random).expose().as_bytes().to_vec();
            let digit = DIGITS[usize::from(to)];
            prop_assume!(text[at] != digit);
            text[at] = digit;
            prop_assert!(check(&text).is_err());
        }

        #[test]
        fn two_swapped_neighbours_are_always_noticed(random: [u8; 32], at in 0..LENGTH - 1) {
            let mut text = ScopedKey::from_random(random).expose().as_bytes().to_vec();
            prop_assume!(text[at] != text[at + 1]);
            text.swap(at, at + 1);
            prop_assert!(check(&text).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = check(&bytes);
        }
    }
}
