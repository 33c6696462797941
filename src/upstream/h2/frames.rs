//! What the HTTP/2 library writes, frame by frame. A header block is kept until it is whole and then filled in; small frames are
//! put in line behind it, so that they leave together; what is large passes without being copied. Pure.

use std::borrow::Cow;
use std::io::IoSlice;
use std::ops::Range;

use super::blank::Secret;
use super::block::literals;
use super::{Misplaced, Waiting};

/// Length of the preface that a connection begins with.
const PREFACE: usize = 24;
/// Length of a frame's head.
const HEAD: usize = 9;
/// A frame up to this is copied: a write of its own would cost more, bytes.
const SMALL: usize = 1024;
/// The line is never longer than this: no head that the gate lets pass comes near, bytes.
const LARGEST: usize = 1024 * 1024;
/// Room that is kept for the next head, and how much of what was sent may stay in front of what waits, bytes.
const KEPT: usize = 16 * 1024;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// What the next byte belongs to.
enum At {
    /// A frame's head.
    Head,
    /// The preface, or a small frame: so many bytes are put in line.
    Small(usize),
    /// A frame of a header block: so many bytes of it are still to come.
    Block(usize),
    /// The payload of a large frame: so many bytes pass.
    Large(usize),
}

/// A header block that is not whole yet.
struct Block {
    stream: u32,
    /// Where its pieces stand in the line, frames' heads and padding left out.
    pieces: Vec<Range<usize>>,
    /// Flags and start of the frame that is coming in.
    frame: (u8, usize),
}

/// A secret in the place of bytes of the line.
struct Fill {
    place: Range<usize>,
    secret: Secret,
    /// Where in the secret the place begins: a block may be cut anywhere.
    from: usize,
}

/// The frames of one connection on their way out.
pub struct Frames {
    at: At,
    head: [u8; HEAD],
    have: usize,
    block: Option<Block>,
    /// The highest stream that was opened.
    opened: u32,
    /// What waits to be written: from `sent` to `whole`, and behind that what is not whole yet.
    line: Vec<u8>,
    sent: usize,
    whole: usize,
    fills: Vec<Fill>,
}

impl Frames {
    /// At the beginning of a connection.
    pub fn new() -> Self {
        let (line, fills) = (Vec::new(), Vec::new());
        Self {
            at: At::Small(PREFACE),
            head: [0; HEAD],
            have: 0,
            block: None,
            opened: 0,
            line,
            sent: 0,
            whole: 0,
            fills,
        }
    }

    /// Takes from the beginning of these bytes what does not pass by itself, and says how much that was.
    pub fn take(&mut self, bytes: &[u8], waiting: &Waiting) -> Result<usize, Misplaced> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let wanted = match self.at {
                At::Large(_) => break,
                At::Head => HEAD - self.have,
                At::Small(left) | At::Block(left) => left,
            };
            let (some, after) = rest.split_at(wanted.min(rest.len()));
            rest = after;
            match self.at {
                At::Head => {
                    self.head[self.have..self.have + some.len()].copy_from_slice(some);
                    self.have += some.len();
                    if self.have == HEAD {
                        self.have = 0;
                        self.begin()?;
                    }
                }
                At::Small(left) => {
                    self.line.extend_from_slice(some);
                    self.whole = self.line.len();
                    self.at = At::Small(left - some.len());
                }
                At::Block(left) => {
                    self.line.extend_from_slice(some);
                    self.at = At::Block(left - some.len());
                }
                At::Large(_) => {}
            }
            self.end_frame(waiting)?;
        }
        Ok(bytes.len() - rest.len())
    }

    /// A frame's head is there.
    fn begin(&mut self) -> Result<(), Misplaced> {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        self.line.extend_from_slice(&self.head);
        match (kind, &mut self.block) {
            (HEADERS, none @ None) => {
                *none = Some(Block { stream, pieces: Vec::new(), frame: (flags, self.line.len()) });
            }
            (CONTINUATION, Some(block)) if block.stream == stream => block.frame = (flags, self.line.len()),
            (CONTINUATION, _) | (_, Some(_)) => return Err(Misplaced::Unreadable),
            (_, None) => {
                self.whole = self.line.len();
                self.at = if length <= SMALL { At::Small(length) } else { At::Large(length) };
                return Ok(());
            }
        }
        if self.line.len() + length > LARGEST {
            return Err(Misplaced::Unreadable);
        }
        self.at = At::Block(length);
        Ok(())
    }

    /// The last byte of a frame may have been taken.
    fn end_frame(&mut self, waiting: &Waiting) -> Result<(), Misplaced> {
        match self.at {
            At::Small(0) => self.at = At::Head,
            At::Block(0) => {
                self.at = At::Head;
                let Some(block) = &mut self.block else { return Err(Misplaced::Unreadable) };
                let flags = block.frame.0;
                let piece = fragment(flags, self.head[3], &self.line[block.frame.1..]).ok_or(Misplaced::Unreadable)?;
                block.pieces.push(block.frame.1 + piece.start..block.frame.1 + piece.end);
                if flags & END_HEADERS != 0 {
                    self.fill(waiting)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A header block is whole: the secrets take their places.
    fn fill(&mut self, waiting: &Waiting) -> Result<(), Misplaced> {
        let Some(Block { stream, pieces, .. }) = self.block.take() else { return Ok(()) };
        let gathered = match &pieces[..] {
            [one] => Cow::Borrowed(&self.line[one.clone()]),
            many => many.iter().flat_map(|piece| &self.line[piece.clone()]).copied().collect(),
        };
        let found = literals(&gathered).ok_or(Misplaced::Unreadable)?;
        let filled = match stream > self.opened {
            true => waiting.take(&gathered, found)?,
            // Trailers: no secret belongs there.
            false if found.is_empty() => Vec::new(),
            false => return Err(Misplaced::NoKeyWaits),
        };
        self.opened = self.opened.max(stream);
        for (literal, secret) in filled {
            // It stands there as it is from now on, not in Huffman's code.
            for place in places(&pieces, literal.at..literal.at + 1) {
                self.line[place.start] &= 0x7f;
            }
            let mut from = 0;
            for place in places(&pieces, literal.value) {
                let length = place.len();
                self.fills.push(Fill { place, secret: secret.clone(), from });
                from += length;
            }
        }
        self.whole = self.line.len();
        Ok(())
    }

    /// How many bytes pass by themselves, before the next that does not.
    pub fn passing(&self) -> usize {
        if let At::Large(left) = self.at { left } else { 0 }
    }

    /// So many bytes passed.
    pub fn passed(&mut self, count: usize) {
        if let At::Large(left) = self.at {
            self.at = if left > count { At::Large(left - count) } else { At::Head };
        }
    }

    /// Bytes in line.
    pub fn in_line(&self) -> usize {
        self.whole - self.sent
    }

    /// Puts the beginning of the line into slices, and says how many it took. The secrets are not copied.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (mut at, mut count) = (self.sent, 0);
        let mut fills = self.fills.iter();
        let mut next = fills.next();
        while at < self.whole && count < slices.len() {
            let piece = match next {
                Some(fill) if fill.place.start <= at => {
                    let (done, length) = (at - fill.place.start, fill.place.len());
                    next = fills.next();
                    &fill.secret.bytes()[fill.from + done..fill.from + length]
                }
                _ => &self.line[at..next.map_or(self.whole, |fill| fill.place.start)],
            };
            slices[count] = IoSlice::new(piece);
            (at, count) = (at + piece.len(), count + 1);
        }
        count
    }

    /// So many bytes of the line were written. Their secrets are let go.
    pub fn written(&mut self, count: usize) {
        self.sent += count;
        self.fills.retain(|fill| fill.place.end > self.sent);
        if self.sent == self.line.len() {
            self.line.clear();
            self.line.shrink_to(KEPT);
            (self.sent, self.whole) = (0, 0);
        } else if self.sent > KEPT {
            self.forget_sent();
        }
    }

    /// Moves what waits to the line's beginning: on a busy connection something always waits, and the line would grow for ever.
    fn forget_sent(&mut self) {
        let by = std::mem::take(&mut self.sent);
        self.line.drain(..by);
        self.whole -= by;
        // What ends in front of that was let go; one at most was sent in part.
        for Fill { place, from, .. } in &mut self.fills {
            *from += by.saturating_sub(place.start);
            *place = place.start.saturating_sub(by)..place.end - by;
        }
        // None of it is sent before all of it is there.
        if let Some(block) = &mut self.block {
            block.frame.1 -= by;
            for piece in &mut block.pieces {
                *piece = piece.start - by..piece.end - by;
            }
        }
    }

    /// Lets go of everything: nothing more is written.
    pub fn give_up(&mut self) {
        *self = Self::new();
    }
}

/// Where the header block's fragment stands in the payload of a frame.
fn fragment(flags: u8, kind: u8, payload: &[u8]) -> Option<Range<usize>> {
    if kind == CONTINUATION {
        return Some(0..payload.len());
    }
    let (mut start, mut padding) = (0, 0);
    if flags & PADDED != 0 {
        (start, padding) = (1, usize::from(*payload.first()?));
    }
    if flags & PRIORITY != 0 {
        start += 5;
    }
    let end = payload.len().checked_sub(padding)?;
    (start <= end).then_some(start..end)
}

/// Where a range of a header block stands in the line.
fn places(pieces: &[Range<usize>], range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut before = 0;
    pieces.iter().filter_map(move |piece| {
        let (start, end) = (range.start.max(before), range.end.min(before + piece.len()));
        let place = piece.start + start.saturating_sub(before)..piece.start + end.saturating_sub(before);
        before += piece.len();
        (start < end).then_some(place)
    })
}

#[cfg(test)]
mod tests;
