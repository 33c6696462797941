//! The walk over all records in their order: numbers, the tree, its tiles and checkpoints, the clock, intents.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::chunk::{Amiss, Content, Piece, Read, Row, What};
use super::known::{Claims, finding};
use super::{Finding, Missing, Report};
use crate::audit::retain;
use crate::audit::segment::first_seq;
use crate::audit::tree::Leaf;
use crate::audit::tree::merkle::{Edge, Hash, WIDTH};
use crate::audit::tree::tiles::{self, Kind, Stored};

/// Records are made by many threads: a clock that steps back by less than this is calls that overtook each other.
const CLOCK_SLACK_MS: i64 = 2_000;

pub(super) struct Walk<'a> {
    pub(super) report: Report,
    directory: &'a Path,
    claims: Claims,
    edge: Edge,
    /// Entries of the bundle that is not full yet.
    entries: Vec<Hash>,
    /// Where the last checkpoint that fits ends: what is wrong is behind it.
    sure: u64,
    lines: u64,
    /// Whether the segment's records are over: room or torn bytes were seen.
    over: bool,
    open: BTreeMap<u128, u64>,
    newest: i64,
    bad: Option<Finding>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(directory: &'a Path, claims: Claims, running: bool) -> Self {
        let report = Report { running, checkpoints: claims.count.0, receipts: claims.count.1, ..Report::default() };
        Self {
            report,
            directory,
            claims,
            edge: Edge::default(),
            entries: Vec::with_capacity(WIDTH),
            sure: 0,
            lines: 0,
            over: false,
            open: BTreeMap::new(),
            newest: i64::MIN,
            bad: None,
        }
    }

    /// Takes in the entries of records that retention has removed; false when they are not there.
    pub(super) fn removed(&mut self, count: u64) -> io::Result<bool> {
        let path = self.directory.join(retain::REMOVED);
        let size = self.claims.newest.unwrap_or(0);
        if count > size {
            self.doubt(&path, 1, "no checkpoint was signed for the records that it says were removed");
            return Ok(false);
        }
        self.report.removed = count;
        for bundle in 0..count.div_ceil(WIDTH as u64) {
            let stored = Stored { directory: self.directory, size };
            let Ok(entries) = stored.entries(bundle) else {
                let file = self.directory.join(tiles::path(Kind::Entries, bundle));
                self.doubt(&file, 1, "the entries of removed records are missing or cannot be read");
                return Ok(false);
            };
            for (seq, entry) in (bundle * WIDTH as u64..count).zip(entries) {
                let leaf = Leaf::of(entry);
                self.row(&path, &Row { seq, leaf, id: 0, what: What::Other, written: None, content: Content::Read })?;
                if self.bad.is_some() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Goes on with the next piece; false when nothing behind it is worth a look.
    pub(super) fn piece(&mut self, piece: &Piece, read: &Read) -> io::Result<bool> {
        if piece.first {
            (self.lines, self.over) = (0, false);
            let number = piece.path.file_name().and_then(|name| first_seq(name.to_str()?));
            if number != Some(self.edge.size()) {
                self.doubt(&piece.path, 1, "the segment's name is not the number of the record that comes next");
                return Ok(false);
            }
        }
        for row in &read.rows {
            self.lines += 1;
            self.row(&piece.path, row)?;
            if self.bad.is_some() {
                return Ok(false);
            }
        }
        self.over |= matches!(read.amiss, Some(Amiss::Torn(_)));
        Ok(match read.amiss {
            None => true,
            // A gate that is writing has not finished here.
            Some(_) if self.report.running && !piece.followed && self.is_signed() => false,
            Some(Amiss::Torn(bytes)) if bytes == 0 || !piece.followed => {
                self.report.torn_bytes += bytes;
                true
            }
            Some(Amiss::Torn(_)) => {
                self.doubt(&piece.path, self.lines + 1, "the record is cut off, and another segment follows");
                false
            }
            Some(Amiss::Bad(what)) => {
                self.doubt(&piece.path, self.lines + 1, what);
                false
            }
        })
    }

    /// Whether all records of the newest checkpoint were seen.
    fn is_signed(&self) -> bool {
        self.claims.newest.is_none_or(|newest| self.edge.size() >= newest)
    }

    fn row(&mut self, path: &Path, row: &Row) -> io::Result<()> {
        let next = self.edge.size();
        if row.seq != next {
            let what = if row.seq > next {
                "records are missing before this one"
            } else {
                "this record's number was used already"
            };
            self.doubt(path, self.lines, what);
            return Ok(());
        }
        if self.over {
            self.doubt(path, self.lines, "a record stands behind the end of the records");
            return Ok(());
        }
        self.given(row);
        self.grow(row)?;
        self.claimed();
        self.look(row);
        Ok(())
    }

    /// Takes a record into the tree, and compares the tiles that are full with those of the log.
    fn grow(&mut self, row: &Row) -> io::Result<()> {
        let Self { edge, entries, bad, directory, claims, .. } = self;
        entries.push(row.leaf.entry);
        let stored = claims.newest.map(|size| Stored { directory, size });
        edge.push(row.leaf.hash, |level, index, tile| {
            let signed = |stored: &&Stored<'_>| (index + 1) << (8 * (u32::from(level) + 1)) <= stored.size;
            if let Some(stored) = stored.as_ref().filter(signed) {
                if level == 0 {
                    differs(stored, Kind::Entries, index, entries, bad);
                }
                differs(stored, Kind::Level(level), index, tile, bad);
            }
            if level == 0 {
                entries.clear();
            }
            Ok(())
        })?;
        if self.claims.newest == Some(self.edge.size()) {
            self.partial();
        }
        Ok(())
    }

    /// Compares the tiles that the newest checkpoint leaves partial.
    fn partial(&mut self) {
        let stored = Stored { directory: self.directory, size: self.edge.size() };
        let bundle = self.edge.size() / WIDTH as u64;
        if !self.entries.is_empty() {
            differs(&stored, Kind::Entries, bundle, &self.entries, &mut self.bad);
        }
        for (level, index, tile) in self.edge.partial() {
            differs(&stored, Kind::Level(level), index, tile, &mut self.bad);
        }
    }

    /// Holds a record to the receipts that were given for it.
    fn given(&mut self, row: &Row) {
        let given = self.claims.receipts.get(&row.seq);
        if let Some(given) = given.and_then(|given| given.iter().find(|given| given.leaf != row.leaf.hash)) {
            let what = "the record with this number is not the one that this receipt was given for";
            let (file, line) = (given.file.clone(), given.line);
            self.doubt(&file, line, what);
        }
    }

    /// Holds the tree to the checkpoints of its present size.
    fn claimed(&mut self) {
        let size = self.edge.size();
        let Some(claims) = self.claims.by_size.get(&size) else { return };
        let root = self.edge.root();
        if let Some(claim) = claims.iter().find(|claim| claim.root != root) {
            let what = if claim.foreign {
                "the log is not the one that this checkpoint was signed for"
            } else {
                "the records do not hash to this checkpoint"
            };
            let seq = Some(self.sure);
            self.bad.get_or_insert(Finding { seq, ..finding(&claim.file, claim.line, what) });
        }
        self.sure = size;
    }

    fn look(&mut self, row: &Row) {
        self.report.sealed = row.what == What::Stopped;
        match row.content {
            Content::Read => {}
            Content::Shut => self.report.shut += 1,
            Content::Forgotten => self.report.forgotten += 1,
        }
        match row.what {
            What::Intent => drop(self.open.insert(row.id, row.seq)),
            What::Call if !self.open.is_empty() => drop(self.open.remove(&row.id)),
            _ => {}
        }
        if let Some(time) = row.written {
            if time < self.newest.saturating_sub(CLOCK_SLACK_MS) {
                self.report.clock_steps.push((row.seq, self.newest - time));
                // The clock goes on from here; each step is told once.
                self.newest = time;
            }
            self.newest = self.newest.max(time);
        }
    }

    fn doubt(&mut self, file: &Path, line: u64, what: &str) {
        let seq = Some(self.edge.size());
        self.bad.get_or_insert(Finding { seq, ..finding(file, line, what) });
    }

    pub(super) fn finish(mut self) -> Report {
        let records = self.edge.size();
        self.empty();
        for (size, claims) in self.claims.by_size.range(records + 1..) {
            let seqs = (records, size - 1);
            self.report.missing.extend(claims.iter().map(|claim| Missing { file: claim.file.clone(), seqs }));
        }
        for (seq, given) in self.claims.receipts.range(records..) {
            let seqs = (*seq, *seq);
            self.report.missing.extend(given.iter().map(|given| Missing { file: given.file.clone(), seqs }));
        }
        self.report.records = records;
        self.report.unsigned = self.claims.newest.map_or(0, |newest| records.saturating_sub(newest));
        self.report.intact = self.bad.is_none();
        self.report.complete = self.report.intact && self.report.missing.is_empty();
        self.report.first_bad = self.bad;
        let mut unknown: Vec<_> = self.open.into_iter().map(|(id, seq)| (seq, id)).collect();
        unknown.sort_unstable();
        self.report.unknown = unknown.into_iter().map(|(_, id)| uuid::Uuid::from_u128(id).to_string()).collect();
        self.report.root = STANDARD.encode(self.edge.root());
        self.report
    }

    /// The checkpoint of no records is held to as well.
    fn empty(&mut self) {
        let none = Edge::default().root();
        let wrong = self.claims.by_size.get(&0).and_then(|claims| claims.iter().find(|claim| claim.root != none));
        if let Some(claim) = wrong {
            self.bad.get_or_insert(finding(&claim.file, claim.line, "a tree of no records has another root"));
        }
    }
}

/// Whether a tile of the log is another one.
fn differs(stored: &Stored<'_>, kind: Kind, index: u64, wanted: &[Hash], bad: &mut Option<Finding>) {
    let there = match kind {
        Kind::Entries => stored.entries(index),
        Kind::Level(level) => stored.tile(level, index),
    };
    let (at, what) = match &there {
        Ok(there) => match wanted.iter().zip(there).position(|(wanted, there)| wanted != there) {
            Some(at) => (at, "the tile does not hold the hash of its record"),
            None => return,
        },
        Err(_) => (0, "the tile is missing or cannot be read"),
    };
    let below = if let Kind::Level(level) = kind { 8 * u32::from(level) } else { 0 };
    let seq = Some((index * WIDTH as u64 + at as u64) << below);
    let file: PathBuf = stored.directory.join(tiles::path(kind, index));
    bad.get_or_insert(Finding { seq, ..finding(&file, at as u64 + 1, what) });
}
