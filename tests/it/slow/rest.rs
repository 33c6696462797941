//! HTTP/1.1 connections at rest: a quiet one is taken apart, and nothing of that is to be seen from outside.

use std::time::{Duration, Instant};

use super::{gate, orders, was_cut};
use crate::harness::client::Connection;
use crate::harness::{Merchant, Proxy, until};

/// Waits until connections were put to rest so often.
fn await_rest(proxy: &Proxy, times: u64) {
    until("rest", || (proxy.metric("keygate_connections_rested_total") == Some(times)).then_some(()));
}

/// A call, and the rest that follows it.
fn call_and_rest(proxy: &Proxy, times: u64) -> Connection {
    let mut connection = proxy.client("webshop").connect();
    connection.request(&orders()).must_be(200);
    await_rest(proxy, times);
    connection
}

#[test]
fn a_connection_serves_calls_after_each_rest_however_they_come() {
    let merchant = Merchant::content();
    let proxy = gate(&merchant, &[]);
    let mut connection = proxy.client("webshop").connect();
    // It may rest before its first call, too.
    await_rest(&proxy, 1);
    connection.request(&orders()).must_be(200);
    await_rest(&proxy, 2);
    let key = proxy.key("webshop").to_owned();
    // A long head, in two pieces, and a second call right behind the first.
    let padding = "p".repeat(3000);
    let head =
        format!("GET /api/v2/orders HTTP/1.1\r\nhost: localhost\r\nx-ce-key: {key}\r\nx-long: {padding}\r\n\r\n");
    connection.write(&head.as_bytes()[..2000]).unwrap();
    connection.write(&[&head.as_bytes()[2000..], head.as_bytes()].concat()).unwrap();
    for _ in 0..2 {
        connection.reply("GET /api/v2/orders").unwrap().must_be(200);
    }
    await_rest(&proxy, 3);
    let body = "b".repeat(20_000);
    let upload = format!(
        "POST /api/v2/shipments HTTP/1.1\r\nhost: localhost\r\nx-ce-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write(upload.as_bytes()).unwrap();
    connection.reply("POST /api/v2/shipments").unwrap().must_be(200);
    await_rest(&proxy, 4);
    connection.request(&orders()).must_be(200);
    let seen = merchant.seen();
    assert_eq!(seen.len(), 5);
    assert_eq!(seen[3].body, body.as_bytes());
    assert_eq!(proxy.audit().of_kind("connection").len(), 0, "nobody was refused");
    assert_eq!(proxy.open_connections(), 1);
}

#[test]
fn a_head_that_begins_at_rest_and_stops_is_cut_in_time() {
    let merchant = Merchant::content();
    let proxy = gate(&merchant, &[("head_timeout", "400ms")]);
    let mut connection = call_and_rest(&proxy, 1);
    connection.write(b"GET /api/v2/orders HTTP/1.1\r\nhost: loc").unwrap();
    let since = Instant::now();
    assert_eq!(connection.rest(), b"", "nothing is said to half a request");
    was_cut(&proxy, "head_timeout", since, Duration::from_millis(400));
}

#[test]
fn a_client_that_leaves_at_rest_is_gone_and_one_that_is_told_to_leave_hears_a_goodbye() {
    let merchant = Merchant::content();
    let mut proxy = gate(&merchant, &[("max_connections", "1")]);
    let mut polite = call_and_rest(&proxy, 1);
    polite.half_close();
    assert_eq!(polite.rest(), b"", "the gate says goodbye too");
    proxy.await_connections(0);
    call_and_rest(&proxy, 2).hang_up();
    proxy.await_connections(0);
    // Its slot is needed.
    let mut old = call_and_rest(&proxy, 3);
    let mut new = call_and_rest(&proxy, 4);
    assert_eq!(old.rest(), b"", "it was told to go");
    assert_eq!(proxy.refusals("made_room"), 1);
    proxy.stop();
    assert_eq!(new.rest(), b"", "the gate stopped in good order");
}

#[test]
fn a_connection_at_rest_is_closed_when_its_time_is_over() {
    let merchant = Merchant::content();
    let proxy = gate(&merchant, &[("idle_timeout", "2500ms")]);
    let mut connection = call_and_rest(&proxy, 1);
    assert_eq!(connection.rest(), b"");
    until("the count", || (proxy.metric("keygate_connections_idled_total") == Some(1)).then_some(()));
    proxy.await_connections(0);
}
