//! One wake-up per batch and worker.
//!
//! Waking a task from another thread is a system call each time. So a worker's tasks leave their wakers with the worker
//! itself, and the writer rings one bell: the worker then wakes its own, which costs nothing but a place in its queue.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::Waker;

use tokio::sync::Notify;

/// Wakers of this thread, by the position they wait for. Positions only rise, so they are nearly in order.
struct Waiting {
    /// Which log it is that this thread attends to.
    log: usize,
    wakers: Vec<(u64, Waker)>,
}

thread_local! {
    static WAITING: RefCell<Option<Waiting>> = const { RefCell::new(None) };
}

/// What the writer rings.
pub(super) type Bell = Arc<Notify>;

/// While it lives, tasks of this thread wait for `log` here.
pub(super) struct Attendance;

impl Attendance {
    pub(super) fn begin(log: usize) -> Self {
        WAITING.set(Some(Waiting { log, wakers: Vec::new() }));
        Self
    }

    /// Wakes all that wait for `upto` or less.
    #[expect(clippy::unused_self, reason = "only who attends may wake")]
    pub(super) fn wake(&self, upto: u64) {
        let due = WAITING.with_borrow_mut(|waiting| {
            let wakers = waiting.as_mut().map(|waiting| &mut waiting.wakers);
            wakers.map_or_else(Vec::new, |wakers| wakers.extract_if(.., |(position, _)| *position <= upto).collect())
        });
        // Not while the list is borrowed: a waker may run anything.
        for (_, waker) in due {
            waker.wake();
        }
    }
}

impl Drop for Attendance {
    /// Whoever still waits asks again, and then waits with the writer itself.
    fn drop(&mut self) {
        let left = WAITING.take().map_or_else(Vec::new, |waiting| waiting.wakers);
        for (_, waker) in left {
            waker.wake();
        }
    }
}

/// Leaves a waker with this thread, if it attends to that log.
pub(super) fn leave(log: usize, position: u64, waker: &Waker) -> bool {
    WAITING.with_borrow_mut(|waiting| match waiting {
        Some(waiting) if waiting.log == log => {
            waiting.wakers.push((position, waker.clone()));
            true
        }
        _ => false,
    })
}
