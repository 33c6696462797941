//! What the guard judges, from bytes alone. That a real client is ended so is shown in `tests/it/`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail loudly")]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::seat::Seat;
use super::guard::{Guarded, guard};
use super::rules::Rules;
use super::sent::{Sent, Tally};
use super::walk::{flag, kind};
use super::{Fault, Why};
use crate::entry::Abandoned;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn begun() -> Vec<u8> {
    [PREFACE, &frame(kind::SETTINGS, 0, 0, &[])].concat()
}

fn judge(pieces: &[&[u8]]) -> Result<u32, Fault> {
    let mut rules = Rules::new(Instant::now());
    pieces.iter().try_for_each(|piece| rules.read(piece))?;
    Ok(rules.highest())
}

fn headers(stream: u32, flags: u8) -> Vec<u8> {
    frame(kind::HEADERS, flags | flag::END_HEADERS, stream, &[0x82])
}

#[test]
fn a_stream_is_closed_to_whoever_ended_it_and_open_to_trailers() {
    let upload = |then: &[u8]| judge(&[&begun(), &headers(1, 0), &frame(kind::DATA, 0, 1, b"x"), then]);
    assert_eq!(upload(&headers(1, flag::END_STREAM)), Ok(1));
    assert_eq!(upload(&frame(kind::DATA, flag::END_STREAM, 1, b"y")), Ok(1));
    let ended = frame(kind::DATA, flag::END_STREAM, 1, b"y");
    let code = |then: &[u8]| upload(&[&ended, then].concat()).unwrap_err().code;
    assert_eq!(code(&frame(kind::DATA, 0, 1, b"z")), super::code::STREAM_CLOSED);
    assert_eq!(code(&headers(1, flag::END_STREAM)), super::code::STREAM_CLOSED);
    // Stream 3 was left out, so nobody can say that it had ended.
    let skipped = [headers(5, flag::END_STREAM), headers(3, flag::END_STREAM)].concat();
    assert_eq!(code(&skipped), super::code::PROTOCOL_ERROR);
}

#[test]
fn what_was_on_its_way_when_we_reset_a_stream_is_no_error() {
    let mut rules = Rules::new(Instant::now());
    rules.read(&[begun(), headers(1, 0)].concat()).unwrap();
    rules.reset_by_us(1);
    for _ in 0..2_000 {
        rules.read(&frame(kind::DATA, 0, 1, &[0; 2_000])).unwrap();
    }
    rules.read(&headers(1, flag::END_STREAM)).unwrap();
    let ignored = (0..2_000).find_map(|_| rules.read(&headers(1, flag::END_STREAM)).err());
    assert_eq!(ignored.map(|fault| fault.why), Some(Why::Flood), "header blocks that nobody reads have an end");
}

#[test]
fn uploads_without_an_end_are_not_remembered_for_ever() {
    let mut rules = Rules::new(Instant::now());
    rules.read(&begun()).unwrap();
    for n in 0..5_000 {
        rules.read(&headers(2 * n + 1, 0)).unwrap();
    }
    rules.read(&frame(kind::DATA, 0, 9_999, b"x")).unwrap();
    assert_eq!(rules.read(&frame(kind::DATA, 0, 1, b"x")).unwrap_err().code, super::code::STREAM_CLOSED);
}

#[test]
fn an_end_for_an_error_is_held_back_and_one_without_is_passed_on() {
    let reply = [headers(1, 0), frame(kind::DATA, flag::END_STREAM, 1, b"x")].concat();
    let goaway =
        |code: u32, words: &[u8]| frame(kind::GOAWAY, 0, 0, &[&[0, 0, 0, 1], &code.to_be_bytes()[..], words].concat());
    let mut tally = Tally::default();
    Sent::new().look(&[&reply[..], &goaway(0, b"")].concat(), &mut tally).unwrap();
    assert_eq!((tally.answered, tally.fed_tiny), (1, 1));
    let bytes = [&reply[..], &goaway(11, b"too_many_resets")].concat();
    let (before, goaway) = Sent::new().look(&bytes, &mut tally).unwrap_err();
    assert_eq!((before, goaway.last, goaway.code, &*goaway.words), (reply.len(), 1, 11, "too_many_resets"));
}

/// Takes a few bytes at a time, and keeps them.
struct Narrow {
    kept: Vec<u8>,
    takes: usize,
}

impl AsyncWrite for Narrow {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let n = buf.len().min(self.takes);
        self.kept.extend(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Narrow {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

fn write(guarded: &mut Guarded<Narrow>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    Pin::new(guarded).poll_write(&mut Context::from_waker(Waker::noop()), bytes)
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_a_panic_wherever_they_are_cut(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        frames in proptest::collection::vec((0u8..12, any::<u8>(), 0u32..6, proptest::collection::vec(any::<u8>(), 0..12)), 0..40),
        cut in 0usize..500,
    ) {
        let framed: Vec<u8> = frames.iter().flat_map(|(k, f, s, p)| frame(*k, *f, *s, p)).collect();
        for bytes in [bytes.clone(), [begun(), bytes].concat(), [begun(), framed].concat()] {
            let (first, rest) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(judge(&[&bytes]), judge(&[first, rest]));
        }
    }

    #[test]
    fn everything_before_an_end_is_passed_on_and_nothing_of_it_however_little_is_taken(
        takes in 1usize..40,
        frames in proptest::collection::vec((0u8..3, 0u32..6, proptest::collection::vec(any::<u8>(), 0..30)), 0..12),
    ) {
        let reply: Vec<u8> = frames.iter().flat_map(|(k, s, p)| frame(*k, 0, *s, p)).collect();
        let end = frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 7, 0, 0, 0, 1]);
        let all = [&reply[..], &end].concat();
        let (mut guarded, watch) = guard(Narrow { kept: Vec::new(), takes }, Arc::new(Seat::new(Arc::default())), Abandoned::default());
        let mut at = 0;
        while let Poll::Ready(Ok(n)) = write(&mut guarded, &all[at..]) {
            at += n;
            prop_assert!(n > 0 && at <= reply.len());
        }
        prop_assert_eq!(at, reply.len());
        drop(guarded);
        let word = watch.ended().unwrap();
        prop_assert_eq!(word.record().unwrap().0, "h2_protocol_error");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let kept = runtime.block_on(word.say()).unwrap().kept;
        prop_assert_eq!(kept, all);
    }
}
