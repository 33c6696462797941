//! Heads of HTTP/1.1 messages: a request's written, a reply's read. Pure.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Body as _;

use super::framing::{Framing, Sent};
use crate::upstream::Upload;

/// More header fields than any merchant API sends.
const MAX_FIELDS: usize = 128;

/// Header fields that the gate adds to a reply.
const OURS: usize = 4;
/// Room in a request's head for its method, version, host's name, framing and ends of lines, bytes.
const FRAME: usize = 128;

/// Why a reply's head cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// It is no HTTP/1 head.
    #[error("the reply's head is malformed: {0}")]
    Malformed(String),
    /// It is larger than the limit, bytes.
    #[error("the reply's head is larger than {0} bytes")]
    TooLarge(usize),
    /// Its body's length can be read in two ways, or not at all.
    #[error("the reply's framing is ambiguous: {0}")]
    Framing(&'static str),
    /// The upstream speaks another protocol from here on.
    #[error("the reply switches protocols")]
    Switches,
}

/// A reply's head.
pub struct Head {
    /// Status, headers.
    pub parts: http::response::Parts,
    /// How its body ends.
    pub framing: Framing,
    /// Whether the connection may be used again.
    pub keep: bool,
}

/// Writes a request's head in origin form, and says how its body is framed. The client's own framing is not carried over.
pub fn write(out: &mut BytesMut, request: &Request<Upload>, host: &HeaderValue) -> Sent {
    let (method, headers) = (request.method(), request.headers());
    let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    // Room for all of it: a buffer that grows leaves a copy of the key behind.
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    out.reserve(target.len() + host.len() + FRAME + fields.sum::<usize>());
    for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    if !headers.contains_key(header::HOST) {
        field(out, header::HOST.as_str(), host.as_bytes());
    }
    for (name, value) in headers {
        if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING && name != header::CONNECTION {
            field(out, name.as_str(), value.as_bytes());
        }
    }
    let sent = sent(method, request.body());
    match sent {
        Sent::Length(length) => field(out, "content-length", length.to_string().as_bytes()),
        Sent::Chunked => field(out, "transfer-encoding", b"chunked"),
        Sent::Nothing => {}
    }
    out.extend_from_slice(b"\r\n");
    sent
}

fn field(out: &mut BytesMut, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

fn sent(method: &Method, body: &Upload) -> Sent {
    match (body.is_end_stream(), body.size_hint().exact()) {
        // Servers expect a length where a body is usual.
        (true, _) if [Method::POST, Method::PUT, Method::PATCH].contains(method) => Sent::Length(0),
        (true, _) => Sent::Nothing,
        (false, Some(length)) => Sent::Length(length),
        (false, None) => Sent::Chunked,
    }
}

/// Reads a reply's head from the beginning of `buffer` and takes it off. `None` when it is not whole yet. Interim replies
/// (1xx) are passed over.
pub fn read(buffer: &mut BytesMut, method: &Method, max: usize) -> Result<Option<Head>, BadHead> {
    loop {
        let Some(head) = read_one(buffer, method, max)? else { return Ok(None) };
        match head.parts.status {
            StatusCode::SWITCHING_PROTOCOLS => return Err(BadHead::Switches),
            status if status.is_informational() => {}
            _ => return Ok(Some(head)),
        }
    }
}

fn read_one(buffer: &mut BytesMut, method: &Method, max: usize) -> Result<Option<Head>, BadHead> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut reply = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut reply, buffer, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length <= max => length,
        Ok(httparse::Status::Partial) if buffer.len() <= max => return Ok(None),
        Ok(_) => return Err(BadHead::TooLarge(max)),
        Err(error) => return Err(BadHead::Malformed(error.to_string())),
    };
    // Positions, so that the values can share the bytes instead of being copied out of them.
    let start = buffer.as_ptr().addr();
    let spans: Vec<_> = reply.headers.iter().map(|f| (span(start, f.name.as_bytes()), span(start, f.value))).collect();
    let (status, version) = (reply.code.unwrap_or_default(), reply.version.unwrap_or_default());
    let bytes = buffer.split_to(length).freeze();
    let headers = collect(&bytes, &spans)?;
    let status = StatusCode::from_u16(status).map_err(|error| BadHead::Malformed(error.to_string()))?;
    let framing = framing(status, method, &headers)?;
    let keep = version == 1 && framing != Framing::ToEnd && !says_close(&headers);
    let mut parts = http::Response::new(()).into_parts().0;
    (parts.status, parts.headers) = (status, headers);
    Ok(Some(Head { parts, framing, keep }))
}

type Span = std::ops::Range<usize>;

fn span(start: usize, part: &[u8]) -> Span {
    let at = part.as_ptr().addr() - start;
    at..at + part.len()
}

fn collect(bytes: &Bytes, spans: &[(Span, Span)]) -> Result<HeaderMap, BadHead> {
    let malformed = |error: &dyn std::fmt::Display| BadHead::Malformed(error.to_string());
    let mut headers = HeaderMap::with_capacity(spans.len() + OURS);
    for (name, value) in spans {
        let name = HeaderName::from_bytes(&bytes[name.clone()]).map_err(|error| malformed(&error))?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(value.clone())).map_err(|error| malformed(&error))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// RFC 9112, section 6.3, without its leniency: what could be read in two ways is not read.
fn framing(status: StatusCode, method: &Method, headers: &HeaderMap) -> Result<Framing, BadHead> {
    if method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Ok(Framing::Length(0));
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.any(|other| Some(other) != length) {
        return Err(BadHead::Framing("two different lengths"));
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next(), length) {
        (None, _, None) => Ok(Framing::ToEnd),
        (None, _, Some(length)) => digits(length.as_bytes()).map(Framing::Length),
        (Some(_), _, Some(_)) => Err(BadHead::Framing("a length and a transfer coding")),
        (Some(coding), None, None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(Framing::chunked()),
        (Some(_), _, None) => Err(BadHead::Framing("a transfer coding other than `chunked`")),
    }
}

fn digits(text: &[u8]) -> Result<u64, BadHead> {
    let bad = BadHead::Framing("the length is no number");
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return Err(bad);
    }
    Ok(text.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
}

fn says_close(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    let mut words = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Result<Option<Head>, BadHead> {
        read(&mut BytesMut::from(text), &Method::GET, 1000)
    }

    fn framed(text: &str) -> Framing {
        reply(text).unwrap().unwrap().framing
    }

    #[test]
    fn a_body_ends_where_the_head_says_and_nowhere_else() {
        assert_eq!(framed("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n"), Framing::Length(12));
        assert_eq!(framed("HTTP/1.1 204 No Content\r\n\r\n"), Framing::Length(0));
        assert_eq!(framed("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"), Framing::Length(0));
        assert_eq!(framed("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"), Framing::chunked());
        assert_eq!(framed("HTTP/1.1 200 OK\r\n\r\n"), Framing::ToEnd);
        let head = read(&mut BytesMut::from("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"), &Method::HEAD, 1000);
        assert_eq!(head.unwrap().unwrap().framing, Framing::Length(0));
    }

    #[test]
    fn framing_that_can_be_read_in_two_ways_is_not_read() {
        for fields in [
            "content-length: 1\r\ncontent-length: 2",
            "content-length: 1\r\ntransfer-encoding: chunked",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "content-length: +1",
            "content-length: 0x1",
            "content-length: 1, 1",
            "content-length: ",
            "content-length: 99999999999999999999",
        ] {
            let read = reply(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"));
            assert!(matches!(read, Err(BadHead::Framing(_))), "{fields}");
        }
    }

    #[test]
    fn a_connection_is_kept_only_where_both_sides_mean_it() {
        let keep = |head: &str| reply(&format!("{head}\r\n\r\n")).unwrap().unwrap().keep;
        assert!(keep("HTTP/1.1 200 OK\r\ncontent-length: 0"));
        assert!(!keep("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x, Close"));
        assert!(!keep("HTTP/1.0 200 OK\r\ncontent-length: 0"));
        assert!(!keep("HTTP/1.1 200 OK"));
    }

    #[test]
    fn interim_replies_are_passed_over_and_half_a_head_waits() {
        let two = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 201 Created\r\n";
        let mut buffer = BytesMut::from(two);
        assert!(read(&mut buffer, &Method::GET, 1000).unwrap().is_none());
        buffer.extend_from_slice(b"content-length: 0\r\n\r\nrest");
        let head = read(&mut buffer, &Method::GET, 1000).unwrap().unwrap();
        assert_eq!((head.parts.status.as_u16(), &buffer[..]), (201, &b"rest"[..]));
        assert!(matches!(reply("HTTP/1.1 101 Switching Protocols\r\n\r\n"), Err(BadHead::Switches)));
    }

    #[test]
    fn a_head_that_is_too_large_or_no_head_is_refused() {
        let large = format!("HTTP/1.1 200 OK\r\na: {}\r\n", "x".repeat(1000));
        assert!(matches!(reply(&large), Err(BadHead::TooLarge(1000))));
        assert!(matches!(reply("SSH-2.0-OpenSSH\r\n\r\n"), Err(BadHead::Malformed(_))));
        assert!(matches!(reply("HTTP/1.1 200 OK\r\na : b\r\n\r\n"), Err(BadHead::Malformed(_))));
    }
}
