//! Slots: how many connections one source may have, and who goes when all are taken.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{gate, on_record, orders};
use crate::harness::client::Connection;
use crate::harness::{Merchant, Proxy, dawdle, until};

/// A connection that comes from another address of this machine.
fn from(proxy: &Proxy, address: &str) -> std::io::Result<Connection> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(address.parse().unwrap(), 0).into())?;
    socket.connect(&proxy.address().into())?;
    proxy.client("webshop").over(socket.into())
}

#[test]
fn a_source_with_too_many_connections_gets_no_more_and_disturbs_nobody() {
    let merchant = Merchant::content();
    let proxy = gate(&merchant, &[("max_connections_per_source", "2")]);
    let mut mine: Vec<_> = (0..2).map(|_| from(&proxy, "127.0.0.2").unwrap()).collect();
    for _ in 0..20 {
        assert!(from(&proxy, "127.0.0.2").is_err(), "one too many");
    }
    from(&proxy, "127.0.0.3").unwrap().request(&orders()).must_be(200);
    mine[0].request(&orders()).must_be(200);
    assert_eq!(proxy.refusals("too_many_connections"), 20);
    let recorded = || proxy.audit().of_kind("connection").into_iter().filter(|line| line.text("peer") == "127.0.0.2");
    assert_eq!(recorded().count(), 1, "twenty refusals are no twenty records");
    drop(mine.pop());
    until("a free place", || from(&proxy, "127.0.0.2").ok()).request(&orders()).must_be(200);
    let more = proxy.refusals("too_many_connections") - 1;
    let mut proxy = proxy;
    proxy.stop();
    let records: Vec<_> = proxy.audit().of_kind("connection");
    let last = records.last().unwrap();
    assert_eq!(records.len(), 2, "and the others together, at the end at the latest");
    assert!(last.text("detail").starts_with(&format!("{more} more")), "{last}");
}

#[test]
fn when_all_slots_are_taken_the_oldest_idle_connection_goes() {
    let merchant = Merchant::content();
    let proxy = gate(&merchant, &[("max_connections", "3")]);
    let client = proxy.client("webshop");
    let mut connections: Vec<_> = (0..3).map(|_| client.connect()).collect();
    // The first one is used last, so the second is the oldest. Ages are told apart by the sweep's clock.
    for connection in [1, 2, 0] {
        connections[connection].request(&orders()).must_be(200);
        dawdle(Duration::from_secs(1));
    }
    client.connect().request(&orders()).must_be(200);
    assert_eq!(connections[1].rest(), b"", "it was told to go");
    connections[0].request(&orders()).must_be(200);
    connections[2].request(&orders()).must_be(200);
    on_record(&proxy, "made_room");
    assert_eq!(proxy.refusals("made_room"), 1);
}

#[test]
fn a_call_under_way_is_never_cut_to_make_room() {
    let merchant = Merchant::start(|e| {
        e.hold();
        e.json(200, "{}")
    });
    let proxy = gate(&merchant, &[("max_connections", "1")]);
    let mut held = proxy.client("webshop").connect();
    held.start(&orders());
    merchant.await_calls(1);
    let second = TcpStream::connect(proxy.address()).unwrap();
    second.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    (&second).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!((&second).read(&mut [0]).is_err(), "the second connection was answered");
    merchant.release();
    held.reply("GET /api/v2/orders").unwrap().must_be(200);
    let mut answer = [0; 12];
    second.set_read_timeout(None).unwrap();
    (&second).read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400", "now it is its turn, and it is told to use TLS");
}

#[test]
fn silent_connections_do_not_lock_others_out() {
    let merchant = Merchant::content();
    let proxy = gate(&merchant, &[("max_connections", "16")]);
    let silent: Vec<_> = (0..64).map(|_| TcpStream::connect(proxy.address()).unwrap()).collect();
    let since = Instant::now();
    proxy.client("webshop").get("/v2/orders").must_be(200);
    assert!(since.elapsed() < Duration::from_secs(9), "it had to wait for the handshake timeout");
    drop(silent);
}
