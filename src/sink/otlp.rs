//! OTLP logs over HTTP, in protobuf. The messages are those of opentelemetry-proto 1.x (`logs/v1`, `common/v1`,
//! `collector/logs/v1`), as far as they are used; a test reads them with the official ones.

use std::path::Path;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use http_body_util::Full;
use prost::Message;
use zeroize::Zeroizing;

use super::batch::{Batch, Item};
use super::courier::{Refused, request};
use crate::audit::export::{COLUMNS, Cell, Row};
use crate::vault::private_file;

/// Severity numbers of the log data model.
const INFO: i32 = 9;
const NOTICE: i32 = 10;
const WARN: i32 = 13;

#[derive(Clone, PartialEq, Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeLogs {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    log_records: Vec<LogRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct LogRecord {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(int32, tag = "2")]
    severity_number: i32,
    #[prost(string, tag = "3")]
    severity_text: String,
    #[prost(message, optional, tag = "5")]
    body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "11")]
    observed_time_unix_nano: u64,
    #[prost(string, tag = "12")]
    event_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 2, 3")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Flag(bool),
    #[prost(int64, tag = "3")]
    Number(i64),
}

#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_log_records: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

pub(super) struct Otlp {
    authorization: Option<HeaderValue>,
}

impl Otlp {
    pub(super) fn open(authorization: Option<&Path>) -> Result<Self, String> {
        let Some(file) = authorization else { return Ok(Self { authorization: None }) };
        let text: Zeroizing<Vec<u8>> = private_file::read(file).map_err(|error| crate::causes::chain(&error))?;
        let value = HeaderValue::from_bytes(text.trim_ascii());
        let mut value = value.map_err(|_| format!("`{}` holds no value of a header", file.display()))?;
        value.set_sensitive(true);
        Ok(Self { authorization: Some(value) })
    }

    pub(super) fn request(&self, batch: &Batch) -> Request<Full<Bytes>> {
        let version = env!("CARGO_PKG_VERSION");
        let attributes = vec![text("service.name", "keygate"), text("service.version", version)];
        let scope = Scope { name: "keygate.audit".to_owned(), version: version.to_owned() };
        let log_records = batch.items().iter().map(record).collect();
        let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records }];
        let logs = ResourceLogs { resource: Some(Resource { attributes }), scope_logs };
        let body = ExportRequest { resource_logs: vec![logs] }.encode_to_vec();
        let mut request = request("application/x-protobuf", body);
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        request
    }

    /// What the receiver says that it will not keep. The protocol forbids to send that again.
    pub(super) fn refused(answer: &Bytes) -> Option<Refused> {
        let partial = ExportResponse::decode(&**answer).ok()?.partial_success?;
        let records = u64::try_from(partial.rejected_log_records).ok().filter(|records| *records > 0)?;
        Some(Refused { records, why: partial.error_message.chars().take(200).collect() })
    }
}

fn record(item: &Item) -> LogRecord {
    let Item { line, row } = item;
    let nanos = row.time.map_or(0, |time| u64::try_from(time.as_nanosecond()).unwrap_or(0));
    let (severity_number, severity_text) = severity(row);
    let name = row.event.as_ref().map_or(&*row.kind, |event| &event.code);
    LogRecord {
        time_unix_nano: nanos,
        severity_number,
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue { value: Some(Value::Text(String::from_utf8_lossy(line).into_owned())) }),
        attributes: COLUMNS.iter().filter_map(|column| attribute(column.name, (column.of)(row))).collect(),
        observed_time_unix_nano: nanos,
        event_name: format!("keygate.{name}"),
    }
}

fn severity(row: &Row) -> (i32, &'static str) {
    match (row.verdict.as_deref(), row.kind.as_str()) {
        (Some("refused"), _) | (_, "connection") => (WARN, "WARN"),
        (_, "gate") => (NOTICE, "INFO2"),
        _ => (INFO, "INFO"),
    }
}

fn attribute(name: &str, cell: Cell<'_>) -> Option<KeyValue> {
    let value = match cell {
        Cell::None => return None,
        Cell::Text(text) => Value::Text(text.into_owned()),
        Cell::Number(number) => Value::Number(number),
        Cell::Flag(flag) => Value::Flag(flag),
        Cell::Time(time) => Value::Text(time.to_string()),
    };
    Some(KeyValue { key: format!("keygate.{name}"), value: Some(AnyValue { value: Some(value) }) })
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::Text(value.to_owned())) });
    KeyValue { key: key.to_owned(), value }
}
