//! Where the real key stands in the memory of a running gate: as the machine's root reads it, over everything that can be
//! read, after many calls. It stands in the arena (locked, left out of core dumps) and nowhere else; where a library keeps
//! a form of it that we cannot wipe, a test says exactly which.

mod vaults;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use crate::harness::memory::{Found, search};
use crate::harness::secrets::{base64_forms, percent_form};
use crate::harness::{Merchant, Proxy, Request, Setup, StandIn, have, random_hex, until};

/// The key in every form that we can think of but one: the name, and how it looks.
fn forms(key: &str) -> Vec<(String, Vec<u8>)> {
    let mut forms = vec![
        ("raw".to_owned(), key.as_bytes().to_vec()),
        ("in capitals".to_owned(), key.to_uppercase().into_bytes()),
        ("percent-encoded".to_owned(), percent_form(key).into_bytes()),
        ("percent-encoded, small".to_owned(), percent_form(key).to_lowercase().into_bytes()),
        ("reversed".to_owned(), key.bytes().rev().collect()),
        ("as UTF-16".to_owned(), key.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("as bytes".to_owned(), hex_bytes(key)),
        // A longer piece of it than anything needs to remember.
        ("its beginning".to_owned(), key.as_bytes()[..16].to_vec()),
        ("its end".to_owned(), key.as_bytes()[key.len() - 16..].to_vec()),
    ];
    forms.extend(base64_forms(key).into_iter().map(|form| ("in Base64".to_owned(), form.into_bytes())));
    forms
}

fn hex_bytes(key: &str) -> Vec<u8> {
    (0..key.len() / 2).map(|n| u8::from_str_radix(&key[2 * n..2 * n + 2], 16).unwrap()).collect()
}

/// Characters by the length of their code in Huffman's code of RFC 7541, appendix B, in the order of the codes; the first code.
const CODES: [(u32, u64, &str); 5] = [
    (5, 0x0, "012aceiost"),
    (6, 0x14, " %-./3456789=A_bdfghlmnpru"),
    (7, 0x5c, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 0xf8, "&*,;XZ"),
    (11, 0x7fb, "+"),
];

/// A text as HPACK writes it, wherever in a byte it may begin: the bytes that are its own from the first bit to the last.
fn huffman(text: &str) -> Vec<Vec<u8>> {
    let code = |c: char| {
        let (length, first, place) =
            CODES.iter().find_map(|(length, first, all)| Some((*length, *first, all.find(c)?))).unwrap();
        (0..length).rev().map(move |bit| (first + place as u64) >> bit & 1)
    };
    let bits: Vec<u64> = text.chars().flat_map(code).collect();
    let byte = |bits: &[u64]| u8::try_from(bits.iter().fold(0, |sum, bit| sum << 1 | bit)).unwrap();
    (0..8).map(|skip| bits[skip..].chunks_exact(8).map(byte).collect()).collect()
}

/// What of the key an HTTP/2 library could keep in Huffman's code: any longer piece of it, and of its Base64.
fn coded_forms(key: &str) -> Vec<(String, Vec<u8>)> {
    let texts = std::iter::once(key.to_owned()).chain(base64_forms(key)).chain([key.to_uppercase()]);
    let pieces = texts.flat_map(|text| [text[..16].to_owned(), text[text.len() - 16..].to_owned()]);
    let coded = pieces.flat_map(|piece| huffman(&piece));
    coded.map(|bytes| ("in Huffman's code".to_owned(), bytes)).collect()
}

fn readable() -> bool {
    have("root, to read another process's memory", std::fs::metadata("/proc/self").is_ok_and(|facts| facts.uid() == 0))
}

fn many_calls(proxy: &Proxy) {
    let client = proxy.client("webshop");
    let small = serde_json::json!([{ "MerchantProductNo": "p-1", "Stock": 5, "Price": 12.5 }]);
    // Larger than what goes out together with the head, and than the buffer that the head stands in.
    let large: Vec<_> =
        (0..400).map(|n| serde_json::json!({ "MerchantProductNo": format!("p-{n}"), "Stock": n })).collect();
    let long = "x".repeat(3000);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut kept = client.connect();
                for _ in 0..25 {
                    kept.request(&Request::new("GET", &format!("{}/v2/orders", proxy.base_path())));
                    client.call(
                        &Request::new("GET", &format!("{}/v2/orders", proxy.base_path())).header("x-long", &long),
                    );
                    client.send("PUT", "/v2/offer", &small);
                    client.send("PUT", "/v2/offer", &large.clone().into());
                }
            });
        }
    });
}

#[track_caller]
fn only_in_the_arena(found: &[Found]) {
    let outside: Vec<_> = found.iter().filter(|found| !found.guarded).collect();
    assert!(outside.is_empty(), "{outside:#?}");
    let forms: BTreeSet<_> = found.iter().map(|found| found.what.as_str()).collect();
    // What it is injected as and what replies are searched for. That it is found there shows that the search can find.
    assert!(["raw", "in capitals", "in Base64"].iter().all(|form| forms.contains(form)), "{forms:?}");
}

#[test]
fn after_many_calls_the_real_key_stands_in_the_arena_and_nowhere_else_in_memory() {
    if !readable() {
        return;
    }
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        everyday(setup);
    });
    many_calls(&proxy);
    let found = search(proxy.pid(), &forms(proxy.real_key()));
    only_in_the_arena(&found);
    assert_eq!(proxy.metric("keygate_keys_protected"), Some(1));
}

#[test]
fn over_http_2_the_real_key_stands_in_the_arena_and_nowhere_else_in_memory_in_huffmans_code_neither() {
    if !readable() {
        return;
    }
    let stand_in = StandIn::start(&[]);
    let proxy = Proxy::start(&stand_in.target(), |setup| {
        stand_in.known_to(setup);
        everyday(setup);
    });
    many_calls(&proxy);
    nowhere_else_coded(&proxy);
}

#[test]
fn over_http_2_a_key_in_query_header_and_basic_at_once_is_left_nowhere_either() {
    if !readable() {
        return;
    }
    let stand_in = StandIn::start(&[]);
    let proxy = Proxy::start(&stand_in.target(), |setup| {
        stand_in.known_to(setup);
        everyday(setup).edit(|config, folder| {
            let everywhere =
                r#"inject = [{ query = "apikey" }, { header = "x-ce-key", template = "{key}" }, { basic = "key" }]"#;
            let profile = QUERY_PROFILE.replace(r#"inject = [{ query = "apikey" }]"#, everywhere);
            std::fs::write(folder.join("everywhere.toml"), profile).unwrap();
            config["upstream"]["acme"]["profile"] = toml_edit::value("everywhere.toml");
        });
    });
    many_calls(&proxy);
    nowhere_else_coded(&proxy);
}

#[track_caller]
fn nowhere_else_coded(proxy: &Proxy) {
    // What the library does get stands in its buffer: so the search can find it, and the calls went by HTTP/2.
    let (client, marker) = (proxy.client("webshop"), random_hex(40));
    let call = Request::new("GET", &format!("{}/v2/orders", proxy.base_path()));
    client.call(&call.header("x-marker", &marker)).must_be(200);
    assert!(search(proxy.pid(), &coded_forms(&marker)).iter().any(|found| !found.guarded), "the search is blind");
    only_in_the_arena(&search(proxy.pid(), &[forms(proxy.real_key()), coded_forms(proxy.real_key())].concat()));
}

#[test]
fn huffmans_code_is_written_as_in_the_rfc_and_found_wherever_it_begins() {
    // RFC 7541, C.4.1: `www.example.com`, and the same behind one character of five bits.
    let whole = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4];
    assert_eq!(huffman("www.example.com")[0], whole);
    let behind = huffman("0www.example.com")[0].clone();
    let found = |bytes: &Vec<u8>| memchr::memmem::find(&behind, bytes).is_some();
    assert_eq!(huffman("www.example.com").iter().filter(|bytes| found(bytes)).count(), 1);
}

#[test]
fn a_key_in_the_query_is_wiped_when_its_call_is_over() {
    if !readable() {
        return;
    }
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        everyday(setup).edit(|config, folder| {
            std::fs::write(folder.join("query.toml"), QUERY_PROFILE).unwrap();
            config["upstream"]["acme"]["profile"] = toml_edit::value("query.toml");
        });
    });
    many_calls(&proxy);
    assert!(merchant.seen().iter().any(|seen| seen.target.contains(proxy.real_key())), "the key is not in the query");
    only_in_the_arena(&search(proxy.pid(), &forms(proxy.real_key())));
}

#[test]
fn a_key_that_an_upstream_repeats_is_left_where_its_replies_were_read_and_nowhere_else() {
    if !readable() {
        return;
    }
    let merchant = Merchant::start(|exchange| {
        let key = exchange.seen().header("x-ce-key").to_owned();
        exchange.json(401, &format!(r#"{{"StatusCode":401,"Message":"API key is unknown: {key}"}}"#))
    });
    let proxy = Proxy::start(&merchant.target(), |setup| {
        everyday(setup);
    });
    many_calls(&proxy);
    let key = proxy.real_key();
    let texts = [("raw", key.to_owned()), ("in a reply", format!("unknown: {key}"))];
    let found = search(proxy.pid(), &texts.map(|(name, text)| (name.to_owned(), text.into_bytes())));
    let outside = |what: &str| found.iter().filter(|found| !found.guarded && found.what == what).count();
    // docs/threat-model.md says so: where TLS decrypts and what is read from there is not wiped. None of it is a copy of ours.
    assert!(outside("raw") > 0 && outside("raw") == outside("in a reply"), "{found:#?}");
}

#[test]
fn a_key_that_was_replaced_is_nowhere_in_memory_any_more() {
    if !readable() {
        return;
    }
    let merchant = Merchant::content();
    let mut proxy = Proxy::start(&merchant.target(), |setup| {
        everyday(setup).set(&["vault", "refresh"], "1s");
    });
    many_calls(&proxy);
    let fresh = random_hex(40);
    proxy.keygate(&["credential", "put", "acme"], fresh.as_bytes()).ok();
    until("the new key in use", || {
        proxy.client("webshop").get("/v2/orders");
        merchant.seen().last().filter(|seen| seen.header("x-ce-key") == fresh).map(drop)
    });
    let found = until("the old key wiped", || {
        // A call that was begun under the old key may hold it for a moment longer.
        let found = search(proxy.pid(), &forms(proxy.real_key()));
        found.is_empty().then_some(found)
    });
    assert!(found.is_empty());
    only_in_the_arena(&search(proxy.pid(), &forms(&fresh)));
}

#[test]
fn where_memory_may_not_be_locked_the_gate_serves_and_says_so() {
    let merchant = Merchant::content();
    // Root may lock what it likes, whatever the limit; without the capability the limit holds.
    let limited = ["sh", "-c", "ulimit -l 16; exec setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock \"$@\"", "sh"];
    if !have("setpriv", crate::harness::command::found("setpriv")) || !readable() {
        return;
    }
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        everyday(setup).under(&limited);
    });
    proxy.run();
    proxy.client("webshop").get("/v2/orders").must_be(200);
    assert_eq!(proxy.metric("keygate_keys_protected"), Some(0));
    let ended = proxy.stop();
    assert!(ended.output.contains("not locked, which may end in swap"), "{}", ended.output);
}

fn everyday(setup: &mut Setup) -> &mut Setup {
    setup.integration("webshop", crate::harness::proxy::EVERYDAY)
}

/// An API that takes its key in the query, as ChannelEngine's older clients send it.
const QUERY_PROFILE: &str = r#"
name = "query"
title = "An API with its key in the query"
envelope = "problem"
slots = { headers = ["x-ce-key"] }
inject = [{ query = "apikey" }]
endpoints = [
  { method = "GET", path = "/v2/orders", scope = "orders:read", effect = "read", purpose = "Lists orders" },
  { method = "PUT", path = "/v2/offer", scope = "offers:write", effect = "write", purpose = "Changes offers" },
  { method = "GET", path = "/v2/products", scope = "products:read", effect = "read", purpose = "Lists products" },
  { method = "POST", path = "/v2/shipments", scope = "shipments:write", effect = "write", purpose = "Ships" },
]
"#;
