//! Records that are sent together.

use crate::audit::export::Row;

/// Bytes of records in a batch, at most: one record more may go beyond it.
const LARGEST: usize = 1 << 20;

/// A record, as it stands in the log and read.
pub(super) struct Item {
    pub(super) line: Vec<u8>,
    pub(super) row: Row,
}

/// Records that follow each other.
pub(super) struct Batch {
    items: Vec<Item>,
    bytes: usize,
    most: usize,
}

impl Batch {
    pub(super) fn new(most: u32) -> Self {
        Self { items: Vec::new(), bytes: 0, most: most.try_into().unwrap_or(usize::MAX) }
    }

    pub(super) fn push(&mut self, line: Vec<u8>) -> Result<(), String> {
        let row = Row::parse(&line).map_err(|error| format!("a line of the log is no record: {error}"))?;
        self.bytes += line.len();
        self.items.push(Item { line, row });
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= self.most || self.bytes >= LARGEST
    }

    /// None when nothing is in it.
    pub(super) fn closed(self) -> Option<Self> {
        (!self.items.is_empty()).then_some(self)
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    pub(super) fn len(&self) -> u64 {
        self.items.len() as u64
    }

    /// The first record's number.
    pub(super) fn first(&self) -> u64 {
        self.items.first().map_or(0, |item| item.row.seq)
    }

    /// The number behind the last one's.
    pub(super) fn next(&self) -> u64 {
        self.items.last().map_or(0, |item| item.row.seq + 1)
    }

    /// All lines, each with its end.
    pub(super) fn lines(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.bytes + self.items.len());
        for item in &self.items {
            all.extend_from_slice(&item.line);
            all.push(b'\n');
        }
        all
    }
}

/// The number of the record in a line.
pub(super) fn number(line: &[u8]) -> Result<u64, serde_json::Error> {
    Row::parse(line).map(|row| row.seq)
}
