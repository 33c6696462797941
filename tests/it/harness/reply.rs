//! A reply as it came over the wire, and what every reply must and must not hold.

use std::fmt;

use serde_json::Value;

use super::secrets::Secrets;

/// Statuses that the gate or the stand-in may answer with. Anything else is a surprise.
const STATUSES: [u16; 29] = [
    200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 405, 408, 409, 410, 413, 414, 415, 417, 421, 422, 429,
    431, 500, 501, 502, 503, 504,
];

/// Header names that may reach a client.
const HEADERS: [&str; 34] = [
    "accept-ranges",
    "age",
    "allow",
    "alt-svc",
    "cache-control",
    "connection",
    "content-disposition",
    "content-language",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expires",
    "keygate-outcome",
    "keygate-receipt",
    "keygate-record",
    "keygate-refusal",
    "last-modified",
    "location",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "server",
    "strict-transport-security",
    "trailer",
    "transfer-encoding",
    "vary",
    "www-authenticate",
    "x-content-type-options",
    "x-rate-limit-limit",
    "x-rate-limit-remaining",
    "x-rate-limit-reset",
    "x-request-id",
];

/// A whole reply.
#[derive(Clone)]
pub struct Reply {
    /// `GET /api/v2/orders`, for messages and because a reply to HEAD has no body.
    pub asked: String,
    /// Status code.
    pub status: u16,
    /// Headers in order, names as they came.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Statuses of the 1xx replies before it.
    pub interim: Vec<u16>,
    /// Everything as it came, framing included.
    pub raw: Vec<u8>,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} → {}", self.asked, self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "  {name}: {value}")?;
        }
        let shown = &self.body[..self.body.len().min(2000)];
        write!(f, "{}", String::from_utf8_lossy(shown))
    }
}

impl Reply {
    /// The first header of this lower-case name, or empty.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// Refusal code, or empty.
    pub fn refusal(&self) -> &str {
        self.header("keygate-refusal")
    }

    /// The id of its record.
    pub fn record(&self) -> &str {
        self.header("keygate-record")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("the body is not JSON ({e}): {self}"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Fails unless this is a refusal with this status and code.
    #[track_caller]
    pub fn must_be_refused(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.refusal()), (status, code), "{self}");
        self
    }

    /// Fails unless the upstream's own reply came through with this status.
    #[track_caller]
    pub fn must_be(&self, status: u16) -> &Self {
        assert_eq!((self.status, self.refusal()), (status, ""), "{self}");
        self
    }

    /// What holds for every reply of the gate.
    pub fn check(&self, secrets: &Secrets) {
        secrets.must_not_be_in(&self.raw, "the reply as it came");
        secrets.must_not_be_in(&self.body, "the reply's body");
        assert!(STATUSES.contains(&self.status), "a status from nowhere: {self}");
        for (name, _) in &self.headers {
            assert!(!name.contains(|c: char| c.is_ascii_uppercase()), "`{name}` is not lower case: {self}");
            assert!(HEADERS.contains(&name.as_str()), "`{name}` is no header a client should see: {self}");
        }
        let record = uuid::Uuid::parse_str(self.record());
        assert!(record.is_ok_and(|id| id.get_version_num() == 7), "no `keygate-record` with a UUIDv7: {self}");
        assert_eq!(self.headers.iter().filter(|(n, _)| n == "keygate-record").count(), 1, "{self}");
        if !self.refusal().is_empty() {
            self.check_refusal();
        }
    }

    fn check_refusal(&self) {
        assert!(self.status >= 400, "a refusal that looks like success: {self}");
        let code = self.refusal();
        assert!(code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "an odd code: {self}");
        if self.status == 429 {
            assert!(
                self.header("retry-after").parse::<u32>().is_ok_and(|s| s >= 1),
                "no `retry-after` in seconds: {self}"
            );
        }
        if self.asked.starts_with("HEAD ") {
            return;
        }
        match self.header("content-type").split(';').next() {
            Some("application/problem+json") => self.check_problem(),
            Some("application/json") => self.check_envelope(),
            _ => panic!("a refusal is JSON: {self}"),
        }
    }

    fn check_envelope(&self) {
        let envelope = self.json();
        assert_eq!(envelope["StatusCode"], self.status, "{self}");
        assert_eq!(envelope["Success"], false, "{self}");
        assert_eq!(envelope["LogId"], self.record(), "{self}");
        assert_eq!(envelope["ValidationErrors"], serde_json::json!({}), "{self}");
        assert!(envelope["Message"].as_str().is_some_and(|m| m.len() > 10), "{self}");
    }

    fn check_problem(&self) {
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self}");
        assert!(problem["title"].as_str().or(problem["detail"].as_str()).is_some_and(|t| t.len() > 4), "{self}");
    }
}
