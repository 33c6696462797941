//! Hostile requests as data: each case of `tests/hostile/*.toml` is sent byte for byte to the real gate, with an upstream
//! behind it that notes every byte. What reaches it is one well-formed request or nothing; every refusal is on record.

mod case;
mod h2;
mod strict;
mod upstream;
mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use case::{Case, Names};
use strict::Request;
use upstream::{Noted, Upstream};
use wire::{Saw, address_of, offering};

use crate::harness::{Line, Proxy, random_hex};

/// Connections at once.
const CLIENTS: usize = 12;

/// Plays every case; what the client saw, by case.
fn play(proxy: &Proxy, cases: &[(String, Case)]) -> Vec<Saw> {
    let ca = std::fs::read(proxy.directory().join("ca.pem")).unwrap();
    let (h1, h2) = (offering("http/1.1", &ca), offering("h2", &ca));
    let (next, saw) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let (gate, key) = (proxy.address(), proxy.key("webshop"));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    let Some((_, case)) = cases.get(at) else { return };
                    let names = Names { key, case: at };
                    let one = match (&case.h1, &case.h2) {
                        (Some(text), None) => {
                            let stream = wire::connect(gate, at, Arc::clone(&h1)).unwrap();
                            wire::http1(stream, &case::bytes(text, &names), case.before_goodbye())
                        }
                        (None, Some(text)) => {
                            let stream = wire::connect(gate, at, Arc::clone(&h2)).unwrap();
                            h2::http2(stream, &h2::frames(text, &names), case.before_goodbye())
                        }
                        _ => panic!("`{}` has either `h1` or `h2`", case.shows),
                    };
                    saw.lock().unwrap().insert(at, one);
                }
            });
        }
    });
    saw.into_inner().unwrap().into_values().collect()
}

/// What is on record of each case, sorted: refusal codes, or `allowed`.
fn on_record(lines: &[Line], case: usize) -> Vec<String> {
    let address = address_of(case).to_string();
    let own = lines.iter().filter(|line| line.text("peer") == address && line.text("kind") != "intent");
    let mut codes: Vec<_> = own
        .map(|line| {
            if line.text("refusal").is_empty() { line.text("verdict") } else { line.text("refusal") }.to_owned()
        })
        .collect();
    codes.sort();
    codes
}

/// A request as the cases write it.
fn written(request: &Request) -> String {
    let body = String::from_utf8_lossy(&request.content()).escape_debug().to_string();
    format!("{} {} {body}", request.method, request.target).trim_end().to_owned()
}

/// What reached the upstream, by case; what cannot be told by case comes back as complaints.
fn arrived(noted: &[Noted]) -> (BTreeMap<usize, Vec<String>>, Vec<String>) {
    let (mut by_case, mut wrong) = (BTreeMap::<usize, Vec<String>>::new(), Vec::new());
    for connection in noted {
        for request in &connection.requests {
            match request.field("x-case").and_then(|n| n.parse().ok()) {
                Some(case) => by_case.entry(case).or_default().push(written(request)),
                None => wrong.push(format!("of no case: {}", written(request))),
            }
        }
        let rest = String::from_utf8_lossy(&connection.rest);
        if let Some(why) = &connection.wrong {
            wrong.push(format!("not one well-formed request: {why}\n{}", rest.escape_debug()));
        } else if !rest.is_empty() {
            match cut(&rest) {
                Some((case, line)) => by_case.entry(case).or_default().push(format!("part of {line}")),
                None => wrong.push(format!("left behind the last request: {}", rest.escape_debug())),
            }
        }
    }
    (by_case, wrong)
}

/// Case, method and target of a request that was cut inside its body. One cut inside its head is none.
fn cut(rest: &str) -> Option<(usize, String)> {
    let (head, _) = rest.split_once("\r\n\r\n")?;
    let case = head.lines().find_map(|line| line.strip_prefix("x-case: "))?.parse().ok()?;
    Some((case, head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned()))
}

/// Of a request that was cut, a part may have arrived or nothing.
fn without_parts(all: &[String]) -> Vec<&String> {
    let mut whole: Vec<_> = all.iter().filter(|line| !line.starts_with("part of ")).collect();
    // The upstream sees them on several connections.
    whole.sort();
    whole
}

fn judge(case: &Case, saw: &Saw, codes: &[String], arrived: &[String], proxy: &Proxy) -> Vec<String> {
    let mut wrong = Vec::new();
    if saw.events != case.seen() {
        let raw = String::from_utf8_lossy(&saw.raw[..saw.raw.len().min(300)]).escape_debug().to_string();
        wrong.push(format!("the client saw {:?}, not {:?}: {raw}", saw.events, case.seen()));
    }
    if codes != case.codes() {
        wrong.push(format!("on record are {codes:?}, not {:?}", case.codes()));
    }
    let parts_fine =
        arrived.iter().filter(|line| line.starts_with("part of ")).all(|part| case.upstream.contains(part));
    if without_parts(arrived) != without_parts(&case.upstream) || !parts_fine {
        wrong.push(format!("{arrived:?} reached the upstream, not {:?}", case.upstream));
    }
    if let Some(leak) = proxy.secrets().find(&saw.raw) {
        wrong.push(format!("{leak} reached the client"));
    }
    wrong
}

#[test]
fn what_reaches_the_upstream_is_one_well_formed_request_or_nothing() {
    let cases = case::all();
    assert!(cases.len() >= 250, "only {} cases", cases.len());
    let key = random_hex(40);
    let upstream = Upstream::start(&key);
    let mut proxy = Proxy::start(&upstream.target(), |setup| {
        setup.key = key;
        setup.integration("webshop", &["--allow", "orders:*", "--allow", "products:*"]);
    });
    let saw = play(&proxy, &cases);
    // Stopping seals the log: what is not on record now never will be.
    proxy.stop();
    let lines = proxy.audit().lines();
    let (by_case, mut wrong) = arrived(&upstream.noted());
    for (at, ((file, case), saw)) in cases.iter().zip(&saw).enumerate() {
        let arrived = by_case.get(&at).map_or(&[][..], Vec::as_slice);
        let found = judge(case, saw, &on_record(&lines, at), arrived, &proxy);
        wrong.extend(found.into_iter().map(|w| format!("{at} {file}: {}: {w}", case.shows)));
    }
    assert!(wrong.is_empty(), "\n{}\n{} of {} are wrong", wrong.join("\n"), wrong.len(), cases.len());
}
