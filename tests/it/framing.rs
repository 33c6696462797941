//! The letter of HTTP/2: what breaks it is told which rule, is on record once, and hurts nobody else. And what keeps to
//! it is left alone, however busy it is.

use std::process::Command;
use std::sync::Arc;

use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::harness::command::{Ran, found, run};
use crate::harness::frames::{END_HEADERS, END_STREAM, Frame, field, frame, kind, request};
use crate::harness::{Line, Merchant, Proxy, have, until};

/// Name, what is sent, the code of RFC 9113 that must come back, and what the record must say.
type Case = (&'static str, fn(&str) -> Vec<u8>, u32, &'static str);

const BROKEN: [Case; 16] = [
    ("a pushed promise", |_| frame(5, END_HEADERS, 1, &[0, 0, 0, 2]), 1, "PUSH_PROMISE"),
    ("a short PING", |_| frame(kind::PING, 0, 0, &[0; 6]), 6, "PING of a wrong length"),
    ("a PING on a stream", |_| frame(kind::PING, 0, 1, &[0; 8]), 1, "PING on a stream"),
    ("a long acknowledgement", |_| frame(kind::SETTINGS, 1, 0, &[0; 6]), 6, "the acknowledgement"),
    ("an acknowledgement of nothing", |_| frame(kind::SETTINGS, 1, 0, &[]).repeat(2), 1, "were not sent"),
    ("a window that is too large", |_| frame(kind::SETTINGS, 0, 0, &[0, 4, 255, 255, 255, 255]), 3, "too large"),
    ("a frame size that may not be", |_| frame(kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), 1, "frame size"),
    ("a short window update", |_| frame(kind::WINDOW_UPDATE, 0, 0, &[1]), 6, "WINDOW_UPDATE of a wrong"),
    ("a window update by nothing", |_| frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]), 1, "by nothing"),
    ("a window that overflows", |_| frame(kind::WINDOW_UPDATE, 0, 0, &[127, 255, 255, 255]), 3, "overflows"),
    ("a short PRIORITY", |_| frame(kind::PRIORITY, 0, 1, &[0; 4]), 6, "PRIORITY of a wrong length"),
    ("a reset of nothing", |_| frame(kind::RST_STREAM, 0, 1, &[0; 4]), 1, "not begun"),
    ("a frame too large", |_| frame(0xbe, 0, 0, &[0; 16_385]), 6, "16,384"),
    ("DATA behind the end", |key| [get(1, key), frame(kind::DATA, END_STREAM, 1, b"x")].concat(), 5, "has ended"),
    ("a stream used twice", |key| [get(1, key), get(1, key)].concat(), 5, "has ended"),
    (
        "a header block broken into",
        |_| [frame(kind::HEADERS, 0, 1, &[]), frame(kind::PING, 0, 0, &[0; 8])].concat(),
        1,
        "inside a header block",
    ),
];

fn get(stream: u32, key: &str) -> Vec<u8> {
    asking(stream, key, &[])
}

fn asking(stream: u32, key: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let block = request("GET", "/api/v2/orders", &[&[("x-ce-key", key)], headers].concat());
    frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block)
}

/// The connections on record. A call after all that is in question has its record, so theirs are there too.
fn connections(proxy: &Proxy) -> Vec<Line> {
    proxy.client("webshop").get("/v2/orders").must_be(200);
    proxy.audit().of_kind("connection")
}

fn reset_code(frame: &Frame) -> u32 {
    u32::from_be_bytes(frame.payload[..4].try_into().unwrap())
}

#[test]
fn what_breaks_the_protocol_is_told_which_rule_and_is_on_record_once() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    for (name, bytes, code, detail) in BROKEN {
        let before = connections(&proxy).len();
        let mut frames = proxy.anonymous().frames(&[]);
        frames.write(&bytes(proxy.key("webshop"))).unwrap();
        let end = frames.end();
        assert_eq!(end.goaway.map(|(_, code)| code), Some(code), "{name}: {end:?}");
        let records = connections(&proxy).split_off(before);
        assert_eq!(records.len(), 1, "{name}: {records:?}");
        assert_eq!(records[0].text("refusal"), "h2_protocol_error", "{name}");
        assert!(records[0].text("detail").contains(detail), "{name}: {}", records[0]);
    }
}

#[test]
fn a_malformed_request_is_reset_and_on_record_and_the_rest_of_the_connection_goes_on() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let key = proxy.key("webshop");
    let mut frames = proxy.anonymous().frames(&[]);
    for (stream, header, code) in [(1, ("host", "elsewhere"), "host_refused"), (3, ("x-note", " b"), "header_padded")] {
        frames.write(&asking(stream, key, &[header])).unwrap();
        let reset = frames.until("a reset", |f| f.kind == kind::RST_STREAM && f.stream == stream);
        assert_eq!(reset_code(&reset), 1, "{code}");
        let known = || proxy.audit().of_kind("call").into_iter().find(|line| line.text("refusal") == code);
        assert_eq!(until(code, known).text("http"), "h2");
    }
    assert!(merchant.seen().is_empty());
    frames.write(&get(5, key)).unwrap();
    frames.until("the end of the reply", |f| f.stream == 5 && f.flags & END_STREAM != 0);
    merchant.only();
}

#[test]
fn a_header_block_that_unfolds_far_above_the_limit_ends_the_connection() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let before = connections(&proxy).len();
    let mut frames = proxy.anonymous().frames(&[]);
    // 4,000 bytes that are kept in the table, and then named with one byte each time: 48 MB from 16 KB.
    let mut block = vec![0x40];
    block.extend(&field("x", &"b".repeat(4_000))[1..]);
    block.extend([0xbe].repeat(12_000));
    frames.write(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block)).unwrap();
    let end = frames.end();
    assert_eq!(end.goaway.map(|(_, code)| code), Some(11), "{end:?}");
    let records = connections(&proxy).split_off(before);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].text("refusal"), "head_too_large", "{}", records[0]);
}

#[test]
fn busy_clients_that_keep_to_the_protocol_are_left_alone() {
    if !have("nghttp2", found("h2load") && found("nghttp")) {
        return;
    }
    let merchant = Merchant::start(|e| {
        let body = vec![b'x'; if e.seen().target.contains("page=2") { 8_000_000 } else { 300 }];
        e.reply(200, "content-type: text/plain\r\n", &body)
    });
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:*"]).set(&["upstream", "acme", "limit"], "1000000/s");
    });
    let url = |path: &str| format!("https://localhost:{}/api/v2/orders{path}", proxy.address().port());
    let key = format!("x-ce-key: {}", proxy.key("webshop"));
    let ask = |program: &str, args: &[&str], path: &str| -> Ran {
        let mut command = Command::new(program);
        command.args(["-H", &key]).args(args).arg(url(path));
        run(command, b"")
    };
    for (args, path, calls) in [
        (&["-n", "2000", "-c", "8", "-m", "8"][..], "", 2000),
        (&["-n", "500", "-c", "1", "-m", "100"], "", 500),
        // Windows of 4 KiB: an update for each piece of the reply.
        (&["-n", "2", "-c", "1", "-m", "2", "-w", "12", "-W", "12"], "?page=2", 2),
    ] {
        let ran = ask("h2load", args, path);
        assert!(ran.stdout.contains(&format!("{calls} succeeded")), "{args:?}: {ran}");
    }
    // Sends PRIORITY frames first, as browsers did.
    for args in [&["-nv", "-m", "50"][..], &["-nv", "-w", "10", "-W", "10"]] {
        let ran = ask("nghttp", args, "");
        assert!(ran.code == Some(0) && !ran.stdout.contains("recv GOAWAY"), "{ran}");
    }
    assert_eq!(connections(&proxy).len(), 0, "{:?}", proxy.audit().of_kind("connection"));
}

/// hyper asks with a PING for each sample how far away the gate is, and widens its windows with SETTINGS.
#[test]
fn a_client_that_measures_the_way_with_pings_gets_a_long_reply_whole() {
    const LENGTH: usize = 16_000_000;
    let merchant = Merchant::start(|e| e.reply(200, "content-type: text/plain\r\n", &vec![b'x'; LENGTH]));
    let proxy = Proxy::open(&merchant.target());
    let (address, tls) = (proxy.address(), Arc::new(proxy.anonymous().h2()));
    let request = http::Request::get("https://localhost/api/v2/orders").header("x-ce-key", proxy.key("webshop"));
    let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let length = runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(tls).connect(name, tcp).await.unwrap();
        let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        client.timer(TokioTimer::new()).adaptive_window(true);
        let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut body = sender.send_request(request).await.unwrap().into_body();
        let mut length = 0;
        while let Some(piece) = body.frame().await {
            length += piece.unwrap().into_data().map_or(0, |data| data.len());
        }
        length
    });
    assert_eq!(length, LENGTH);
    drop(runtime);
    assert_eq!(connections(&proxy).len(), 0, "{:?}", proxy.audit().of_kind("connection"));
}
