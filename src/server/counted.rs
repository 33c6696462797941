//! A reply's body that counts its call as under way until it is gone, and tells how HTTP/2's client takes it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::seat::UnderWay;
use super::streams::Flow;
use crate::reply::{Cut, ReplyBody};

/// What HTTP/2 sends in one frame unless its client asks for more. Larger pieces would be taken whole into its buffers
/// as soon as the client has room for one byte, and nobody would see how slowly they leave.
const PIECE: usize = 16 * 1024;

/// A reply's body, and its call.
pub(super) struct Counted {
    body: ReplyBody,
    /// What is left of a large piece.
    rest: Bytes,
    flow: Option<Arc<Flow>>,
    _call: UnderWay,
}

impl Counted {
    pub(super) fn new(body: ReplyBody, flow: Option<Arc<Flow>>, call: UnderWay) -> Self {
        Self { body, rest: Bytes::new(), flow, _call: call }
    }

    fn next(&mut self, flow: &Flow, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        flow.asked();
        if self.rest.is_empty() {
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                other => return other,
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        flow.handed(piece.len());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Some(flow) = self.flow.take() else { return Pin::new(&mut self.body).poll_frame(cx) };
        let polled = self.next(&flow, cx);
        self.flow = Some(flow);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
