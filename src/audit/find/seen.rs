//! A record as a search sees it, read from its line.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// What has few values in a log: what may be asked for by one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `call`, `intent`, `connection`, `gate`
    Kind,
    /// Name of the integration.
    Integration,
    /// Request method.
    Method,
    /// `METHOD /template`
    Endpoint,
    /// `allowed`, `refused`
    Verdict,
    /// Refusal code.
    Refusal,
    /// Status that the client got: `404`, or `4xx` for all that begin so.
    Status,
    /// Name of the upstream.
    Upstream,
    /// `complete`, `client-gone`, `upstream-cut`
    Outcome,
    /// Code of an event of the gate.
    Event,
}

impl Field {
    /// All, in the order of their declaration.
    pub const ALL: [Self; 10] = [
        Self::Kind,
        Self::Integration,
        Self::Method,
        Self::Endpoint,
        Self::Verdict,
        Self::Refusal,
        Self::Status,
        Self::Upstream,
        Self::Outcome,
        Self::Event,
    ];
}

/// The values of all [`Field`]s of a record.
pub(super) type Shape<T> = [Option<T>; Field::ALL.len()];

/// Text that is borrowed from the line where it can be.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct EventCode<'a> {
    #[serde(borrow)]
    code: Text<'a>,
}

/// The fields that can be asked for.
#[derive(Deserialize)]
pub(super) struct Seen<'a> {
    pub(super) seq: u64,
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    time: Option<Text<'a>>,
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    integration: Option<Text<'a>>,
    #[serde(borrow, default)]
    peer: Option<Text<'a>>,
    #[serde(borrow, default)]
    method: Option<Text<'a>>,
    #[serde(borrow, default)]
    endpoint: Option<Text<'a>>,
    #[serde(borrow, default)]
    params: Vec<(Text<'a>, Text<'a>)>,
    #[serde(borrow, default)]
    query: Vec<(Text<'a>, Text<'a>)>,
    #[serde(borrow, default)]
    verdict: Option<Text<'a>>,
    #[serde(borrow, default)]
    refusal: Option<Text<'a>>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    upstream: Option<Text<'a>>,
    #[serde(borrow, default)]
    outcome: Option<Text<'a>>,
    #[serde(borrow, default)]
    event: Option<EventCode<'a>>,
}

fn text<'a>(field: Option<&'a Text<'_>>) -> Option<&'a str> {
    field.map(|text| &*text.0)
}

impl<'a> Seen<'a> {
    /// Reads a line; `None` when it is no record.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    pub(super) fn shape(&self) -> Shape<&str> {
        Field::ALL.map(|field| match field {
            Field::Kind => Some(&*self.kind.0),
            Field::Integration => text(self.integration.as_ref()),
            Field::Method => text(self.method.as_ref()),
            Field::Endpoint => text(self.endpoint.as_ref()),
            Field::Verdict => text(self.verdict.as_ref()),
            Field::Refusal => text(self.refusal.as_ref()),
            Field::Status => self.status.map(RawValue::get),
            Field::Upstream => text(self.upstream.as_ref()),
            Field::Outcome => text(self.outcome.as_ref()),
            Field::Event => self.event.as_ref().map(|event| &*event.code.0),
        })
    }

    pub(super) fn id(&self) -> Option<Uuid> {
        text(self.id.as_ref())?.parse().ok()
    }

    pub(super) fn peer(&self) -> Option<&str> {
        text(self.peer.as_ref())
    }

    pub(super) fn time(&self) -> Option<Timestamp> {
        text(self.time.as_ref())?.parse().ok()
    }

    /// The hashes of all parameters, of path and query.
    pub(super) fn params(&self) -> impl Iterator<Item = &str> {
        self.params.iter().chain(&self.query).map(|(_, hash)| &*hash.0)
    }
}

/// What a search may ask for that nearly every record has another value of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Token(pub(super) u64);

impl Token {
    pub(super) fn of_id(id: Uuid) -> Self {
        let (_, random) = id.as_u64_pair();
        Self(mix(random))
    }

    /// Of a parameter's hash, 32 hexadecimal digits.
    pub(super) fn of_param(hash: &str) -> Self {
        Self(mix(bytes(1, hash.as_bytes())))
    }

    pub(super) fn of_peer(address: &str) -> Self {
        Self(mix(bytes(2, address.as_bytes())))
    }

    /// All of a record.
    pub(super) fn all<'s>(seen: &'s Seen<'_>) -> impl Iterator<Item = Self> + 's {
        seen.id().map(Self::of_id).into_iter().chain(Self::shared(seen))
    }

    /// Those that other records may have as well.
    pub(super) fn shared<'s>(seen: &'s Seen<'_>) -> impl Iterator<Item = Self> + 's {
        seen.peer().map(Self::of_peer).into_iter().chain(seen.params().map(Self::of_param))
    }

    /// A byte of it; filters go by the other end.
    pub(super) fn mark(self) -> u8 {
        self.0.to_le_bytes()[0]
    }
}

/// FNV-1a. That somebody can make two values collide costs a search the time to look at one block more.
fn bytes(kind: u64, text: &[u8]) -> u64 {
    text.iter()
        .fold(0xcbf2_9ce4_8422_2325 ^ kind, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The finaliser of `SplitMix64`.
pub(super) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
