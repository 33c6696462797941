//! A reply's body on its way out, and what may go wrong with it.

use super::link::Link;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What fills huge replies, one frame at a time.
static FILLER: [u8; 65_536] = [b'x'; 65_536];

/// A body made of pieces.
#[derive(Debug)]
pub struct Reply {
    pieces: VecDeque<Piece>,
    sent: u64,
    end: End,
    known_length: bool,
    trailers: Option<HeaderMap>,
}

/// A part of a body.
#[derive(Debug)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// So many `x`.
    Filler(u64),
}

/// How a body ends.
#[derive(Debug)]
pub enum End {
    /// With its last byte.
    Whole,
    /// After so many bytes nothing more comes.
    Stall(u64),
    /// After so many bytes the connection breaks.
    Cut(u64, Arc<Link>),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Filler(count) => *count,
        }
    }
}

impl Reply {
    /// A body that arrives as it should.
    pub fn new(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let pieces = pieces.into_iter().filter(|piece| piece.len() > 0).collect();
        Self { pieces, sent: 0, end: End::Whole, known_length: true, trailers: None }
    }

    /// Lets it end otherwise.
    pub fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }

    /// Does not tell its length.
    pub fn of_unknown_length(self) -> Self {
        Self { known_length: false, ..self }
    }

    /// Ends with a trailer field; its length is not told then.
    pub fn with_trailers(self) -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-trailer", HeaderValue::from_static("end"));
        Self { trailers: Some(trailers), known_length: false, ..self }
    }

    /// The next bytes, at most `most` of them.
    fn take(&mut self, most: u64) -> Option<Bytes> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        match self.pieces.front_mut()? {
            Piece::Bytes(bytes) => {
                let part = bytes.split_to(bytes.len().min(most));
                if bytes.is_empty() {
                    self.pieces.pop_front();
                }
                Some(part)
            }
            Piece::Filler(count) => {
                let size = usize::try_from(*count).unwrap_or(usize::MAX).min(most).min(FILLER.len());
                *count -= size as u64;
                if *count == 0 {
                    self.pieces.pop_front();
                }
                Some(Bytes::from_static(&FILLER[..size]))
            }
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let left = match &self.end {
            End::Whole => u64::MAX,
            End::Stall(limit) | End::Cut(limit, _) => limit.saturating_sub(self.sent),
        };
        if left == 0 {
            if let End::Cut(_, link) = &self.end {
                link.cut();
            }
            // Nobody wakes this body again: the connection ends, here or at the client.
            return Poll::Pending;
        }
        match self.take(left) {
            Some(bytes) => {
                self.sent += bytes.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            None => Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.trailers.is_none() && matches!(self.end, End::Whole)
    }

    fn size_hint(&self) -> SizeHint {
        if self.known_length {
            SizeHint::with_exact(self.pieces.iter().map(Piece::len).sum())
        } else {
            SizeHint::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn drain(mut reply: Reply) -> (Vec<u8>, &'static str) {
        let mut all = Vec::new();
        loop {
            match Pin::new(&mut reply).poll_frame(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => return (all, "pending"),
                Poll::Ready(None) => return (all, "end"),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => all.extend(data),
                    Err(_) => return (all, "trailers"),
                },
            }
        }
    }

    fn reply() -> Reply {
        Reply::new([
            Piece::Bytes(Bytes::from_static(b"ab")),
            Piece::Filler(100_000),
            Piece::Bytes(Bytes::from_static(b"z")),
        ])
    }

    #[test]
    fn pieces_come_in_order_and_their_length_is_told() {
        assert_eq!(reply().size_hint().exact(), Some(100_003));
        let (all, end) = drain(reply());
        assert_eq!((all.len(), &all[..3], all[100_002], end), (100_003, &b"abx"[..], b'z', "end"));
    }

    #[test]
    fn a_stalled_reply_stops_at_the_byte() {
        assert_eq!(drain(reply().ending(End::Stall(1))), (b"a".to_vec(), "pending"));
    }

    #[test]
    fn a_reply_with_trailers_tells_no_length() {
        let reply = reply().with_trailers();
        assert_eq!(reply.size_hint().exact(), None);
        assert_eq!(drain(reply).1, "trailers");
    }
}
