//! Twenty rotations under load: reads and writes over HTTP/1.1 and HTTP/2 go on, and none fails.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};

use serde_json::json;

use super::portal::Shop;
use crate::harness::frames::{END_HEADERS, END_STREAM, Frame, frame, kind, request};
use crate::harness::{Client, Request};

const ROTATIONS: usize = 20;
const OFFER: &str = r#"[{"MerchantProductNo":"lamp-1","Stock":3,"Price":18}]"#;

/// What one client did: calls that went well, until the first that did not.
struct Traffic<'a> {
    over: &'a AtomicBool,
    calls: &'a AtomicU64,
}

impl Traffic<'_> {
    fn h1(&self, client: &Client, request: &Request) {
        let mut connection = client.connect();
        while !self.over.load(Ordering::SeqCst) {
            connection.request(request).must_be(200);
            self.calls.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// By hand: a status of 200 is one byte in HPACK.
    fn h2(&self, client: &Client, key: &str, method: &str, path: &str, body: &str) {
        let mut frames = client.frames(&[]);
        let json = [("x-ce-key", key), ("content-type", "application/json")];
        let block = request(method, path, if body.is_empty() { &json[..1] } else { &json });
        let mut stream = 1;
        while !self.over.load(Ordering::SeqCst) {
            let flags = if body.is_empty() { END_HEADERS | END_STREAM } else { END_HEADERS };
            let mut bytes = frame(kind::HEADERS, flags, stream, &block);
            if !body.is_empty() {
                bytes.extend(frame(kind::DATA, END_STREAM, stream, body.as_bytes()));
            }
            frames.write(&bytes).unwrap();
            let mut taken = 0;
            let last = frames.until("the end of a reply", |one: &Frame| {
                let ours = one.stream == stream;
                assert!(!ours || one.kind != kind::RST_STREAM, "{one:?}");
                assert!(!ours || one.kind != kind::HEADERS || one.payload[0] == 0x88, "no 200: {one:?}");
                taken += if one.kind == kind::DATA { one.payload.len() } else { 0 };
                ours && one.flags & END_STREAM != 0 && [kind::DATA, kind::HEADERS].contains(&one.kind)
            });
            assert_eq!(last.stream, stream);
            if taken > 0 {
                let more = u32::try_from(taken).unwrap().to_be_bytes();
                frames.write(&frame(kind::WINDOW_UPDATE, 0, 0, &more)).unwrap();
            }
            self.calls.fetch_add(1, Ordering::SeqCst);
            stream += 2;
        }
    }
}

#[test]
fn twenty_rotations_under_load_fail_no_call() {
    let mut shop = Shop::open();
    let (over, counts) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 4]);
    let (client, key) = (shop.proxy.client("webshop"), shop.proxy.key("webshop").to_owned());
    let base = shop.proxy.base_path().to_owned();
    let (orders, offer) = (format!("{base}/v2/orders"), format!("{base}/v2/offer"));
    let rotated = thread::scope(|scope| {
        let traffic = |calls| Traffic { over: &over, calls };
        let [h1_reads, h1_writes, h2_reads, h2_writes] = counts.each_ref().map(traffic);
        let (client, key, orders, offer) = (&client, &key, &orders, &offer);
        let write = Request::new("PUT", offer).json(&serde_json::from_str(OFFER).unwrap());
        let clients: Vec<ScopedJoinHandle<()>> = vec![
            scope.spawn(move || h1_reads.h1(client, &Request::new("GET", orders))),
            scope.spawn(move || h1_writes.h1(client, &write)),
            scope.spawn(move || h2_reads.h2(client, key, "GET", orders, "")),
            scope.spawn(move || h2_writes.h2(client, key, "PUT", offer, OFFER)),
        ];
        // A rotation that fails must still end the clients.
        let rotated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rotate_often(&mut shop)));
        over.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().expect("no call failed");
        }
        rotated
    });
    rotated.expect("twenty rotations");
    let counts = counts.map(AtomicU64::into_inner);
    assert!(counts.iter().all(|calls| *calls >= ROTATIONS as u64), "{counts:?}");
    eprintln!("calls while the key was rotated {ROTATIONS} times, none failed: {counts:?}");
    assert_eq!(shop.version(), ROTATIONS as u64 + 1);
    let calls = shop.proxy.audit().of_kind("call");
    let refused =
        |line: &&crate::harness::Line| line.field("retried_with") != &json!(null) || line.number("status") != 200;
    assert_eq!(calls.iter().filter(refused).count(), 0, "nothing had to be tried again");
    let versions = calls.iter().map(|line| line.field("credential")[1].as_u64().unwrap());
    let seen: std::collections::BTreeSet<u64> = versions.collect();
    assert_eq!(seen.len(), ROTATIONS + 1, "each version served: {seen:?}");
}

fn rotate_often(shop: &mut Shop) {
    let mut old = shop.first.clone();
    for count in 1..=ROTATIONS {
        let new = shop.new_key();
        let command = shop.begin(&["--share", "50", "--reads", "5", "--wait", "1m"], &new);
        // Whoever withdraws the old key does it when the record says that nothing uses it any more.
        shop.await_event("rotation-drained", count);
        shop.portal.withdraw(&old);
        command.ends(0);
        old = new;
    }
    assert_eq!(shop.events("rotation-certified").len(), ROTATIONS);
}
