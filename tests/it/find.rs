//! `keygate audit find` on the log of a real gate: the records that are asked for, and no others.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::harness::command::{Ran, keygate, run};
use crate::harness::proxy::EVERYDAY;
use crate::harness::{Merchant, Proxy, Request, until};

/// Ids of the records that a search prints.
fn ids(ran: &Ran) -> Vec<String> {
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    ran.stdout.lines().map(line).collect()
}

fn find(proxy: &mut Proxy, args: &[&str]) -> Ran {
    proxy.keygate(&[&["audit", "find"], args].concat(), b"")
}

#[track_caller]
fn finds(proxy: &mut Proxy, args: &[&str], expected: &[&str]) {
    let ran = find(proxy, args);
    assert_eq!(ids(&ran), expected, "{ran}");
    assert_eq!(ran.code, Some(i32::from(expected.is_empty())), "{ran}");
}

#[test]
fn records_are_found_by_what_the_call_was() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", EVERYDAY).integration("wms", &["--allow", "orders:read"]);
    });
    let begun = jiff::Timestamp::now().to_string();
    let one = proxy.client("webshop").get("/v2/orders?emailAddresses=ann.person%40example.com&page=1");
    let two = proxy.client("wms").get("/v2/orders?emailAddresses=bob.person%40example.com&page=1");
    let product = proxy.client("webshop").get("/v2/products/customer-4711");
    let refused = proxy.client("wms").send("POST", "/v2/shipments", &serde_json::json!({}));
    let written = proxy.client("webshop").send("POST", "/v2/shipments", &serde_json::json!({}));
    let [one, two, product, refused, written] =
        [one, two, product, refused, written].map(|reply| reply.record().to_owned());
    let proxy = &mut proxy;
    finds(proxy, &["--param", "emailAddresses=ann.person@example.com"], &[&one]);
    finds(proxy, &["--param", "EMAILADDRESSES=bob.person@example.com"], &[&two]);
    finds(proxy, &["--param", "page=1"], &[&one, &two]);
    finds(proxy, &["--param", "page=1", "--param", "emailAddresses=bob.person@example.com"], &[&two]);
    finds(proxy, &["--param", "merchantProductNo=customer-4711"], &[&product]);
    finds(proxy, &["--param", "page=2"], &[]);
    finds(proxy, &["--integration", "wms"], &[&two, &refused]);
    finds(proxy, &["--refusal", "endpoint_not_allowed"], &[&refused]);
    finds(proxy, &["--status", "4xx", "--verdict", "refused"], &[&refused]);
    // An intent and its outcome have one id.
    finds(proxy, &["--record", &written], &[&written, &written]);
    finds(proxy, &["--record", &written, "--kind", "call"], &[&written]);
    finds(proxy, &["--endpoint", "get /V2/orders", "--limit", "1"], &[&one]);
    finds(proxy, &["--endpoint", "/v2/shipments", "--kind", "call"], &[&refused, &written]);
    finds(proxy, &["--kind", "call", "--since", &begun, "--until", "-1h"], &[]);
    finds(proxy, &["--endpoint", "GET /v2/orders", "--since", "1h", "--scan"], &[&one, &two]);
    let started = find(proxy, &["--event", "started", "--table"]).ok();
    assert!(started.contains("gate") && started.contains("started: keygate"), "{started}");
}

#[test]
fn a_misspelt_name_is_told_what_was_meant_and_a_wrong_word_what_to_write() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    proxy.client("webshop").get("/v2/orders");
    let hinted = |proxy: &mut Proxy, args: &[&str], code: i32, hint: &str| {
        let ran = find(proxy, args);
        assert!(ran.code == Some(code) && ran.stderr.contains(hint) && ran.stdout.is_empty(), "{ran}");
    };
    hinted(&mut proxy, &["--integration", "webshp"], 1, "did you mean `webshop`?");
    hinted(&mut proxy, &["--endpoint", "GET /v2/ordres"], 1, "did you mean `GET /v2/orders`?");
    hinted(&mut proxy, &["--since", "yesterday"], 2, "hint: write a date");
    hinted(&mut proxy, &["--param", "page"], 2, "write NAME=VALUE");
    hinted(&mut proxy, &["--status", "50"], 2, "a class `4xx`");
    fs::write(proxy.directory().join("audit-hash.key"), "short").unwrap();
    hinted(&mut proxy, &["--param", "page=1"], 2, "hint: `keygate init` makes it");
    hinted(&mut proxy, &["--directory", "/nowhere"], 2, "cannot search the audit log");
}

#[test]
fn finished_segments_are_searched_by_the_index_that_the_gate_makes() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", EVERYDAY).set(&["audit", "segment_size"], "64KiB");
        setup.set(&["audit", "recipients"], toml_edit::Array::new());
    });
    let client = proxy.client("webshop");
    let mut expected = Vec::new();
    until("three segments", || {
        let page = expected.len();
        let reply = client.get(&format!("/v2/orders?page={page}"));
        expected.push(reply.must_be(200).record().to_owned());
        (proxy.audit().segments().len() > 2).then_some(())
    });
    let indexes: Vec<_> = proxy.audit().segments()[..2].iter().map(|path| path.with_extension("find")).collect();
    until("the gate's indexes", || indexes.iter().all(|path| path.exists()).then_some(()));
    for page in [0, 1, expected.len() / 2, expected.len() - 1] {
        finds(&mut proxy, &["--param", &format!("page={page}")], &[&expected[page]]);
    }
    let all: Vec<&str> = expected.iter().map(String::as_str).collect();
    finds(&mut proxy, &["--endpoint", "GET /v2/orders"], &all);
    // Damage costs time.
    fs::write(&indexes[0], b"keygate-find/1\n{}").unwrap();
    fs::remove_file(&indexes[1]).unwrap();
    finds(&mut proxy, &["--endpoint", "GET /v2/orders"], &all);
    // What lies there is no part of the evidence.
    proxy.stop();
    proxy.keygate(&["audit", "verify"], b"").ok();
}

#[test]
fn an_encrypted_log_is_searched_with_the_identity_and_by_an_index_that_is_encrypted_too() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", EVERYDAY).set(&["audit", "segment_size"], "64KiB");
    });
    let client = proxy.client("webshop");
    let first = client.get("/v2/orders?page=first").record().to_owned();
    until("two segments", || {
        client.get("/v2/orders?page=other").must_be(200);
        (proxy.audit().segments().len() > 1).then_some(())
    });
    finds(&mut proxy, &["--param", "page=first"], &[&first]);
    let index = proxy.audit().segments()[0].with_extension("find.age");
    assert!(fs::read(&index).unwrap().starts_with(b"age-encryption.org/v1"));
    assert!(!index.with_extension("").exists(), "it lies there in the clear as well");
    finds(&mut proxy, &["--param", "page=first"], &[&first]);
    let identity = proxy.directory().join("audit-identity.txt");
    let moved = proxy.directory().join("moved.txt");
    fs::rename(&identity, &moved).unwrap();
    let ran = find(&mut proxy, &["--param", "page=first"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("--identity FILE") && ran.stdout.is_empty(), "{ran}");
    finds(&mut proxy, &["--param", "page=first", "--identity", moved.to_str().unwrap()], &[&first]);
}

#[test]
fn a_followed_search_shows_calls_as_they_come() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let client = proxy.client("webshop");
    let before = client.get("/v2/orders").record().to_owned();
    let mut command = keygate(&["--config", proxy.config().to_str().unwrap()]);
    command.args(["audit", "find", "-f", "--endpoint", "GET /v2/orders", "--limit", "2"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains(&before));
    client.get("/v2/products/none");
    let after = client.get("/v2/orders").record().to_owned();
    assert!(lines.next().unwrap().unwrap().contains(&after));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    for _ in 0..3 {
        proxy.client("webshop").connect().start(&Request::new("GET", "/api/v2/orders"));
    }
    let mut search = keygate(&["--config", proxy.config().to_str().unwrap()]);
    search.args(["audit", "find", "--json"]);
    // The reader has ended before a line is written.
    let mut shell = std::process::Command::new("bash");
    shell
        .args(["-c", r#"set -o pipefail; "$@" | exec true"#, "bash"])
        .arg(search.get_program())
        .args(search.get_args());
    let ran = run(shell, b"");
    assert!(ran.code == Some(0) && ran.stderr.is_empty(), "{ran}");
}
