//! What a call looked like when it arrived, for tests that ask what reached the API.

use http::Version;
use http::request::Parts;
use serde::Serialize;

/// Is told of every call, before it is answered. Called by one thread at a time; must not wait.
pub type Log = Box<dyn FnMut(&Seen) + Send>;

/// One call as it arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// The method.
    pub method: String,
    /// The target as it stood on the wire; on HTTP/2 with scheme and authority.
    pub target: String,
    /// The headers in order, names in lower case; a value that is not UTF-8 has U+FFFD in the odd places.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body; 0 unless it came whole.
    pub body_bytes: usize,
    /// Whether the body came whole.
    pub body: Arrival,
}

/// How a body arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// To its end.
    Whole,
    /// It was larger than the API takes.
    TooLarge,
    /// The client left, or broke the protocol.
    Broken,
}

impl Seen {
    /// Takes down a call's head.
    pub fn new(head: &Parts, body_bytes: usize, body: Arrival) -> Self {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let version =
            if head.version == Version::HTTP_2 { "HTTP/2.0".to_owned() } else { format!("{:?}", head.version) };
        Self { version, method: head.method.to_string(), target: head.uri.to_string(), headers, body_bytes, body }
    }

    /// All values of a header, named in lower case.
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.headers.iter().filter(move |(each, _)| each == name).map(|(_, value)| value.as_str())
    }
}
