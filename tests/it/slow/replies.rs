//! Replies that are taken slowly, and replies that come slowly.

use std::time::{Duration, Instant};

use super::{A_MOMENT, gate, limited, on_record, orders, was_cut};
use crate::harness::client::Connection;
use crate::harness::{Merchant, Proxy, Request, Setup, dawdle, until};

/// An upstream that sends so many bytes.
fn sends(bytes: usize) -> Merchant {
    Merchant::start(move |e| e.reply(200, "content-type: application/json\r\n", &vec![b' '; bytes]))
}

/// A connection whose client has little room for what it does not read.
fn narrow(proxy: &Proxy) -> Connection {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.connect(&proxy.address().into()).unwrap();
    proxy.client("webshop").over(socket.into()).unwrap()
}

#[test]
fn a_client_that_takes_nothing_of_its_reply_is_cut_in_time() {
    let merchant = sends(20 << 20);
    let proxy = gate(&merchant, &[("send_timeout", "700ms")]);
    let mut connection = narrow(&proxy);
    let since = Instant::now();
    connection.start(&orders());
    on_record(&proxy, "send_timeout");
    was_cut(&proxy, "send_timeout", since, Duration::from_millis(700));
    let call = until("the call's own record", || proxy.audit().of_kind("call").pop());
    assert_eq!(call.text("outcome"), "client-gone", "{call}");
}

#[test]
fn a_client_that_takes_its_reply_too_slowly_is_cut_in_time() {
    let merchant = sends(100 << 20);
    let proxy = gate(&merchant, &[("send_timeout", "1s"), ("min_rate", "1MiB")]);
    let mut connection = narrow(&proxy);
    connection.start(&orders());
    let since = Instant::now();
    // 400 KB a second at most: something moves all the time.
    while connection.exactly(20_000).is_ok() {
        assert!(since.elapsed() < Duration::from_secs(30), "never cut");
        dawdle(A_MOMENT);
    }
    let cuts = proxy.refusals("send_too_slow") + proxy.refusals("send_timeout");
    assert_eq!(cuts, 1, "busy machines make it a stall");
    proxy.await_connections(0);
}

#[test]
fn a_client_that_takes_its_reply_slowly_but_steadily_gets_it_whole() {
    let merchant = sends(4 << 20);
    let proxy = gate(&merchant, &[("send_timeout", "1s")]);
    let mut connection = narrow(&proxy);
    connection.start(&orders());
    connection.head().unwrap();
    for _ in 0..64 {
        connection.exactly(64 << 10).unwrap();
        dawdle(A_MOMENT);
    }
    let call = until("the record", || proxy.audit().of_kind("call").pop());
    assert_eq!(call.text("outcome"), "complete", "{call}");
    connection.request(&Request::new("GET", "/api/v2/nothing")).must_be_refused(404, "endpoint_unknown");
}

/// An upstream that drips a reply of a megabyte behind this head.
fn drips(head: &'static str) -> Merchant {
    Merchant::start(move |e| {
        e.send(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}\r\n"))?;
        loop {
            e.send(" ")?;
            dawdle(A_MOMENT);
        }
    })
}

#[test]
fn an_upstream_that_drips_its_reply_is_cut_when_the_whole_call_takes_too_long() {
    let impatient = |setup: &mut Setup| {
        limited(setup, &[]).set(&["upstream", "acme", "head_timeout"], "1s");
        setup.set(&["upstream", "acme", "total_timeout"], "1s");
    };
    let merchant = drips("content-length: 1000\r\n");
    let proxy = Proxy::start(&merchant.target(), impatient);
    proxy.client("webshop").get("/v2/orders").must_be_refused(504, "upstream_total_timeout");
    assert_eq!(proxy.refusals("upstream_total_timeout"), 1);
    for head in ["content-length: 1000000\r\n", "transfer-encoding: chunked\r\n\r\nfffff"] {
        let merchant = drips(head);
        let proxy = Proxy::start(&merchant.target(), impatient);
        assert!(proxy.client("webshop").try_call(&orders()).is_err(), "a cut reply looks whole");
        let call = until("the record", || proxy.audit().of_kind("call").pop());
        assert_eq!((call.text("outcome"), call.text("refusal")), ("upstream-cut", "upstream_total_timeout"), "{call}");
        proxy.await_connections(0);
    }
}

#[test]
fn the_time_for_the_whole_call_ends_although_the_client_is_the_slow_one() {
    let merchant = sends(100 << 20);
    let proxy = Proxy::start(&merchant.target(), |setup| {
        limited(setup, &[]).set(&["upstream", "acme", "head_timeout"], "1s");
        setup.set(&["upstream", "acme", "total_timeout"], "1s");
    });
    let mut connection = narrow(&proxy);
    connection.start(&orders());
    let since = Instant::now();
    while connection.exactly(20_000).is_ok() {
        assert!(since.elapsed() < Duration::from_secs(30), "never cut");
        dawdle(A_MOMENT);
    }
    let call = until("the record", || proxy.audit().of_kind("call").pop());
    assert_eq!((call.text("outcome"), call.text("refusal")), ("upstream-cut", "upstream_total_timeout"), "{call}");
}
