//! One connection as the calls on it see it: they can break it off, or slip an interim reply in before their own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// What calls and their connection share.
#[derive(Debug, Default)]
pub struct Link {
    early: AtomicU16,
    is_cut: AtomicBool,
    woken: Notify,
}

impl Link {
    /// Has an interim reply written before the next bytes (HTTP/1.1 only: on HTTP/2 it would break the framing).
    pub fn send_early(&self, status: u16) {
        self.early.store(status, Ordering::Relaxed);
    }

    /// Breaks the connection off, after what is written already.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.woken.notify_one();
    }

    /// Waits for [`Link::cut`].
    pub async fn until_cut(&self) {
        while !self.is_cut.load(Ordering::Acquire) {
            self.woken.notified().await;
        }
    }
}

/// A stream that writes a link's interim replies between those of the server.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    link: Arc<Link>,
    early: &'static [u8],
}

impl<S> Wire<S> {
    /// Wraps a stream.
    pub fn new(stream: S, link: Arc<Link>) -> Self {
        Self { stream, link, early: &[] }
    }
}

fn interim(status: u16) -> &'static [u8] {
    match status {
        100 => b"HTTP/1.1 100 Continue\r\n\r\n",
        102 => b"HTTP/1.1 102 Processing\r\n\r\n",
        103 => b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload; as=style\r\n\r\n",
        _ => &[],
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Writes what is left of an interim reply.
    fn poll_early(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let status = self.link.early.swap(0, Ordering::Relaxed);
        if status != 0 {
            self.early = interim(status);
        }
        while !self.early.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, self.early))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.early = self.early.get(written..).unwrap_or_default(),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_early(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_early(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
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
