//! No file descriptor is left: the gate survives it, says so once, and goes on.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::client::Connection;
use crate::harness::command::{found, run};
use crate::harness::{Merchant, Proxy, Request, Setup, have, until};

fn webshop(setup: &mut Setup) -> &mut Setup {
    setup.integration("webshop", &["--allow", "orders:*"]).set(&["listen", "workers"], 1)
}

fn orders() -> Request {
    Request::new("GET", "/api/v2/orders")
}

/// Sets the limit of a running gate.
fn limit(proxy: &Proxy, descriptors: u64) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &proxy.pid().to_string(), &format!("--nofile={descriptors}:")]);
    run(prlimit, b"").ok();
}

/// Takes all descriptors from a gate but those that it has. Their numbers must have no gap: the limit is on numbers, and a
/// gap would be a descriptor more, or make those above it worth nothing when they come free. Connections fill the gaps.
fn leave_none(proxy: &Proxy, kept: &mut Vec<Connection>) {
    let client = proxy.client("webshop");
    let (mut before, mut steady) = (Vec::new(), 0);
    let highest = until("descriptors that stay, without a gap", || {
        let open = descriptors(proxy);
        steady = if open == before { steady + 1 } else { 0 };
        before.clone_from(&open);
        // What the log's tree opens, it closes soon.
        if steady < 20 {
            return None;
        }
        // What the gate was started with may lie far above: nothing of ours comes there.
        let highest = open.iter().rposition(|kind| kind.starts_with("socket:")).unwrap();
        if open[..highest].iter().all(|kind| !kind.is_empty()) {
            return Some(highest as u64 + 1);
        }
        let mut connection = client.connect();
        connection.request(&Request::new("GET", "/api/v2/nothing")).must_be_refused(404, "endpoint_unknown");
        kept.push(connection);
        settled(proxy);
        None
    });
    limit(proxy, highest);
}

/// What each descriptor of a gate is, by its number; empty where there is none.
fn descriptors(proxy: &Proxy) -> Vec<String> {
    let mut kinds = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap() {
        let path = entry.unwrap().path();
        let number: usize = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        kinds.resize(kinds.len().max(number + 1), String::new());
        // One that was closed meanwhile is none.
        kinds[number] = std::fs::read_link(&path).map(|kind| kind.display().to_string()).unwrap_or_default();
    }
    kinds
}

fn events(proxy: &Proxy, code: &str) -> usize {
    proxy.audit().of_kind("gate").iter().filter(|line| line.text("event.code") == code).count()
}

/// Waits until the log's tree has a checkpoint over all records: it opens files until then.
fn settled(proxy: &Proxy) {
    let audit = proxy.audit();
    until("a checkpoint over all records", || {
        let note = std::fs::read_to_string(audit.directory().join("checkpoint")).ok()?;
        (note.lines().nth(1)? == audit.lines().len().to_string()).then_some(())
    });
}

#[test]
fn with_few_descriptors_fewer_connections_are_let_in_and_idle_ones_make_room() {
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        webshop(setup).under(&["sh", "-c", "ulimit -n 100; exec \"$@\"", "sh"]);
    });
    let silent: Vec<_> = (0..120).map(|_| TcpStream::connect(proxy.address()).unwrap()).collect();
    let since = Instant::now();
    for _ in 0..3 {
        proxy.client("webshop").get("/v2/orders").must_be(200);
    }
    assert!(since.elapsed() < Duration::from_secs(25), "after {:?}", since.elapsed());
    drop(silent);
    let mut proxy = proxy;
    let ended = proxy.stop();
    assert!(ended.output.contains("does not fit into the limit of file descriptors"), "{}", ended.output);
    assert_eq!(events(&proxy, "descriptors-exhausted"), 0, "{}", ended.output);
}

#[test]
fn a_gate_without_descriptors_tells_it_once_lets_idle_connections_go_and_recovers() {
    if !have("prlimit", found("prlimit")) {
        return;
    }
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        webshop(setup);
    });
    let client = proxy.client("webshop");
    let mut kept: Vec<_> = (0..5).map(|_| client.connect()).collect();
    kept[0].request(&orders()).must_be(200);
    settled(&proxy);
    leave_none(&proxy, &mut kept);
    // Each one finds no descriptor left, and gets that of the connection that was idle for the longest.
    for _ in 0..20 {
        client.get("/v2/orders").must_be(200);
    }
    assert_eq!(events(&proxy, "descriptors-exhausted"), 1);
    assert!(proxy.refusals("made_room") >= 1);
    limit(&proxy, 1024);
    until("the event that it is over", || (events(&proxy, "descriptors-recovered") == 1).then_some(()));
    kept.extend((0..50).map(|_| client.connect()));
    client.get("/v2/orders").must_be(200);
    drop(kept);
    let mut proxy = proxy;
    let ended = proxy.stop();
    assert_eq!(ended.output.matches("no file descriptor is left").count(), 1, "{}", ended.output);
}

#[test]
fn without_descriptors_calls_are_refused_clearly_and_the_log_still_begins_new_segments() {
    if !have("prlimit", found("prlimit")) {
        return;
    }
    let merchant = Merchant::content();
    let mut proxy = Proxy::start(&merchant.target(), |setup| {
        webshop(setup).set(&["audit", "segment_size"], "64KiB");
    });
    let mut connection = proxy.client("webshop").connect();
    connection.request(&Request::new("GET", "/api/v2/nothing")).must_be_refused(404, "endpoint_unknown");
    settled(&proxy);
    let mut kept = Vec::new();
    leave_none(&proxy, &mut kept);
    let refused = connection.request(&orders());
    refused.must_be_refused(503, "descriptors_exhausted");
    assert_eq!(refused.header("retry-after"), "1", "{refused}");
    assert!(merchant.seen().is_empty());
    for _ in 0..1000 {
        if proxy.audit().segments().len() >= 3 {
            break;
        }
        let reply = connection.request(&orders());
        // Between a segment that ends and one that begins a descriptor is free for a moment, and a call may get it.
        if reply.status != 200 {
            reply.must_be_refused(503, "descriptors_exhausted");
        }
    }
    assert!(proxy.audit().segments().len() >= 3, "{:?}", proxy.audit().segments());
    limit(&proxy, 1024);
    connection.request(&orders()).must_be(200);
    drop((connection, kept));
    proxy.stop();
    proxy.keygate(&["audit", "verify"], b"").ok();
}
