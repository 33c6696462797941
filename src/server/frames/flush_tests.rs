//! When what the HTTP/2 implementation writes is flushed: seen with the implementation itself on both sides.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail loudly")]

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::{Barrier, mpsc};

use super::super::seat::Seat;
use super::guard::guard;
use crate::entry::Abandoned;

/// Counts how often it is flushed.
struct Counting(DuplexStream, Arc<AtomicU32>);

impl AsyncRead for Counting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        // As TLS is.
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// What is sent to it, piece by piece.
struct Pieces(mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// A server behind the guard, and a client of it.
async fn serve<F>(
    flushes: &Arc<AtomicU32>,
    reply: impl Fn(Request<Incoming>) -> F + Send + Sync + Clone + 'static,
) -> SendRequest<Empty<Bytes>>
where
    F: Future<Output = Result<Response<Pieces>, Infallible>> + Send + 'static,
{
    let (ours, theirs) = duplex(1 << 20);
    let seat = Arc::new(Seat::new(Arc::default()));
    let (stream, _) = guard(Counting(ours, flushes.clone()), seat, Abandoned::default());
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service_fn(reply));
    tokio::spawn(server);
    let io = TokioIo::new(theirs);
    let (client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn replies_that_are_ready_together_leave_together() {
    const CALLS: usize = 16;
    let (flushes, together) = (Arc::new(AtomicU32::new(0)), Arc::new(Barrier::new(CALLS)));
    let counted = flushes.clone();
    let mut client = serve(&flushes, move |_| {
        let (together, flushes) = (together.clone(), counted.clone());
        async move {
            if together.wait().await.is_leader() {
                flushes.store(0, Ordering::Relaxed);
            }
            let (send, pieces) = mpsc::channel(1);
            send.try_send(Bytes::from(vec![b'x'; 1000])).unwrap();
            Ok(Response::new(Pieces(pieces)))
        }
    })
    .await;
    let replies: Vec<_> = (0..CALLS).map(|_| tokio::spawn(client.send_request(Request::new(Empty::new())))).collect();
    for reply in replies {
        let body = reply.await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), 1000);
    }
    let flushes = flushes.load(Ordering::Relaxed);
    assert!((1..=4).contains(&flushes), "{flushes} flushes for {CALLS} replies");
}

#[tokio::test]
async fn each_piece_of_a_body_leaves_without_waiting_for_the_next() {
    for size in [1, 255, 256, 257, 1000, 16_384, 40_000] {
        let (send, pieces) = mpsc::channel(1);
        let pieces = Arc::new(std::sync::Mutex::new(Some(pieces)));
        let reply = move |_| {
            let pieces = pieces.lock().unwrap().take().unwrap();
            async move { Ok(Response::new(Pieces(pieces))) }
        };
        let mut client = serve(&Arc::default(), reply).await;
        let mut body = client.send_request(Request::new(Empty::new())).await.unwrap().into_body();
        for n in 0..3 {
            send.send(Bytes::from(vec![n; size])).await.unwrap();
            let mut came = 0;
            while came < size {
                came += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
            }
        }
        drop(send);
        assert!(body.frame().await.is_none_or(|frame| frame.unwrap().data_ref().is_some_and(Bytes::is_empty)));
    }
}
