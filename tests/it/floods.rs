//! Floods and tricks of HTTP/2: each ends in a bounded time and memory, with the right code, as one record, while other
//! clients are answered.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::frames::{END_HEADERS, END_STREAM, End, Frame, Frames, field, frame, kind, request};
use crate::harness::{Line, Merchant, Proxy, until};

const ENHANCE_YOUR_CALM: u32 = 11;
/// How much larger the gate may be after a flood than before. A debug build with its allocator's own habits.
const GROWTH: u64 = 24 * 1024;
/// How long a flood may last, on a busy machine.
const SOON: Duration = Duration::from_secs(15);

/// What a client does again and again: its name, its frames at the n-th time, and what the record must say.
type Flood = (&'static str, fn(u32, &str) -> Vec<u8>, &'static str, &'static str);

/// Frames that do no work.
const IDLE: [Flood; 10] = [
    ("PING", ping, "h2_flood", "PING"),
    ("SETTINGS", settings, "h2_flood", "SETTINGS"),
    ("many settings at once", many_settings, "h2_flood", "settings in one frame"),
    ("PRIORITY", priority, "h2_flood", "PRIORITY"),
    ("WINDOW_UPDATE", window_update, "h2_flood", "WINDOW_UPDATE"),
    ("frames of no kind", unknown, "h2_flood", "extension"),
    ("empty DATA", empty_data, "h2_flood", "DATA"),
    ("DATA of padding", padding, "h2_flood", "DATA"),
    ("CONTINUATION", continuation, "h2_flood", "CONTINUATION"),
    ("empty CONTINUATION", empty_continuation, "h2_flood", "CONTINUATION"),
];

/// Calls that are begun to be reset.
const RESETS: [Flood; 5] = [
    ("rapid reset", rapid_reset, "h2_rapid_reset", "by the client"),
    ("made you reset, a window", made_you_reset, "h2_rapid_reset", "too many streams reset"),
    ("made you reset, a dependency", self_dependency, "h2_rapid_reset", "too many streams reset"),
    ("2,000 open streams", stream, "h2_rapid_reset", "too many streams reset"),
    ("requests without a path", malformed, "h2_rapid_reset", "too many streams reset"),
];

fn ping(_: u32, _: &str) -> Vec<u8> {
    frame(kind::PING, 0, 0, &[7; 8])
}

fn settings(n: u32, _: &str) -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[&[0, 4][..], &(65_535 + n % 2).to_be_bytes()].concat())
}

fn priority(n: u32, _: &str) -> Vec<u8> {
    frame(kind::PRIORITY, 0, 2 * (n % 1000) + 1, &[0, 0, 0, 0, 16])
}

fn window_update(_: u32, _: &str) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])
}

fn unknown(_: u32, _: &str) -> Vec<u8> {
    frame(0xbe, 0, 0, b"whatever")
}

fn empty_data(n: u32, key: &str) -> Vec<u8> {
    if n == 0 { frame(kind::HEADERS, END_HEADERS, 1, &post(key)) } else { frame(kind::DATA, 0, 1, &[]) }
}

fn padding(n: u32, key: &str) -> Vec<u8> {
    if n == 0 { frame(kind::HEADERS, END_HEADERS, 1, &post(key)) } else { frame(kind::DATA, 8, 1, &[3, 0, 0, 0]) }
}

fn continuation(n: u32, key: &str) -> Vec<u8> {
    if n == 0 { frame(kind::HEADERS, 0, 1, &post(key)) } else { frame(kind::CONTINUATION, 0, 1, &field("a", "b")) }
}

fn empty_continuation(n: u32, key: &str) -> Vec<u8> {
    if n == 0 { frame(kind::HEADERS, 0, 1, &post(key)) } else { frame(kind::CONTINUATION, 0, 1, &[]) }
}

fn many_settings(_: u32, _: &str) -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100].repeat(2000))
}

/// A reset of each call as soon as it is begun.
fn rapid_reset(n: u32, key: &str) -> Vec<u8> {
    [get(n, key), frame(kind::RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8])].concat()
}

/// A window that overflows, for which the gate resets the call.
fn made_you_reset(n: u32, key: &str) -> Vec<u8> {
    [get(n, key), frame(kind::WINDOW_UPDATE, 0, 2 * n + 1, &[0x7f, 255, 255, 255])].concat()
}

/// A stream that depends on itself, for which the gate resets it.
fn self_dependency(n: u32, key: &str) -> Vec<u8> {
    let stream = 2 * n + 1;
    [get(n, key), frame(kind::PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[16]].concat())].concat()
}

/// More streams than there may be.
fn stream(n: u32, key: &str) -> Vec<u8> {
    let block = request("GET", "/api/v2/orders", &[("x-ce-key", key)]);
    frame(kind::HEADERS, END_HEADERS, 2 * n + 1, &block)
}

/// Requests that make no sense.
fn malformed(n: u32, _: &str) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &field(":method", "GET"))
}

fn get(n: u32, key: &str) -> Vec<u8> {
    let block = request("GET", "/api/v2/orders", &[("x-ce-key", key)]);
    frame(kind::HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block)
}

fn post(key: &str) -> Vec<u8> {
    request("POST", "/api/v2/shipments", &[("x-ce-key", key)])
}

/// Sends up to `times` of a flood, until the gate takes no more, and reads what it says.
fn flood(frames: &mut Frames, making: fn(u32, &str) -> Vec<u8>, key: &str, times: u32) -> End {
    for batch in 0..times / 100 {
        let bytes: Vec<u8> = (batch * 100..(batch + 1) * 100).flat_map(|n| making(n, key)).collect();
        if frames.write(&bytes).is_err() {
            break;
        }
    }
    frames.end()
}

/// Memory that the gate holds, KiB.
fn memory(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The connections on record; complete, because a call after all that is in question has its record by now.
fn connections(proxy: &Proxy) -> Vec<Line> {
    proxy.client("webshop").get("/v2/orders").must_be(200);
    proxy.audit().of_kind("connection")
}

/// Lets a client flood the gate while another makes calls.
#[track_caller]
fn is_ended_as_one_event(proxy: &Proxy, (name, making, code, detail): Flood) {
    let (before, small) = (connections(proxy).len(), memory(proxy));
    let mut frames = proxy.anonymous().frames(&[]);
    let (key, began) = (proxy.key("webshop").to_owned(), Instant::now());
    let attack = thread::spawn(move || flood(&mut frames, making, &key, 20_000));
    loop {
        let asked = Instant::now();
        proxy.client("webshop").get("/v2/orders").must_be(200);
        assert!(asked.elapsed() < SOON, "{name}: another client waited {:?}", asked.elapsed());
        if attack.is_finished() {
            break;
        }
    }
    let end = attack.join().unwrap_or_else(|_| panic!("{name}: not ended"));
    assert!(began.elapsed() < SOON, "{name}: lasted {:?}", began.elapsed());
    assert_eq!(end.goaway.map(|(_, code)| code), Some(ENHANCE_YOUR_CALM), "{name}: {end:?}");
    let records = connections(proxy).split_off(before);
    assert_eq!(records.len(), 1, "{name}: {records:?}");
    assert_eq!(records[0].text("refusal"), code, "{name}: {}", records[0]);
    assert!(records[0].text("detail").contains(detail), "{name}: {}", records[0]);
    let grown = memory(proxy).saturating_sub(small);
    assert!(grown < GROWTH, "{name}: the gate grew by {grown} KiB");
}

#[test]
fn frames_that_do_no_work_end_the_connection_as_one_event() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    for flood in IDLE {
        is_ended_as_one_event(&proxy, flood);
    }
}

#[test]
fn calls_begun_to_be_reset_end_the_connection_as_one_event() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    for flood in RESETS {
        is_ended_as_one_event(&proxy, flood);
    }
}

#[test]
fn calls_that_are_reset_do_not_pile_up_at_the_upstream() {
    for making in [rapid_reset, made_you_reset] {
        let merchant = Merchant::start(|e| {
            e.hold();
            e.json(200, "{}")
        });
        let proxy = Proxy::open(&merchant.target());
        let mut frames = proxy.anonymous().frames(&[]);
        let end = flood(&mut frames, making, proxy.key("webshop"), 2_000);
        assert_eq!(end.goaway.map(|(_, code)| code), Some(ENHANCE_YOUR_CALM), "{end:?}");
        let reached = merchant.seen().len();
        merchant.release();
        let calls = until("a record of each call that left", || {
            let calls = proxy.audit().of_kind("call");
            (calls.iter().filter(|line| line.field("upstream_status") == 200).count() >= reached).then_some(calls)
        });
        assert!(calls.len() <= 250, "{} calls from one connection", calls.len());
    }
}

#[test]
fn calls_that_are_reset_are_bounded_even_when_others_pay_for_them() {
    let merchant = Merchant::start(|e| {
        e.hold();
        e.json(200, "{}")
    });
    let proxy = Proxy::open(&merchant.target());
    let key = proxy.key("webshop");
    let mut frames = proxy.anonymous().frames(&[]);
    for n in 0..400 {
        // A call that is refused at once, and so answered, for each one that is reset on its way.
        let round = [rapid_reset(2 * n, key), get(2 * n + 1, "nobody's")].concat();
        if frames.write(&round).is_err() {
            break;
        }
        let over = |f: &Frame| f.kind == kind::GOAWAY || f.stream == 4 * n + 3 && f.flags & END_STREAM != 0;
        let last = frames.until("an answer, or the end", over);
        if last.kind == kind::GOAWAY {
            frames.put_back(&last);
            break;
        }
    }
    let end = frames.end();
    assert_eq!(end.goaway.map(|(_, code)| code), Some(ENHANCE_YOUR_CALM), "{end:?}");
    assert!((100..150).contains(&merchant.seen().len()), "{} calls reached the upstream", merchant.seen().len());
    merchant.release();
    let records = connections(&proxy);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].text("refusal"), "h2_rapid_reset", "{}", records[0]);
    assert!(records[0].text("detail").contains("still go on"), "{}", records[0]);
}

#[test]
fn a_client_that_never_reads_makes_the_gate_keep_nothing() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    connections(&proxy);
    let small = memory(&proxy);
    let mut frames = proxy.anonymous().frames(&[]);
    frames.write_timeout(Duration::from_millis(500));
    // It is no flood as long as calls pay for it: 5 PINGs and a call that is answered, again and again, unread.
    let key = proxy.key("webshop");
    let round = |n: u32| [get(n, key), ping(0, key).repeat(5)].concat();
    let sent = (0..40_000).take_while(|n| frames.write(&round(*n)).is_ok()).count();
    let grown = memory(&proxy).saturating_sub(small);
    assert!(grown < GROWTH, "the gate grew by {grown} KiB in {sent} rounds");
    proxy.client("webshop").get("/v2/orders").must_be(200);
}

#[test]
fn replies_that_a_window_of_zero_holds_back_take_a_bounded_room() {
    let merchant = Merchant::start(|e| e.reply(200, "content-type: text/plain\r\n", &vec![b'x'; 2_000_000]));
    let proxy = Proxy::open(&merchant.target());
    connections(&proxy);
    let small = memory(&proxy);
    let mut frames = proxy.anonymous().frames(&[(4, 0)]);
    let key = proxy.key("webshop").to_owned();
    for n in 0..100 {
        frames.write(&get(n, &key)).unwrap();
    }
    for _ in 0..100 {
        frames.until("the head of a reply", |f| f.kind == kind::HEADERS);
    }
    proxy.client("webshop").get("/v2/orders").must_be(200);
    let grown = memory(&proxy).saturating_sub(small);
    // 256 KiB a stream at most, and what the upstream's connections hold.
    assert!(grown < 100 * 512, "the gate grew by {grown} KiB");
    drop(frames);
    until("a record of each", || {
        let gone = proxy.audit().of_kind("call").into_iter().filter(|line| line.text("outcome") == "client-gone");
        (gone.count() == 100).then_some(())
    });
}

#[test]
fn windows_held_at_zero_end_the_connection_as_one_event() {
    let merchant = Merchant::start(|e| e.reply(200, "content-type: text/plain\r\n", &vec![b'x'; 100_000]));
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:*"]).set(&["listen", "send_timeout"], "1s");
    });
    let before = connections(&proxy).len();
    let mut frames = proxy.anonymous().frames(&[(4, 0)]);
    let key = proxy.key("webshop").to_owned();
    for n in 0..120 {
        frames.write(&get(n, &key)).unwrap();
    }
    // For each reply that is given up it asks for another.
    for n in 120..1_000 {
        let reset = frames.until("a reset, or the end", |f| [kind::RST_STREAM, kind::GOAWAY].contains(&f.kind));
        if reset.kind == kind::GOAWAY || frames.write(&get(n, &key)).is_err() {
            frames.put_back(&reset);
            break;
        }
    }
    let end = frames.end();
    assert_eq!(end.goaway.map(|(_, code)| code), Some(ENHANCE_YOUR_CALM), "{end:?}");
    let records = connections(&proxy).split_off(before);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].text("refusal"), "send_timeout", "{}", records[0]);
}
