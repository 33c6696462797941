//! Records that wait to be written, each as the writer takes it: in JSON, or in the parts that it is packed from.

use super::Record;
use super::pack::{Cuts, Parts, take};

/// Some, one behind the other.
#[derive(Default)]
pub(super) struct Batch {
    /// JSON, and the texts of parts.
    texts: Vec<u8>,
    /// What the marks in the texts stand for.
    bytes: Vec<u8>,
    ends: Vec<End>,
}

/// Where a record ends.
struct End {
    texts: usize,
    bytes: usize,
    /// Of one in parts.
    cuts: Option<Cuts>,
}

/// A record, as the writer takes it.
#[derive(Clone, Copy)]
pub(super) enum Draft<'a> {
    /// Its JSON, an object with at least one field.
    Json(&'a [u8]),
    /// Its parts.
    Apart(Parts<'a>),
}

impl<'a> Draft<'a> {
    /// The record's JSON; where it has to be made, in `room`.
    pub(super) fn json(self, room: &'a mut Vec<u8>) -> &'a [u8] {
        match self {
            Self::Json(json) => json,
            Self::Apart(parts) => {
                room.clear();
                parts.push_json(room);
                room
            }
        }
    }
}

impl Batch {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// None.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes that they take.
    pub(super) fn size(&self) -> usize {
        self.texts.len() + self.bytes.len() + self.ends.len() * size_of::<End>()
    }

    /// Appends a record; `apart` where it will be packed. Nothing is left of one that cannot be written.
    pub(super) fn push(&mut self, record: &Record, apart: bool) -> serde_json::Result<()> {
        let (texts, bytes) = (self.texts.len(), self.bytes.len());
        let cuts = if apart { take(record, &mut self.texts, &mut self.bytes) } else { None };
        if cuts.is_none() {
            self.texts.truncate(texts);
            self.bytes.truncate(bytes);
            record.write(&mut self.texts).inspect_err(|_| self.texts.truncate(texts))?;
        }
        self.ends.push(End { texts: self.texts.len(), bytes: self.bytes.len(), cuts });
        Ok(())
    }

    /// Each record.
    pub(super) fn drafts(&self) -> impl Iterator<Item = Draft<'_>> {
        let (mut texts, mut bytes) = (0, 0);
        self.ends.iter().map(move |end| {
            let (text, beside) = (&self.texts[texts..end.texts], &self.bytes[bytes..end.bytes]);
            (texts, bytes) = (end.texts, end.bytes);
            end.cuts.as_ref().map_or(Draft::Json(text), |cuts| Draft::Apart(Parts::new(text, beside, cuts)))
        })
    }

    /// Forgets all of them, and gives back room beyond so many bytes.
    pub(super) fn clear(&mut self, kept: usize) {
        self.texts.clear();
        self.texts.shrink_to(kept);
        self.bytes.clear();
        self.bytes.shrink_to(kept);
        self.ends.clear();
        self.ends.shrink_to(kept / size_of::<End>());
    }
}
