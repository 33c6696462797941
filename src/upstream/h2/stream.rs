//! The stream between the HTTP/2 library and TLS. What is read passes as it is; in what is written, secrets take the places of
//! their blanks.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use super::{Misplaced, Waiting};

/// No more than this is put in line before something is written, bytes.
const MOST: usize = 16 * 1024;
/// Pieces that are written at once. A head with one key in it has three.
const PIECES: usize = 16;

/// A stream on which blanks are filled in.
pub struct Filling<S> {
    stream: S,
    frames: Frames,
    waiting: Arc<Waiting>,
}

impl<S> Filling<S> {
    /// At the beginning of a connection.
    pub fn new(stream: S, waiting: Arc<Waiting>) -> Self {
        Self { stream, frames: Frames::new(), waiting }
    }

    fn fail(&mut self, why: Misplaced) -> io::Error {
        self.frames.give_up();
        self.waiting.fails(why);
        tracing::error!(%why, "a connection to an upstream was ended");
        io::Error::other(why)
    }

    fn sound(&self) -> io::Result<()> {
        self.waiting.fault().map_or(Ok(()), |why| Err(io::Error::other(why)))
    }
}

impl<S> Drop for Filling<S> {
    fn drop(&mut self) {
        self.waiting.clear();
    }
}

impl<S: AsyncWrite + Unpin> Filling<S> {
    fn offer(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.sound()?;
        if self.frames.in_line() > MOST {
            ready!(self.write_all(cx))?;
        }
        let mut taken = 0;
        for buf in bufs {
            let some = self.frames.take(buf, &self.waiting).map_err(|why| self.fail(why))?;
            taken += some;
            if some < buf.len() {
                break;
            }
        }
        // It leaves with what comes next, or with the flush.
        if taken > 0 || bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(taken));
        }
        loop {
            let passed = ready!(self.write(cx, bufs))?;
            if passed > 0 {
                return Poll::Ready(Ok(passed));
            }
        }
    }

    /// Writes some of what is in line and of what may pass behind it; says how much of the latter it was.
    fn write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let mut count = self.frames.slices(&mut slices);
        let in_line = self.frames.in_line();
        let mut passing = self.frames.passing();
        // Unless the line is longer than there are slices.
        if slices[..count].iter().map(|slice| slice.len()).sum::<usize>() == in_line {
            for (slice, buf) in slices[count..].iter_mut().zip(bufs) {
                let part = &buf[..buf.len().min(passing)];
                *slice = IoSlice::new(part);
                passing -= part.len();
                count += 1;
            }
        }
        let wrote = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count]))?;
        if wrote == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_line = wrote.min(in_line);
        self.frames.written(of_line);
        self.frames.passed(wrote - of_line);
        Poll::Ready(Ok(wrote - of_line))
    }

    fn write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sound()?;
        self.waiting.clean();
        while self.frames.in_line() > 0 {
            ready!(self.write(cx, &[]))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Filling<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Filling<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.offer(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.offer(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_all(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.sound().is_ok() {
            ready!(self.write_all(cx))?;
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
