//! Learns what calls look like here: the pieces of a key file are parts that were seen often while the one before was in use.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::parts::Parts;
use super::pieces::Pieces;

/// A part is worth a piece when it was seen so often.
const OFTEN: u32 = 8;
/// So many records that could have been made of pieces are worth another key file.
const ENOUGH: usize = 256;
/// What such a record would have been smaller by, bytes: with many pieces it takes more records to be worth it.
const SAVED: usize = 60;
/// Pieces take so many bytes at most.
const ROOM: usize = 128 * 1024;
/// So many parts that are no pieces are remembered, and so many bytes of them.
const REMEMBERED: (usize, usize) = (4096, 1 << 20);

/// The writer's.
#[derive(Default)]
pub(super) struct Learner {
    pieces: Arc<Pieces>,
    /// By their texts: the number, and how often it was seen.
    known: HashMap<Box<[u8]>, (usize, u32), RandomState>,
    /// What is no piece yet.
    others: HashMap<Box<[u8]>, u32, RandomState>,
    /// Bytes of them.
    held: usize,
    /// Records that could have been made of pieces, if what is known now had been known before.
    missed: usize,
    /// Bytes of the pieces, and whether there was no room for all that were worth it.
    taken: usize,
    full: bool,
}

impl Learner {
    /// The pieces of the present key file.
    pub(super) fn pieces(&self) -> &Arc<Pieces> {
        &self.pieces
    }

    /// The numbers of the pieces that a record is made of; false when it has parts that are none.
    pub(super) fn find(&mut self, parts: Parts<'_>, numbers: &mut Vec<usize>) -> bool {
        numbers.clear();
        let (mut all, mut often) = (true, true);
        for (text, _) in parts.each() {
            if let Some((number, seen)) = self.known.get_mut(text) {
                *seen = seen.saturating_add(1);
                numbers.push(*number);
            } else {
                all = false;
                often &= self.saw(text);
            }
        }
        self.missed += usize::from(!all && often);
        all
    }

    /// Notes a part that is no piece; whether it would be worth one.
    fn saw(&mut self, text: &[u8]) -> bool {
        if let Some(seen) = self.others.get_mut(text) {
            *seen = seen.saturating_add(1);
            return *seen > OFTEN;
        }
        if self.others.len() < REMEMBERED.0 && self.held + text.len() <= REMEMBERED.1 {
            self.others.insert(text.into(), 1);
            self.held += text.len();
        }
        false
    }

    /// Whether another key file is worth while.
    pub(super) fn is_due(&self) -> bool {
        !self.full && self.missed >= ENOUGH.max(self.taken / SAVED)
    }

    /// The pieces of the next key file, those that were seen most first.
    pub(super) fn next(&mut self) -> Arc<Pieces> {
        let known = std::mem::take(&mut self.known).into_iter().map(|(text, (_, seen))| (seen, text));
        let others = std::mem::take(&mut self.others).into_iter().map(|(text, seen)| (seen, text));
        let mut seen: Vec<_> =
            known.filter(|(seen, _)| *seen > 0).chain(others.filter(|(seen, _)| *seen > OFTEN)).collect();
        seen.sort_unstable_by(|one, other| other.cmp(one));
        let worth = seen.len();
        self.taken = 0;
        seen.retain(|(_, text)| {
            let fits = self.taken + text.len() <= ROOM;
            self.taken += if fits { text.len() } else { 0 };
            fits
        });
        self.full = seen.len() < worth;
        // What was seen long ago counts for less.
        self.known = seen.iter().enumerate().map(|(n, (seen, text))| (text.clone(), (n, seen / 2))).collect();
        (self.held, self.missed) = (0, 0);
        self.pieces = Pieces::new(seen.into_iter().map(|(_, text)| text));
        self.pieces.clone()
    }
}
