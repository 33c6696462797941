//! Elastic Common Schema 9.4: one document for each record. What the schema has no field for stands below `keygate`, which
//! is the place that the schema leaves to a product.

use serde_json::{Map, Value, json};

use super::ocsf::value;
use super::row::{COLUMNS, Row};

/// The version of the schema.
const VERSION: &str = "9.4.0";

/// Columns that stand in fields of the schema.
const MAPPED: [&str; 18] = [
    "seq",
    "time",
    "id",
    "integration",
    "peer",
    "tls_version",
    "tls_cipher",
    "tls_group",
    "tls_sni",
    "http",
    "method",
    "rule",
    "refusal",
    "detail",
    "status",
    "upstream",
    "bytes_in",
    "bytes_out",
];

/// The document of a record; none when it was forgotten.
pub(super) fn document(row: &Row) -> Option<Value> {
    let time = row.time?;
    let mut document = json!({
        "@timestamp": time.to_string(),
        "ecs": { "version": VERSION },
        "event": event(row),
        "observer": { "vendor": "Keygate", "product": "Keygate", "type": "proxy", "version": env!("CARGO_PKG_VERSION") },
        "keygate": own(row),
    });
    if let Some(integration) = &row.integration {
        document["user"] = json!({ "name": integration });
        document["related"] = json!({ "user": [integration] });
    }
    if let Some(peer) = &row.peer {
        document["source"] = json!({ "address": peer, "ip": peer });
        document["related"]["ip"] = json!([peer]);
    }
    if let Some(upstream) = &row.upstream {
        document["service"] = json!({ "name": upstream });
    }
    if let Some(rule) = &row.rule {
        document["rule"] = json!({ "name": rule });
    }
    if let Some(refusal) = &row.refusal {
        document["error"] = json!({ "code": refusal });
    }
    if let Some(detail) = &row.detail {
        document["error"]["message"] = detail.as_str().into();
    }
    http(&mut document, row);
    tls(&mut document, row);
    Some(document)
}

fn event(row: &Row) -> Value {
    let refused = row.verdict.as_deref() == Some("refused");
    let (category, kinds) = match row.kind.as_str() {
        "gate" => ("configuration", vec!["info"]),
        "connection" => ("network", vec!["connection", "denied"]),
        _ if refused => ("api", vec!["access", "denied"]),
        _ => ("api", vec!["access", "allowed"]),
    };
    let failed = refused || row.kind == "connection" || row.status.is_some_and(|status| status >= 400);
    let outcome = match (failed, row.kind.as_str()) {
        (true, _) => "failure",
        (false, "call") => "success",
        _ => "unknown",
    };
    let action = row.event.as_ref().map(|event| event.code.as_str()).or(row.endpoint.as_deref());
    let mut event = json!({
        "kind": "event", "category": [category], "type": kinds, "outcome": outcome,
        "id": row.id, "sequence": row.seq, "module": "keygate", "dataset": "keygate.audit", "provider": "keygate",
        "action": action.or(row.method.as_deref()).unwrap_or(&row.kind),
    });
    if let Some(micros) = row.micros {
        // Nanoseconds.
        event["duration"] = (micros.total() * 1000).into();
    }
    event
}

fn http(document: &mut Value, row: &Row) {
    let Some(method) = &row.method else { return };
    document["http"] = json!({ "request": {
        "id": row.id, "method": method, "body": { "bytes": row.bytes_in.unwrap_or(0) },
    } });
    if let Some(version) = &row.http {
        document["http"]["version"] = if version == "h2" { "2".into() } else { "1.1".into() };
    }
    if let Some(status) = row.status {
        document["http"]["response"] =
            json!({ "status_code": status, "body": { "bytes": row.bytes_out.unwrap_or(0) } });
    }
}

fn tls(document: &mut Value, row: &Row) {
    let tls = &row.tls;
    if let Some(version) = &tls.version {
        document["tls"] = json!({ "version": version, "version_protocol": "tls", "established": true });
        document["tls"]["cipher"] = tls.cipher.as_deref().into();
        document["tls"]["curve"] = tls.group.as_deref().into();
    }
    if let Some(name) = &tls.sni {
        document["tls"]["client"] = json!({ "server_name": name });
    }
}

fn own(row: &Row) -> Map<String, Value> {
    let columns = COLUMNS.iter().filter(|column| !MAPPED.contains(&column.name));
    columns.filter_map(|column| Some((column.name.to_owned(), value((column.of)(row))?))).collect()
}
