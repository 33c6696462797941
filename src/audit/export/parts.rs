//! The files that one step of an export makes: one, or one for each day.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use jiff::Timestamp;

use super::place::Trouble;
use super::row::Row;
use super::{Format, csv, ecs, ocsf, parquet};

/// The files of one step that are being made, by day.
pub(super) struct Parts {
    format: Format,
    /// Whether each day has a file of its own.
    by_day: bool,
    /// Whether what is made begins a file.
    begins: bool,
    open: BTreeMap<String, (Part, u64)>,
    /// The day of the record before: a forgotten one has none of its own.
    day: String,
}

enum Part {
    Text(Vec<u8>),
    Table(Box<parquet::Parquet>),
}

/// A file that is whole, or in a single file what a step adds to it.
pub(super) struct Made {
    pub(super) day: String,
    pub(super) contents: Vec<u8>,
    pub(super) records: u64,
}

impl Parts {
    pub(super) fn of(format: Format, by_day: bool, begins: bool) -> Self {
        let mut parts =
            Self { format, by_day, begins: begins || by_day, open: BTreeMap::new(), day: "unknown".to_owned() };
        if !by_day {
            parts.day.clear();
            if begins && format == Format::Csv {
                // The names of columns stand there even when no record does.
                let mut head = Vec::new();
                csv::head(&mut head);
                parts.open.insert(String::new(), (Part::Text(head), 0));
            }
        }
        parts
    }

    /// Takes a record in; false when the format has no form for it.
    pub(super) fn push(&mut self, line: &[u8], row: &Row) -> Result<bool, Trouble> {
        let json = match self.format {
            Format::Ocsf => ocsf::event(row),
            Format::Ecs => ecs::document(row),
            _ => None,
        };
        if json.is_none() && matches!(self.format, Format::Ocsf | Format::Ecs) {
            return Ok(false);
        }
        if let Some(time) = row.time.filter(|_| self.by_day) {
            self.day = day(time);
        }
        let format = self.format;
        let (part, records) = match self.open.entry(self.day.clone()) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(none) => none.insert((Part::begin(format, self.begins)?, 0)),
        };
        *records += 1;
        match part {
            Part::Table(table) => table.push(row)?,
            Part::Text(out) if format == Format::Csv => csv::push(out, row),
            Part::Text(out) => {
                match json {
                    Some(json) => serde_json::to_writer(&mut *out, &json)?,
                    None => out.extend_from_slice(line),
                }
                out.push(b'\n');
            }
        }
        Ok(true)
    }

    pub(super) fn finish(self) -> Result<Vec<Made>, Trouble> {
        let each = self.open.into_iter().map(|(day, (part, records))| {
            let contents = match part {
                Part::Text(text) => text,
                Part::Table(table) => table.finish()?,
            };
            Ok(Made { day, contents, records })
        });
        each.collect()
    }
}

impl Part {
    fn begin(format: Format, begins: bool) -> Result<Self, Trouble> {
        let mut text = Vec::new();
        match format {
            Format::Parquet => return Ok(Self::Table(Box::new(parquet::Parquet::new()?))),
            Format::Csv if begins => csv::head(&mut text),
            _ => {}
        }
        Ok(Self::Text(text))
    }
}

/// The day in UTC.
fn day(time: Timestamp) -> String {
    time.to_string().get(..10).unwrap_or("unknown").to_owned()
}
