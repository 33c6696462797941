//! What is written about a call. Field names here are the field names of the log.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use uuid::{ContextV7, Uuid};

use super::KeyedHash;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A call, finished or refused.
    Call,
    /// A write is about to leave, or a reply that streams is about to begin; its `call` line with the same id follows.
    Intent,
    /// A connection that ended before any call: TLS refused, plain HTTP, bytes that are no HTTP.
    Connection,
    /// Something about the gate itself: started, stopped, recovered, reloaded.
    Gate,
}

/// How an integration proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// Scoped key in the profile's header.
    Header,
    /// Scoped key in the profile's query parameter.
    Query,
    /// Scoped key in `Authorization: Bearer`.
    Bearer,
}

/// Whether the call was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Let through.
    Allowed,
    /// Answered by the gate itself.
    Refused,
}

/// How the call ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The reply was handed to the client whole.
    #[default]
    Complete,
    /// The client hung up before that.
    ClientGone,
    /// The upstream broke off inside its reply, or a limit cut it.
    UpstreamCut,
}

/// HTTP version on the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Http {
    /// HTTP/1.0 and 1.1
    #[serde(rename = "http/1.1")]
    H1,
    /// HTTP/2
    #[serde(rename = "h2")]
    H2,
}

/// What was negotiated, or, for a refused hello, what was offered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TlsFacts {
    /// `1.3`; absent when nothing was agreed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'static str>,
    /// IANA name of the cipher suite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher: Option<&'static str>,
    /// Key exchange group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<&'static str>,
    /// Server name the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// Versions offered, only for refused hellos.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub offered: Vec<&'static str>,
    /// JA4 fingerprint of the hello.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ja4: Option<String>,
}

/// The same, with its JSON: it stands in every record of a connection and is written once.
#[derive(Debug)]
pub struct TlsText {
    facts: TlsFacts,
    json: Vec<u8>,
}

impl TlsText {
    /// What was negotiated or offered.
    pub fn facts(&self) -> &TlsFacts {
        &self.facts
    }

    /// Its JSON.
    pub(super) fn json(&self) -> &[u8] {
        &self.json
    }
}

impl From<TlsFacts> for Arc<TlsText> {
    fn from(facts: TlsFacts) -> Self {
        // Text and numbers can always be written.
        let json = serde_json::to_vec(&facts).unwrap_or_else(|_| b"{}".to_vec());
        Self::new(TlsText { facts, json })
    }
}

impl Serialize for TlsText {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.facts.serialize(s)
    }
}

/// What the reply's own envelope said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EnvelopeFacts {
    /// `Success`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// `LogId`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_id: Option<String>,
    /// `RequestId`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// `Content.RejectedCount`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<u64>,
}

/// Time spent in each step, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Steps {
    /// Identify, normalise, authorise, limit, inject.
    pub decide: u32,
    /// Making an earlier record of the call durable: the intent of a write, the beginning of a long reply. 0 when there was none.
    pub intent: u32,
    /// From the first byte upstream to the reply's head.
    pub upstream: u32,
    /// From the reply's head to its last byte.
    pub body: u32,
}

/// Something about the gate itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Stable code: `started`, `stopped`, `recovered`, `closed`, `reopened`, `credential-changed`, `rotation-begun`, `reloaded`,
    /// `reload-refused`, `sink-behind`, `sink-caught-up`, `sink-refused`, `forgotten`, `removed`.
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

/// One line of the log. Fields that do not apply are left out.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// When it began (a call's head was read).
    pub time: Timestamp,
    /// UUIDv7; the reply carries it as `keygate-record`.
    pub id: Uuid,
    /// What the line is about.
    pub kind: Kind,
    /// Integration, once identified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integration: Option<Arc<str>>,
    /// How it proved itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// Peer address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// TLS on the client's side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Arc<TlsText>>,
    /// HTTP version on the client's side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Request method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Cow<'static, str>>,
    /// `METHOD /template`, once matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Arc<str>>,
    /// Path parameters as keyed hashes.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "pairs")]
    pub params: Vec<(Arc<str>, KeyedHash)>,
    /// Query values as keyed hashes; names as sent.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "pairs")]
    pub query: Vec<(Arc<str>, KeyedHash)>,
    /// Let through or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The rule that said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
    /// Refusal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'static str>,
    /// What the log gets to read about a refusal or a failure (the client gets other words).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Status the client got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Upstream's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Arc<str>>,
    /// Upstream's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_status: Option<u16>,
    /// Credential id and version that was injected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<(Arc<str>, u64)>,
    /// Credential id and version with which a read was sent once more, because the first one was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retried_with: Option<(Arc<str>, u64)>,
    /// Calls left in the narrowest limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_left: Option<u32>,
    /// Request body bytes that went upstream.
    pub bytes_in: u64,
    /// Reply body bytes that went to the client.
    pub bytes_out: u64,
    /// How often the real key was cut out of the reply.
    #[serde(skip_serializing_if = "is_zero")]
    pub scrubbed: u32,
    /// The reply's own envelope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope: Option<EnvelopeFacts>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Time spent, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micros: Option<Steps>,
    /// Only for [`Kind::Gate`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
}

impl Record {
    /// Whether it says that a call which changes something is about to leave. That of a long reply has its status.
    pub(super) fn is_of_a_write(&self) -> bool {
        self.kind == Kind::Intent && self.status.is_none()
    }

    /// An empty record of a kind, with a fresh id.
    pub fn new(kind: Kind, time: Timestamp) -> Self {
        Self {
            time,
            id: fresh_id(time),
            kind,
            integration: None,
            proof: None,
            peer: None,
            tls: None,
            http: None,
            method: None,
            endpoint: None,
            params: Vec::new(),
            query: Vec::new(),
            verdict: None,
            rule: None,
            refusal: None,
            detail: None,
            status: None,
            upstream: None,
            upstream_status: None,
            credential: None,
            retried_with: None,
            limit_left: None,
            bytes_in: 0,
            bytes_out: 0,
            scrubbed: 0,
            envelope: None,
            outcome: None,
            micros: None,
            event: None,
        }
    }
}

/// Ordered by time, and within a thread's millisecond by a counter.
fn fresh_id(time: Timestamp) -> Uuid {
    thread_local! {
        static COUNTER: ContextV7 = const { ContextV7::new() };
    }
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    // A clock that stands before 1970 is told as it is in the record's time; an id cannot.
    let (seconds, nanos) = (u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0));
    COUNTER.with(|counter| Uuid::new_v7(uuid::Timestamp::from_unix(counter, seconds, nanos)))
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Pairs as an array of one-entry objects would be wasteful and a map would lose repeated names: `[["name","hash"],…]`.
fn pairs<S: serde::Serializer>(pairs: &[(Arc<str>, KeyedHash)], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(pairs.iter().map(|(name, hash)| (&**name, hash)))
}
