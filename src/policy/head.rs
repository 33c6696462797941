//! Whether a request's head is one that this gate serves at all.

use http::{HeaderMap, HeaderName, Method, Uri, header};

use super::framing;

/// Why it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// CONNECT and TRACE have no place before a merchant API.
    #[error("CONNECT and TRACE are not served")]
    Method,
    /// Protocol upgrades end at the gate.
    #[error("protocol upgrades are not served")]
    Upgrade,
    /// `Host` (or the authority) is missing, doubled or holds user information.
    #[error("the request names no host, or more than one, or user information in it")]
    Host,
    /// A field's value begins or ends with a space or a tab. HTTP/1.1 does not tell; in HTTP/2 it is an error.
    #[error("the value of a header begins or ends with white space")]
    Padded,
    /// Where the body ends is said twice, not plainly, or not at all where it must be.
    #[error("where the request's body ends is said in more than one way, in no plain number, or not at all")]
    Framing,
    /// A name that some servers take for another one.
    #[error("the name of a header holds an underscore and could be taken for another header")]
    Name,
    /// The head is larger than the limit, bytes.
    #[error("the request head is larger than {0} bytes")]
    TooLarge(u32),
    /// The target is longer than the limit, bytes.
    #[error("the request target is longer than {0} bytes")]
    TargetTooLong(u32),
    /// The announced body is larger than the limit, bytes.
    #[error("the request body is larger than {0} bytes")]
    BodyTooLarge(u64),
}

impl Unacceptable {
    /// The stable refusal code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Method => "method_refused",
            Self::Upgrade => "upgrade_refused",
            Self::Host => "host_refused",
            Self::Padded => "header_padded",
            Self::Framing => "framing_refused",
            Self::Name => "header_ambiguous",
            Self::TooLarge(_) => "head_too_large",
            Self::TargetTooLong(_) => "target_too_long",
            Self::BodyTooLarge(_) => "body_too_large",
        }
    }

    /// Whether RFC 9113 calls such a request malformed: in HTTP/2 its stream is reset.
    pub fn is_malformed(self) -> bool {
        matches!(self, Self::Host | Self::Padded)
    }
}

/// Sizes that a head is held to.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Largest head, bytes.
    pub max_head: u32,
    /// Longest target, bytes.
    pub max_target: u32,
    /// Largest body, bytes.
    pub max_body: u64,
}

/// What of a request is judged here.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// Method.
    pub method: &'a Method,
    /// Target, as it was read.
    pub uri: &'a Uri,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Whether a body follows, however its end is said.
    pub has_body: bool,
}

/// Judges a head by what can be seen without knowing who sent it. `slots` are the headers that hold keys.
pub fn judge(head: Head<'_>, slots: &[HeaderName], sizes: Sizes) -> Result<(), Unacceptable> {
    let Head { method, uri, headers, has_body } = head;
    if method == Method::CONNECT && uri.authority().is_none() {
        return Err(Unacceptable::Host);
    }
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(Unacceptable::Method);
    }
    if headers.contains_key(header::UPGRADE) && !only_http2_settings(headers) {
        return Err(Unacceptable::Upgrade);
    }
    one_host(uri, headers)?;
    if headers.values().any(is_padded) {
        return Err(Unacceptable::Padded);
    }
    if !framing::is_plain(method, headers, has_body) {
        return Err(Unacceptable::Framing);
    }
    if headers.keys().any(|name| framing::has_twin(name, slots)) {
        return Err(Unacceptable::Name);
    }
    if size(headers) > sizes.max_head as usize {
        return Err(Unacceptable::TooLarge(sizes.max_head));
    }
    let target = uri.path_and_query().map_or(0, |t| t.as_str().len());
    if target > sizes.max_target as usize {
        return Err(Unacceptable::TargetTooLong(sizes.max_target));
    }
    if announced(headers).is_some_and(|length| length > sizes.max_body) {
        return Err(Unacceptable::BodyTooLarge(sizes.max_body));
    }
    Ok(())
}

/// Java's client offers `Upgrade: h2c` with every first request and goes on without it when nobody answers.
fn only_http2_settings(headers: &HeaderMap) -> bool {
    headers.get_all(header::UPGRADE).iter().all(|v| v.as_bytes().eq_ignore_ascii_case(b"h2c"))
}

/// Exactly one host, the same in the target and in `Host` where both are there, without user information. A scheme in the target
/// says nothing here: it is never passed on.
fn one_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Unacceptable> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, more) = (hosts.next(), hosts.next().is_some());
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let named = match (authority, first.map(http::HeaderValue::to_str)) {
        _ if more => return Err(Unacceptable::Host),
        (_, Some(Err(_))) | (None, None) => return Err(Unacceptable::Host),
        (Some(target), Some(Ok(host))) if !target.eq_ignore_ascii_case(host) => return Err(Unacceptable::Host),
        (Some(target), _) => target,
        (None, Some(Ok(host))) => host,
    };
    if is_host(named) { Ok(()) } else { Err(Unacceptable::Host) }
}

/// A name or an address, and a port if need be. What else the grammar of RFC 3986 lets stand there (escapes,
/// sub-delimiters, user information) has no meaning for a host that somebody can connect to.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => (address, None),
            Some((address, port)) => (address, Some(port.strip_prefix(':').unwrap_or_default())),
            None => return false,
        },
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let bracketed = text.starts_with('[');
    let fine = |b: u8| if bracketed { b.is_ascii_hexdigit() || b == b':' || b == b'.' } else { is_name_byte(b) };
    let fit = !name.is_empty() && name.len() <= 253 && name.bytes().all(fine);
    let plain_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    fit && (bracketed || name.bytes().any(|b| b.is_ascii_alphanumeric())) && port.is_none_or(plain_port)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn is_padded(value: &http::HeaderValue) -> bool {
    let space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = value.as_bytes();
    space(bytes.first()) || space(bytes.last())
}

/// As the fields stand on the wire of HTTP/1.1.
fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<(), Unacceptable> {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let head = Head { method: &parts.method, uri: &parts.uri, headers: &parts.headers, has_body: false };
        judge(head, &[], Sizes { max_head: 200, max_target: 20, max_body: 100 })
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for good in ["localhost", "LOCALHOST:443", "127.0.0.1:8443", "[::1]", "[::1]:443", "a_b.example.", "a-b"] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "", ".", "a:", "a:x", "a:+1", "a:65536", "a:1:1", "::1", "[::1", "[::1]x", "[]", "[::1]:", "a@b", "a/b",
            "a%00", "a,b", "a b", "a;b", "a#", "a?b", "a\\b", "(a)", "*", "-", "a:1@b",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn what_the_gate_does_not_serve_is_refused() {
        let host = ("host", "localhost");
        assert_eq!(judged("GET", "/v2/orders", &[host]), Ok(()));
        assert_eq!(judged("GET", "https://localhost/v2", &[]), Ok(()));
        assert_eq!(judged("GET", "/v2", &[host, ("upgrade", "h2c")]), Ok(()));
        assert_eq!(judged("TRACE", "/v2", &[host]), Err(Unacceptable::Method));
        assert_eq!(judged("GET", "/v2", &[host, ("upgrade", "websocket")]), Err(Unacceptable::Upgrade));
        assert_eq!(judged("GET", "/v2", &[]), Err(Unacceptable::Host));
        assert_eq!(judged("CONNECT", "/", &[host]), Err(Unacceptable::Host));
        assert_eq!(judged("CONNECT", "localhost:443", &[host]), Err(Unacceptable::Method));
        assert_eq!(judged("GET", "/v2", &[host, ("x-a", " b")]), Err(Unacceptable::Padded));
        assert_eq!(judged("GET", "/v2", &[host, ("x-a", "b\t")]), Err(Unacceptable::Padded));
        assert_eq!(judged("GET", "/v2", &[host, ("x-a", "")]), Ok(()));
        assert_eq!(judged("GET", "/v2", &[host, host]), Err(Unacceptable::Host));
        assert_eq!(judged("GET", "https://a/v2", &[("host", "b")]), Err(Unacceptable::Host));
        assert_eq!(judged("GET", "/v2", &[("host", "a@b")]), Err(Unacceptable::Host));
        assert_eq!(judged("GET", "/v2/orders?a=1234567890", &[host]), Err(Unacceptable::TargetTooLong(20)));
        let long = "x".repeat(200);
        assert_eq!(judged("GET", "/v2", &[host, ("x-long", &long)]), Err(Unacceptable::TooLarge(200)));
        assert_eq!(judged("POST", "/v2", &[host, ("content-length", "101")]), Err(Unacceptable::BodyTooLarge(100)));
    }
}
