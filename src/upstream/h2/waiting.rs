//! The secrets of calls whose heads are not written yet, by connection. They go when the head is written, when it is clear that
//! it never will be, or when their own time is up: a call that was given up keeps no key alive for longer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::Misplaced;
use super::blank::{Blank, Secret};
use super::block::Literal;

/// What waits on one connection.
#[derive(Default)]
pub struct Waiting {
    calls: Mutex<Calls>,
    fault: OnceLock<Misplaced>,
}

#[derive(Default)]
struct Calls {
    /// The oldest first: about the order in which heads are written.
    queue: VecDeque<Call>,
    next: u64,
}

struct Call {
    number: u64,
    until: Instant,
    blanks: Vec<Blank>,
}

impl Calls {
    fn end_late_ones(&mut self) {
        if !self.queue.is_empty() {
            let now = Instant::now();
            self.queue.retain(|call| call.until > now);
        }
    }

    fn is_in_use(&self, drawn: &[Blank], text: &[u8]) -> bool {
        self.queue.iter().flat_map(|call| &call.blanks).chain(drawn).any(|blank| blank.text() == text)
    }
}

impl Waiting {
    /// Keeps the secrets of a call, until a time at most, and hands out what the library is given in their place: `target`, if
    /// that is secret, and all values of `headers` that are marked as sensitive are replaced. None where there is nothing random.
    pub fn keep(&self, target: Option<&mut PathAndQuery>, headers: &mut HeaderMap, until: Instant) -> Option<Kept> {
        let mut calls = self.calls();
        calls.end_late_ones();
        let mut blanks = Vec::new();
        if let Some(target) = target {
            let blank = Blank::draw(Secret::Target(target.clone()), |text| calls.is_in_use(&blanks, text))?;
            *target = PathAndQuery::try_from(blank.text()).ok()?;
            blanks.push(blank);
        }
        for value in headers.values_mut().filter(|value| value.is_sensitive() && !value.is_empty()) {
            let blank = Blank::draw(Secret::Value(value.clone()), |text| calls.is_in_use(&blanks, text))?;
            *value = HeaderValue::from_bytes(blank.text()).ok()?;
            value.set_sensitive(true);
            blanks.push(blank);
        }
        let number = calls.next;
        calls.next += 1;
        calls.queue.push_back(Call { number, until, blanks });
        Some(Kept(number))
    }

    /// The library has handed the message back: its head is never written.
    #[expect(clippy::needless_pass_by_value, reason = "what was taken back is not kept any more")]
    pub fn take_back(&self, kept: Kept) {
        self.calls().queue.retain(|call| call.number != kept.0);
    }

    /// The secrets that belong into a header block that opens a stream, each with its literal, in the block's order. They
    /// must be those of one call, all of them, and nothing else in the block may be a secret.
    pub(super) fn take(&self, block: &[u8], literals: Vec<Literal>) -> Result<Vec<(Literal, Secret)>, Misplaced> {
        let mut calls = self.calls();
        calls.end_late_ones();
        let is_of = |call: &Call| call.blanks.iter().any(|blank| literals.iter().any(|it| blank.is(it, block)));
        let place = calls.queue.iter().position(is_of).ok_or(Misplaced::NoKeyWaits)?;
        let mut blanks = calls.queue.remove(place).map(|call| call.blanks).unwrap_or_default();
        let mut filled = Vec::with_capacity(blanks.len());
        for literal in literals {
            match blanks.iter().position(|blank| blank.is(&literal, block)) {
                Some(place) => filled.push((literal, blanks.swap_remove(place).into_secret())),
                None if literal.is_target => {}
                None => return Err(Misplaced::NotWhole),
            }
        }
        if blanks.is_empty() { Ok(filled) } else { Err(Misplaced::NotWhole) }
    }

    /// Why the connection was ended, if it was ended for that.
    pub fn fault(&self) -> Option<Misplaced> {
        self.fault.get().copied()
    }

    pub(super) fn fails(&self, why: Misplaced) {
        // The first one counts.
        let _ = self.fault.set(why);
    }

    /// Lets go of what is late.
    pub(super) fn clean(&self) {
        self.calls().end_late_ones();
    }

    /// The call is given up, and nobody knows whether its head will be written. If its secrets are still here, they go when
    /// their time is up: on a connection on which nothing happens, nobody else lets go of them.
    pub fn given_up(self: &Arc<Self>, kept: &Kept) {
        let until = self.calls().queue.iter().find(|call| call.number == kept.0).map(|call| call.until);
        if let Some(until) = until {
            let waiting = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep_until(until).await;
                waiting.clean();
            });
        }
    }

    /// The connection is over.
    pub(super) fn clear(&self) {
        self.calls().queue.clear();
    }

    /// How many calls have secrets here.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.calls().queue.len()
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        // Nothing in here can be left half-done by a panic.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says whose secrets are kept.
#[derive(Debug)]
pub struct Kept(u64);
