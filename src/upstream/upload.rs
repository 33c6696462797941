//! A request's body on its way: counted, held to its size and to its pace.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::UpstreamError;

/// What became of a body so far; shared with the route, which writes it down.
#[derive(Default)]
pub struct Progress {
    bytes: AtomicU64,
    trouble: AtomicU8,
}

const TOO_LARGE: u8 = 1;
const TOO_SLOW: u8 = 2;
const BROKEN: u8 = 3;

impl Progress {
    /// Bytes that went upstream.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The body of a request.
pub struct Upload {
    inner: Option<Incoming>,
    progress: Arc<Progress>,
    max: u64,
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

/// A body that cannot go on. The reason is in its [`Progress`].
#[derive(Debug, thiserror::Error)]
#[error("the request body cannot go on")]
pub struct UploadError;

impl Upload {
    /// A body of at most `max` bytes with no pause longer than `pause`.
    pub fn new(inner: Incoming, max: u64, pause: Duration) -> Self {
        let inner = (!inner.is_end_stream()).then_some(inner);
        Self { inner, progress: Arc::default(), max, pause, timer: None }
    }

    /// The shared view on what became of it.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// What went wrong with it, if anything did.
    pub fn trouble(progress: &Progress, max: u64, pause: Duration) -> Option<UpstreamError> {
        match progress.trouble.load(Ordering::Relaxed) {
            TOO_LARGE => Some(UpstreamError::BodyTooLarge(max)),
            TOO_SLOW => Some(UpstreamError::UploadTimeout(pause)),
            BROKEN => Some(UpstreamError::UploadBroken),
            _ => None,
        }
    }

    fn fail(&mut self, trouble: u8) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        self.inner = None;
        self.progress.trouble.store(trouble, Ordering::Relaxed);
        Poll::Ready(Some(Err(UploadError)))
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let pause = self.pause;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => self.fail(TOO_SLOW),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = match Pin::new(inner).poll_frame(cx) {
            Poll::Pending => return self.wait(cx),
            Poll::Ready(frame) => frame,
        };
        let pause = self.pause;
        if let Some(timer) = &mut self.timer {
            timer.as_mut().reset(Instant::now() + pause);
        }
        match frame {
            // Trailers end at the gate.
            None => Poll::Ready(None),
            Some(Err(_)) => self.fail(BROKEN),
            Some(Ok(frame)) => match frame.into_data() {
                Err(_trailers) => Poll::Ready(None),
                Ok(data) => {
                    let sent = self.progress.bytes.fetch_add(data.len() as u64, Ordering::Relaxed) + data.len() as u64;
                    if sent > self.max { self.fail(TOO_LARGE) } else { Poll::Ready(Some(Ok(Frame::data(data)))) }
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
