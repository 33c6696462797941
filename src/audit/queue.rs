//! What waits to be written, and who waits for it.

use std::task::Waker;

use jiff::Timestamp;

use super::batch::Batch;
use super::bell::Bell;
use super::{Closed, Event, Kind, Record, Trouble};

/// Records waiting to be written may take this much memory, bytes. Beyond it, calls are refused until the disk is back.
const MAX_QUEUED: usize = 64 * 1024 * 1024;
/// How many times that the log closed are remembered for whoever waits since then.
const LOST: usize = 64;

#[derive(Default)]
pub(super) struct Queue {
    pub(super) batch: Batch,
    /// Whether records are packed when they are written.
    pub(super) packs: bool,
    /// Records ever appended.
    pub(super) appended: u64,
    /// Of tasks on threads that do not attend to the log.
    pub(super) wakers: Vec<(u64, Waker)>,
    /// Of the threads that do.
    pub(super) bells: Vec<Bell>,
    pub(super) stop: Stop,
    /// Set while the log is closed, and when the writer ends.
    pub(super) end: Option<Closed>,
    /// Positions whose records could not be kept, and why: after each from, up to each to.
    lost: Vec<(u64, u64, Closed)>,
    /// Set while only the records of reads are kept, and why.
    pub(super) reads_only: Option<Trouble>,
    /// Records that were not taken since the log closed.
    pub(super) refused: u64,
    pub(super) idle: bool,
    /// The writer rests, and would go on at once for this many records when nobody can bring more.
    pub(super) resting: Option<usize>,
    /// How many calls were under way, handshakes among them, when the last record was taken; the most there is when it was
    /// no call's, for then nobody knows.
    under_way: u64,
}

/// Whether the writer is to end once nothing is left to write.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Stop {
    #[default]
    No,
    /// In good order.
    Seal,
    /// Nobody holds the log any more.
    LetGo,
}

impl Queue {
    /// Whether the writer, or who waits to open the log again, has to hear that it is to stop.
    pub(super) fn is_stopped_while_resting(&mut self) -> bool {
        self.stop != Stop::No && (self.resting.take().is_some() || self.end.is_some())
    }

    /// The record's position, from 1.
    pub(super) fn take(&mut self, record: &Record, under_way: u64) -> Result<u64, Closed> {
        if let Some(end) = &self.end {
            self.refused += 1;
            return Err(end.clone());
        }
        if self.stop != Stop::No {
            return Err(Closed::Sealed);
        }
        // Under the lock, so that none slips in while the mode begins.
        if self.reads_only.is_some() && record.is_of_a_write() {
            return Err(Closed::ReadsOnly);
        }
        if self.batch.size() > MAX_QUEUED {
            return Err(Closed::Behind);
        }
        let position = self.push(record)?;
        self.under_way = under_way;
        if self.resting.is_some_and(|enough| self.holds(enough)) {
            (self.resting, self.idle) = (None, true);
        }
        Ok(position)
    }

    /// The writer rests until so many records are here, unless they are: all who wait may have come while the last batch was
    /// told of, and then nobody is left to end the rest.
    pub(super) fn rest(&mut self, enough: usize) {
        self.resting = Some(enough).filter(|enough| self.stop == Stop::No && !self.holds(*enough));
    }

    /// Whether so many records are here, and nobody is left who could bring more.
    fn holds(&self, enough: usize) -> bool {
        self.batch.len() >= enough && self.batch.len() as u64 >= self.under_way
    }

    pub(super) fn push(&mut self, record: &Record) -> Result<u64, Closed> {
        if let Err(error) = self.batch.push(record, self.packs) {
            // Writing into memory fails only when a field cannot be written as JSON, which none of ours is.
            return Err(Closed::Broken(Trouble { why: format!("a record cannot be written as JSON: {error}").into() }));
        }
        self.appended += 1;
        Ok(self.appended)
    }

    /// Why a record is lost, if it is.
    pub(super) fn lost(&self, position: u64) -> Option<Closed> {
        let lost = self.lost.iter().find(|(from, to, _)| (from + 1..=*to).contains(&position));
        lost.map(|(_, _, why)| why.clone())
    }

    /// Takes nothing more, and lets go of what is not durable: nothing of it was acknowledged, and nothing will be. The
    /// highest position that is lost with it, if any.
    pub(super) fn close(&mut self, durable: u64, why: &Closed) -> Option<u64> {
        let lost = (durable < self.appended).then_some(self.appended);
        if lost.is_some() {
            self.lost.push((durable, self.appended, why.clone()));
            // What happened long ago nobody waits for any more.
            let over = self.lost.len().saturating_sub(LOST);
            self.lost.drain(..over);
        }
        self.end = Some(why.clone());
        self.reads_only = None;
        self.batch = Batch::default();
        lost
    }

    /// However much is queued: the end of the log is always on record.
    pub(super) fn push_stopped(&mut self) {
        let mut record = Record::new(Kind::Gate, Timestamp::now());
        record.event = Some(Event { code: "stopped", detail: "in good order".to_owned() });
        // If it could not be written, verifying would say that the log is not sealed.
        let _ = self.push(&record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_does_not_rest_when_all_who_could_bring_a_record_wait() {
        let record = Record::new(Kind::Gate, Timestamp::now());
        let mut queue = Queue::default();
        for under_way in 1..=3 {
            queue.take(&record, under_way).unwrap();
        }
        queue.rest(3);
        assert_eq!(queue.resting, None, "they came before the rest began");
        queue.rest(4);
        assert_eq!(queue.resting, Some(4), "fewer than are worth a sync");
        queue.take(&record, 5).unwrap();
        assert_eq!(queue.resting, Some(4), "one more is under way");
        queue.rest(4);
        assert_eq!(queue.resting, Some(4));
        queue.take(&record, 5).unwrap();
        assert_eq!((queue.resting, queue.idle), (None, true), "the last one ends the rest");
    }

    #[test]
    fn while_only_reads_are_kept_no_intent_slips_in() {
        let mut queue = Queue { reads_only: Some(Trouble { why: "full".into() }), ..Queue::default() };
        let record = |kind| Record::new(kind, Timestamp::now());
        assert!(matches!(queue.take(&record(Kind::Intent), 1), Err(Closed::ReadsOnly)));
        assert_eq!(queue.take(&record(Kind::Call), 1).unwrap(), 1);
        queue.close(0, &Closed::Behind);
        assert!(queue.reads_only.is_none(), "a log that closed keeps nothing");
    }
}
