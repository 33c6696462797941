//! A running gate takes a changed configuration over: as a whole or not at all, and no call notices.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use toml_edit::{DocumentMut, value};

use crate::harness::pki::Pki;
use crate::harness::proxy::EVERYDAY;
use crate::harness::{Client, Curl, Merchant, Proxy, Request, until};

fn edit(proxy: &Proxy, edit: impl FnOnce(&mut DocumentMut)) {
    let mut config: DocumentMut = fs::read_to_string(proxy.config()).unwrap().parse().unwrap();
    edit(&mut config);
    fs::write(proxy.config(), config.to_string()).unwrap();
}

fn events(proxy: &Proxy, code: &str) -> Vec<String> {
    let gate = proxy.audit().of_kind("gate").into_iter().filter(|line| line.text("event.code") == code);
    gate.map(|line| line.text("event.detail").to_owned()).collect()
}

/// Changes the configuration and waits until the gate has taken it over by itself.
#[track_caller]
fn change(proxy: &Proxy, how: impl FnOnce(&mut DocumentMut)) -> String {
    let before = events(proxy, "reloaded").len();
    edit(proxy, how);
    let told = until("a reload on record", || events(proxy, "reloaded").get(before).cloned());
    // It is on record before it is in force; then the gate tells the commands.
    let sha256 = told.rsplit(' ').next().unwrap();
    let running = proxy.audit().directory().join("running");
    until("the file in force", || fs::read_to_string(&running).is_ok_and(|text| text.contains(sha256)).then_some(()));
    told
}

fn orders() -> Request {
    Request::new("GET", "/api/v2/orders")
}

#[test]
fn fifty_reloads_under_load_fail_no_call_and_drop_no_connection() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", EVERYDAY).set(&["upstream", "acme", "limit"], "1000000/s");
    });
    let (over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            let mut connection = proxy.client("webshop").connect();
            let (over, calls) = (&over, &calls);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    connection.request(&orders()).must_be(200);
                    connection.request(&Request::new("POST", "/api/v2/shipments").body("{}")).must_be(200);
                    calls.fetch_add(2, Ordering::SeqCst);
                }
            });
        }
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let format = ["-o", "/dev/null", "-w", "%{http_code} %{http_version} %{num_connects}\n"];
                let (ran, _) = Curl::new(&proxy).h2().key("webshop").go("/v2/orders?page=[1-100]", &format);
                let lines: Vec<&str> = ran.stdout.lines().collect();
                assert_eq!((lines.len(), lines[0]), (100, "200 2 1"), "{ran}");
                assert!(lines[1..].iter().all(|line| *line == "200 2 0"), "{ran}");
                calls.fetch_add(100, Ordering::SeqCst);
            }
        });
        for n in 1..=50 {
            let before = calls.load(Ordering::SeqCst);
            edit(&proxy, |config| config["integration"]["webshop"]["limit"] = value(format!("{}/s", 100_000 + n)));
            proxy.signal("HUP");
            until("the reload", || {
                (proxy.metric("keygate_reloads_total{result=\"applied\"}") == Some(n)).then_some(())
            });
            until("a call after it", || (calls.load(Ordering::SeqCst) > before).then_some(()));
        }
        over.store(true, Ordering::SeqCst);
    });
    let told = events(&proxy, "reloaded");
    assert!(told.len() == 50 && told.iter().all(|detail| detail.starts_with("changed: webshop; ")), "{told:?}");
    proxy.stop();
    proxy.keygate(&["audit", "verify"], b"").ok();
}

#[test]
fn a_revoked_key_is_refused_within_a_second_on_an_open_connection_too() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", EVERYDAY).integration("pim", EVERYDAY);
    });
    let mut connection = proxy.client("webshop").connect();
    connection.request(&orders()).must_be(200);
    let ran = proxy.keygate(&["integration", "revoke", "webshop"], b"");
    connection.request(&orders()).must_be_refused(401, "key_revoked");
    assert!(ran.stderr.contains(&format!("the running gate (process {}) works by it now", proxy.pid())), "{ran}");
    ran.ok();
    let written: jiff::Timestamp = fs::metadata(proxy.config()).unwrap().modified().unwrap().try_into().unwrap();
    let log = proxy.audit().of_kind("gate");
    let reloaded = log.iter().find(|line| line.text("event.code") == "reloaded").unwrap();
    let in_force: jiff::Timestamp = reloaded.text("time").parse().unwrap();
    let took = in_force.duration_since(written).as_millis();
    assert!(took < 1000, "it took {took} ms");
    assert!(reloaded.text("event.detail").contains("changed: webshop"), "{reloaded}");
    proxy.client("pim").get("/v2/orders").must_be(200);
}

#[test]
fn an_integration_that_is_added_or_rotated_can_call_when_its_key_is_printed() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    let add = ["integration", "add", "pim", "--upstream", "acme", "--allow", "orders:read"];
    proxy.new_key("pim", &add);
    proxy.client("pim").get("/v2/orders").must_be(200);
    let former = proxy.client("pim");
    proxy.new_key("pim", &["integration", "rotate", "pim"]);
    proxy.client("pim").get("/v2/orders").must_be(200);
    former.get("/v2/orders").must_be_refused(401, "key_unknown");
    let told = events(&proxy, "reloaded");
    assert!(told[0].starts_with("integrations added: pim; ") && told[1].starts_with("changed: pim; "), "{told:?}");
    let kept = proxy.client("webshop").get("/v2/orders");
    kept.must_be(200);
}

#[test]
fn an_integration_that_is_taken_out_is_unknown_and_the_others_keep_their_counts() {
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("gone", EVERYDAY).integration("webshop", EVERYDAY);
    });
    proxy.client("gone").get("/v2/orders").must_be(200);
    proxy.client("webshop").get("/v2/orders").must_be(200);
    let told = change(&proxy, |config| drop(config["integration"].as_table_mut().unwrap().remove("gone")));
    assert!(told.starts_with("removed: gone; "), "{told}");
    proxy.client("gone").get("/v2/orders").must_be_refused(401, "key_unknown");
    proxy.client("webshop").get("/v2/orders").must_be(200);
    until("both calls counted", || {
        (proxy.metric("keygate_calls_total{integration=\"webshop\"}") == Some(2)).then_some(())
    });
    assert_eq!(proxy.metric("keygate_calls_total{integration=\"gone\"}"), None);
    assert_eq!(proxy.metric("keygate_reloads_total{result=\"applied\"}"), Some(1));
}

#[test]
fn a_wrong_file_changes_nothing_and_says_so_until_it_is_mended() {
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", EVERYDAY);
    });
    let good = fs::read_to_string(proxy.config()).unwrap();
    fs::write(proxy.config(), good.replace("orders:*", "ordres:*")).unwrap();
    let refused = until("the refusal on record", || events(&proxy, "reload-refused").pop());
    assert!(refused.contains("ordres:*") && refused.contains("keygate.toml:"), "{refused}");
    proxy.client("webshop").get("/v2/orders").must_be(200);
    until("a metric that says so", || (proxy.metric("keygate_reload_ok") == Some(0)).then_some(()));
    assert_eq!(proxy.metric("keygate_reloads_total{result=\"refused\"}"), Some(1));
    let (status, health) = proxy.admin("/health");
    let health: serde_json::Value = serde_json::from_str(&health).unwrap();
    assert_eq!((status, &health["ok"]), (200, &true.into()), "the gate serves on: {health}");
    assert!(health["reload_problems"][0].as_str().unwrap().contains("ordres:*"), "{health}");
    fs::write(proxy.config(), good).unwrap();
    until("a metric that says so", || (proxy.metric("keygate_reload_ok") == Some(1)).then_some(()));
    assert!(events(&proxy, "reloaded").is_empty(), "it is what was in force all along");
    fs::remove_file(proxy.config()).unwrap();
    until("the refusal on record", || (events(&proxy, "reload-refused").len() == 2).then_some(()));
    proxy.client("webshop").get("/v2/orders").must_be(200);
}

#[test]
fn what_needs_a_restart_is_named_and_nothing_else_is_taken_over_with_it() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    edit(&proxy, |config| {
        config["listen"]["max_body"] = value("1MiB");
        config["listen"]["address"] = value("127.0.0.1:1");
        config["upstream"]["acme"]["total_timeout"] = value("7min");
        config["vault"]["refresh"] = value("7s");
        config["audit"]["segment_size"] = value("7MiB");
    });
    let ran = proxy.keygate(&["integration", "revoke", "webshop"], b"");
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("`webshop` is revoked in") && ran.stderr.contains("works by the old"), "{ran}");
    let refused = until("the refusal on record", || events(&proxy, "reload-refused").pop());
    for key in [
        "[listen] address",
        "[listen] max_body",
        "[upstream.acme] total_timeout",
        "[vault] refresh",
        "[audit] segment_size",
    ] {
        for told in [&refused, &ran.stderr] {
            assert!(told.contains(&format!("needs a restart: {key}")), "`{key}` is not named: {told}");
        }
    }
    proxy.client("webshop").get("/v2/orders").must_be(200);
    edit(&proxy, |config| config["listen"]["address"] = value("127.0.0.1:0"));
    proxy.stop();
    proxy.run();
    proxy.client("webshop").get("/v2/orders").must_be_refused(401, "key_revoked");
}

#[test]
fn a_reload_fills_no_limit_that_did_not_change() {
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read", "--limit", "2/hour"]).integration("pim", EVERYDAY);
        setup.set(&["upstream", "acme", "limit"], "4/hour");
    });
    let client = proxy.client("webshop");
    for _ in 0..2 {
        client.get("/v2/orders").must_be(200);
    }
    client.get("/v2/orders").must_be_refused(429, "limit_integration");
    change(&proxy, |config| config["integration"]["webshop"]["owner"] = value("ops@example.com"));
    client.get("/v2/orders").must_be_refused(429, "limit_integration");
    change(&proxy, |config| config["integration"]["webshop"]["limit"] = value("3/hour"));
    for _ in 0..2 {
        client.get("/v2/orders").must_be(200);
    }
    proxy.client("pim").get("/v2/orders").must_be_refused(429, "limit_upstream");
    let told = change(&proxy, |config| config["upstream"]["acme"]["limit"] = value("5/hour"));
    assert!(told.starts_with("limits of upstreams changed: acme; "), "{told}");
    proxy.client("pim").get("/v2/orders").must_be(200);
}

#[test]
fn a_call_under_way_ends_by_the_policy_it_began_with() {
    let merchant = Merchant::start(|e| {
        e.hold();
        e.json(200, "{}")
    });
    let mut proxy = Proxy::open(&merchant.target());
    let mut connection = proxy.client("webshop").connect();
    connection.start(&orders());
    merchant.await_calls(1);
    proxy.keygate(&["integration", "revoke", "webshop"], b"").ok();
    merchant.release();
    let reply = connection.reply("GET /api/v2/orders").unwrap();
    proxy.record(reply.must_be(200));
    connection.request(&orders()).must_be_refused(401, "key_revoked");
}

#[test]
fn another_certificate_is_shown_to_whoever_connects_from_now_on() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let mut open = proxy.client("webshop").connect();
    let pki = Pki::new();
    let leaf = pki.leaf(&["localhost", "127.0.0.1"]);
    // One half first, as an ACME client does it: the two do not fit together, so the former pair is shown.
    fs::write(proxy.directory().join("server.pem"), &leaf.certificate).unwrap();
    let refused = until("the refusal on record", || events(&proxy, "reload-refused").pop());
    assert!(refused.contains("cannot be used together"), "{refused}");
    proxy.client("webshop").get("/v2/orders").must_be(200);
    fs::write(proxy.directory().join("server.key"), &leaf.key).unwrap();
    let told = until("the reload on record", || events(&proxy, "reloaded").pop());
    assert!(told.contains("another certificate is shown"), "{told}");
    let renewed = Client::new(proxy.address(), pki.ca_pem().as_bytes(), "/api", proxy.secrets().clone());
    renewed.with("x-ce-key", proxy.key("webshop")).get("/v2/orders").must_be(200);
    assert!(proxy.client("webshop").try_connect().is_err(), "the former certificate is still shown");
    open.request(&orders()).must_be(200);
}

#[test]
fn a_gate_that_was_killed_is_not_taken_for_one_that_runs() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    proxy.kill();
    let ran = proxy.keygate(&["integration", "revoke", "webshop"], b"");
    assert!(ran.stderr.contains("no gate runs with this configuration"), "{ran}");
    ran.ok();
    proxy.run();
    proxy.client("webshop").get("/v2/orders").must_be_refused(401, "key_revoked");
    proxy.stop();
    assert!(!proxy.audit().directory().join("running").exists(), "a gate that stopped tells nothing");
}
