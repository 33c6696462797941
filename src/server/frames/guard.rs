//! The stream between TLS and the HTTP/2 implementation. Bytes pass as they are; when the connection must end, this has
//! the last word: GOAWAY with the right code, and one record.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::super::seat::Seat;
use super::rules::Rules;
use super::sent::{GoAway, Sent, Tally, is_provoked};
use super::{Fault, Why, code};
use crate::entry::Abandoned;

/// How long a client may take to take the reason.
const PATIENCE: Duration = Duration::from_secs(1);

/// Most calls that go on although the client has given them up. As many again as it may have open.
const MAX_ABANDONED: u32 = 128;

/// What is left of a connection that the gate has ended, or has something to say about.
struct Left<S> {
    stream: Option<S>,
    last: u32,
    fault: Fault,
}

/// Where a guarded stream leaves what is left of it.
pub struct Watch<S>(Arc<Mutex<Option<Left<S>>>>);

/// A guarded stream.
pub struct Guarded<S> {
    /// There until it is left to the watch.
    stream: Option<S>,
    rules: Rules,
    seat: Arc<Seat>,
    abandoned: Abandoned,
    sent: Sent,
    tally: Tally,
    /// Streams reset for errors of the client, and the last code.
    provoked: (u32, u32),
    /// Highest stream that the implementation below may have taken up.
    taken_up: u32,
    fault: Option<(u32, Fault)>,
    /// The last thing written was a piece of a body, and not flushed yet.
    piece: bool,
    watch: Arc<Mutex<Option<Left<S>>>>,
}

/// Puts the guard on a stream.
pub fn guard<S>(stream: S, seat: Arc<Seat>, abandoned: Abandoned) -> (Guarded<S>, Watch<S>) {
    let watch = Arc::new(Mutex::new(None));
    let guarded = Guarded {
        stream: Some(stream),
        rules: Rules::new(Instant::now()),
        seat,
        abandoned,
        sent: Sent::new(),
        tally: Tally::default(),
        provoked: (0, 0),
        taken_up: 0,
        fault: None,
        piece: false,
        watch: watch.clone(),
    };
    (guarded, Watch(watch))
}

impl<S> Guarded<S> {
    fn end(&mut self, last: u32, fault: Fault) -> io::Error {
        self.fault.get_or_insert((last, fault));
        ended()
    }

    /// The implementation below wants to end the connection.
    fn refused(&mut self, goaway: &GoAway) -> io::Error {
        let code = goaway.code;
        let fault = match goaway.words.as_str() {
            "header_list_way_too_large" => Fault::calm(Why::HeadTooLarge, "a header list far above `max_head`"),
            "too_many_continuations" => Fault::calm(Why::Flood, "CONTINUATION frames without an end"),
            "too_many_data_frames" => Fault::calm(Why::Flood, "tiny DATA frames without an end"),
            "too_many_resets" | "too_many_internal_resets" => self.rules.rapid_reset("at once"),
            _ if code == code::ENHANCE_YOUR_CALM => Fault::calm(Why::Flood, self.rules.tally()),
            // Frames were judged before they came here; what is left is inside header blocks and windows.
            _ => Fault::protocol(code, "a header block that cannot be read, or a window that overflows"),
        };
        self.end(goaway.last, fault)
    }

    /// What was sent has its effect on what the client may send.
    fn count(&mut self) -> Result<(), Fault> {
        let Tally { answered, fed, fed_tiny, settings, ref resets } = self.tally;
        self.rules.unacknowledged += settings;
        if answered > 0 {
            self.rules.budget.answered(answered);
        }
        self.rules.budget.fed(fed, fed_tiny);
        for (stream, code) in resets {
            self.rules.reset_by_us(*stream);
            if *code == code::CANCEL {
                self.rules.given_up()?;
            } else if is_provoked(*code) {
                self.provoked = (self.provoked.0 + 1, *code);
                self.rules.provoked()?;
            }
        }
        Ok(())
    }
}

/// What the implementation below gets to know.
fn ended() -> io::Error {
    io::Error::other("the connection was ended by the gate")
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    fn offer(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.fault.is_some() {
            return Poll::Ready(Err(ended()));
        }
        self.tally.clear();
        let before = self.sent.clone();
        let (mut allowed, mut refused) = (0, None);
        for slice in slices {
            match self.sent.look(slice, &mut self.tally) {
                Ok(()) => allowed += slice.len(),
                Err((some, goaway)) => {
                    allowed += some;
                    refused = Some(goaway);
                    break;
                }
            }
        }
        if let (0, Some(goaway)) = (allowed, &refused) {
            self.sent = before;
            return Poll::Ready(Err(self.refused(goaway)));
        }
        let wrote = self.pass_on(cx, slices, refused.is_some().then_some(allowed));
        let Poll::Ready(Ok(wrote)) = wrote else {
            self.sent = before;
            return wrote;
        };
        if wrote < allowed || refused.is_some() {
            self.look_again(before, slices, wrote);
        }
        match self.count() {
            Ok(()) => Poll::Ready(Ok(wrote)),
            Err(fault) => Poll::Ready(Err(self.end(self.taken_up, fault))),
        }
    }

    fn pass_on(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        limit: Option<usize>,
    ) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(ended())) };
        let stream = Pin::new(stream);
        match (limit, slices) {
            (None, [one]) => stream.poll_write(cx, one),
            (None, many) => stream.poll_write_vectored(cx, many),
            // The rest comes when it is asked for again.
            (Some(limit), many) => {
                let first = many.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
                stream.poll_write(cx, &first[..limit.min(first.len())])
            }
        }
    }

    /// Not all that was looked at was taken: only what was taken counts.
    fn look_again(&mut self, before: Sent, slices: &[IoSlice<'_>], mut wrote: usize) {
        self.sent = before;
        self.tally.clear();
        for slice in slices {
            let part = &slice[..wrote.min(slice.len())];
            wrote -= part.len();
            // What ends the connection is not among them.
            let _ = self.sent.look(part, &mut self.tally);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        let (Some(stream), None) = (&mut me.stream, &me.fault) else { return Poll::Ready(Err(ended())) };
        let before = buf.filled().len();
        ready!(Pin::new(stream).poll_read(cx, buf))?;
        let mut judged = me.rules.read(&buf.filled()[before..]);
        if me.abandoned.count() > MAX_ABANDONED {
            judged = judged.and(Err(me.rules.rapid_reset("whose calls still go on")));
        }
        if let Err(fault) = judged {
            buf.set_filled(before);
            return Poll::Ready(Err(me.end(me.taken_up, fault)));
        }
        me.taken_up = me.rules.highest();
        // How long a head may take is the sweep's business.
        me.seat.heads(me.rules.in_header_block());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.piece = false;
        self.offer(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = self.offer(cx, bufs);
        // Frames are one buffer; of a body too long to be copied the bytes are a second one.
        self.piece = bufs.len() > 1 && matches!(wrote, Poll::Ready(Ok(_)));
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    /// The implementation below flushes behind each piece of a body, only to have room for the next frame, and once more when it has
    /// none left. That one counts: what it writes in one go leaves with one system call.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.piece) {
            return Poll::Ready(Ok(()));
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(ended())) };
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(ended())) };
        Pin::new(stream).poll_shutdown(cx)
    }
}

impl<S> Drop for Guarded<S> {
    fn drop(&mut self) {
        let left = match (self.fault.take(), self.provoked) {
            (Some((last, fault)), _) => {
                // Inside a frame nothing can be said any more; the client does not read anyway.
                Left { stream: self.stream.take().filter(|_| self.sent.between_frames()), last, fault }
            }
            (None, (0, _)) => return,
            (None, (resets, code)) => {
                let detail = format!("streams reset for errors of the client: {resets}");
                Left { stream: None, last: 0, fault: Fault::protocol(code, detail) }
            }
        };
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
    }
}

/// The last word on a connection.
pub struct LastWord<S> {
    left: Left<S>,
}

impl<S> Watch<S> {
    /// What there is to say, once the stream has been dropped. Nothing, when all went well.
    pub fn ended(self) -> Option<LastWord<S>> {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(LastWord { left })
    }
}

impl<S: AsyncWrite + Unpin> LastWord<S> {
    /// The record's code, and its detail; none when it was made before.
    pub fn record(&self) -> Option<(&'static str, String)> {
        let Fault { why, detail, .. } = &self.left.fault;
        (*why != Why::Stalled).then(|| (why.code(), detail.clone()))
    }

    /// Tells the client, unless it does not read. Gives the stream back, to be listened to until the client has read it.
    pub async fn say(self) -> Option<S> {
        let Left { stream, last, fault } = self.left;
        let mut stream = stream?;
        let mut goaway = vec![0, 0, 8, super::walk::kind::GOAWAY, 0, 0, 0, 0, 0];
        goaway.extend(last.to_be_bytes());
        goaway.extend(fault.code.to_be_bytes());
        let said = async {
            stream.write_all(&goaway).await?;
            stream.shutdown().await
        };
        // Whatever goes wrong, the client is gone.
        timeout(PATIENCE, said).await.is_ok_and(|said| said.is_ok()).then_some(stream)
    }
}
