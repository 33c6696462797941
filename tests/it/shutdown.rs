//! An orderly end: calls under way are finished, the log is sealed, a second signal ends it at once. And what a crash leaves of a long reply.

use std::fs;
use std::net::TcpStream;

use crate::harness::{Merchant, Proxy, Request, until};

fn slow() -> Merchant {
    Merchant::start(|e| {
        e.hold();
        e.json(200, r#"{"Success":true}"#)
    })
}

#[test]
fn a_call_under_way_is_finished_before_the_gate_ends() {
    for name in ["TERM", "INT"] {
        let merchant = slow();
        let mut proxy = Proxy::open(&merchant.target());
        let mut connection = proxy.client("webshop").connect();
        connection.start(&Request::new("GET", "/api/v2/orders"));
        merchant.await_calls(1);
        let address = proxy.address();
        proxy.signal(name);
        until("a closed door", || TcpStream::connect(address).is_err().then_some(()));
        merchant.release();
        let reply = connection.reply("GET /api/v2/orders").unwrap();
        assert_eq!(reply.must_be(200).json()["Success"], true);
        let ended = proxy.wait();
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.output);
        proxy.record(&reply);
        proxy.keygate(&["audit", "verify"], b"").ok();
        let last = proxy.audit().lines().pop().unwrap();
        assert_eq!(last.text("event.code"), "stopped", "{last}");
    }
}

#[test]
fn an_idle_connection_does_not_hold_the_gate_up() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    let mut connection = proxy.client("webshop").connect();
    connection.request(&Request::new("GET", "/api/v2/orders")).must_be(200);
    proxy.stop();
}

#[test]
fn a_call_that_outlasts_the_drain_is_cut_and_on_record() {
    let merchant = slow();
    let mut proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read"]).set(&["listen", "drain_timeout"], "300ms");
    });
    let mut connection = proxy.client("webshop").connect();
    connection.start(&Request::new("GET", "/api/v2/orders"));
    merchant.await_calls(1);
    proxy.signal("TERM");
    proxy.wait();
    assert_eq!(proxy.audit().of_kind("call").len(), 1, "the call is on record");
    proxy.keygate(&["audit", "verify"], b"").ok();
}

#[test]
fn a_second_signal_ends_it_at_once_and_loses_no_durable_record() {
    let merchant = slow();
    let mut proxy = Proxy::open(&merchant.target());
    let mut connection = proxy.client("webshop").connect();
    connection.start(&Request::new("POST", "/api/v2/shipments").body("{}"));
    merchant.await_calls(1);
    let address = proxy.address();
    proxy.signal("TERM");
    until("a closed door", || TcpStream::connect(address).is_err().then_some(()));
    // One that comes at once with the first is taken for the same; so it is sent until it is heard.
    let pid = proxy.pid();
    until("its end", || {
        proxy.signal("TERM");
        has_ended(pid).then_some(())
    });
    let ended = proxy.wait();
    assert_ne!(ended.code, Some(0), "{}", ended.output);
    assert_eq!(proxy.audit().of_kind("intent").len(), 1);
    proxy.run();
    proxy.stop();
    proxy.keygate(&["audit", "verify"], b"").ok();
}

/// Gone, or a zombie that its parent has not looked at yet.
fn has_ended(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z"))
}

#[test]
fn a_log_survives_many_starts() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    for _ in 0..3 {
        proxy.client("webshop").get("/v2/orders").must_be(200);
        proxy.stop();
        proxy.run();
    }
    proxy.stop();
    assert_eq!(proxy.audit().of_kind("call").len(), 3);
    proxy.keygate(&["audit", "verify"], b"").ok();
    assert!(fs::read_dir(proxy.audit().directory()).unwrap().count() >= 1);
}

#[test]
fn a_long_reply_that_a_crash_cuts_is_on_record_and_reported_as_unknown() {
    let merchant = Merchant::start(|e| {
        e.send("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 200000\r\n\r\n")?;
        e.send("x".repeat(100_000))?;
        e.hold();
        e.send("x".repeat(100_000))
    });
    let mut proxy = Proxy::open(&merchant.target());
    let mut connection = proxy.client("webshop").connect();
    connection.start(&Request::new("GET", "/api/v2/orders"));
    connection.head().unwrap().unwrap();
    connection.exactly(90_000).unwrap();
    let begun = proxy.audit().of_kind("intent");
    assert_eq!(begun.len(), 1, "the client has 90 KB of a reply and the log says nothing");
    assert_eq!((begun[0].text("method"), begun[0].number("status")), ("GET", 200));
    let id = begun[0].text("id").to_owned();
    proxy.kill();
    proxy.run();
    let recovered = proxy.audit().of_kind("gate").into_iter().find(|line| line.text("event.code") == "recovered");
    assert!(recovered.is_some_and(|line| line.text("event.detail").contains(&id)), "no word of the lost outcome");
    proxy.stop();
    let ran = proxy.keygate(&["audit", "verify"], b"");
    assert!(ran.stdout.contains(&id), "the report does not name the call: {ran}");
    merchant.release();
}
