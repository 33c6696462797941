//! HTTP/2 by hand: a small language for frames, so that a case can send what no library would.
//!
//! A line each: `headers STREAM [end]` and below it the fields, `name: value`, as they go into the header block;
//! `request METHOD target` stands for the usual fields, `keyed` for the key and the case's number; `data STREAM [end] text`;
//! `reset STREAM`; `frame TYPE FLAGS STREAM bytes` for anything else. Escapes are those of HTTP/1 cases.

use super::case::{Names, bytes};
use super::wire::{Frame, Frames, Saw, Tls};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ERRORS: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// The frames of a case.
pub fn frames(text: &str, names: &Names) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "headers" => frames.push(opened(rest)),
            "data" => frames.push(data(rest, names)),
            "reset" => frames.push(Frame { kind: RESET, flags: 0, stream: number(rest), payload: vec![0, 0, 0, 8] }),
            "frame" => frames.push(any(rest, names)),
            "request" => {
                let (method, target) = rest.split_once(' ').expect("`request METHOD target`");
                let usual = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", target)];
                for (name, value) in usual {
                    add(&mut frames, name.as_bytes(), &bytes(value, names));
                }
            }
            "keyed" => {
                add(&mut frames, b"x-ce-key", names.key.as_bytes());
                add(&mut frames, b"x-case", names.case.to_string().as_bytes());
            }
            _ => {
                let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no frame and no field: `{line}`"));
                add(&mut frames, &bytes(name, names), &bytes(value, names));
            }
        }
    }
    frames
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

fn opened(rest: &str) -> Frame {
    let (stream, end) = rest.split_once(' ').unwrap_or((rest, ""));
    let flags = END_HEADERS | if end == "end" { END_STREAM } else { 0 };
    Frame { kind: HEADERS, flags, stream: number(stream), payload: Vec::new() }
}

fn data(rest: &str, names: &Names) -> Frame {
    let (stream, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let (flags, text) = match rest.strip_prefix("end") {
        Some(text) => (END_STREAM, text.trim_start()),
        None => (0, rest),
    };
    Frame { kind: DATA, flags, stream: number(stream), payload: bytes(text, names) }
}

fn any(rest: &str, names: &Names) -> Frame {
    let mut parts = rest.splitn(4, ' ');
    let mut part = || parts.next().unwrap_or_default();
    let [kind, flags, stream] = [number(part()), number(part()), number(part())];
    let byte = |n: u32| u8::try_from(n).unwrap();
    Frame { kind: byte(kind), flags: byte(flags), stream, payload: bytes(part(), names) }
}

/// A literal field without indexing, nothing compressed.
fn add(frames: &mut [Frame], name: &[u8], value: &[u8]) {
    let block = &mut frames.last_mut().expect("fields stand below `headers`").payload;
    block.push(0);
    for text in [name, value] {
        push_length(block, text.len());
        block.extend(text);
    }
}

/// RFC 7541, 5.1, with a prefix of seven bits.
fn push_length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else { return block.push(u8::try_from(length).unwrap()) };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// Sends frames and reads until `expected` events have come, then says goodbye and reads whatever else comes.
pub fn http2(stream: Tls, sent: &[Frame], expected: usize) -> Saw {
    let mut frames = Frames::new(stream);
    // No table: then a status is never a reference to an earlier one.
    let settings = Frame { kind: SETTINGS, flags: 0, stream: 0, payload: vec![0, 1, 0, 0, 0, 0] };
    let all: Vec<u8> =
        [PREFACE.to_vec(), settings.bytes()].into_iter().chain(sent.iter().map(Frame::bytes)).flatten().collect();
    let _ = frames.send(&all);
    let (mut events, mut goodbye) = (Vec::new(), false);
    loop {
        if events.len() >= expected && !goodbye {
            frames.close();
            goodbye = true;
        }
        match frames.next() {
            Ok(frame) => events.extend(event(&frame)),
            Err(error) => {
                if Frames::is_silence(&error) {
                    events.push("nothing in time".into());
                }
                return Saw { events, raw: frames.raw };
            }
        }
    }
}

fn event(frame: &Frame) -> Option<String> {
    let code = |at: usize| frame.payload.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let named = |code: Option<u32>| ERRORS.get(usize::try_from(code?).ok()?).copied();
    match frame.kind {
        HEADERS => status(&frame.payload),
        RESET => named(code(0)).filter(|name| *name != "NO_ERROR").map(|name| format!("reset {name}")),
        GOAWAY => named(code(4)).filter(|name| *name != "NO_ERROR").map(|name| format!("goaway {name}")),
        _ => None,
    }
}

/// The status at the beginning of a header block; nothing when the block has none (trailers).
fn status(block: &[u8]) -> Option<String> {
    const INDEXED: [&str; 7] = ["200", "204", "206", "304", "400", "404", "500"];
    // Updates of the table's size come first.
    let block = &block[block.iter().position(|b| b & 0xe0 != 0x20)?..];
    match block {
        [first @ 0x88..=0x8e, ..] => Some(INDEXED[usize::from(first - 0x88)].to_owned()),
        [0x08 | 0x18 | 0x48, 3, digits @ ..] => Some(String::from_utf8_lossy(digits.get(..3)?).into_owned()),
        [0x08 | 0x18 | 0x48, length, digits @ ..] if length & 0x80 != 0 => Some(huffman(digits)),
        _ => None,
    }
}

/// Three digits of RFC 7541's code: 0 to 2 take five bits, the others six.
fn huffman(bytes: &[u8]) -> String {
    let mut bits = bytes.iter().flat_map(|b| (0..8).rev().map(move |n| u32::from(b >> n & 1)));
    let mut digit = || {
        let mut code = (0..5).fold(0, |code, _| code * 2 + bits.next().unwrap_or(1));
        if code > 2 {
            code = code * 2 + bits.next().unwrap_or(1) - 0x19 + 3;
        }
        char::from_digit(code, 10).unwrap_or('?')
    };
    [digit(), digit(), digit()].iter().collect()
}

#[test]
fn statuses_are_read_however_they_are_written() {
    assert_eq!(status(&[0x88]).as_deref(), Some("200"));
    assert_eq!(status(&[0x20, 0x8c]).as_deref(), Some("400"));
    assert_eq!(status(b"\x48\x03403").as_deref(), Some("403"));
    // 4 is 011010, 0 is 00000, 1 is 00001.
    assert_eq!(status(&[0x08, 0x82, 0b0110_1000, 0b0000_0001]).as_deref(), Some("401"));
    assert_eq!(status(&[0x00, 1, b'a', 1, b'b']), None);
}
