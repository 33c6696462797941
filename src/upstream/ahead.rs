//! A TCP stream read ahead while data comes fast, and, in a handshake, written in turns.
//!
//! The TLS library asks for 4 KiB at a time. That is right for a small message, and a system call for every 4 KiB of a
//! large one. So: when a read was filled to the brim, the next one takes all there is, up to 64 KiB. The buffer for that
//! belongs to the thread and is given back when it is empty: an idle connection keeps none.
//!
//! In a handshake, what is written waits until the other side has something to say, so that a session ticket need not have a
//! system call of its own: it leaves with the first reply.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::unsent::Unsent;

/// How much is read at once, bytes.
const AHEAD: usize = 64 * 1024;
/// Buffers that a thread keeps.
const KEPT: usize = 8;

thread_local! {
    /// Of full length, whatever stands in them.
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// When what is written leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    /// At once.
    Directly,
    /// When a read finds nothing.
    BeforeReading,
    /// With the next flush, and from then on at once.
    WithFirstFlush,
}

/// The stream, and what was read of it and not asked for yet.
pub struct Ahead<S> {
    stream: S,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    /// The last read was filled to the brim.
    fast: bool,
    writes: Writes,
    unsent: Unsent,
}

impl<S> Ahead<S> {
    /// `read` was taken off the stream already and comes first.
    pub fn new(stream: S, read: Vec<u8>) -> Self {
        let end = read.len();
        Self { stream, buffer: read, at: 0, end, fast: false, writes: Writes::Directly, unsent: Unsent::default() }
    }

    /// From now on, what is written leaves when a read finds nothing: both sides of a handshake speak in turn.
    pub fn take_turns(&mut self) {
        self.writes = Writes::BeforeReading;
    }

    /// From now on, writes do not wait; what waits leaves with the first of them.
    pub fn write_directly(&mut self) {
        self.writes = if self.unsent.is_empty() { Writes::Directly } else { Writes::WithFirstFlush };
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let count = (self.end - self.at).min(buf.remaining());
        buf.put_slice(&self.buffer[self.at..self.at + count]);
        self.at += count;
        if self.at == self.end {
            (self.at, self.end) = (0, 0);
            give(std::mem::take(&mut self.buffer));
        }
    }
}

/// A buffer of full size. What stands in it is overwritten before it is read.
fn take() -> Vec<u8> {
    FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; AHEAD])
}

fn give(buffer: Vec<u8>) {
    FREE.with_borrow_mut(|free| {
        if buffer.len() == AHEAD && free.len() < KEPT {
            free.push(buffer);
        }
    });
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.at < this.end {
            this.hand_out(buf);
            return Poll::Ready(Ok(()));
        }
        if !this.fast || buf.remaining() >= AHEAD {
            let before = buf.filled().len();
            if Pin::new(&mut this.stream).poll_read(cx, buf)?.is_pending() {
                return this.poll_turn(cx);
            }
            this.fast = buf.remaining() == 0 && buf.filled().len() > before;
            return Poll::Ready(Ok(()));
        }
        let mut buffer = take();
        let mut ahead = ReadBuf::new(&mut buffer);
        let read = Pin::new(&mut this.stream).poll_read(cx, &mut ahead);
        let end = ahead.filled().len();
        // Nothing more at the moment, or the end: back to small reads.
        this.fast = end == AHEAD;
        if end == 0 {
            give(buffer);
            return if read.is_pending() { this.poll_turn(cx) } else { read };
        }
        (this.buffer, this.end) = (buffer, end);
        this.hand_out(buf);
        Poll::Ready(Ok(()))
    }
}

impl<S> Drop for Ahead<S> {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.buffer));
    }
}

impl<S: AsyncWrite + Unpin> Ahead<S> {
    /// A read found nothing: the other side waits for what was not sent yet.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.writes, Writes::BeforeReading | Writes::WithFirstFlush) {
            ready!(self.poll_unsent(cx))?;
        }
        Poll::Pending
    }

    /// Writes out what waits.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.unsent.poll_out(&mut self.stream, cx))?;
        if self.writes == Writes::WithFirstFlush {
            self.writes = Writes::Directly;
        }
        Poll::Ready(Ok(()))
    }

    fn wait(&mut self, bufs: &[IoSlice<'_>]) -> Option<usize> {
        if self.writes == Writes::Directly { None } else { self.unsent.take(bufs) }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(count) = self.wait(&[IoSlice::new(buf)]) {
            return Poll::Ready(Ok(count));
        }
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // One record, mostly: the system sends one buffer at less cost than a list of one.
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        if let Some(count) = self.wait(bufs) {
            return Poll::Ready(Ok(count));
        }
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writes == Writes::BeforeReading {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::*;

    /// Hands out bytes in pieces, as a network does, and counts how often it is asked.
    struct Network {
        bytes: Vec<u8>,
        at: usize,
        pieces: Vec<usize>,
        asked: usize,
    }

    impl AsyncRead for Network {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let piece = self.pieces[self.asked % self.pieces.len()];
            let count = piece.min(buf.remaining()).min(self.bytes.len() - self.at);
            buf.put_slice(&self.bytes[self.at..self.at + count]);
            self.at += count;
            self.asked += 1;
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Network {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn read(bytes: &[u8], prefix: usize, pieces: Vec<usize>, room: usize) -> (Vec<u8>, usize) {
        let (first, rest) = bytes.split_at(prefix.min(bytes.len()));
        let mut ahead = Ahead::new(Network { bytes: rest.to_vec(), at: 0, pieces, asked: 0 }, first.to_vec());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut all = Vec::new();
        runtime.block_on(async {
            let mut buffer = vec![0; room];
            loop {
                let count = ahead.read(&mut buffer).await.unwrap();
                if count == 0 {
                    break;
                }
                all.extend_from_slice(&buffer[..count]);
            }
        });
        (all, ahead.get_ref().asked)
    }

    proptest! {
        #[test]
        fn every_byte_comes_once_and_in_order(
            length in 0usize..300_000, prefix in 0usize..400, room in 1usize..6000,
            pieces in prop::collection::vec(1usize..100_000, 1..6),
        ) {
            #[allow(clippy::cast_possible_truncation, reason = "any byte will do")]
            let bytes: Vec<u8> = (0..length).map(|n| (n / 7) as u8).collect();
            prop_assert_eq!(read(&bytes, prefix, pieces, room).0, bytes);
        }
    }

    #[test]
    fn a_fast_stream_is_asked_seldom() {
        let (all, asked) = read(&vec![1; 1 << 20], 0, vec![usize::MAX], 4096);
        assert_eq!(all.len(), 1 << 20);
        assert!(asked < 25, "{asked} reads");
    }

    #[test]
    fn who_takes_turns_sends_before_waiting_and_the_rest_with_the_first_reply() {
        use tokio::io::AsyncWriteExt;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut ahead = Ahead::new(ours, Vec::new());
        ahead.take_turns();
        let none = std::time::Duration::ZERO;
        runtime.block_on(async {
            let (mut byte, mut said) = ([0], [0; 64]);
            ahead.write_all(b"hello").await.unwrap();
            ahead.flush().await.unwrap();
            assert!(tokio::time::timeout(none, theirs.read(&mut byte)).await.is_err(), "it did not wait for its turn");
            assert!(tokio::time::timeout(none, ahead.read(&mut byte)).await.is_err());
            assert_eq!(theirs.read(&mut said).await.unwrap(), 5);
            theirs.write_all(b"!").await.unwrap();
            assert_eq!(ahead.read(&mut byte).await.unwrap(), 1);
            ahead.write_all(b"ticket").await.unwrap();
            ahead.write_directly();
            ahead.write_all(b"reply").await.unwrap();
            ahead.flush().await.unwrap();
            assert_eq!(theirs.read(&mut said).await.unwrap(), 11);
            ahead.write_all(b"next").await.unwrap();
            assert_eq!(theirs.read(&mut said).await.unwrap(), 4, "only the first reply waits");
        });
    }
}
