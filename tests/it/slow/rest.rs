//! HTTP/1.1 connections at rest: a quiet one is taken apart, and nothing of that is to be seen from outside.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};

use super::{gate, limited, orders, was_cut};
use crate::harness::client::Connection;
use crate::harness::frames::{ACK, END_HEADERS, END_STREAM, PREFACE, frame, kind};
use crate::harness::pki::Pki;
use crate::harness::{Merchant, Proxy, Target, dawdle, until};

/// How often connections were put to rest so far.
fn rests(proxy: &Proxy) -> u64 {
    proxy.metric("keygate_connections_rested_total").unwrap_or_default()
}

/// Does this, and waits until a connection was put to rest since it began.
fn then_rest<T>(proxy: &Proxy, work: impl FnOnce() -> T) -> T {
    let before = rests(proxy);
    let done = work();
    until("rest", || (rests(proxy) > before).then_some(()));
    done
}

/// A connection that rests after a call.
fn resting(proxy: &Proxy) -> Connection {
    let mut connection = proxy.client("webshop").connect();
    then_rest(proxy, || _ = connection.request(&orders()).must_be(200));
    connection
}

#[test]
fn a_connection_serves_calls_after_each_rest_however_they_come() {
    let merchant = Merchant::content();
    let proxy = gate(&merchant, &[]);
    // It may rest before its first call, too.
    let mut connection = then_rest(&proxy, || proxy.client("webshop").connect());
    then_rest(&proxy, || _ = connection.request(&orders()).must_be(200));
    let key = proxy.key("webshop").to_owned();
    // A long head, in two pieces, and a second call right behind the first.
    let padding = "p".repeat(3000);
    let head =
        format!("GET /api/v2/orders HTTP/1.1\r\nhost: localhost\r\nx-ce-key: {key}\r\nx-long: {padding}\r\n\r\n");
    then_rest(&proxy, || {
        connection.write(&head.as_bytes()[..2000]).unwrap();
        connection.write(&[&head.as_bytes()[2000..], head.as_bytes()].concat()).unwrap();
        for _ in 0..2 {
            connection.reply("GET /api/v2/orders").unwrap().must_be(200);
        }
    });
    let body = "b".repeat(20_000);
    let upload = format!(
        "POST /api/v2/shipments HTTP/1.1\r\nhost: localhost\r\nx-ce-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    then_rest(&proxy, || {
        connection.write(upload.as_bytes()).unwrap();
        connection.reply("POST /api/v2/shipments").unwrap().must_be(200);
    });
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
    let mut connection = resting(&proxy);
    connection.write(b"GET /api/v2/orders HTTP/1.1\r\nhost: loc").unwrap();
    let since = Instant::now();
    assert_eq!(connection.rest(), b"", "nothing is said to half a request");
    was_cut(&proxy, "head_timeout", since, Duration::from_millis(400));
}

#[test]
fn a_client_that_leaves_at_rest_is_gone_and_one_that_is_told_to_leave_hears_a_goodbye() {
    let merchant = Merchant::content();
    let mut proxy = gate(&merchant, &[("max_connections", "1")]);
    let mut polite = resting(&proxy);
    polite.half_close();
    assert_eq!(polite.rest(), b"", "the gate says goodbye too");
    proxy.await_connections(0);
    resting(&proxy).hang_up();
    proxy.await_connections(0);
    // Its slot is needed.
    let mut old = resting(&proxy);
    let mut new = resting(&proxy);
    assert_eq!(old.rest(), b"", "it was told to go");
    assert_eq!(proxy.refusals("made_room"), 1);
    proxy.stop();
    assert_eq!(new.rest(), b"", "the gate stopped in good order");
}

#[test]
fn a_connection_at_rest_is_closed_when_its_time_is_over() {
    let merchant = Merchant::content();
    let proxy = gate(&merchant, &[("idle_timeout", "2500ms")]);
    let mut connection = resting(&proxy);
    assert_eq!(connection.rest(), b"");
    until("the count", || (proxy.metric("keygate_connections_idled_total") == Some(1)).then_some(()));
    proxy.await_connections(0);
}

/// An upstream that speaks HTTP/2, takes a thousand bytes of an upload, and answers before it has the rest, which it neither asks
/// for nor refuses. How many calls came is counted.
fn hasty() -> (Target, Arc<AtomicUsize>) {
    let pki = Pki::new();
    let tls = pki.leaf(&["localhost"]).server(&["h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (calls, tls) = (Arc::new(AtomicUsize::new(0)), Arc::new(tls));
    let counted = calls.clone();
    std::thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            tcp.set_nodelay(true).unwrap();
            let (tls, calls) = (ServerConnection::new(tls.clone()).unwrap(), counted.clone());
            // It ends with its connection.
            std::thread::spawn(move || drop(answer_early(StreamOwned::new(tls, tcp), &calls)));
        }
    });
    (Target { port, ca_pem: pki.ca_pem().to_owned(), base_path: "/api".into() }, calls)
}

fn answer_early(mut stream: StreamOwned<ServerConnection, TcpStream>, calls: &AtomicUsize) -> std::io::Result<()> {
    stream.read_exact(&mut [0; PREFACE.len()])?;
    // SETTINGS_INITIAL_WINDOW_SIZE.
    stream.write_all(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 3, 232]))?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        stream.read_exact(&mut vec![0; length])?;
        if head[3] == kind::SETTINGS && head[4] & ACK == 0 {
            stream.write_all(&frame(kind::SETTINGS, ACK, 0, &[]))?;
        }
        if head[3] == kind::HEADERS {
            calls.fetch_add(1, Ordering::SeqCst);
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            // Until what it takes is on its way, and the rest waits.
            dawdle(Duration::from_millis(500));
            // `:status` by its number in the static table.
            stream.write_all(&frame(kind::HEADERS, END_HEADERS | END_STREAM, id, b"\x08\x03413"))?;
        }
    }
}

#[test]
fn a_connection_whose_upload_was_answered_before_its_end_does_not_take_the_rest_of_it_for_a_call() {
    let (target, calls) = hasty();
    let proxy = Proxy::start(&target, |setup| {
        limited(setup, &[]);
    });
    let mut connection = proxy.client("webshop").connect();
    let key = proxy.key("webshop");
    let head = format!("host: localhost\r\nx-ce-key: {key}\r\n");
    let upload = format!("POST /api/v2/shipments HTTP/1.1\r\n{head}content-length: 400000\r\n\r\n");
    connection.write(upload.as_bytes()).unwrap();
    connection.write(&vec![b' '; 300_000]).unwrap();
    connection.reply("POST /api/v2/shipments").unwrap().must_be(413);
    // Longer than it takes a quiet connection to come to rest.
    dawdle(Duration::from_secs(3));
    // A client that goes on with its upload, in which stands what would be a call. (It may have been hung up on by now.)
    let _ = connection.write(format!("\r\nGET /api/v2/orders HTTP/1.1\r\n{head}\r\n").as_bytes());
    // Longer than it takes the upstream to answer one.
    dawdle(Duration::from_secs(2));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(proxy.audit().of_kind("call").len(), 1);
}
