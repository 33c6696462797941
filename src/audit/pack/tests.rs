//! What is packed comes out as it was, whatever it is, and what can be learned is small.

use proptest::prelude::*;

use jiff::Timestamp;

use super::*;
use crate::audit::batch::Batch;
use crate::audit::json::tests::{full, texts};
use crate::audit::{EnvelopeFacts, Http, Kind, Outcome, ParamHasher, Proof, Record, Steps, TlsFacts, Verdict};

const CALL: &str = r#"{"time":"2026-11-28T00:50:21.348869351Z","id":"01a21fa1-b624-750a-818d-b08a9ce0ccdf","kind":"call","integration":"webshop","proof":"header","peer":"127.0.0.1","tls":{"version":"1.3","cipher":"TLS13_AES_128_GCM_SHA256","group":"X25519MLKEM768","sni":"localhost","ja4":"t13d101000_61a7ad8aa9b6_0d308c48d2a3"},"http":"http/1.1","method":"GET","endpoint":"GET /v2/orders","verdict":"allowed","rule":"orders:read","status":200,"upstream":"demo","upstream_status":200,"credential":["demo",1],"bytes_in":0,"bytes_out":23865,"envelope":{"success":true,"log_id":"01a21fa1b62d712eb20097a9b1a11e52","request_id":"0000000000000001"},"outcome":"complete","micros":{"decide":26,"intent":0,"upstream":8888,"body":71}}"#;

/// As a fresh gate packs it, and as one that has seen a thousand such.
fn there_and_back(draft: Draft<'_>, json: &str) -> [usize; 2] {
    let mut packer = Packer::new().unwrap();
    let fresh = pack_with(&mut packer, draft, json);
    (0..600).for_each(|_| drop(packer.pack(draft, &mut Vec::new())));
    packer.learn();
    [fresh, pack_with(&mut packer, draft, json)]
}

fn text_there_and_back(json: &[u8]) {
    there_and_back(Draft::Json(json), &String::from_utf8_lossy(json));
}

/// Whether it was taken apart, and what it takes.
fn record_there_and_back(record: &Record) -> (bool, [usize; 2]) {
    let mut batch = Batch::default();
    batch.push(&Record::new(Kind::Gate, Timestamp::now()), true).unwrap();
    batch.push(record, true).unwrap();
    let draft = batch.drafts().nth(1).unwrap();
    let json = serde_json::to_string(record).unwrap();
    if let Draft::Apart(parts) = draft {
        let mut written = Vec::new();
        parts.push_json(&mut written);
        assert_eq!(String::from_utf8(written).unwrap(), json);
        assert_eq!(parts.id(), record.id);
    }
    (matches!(draft, Draft::Apart(_)), there_and_back(draft, &json))
}

/// The same call as a record.
fn call() -> Record {
    let tls = TlsFacts {
        version: Some("1.3"),
        cipher: Some("TLS13_AES_128_GCM_SHA256"),
        group: Some("X25519MLKEM768"),
        sni: Some("localhost".to_owned()),
        ja4: Some("t13d101000_61a7ad8aa9b6_0d308c48d2a3".to_owned()),
        ..TlsFacts::default()
    };
    Record {
        integration: Some("webshop".into()),
        proof: Some(Proof::Header),
        peer: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        tls: Some(tls.into()),
        http: Some(Http::H1),
        method: Some("GET".into()),
        endpoint: Some("GET /v2/orders".into()),
        verdict: Some(Verdict::Allowed),
        rule: Some("orders:read".into()),
        status: Some(200),
        upstream: Some("demo".into()),
        upstream_status: Some(200),
        credential: Some(("demo".into(), 1)),
        bytes_out: 23865,
        envelope: Some(EnvelopeFacts {
            success: Some(true),
            log_id: Some("01a21fa1b62d712eb20097a9b1a11e52".to_owned()),
            request_id: Some("0000000000000001".to_owned()),
            rejected: None,
        }),
        outcome: Some(Outcome::Complete),
        micros: Some(Steps { decide: 26, intent: 0, upstream: 8888, body: 71 }),
        ..Record::new(Kind::Call, Timestamp::now())
    }
}

fn pack_with(packer: &mut Packer, draft: Draft<'_>, json: &str) -> usize {
    let (mut bytes, mut out) = (Vec::new(), Vec::new());
    let how = packer.pack(draft, &mut bytes).unwrap();
    Unpacker::new().unwrap().unpack(how, &bytes, packer.pieces(), &mut out).unwrap();
    assert_eq!(String::from_utf8_lossy(&out), json);
    bytes.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_packed_comes_out_as_it_was(
        nanos in 0i64..4_102_444_800_000_000_000, digits in 0u32..=9, off in -3_000_000_000i64..3_000_000_000,
        id in any::<[u8; 16]>(), text in "[ -~]{0,60}", hex in "[\"_][0-9a-f]{10,34}", wild in any::<Vec<u8>>(),
        from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(),
    ) {
        let step = 10i64.pow(9 - digits);
        let time = jiff::Timestamp::from_nanosecond((nanos / step * step).into()).unwrap();
        let mut id = id;
        let ms = (nanos.saturating_add(off) / 1_000_000).max(0).to_be_bytes();
        id[..6].copy_from_slice(&ms[2..]);
        let id = uuid::Uuid::from_bytes(id);
        let json = format!("{{\"time\":\"{time}\",\"id\":\"{id}\",\"kind\":\"call\",\"x\":[{text}{hex}\",{hex}{hex}]}}");
        text_there_and_back(json.as_bytes());
        text_there_and_back(&wild);
        // A call in which anything stands anywhere.
        let (from, to) = (from.index(CALL.len()), to.index(CALL.len()));
        text_there_and_back([&CALL[..from.min(to)], &text, &CALL[from.max(to)..]].concat().as_bytes());
        text_there_and_back([&CALL[..from], &hex, &CALL[from..]].concat().as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_record_comes_out_of_its_parts_as_serde_writes_it(
        text in texts(), n in any::<u64>(), ipv6 in any::<bool>(), off in -5_000_000_000i64..5_000_000_000,
        holes in any::<u32>(),
    ) {
        let mut record = full(&text, n, ipv6);
        (record.detail, record.event) = (None, None);
        record.time += jiff::SignedDuration::from_nanos(off);
        // Some fields are not there.
        let there = |bit: u32| holes >> bit & 1 == 1;
        record.proof = record.proof.filter(|_| there(0));
        record.peer = record.peer.filter(|_| there(1));
        record.tls = record.tls.filter(|_| there(2));
        record.rule = record.rule.filter(|_| there(3));
        record.upstream = record.upstream.filter(|_| there(4));
        record.limit_left = record.limit_left.filter(|_| there(5));
        record.micros = record.micros.filter(|_| there(6));
        record.envelope = record.envelope.filter(|_| there(7));
        record.integration = record.integration.filter(|_| there(8) || there(9));
        if there(10) {
            record.params.clear();
        }
        let (apart, _) = record_there_and_back(&record);
        let plain = text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
        let calls = matches!(record.kind, Kind::Call | Kind::Intent) && record.integration.is_some();
        let near = i32::try_from(off.saturating_sub(1_000_000)).is_ok() && i32::try_from(off + 1_000_000).is_ok();
        if plain && text.len() <= 64 && calls && near {
            prop_assert!(apart);
        }
        prop_assert!(!apart || calls && plain);
    }
}

#[test]
fn a_record_takes_a_fifth_of_its_text_and_a_tenth_of_it_once_others_like_it_were_seen() {
    let (apart, [fresh, learned]) = record_there_and_back(&call());
    let length = serde_json::to_string(&call()).unwrap().len();
    assert!(apart);
    assert!(fresh * 5 <= length, "{fresh} of {length}");
    assert!(learned * 10 <= length, "{learned} of {length}");
}

#[test]
fn what_a_call_says_of_people_is_in_no_text_of_its_parts() {
    let record = Record { detail: Some("of ada@example.org".to_owned()), ..call() };
    assert!(!record_there_and_back(&record).0, "what is free to say anything");
    for endpoint in [None, Some("GET /v2/orders".into())] {
        let (mut texts, mut bytes) = (Vec::new(), Vec::new());
        let named = endpoint.is_some();
        let mut record = Record {
            endpoint,
            query: vec![("ada@example.org".into(), ParamHasher::new(&[7; 32]).hash("a", b"b"))],
            ..call()
        };
        record.envelope.as_mut().unwrap().request_id = Some("ada-1".to_owned());
        record.peer = Some(std::net::Ipv4Addr::new(192, 0, 2, 77).into());
        assert_eq!(take(&record, &mut texts, &mut bytes).is_some(), named);
        let texts = String::from_utf8_lossy(&texts);
        for word in ["ada", "192.0.2.77", "23865", "8888"] {
            assert!(!named || !texts.contains(word), "{word} in {texts:?}");
        }
    }
}

#[test]
fn dates_that_are_none_stay_as_they_are() {
    for time in ["2026-02-30T00:00:00Z", "2026-11-28T24:00:00Z", "2026-11-28T00:00:00.10Z", "2026-13-01T00:00:00Z"] {
        text_there_and_back(
            format!("{{\"time\":\"{time}\",\"id\":\"01a21fa1-b624-750a-818d-b08a9ce0ccdf\",\"kind\":\"call\"}}")
                .as_bytes(),
        );
    }
}
