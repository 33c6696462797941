//! What stands for a secret until its header block is written.
//!
//! HTTP/2 libraries write text in Huffman's code (RFC 7541, appendix B), in which six characters take eight bits. A blank of as
//! many of them as the secret has bytes takes as many bytes in the block, coded, as the secret does as it is: it can be
//! replaced in place, and no length in block or frame changes.

use aws_lc_rs::rand;
use http::HeaderValue;
use http::uri::PathAndQuery;

use super::block::Literal;

/// Their codes are `0xf8` to `0xfd`, in this order.
const CHARACTERS: &[u8; 6] = b"&*,;XZ";
/// The first one's code.
const FIRST_CODE: u8 = 0xf8;
/// The code of `/`, with which a target begins, and its length in bits.
const SLASH: (u8, u32) = (0x18, 6);
/// So many characters are drawn: 62 bits. The rest of a long blank is the same in each.
const DRAWN: usize = 24;

/// A secret, which lies in the arena or is wiped by its call.
#[derive(Clone)]
pub enum Secret {
    /// The value of a header.
    Value(HeaderValue),
    /// A target with a key in its query.
    Target(PathAndQuery),
}

impl Secret {
    /// As it is sent.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Value(value) => value.as_bytes(),
            Self::Target(target) => target.as_str().as_bytes(),
        }
    }

    fn is_target(&self) -> bool {
        matches!(self, Self::Target(_))
    }
}

/// A secret and the text in its place.
pub struct Blank {
    text: Vec<u8>,
    secret: Secret,
}

impl Blank {
    /// A blank that is drawn at random, like no other that is in use. None where the system hands out no random bytes.
    pub fn draw(secret: Secret, in_use: impl Fn(&[u8]) -> bool) -> Option<Self> {
        let length = secret.bytes().len();
        let mut blank = Self { text: Vec::with_capacity(length), secret };
        // A short one may meet its like. When all of them are in use, there is none.
        for _ in 0..64 {
            let mut random = [0; 8];
            rand::fill(&mut random).ok()?;
            blank.write(length, u64::from_ne_bytes(random));
            if length > DRAWN || !in_use(&blank.text) {
                return Some(blank);
            }
        }
        None
    }

    fn write(&mut self, length: usize, mut random: u64) {
        self.text.clear();
        if self.secret.is_target() {
            self.text.push(b'/');
        }
        for drawn in 0..length - self.text.len() {
            let character = if drawn < DRAWN { random % 6 } else { 0 };
            random /= 6;
            self.text.push(CHARACTERS[usize::try_from(character).unwrap_or_default()]);
        }
    }

    /// What the library is given.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether a literal is this blank, coded or as it is.
    pub fn is(&self, literal: &Literal, block: &[u8]) -> bool {
        let found = &block[literal.value.clone()];
        if literal.is_target != self.secret.is_target() || found.len() != self.text.len() {
            return false;
        }
        if literal.coded { coded(&self.text).eq(found.iter().copied()) } else { found == self.text }
    }

    /// What belongs in its place.
    pub fn into_secret(self) -> Secret {
        self.secret
    }
}

/// A blank in Huffman's code: what is left of the last byte is filled up with ones.
fn coded(text: &[u8]) -> impl Iterator<Item = u8> {
    let shift = if text.first() == Some(&b'/') { 8 - SLASH.1 } else { 0 };
    let code = |character: &u8| match CHARACTERS.iter().zip(FIRST_CODE..).find(|(known, _)| *known == character) {
        Some((_, code)) => code,
        None => SLASH.0,
    };
    let ends = text.iter().skip(1).map(code).chain([0xff]);
    text.iter().map(code).zip(ends).map(move |(this, next)| {
        let both = u16::from_be_bytes([this, next]) << shift;
        both.to_be_bytes()[0]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &'static str) -> Secret {
        Secret::Value(HeaderValue::from_static(text))
    }

    #[test]
    fn a_blank_takes_as_many_bytes_coded_as_it_has_characters() {
        assert!(coded(b"&*,;XZ").eq([0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd]));
        // 011000, then each code behind it by two bits, then ones.
        assert!(coded(b"/&Z").eq([0b0110_0011, 0b1110_0011, 0b1111_0111]));
        assert!(coded(b"/").eq([0b0110_0011]));
    }

    #[test]
    fn a_short_blank_is_like_no_other_in_use_and_there_may_be_none() {
        let taken: Vec<Vec<u8>> = CHARACTERS[1..].iter().map(|one| vec![*one]).collect();
        let blank = Blank::draw(value("k"), |text| taken.contains(&text.to_vec()));
        // One in six is free; in 64 draws it is missed once in a hundred thousand times.
        assert!(blank.is_none_or(|blank| blank.text() == b"&"));
        assert!(Blank::draw(value("k"), |_| true).is_none());
    }

    #[test]
    fn a_target_stays_a_target_and_no_two_blanks_are_alike() {
        let target = || Secret::Target(PathAndQuery::from_static("/v2/orders?apikey=0123456789abcdef"));
        let (one, other) = (Blank::draw(target(), |_| false).unwrap(), Blank::draw(target(), |_| false).unwrap());
        assert!(one.text().starts_with(b"/") && one.text().len() == target().bytes().len());
        assert!(one.text()[1..].iter().all(|character| CHARACTERS.contains(character)));
        assert_ne!(one.text(), other.text());
    }
}
