//! Makes lines of records: each gets its salt, and is boxed where the log is encrypted.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::batch::Draft;
use super::boxed::Boxer;
use super::line::{end_boxed, push_line};
use super::recipients::Recipients;
use super::salt::{Fresh, Salts};
use super::tree::Leaf;

/// The writer's.
pub(super) struct Pen {
    salts: Salts,
    /// Made with the first record that needs it.
    boxer: Option<Boxer>,
    /// Whether the last record was boxed.
    boxes: bool,
    /// Room to make JSON in.
    json: Vec<u8>,
}

impl Pen {
    /// For a log's folder.
    pub(super) fn new(directory: &Path, recipients: Arc<Recipients>) -> Self {
        Self { salts: Salts::new(directory, recipients), boxer: None, boxes: false, json: Vec::new() }
    }

    /// For a log that lies nowhere.
    pub(super) fn unkept() -> Self {
        Self { salts: Salts::unkept(), boxer: None, boxes: false, json: Vec::new() }
    }

    /// Who may read what it writes.
    pub(super) fn recipients(&self) -> &Arc<Recipients> {
        self.salts.recipients()
    }

    /// Whether the last record was boxed.
    pub(super) fn boxes(&self) -> bool {
        self.boxes
    }

    /// Appends a record's line; what the tree takes in for it. Its key file is durable by then.
    pub(super) fn line(&mut self, out: &mut Vec<u8>, draft: Draft<'_>, seq: u64) -> io::Result<Leaf> {
        let Self { salts, boxer, boxes, json } = self;
        let due = boxer.as_ref().is_some_and(Boxer::has_learned);
        let Fresh { salt, boxed } = salts.of(seq, due, || {
            if boxer.is_none() {
                *boxer = Some(Boxer::new()?);
            }
            Ok(boxer.as_mut().map_or_else(Arc::default, Boxer::learn))
        })?;
        *boxes = boxed;
        if !boxed {
            return Ok(push_line(out, draft.json(json), seq, &salt));
        }
        let start = out.len();
        if let Some(boxer) = boxer {
            boxer.push(out, draft, seq, &salt)?;
        }
        Ok(end_boxed(out, start))
    }
}
