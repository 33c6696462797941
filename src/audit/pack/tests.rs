//! What is packed comes out as it was, whatever it is, and what can be learned is small.

use proptest::prelude::*;

use super::*;

const CALL: &str = r#"{"time":"2026-11-28T00:50:21.348869351Z","id":"01a21fa1-b624-750a-818d-b08a9ce0ccdf","kind":"call","integration":"webshop","proof":"header","peer":"127.0.0.1","tls":{"version":"1.3","cipher":"TLS13_AES_128_GCM_SHA256","group":"X25519MLKEM768","sni":"localhost","ja4":"t13d101000_61a7ad8aa9b6_0d308c48d2a3"},"http":"http/1.1","method":"GET","endpoint":"GET /v2/orders","verdict":"allowed","rule":"orders:read","status":200,"upstream":"demo","upstream_status":200,"credential":["demo",1],"bytes_in":0,"bytes_out":23865,"envelope":{"success":true,"log_id":"01a21fa1b62d712eb20097a9b1a11e52","request_id":"0000000000000001"},"outcome":"complete","micros":{"decide":26,"intent":0,"upstream":8888,"body":71}}"#;

/// As a fresh gate packs it, and as one that has seen a thousand such.
fn there_and_back(json: &[u8]) -> [usize; 2] {
    let mut packer = Packer::new().unwrap();
    let fresh = pack_with(&mut packer, json);
    (0..600).for_each(|_| drop(packer.pack(json, &mut Vec::new())));
    packer.learn();
    [fresh, pack_with(&mut packer, json)]
}

fn pack_with(packer: &mut Packer, json: &[u8]) -> usize {
    let (mut bytes, mut out) = (Vec::new(), Vec::new());
    let how = packer.pack(json, &mut bytes).unwrap();
    Unpacker::new().unwrap().unpack(how, &bytes, packer.pieces(), &mut out).unwrap();
    assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(json));
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
        there_and_back(json.as_bytes());
        there_and_back(&wild);
        // A call in which anything stands anywhere.
        let (from, to) = (from.index(CALL.len()), to.index(CALL.len()));
        there_and_back([&CALL[..from.min(to)], &text, &CALL[from.max(to)..]].concat().as_bytes());
        there_and_back([&CALL[..from], &hex, &CALL[from..]].concat().as_bytes());
    }
}

#[test]
fn a_record_takes_a_fifth_of_its_text_and_a_tenth_of_it_once_others_like_it_were_seen() {
    let [fresh, learned] = there_and_back(CALL.as_bytes());
    assert!(fresh * 5 <= CALL.len(), "{fresh} of {}", CALL.len());
    assert!(learned * 10 <= CALL.len(), "{learned} of {}", CALL.len());
}

#[test]
fn dates_that_are_none_stay_as_they_are() {
    for time in ["2026-02-30T00:00:00Z", "2026-11-28T24:00:00Z", "2026-11-28T00:00:00.10Z", "2026-13-01T00:00:00Z"] {
        there_and_back(
            format!("{{\"time\":\"{time}\",\"id\":\"01a21fa1-b624-750a-818d-b08a9ce0ccdf\",\"kind\":\"call\"}}")
                .as_bytes(),
        );
    }
}
