//! A quiet HTTP/1.1 connection at rest.
//!
//! hyper keeps two buffers of 8 KiB and a header map for the next request, and a connection that nobody uses keeps them for as
//! long as it lives. So when no call was under way for a second, the connection is taken apart: the stream remains. With the
//! first byte that its client sends, HTTP begins on it anew, which costs about as much as an allocation or two.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::half_closed::HalfClosed;
use super::obey::{self, Served};
use super::seat::{Cut, Seat};

/// What is read of a request before there is a connection for it, bytes.
const FIRST: usize = 1024;

/// A connection that can be taken apart.
pub(super) trait Apart: Served + Unpin {
    /// What it stands on.
    type Stream;

    /// The stream, and what was read of the next request.
    fn apart(self: Box<Self>) -> (Self::Stream, Bytes);
}

impl<S, B, Service> Apart for http1::Connection<TokioIo<HalfClosed<S>>, Service>
where
    S: AsyncRead + AsyncWrite + Unpin,
    Service: HttpService<Incoming, ResBody = B>,
    Service::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    Self: Served + Unpin,
{
    type Stream = HalfClosed<S>;

    fn apart(self: Box<Self>) -> (HalfClosed<S>, Bytes) {
        let parts = self.into_parts();
        (parts.io.into_inner(), parts.read_buf)
    }
}

/// Serves a connection to its end; `begin` makes another one of what it stands on.
pub(super) async fn serve<S, C>(
    seat: &Seat,
    mut connection: Box<C>,
    begin: impl Fn(HalfClosed<S>) -> Box<C>,
) -> Result<hyper::Result<()>, Cut>
where
    S: AsyncRead + Unpin,
    C: Apart<Stream = HalfClosed<S>>,
{
    loop {
        if let Some(served) = obey::serve(seat, Pin::new(&mut *connection)).await? {
            return Ok(served);
        }
        let (stream, read) = connection.apart();
        let mut stream = Box::new(stream);
        stream.put_back(&read);
        drop(read);
        if let Err(error) = wakes(seat, &mut *stream).await {
            tracing::debug!(%error, "a connection ended at rest");
            return Ok(Ok(()));
        }
        connection = begin(*stream);
    }
}

/// Waits until the client says something or goes, or the connection is told to do something.
fn wakes<S: AsyncRead + Unpin>(seat: &Seat, stream: &mut HalfClosed<S>) -> impl Future<Output = io::Result<()>> {
    let mut waker = None;
    poll_fn(move |cx| {
        seat.listen(cx, &mut waker);
        if seat.order().is_some() || stream.has_more() {
            return Poll::Ready(Ok(()));
        }
        poll_first(stream, cx)
    })
}

/// Reads the beginning of a request; what was read comes first when the stream is read again.
fn poll_first<S: AsyncRead + Unpin>(stream: &mut HalfClosed<S>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut first = [0; FIRST];
    let mut first = ReadBuf::new(&mut first);
    ready!(Pin::new(&mut *stream).poll_read(cx, &mut first))?;
    stream.put_back(first.filled());
    Poll::Ready(Ok(()))
}
