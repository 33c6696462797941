//! The proof that a record is durable, and the wait for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use super::queue::Queue;
use super::tree::Hash;
use super::writer::{Shared, lock};
use super::{Closed, bell};

/// Proof that a record is durable. Only this file makes one.
///
/// ```compile_fail
/// let receipt = keygate::audit::Receipt { known: None };
/// ```
///
/// ```compile_fail
/// fn copy(receipt: &keygate::audit::Receipt) -> keygate::audit::Receipt {
///     receipt.clone()
/// }
/// ```
#[derive(Debug)]
pub struct Receipt {
    /// Number and leaf, unless it was asked for so late that thousands of others were written since.
    known: Option<(u64, Hash)>,
}

impl Receipt {
    fn new(shared: &Shared, position: u64) -> Self {
        Self { known: shared.recent.of(position) }
    }

    /// The record's number and its leaf in the tree, when they are at hand.
    pub(super) fn known(&self) -> Option<&(u64, Hash)> {
        self.known.as_ref()
    }
}

/// A record on its way to the disk. Awaiting it yields the receipt; dropping it changes nothing, the record is written
/// all the same.
pub struct Pending(State);

pub(super) enum State {
    /// At this position; the waker that was left with the writer.
    Waiting(Arc<Shared>, u64, Option<Waker>),
    Refused(Closed),
    /// The receipt was handed out. There is no second one.
    Done,
}

impl Queue {
    /// What became of a record, when that is known.
    fn settled(&self, shared: &Shared, position: u64) -> Option<Result<Receipt, Closed>> {
        if let Some(closed) = self.lost(position) {
            return Some(Err(closed));
        }
        if shared.durable.load(Ordering::Acquire) >= position {
            return Some(Ok(Receipt::new(shared, position)));
        }
        self.end.clone().map(Err)
    }
}

impl Pending {
    pub(super) fn new(state: State) -> Self {
        Self(state)
    }

    /// The outcome, or the waker is left with the writer.
    fn settle(
        shared: &Shared,
        position: u64,
        left: &mut Option<Waker>,
        waker: &Waker,
    ) -> Option<Result<Receipt, Closed>> {
        let durable = shared.durable.load(Ordering::Acquire) >= position;
        // Below it some may be lost: a log that was closed opens again behind them.
        let in_doubt = shared.lost.load(Ordering::Acquire) >= position;
        if durable && !in_doubt {
            return Some(Ok(Receipt::new(shared, position)));
        }
        let known = left.as_ref().is_some_and(|left| left.will_wake(waker));
        // The bell rings after the outcome is known, and is answered on this thread after this: it cannot be missed.
        if !in_doubt && shared.open.load(Ordering::Acquire) && (known || bell::leave(shared.number(), position, waker))
        {
            left.get_or_insert_with(|| waker.clone()).clone_from(waker);
            return None;
        }
        // The writer publishes under this lock.
        let mut queue = lock(&shared.queue);
        let settled = queue.settled(shared, position);
        if settled.is_none() {
            queue.wakers.push((position, waker.clone()));
            *left = Some(waker.clone());
        }
        settled
    }
}

impl Future for Pending {
    type Output = Result<Receipt, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match &mut self.0 {
            State::Waiting(shared, position, left) => Self::settle(shared, *position, left, cx.waker()),
            State::Refused(closed) => Some(Err(closed.clone())),
            State::Done => None,
        };
        outcome.map_or(Poll::Pending, |outcome| {
            self.0 = State::Done;
            Poll::Ready(outcome)
        })
    }
}
