//! OCSF 1.5.0, class *API Activity* (6003): one event for each call. What the schema has no place for goes to `unmapped`.

use serde_json::{Map, Value, json};

use super::row::{COLUMNS, Cell, Row};

/// The version of the schema.
const VERSION: &str = "1.5.0";
/// API Activity, and the category it is in.
const CLASS: u32 = 6003;
const CATEGORY: u32 = 6;

/// Columns that stand elsewhere in the event.
const MAPPED: [&str; 12] = [
    "seq",
    "time",
    "id",
    "kind",
    "integration",
    "peer",
    "http",
    "method",
    "endpoint",
    "status",
    "bytes_in",
    "bytes_out",
];

/// The event of a record; none when the record is not about a call, or was forgotten.
pub(super) fn event(row: &Row) -> Option<Value> {
    let (time, method) = (row.time?, row.method.as_deref().unwrap_or_default());
    if row.kind != "call" {
        return None;
    }
    let (activity, name) = activity(method);
    let refused = row.verdict.as_deref() == Some("refused");
    let (status_id, status) = outcome(row);
    let mut event = json!({
        "class_uid": CLASS, "class_name": "API Activity",
        "category_uid": CATEGORY, "category_name": "Application Activity",
        "activity_id": activity, "activity_name": name,
        "type_uid": CLASS * 100 + activity, "type_name": format!("API Activity: {name}"),
        "severity_id": if refused { 2 } else { 1 }, "severity": if refused { "Low" } else { "Informational" },
        "status_id": status_id, "status": status,
        "time": time.as_millisecond(),
        "metadata": {
            "version": VERSION,
            "uid": row.id,
            "sequence": row.seq,
            "log_name": "audit",
            "log_provider": "keygate",
            "original_time": time.to_string(),
            "product": { "name": "Keygate", "vendor_name": "Keygate", "version": env!("CARGO_PKG_VERSION") },
        },
        // The schema wants an actor of every event; a caller that was not identified has a word of its own.
        "actor": { "app_name": row.integration.as_deref().unwrap_or("(not identified)") },
        "api": { "operation": row.endpoint.as_deref().unwrap_or(method), "request": { "uid": row.id.as_deref().unwrap_or_default() } },
        "src_endpoint": match &row.peer { Some(peer) => json!({ "ip": peer }), None => json!({ "name": "unix socket" }) },
        "unmapped": unmapped(row),
    });
    details(&mut event, row);
    Some(event)
}

/// What only some calls have.
fn details(event: &mut Value, row: &Row) {
    if let Some(micros) = row.micros {
        event["duration"] = (micros.total() / 1000).into();
    }
    if let Some(method) = &row.method {
        event["http_request"] = json!({ "http_method": method, "length": row.bytes_in.unwrap_or(0) });
        if let Some(http) = &row.http {
            event["http_request"]["version"] = if http == "h2" { "2".into() } else { "1.1".into() };
        }
    }
    if let Some(status) = row.status {
        event["status_code"] = status.to_string().into();
        event["http_response"] = json!({ "code": status, "length": row.bytes_out.unwrap_or(0) });
        event["api"]["response"] = json!({ "code": status });
    }
    if let Some(refusal) = &row.refusal {
        event["status_detail"] = refusal.as_str().into();
        event["api"]["response"]["error"] = refusal.as_str().into();
    }
    if let Some(detail) = &row.detail {
        event["api"]["response"]["error_message"] = detail.as_str().into();
    }
    if let Some(upstream) = &row.upstream {
        event["api"]["service"] = json!({ "name": upstream });
    }
}

/// `activity_id` and its caption.
fn activity(method: &str) -> (u32, &'static str) {
    match method {
        "POST" => (1, "Create"),
        "GET" | "HEAD" => (2, "Read"),
        "PUT" | "PATCH" => (3, "Update"),
        "DELETE" => (4, "Delete"),
        _ => (99, "Other"),
    }
}

/// `status_id` and its caption.
fn outcome(row: &Row) -> (u32, &'static str) {
    match (row.verdict.as_deref(), row.status, row.outcome.as_deref()) {
        (Some("allowed"), Some(..400), Some("complete") | None) => (1, "Success"),
        (None, None, _) => (0, "Unknown"),
        _ => (2, "Failure"),
    }
}

fn unmapped(row: &Row) -> Map<String, Value> {
    let columns = COLUMNS.iter().filter(|column| !MAPPED.contains(&column.name));
    let each = columns.filter_map(|column| Some((format!("keygate_{}", column.name), value((column.of)(row))?)));
    each.collect()
}

/// A cell as JSON.
pub(super) fn value(cell: Cell<'_>) -> Option<Value> {
    match cell {
        Cell::None => None,
        Cell::Text(text) => Some(text.into()),
        Cell::Number(number) => Some(number.into()),
        Cell::Flag(flag) => Some(flag.into()),
        Cell::Time(time) => Some(time.to_string().into()),
    }
}
