//! What a finished segment's records are about, so that a search reads only the blocks that may have some.
//!
//! `segment-N.find` lies beside the segment. What few values are known of (integration, endpoint, status, …) is kept as
//! *shapes*, the combinations that occur: each block names its own, so a search for several of them at once is exact. Of what
//! every record has another value of (id, parameters, peer) each block has a Bloom filter, and there are some bytes for each record that
//! say which of a block's records to look at (`rows.rs`). A file that is missing,
//! damaged or of another segment is made anew: it can cost time, never a record. Of an encrypted segment it is an age file,
//! `segment-N.find.age`: who cannot read the records learns nothing from it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::query::Query;
use super::rows::{Gathered, Rows};
use super::seen::{Seen, Shape, Token, mix};
use super::text::{Records, Segment, has_boxes};
use crate::audit::picked::Front;

/// First line of the file.
const MAGIC: &[u8] = b"keygate-find/2\n";
/// Bytes of its last part, SHA-256 of all before.
const SUM: usize = 32;

/// Bits of a filter for each value in it, and how many of them a value sets: three of a thousand others look like one that is there.
const BITS: usize = 12;
const PROBES: u64 = 8;

/// Shapes of a segment that are told apart. There are some hundred; a client that makes up methods makes more.
const SHAPES: usize = 8192;
/// Stands for all others: it may be what is looked for.
const UNKNOWN: usize = usize::MAX;

/// Second line of the file. Behind it stand, in their order, each block's filter and what is known of its records.
#[derive(Deserialize, Serialize)]
struct Head {
    /// Number of the segment.
    segment: u64,
    /// Its bytes.
    length: u64,
    shapes: Vec<Shape<String>>,
    blocks: Vec<Block>,
}

#[derive(Deserialize, Serialize)]
struct Block {
    /// Where it lies in the file.
    offset: u64,
    /// Bytes of its lines; of a segment that was sealed, as they were before.
    length: usize,
    /// Numbers of the first and last record.
    numbers: (u64, u64),
    /// Times of the first and last, milliseconds since 1970.
    times: Option<(i64, i64)>,
    /// Which of the shapes occur.
    shapes: Vec<usize>,
    /// Bytes of the filter.
    filter: usize,
    /// Lines that something is known of: all, or none where that does not fit.
    rows: usize,
    /// Of a sealed block.
    front: Option<Front>,
}

/// Where a block lies in its segment.
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) length: usize,
    pub(super) front: Option<Front>,
    /// Places in it of the lines that may be looked for; `None` for all.
    pub(super) rows: Option<Vec<usize>>,
}

/// The index of a segment.
pub(super) struct Index {
    /// Whether some of its records are encrypted: then it must not be read by others either.
    pub(super) secret: bool,
    head: Head,
    body: Vec<u8>,
}

/// Where the index of a segment lies, and where it does if it is encrypted.
pub(super) fn path(segment: &Path, secret: bool) -> PathBuf {
    segment.with_extension(if secret { "find.age" } else { "find" })
}

impl Index {
    /// Makes it from the records; none when `go_on` says no.
    pub(super) fn make(
        number: u64,
        segment: &Segment,
        records: &mut Records,
        go_on: impl Fn() -> bool,
    ) -> io::Result<Option<Self>> {
        let head = Head { segment: number, length: segment.length()?, shapes: Vec::new(), blocks: Vec::new() };
        let mut index = Self { secret: false, head, body: Vec::new() };
        let (mut shapes, mut blocks) = (Shapes::default(), segment.blocks());
        while let Some((offset, text)) = blocks.next()? {
            if !go_on() {
                return Ok(None);
            }
            index.secret |= has_boxes(text);
            let length = text.len();
            index.add((offset, length), records.open(text)?, &mut shapes);
        }
        for block in &mut index.head.blocks {
            block.front = segment.front(block.offset);
        }
        index.head.shapes = shapes.known;
        Ok(Some(index))
    }

    fn add(&mut self, (offset, length): (u64, usize), text: &[u8], shapes: &mut Shapes) {
        let (mut tokens, mut own, mut gathered) = (Vec::new(), Vec::new(), Gathered::default());
        let (mut numbers, mut times) = ((u64::MAX, 0), None);
        for line in text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n') {
            let Some(seen) = Seen::read(line) else {
                gathered.push(None);
                continue;
            };
            let shape = shapes.place(&seen.shape());
            own.push(shape);
            gathered.push(Some((&seen, shape)));
            tokens.extend(Token::all(&seen));
            numbers = (seen.seq.min(numbers.0), seen.seq.max(numbers.1));
            if let Some(time) = seen.time().map(Timestamp::as_millisecond) {
                let (first, last) = times.unwrap_or((time, time));
                times = Some((time.min(first), time.max(last)));
            }
        }
        own.sort_unstable();
        own.dedup();
        let filter = filter(tokens);
        self.body.extend_from_slice(&filter);
        let rows = gathered.bytes(&own, &mut self.body);
        let filter = filter.len();
        self.head.blocks.push(Block { offset, length, numbers, times, shapes: own, filter, rows, front: None });
    }

    /// The file's bytes.
    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        serde_json::to_writer(&mut bytes, &self.head)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        let sum = digest(&SHA256, &bytes);
        bytes.extend_from_slice(sum.as_ref());
        Ok(bytes)
    }

    /// Reads them; `None` when they are damaged, or of another segment or of one that was not as long.
    pub(super) fn read(bytes: &[u8], secret: bool, number: u64, length: u64) -> Option<Self> {
        let (told, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM)?)?;
        if digest(&SHA256, told).as_ref() != sum {
            return None;
        }
        let rest = told.strip_prefix(MAGIC)?;
        let (head, body) = rest.split_at(memchr::memchr(b'\n', rest)?);
        let head: Head = serde_json::from_slice(head).ok()?;
        let index = Self { secret, head, body: body[1..].to_vec() };
        let mut rest = &*index.body;
        for block in &index.head.blocks {
            (_, _, rest) = block.parts(rest)?;
        }
        (rest.is_empty() && index.head.segment == number && index.head.length == length).then_some(index)
    }

    /// The blocks that may have records that are looked for.
    pub(super) fn places(&self, query: &Query) -> Vec<Place> {
        let fits: Vec<bool> = self.head.shapes.iter().map(|shape| query.fits_shape(shape)).collect();
        let (mut rest, mut places) = (&*self.body, Vec::new());
        for block in &self.head.blocks {
            let Some((filter, rows, behind)) = block.parts(rest) else { break };
            rest = behind;
            let own: Vec<bool> = block.shapes.iter().map(|shape| fits.get(*shape).copied().unwrap_or(true)).collect();
            if !own.contains(&true)
                || !query.fits_times(block.times)
                || !query.fits_block(block.numbers, |token| has(filter, token))
            {
                continue;
            }
            let rows = (block.rows > 0).then(|| block.may_be(&rows, &own, query));
            if rows.as_ref().is_none_or(|rows| !rows.is_empty()) {
                let Block { offset, length, front, .. } = *block;
                places.push(Place { offset, length, front, rows });
            }
        }
        places
    }
}

impl Block {
    /// Its part of an index's body: the filter, what is known of its records, and what stands behind.
    fn parts<'a>(&self, body: &'a [u8]) -> Option<(&'a [u8], Rows<'a>, &'a [u8])> {
        let (filter, rest) = body.split_at_checked(self.filter)?;
        let (rows, rest) = Rows::read(self.rows, rest)?;
        Some((filter, rows, rest))
    }

    /// The lines that may be looked for; `own` says it of its shapes.
    fn may_be(&self, rows: &Rows<'_>, own: &[bool], query: &Query) -> Vec<usize> {
        let marked = |marks: Option<&[u8]>| marks.is_none_or(|marks| query.fits_marks(marks));
        let mut found = rows.may_be(own, query.asks_for_marks().then_some(marked));
        let (first, last) = self.numbers;
        if last.checked_sub(first).is_some_and(|more| more + 1 == self.rows as u64) {
            found.retain(|row| query.fits_number(first + *row as u64));
        }
        found
    }
}

/// The shapes of a segment, by their values.
#[derive(Default)]
struct Shapes {
    places: HashMap<Vec<u8>, usize>,
    known: Vec<Shape<String>>,
    key: Vec<u8>,
}

impl Shapes {
    fn place(&mut self, shape: &Shape<&str>) -> usize {
        self.key.clear();
        for value in shape {
            // What is not there is not the same as what is empty.
            self.key.push(u8::from(value.is_some()));
            self.key.extend_from_slice(value.unwrap_or_default().as_bytes());
            self.key.push(0xff);
        }
        if let Some(place) = self.places.get(&self.key) {
            return *place;
        }
        if self.known.len() == SHAPES {
            return UNKNOWN;
        }
        self.known.push(shape.map(|value| value.map(str::to_owned)));
        self.places.insert(self.key.clone(), self.known.len() - 1);
        self.known.len() - 1
    }
}

/// A Bloom filter of these.
fn filter(mut tokens: Vec<Token>) -> Vec<u8> {
    tokens.sort_unstable();
    tokens.dedup();
    let mut filter = vec![0; (tokens.len() * BITS).div_ceil(8)];
    for token in tokens {
        for bit in bits(filter.len(), token) {
            filter[bit / 8] |= 1 << (bit % 8);
        }
    }
    filter
}

fn has(filter: &[u8], token: Token) -> bool {
    !filter.is_empty() && bits(filter.len(), token).all(|bit| filter[bit / 8] & (1 << (bit % 8)) != 0)
}

/// The bits of a token in a filter of so many bytes, which are not none.
fn bits(bytes: usize, token: Token) -> impl Iterator<Item = usize> {
    let step = mix(token.0 ^ 0x9e37_79b9_7f4a_7c15) | 1;
    (0..PROBES).map(move |n| {
        let at = token.0.wrapping_add(n.wrapping_mul(step));
        // The high half of the product is below the number of bits.
        usize::try_from((u128::from(at) * (bytes as u128 * 8)) >> 64).unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_what_was_put_in_and_little_else() {
        let tokens = |from: u64| (from..from + 3000).map(|n| Token(mix(n)));
        let filter = filter(tokens(0).collect());
        assert!(tokens(0).all(|token| has(&filter, token)));
        let mistaken = tokens(1_000_000).filter(|token| has(&filter, *token)).count();
        assert!(mistaken < 30, "{mistaken} of 3000 look like one that is there");
        assert!(!has(&[], Token(1)));
    }
}
