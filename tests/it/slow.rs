//! Clients that are slow on purpose: each limit cuts in time, the slot is free again, it is counted and on record; and a
//! client that is merely slow gets through.

mod replies;
mod rest;
mod slots;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::client::Connection;
use crate::harness::frames::{self, END_HEADERS, END_STREAM, kind};
use crate::harness::{Line, Merchant, Proxy, Request, Setup, dawdle, until};

const A_MOMENT: Duration = Duration::from_millis(50);

/// One worker and metrics, and these limits of `[listen]`.
fn limited<'a>(setup: &'a mut Setup, limits: &[(&str, &str)]) -> &'a mut Setup {
    setup.integration("webshop", &["--allow", "orders:*", "--allow", "shipments:*"]);
    setup.set(&["listen", "workers"], 1);
    for (key, value) in limits {
        match value.parse::<i64>() {
            Ok(number) => setup.set(&["listen", key], number),
            Err(_) => setup.set(&["listen", key], *value),
        };
    }
    setup
}

fn gate(merchant: &Merchant, limits: &[(&str, &str)]) -> Proxy {
    Proxy::start(&merchant.target(), |setup| {
        limited(setup, limits);
    })
}

fn orders() -> Request {
    Request::new("GET", "/api/v2/orders")
}

/// The one record of a connection that was cut with this code.
fn on_record(proxy: &Proxy, code: &str) -> Line {
    let found = || proxy.audit().of_kind("connection").into_iter().find(|line| line.text("refusal") == code);
    let record = until(&format!("a record of `{code}`"), found);
    assert_eq!(record.text("peer"), "127.0.0.1", "{record}");
    record
}

/// Cut in time, counted, on record, and its slot is free.
fn was_cut(proxy: &Proxy, code: &str, since: Instant, limit: Duration) {
    let took = since.elapsed();
    assert!(took >= limit, "cut after {took:?}, before its time");
    assert!(took < limit + Duration::from_secs(10), "cut only after {took:?}");
    on_record(proxy, code);
    assert_eq!(proxy.refusals(code), 1);
    proxy.await_connections(0);
}

/// Writes `bytes` one by one, with a moment between them, until the gate ends the connection.
fn drip(connection: &mut Connection, bytes: impl Iterator<Item = u8>) {
    for byte in bytes {
        if connection.write(&[byte]).is_err() || connection.ended_within(A_MOMENT) {
            return;
        }
    }
    panic!("the gate never ended it");
}

#[test]
fn a_head_that_drips_is_cut_in_time() {
    let merchant = Merchant::content();
    let proxy = gate(&merchant, &[("head_timeout", "600ms")]);
    let mut connection = proxy.client("webshop").connect();
    let since = Instant::now();
    drip(&mut connection, b"GET /api/v2/orders HTTP/1.1\r\nx-drip: ".iter().copied().chain((0..1000).map(|_| b'a')));
    was_cut(&proxy, "head_timeout", since, Duration::from_millis(600));
}

#[test]
fn a_head_that_stops_is_cut_in_time_after_any_number_of_calls() {
    let merchant = Merchant::content();
    let proxy = gate(&merchant, &[("head_timeout", "400ms")]);
    let mut connection = proxy.client("webshop").connect();
    for _ in 0..3 {
        connection.request(&orders()).must_be(200);
    }
    connection.write(b"GET /api/v2/orders HTTP/1.1\r\nhost: loc").unwrap();
    let since = Instant::now();
    assert_eq!(connection.rest(), b"", "nothing is said to half a request");
    was_cut(&proxy, "head_timeout", since, Duration::from_millis(400));
}

#[test]
fn a_header_block_of_http_2_that_does_not_end_is_cut_in_time_also_while_a_call_is_under_way() {
    let merchant = Merchant::start(|e| {
        e.hold();
        e.json(200, "{}")
    });
    let proxy = gate(&merchant, &[("head_timeout", "600ms")]);
    let get = frames::request("GET", "/api/v2/orders", &[("x-ce-key", proxy.key("webshop"))]);
    let whole = frames::frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &get);
    let unfinished = frames::frame(kind::HEADERS, END_STREAM, 3, &get);
    // Neither a block whose end never comes, nor a frame that stops in its middle.
    for (cut, open) in
        [(1, unfinished), (2, frames::frame(kind::HEADERS, END_HEADERS | END_STREAM, 3, &get)[..30].to_vec())]
    {
        let mut client = proxy.anonymous().frames(&[]);
        client.write(&whole).unwrap();
        merchant.await_calls(cut);
        let since = Instant::now();
        client.write(&open).unwrap();
        client.end();
        assert!(since.elapsed() >= Duration::from_millis(600), "cut after {:?}", since.elapsed());
        // The client sees the end a moment before it is counted.
        proxy.await_connections(0);
        assert_eq!(proxy.refusals("head_timeout"), cut as u64);
    }
    on_record(&proxy, "head_timeout");
    merchant.release();
}

#[test]
fn an_idle_connection_of_http_2_is_told_to_go_in_time_whatever_it_pings() {
    let merchant = Merchant::content();
    let proxy = gate(&merchant, &[("idle_timeout", "600ms")]);
    let mut client = proxy.anonymous().frames(&[]);
    let since = Instant::now();
    while client.write(&frames::frame(kind::PING, 0, 0, &[0; 8])).is_ok() {
        assert!(since.elapsed() < Duration::from_secs(20), "never closed");
        dawdle(A_MOMENT);
    }
    let end = client.end();
    assert_eq!(end.goaway.map(|(_, code)| code), Some(0), "{end:?}");
    assert_eq!(proxy.metric("keygate_connections_idled_total"), Some(1));
    proxy.await_connections(0);
}

#[test]
fn a_handshake_that_drips_is_cut_in_time() {
    let merchant = Merchant::content();
    let proxy = gate(&merchant, &[("handshake_timeout", "500ms")]);
    let mut socket = TcpStream::connect(proxy.address()).unwrap();
    socket.set_read_timeout(Some(A_MOMENT)).unwrap();
    let since = Instant::now();
    // The beginning of a long hello.
    for byte in [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3].into_iter().chain((0..400).map(|_| 7)) {
        let waits = |error: std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        if socket.write_all(&[byte]).is_err() || !socket.read(&mut [0]).is_err_and(waits) {
            break;
        }
    }
    was_cut(&proxy, "handshake_timeout", since, Duration::from_millis(500));
}

#[test]
fn an_idle_connection_is_closed_in_time_and_counted_and_a_busy_one_is_not() {
    let merchant = Merchant::start(|e| {
        e.hold();
        e.json(200, "{}")
    });
    let proxy = gate(&merchant, &[("idle_timeout", "500ms"), ("head_timeout", "10s")]);
    let mut busy = proxy.client("webshop").connect();
    busy.start(&orders());
    merchant.await_calls(1);
    let (mut idle, since) = (proxy.client("webshop").connect(), Instant::now());
    assert_eq!(idle.rest(), b"");
    assert!(since.elapsed() >= Duration::from_millis(500), "closed after {:?}", since.elapsed());
    until("the count", || (proxy.metric("keygate_connections_idled_total") == Some(1)).then_some(()));
    merchant.release();
    busy.reply("GET /api/v2/orders").unwrap().must_be(200);
    assert_eq!(proxy.audit().of_kind("connection").len(), 0, "nobody was refused");
    assert_eq!(busy.rest(), b"", "it is idle now");
    proxy.await_connections(0);
}

/// The head of an upload of so many bytes.
fn upload(proxy: &Proxy, length: usize) -> Vec<u8> {
    let key = proxy.key("webshop");
    format!("POST /api/v2/shipments HTTP/1.1\r\nhost: localhost\r\nx-ce-key: {key}\r\ncontent-length: {length}\r\n\r\n")
        .into_bytes()
}

#[test]
fn a_body_that_drips_is_refused_in_time_although_it_never_pauses_for_long() {
    let merchant = Merchant::content();
    let proxy = gate(&merchant, &[("body_timeout", "1s")]);
    let mut connection = proxy.client("webshop").connect();
    connection.write(&upload(&proxy, 100_000)).unwrap();
    // A fast beginning earns no right to be slow later.
    connection.write(&vec![b' '; 50_000]).unwrap();
    let since = Instant::now();
    drip(&mut connection, (0..1000).map(|_| b' '));
    let took = since.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(10)).contains(&took), "refused after {took:?}");
    connection.reply("POST /api/v2/shipments").unwrap().must_be_refused(408, "body_too_slow");
    assert_eq!(proxy.refusals("body_too_slow"), 1);
    proxy.await_connections(0);
}

#[test]
fn a_body_on_a_slow_line_with_pauses_passes() {
    let merchant = Merchant::content();
    let proxy = gate(&merchant, &[("body_timeout", "1s")]);
    let mut connection = proxy.client("webshop").connect();
    connection.write(&upload(&proxy, 20 * 300)).unwrap();
    for _ in 0..20 {
        connection.write(&[b' '; 300]).unwrap();
        // 3,000 bytes a second at most, for two seconds at least.
        assert!(!connection.ended_within(2 * A_MOMENT), "cut although it was fast enough");
    }
    connection.reply("POST /api/v2/shipments").unwrap().must_be(200);
    assert_eq!(merchant.only().body.len(), 6000);
}

#[test]
fn a_client_is_not_late_while_the_upstream_takes_nothing() {
    let merchant = Merchant::start(|e| {
        e.hold();
        e.json(200, "{}")
    });
    let proxy = gate(&merchant, &[("body_timeout", "2s"), ("send_timeout", "20s")]);
    let mut connection = proxy.client("webshop").connect();
    let length = 20 << 20;
    connection.write(&upload(&proxy, length)).unwrap();
    connection.socket().set_nonblocking(true).unwrap();
    let (mut left, mut since) = (length, Instant::now());
    // Everything on the way fills up, because the upstream reads nothing yet.
    while left > 0 && since.elapsed() < Duration::from_millis(700) {
        match connection.write_some(left) {
            Some(written) => (left, since) = (left - written, Instant::now()),
            None => dawdle(A_MOMENT),
        }
    }
    assert!(left > 0, "20 MiB are more than all buffers hold");
    connection.socket().set_nonblocking(false).unwrap();
    // Longer than the client itself might pause.
    dawdle(Duration::from_secs(3));
    merchant.release();
    connection.write(&vec![b' '; left]).unwrap();
    connection.reply("POST /api/v2/shipments").unwrap().must_be(200);
}

#[test]
fn a_client_that_will_send_nothing_more_gets_its_reply_all_the_same() {
    let merchant = Merchant::start(|e| {
        e.hold();
        e.json(200, r#"{"Success":true}"#)
    });
    let proxy = gate(&merchant, &[]);
    let mut connection = proxy.client("webshop").connect();
    connection.start(&orders());
    merchant.await_calls(1);
    connection.half_close();
    until("a gate that has read the goodbye", || (proxy.metric("keygate_calls_in_flight") == Some(1)).then_some(()));
    assert!(!connection.ended_within(4 * A_MOMENT), "hung up on");
    merchant.release();
    let reply = connection.reply("GET /api/v2/orders").unwrap();
    reply.must_be(200);
    assert_eq!(proxy.record(&reply).text("outcome"), "complete");
    assert_eq!(connection.rest(), b"", "and then the gate says goodbye too");
    proxy.await_connections(0);
}

#[test]
fn an_upload_whose_client_will_send_nothing_more_is_answered_when_it_was_whole_and_refused_at_once_when_not() {
    let merchant = Merchant::start(|e| {
        e.body()?;
        e.hold();
        e.json(200, "{}")
    });
    let proxy = gate(&merchant, &[]);
    let mut part = proxy.client("webshop").connect();
    part.write(&[upload(&proxy, 100), b"half".to_vec()].concat()).unwrap();
    part.half_close();
    part.reply("POST /api/v2/shipments").unwrap().must_be_refused(400, "body_broken");
    for request in [
        Request::new("POST", "/api/v2/shipments").body("whole"),
        Request::new("POST", "/api/v2/shipments")
            .header("transfer-encoding", "chunked")
            .body("5\r\nwhole\r\n0\r\n\r\n"),
    ] {
        let before = merchant.seen().iter().filter(|seen| seen.body == b"whole").count();
        let mut whole = proxy.client("webshop").connect();
        whole.start(&request);
        whole.half_close();
        let all = || merchant.seen().iter().filter(|seen| seen.body == b"whole").count() > before;
        until("the body at the upstream", || all().then_some(()));
        merchant.release();
        whole.reply("POST /api/v2/shipments").unwrap().must_be(200);
    }
}
