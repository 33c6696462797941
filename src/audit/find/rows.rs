//! What an index knows of each record of a block: enough to look at few of them, not enough to know what they are.
//!
//! One byte says which of the block's shapes a record has, one how many values of its own (peer, parameters), and one of each of these
//! is a byte of their hash, its *mark*. So of the records of a block that nearly every search has to look into, it looks at
//! those that have the shape, and of the others at one in 256.

use super::seen::{Seen, Token};

/// A line that is no record: nobody looks for it.
const NO_RECORD: u8 = u8::MAX;
/// A block of more shapes does not say which record has which.
const MOST: usize = NO_RECORD as usize;
/// Stands for a record of so many values that all marks may be among them.
const ALL: u8 = u8::MAX;

/// What is known of a block's records while it is gathered.
#[derive(Default)]
pub(super) struct Gathered {
    /// Of each line the place of its shape in the segment; none of what is no record.
    shapes: Vec<Option<usize>>,
    counts: Vec<u8>,
    marks: Vec<u8>,
}

impl Gathered {
    /// The next line; `shape` is the place of its shape in the segment.
    pub(super) fn push(&mut self, seen: Option<(&Seen<'_>, usize)>) {
        let before = self.marks.len();
        self.shapes.push(seen.map(|(_, shape)| shape));
        if let Some((seen, _)) = seen {
            self.marks.extend(Token::shared(seen).map(Token::mark));
        }
        let count = u8::try_from(self.marks.len() - before).unwrap_or(ALL);
        if count == ALL {
            self.marks.truncate(before);
        }
        self.counts.push(count);
    }

    /// Its bytes, and how many lines they speak of; `shapes` are those of the block. Where they do not fit into bytes there are none.
    pub(super) fn bytes(&self, shapes: &[usize], out: &mut Vec<u8>) -> usize {
        if shapes.len() > MOST {
            return 0;
        }
        let slot = |shape: usize| shapes.iter().position(|own| *own == shape).and_then(|slot| u8::try_from(slot).ok());
        out.extend(self.shapes.iter().map(|shape| shape.and_then(slot).unwrap_or(NO_RECORD)));
        out.extend_from_slice(&self.counts);
        out.extend_from_slice(&self.marks);
        self.shapes.len()
    }
}

/// What is known of a block's records, read.
pub(super) struct Rows<'a> {
    slots: &'a [u8],
    counts: &'a [u8],
    marks: &'a [u8],
}

impl<'a> Rows<'a> {
    /// Of so many lines, from the beginning of `bytes`; and what stands behind.
    pub(super) fn read(lines: usize, bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (slots, rest) = bytes.split_at_checked(lines)?;
        let (counts, rest) = rest.split_at_checked(lines)?;
        let marks = counts.iter().filter(|count| **count != ALL).map(|count| usize::from(*count)).sum();
        let (marks, rest) = rest.split_at_checked(marks)?;
        Some((Self { slots, counts, marks }, rest))
    }

    /// The lines that may be looked for, by their places in the block: `fits` says it of each of the block's shapes, `marked` of a
    /// record's marks (none of them: any may be there).
    pub(super) fn may_be(&self, fits: &[bool], marked: Option<impl Fn(Option<&[u8]>) -> bool>) -> Vec<usize> {
        let has_shape = |slot: &u8| fits.get(usize::from(*slot)).copied().unwrap_or(false);
        let Some(marked) = marked else {
            return (0..).zip(self.slots).filter(|(_, slot)| has_shape(slot)).map(|(row, _)| row).collect();
        };
        let (mut marks, mut found) = (self.marks, Vec::new());
        for (row, (slot, count)) in self.slots.iter().zip(self.counts).enumerate() {
            let own = (*count != ALL).then(|| marks.split_at_checked(usize::from(*count)).unwrap_or((marks, &[])));
            if let Some((_, behind)) = own {
                marks = behind;
            }
            if has_shape(slot) && marked(own.map(|(own, _)| own)) {
                found.push(row);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(lines: &[Option<(usize, &[&str])>]) -> Gathered {
        let mut gathered = Gathered::default();
        for line in lines {
            let Some((shape, pages)) = line else {
                gathered.push(None);
                continue;
            };
            let pages: Vec<String> = pages.iter().map(|page| format!("[\"page\",\"{page}\"]")).collect();
            let json = format!("{{\"seq\":1,\"kind\":\"call\",\"query\":[{}]}}", pages.join(","));
            gathered.push(Some((&Seen::read(json.as_bytes()).unwrap(), *shape)));
        }
        gathered
    }

    fn found(bytes: &[u8], lines: usize, fits: &[bool], mark: Option<u8>) -> Vec<usize> {
        let (rows, rest) = Rows::read(lines, bytes).unwrap();
        assert_eq!(rest, b"behind");
        let marked = mark.map(|mark| move |marks: Option<&[u8]>| marks.is_none_or(|marks| marks.contains(&mark)));
        rows.may_be(fits, marked)
    }

    #[test]
    fn a_record_is_looked_at_when_its_shape_and_its_marks_fit() {
        let many: Vec<String> = (0..300).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let gathered = gathered(&[Some((7, &["a", "b"])), None, Some((9, &[])), Some((7, &["b"])), Some((9, &many))]);
        let mut bytes = Vec::new();
        assert_eq!(gathered.bytes(&[7, 9], &mut bytes), 5);
        bytes.extend_from_slice(b"behind");
        let mark = Token::of_param("b").mark();
        assert_eq!(found(&bytes, 5, &[true, true], None), [0, 2, 3, 4]);
        assert_eq!(found(&bytes, 5, &[true, false], None), [0, 3]);
        assert_eq!(found(&bytes, 5, &[true, true], Some(mark)), [0, 3, 4], "of so many values nobody knows");
        assert_eq!(found(&bytes, 5, &[false, true], Some(mark)), [4]);
        assert!(Rows::read(6, &bytes[..9]).is_none());
        let shapes: Vec<usize> = (0..256).collect();
        assert_eq!(gathered.bytes(&shapes, &mut Vec::new()), 0, "more shapes than fit into a byte");
    }
}
