//! A record's JSON made small before it goes into its box.
//!
//! Most records say what others said before, but for some fifty bytes: those, and the numbers of the *pieces* that say the rest, are
//! all that is kept of them. Pieces stand in the key file that serves the record. What has no such pieces is compressed alone.
//! docs/audit-format.md has the forms.

mod learn;
mod marks;
mod parts;
mod pieces;
mod skeleton;

use std::io;
use std::sync::Arc;

use super::batch::Draft;
use learn::Learner;
use marks::push_number;
pub(super) use parts::{Cuts, Parts, take};
pub(super) use pieces::Pieces;
use skeleton::{Shrinker, Stretcher};

/// The record's JSON as it is.
const AS_IS: u8 = 0;
/// Compressed with the first dictionary.
const COMPRESSED: u8 = 1;
/// Made of pieces of the key file.
pub(super) const PIECES: u8 = 2;

/// Packs one record after the other in buffers of its own, and learns from them.
pub(super) struct Packer {
    learner: Learner,
    numbers: Vec<usize>,
    shrinker: Shrinker,
    /// Room to make JSON in.
    json: Vec<u8>,
}

impl Packer {
    pub(super) fn new() -> io::Result<Self> {
        let (learner, shrinker) = (Learner::default(), Shrinker::new()?);
        Ok(Self { learner, numbers: Vec::new(), shrinker, json: Vec::new() })
    }

    /// Appends the packed record, and says how it is packed.
    pub(super) fn pack(&mut self, draft: Draft<'_>, out: &mut Vec<u8>) -> io::Result<u8> {
        let Self { learner, numbers, shrinker, json } = self;
        if let Draft::Apart(parts) = draft
            && learner.find(parts, numbers)
        {
            for ((_, bytes), number) in parts.each().zip(numbers) {
                push_number(out, *number as u64);
                out.extend_from_slice(bytes);
            }
            return Ok(PIECES);
        }
        let json = draft.json(json);
        // JSON has no bytes that could be marks; what is no JSON stays as it is.
        let unmarked = json.iter().copied().fold(u8::MAX, u8::min) >= b' ';
        if unmarked && shrinker.push(json, out)? {
            return Ok(COMPRESSED);
        }
        out.extend_from_slice(json);
        Ok(AS_IS)
    }

    /// The pieces of the present key file.
    pub(super) fn pieces(&self) -> &Pieces {
        self.learner.pieces()
    }

    /// Whether enough was learned to be worth another key file.
    pub(super) fn has_learned(&self) -> bool {
        self.learner.is_due()
    }

    /// The pieces of another key file: records are made of them from now on.
    pub(super) fn learn(&mut self) -> Arc<Pieces> {
        self.learner.next()
    }
}

/// Takes records out of what a [`Packer`] made of them.
pub(super) struct Unpacker {
    stretcher: Stretcher,
    named: Vec<usize>,
}

impl Unpacker {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { stretcher: Stretcher::new()?, named: Vec::new() })
    }

    /// Appends the record's JSON. `None` when that is not how a record is packed.
    pub(super) fn unpack(&mut self, how: u8, packed: &[u8], pieces: &Pieces, out: &mut Vec<u8>) -> Option<()> {
        self.named.clear();
        match how {
            AS_IS => out.extend_from_slice(packed),
            COMPRESSED => self.stretcher.push(packed, out)?,
            PIECES => pieces.unpack(packed, &mut self.named, out)?,
            _ => return None,
        }
        Some(())
    }

    /// The numbers of the pieces that the last record is made of.
    pub(super) fn named(&self) -> &[usize] {
        &self.named
    }
}

#[cfg(test)]
mod tests;
