//! On the record: no complete reply without its record, whatever happens to the client, the gate or the disk.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::harness::{Merchant, Proxy, Request, until};

fn verify(proxy: &mut Proxy) -> crate::harness::command::Ran {
    proxy.keygate(&["audit", "verify"], b"")
}

#[test]
fn a_write_has_a_durable_intent_before_it_leaves() {
    let merchant = Merchant::start(|e| {
        e.hold();
        e.json(201, r#"{"StatusCode":201,"Success":true}"#)
    });
    let proxy = Proxy::open(&merchant.target());
    let client = proxy.client("webshop");
    let mut connection = client.connect();
    connection.start(&Request::new("POST", "/api/v2/shipments").body("{}"));
    merchant.await_calls(1);
    let intents = proxy.audit().of_kind("intent");
    assert_eq!(intents.len(), 1, "the upstream has the call and the log has no intent");
    assert_eq!(intents[0].text("endpoint"), "POST /v2/shipments");
    merchant.release();
    let reply = connection.reply("POST /api/v2/shipments").unwrap();
    assert_eq!(reply.must_be(201).record(), intents[0].text("id"), "intent and outcome share an id");
    proxy.client("webshop").get("/v2/orders");
    assert_eq!(proxy.audit().of_kind("intent").len(), 1, "a read needs no intent");
}

#[test]
fn personal_data_is_kept_as_hashes_that_can_be_searched_for() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let client = proxy.client("webshop");
    let path = "/v2/orders?emailAddresses=ann.person%40example.com&page=1";
    let (one, two) = (client.get(path), client.get(path));
    let other = client.get("/v2/orders?emailAddresses=bob.person%40example.com");
    let hash = |reply| proxy.record(reply).field("query")[0][1].clone();
    assert_eq!(proxy.record(&one).field("query")[0][0], "emailAddresses");
    assert_eq!(hash(&one), hash(&two));
    assert_ne!(hash(&one), hash(&other));
    client.get("/v2/products/customer-4711");
    let log = String::from_utf8(proxy.audit().bytes()).unwrap();
    for personal in ["ann.person", "bob.person", "customer-4711"] {
        assert!(!log.contains(personal), "`{personal}` stands in the log");
    }
}

#[test]
fn the_log_is_encrypted_to_whom_init_made_an_identity_for_and_the_gate_needs_none() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    let identity = proxy.directory().join("audit-identity.txt");
    let elsewhere = proxy.directory().join("auditor");
    fs::create_dir(&elsewhere).unwrap();
    let elsewhere = elsewhere.join("identity.txt");
    fs::rename(&identity, &elsewhere).unwrap();
    proxy.client("webshop").get("/v2/orders").must_be(200);
    proxy.stop();
    proxy.run();
    proxy.client("webshop").get("/v2/orders").must_be(200);
    let raw = String::from_utf8_lossy(&proxy.audit().raw()).into_owned();
    assert!(!raw.contains("webshop") && !raw.contains("/v2/orders"), "records can be read by whoever has the files");
    let shut = proxy.keygate(&["audit", "tail"], b"");
    assert!(shut.code == Some(1) && shut.stderr.contains("--identity"), "{shut}");
    let told = proxy.keygate(&["audit", "verify"], b"").ok();
    assert!(told.contains("intact") && told.contains("not opened"), "{told}");
    let named = ["--identity", elsewhere.to_str().unwrap()];
    let tail = proxy.keygate(&[&["audit", "tail"][..], &named].concat(), b"").ok();
    assert_eq!(tail.lines().filter(|line| line.contains("GET /v2/orders")).count(), 2, "{tail}");
    let told = proxy.keygate(&[&["audit", "verify"][..], &named].concat(), b"").ok();
    assert!(!told.contains("not opened"), "{told}");
    let (key, config) = (elsewhere.display().to_string(), proxy.config().display().to_string());
    let wrong = proxy.keygate(&["audit", "tail", "--identity", &config], b"");
    assert!(wrong.code == Some(1) && wrong.stderr.contains("age-keygen"), "{wrong}");
    fs::rename(key, identity).unwrap();
}

#[test]
fn other_recipients_are_taken_over_by_a_running_gate() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    proxy.client("webshop").get("/v2/orders").must_be(200);
    let config = fs::read_to_string(proxy.config()).unwrap();
    let at = config.find("recipients = [").unwrap() + "recipients = [".len();
    let (text, recipient) = keygate::audit::Identity::generate();
    fs::write(proxy.config(), format!("{}\"{recipient}\", {}", &config[..at], &config[at..])).unwrap();
    crate::harness::until("the reload on record", || {
        let gate = proxy.audit().of_kind("gate").into_iter();
        gate.map(|line| line.text("event.detail").to_owned())
            .find(|told| told.contains("recipients of the log changed, 2 now"))
    });
    proxy.client("webshop").get("/v2/products").must_be(200);
    proxy.stop();
    let other = proxy.directory().join("other.txt");
    fs::write(&other, text.as_bytes()).unwrap();
    fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let other = other.display().to_string();
    let tail = proxy.keygate(&["audit", "tail", "-n", "2", "--identity", &other], b"").ok();
    assert!(tail.contains("GET /v2/products"), "{tail}");
    let all = proxy.keygate(&["audit", "tail", "--identity", &other], b"");
    assert!(all.code == Some(1) && all.stderr.contains("recipients"), "{all}");
    let bad = fs::read_to_string(proxy.config()).unwrap().replace(&recipient, "age1nobody");
    fs::write(proxy.config(), bad).unwrap();
    let check = proxy.keygate(&["check"], b"");
    assert!(check.code != Some(0) && check.stderr.contains("`age1nobody` is no age recipient"), "{check}");
}

#[test]
fn every_call_that_got_a_complete_reply_is_in_the_log_after_kill_9_under_load() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    let (ids, over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    thread::scope(|scope| {
        for worker in 0..8 {
            let client = proxy.client("webshop");
            let (ids, over) = (&ids, &over);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let Ok(mut connection) = client.try_connect() else { return };
                    for n in 0..50 {
                        let write = (worker + n) % 2 == 0;
                        let request = if write {
                            Request::new("POST", "/api/v2/shipments").body("{}")
                        } else {
                            Request::new("GET", "/api/v2/orders")
                        };
                        let Ok(reply) = connection.try_request(&request) else { return };
                        ids.lock().unwrap().push(reply.must_be(200).record().to_owned());
                    }
                }
            });
        }
        until("replies under load", || (ids.lock().unwrap().len() > 400).then_some(()));
        proxy.signal("KILL");
        over.store(true, Ordering::SeqCst);
    });
    proxy.wait();
    let kept: std::collections::HashSet<String> =
        proxy.audit().of_kind("call").iter().map(|line| line.text("id").to_owned()).collect();
    let ids = ids.into_inner().unwrap();
    let lost: Vec<_> = ids.iter().filter(|id| !kept.contains(*id)).collect();
    assert!(lost.is_empty(), "{} of {} replies have no record: {lost:?}", lost.len(), ids.len());
    proxy.run();
    proxy.client("webshop").get("/v2/orders").must_be(200);
    proxy.stop();
    verify(&mut proxy).ok();
}

#[test]
fn an_intent_without_an_outcome_is_reported_as_unknown_after_a_crash() {
    let merchant = Merchant::start(|e| {
        e.hold();
        e.json(200, "{}")
    });
    let mut proxy = Proxy::open(&merchant.target());
    let mut connection = proxy.client("webshop").connect();
    connection.start(&Request::new("POST", "/api/v2/shipments").body("{}"));
    merchant.await_calls(1);
    let id = proxy.audit().of_kind("intent")[0].text("id").to_owned();
    proxy.kill();
    proxy.run();
    let recovered = proxy.audit().of_kind("gate").into_iter().find(|line| line.text("event.code") == "recovered");
    assert!(recovered.is_some_and(|line| line.text("event.detail").contains('1')), "no word of the lost outcome");
    proxy.stop();
    let ran = verify(&mut proxy);
    assert!(ran.stdout.contains(&id), "the report does not name the call: {ran}");
}

/// Whatever is done to the log, the gate must answer 503 and forward nothing.
pub fn the_gate_closes(proxy: &Proxy, merchant: &Merchant) {
    let client = proxy.client("webshop");
    let refused = until("a refusal because of the log", || {
        let reply = client.try_call(&Request::new("GET", "/api/v2/orders")).ok()?;
        (reply.status == 503).then_some(reply)
    });
    refused.must_be_refused(503, "audit_unavailable");
    let before = merchant.seen().len();
    for _ in 0..3 {
        client.get("/v2/orders").must_be_refused(503, "audit_unavailable");
        client.send("POST", "/v2/shipments", &serde_json::json!({})).must_be_refused(503, "audit_unavailable");
    }
    assert_eq!(merchant.seen().len(), before, "a call was forwarded without a record");
}

/// Ends a gate that has lost its log; it may well say so with its exit code.
fn end(proxy: &mut Proxy) {
    proxy.signal("TERM");
    proxy.wait();
}

#[test]
fn the_gate_closes_when_its_log_is_unlinked() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    proxy.client("webshop").get("/v2/orders").must_be(200);
    for segment in proxy.audit().segments() {
        fs::remove_file(segment).unwrap();
    }
    the_gate_closes(&proxy, &merchant);
    end(&mut proxy);
}

#[test]
fn the_gate_closes_when_its_log_is_replaced() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    proxy.client("webshop").get("/v2/orders").must_be(200);
    for segment in proxy.audit().segments() {
        let copy = segment.with_extension("copy");
        fs::copy(&segment, &copy).unwrap();
        fs::rename(&copy, &segment).unwrap();
    }
    the_gate_closes(&proxy, &merchant);
    end(&mut proxy);
}

#[test]
fn the_gate_closes_when_its_log_may_not_grow_and_loses_nothing() {
    let merchant = Merchant::content();
    // 64 blocks of 1 KiB (bash counts so). The signal that comes with the limit is ignored, so that the write fails.
    let wrapper = ["bash", "-c", r#"trap "" XFSZ; ulimit -f 64; exec "$@""#, "bash"];
    let mut proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", crate::harness::proxy::EVERYDAY).under(&wrapper);
    });
    a_full_log_loses_nothing(&mut proxy, &merchant);
}

pub fn a_full_log_loses_nothing(proxy: &mut Proxy, merchant: &Merchant) {
    let client = proxy.client("webshop");
    let mut ids = Vec::new();
    let refused = loop {
        let reply = client.get("/v2/orders");
        if reply.status != 200 {
            break reply;
        }
        ids.push(reply.record().to_owned());
        assert!(ids.len() < 5000, "the log never fills");
    };
    refused.must_be_refused(503, "audit_unavailable");
    the_gate_closes(proxy, merchant);
    let kept: std::collections::HashSet<String> =
        proxy.audit().of_kind("call").iter().map(|line| line.text("id").to_owned()).collect();
    assert!(!ids.is_empty() && ids.iter().all(|id| kept.contains(id)), "a reply without its record");
    end(proxy);
}

#[test]
fn a_gate_without_its_log_does_not_start() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read"]);
    });
    fs::rename(proxy.audit().directory(), proxy.directory().join("elsewhere")).unwrap();
    let ran = proxy.try_run().unwrap_err();
    assert!(ran.stderr.contains("audit") && ran.stderr.contains("hint: "), "{ran}");
    assert!(!proxy.audit().directory().exists(), "it was created silently");
}

#[test]
fn two_gates_cannot_write_one_log() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    let ran = proxy.keygate(&["run"], b"");
    assert_ne!(ran.code, Some(0), "{ran}");
    assert!(ran.stderr.starts_with("error: "), "{ran}");
    proxy.client("webshop").get("/v2/orders").must_be(200);
}

#[test]
fn a_changed_record_is_found_and_named() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    let reply = proxy.client("webshop").get("/v2/orders");
    proxy.stop();
    verify(&mut proxy).ok();
    let segment = proxy.audit().segments().pop().unwrap();
    let mut log = fs::read(&segment).unwrap();
    let middle = log.len() / 2;
    log[middle] ^= 1;
    fs::write(&segment, log).unwrap();
    let ran = verify(&mut proxy);
    assert_eq!(ran.code, Some(1), "{ran}");
    let name = segment.file_name().unwrap().to_string_lossy().into_owned();
    assert!(ran.stdout.contains(&name) || ran.stderr.contains(&name), "the report does not name the file: {ran}");
    drop(reply);
}

#[test]
fn the_log_can_be_read_while_the_gate_runs() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    let id = proxy.client("webshop").get("/v2/orders").record().to_owned();
    let lines = proxy.keygate(&["audit", "tail", "-n", "5", "--json"], b"").ok();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["id"], id);
    let human = proxy.keygate(&["audit", "tail", "-n", "1"], b"").ok();
    assert!(human.contains("webshop") && human.contains("GET /v2/orders") && human.contains("200"), "{human}");
    verify(&mut proxy).ok();
}

#[test]
fn a_person_can_be_forgotten_while_the_gate_runs() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    let client = proxy.client("webshop");
    let ann = client.get("/v2/orders?emailAddresses=ann.person%40example.com").must_be(200).record().to_owned();
    let bob = client.get("/v2/orders?emailAddresses=bob.person%40example.com").must_be(200).record().to_owned();
    let hash = proxy.audit().find(&ann).unwrap().field("query")[0][1].as_str().unwrap().to_owned();
    let forget = ["audit", "forget", "--param", "emailAddresses=ann.person@example.com"];
    let dry = proxy.keygate(&[&forget[..], &["--dry-run"]].concat(), b"").ok();
    assert!(dry.contains("1 record") && dry.contains("GET /v2/orders") && dry.contains("nothing was changed"), "{dry}");
    let asked = proxy.keygate(&forget, b"");
    assert!(asked.code == Some(2) && asked.stderr.contains("--yes"), "{asked}");
    let told = proxy.keygate(&[&forget[..], &["--reason", "for ann.person@example.com", "--yes"]].concat(), b"");
    assert!(told.code == Some(2) && proxy.audit().find(&ann).is_some(), "{told}");
    let done = proxy.keygate(&[&forget[..], &["--reason", "request 17", "--yes"]].concat(), b"").ok();
    assert!(done.contains("forgotten: 1 record"), "{done}");
    assert!(proxy.audit().find(&ann).is_none() && proxy.audit().find(&bob).is_some());
    let all = String::from_utf8(proxy.audit().bytes()).unwrap();
    assert!(!all.contains(&hash) && all.contains("request 17"), "{all}");
    let again = proxy.keygate(&[&forget[..], &["--yes"]].concat(), b"").ok();
    assert!(again.contains("nothing matches"), "{again}");
    // Nothing in the gate's memory, or behind a restart, changes that; and the gate goes on.
    proxy.client("webshop").get("/v2/orders").must_be(200);
    proxy.stop();
    verify(&mut proxy).ok();
    let stopped = proxy.keygate(&["audit", "forget", "--record", &bob, "--yes"], b"").ok();
    assert!(stopped.contains("forgotten: 1 record"), "{stopped}");
    assert!(proxy.audit().find(&bob).is_none());
    let told = verify(&mut proxy).ok();
    assert!(told.contains("intact") && told.contains("forgotten: 2 records"), "{told}");
    proxy.run();
    proxy.client("webshop").get("/v2/orders").must_be(200);
}

#[test]
fn a_log_without_recipients_refuses_to_forget_and_says_why() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", crate::harness::proxy::EVERYDAY);
        setup.set(&["audit", "recipients"], toml_edit::Array::new());
    });
    let id = proxy.client("webshop").get("/v2/orders").must_be(200).record().to_owned();
    let ran = proxy.keygate(&["audit", "forget", "--record", &id, "--yes"], b"");
    assert!(ran.code == Some(1) && ran.stderr.contains("[audit] recipients"), "{ran}");
    assert!(proxy.audit().find(&id).is_some());
}

#[test]
fn finished_segments_are_sealed_while_the_gate_serves() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", crate::harness::proxy::EVERYDAY);
        setup.set(&["audit", "segment_size"], "64KiB");
    });
    let client = proxy.client("webshop");
    let first = client.get("/v2/orders").must_be(200).record().to_owned();
    let sealed =
        |proxy: &Proxy| proxy.audit().segments().iter().filter(|path| path.extension().unwrap() == "sealed").count();
    crate::harness::until("a sealed segment", || {
        client.get("/v2/orders").must_be(200);
        (sealed(&proxy) > 0).then_some(())
    });
    assert!(proxy.audit().find(&first).is_some());
    verify(&mut proxy).ok();
    proxy.stop();
    proxy.run();
    // Those that the last run left are sealed as well.
    proxy.client("webshop").get("/v2/orders").must_be(200);
    crate::harness::until("only the live segment is not sealed", || {
        (sealed(&proxy) + 1 == proxy.audit().segments().len()).then_some(())
    });
    proxy.stop();
    verify(&mut proxy).ok();
}
