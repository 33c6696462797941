//! What the gate makes of an upstream that cannot be reached, is not who it should be, is slow, breaks off, or answers
//! oddly.

use std::net::TcpListener;

use crate::harness::pki::Pki;
use crate::harness::{Exchange, Merchant, Proxy, Request, Setup, Target, until};

fn webshop(setup: &mut Setup) -> &mut Setup {
    setup.integration("webshop", &["--allow", "orders:*", "--allow", "shipments:*", "--allow", "reports:*"])
}

fn impatient<'a>(setup: &'a mut Setup, key: &str) -> &'a mut Setup {
    webshop(setup).set(&["upstream", "acme", key], "300ms")
}

fn get_orders() -> Request {
    Request::new("GET", "/api/v2/orders")
}

#[test]
fn an_upstream_that_is_not_there_is_502() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let target = Target { port, ca_pem: Pki::new().ca_pem().into(), base_path: "/api".into() };
    let proxy = Proxy::start(&target, |setup| {
        webshop(setup);
    });
    let reply = proxy.client("webshop").get("/v2/orders");
    let record = proxy.record(reply.must_be_refused(502, "upstream_unreachable"));
    assert_eq!(record.text("verdict"), "allowed", "{record}");
    assert!(!record.text("detail").is_empty(), "the log says why: {record}");
}

#[test]
fn an_upstream_with_another_authoritys_certificate_never_sees_a_request() {
    let (trusted, other) = (Pki::new(), Pki::new());
    let merchant = Merchant::with_certificate(&trusted, &other.leaf(&["localhost"]), |e| e.json(200, "{}"));
    let proxy = Proxy::start(&merchant.target(), |setup| {
        webshop(setup);
    });
    proxy.client("webshop").get("/v2/orders").must_be_refused(502, "upstream_tls");
    assert!(merchant.seen().is_empty());
}

#[test]
fn an_upstream_with_a_certificate_for_another_name_never_sees_a_request() {
    let pki = Pki::new();
    let merchant = Merchant::with_certificate(&pki, &pki.leaf(&["example.com"]), |e| e.json(200, "{}"));
    let proxy = Proxy::start(&merchant.target(), |setup| {
        webshop(setup);
    });
    proxy.client("webshop").get("/v2/orders").must_be_refused(502, "upstream_tls");
    assert!(merchant.seen().is_empty());
}

#[test]
fn an_upstream_with_an_expired_certificate_never_sees_a_request() {
    let pki = Pki::new();
    let leaf = pki.leaf_with(&["localhost"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 31));
    let merchant = Merchant::with_certificate(&pki, &leaf, |e| e.json(200, "{}"));
    let proxy = Proxy::start(&merchant.target(), |setup| {
        webshop(setup);
    });
    proxy.client("webshop").get("/v2/orders").must_be_refused(502, "upstream_tls");
    assert!(merchant.seen().is_empty());
}

#[test]
fn an_upstream_that_accepts_and_says_nothing_is_504_while_connecting() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let target = Target { port, ca_pem: Pki::new().ca_pem().into(), base_path: "/api".into() };
    let proxy = Proxy::start(&target, |setup| {
        impatient(setup, "connect_timeout");
    });
    proxy.client("webshop").get("/v2/orders").must_be_refused(504, "upstream_connect_timeout");
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_504() {
    let merchant = Merchant::start(|e| {
        e.hold();
        e.json(200, "{}")
    });
    let proxy = Proxy::start(&merchant.target(), |setup| {
        impatient(setup, "head_timeout");
    });
    proxy.client("webshop").get("/v2/orders").must_be_refused(504, "upstream_head_timeout");
}

#[test]
fn a_call_that_takes_too_long_in_all_is_504() {
    let merchant = Merchant::start(|e| {
        // The head is in time, the rest never comes.
        e.send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{")?;
        e.hold();
        Ok(())
    });
    let proxy = Proxy::start(&merchant.target(), |setup| {
        // The whole call may not have less time than its reply's head alone.
        impatient(setup, "head_timeout").set(&["upstream", "acme", "total_timeout"], "300ms");
    });
    proxy.client("webshop").get("/v2/orders").must_be_refused(504, "upstream_total_timeout");
}

#[test]
fn an_upstream_that_hangs_up_before_its_head_is_502_and_a_write_is_not_sent_again() {
    let merchant = Merchant::start(|e| {
        e.body()?;
        e.cut()
    });
    let proxy = Proxy::open(&merchant.target());
    let reply =
        proxy.client("webshop").send("POST", "/v2/shipments", &serde_json::json!({"MerchantShipmentNo": "S-1"}));
    reply.must_be_refused(502, "upstream_broken");
    assert_eq!(merchant.seen().len(), 1);
}

#[test]
fn an_upstream_that_does_not_speak_http_is_502() {
    for junk in ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "HTTP/1.1 99 Low\r\n\r\n"] {
        let merchant = Merchant::start(move |e| {
            e.send(junk)?;
            e.cut()
        });
        let proxy = Proxy::open(&merchant.target());
        proxy.client("webshop").get("/v2/orders").must_be_refused(502, "upstream_broken");
    }
}

/// Answers with this head and so much of the body, then does what `end` says.
fn partly(head: &'static str, bytes: usize, end: fn(&mut Exchange) -> std::io::Result<()>) -> Merchant {
    Merchant::start(move |e| {
        e.send(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}\r\n"))?;
        e.send(vec![b'x'; bytes])?;
        end(e)
    })
}

fn cut(e: &mut Exchange) -> std::io::Result<()> {
    e.cut()
}

fn hold(e: &mut Exchange) -> std::io::Result<()> {
    e.hold();
    e.cut()
}

const CHUNKED: &str = "transfer-encoding: chunked\r\n\r\n100000";

#[test]
fn a_small_reply_that_breaks_off_is_502() {
    let merchant = partly("content-length: 1000\r\n", 500, cut);
    let proxy = Proxy::open(&merchant.target());
    proxy.client("webshop").get("/v2/orders").must_be_refused(502, "upstream_broken");
}

#[test]
fn a_small_reply_that_stalls_is_504() {
    let merchant = partly("content-length: 1000\r\n", 500, hold);
    let proxy = Proxy::start(&merchant.target(), |setup| {
        impatient(setup, "body_timeout");
    });
    proxy.client("webshop").get("/v2/orders").must_be_refused(504, "upstream_body_timeout");
}

#[test]
fn a_large_reply_that_breaks_off_or_stalls_is_never_passed_on_as_a_whole_one() {
    for head in ["content-length: 1048576\r\n", CHUNKED] {
        for end in [cut as fn(&mut Exchange) -> _, hold] {
            let merchant = partly(head, 500_000, end);
            let proxy = Proxy::start(&merchant.target(), |setup| {
                impatient(setup, "body_timeout");
            });
            assert!(proxy.client("webshop").try_call(&get_orders()).is_err(), "a cut reply looks whole");
            let record = until("the record", || proxy.audit().of_kind("call").pop());
            assert_eq!(record.text("outcome"), "upstream-cut", "{record}");
        }
    }
}

#[test]
fn an_encoded_reply_is_never_passed_unread() {
    let merchant = Merchant::start(|e| {
        assert!(["", "identity"].contains(&e.seen().header("accept-encoding")), "an encoded reply was asked for");
        e.reply(200, "content-type: application/json\r\ncontent-encoding: gzip\r\n", b"\x1f\x8b\x08\x00\x00")
    });
    let proxy = Proxy::open(&merchant.target());
    let client = proxy.client("webshop").with("accept-encoding", "gzip");
    client.get("/v2/orders").must_be_refused(502, "reply_encoded");
}

#[test]
fn interim_replies_do_not_disturb_the_final_one() {
    let merchant = Merchant::start(|e| {
        e.send("HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n")?;
        e.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        e.json(200, r#"{"Success":true}"#)
    });
    let proxy = Proxy::open(&merchant.target());
    let reply = proxy.client("webshop").get("/v2/orders");
    assert_eq!(reply.must_be(200).json()["Success"], true);
    assert!(reply.interim.iter().all(|status| *status == 103), "a 100 that nobody asked for");
}

#[test]
fn trailers_end_at_the_gate() {
    let merchant = Merchant::start(|e| {
        e.send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntrailer: x-checksum\r\ntransfer-encoding: chunked\r\n\r\n")?;
        e.send("2\r\n{}\r\n0\r\nx-checksum: 1\r\n\r\n")
    });
    let proxy = Proxy::open(&merchant.target());
    let reply = proxy.client("webshop").get("/v2/orders");
    assert_eq!(reply.must_be(200).text(), "{}");
    assert!(!String::from_utf8_lossy(&reply.raw).contains("x-checksum"), "{reply}");
}

#[test]
fn replies_without_a_body_come_as_such() {
    for (status, head) in [(204, ""), (304, "etag: \"1\"\r\n"), (200, "content-length: 0\r\n")] {
        let merchant = Merchant::start(move |e| e.send(format!("HTTP/1.1 {status} Fine\r\n{head}\r\n")));
        let proxy = Proxy::open(&merchant.target());
        let client = proxy.client("webshop");
        let mut connection = client.connect();
        // Twice on one connection: a body that is not there must not be waited for, nor eat what follows.
        for _ in 0..2 {
            let reply = connection.request(&get_orders());
            assert_eq!(reply.must_be(status).text(), "");
        }
    }
}

#[test]
fn a_reply_to_head_keeps_the_length_of_what_get_would_bring() {
    let merchant = Merchant::start(|e| e.reply(200, "content-type: application/json\r\n", &[b' '; 1234]));
    let proxy = Proxy::open(&merchant.target());
    let client = proxy.client("webshop");
    let mut connection = client.connect();
    for _ in 0..2 {
        let reply = connection.request(&Request::new("HEAD", "/api/v2/orders"));
        assert_eq!(reply.must_be(200).header("content-length"), "1234", "{reply}");
    }
}

#[test]
fn hop_by_hop_headers_of_the_reply_end_at_the_gate() {
    let merchant = Merchant::start(|e| {
        e.reply(200, "content-type: application/json\r\nconnection: x-mine\r\nx-mine: 1\r\nkeep-alive: timeout=5\r\nproxy-authenticate: Basic\r\n", b"{}")
    });
    let proxy = Proxy::open(&merchant.target());
    let reply = proxy.client("webshop").get("/v2/orders");
    for name in ["x-mine", "keep-alive", "proxy-authenticate"] {
        assert_eq!(reply.must_be(200).header(name), "", "{reply}");
    }
}

#[test]
fn connections_to_the_upstream_are_kept_and_a_closed_one_is_replaced() {
    let merchant = Merchant::start(|e| {
        e.json(200, "{}")?;
        if e.number() == 2 { e.cut() } else { Ok(()) }
    });
    let proxy = Proxy::start(&merchant.target(), |setup| {
        webshop(setup).set(&["listen", "workers"], 1);
    });
    let client = proxy.client("webshop");
    for _ in 0..6 {
        client.get("/v2/orders").must_be(200);
    }
    assert!(merchant.connections() <= 3, "{} connections for 6 calls", merchant.connections());
}

#[test]
fn large_bodies_pass_both_ways_as_they_are() {
    let merchant = Merchant::start(|e: &mut Exchange| {
        let body = e.body()?;
        e.reply(200, "content-type: application/octet-stream\r\n", &body)
    });
    let proxy = Proxy::open(&merchant.target());
    let body: Vec<u8> = (0..3_000_000_u32).flat_map(|n| n.to_le_bytes()[..2].to_vec()).collect();
    let request =
        Request::new("POST", "/api/v2/shipments").header("content-type", "application/octet-stream").body(body.clone());
    let reply = proxy.client("webshop").call(&request);
    assert!(reply.must_be(200).body == body, "the body came back changed");
    let record = proxy.record(&reply);
    assert_eq!((record.number("bytes_in"), record.number("bytes_out")), (6_000_000, 6_000_000), "{record}");
    assert_eq!(record.text("outcome"), "complete", "{record}");
}

#[test]
fn a_client_that_expects_100_continue_is_answered() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let client = proxy.client("webshop");
    let mut connection = client.connect();
    let head = format!(
        "POST /api/v2/shipments HTTP/1.1\r\nhost: localhost\r\nx-ce-key: {}\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
        proxy.key("webshop")
    );
    connection.write(head.as_bytes()).unwrap();
    let interim = connection.head().unwrap().unwrap();
    assert!(interim.first.contains(" 100 "), "{}", interim.first);
    connection.write(b"{}").unwrap();
    connection.reply("POST /api/v2/shipments").unwrap().must_be(200);
    assert_eq!(merchant.only().body, b"{}");
}

#[test]
fn a_body_whose_chunks_make_no_sense_is_refused_and_never_arrives_whole() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let request =
        Request::new("POST", "/api/v2/shipments").header("transfer-encoding", "chunked").body("2\r\n{}\r\nzz\r\n\r\n");
    proxy.client("webshop").call(&request).must_be_refused(400, "body_broken");
    assert!(merchant.seen().iter().all(|seen| seen.body.is_empty()), "the upstream took the body for whole");
}
