//! What today's library does not do, and tomorrow's may; what a slow upstream does to the line.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn written(frames: &Frames) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 16];
    let count = frames.slices(&mut slices);
    slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
}

/// Behind a preface, of which nothing is shown.
fn begun(waiting: &Waiting) -> Frames {
    let mut frames = Frames::new();
    assert_eq!(frames.take(&[0; 24], waiting), Ok(24));
    frames.written(24);
    frames
}

/// A call with one secret, and the literal that stands for it, not coded.
fn one(waiting: &Arc<Waiting>) -> Vec<u8> {
    let mut headers = HeaderMap::new();
    let mut value = HeaderValue::from_static("0123456789");
    value.set_sensitive(true);
    headers.insert("n", value);
    waiting.keep(None, &mut headers, Instant::now() + Duration::from_secs(600));
    [&[0x10, 1, b'n', 10], headers["n"].as_bytes()].concat()
}

#[test]
fn a_blank_that_is_not_coded_is_filled_in_too_behind_padding_and_priority() {
    let waiting = Arc::<Waiting>::default();
    let mut frames = begun(&waiting);
    let literal = one(&waiting);
    let padded = [&[3, 0, 0, 0, 0, 9][..], &literal[..6], &[0; 3]].concat();
    let sent = [frame(1, 0x28, 1, &padded), frame(9, 4, 1, &literal[6..])].concat();
    assert_eq!(frames.take(&sent, &waiting), Ok(sent.len()));
    let real = [&[3, 0, 0, 0, 0, 9][..], b"\x10\x01n\x0a01", &[0; 3]].concat();
    assert_eq!(written(&frames), [frame(1, 0x28, 1, &real), frame(9, 4, 1, b"23456789")].concat());
}

#[test]
fn trailers_and_frames_around_pass_and_large_ones_are_not_taken() {
    let waiting = Arc::<Waiting>::default();
    let mut frames = begun(&waiting);
    let (ping, trailers) = (frame(6, 0, 0, &[0; 8]), frame(1, 5, 1, &[0, 1, b't', 1, b'v']));
    let sent = [ping.clone(), frame(1, 4, 1, &one(&waiting)), frame(0, 0, 1, &[b'd'; 2000])].concat();
    assert_eq!(frames.take(&sent, &waiting), Ok(sent.len() - 2000));
    assert_eq!((frames.take(&[b'd'; 2000], &waiting), frames.passing()), (Ok(0), 2000));
    frames.passed(2000);
    assert_eq!(frames.take(&trailers, &waiting), Ok(trailers.len()));
    let line = written(&frames);
    assert!(line.starts_with(&ping) && line.ends_with(&trailers));
    assert!(line.windows(10).any(|text| text == b"0123456789"));
}

#[test]
fn a_line_that_is_never_empty_stays_short() {
    let waiting = Arc::<Waiting>::default();
    let mut frames = begun(&waiting);
    let ping = frame(6, 0, 0, &[0; 8]);
    for _ in 0..10_000 {
        assert_eq!(frames.take(&ping, &waiting), Ok(ping.len()));
        frames.written(frames.in_line() - 1);
        assert!(frames.line.len() <= KEPT + ping.len());
    }
    let head = frame(1, 4, 1, &one(&waiting));
    assert_eq!(frames.take(&head, &waiting), Ok(head.len()));
    assert_eq!(written(&frames), [&[0u8][..], &frame(1, 4, 1, b"\x10\x01n\x0a0123456789")[..]].concat());
}

#[test]
fn what_waits_is_the_same_wherever_the_line_is_cut_in_front_of_it() {
    let block = b"\x10\x01n\x0a0123456789";
    let first = frame(1, 4, 1, block);
    let second = [frame(1, 0, 3, &block[..6]), frame(9, 4, 3, &block[6..])].concat();
    let before = frame(6, 0, 0, &[0; 8]).repeat(1000);
    for cut in 0..=first.len() {
        let waiting = Arc::<Waiting>::default();
        let mut frames = begun(&waiting);
        let (whole, parted) = (frame(1, 4, 1, &one(&waiting)), one(&waiting));
        let sent = [&before[..], &whole[..], &frame(1, 0, 3, &parted[..6])[..]].concat();
        assert_eq!(frames.take(&sent, &waiting), Ok(sent.len()));
        frames.written(before.len() + cut);
        assert!(frames.line.len() < KEPT, "{cut}");
        let rest = frame(9, 4, 3, &parted[6..]);
        assert_eq!(frames.take(&rest, &waiting), Ok(rest.len()));
        assert_eq!(written(&frames), [&first[cut..], &second[..]].concat(), "{cut}");
    }
}

#[test]
fn what_cannot_be_followed_ends_it() {
    let waiting = Arc::<Waiting>::default();
    let cases = [
        (frame(9, 4, 1, &[0x82]), Misplaced::Unreadable),
        ([frame(1, 0, 1, &[0x82]), frame(0, 0, 1, &[0])].concat(), Misplaced::Unreadable),
        ([frame(1, 0, 1, &[0x82]), frame(9, 4, 3, &[0x82])].concat(), Misplaced::Unreadable),
        (frame(1, 4, 1, &[0x10, 1]), Misplaced::Unreadable),
        (frame(1, 0xc, 1, &[9, 0x82]), Misplaced::Unreadable),
        (frame(1, 4, 1, &[0x82]), Misplaced::NoKeyWaits),
    ];
    for (bytes, why) in cases {
        assert_eq!(begun(&waiting).take(&bytes, &waiting), Err(why), "{bytes:?}");
    }
}
