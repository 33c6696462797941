//! The record of a read as most calls are, for benchmarks that fill a log.

use std::sync::Arc;

use jiff::Timestamp;
use keygate::audit::{
    EnvelopeFacts, Http, Kind, Outcome, ParamHasher, Proof, Record, Steps, TlsFacts, TlsText, Verdict,
};
use uuid::Uuid;

/// What a connection's calls say of its TLS.
pub fn tls() -> Arc<TlsText> {
    let facts = TlsFacts {
        version: Some("1.3"),
        cipher: Some("TLS13_AES_128_GCM_SHA256"),
        group: Some("X25519MLKEM768"),
        sni: Some("gate.internal".to_owned()),
        ja4: Some("t13d101000_61a7ad8aa9b6_053248755fe4".to_owned()),
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
    // The clock's last digits: what a reply's own ids and sizes have in common with it is that they differ.
    let nanos = u64::try_from(record.time.as_nanosecond() & 0xffff_ffff).unwrap_or(0);
    record.bytes_out += nanos % 20_000;
    record.limit_left = Some(u32::try_from(nanos % 10_000).unwrap_or(0));
    record.envelope = Some(EnvelopeFacts {
        success: Some(true),
        log_id: Some(Uuid::now_v7().simple().to_string()),
        ..EnvelopeFacts::default()
    });
    record.query = vec![("page".into(), ParamHasher::new(&[7; 32]).hash("page", &nanos.to_be_bytes()))];
    record.outcome = Some(Outcome::Complete);
    record.micros =
        Some(Steps { decide: 30, intent: 0, upstream: 900 + u32::try_from(nanos % 5_000).unwrap_or(0), body: 12 });
    record
}
