//! A request's body on its way: counted, held to its size and to its pace.

use std::num::NonZeroU32;
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
use crate::body::{Late, Pace};

/// What became of a body so far; shared with the route, which writes it down.
#[derive(Default)]
pub struct Progress {
    bytes: AtomicU64,
    trouble: AtomicU8,
}

const TOO_LARGE: u8 = 1;
const STALLED: u8 = 2;
const TOO_SLOW: u8 = 3;
const BROKEN: u8 = 4;

impl Progress {
    /// Bytes that went upstream.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// How far a request has come, for the connection that must know what its client's goodbye means. The connection lays it
/// into the request, when that has a body.
#[derive(Default)]
pub struct Arrival(AtomicU8);

const WHOLE: u8 = 0;
const COMING: u8 = 1;
const WANTED: u8 = 2;

impl Arrival {
    /// A request begins.
    pub fn begins(&self, whole: bool) {
        self.0.store(if whole { WHOLE } else { COMING }, Ordering::Relaxed);
    }

    /// Bytes came; whether they are what is wanted will be seen.
    pub fn fed(&self) {
        if self.0.load(Ordering::Relaxed) == WANTED {
            self.0.store(COMING, Ordering::Relaxed);
        }
    }

    /// The last request was taken to its end, or there was none.
    pub fn is_whole(&self) -> bool {
        self.0.load(Ordering::Relaxed) == WHOLE
    }

    /// Everything that came was taken, and the body is not whole.
    pub fn is_wanting(&self) -> bool {
        self.0.load(Ordering::Relaxed) == WANTED
    }
}

/// What a request's body is held to.
#[derive(Clone, Copy, Debug)]
pub struct UploadLimits {
    /// Largest, bytes.
    pub max: u64,
    /// Longest pause, and how long it may stay below the minimum rate.
    pub pause: Duration,
    /// Minimum rate, bytes per second.
    pub rate: Option<NonZeroU32>,
}

/// The body of a request. One that is empty costs nothing.
#[derive(Default)]
pub struct Upload {
    inner: Option<Incoming>,
    /// Read before, and not sent after all.
    first: Bytes,
    progress: Option<Arc<Progress>>,
    max: u64,
    pace: Pace,
    /// Since when the client is waited for. While the upstream takes nothing, the client is not late.
    waiting: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    arrival: Option<Arc<Arrival>>,
}

/// A body that cannot go on. The reason is in its [`Progress`].
#[derive(Debug, thiserror::Error)]
#[error("the request body cannot go on")]
pub struct UploadError;

impl Upload {
    /// A body that is held to these limits.
    pub fn new(inner: Incoming, limits: UploadLimits, arrival: Option<Arc<Arrival>>) -> Self {
        if inner.is_end_stream() {
            return Self::default();
        }
        let pace = Pace::new(limits.pause, limits.rate);
        Self { inner: Some(inner), progress: Some(Arc::default()), max: limits.max, pace, arrival, ..Self::default() }
    }

    /// Puts the first piece back: nothing of it was sent.
    pub(super) fn put_back(&mut self, first: Bytes) {
        self.first = first;
    }

    /// The shared view on what became of it.
    pub fn progress(&self) -> Option<Arc<Progress>> {
        self.progress.clone()
    }

    /// What went wrong with it, if anything did.
    pub fn trouble(progress: &Progress, limits: UploadLimits) -> Option<UpstreamError> {
        match progress.trouble.load(Ordering::Relaxed) {
            TOO_LARGE => Some(UpstreamError::BodyTooLarge(limits.max)),
            STALLED => Some(UpstreamError::UploadTimeout(limits.pause)),
            TOO_SLOW => Some(UpstreamError::UploadTooSlow(limits.pause, limits.rate.map_or(0, NonZeroU32::get))),
            BROKEN => Some(UpstreamError::UploadBroken),
            _ => None,
        }
    }

    fn arrived(&self, how: u8) {
        if let Some(arrival) = &self.arrival {
            arrival.0.store(how, Ordering::Relaxed);
        }
    }

    fn fail(&mut self, trouble: u8) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        self.inner = None;
        if let Some(progress) = &self.progress {
            progress.trouble.store(trouble, Ordering::Relaxed);
        }
        Poll::Ready(Some(Err(UploadError)))
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let since = if let Some(since) = self.waiting {
            since
        } else {
            let (now, left) = (Instant::now(), self.pace.left());
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(now + left),
                none => *none = Some(Box::pin(tokio::time::sleep_until(now + left))),
            }
            *self.waiting.insert(now)
        };
        let Some(timer) = &mut self.timer else { return Poll::Pending };
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.pace.waited(since.elapsed());
        self.fail(if self.pace.late() == Some(Late::Stalled) { STALLED } else { TOO_SLOW })
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.first)))));
        }
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = match Pin::new(inner).poll_frame(cx) {
            Poll::Pending => {
                self.arrived(WANTED);
                return self.wait(cx);
            }
            Poll::Ready(frame) => frame,
        };
        if let Some(since) = self.waiting.take() {
            self.pace.waited(since.elapsed());
        }
        match frame {
            // Trailers end at the gate.
            None => {
                self.arrived(WHOLE);
                Poll::Ready(None)
            }
            Some(Err(_)) => self.fail(BROKEN),
            Some(Ok(frame)) => match frame.into_data() {
                Err(_trailers) => {
                    self.arrived(WHOLE);
                    Poll::Ready(None)
                }
                Ok(data) => {
                    let more = data.len() as u64;
                    self.pace.moved(more);
                    let sent = self.progress.as_ref().map_or(0, |p| p.bytes.fetch_add(more, Ordering::Relaxed)) + more;
                    if self.is_end_stream() {
                        self.arrived(WHOLE);
                    }
                    if sent > self.max { self.fail(TOO_LARGE) } else { Poll::Ready(Some(Ok(Frame::data(data)))) }
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        hint.exact().map_or(hint, |rest| SizeHint::with_exact(rest + self.first.len() as u64))
    }
}
