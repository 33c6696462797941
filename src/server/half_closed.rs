//! A client that has said goodbye in one direction and still listens for its reply.
//!
//! hyper takes the end of what comes for a hang-up. To TLS a goodbye (`close_notify`) ends one direction only, and simple
//! clients say it right after their request. So it is kept from hyper until the call is over, unless the request turns
//! out to lack something. A client that is gone sends no such goodbye, or resets the connection: that is a hang-up as before.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::seat::Seat;

/// A stream whose end is heard of only when no reply is owed on it.
pub(super) struct HalfClosed<S> {
    stream: S,
    seat: Arc<Seat>,
    /// What was read of it already and comes first.
    first: Vec<u8>,
    doubts: u8,
}

/// How often the end is looked at again while a body seems to lack something: its own end may be on its way to whoever reads
/// it.
const DOUBTS: u8 = 4;

impl<S> HalfClosed<S> {
    pub(super) fn new(stream: S, seat: Arc<Seat>) -> Self {
        Self { stream, seat, first: Vec::new(), doubts: 0 }
    }

    /// These were read of it, and are to be read again.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        self.first.extend_from_slice(bytes);
    }

    /// Whether something that was put back is to be read.
    pub(super) fn has_more(&self) -> bool {
        !self.first.is_empty()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HalfClosed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let count = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first[..count]);
            self.first.drain(..count);
            if self.first.is_empty() {
                // Nor is its room kept.
                self.first = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        let (before, room) = (buf.filled().len(), buf.remaining());
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let ended = matches!(read, Poll::Ready(Ok(()))) && room > 0 && buf.filled().len() == before;
        if buf.filled().len() > before {
            self.seat.arrival.fed();
        }
        if !ended || !self.seat.owes_reply() {
            return read;
        }
        if self.seat.arrival.is_wanting() {
            if self.doubts == DOUBTS {
                return read;
            }
            self.doubts += 1;
            cx.waker().wake_by_ref();
        }
        // The end of the call wakes the connection, which then reads the end again.
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HalfClosed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
