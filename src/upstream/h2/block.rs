//! The literals of a header block (RFC 7541, section 6) that may stand for a secret: values that are never indexed, and
//! `:path`. Nothing is decoded but lengths.

use std::ops::Range;

/// `:path` in the static table; it stands there with two values.
const PATH: Range<usize> = 4..6;

/// A literal value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// It is `:path`; otherwise it is the value of a header that is never indexed: a secret.
    pub is_target: bool,
    /// Where its length stands; the first bit there says that it is coded.
    pub at: usize,
    /// It is in Huffman's code.
    pub coded: bool,
    /// Where its bytes stand.
    pub value: Range<usize>,
}

/// The literals that may stand for a secret. None when it is no header block.
pub fn literals(block: &[u8]) -> Option<Vec<Literal>> {
    let mut reader = Reader { block, at: 0 };
    let mut found = Vec::new();
    while let Some(first) = block.get(reader.at) {
        match first {
            // An indexed field.
            0x80.. => _ = reader.number(7)?,
            // A literal that goes into the table: no secret may.
            0x40..0x80 => _ = reader.literal(6)?,
            // The table's size.
            0x20..0x40 => _ = reader.number(5)?,
            _ => {
                let (name, mut literal) = reader.literal(4)?;
                literal.is_target = PATH.contains(&name);
                if literal.is_target || first & 0x10 != 0 {
                    found.push(literal);
                }
            }
        }
    }
    Some(found)
}

struct Reader<'a> {
    block: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.block.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// A number that begins in the last bits of a byte.
    fn number(&mut self, bits: u32) -> Option<usize> {
        let most = (1 << bits) - 1;
        let mut number = usize::from(self.next()?) & most;
        if number < most {
            return Some(number);
        }
        // Three more bytes hold any length that a block can have.
        for shift in [0, 7, 14] {
            let byte = self.next()?;
            number += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn string(&mut self) -> Option<Literal> {
        let at = self.at;
        let coded = self.block.get(at)? & 0x80 != 0;
        let length = self.number(7)?;
        let value = self.at..self.at + length;
        self.block.get(value.clone())?;
        self.at = value.end;
        Some(Literal { is_target: false, at, coded, value })
    }

    /// A name's number, 0 when it is spelled out, and the value.
    fn literal(&mut self, bits: u32) -> Option<(usize, Literal)> {
        let name = self.number(bits)?;
        if name == 0 {
            self.string()?;
        }
        Some((name, self.string()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_and_what_is_never_indexed_are_found_and_nothing_else() {
        let block = [
            &[0x3f, 0xe1, 0x1f][..],               // the table's size
            &[0x82],                               // :method: GET
            &[0x04, 0x82, 0x63, 0xff],             // :path, coded
            &[0x41, 0x01, b'a'],                   // :authority, into the table
            &[0x0f, 0x01, 0x01, b'b'],             // a header, not indexed
            &[0x1f, 0x08, 0x01, b'c'],             // authorization, never indexed
            &[0x10, 0x01, b'n', 0x02, b'd', b'e'], // a header by name, never indexed
            &[0x00, 0x01, b'n', 0x01, b'f'],       // the same, not indexed
            &[0x40, 0x81, 0xff, 0x00],             // into the table, by name, empty
        ]
        .concat();
        let found = literals(&block).unwrap();
        let told: Vec<_> = found.iter().map(|it| (it.is_target, it.coded, &block[it.value.clone()])).collect();
        assert_eq!(told, [(true, true, &[0x63, 0xff][..]), (false, false, b"c"), (false, false, b"de")]);
        assert_eq!(found[2].at, found[2].value.start - 1);
    }

    #[test]
    fn a_long_literal_has_a_longer_length() {
        let block = [&[0x10, 0x01, b'n', 0x7f, 0xad, 0x01][..], &[b'v'; 300]].concat();
        assert_eq!(literals(&block).unwrap()[0].value, 6..306);
        assert_eq!(literals(&block[..305]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(block in proptest::collection::vec(any::<u8>(), 0..200)) {
            for literal in literals(&block).unwrap_or_default() {
                prop_assert!(literal.at < literal.value.start && literal.value.end <= block.len());
            }
        }
    }
}
