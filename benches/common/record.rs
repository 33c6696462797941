//! The record of a read as most calls are, for benchmarks that fill a log.

use std::sync::Arc;

use jiff::Timestamp;
use keygate::audit::{Http, Kind, Outcome, Proof, Record, Steps, TlsFacts, TlsText, Verdict};

/// What a connection's calls say of its TLS.
pub fn tls() -> Arc<TlsText> {
    let facts = TlsFacts {
        version: Some("1.3"),
        cipher: Some("TLS13_AES_128_GCM_SHA256"),
        group: Some("X25519MLKEM768"),
        sni: Some("gate.internal".to_owned()),
        ..TlsFacts::default()
    };
    facts.into()
}

/// The record.
pub fn record(tls: &Arc<TlsText>) -> Record {
    let mut record = Record::new(Kind::Call, Timestamp::now());
    record.integration = Some("webshop".into());
    record.proof = Some(Proof::Header);
    record.peer = Some(std::net::Ipv4Addr::LOCALHOST.into());
    record.tls = Some(tls.clone());
    record.http = Some(Http::H1);
    record.method = Some("GET".into());
    record.endpoint = Some("GET /v2/orders".into());
    record.verdict = Some(Verdict::Allowed);
    record.rule = Some("orders:read".into());
    record.status = Some(200);
    record.upstream = Some("acme".into());
    record.upstream_status = Some(200);
    record.credential = Some(("acme".into(), 1));
    record.bytes_out = 1024;
    record.outcome = Some(Outcome::Complete);
    record.micros = Some(Steps { decide: 30, intent: 0, upstream: 900, body: 12 });
    record
}
