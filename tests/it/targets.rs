//! One reading of the target: whatever is let through reaches the upstream exactly as it was judged, and no other
//! spelling leads anywhere else. The cases in `tests/calls/targets.toml` name the refusals; here targets are made up.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::harness::{Merchant, Proxy, Reply, Request};

/// Pieces from which hostile targets are put together.
const PIECES: [&str; 34] = [
    "/", "//", "a", "A1", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", "\\", "%252e", "%25", "%", "%zz", ";", "%3b", "?",
    "&", "=", "+", "%20", "~", "%7e", "%41", "%c3%a9", "%ff", "%00", "%0a", "orders", "products", "v2", "apikey=",
    ":@",
];

fn hostile() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..8)
        .prop_map(|pieces| format!("/api/v2/products/{}", pieces.concat()))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        // A sign is no digit, although `from_str_radix` takes one.
        let digits = |hex: &&str| bytes[at] == b'%' && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        let hex = text.get(at + 1..at + 3).filter(digits);
        let escape = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(escape.unwrap_or(bytes[at]));
        at += if escape.is_some() { 3 } else { 1 };
    }
    out
}

/// What must hold of a target that reached the upstream, read by the strictest reader.
fn is_plain(target: &str) -> bool {
    let path = target.split('?').next().unwrap();
    let segments: Vec<Vec<u8>> = path[1..].split('/').map(percent_decoded).collect();
    segments.iter().all(|segment| {
        let text = std::str::from_utf8(segment);
        let dots = [&b"."[..], b"..", b""].contains(&&segment[..]);
        let odd = |b: &u8| *b < 0x20 || *b == 0x7f || [b'/', b'\\', b';'].contains(b);
        let encoded_again = text.is_ok_and(|text| percent_decoded(text) != *segment);
        text.is_ok() && !dots && !encoded_again && !segment.iter().any(odd)
    })
}

fn judged(proxy: &Proxy, merchant: &Merchant, target: &str) -> (Reply, Option<String>) {
    let before = merchant.seen().len();
    let reply = proxy.client("webshop").call(&Request::new("GET", target));
    let seen = merchant.seen().split_off(before).pop();
    (reply, seen.map(|seen| seen.target))
}

#[test]
fn a_target_that_reaches_the_upstream_can_be_read_in_one_way_only() {
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "products:*"]);
    });
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&hostile(), |target| {
        let (reply, sent) = judged(&proxy, &merchant, &target);
        match sent {
            None => prop_assert!(reply.status >= 400 && !reply.refusal().is_empty(), "{target}: {reply}"),
            Some(sent) => {
                prop_assert!(is_plain(&sent), "`{target}` went up as `{sent}`");
                // What went up must be judged the same way when it is sent as it is.
                let (_, again) = judged(&proxy, &merchant, &sent);
                prop_assert_eq!(again.as_deref(), Some(sent.as_str()), "sent again, `{}` changed", sent);
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn another_spelling_of_an_endpoint_is_refused_or_is_that_endpoint() {
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read", "--deny", "GET /v2/orders/new"]);
    });
    let plain = "/api/v2/orders/new";
    for at in plain.char_indices().map(|(at, _)| at) {
        let byte = plain.as_bytes()[at];
        for spelling in [
            format!("%{byte:02x}"),
            format!("%{byte:02X}"),
            char::from(byte).to_uppercase().to_string(),
            format!("%25{byte:02x}"),
        ] {
            let target = format!("{}{spelling}{}", &plain[..at], &plain[at + 1..]);
            if !target.starts_with('/') {
                continue;
            }
            let (reply, sent) = judged(&proxy, &merchant, &target);
            assert!(sent.is_none(), "`{target}` got past the rule: {reply}");
            assert!(
                ["endpoint_denied", "endpoint_unknown"].contains(&reply.refusal())
                    || reply.refusal().starts_with("target_"),
                "{target}: {reply}"
            );
        }
    }
}
