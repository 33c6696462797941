//! What goes back to the integration, and when its last byte may leave.
//!
//! A small reply is read whole, scrubbed, put on record, and then sent. Any other streams: every byte passes as it
//! comes, but the last one waits for the receipt, and the first one for that of a record that says that the reply begins. If the record
//! cannot be kept, the last byte never leaves.

mod streaming;
mod take_in;

use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderValue, header};
use tokio::time::Instant;

use crate::audit::{Closed, Http, Outcome, RECEIPT, RECEIPT_HEADER, Receipt};
use crate::entry::Entry;
use crate::refusal::{RECORD_HEADER, Refusal};
use crate::upstream::UpstreamError;

pub use streaming::{Cut, ReplyBody, Streaming};
pub use take_in::take_in;

/// Says of a call that left for the upstream that nobody knows here what became of it.
const OUTCOME_HEADER: &str = "keygate-outcome";

/// A reply that has passed every check, without its receipt.
pub struct Reply {
    head: Parts,
    content: Content,
}

enum Content {
    Whole(Bytes),
    Stream(Box<streaming::Source>),
}

/// Time limits of a reply's body.
#[derive(Clone, Copy)]
pub struct BodyTimes {
    /// Longest pause.
    pub pause: Duration,
    /// When the whole call must be over.
    pub deadline: Instant,
    /// The limit behind the deadline, for messages.
    pub total: Duration,
}

impl BodyTimes {
    fn late(&self) -> UpstreamError {
        if Instant::now() >= self.deadline {
            UpstreamError::TotalTimeout(self.total)
        } else {
            UpstreamError::BodyTimeout(self.pause)
        }
    }
}

impl Reply {
    /// A refusal as a reply.
    pub fn refusal((head, body): (Parts, Bytes)) -> Self {
        Self { head, content: Content::Whole(body) }
    }

    /// The head, to be written down and added to.
    pub fn head_mut(&mut self) -> &mut Parts {
        &mut self.head
    }
}

/// What may be sent once there is a receipt.
pub struct Sealed<T>(T);

impl<T> Sealed<T> {
    /// The receipt is the proof that the record is durable; it is used up here.
    ///
    /// ```compile_fail
    /// fn without_receipt(sealed: keygate::reply::Sealed<u8>) -> u8 {
    ///     sealed.0
    /// }
    /// ```
    ///
    /// ```compile_fail
    /// use keygate::{audit::Receipt, reply::Sealed};
    /// fn one_receipt_for_two(a: Sealed<u8>, b: Sealed<u8>, receipt: Receipt) -> (u8, u8) {
    ///     (a.release(receipt), b.release(receipt))
    /// }
    /// ```
    pub fn release(self, _receipt: Receipt) -> T {
        self.0
    }
}

/// Sends a reply: whole ones after their receipt, streams after that of their beginning and up to their last byte.
pub async fn respond(mut reply: Reply, mut entry: Box<Entry>) -> http::Response<ReplyBody> {
    let id = entry.id_header();
    reply.head.headers.insert(RECORD_HEADER, id);
    entry.record.status = Some(reply.head.status.as_u16());
    match reply.content {
        Content::Stream(source) => {
            // Boxed: a small reply need not carry the room for it.
            match Box::pin(entry.begin_reply()).await {
                Ok(receipt) => drop(receipt.map(|text| reply.head.headers.insert(RECEIPT_HEADER, text))),
                Err(closed) => {
                    let response = unrecorded(&mut entry, closed);
                    // The client gets this, whole; its record waits for nobody.
                    drop(entry.commit(Outcome::Complete));
                    return response;
                }
            }
            // With a known length, HTTP/1.1 has no place for them.
            let room = entry.record.http == Some(Http::H2) || !reply.head.headers.contains_key(header::CONTENT_LENGTH);
            // The receipt of the record itself stands behind the body, if its client reads there.
            let trailers = entry.takes_trailers() && room;
            if trailers {
                let name = HeaderValue::from_static(RECEIPT);
                reply.head.headers.insert(header::TRAILER, name);
            }
            let body = ReplyBody::Stream(Box::new(Streaming::new(*source, entry, trailers)));
            http::Response::from_parts(reply.head, body)
        }
        Content::Whole(body) => {
            let sealed = Sealed(whole(reply.head, body, &mut entry));
            match entry.commit(Outcome::Complete).await {
                Ok(receipt) => {
                    let text = entry.receipt_header(&receipt);
                    let mut response = sealed.release(receipt);
                    if let Some(text) = text {
                        response.headers_mut().insert(RECEIPT_HEADER, text);
                    }
                    response
                }
                Err(closed) => unrecorded(&mut entry, closed),
            }
        }
    }
}

/// A reply that is sent as it is. HEAD asks for the head alone: HTTP/2 has nothing between the two that would drop a body.
fn whole(mut head: Parts, mut body: Bytes, entry: &mut Entry) -> http::Response<ReplyBody> {
    if entry.record.method.as_deref() == Some("HEAD") && !body.is_empty() {
        head.headers.insert(header::CONTENT_LENGTH, body.len().into());
        body.clear();
    }
    entry.record.bytes_out = body.len() as u64;
    http::Response::from_parts(head, ReplyBody::Whole(Some(body)))
}

/// The one reply without a receipt: that none can be had. It holds nothing of what the upstream said.
fn unrecorded(entry: &mut Entry, closed: Closed) -> http::Response<ReplyBody> {
    let refusal = Refusal::from(closed);
    entry.count(refusal.code());
    // A record that was not made yet is made when the log opens again in time.
    entry.record.refusal = Some(refusal.code());
    let (mut head, body) = refusal.render(entry.envelope(), entry.record.id);
    head.headers.insert(RECORD_HEADER, entry.id_header());
    entry.record.status = Some(head.status.as_u16());
    if entry.left_for_upstream() {
        head.headers.insert(OUTCOME_HEADER, HeaderValue::from_static("unknown"));
    }
    whole(head, body, entry)
}
