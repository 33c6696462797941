//! A reply that streams: clean bytes pass as they come, the last one waits for the receipt.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{BodyTimes, Sealed};
use crate::audit::{Outcome, Pending, RECEIPT_HEADER};
use crate::body::{Hold, Scrub};
use crate::entry::Entry;
use crate::upstream::{InboundBody, UpstreamError};

/// A reply body as it streams in.
pub(super) struct Source {
    /// What was read of it already.
    pub(super) start: Bytes,
    /// The rest.
    pub(super) body: InboundBody,
    /// Cuts the key out.
    pub(super) scrub: Scrub,
    /// Time limits.
    pub(super) times: BodyTimes,
}

/// The body that hyper sends.
pub enum ReplyBody {
    /// On record already.
    Whole(Option<Bytes>),
    /// Its last byte waits.
    Stream(Box<Streaming>),
}

/// A reply that streams.
pub struct Streaming {
    source: Source,
    hold: Hold,
    /// May go, behind what went before it.
    next: Option<Bytes>,
    entry: Box<Entry>,
    stage: Stage,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the receipt goes behind the body.
    trailers: bool,
}

enum Stage {
    Start,
    Reading,
    Committing(Pending),
    /// Everything was sent but this.
    Trailing(HeaderValue),
    Done,
}

/// A reply that was cut: the client sees a broken connection, never a reply that looks whole.
#[derive(Debug, thiserror::Error)]
#[error("the reply was cut")]
pub struct Cut;

type Polled = Poll<Option<Result<Frame<Bytes>, Cut>>>;

impl Streaming {
    pub(super) fn new(source: Source, entry: Box<Entry>, trailers: bool) -> Self {
        Self { source, hold: Hold::default(), next: None, entry, stage: Stage::Start, timer: None, trailers }
    }

    fn emit(&mut self, bytes: Bytes) -> Polled {
        self.entry.record.bytes_out += bytes.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn take(&mut self, data: Bytes) -> Option<Bytes> {
        let [before, clean] = self.source.scrub.next(data);
        let first = self.hold.next(before);
        let second = self.hold.next(clean);
        if first.is_none() {
            return second;
        }
        self.next = second;
        first
    }

    fn cut(&mut self, why: &UpstreamError) -> Polled {
        self.stage = Stage::Done;
        self.entry.scrubbed(self.source.scrub.count());
        self.entry.record.refusal = Some(why.code());
        self.entry.record.detail = Some(crate::causes::chain(why));
        // Nobody waits for this one; the writer keeps it all the same.
        drop(self.entry.commit(Outcome::UpstreamCut));
        Poll::Ready(Some(Err(Cut)))
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Polled {
        if let Some(bytes) = self.next.take() {
            return self.emit(bytes);
        }
        loop {
            match Pin::new(&mut self.source.body).poll_frame(cx) {
                Poll::Pending => return self.pause(cx),
                Poll::Ready(Some(Err(error))) => return self.cut(&UpstreamError::Broken(error)),
                // While the client is the slow one, there is always something to read: the clock is looked at all the same.
                Poll::Ready(Some(Ok(_))) if Instant::now() >= self.source.times.deadline => {
                    return self.cut(&self.source.times.late());
                }
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer = None;
                    if let Some(bytes) = frame.into_data().ok().and_then(|data| self.take(data)) {
                        return self.emit(bytes);
                    }
                }
                Poll::Ready(None) => return self.end(cx),
            }
        }
    }

    /// Nothing more is there at the moment: what may go goes, then the clock runs.
    fn pause(&mut self, cx: &mut Context<'_>) -> Polled {
        if let Some(bytes) = self.hold.pause() {
            return self.emit(bytes);
        }
        let limits = self.source.times;
        let until = limits.deadline.min(Instant::now() + limits.pause);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => self.cut(&limits.late()),
            Poll::Pending => Poll::Pending,
        }
    }

    fn end(&mut self, cx: &mut Context<'_>) -> Polled {
        let tail = self.source.scrub.end();
        let before = self.hold.next(tail);
        self.entry.scrubbed(self.source.scrub.count());
        // Counted now, because the record must hold what will have been sent.
        let held = self.hold.len() as u64 + before.as_ref().map_or(0, Bytes::len) as u64;
        self.entry.record.bytes_out += held;
        self.stage = Stage::Committing(self.entry.commit(Outcome::Complete));
        match before {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => self.finish(cx),
        }
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Polled {
        let Stage::Committing(pending) = &mut self.stage else { return Poll::Ready(None) };
        let receipt = match Pin::new(pending).poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(receipt) => receipt,
        };
        self.stage = Stage::Done;
        let sealed = Sealed(self.hold.end());
        match receipt {
            Err(_closed) => Poll::Ready(Some(Err(Cut))),
            Ok(receipt) => {
                if let Some(text) = self.entry.receipt_header(&receipt).filter(|_| self.trailers) {
                    self.stage = Stage::Trailing(text);
                }
                let last = sealed.release(receipt);
                if last.is_empty() { self.trail() } else { Poll::Ready(Some(Ok(Frame::data(last)))) }
            }
        }
    }
}

impl Streaming {
    fn trail(&mut self) -> Polled {
        let Stage::Trailing(text) = std::mem::replace(&mut self.stage, Stage::Done) else { return Poll::Ready(None) };
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(RECEIPT_HEADER, text);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let streaming = match self.get_mut() {
            Self::Whole(bytes) => {
                return Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b))));
            }
            Self::Stream(streaming) => streaming,
        };
        if let Stage::Start = streaming.stage {
            streaming.stage = Stage::Reading;
            let start = std::mem::take(&mut streaming.source.start);
            // The hold is empty, so nothing can come out of it yet.
            let _ = streaming.take(start);
        }
        match streaming.stage {
            Stage::Start | Stage::Reading => streaming.read(cx),
            Stage::Committing(_) => streaming.finish(cx),
            Stage::Trailing(_) => streaming.trail(),
            Stage::Done => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Stream(streaming) => matches!(streaming.stage, Stage::Done),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
