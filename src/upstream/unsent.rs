//! What was written and has not left yet. The buffer belongs to the thread and is given back when it is empty: a connection
//! with nothing to say keeps none.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// How much waits at most, bytes.
const MOST: usize = 64 * 1024;
/// A write of this size need not wait for others, bytes.
const LARGE: usize = 16 * 1024;
/// Buffers that a thread keeps.
const KEPT: usize = 8;

thread_local! {
    /// Of full capacity, empty. To fill them up to be read into as well would cost more than it saves.
    static EMPTY: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that wait, in their order.
#[derive(Default)]
pub(crate) struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
}

impl Unsent {
    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Puts bytes behind what waits: how many. `None` when they do not fit, or are many and nothing waits: those go the direct way.
    pub(crate) fn take(&mut self, bufs: &[IoSlice<'_>]) -> Option<usize> {
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        let waits = length < LARGE || !self.bytes.is_empty();
        (waits && self.bytes.len() + length <= MOST).then(|| {
            if self.bytes.is_empty() {
                self.bytes = empty();
            }
            for buf in bufs {
                self.bytes.extend_from_slice(buf);
            }
            length
        })
    }

    /// Writes it out.
    pub(crate) fn poll_out(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            let count = ready!(Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        if self.sent > 0 {
            self.sent = 0;
            give(std::mem::take(&mut self.bytes));
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.bytes));
    }
}

fn empty() -> Vec<u8> {
    EMPTY.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(MOST))
}

fn give(mut buffer: Vec<u8>) {
    // Replies about people may have been in it, and it lies here until it is needed again.
    buffer.fill(0);
    buffer.clear();
    EMPTY.with_borrow_mut(|empty| {
        if buffer.capacity() >= MOST && empty.len() < KEPT {
            empty.push(buffer);
        }
    });
}
