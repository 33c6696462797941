//! Just enough gzip to answer a client that asked for no encoding: one block of fixed Huffman codes, no matching.
//!
//! Real compression would need a crate that nothing else uses. What counts here is that the bytes on the wire are not
//! the text's own, so that whoever looks into them without decoding finds nothing.

/// Packs bytes into a gzip member (RFC 1952) with one deflate block (RFC 1951, 3.2.6).
pub fn pack(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut bits = Bits { out: Vec::with_capacity(data.len() + 16), held: 0, count: 0 };
    // Last block, fixed codes.
    bits.push(0b011, 3);
    for &byte in data {
        match byte {
            0..=143 => bits.push_code(0x30 + u32::from(byte), 8),
            _ => bits.push_code(0x190 + u32::from(byte) - 144, 9),
        }
    }
    // End of block: seven noughts.
    bits.push(0, 7);
    out.append(&mut bits.finish());
    out.extend(crc32(data).to_le_bytes());
    // Modulo 2^32, as the format says.
    out.extend((data.len() as u64 & 0xffff_ffff).to_le_bytes().into_iter().take(4));
    out
}

struct Bits {
    out: Vec<u8>,
    held: u32,
    count: u32,
}

impl Bits {
    /// Adds the low `count` bits, lowest first.
    fn push(&mut self, bits: u32, count: u32) {
        self.held |= bits << self.count;
        self.count += count;
        while self.count >= 8 {
            self.out.push(self.held.to_le_bytes()[0]);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    /// Huffman codes go highest bit first.
    fn push_code(&mut self, code: u32, count: u32) {
        self.push(code.reverse_bits() >> (32 - count), count);
    }

    fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.out.push(self.held.to_le_bytes()[0]);
        }
        self.out
    }
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn an_empty_text_is_an_empty_block() {
        assert_eq!(pack(b"")[10..], [0b011, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_text_itself_is_not_in_the_packed_bytes() {
        let packed = pack(b"0123456789abcdef0123456789abcdef");
        assert!(!packed.windows(4).any(|window| window == b"0123" || window == b"cdef"));
    }
}
