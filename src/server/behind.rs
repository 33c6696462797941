//! A stream that is written behind until it is flushed.
//!
//! HTTP/2 writes each reply by itself and flushes when it has none left (`frames/guard.rs` sees to that). The replies that a batch of
//! the audit log releases together become as few TLS records as hold them, and leave with one system call.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::upstream::Unsent;

/// The stream, and what waits for a flush.
pub(super) struct Behind<S> {
    stream: S,
    unsent: Unsent,
}

impl<S> Behind<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, unsent: Unsent::default() }
    }

    /// The stream itself.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Behind<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Behind<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, unsent } = &mut *self;
        if let Some(count) = unsent.take(bufs) {
            return Poll::Ready(Ok(count));
        }
        ready!(unsent.poll_out(stream, cx))?;
        match unsent.take(bufs) {
            Some(count) => Poll::Ready(Ok(count)),
            None => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, unsent } = &mut *self;
        ready!(unsent.poll_out(stream, cx))?;
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, unsent } = &mut *self;
        ready!(unsent.poll_out(stream, cx))?;
        Pin::new(stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn what_is_written_behind_leaves_in_order_and_with_the_flush() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut behind = Behind::new(ours);
        let pieces: [Vec<u8>; 5] = [vec![1; 100], vec![2; 30_000], vec![3; 40_000], vec![4; 20_000], vec![5; 7]];
        runtime.block_on(async {
            behind.write_all(&pieces[0]).await.unwrap();
            let mut byte = [0];
            let early = theirs.read(&mut byte);
            assert!(tokio::time::timeout(std::time::Duration::ZERO, early).await.is_err(), "it did not wait");
        });
        runtime.block_on(async {
            for piece in &pieces[1..] {
                behind.write_all(piece).await.unwrap();
            }
            behind.flush().await.unwrap();
            let mut all = vec![0; pieces.concat().len()];
            theirs.read_exact(&mut all).await.unwrap();
            assert!(all == pieces.concat());
        });
    }
}
