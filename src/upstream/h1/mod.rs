//! One HTTP/1.1 connection to an upstream, driven by the call that uses it: no task of its own, no channels, one buffer
//! that head, body and header values share.

mod framing;
mod head;

use std::error::Error;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderValue, Method, Request};
use http_body::{Body as _, Frame, SizeHint};
use tokio::io::{AsyncReadExt, AsyncWrite};
use zeroize::Zeroize;

use self::framing::{Framing, Sent, chunk_size};
use self::head::Head;
use super::Upload;
use super::connect::Stream;
use super::pool::Pool;

/// Room for a head and a small body, bytes.
const SMALL: usize = 8 * 1024;
/// Room for a piece of a large body, bytes.
const LARGE: usize = 64 * 1024;
/// A first piece of a body up to this goes out together with the head, bytes.
const TOGETHER: usize = 8 * 1024;

type Failed = Box<dyn Error + Send + Sync>;

/// A connection between two calls, or in the middle of one.
pub struct Link {
    stream: Stream,
    read: BytesMut,
    write: BytesMut,
}

impl Link {
    /// Boxed: it moves from pool to call and back, and TLS keeps its whole state in it.
    pub(super) fn new(stream: Stream) -> Box<Self> {
        Box::new(Self { stream, read: BytesMut::new(), write: BytesMut::new() })
    }

    /// Whether it can still be used: the upstream has neither closed it nor said anything unasked. A look at what the
    /// runtime knows already, which asks the system only when there is news.
    pub(super) fn is_usable(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.read.is_empty() && self.write.is_empty() && self.poll_read(&mut context, SMALL).is_pending()
    }

    /// Reads what there is, into at least that much room. 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        // A quarter of it is enough to go on with: less often, and then into a block that is free again.
        if self.read.capacity() - self.read.len() < room / 4 {
            self.read.reserve(room);
        }
        pin!(self.stream.read_buf(&mut self.read)).poll(cx)
    }

    /// Writes what waits, then the pieces behind it.
    fn poll_write(&mut self, cx: &mut Context<'_>, more: &mut Bytes) -> Poll<io::Result<()>> {
        while !self.write.is_empty() {
            let count = written(ready!(Pin::new(&mut self.stream).poll_write(cx, &self.write))?)?;
            // The key is in it. TLS encrypts its own copy in place. The block stays in use, so this is not optimised away.
            self.write[..count].fill(0);
            self.write.advance(count);
        }
        while !more.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, more))?;
            more.advance(written(count)?);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

/// Appends to a buffer that holds the key: one that grows by itself would leave a copy behind.
fn append(buffer: &mut BytesMut, bytes: &[u8]) {
    if buffer.capacity() - buffer.len() < bytes.len() {
        let mut larger = BytesMut::with_capacity(buffer.len() + bytes.len());
        larger.extend_from_slice(buffer);
        buffer[..].zeroize();
        *buffer = larger;
    }
    buffer.extend_from_slice(bytes);
}

impl Drop for Link {
    /// What was not written, because the upstream broke off, holds the key.
    fn drop(&mut self) {
        self.write[..].zeroize();
    }
}

fn written(count: usize) -> io::Result<usize> {
    if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) }
}

/// A request on its way, and then its reply.
pub(super) struct Exchange {
    link: Box<Link>,
    method: Method,
    max_head: usize,
    upload: Option<Upload>,
    sent: Sent,
    /// A piece of the body that is being written.
    piece: Bytes,
    /// The piece that went out together with the head.
    first: Bytes,
    /// Whether anything may have reached the upstream.
    begun: bool,
    /// Why the request could not be written to its end. The upstream may have answered and closed before that.
    broken: Option<Failed>,
}

/// What an upload's end says: it is the client's own fault.
#[derive(Debug, thiserror::Error)]
#[error("the request body did not come to its announced end")]
struct Short;

#[derive(Debug, thiserror::Error)]
#[error("the merchant API closed the connection before its reply was whole")]
struct Closed;

impl Exchange {
    /// Puts the request's head in line. Its body is taken out of `request`.
    pub(super) fn new(mut link: Box<Link>, request: &mut Request<Upload>, host: &HeaderValue, max_head: usize) -> Self {
        let sent = head::write(&mut link.write, request, host);
        let upload = std::mem::take(request.body_mut());
        Self {
            link,
            method: request.method().clone(),
            max_head,
            upload: (!upload.is_end_stream()).then_some(upload),
            sent,
            piece: Bytes::new(),
            first: Bytes::new(),
            begun: false,
            broken: None,
        }
    }

    /// Gives the body back, when nothing of the request has left.
    pub(super) fn take_back(&mut self) -> Option<Upload> {
        if self.begun {
            return None;
        }
        let mut upload = self.upload.take().unwrap_or_default();
        upload.put_back(std::mem::take(&mut self.first));
        Some(upload)
    }

    /// Sends, until the reply's head is there.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failed>> {
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            // Only what the wire said leaves an answer to hope for: the upstream may have refused the request and closed.
            let on_the_wire = error.is::<io::Error>();
            if !on_the_wire {
                // A body that broke off must never be sent again as if it had been a whole one.
                self.begun = true;
            }
            if !self.begun || !on_the_wire {
                return Poll::Ready(Err(error));
            }
            (self.upload, self.broken) = (None, Some(error));
        }
        loop {
            match head::read(&mut self.link.read, &self.method, self.max_head) {
                Ok(None) => {}
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
            let error = match ready!(self.link.poll_read(cx, SMALL)) {
                Ok(0) => Closed.into(),
                Ok(_) => continue,
                Err(error) => error.into(),
            };
            return Poll::Ready(Err(self.broken.take().unwrap_or(error)));
        }
    }

    /// Sends what can be sent of the request. Ready when all of it is out.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if self.is_sent() {
            return Poll::Ready(Ok(()));
        }
        if !self.begun {
            self.gather_first(cx)?;
        }
        loop {
            let wrote = self.link.poll_write(cx, &mut self.piece);
            // An error of the very first write says that nothing was taken; after that, nobody knows.
            self.begun |= !matches!(wrote, Poll::Ready(Err(_)));
            ready!(wrote)?;
            if self.upload.is_none() {
                return self.link.poll_flush(cx).map_err(Into::into);
            }
            match self.poll_piece(cx) {
                Poll::Ready(piece) => piece?,
                Poll::Pending => {
                    // What was written must not wait for what the client has not sent yet.
                    let _ = self.link.poll_flush(cx)?;
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_sent(&self) -> bool {
        self.begun
            && self.upload.is_none()
            && self.link.write.is_empty()
            && self.piece.is_empty()
            && !self.link.stream.get_ref().1.wants_write()
    }

    /// A small body goes out with its head.
    fn gather_first(&mut self, cx: &mut Context<'_>) -> Result<(), Failed> {
        if self.upload.is_none() || !self.first.is_empty() {
            return Ok(());
        }
        if let Poll::Ready(piece) = self.poll_piece(cx) {
            piece?;
            if self.piece.len() <= TOGETHER {
                self.first = std::mem::take(&mut self.piece);
                append(&mut self.link.write, &self.first);
            } else {
                self.first = self.piece.clone();
            }
        }
        Ok(())
    }

    /// Puts the next piece of the body in line.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        let Some(upload) = &mut self.upload else { return Poll::Ready(Ok(())) };
        let frame = ready!(Pin::new(&mut *upload).poll_frame(cx)).transpose()?;
        let data = frame.and_then(|frame| frame.into_data().ok());
        match (&mut self.sent, data) {
            (Sent::Length(left), Some(data)) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Short)?;
                self.piece = data;
                // Its end need not be asked for.
                if *left == 0 && upload.is_end_stream() {
                    self.upload = None;
                }
            }
            (Sent::Chunked, Some(data)) if data.is_empty() => {}
            (Sent::Chunked, Some(data)) => {
                let mut chunk = BytesMut::from(chunk_size(data.len()).as_bytes());
                chunk.extend_from_slice(&data);
                chunk.extend_from_slice(b"\r\n");
                self.piece = chunk.freeze();
            }
            (Sent::Length(1..), None) | (Sent::Nothing, Some(_)) => return Poll::Ready(Err(Short.into())),
            (Sent::Length(_) | Sent::Nothing, None) => self.upload = None,
            (Sent::Chunked, None) => (self.upload, self.piece) = (None, Bytes::from_static(b"0\r\n\r\n")),
        }
        Poll::Ready(Ok(()))
    }
}

/// A reply's body as it comes. With its end the connection goes back to the pool; dropped before, it is closed.
pub struct Body {
    exchange: Option<Box<Exchange>>,
    framing: Framing,
    keep: bool,
    pool: Arc<Pool>,
}

impl Body {
    pub(super) fn new(exchange: Box<Exchange>, head: &Head, pool: Arc<Pool>) -> Self {
        let mut body = Self { exchange: Some(exchange), framing: head.framing, keep: head.keep, pool };
        if body.framing.is_done() {
            body.finish();
        }
        body
    }

    /// The reply was read to its end.
    fn finish(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        // A request that was not sent to its end leaves a connection that is in the middle of it.
        if self.keep && exchange.is_sent() && exchange.link.read.is_empty() {
            self.pool.put_back(exchange.link);
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        let this = &mut *self;
        loop {
            let Some(exchange) = &mut this.exchange else { return Poll::Ready(None) };
            // An upstream may answer before it has read the request to its end.
            if let Poll::Ready(Err(_)) = exchange.poll_send(cx) {
                (exchange.upload, this.keep) = (None, false);
            }
            let piece = this.framing.next(&mut exchange.link.read)?;
            if this.framing.is_done() {
                this.finish();
            }
            if let Some(piece) = piece {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let Some(exchange) = &mut this.exchange else { return Poll::Ready(None) };
            let room = match this.framing {
                Framing::Length(left) if left < SMALL as u64 => SMALL,
                _ => LARGE,
            };
            match ready!(exchange.link.poll_read(cx, room)) {
                Ok(0) if this.framing == Framing::ToEnd => this.exchange = None,
                Ok(0) => return Poll::Ready(Some(Err(Closed.into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }
}
