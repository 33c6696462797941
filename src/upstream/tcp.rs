//! A TCP stream whose system calls are made directly.
//!
//! The C library makes each `send` and `recv` of a process with threads a point where a thread can be cancelled: two locked
//! instructions and two calls more, four times a request. Nobody cancels threads here.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// The stream.
pub struct Tcp(TcpStream);

impl Tcp {
    /// Takes it over.
    pub fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// How many bytes a call moved, of `room`. `None` when the stream has to be waited for.
    fn moved(
        &self,
        interest: Interest,
        room: usize,
        call: impl FnOnce() -> rustix::io::Result<usize>,
    ) -> Option<io::Result<usize>> {
        let mut moved = None;
        let tried = self.0.try_io(interest, || match call() {
            // Less than there was room for: another call would find nothing. The runtime is told in the one way that there is,
            // as it tells itself after calls of its own, and that other call is saved.
            Ok(count) if 0 < count && count < room => {
                moved = Some(count);
                Err(io::ErrorKind::WouldBlock.into())
            }
            ended => Ok(ended?),
        });
        match (moved, tried) {
            (Some(count), _) => Some(Ok(count)),
            (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => None,
            (None, tried) => Some(tried),
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // TLS reads into memory that was written to before: nothing is filled up.
        let room = buf.initialize_unfilled();
        let length = room.len();
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            let call = || recv(&self.0, &mut *room, RecvFlags::empty()).map(|(count, _)| count);
            if let Some(read) = self.moved(Interest::READABLE, length, call) {
                let count = read?;
                buf.advance(count);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            let call = || send(&self.0, buf, SendFlags::NOSIGNAL);
            if let Some(written) = self.moved(Interest::WRITABLE, buf.len(), call) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// More than the kernel takes at once, in pieces of all sizes, both ways: what was read in part is read on, and who
    /// waits for room is woken.
    #[tokio::test]
    async fn every_byte_comes_once_and_in_order_and_then_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut ours, mut theirs) = (Tcp::new(ours.unwrap()), Tcp::new(theirs.unwrap().0));
        #[allow(clippy::cast_possible_truncation, reason = "any byte will do")]
        let bytes: Vec<u8> = (0..32_000_000u32).map(|n| (n / 7) as u8).collect();
        let write = async {
            for piece in bytes.chunks(1_000_003) {
                ours.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let read = async {
            let (mut all, mut piece, mut rooms) = (Vec::new(), vec![0; 70_000], [1, 100, 4096, 70_000].iter().cycle());
            while all.len() < bytes.len() {
                let count = theirs.read(&mut piece[..*rooms.next().unwrap()]).await.unwrap();
                assert!(count > 0, "it ended after {} bytes", all.len());
                all.extend_from_slice(&piece[..count]);
            }
            all
        };
        let ((), read) = tokio::join!(write, read);
        assert!(read == bytes);
        theirs.write_all(b"heard").await.unwrap();
        let mut said = [0; 9];
        assert_eq!(ours.read(&mut said).await.unwrap(), 5);
        drop(theirs);
        assert_eq!(ours.read(&mut said).await.unwrap(), 0);
        // A connection that is gone is an error, and no signal.
        let failed = loop {
            match ours.write_all(b"more").await {
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => break error.kind(),
            }
        };
        assert!([io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].contains(&failed), "{failed}");
    }
}
