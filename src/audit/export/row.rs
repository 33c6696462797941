//! A record read back: its fields as the exports need them, and as columns of a table.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

/// A record. Fields that do not apply are none.
#[derive(Debug, Default, Deserialize)]
pub struct Row {
    pub seq: u64,
    pub entry: String,
    pub kind: String,
    /// None for a record that was forgotten, as all that follows.
    pub time: Option<Timestamp>,
    pub id: Option<String>,
    pub integration: Option<String>,
    pub proof: Option<String>,
    pub peer: Option<String>,
    #[serde(default)]
    pub tls: Tls,
    pub http: Option<String>,
    pub method: Option<String>,
    pub endpoint: Option<String>,
    #[serde(default)]
    pub params: Vec<(String, String)>,
    #[serde(default)]
    pub query: Vec<(String, String)>,
    pub verdict: Option<String>,
    pub rule: Option<String>,
    pub refusal: Option<String>,
    pub detail: Option<String>,
    pub status: Option<u16>,
    pub upstream: Option<String>,
    pub upstream_status: Option<u16>,
    pub credential: Option<(String, u64)>,
    pub retried_with: Option<(String, u64)>,
    pub limit_left: Option<u32>,
    pub bytes_in: Option<u64>,
    pub bytes_out: Option<u64>,
    pub scrubbed: Option<u32>,
    #[serde(default)]
    pub envelope: Envelope,
    pub outcome: Option<String>,
    pub micros: Option<Micros>,
    pub event: Option<Event>,
}

/// What was negotiated, or offered.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Tls {
    pub version: Option<String>,
    pub cipher: Option<String>,
    pub group: Option<String>,
    pub sni: Option<String>,
    pub offered: Vec<String>,
    pub ja4: Option<String>,
}

/// What the reply's own envelope said.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Envelope {
    pub success: Option<bool>,
    pub log_id: Option<String>,
    pub request_id: Option<String>,
    pub rejected: Option<u64>,
}

/// Time spent in each step, microseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Micros {
    pub decide: u64,
    pub intent: u64,
    pub upstream: u64,
    pub body: u64,
}

impl Micros {
    /// In all.
    pub fn total(self) -> u64 {
        self.decide + self.intent + self.upstream + self.body
    }
}

/// Something about the gate itself.
#[derive(Debug, Deserialize)]
pub struct Event {
    pub code: String,
    pub detail: String,
}

impl Row {
    /// Reads a line of the log.
    pub fn parse(line: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(line)
    }
}

/// What stands in a field of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    None,
    Text(Cow<'a, str>),
    Number(i64),
    Flag(bool),
    Time(Timestamp),
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Text,
    Number,
    Flag,
    Time,
}

/// A column: its name, what it holds, and how to get that from a record.
pub struct Column {
    pub name: &'static str,
    pub holds: Type,
    pub of: for<'a> fn(&'a Row) -> Cell<'a>,
}

const fn column(name: &'static str, holds: Type, of: for<'a> fn(&'a Row) -> Cell<'a>) -> Column {
    Column { name, holds, of }
}

/// All columns, in order. New ones are added at the end.
pub const COLUMNS: [Column; 41] = [
    column("seq", Type::Number, |row| number(Some(row.seq))),
    column("time", Type::Time, |row| row.time.map_or(Cell::None, Cell::Time)),
    column("id", Type::Text, |row| text(row.id.as_deref())),
    column("kind", Type::Text, |row| text(Some(&row.kind))),
    column("integration", Type::Text, |row| text(row.integration.as_deref())),
    column("proof", Type::Text, |row| text(row.proof.as_deref())),
    column("peer", Type::Text, |row| text(row.peer.as_deref())),
    column("tls_version", Type::Text, |row| text(row.tls.version.as_deref())),
    column("tls_cipher", Type::Text, |row| text(row.tls.cipher.as_deref())),
    column("tls_group", Type::Text, |row| text(row.tls.group.as_deref())),
    column("tls_sni", Type::Text, |row| text(row.tls.sni.as_deref())),
    column("tls_offered", Type::Text, |row| joined(&row.tls.offered)),
    column("tls_ja4", Type::Text, |row| text(row.tls.ja4.as_deref())),
    column("http", Type::Text, |row| text(row.http.as_deref())),
    column("method", Type::Text, |row| text(row.method.as_deref())),
    column("endpoint", Type::Text, |row| text(row.endpoint.as_deref())),
    column("params", Type::Text, |row| pairs(&row.params)),
    column("query", Type::Text, |row| pairs(&row.query)),
    column("verdict", Type::Text, |row| text(row.verdict.as_deref())),
    column("rule", Type::Text, |row| text(row.rule.as_deref())),
    column("refusal", Type::Text, |row| text(row.refusal.as_deref())),
    column("detail", Type::Text, |row| text(row.detail.as_deref())),
    column("status", Type::Number, |row| number(row.status)),
    column("upstream", Type::Text, |row| text(row.upstream.as_deref())),
    column("upstream_status", Type::Number, |row| number(row.upstream_status)),
    column("credential", Type::Text, |row| key(row.credential.as_ref())),
    column("retried_with", Type::Text, |row| key(row.retried_with.as_ref())),
    column("limit_left", Type::Number, |row| number(row.limit_left)),
    column("bytes_in", Type::Number, |row| number(row.bytes_in)),
    column("bytes_out", Type::Number, |row| number(row.bytes_out)),
    column("scrubbed", Type::Number, |row| number(row.scrubbed)),
    column("envelope_success", Type::Flag, |row| row.envelope.success.map_or(Cell::None, Cell::Flag)),
    column("envelope_log_id", Type::Text, |row| text(row.envelope.log_id.as_deref())),
    column("envelope_request_id", Type::Text, |row| text(row.envelope.request_id.as_deref())),
    column("envelope_rejected", Type::Number, |row| number(row.envelope.rejected)),
    column("outcome", Type::Text, |row| text(row.outcome.as_deref())),
    column("micros", Type::Number, |row| number(row.micros.map(Micros::total))),
    column("micros_upstream", Type::Number, |row| number(row.micros.map(|micros| micros.upstream))),
    column("event", Type::Text, |row| text(row.event.as_ref().map(|event| &*event.code))),
    column("event_detail", Type::Text, |row| text(row.event.as_ref().map(|event| &*event.detail))),
    column("entry", Type::Text, |row| text(Some(&row.entry))),
];

fn text(value: Option<&str>) -> Cell<'_> {
    value.map_or(Cell::None, |text| Cell::Text(Cow::Borrowed(text)))
}

fn number(value: Option<impl Into<u64>>) -> Cell<'static> {
    // No count here comes near the end of the range.
    value.map_or(Cell::None, |value| Cell::Number(i64::try_from(value.into()).unwrap_or(i64::MAX)))
}

fn joined(words: &[String]) -> Cell<'_> {
    if words.is_empty() { Cell::None } else { Cell::Text(words.join(" ").into()) }
}

/// `name=hash name=hash`, as `--param` takes them apart.
fn pairs(pairs: &[(String, String)]) -> Cell<'_> {
    let each: Vec<String> = pairs.iter().map(|(name, hash)| format!("{name}={hash}")).collect();
    if each.is_empty() { Cell::None } else { Cell::Text(each.join(" ").into()) }
}

/// `name@version`.
fn key(key: Option<&(String, u64)>) -> Cell<'_> {
    key.map_or(Cell::None, |(name, version)| Cell::Text(format!("{name}@{version}").into()))
}
