//! Live sinks against real receivers: every record arrives at least once, whoever is killed, and the route waits for none.

mod peers;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Merchant, Proxy, until};
use peers::{Receiver, Rsyslog, SECRET};

/// A gate with one sink, not started yet.
fn gate(merchant: &Merchant, kind: &'static str, address: &str, ca: &Path, keys: &[(&'static str, &str)]) -> Proxy {
    let mut keys: Vec<(&'static str, String)> = keys.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    keys.extend([("type", kind.to_owned()), ("address", address.to_owned())]);
    keys.push(("identity", "audit-identity.txt".to_owned()));
    keys.push(("trust_roots", ca.to_str().unwrap().to_owned()));
    Proxy::prepare(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:*", "--allow", "shipments:*"]);
        for (key, value) in keys {
            setup.set(&["sink", "siem", key], value);
        }
        setup.set(&["sink", "siem", "batch"], 3);
        setup.edit(|_, folder| {
            for (name, text) in [("secret", SECRET), ("authorization", "Bearer of-the-collector")] {
                fs::write(folder.join(name), text).unwrap();
                fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
            }
        });
    })
}

fn webhook(merchant: &Merchant, receiver: &Receiver) -> Proxy {
    let keys = [("secret_file", "secret"), ("behind_after", "1s")];
    gate(merchant, "webhook", &format!("{}/hook", receiver.address()), &receiver.ca(), &keys)
}

/// All numbers of the log so far.
fn numbers(proxy: &Proxy) -> BTreeSet<u64> {
    proxy.audit().lines().iter().map(|line| line.number("seq")).collect()
}

/// Waits until the receiver has every record that the log has.
fn all_there(proxy: &Proxy, receiver: &Receiver) {
    until("every record at the receiver", || {
        let got: BTreeSet<u64> = receiver.numbers().into_iter().collect();
        numbers(proxy).is_subset(&got).then_some(())
    });
}

fn event(proxy: &Proxy, code: &str) -> Option<String> {
    let found = proxy.audit().of_kind("gate").into_iter().find(|line| line.field("event")["code"] == code)?;
    Some(found.field("event")["detail"].as_str().unwrap().to_owned())
}

#[test]
fn a_webhook_gets_every_record_in_signed_batches_also_when_the_gate_is_killed_between_them() {
    let Some(receiver) = Receiver::start("webhook") else { return };
    let merchant = Merchant::content();
    let mut proxy = webhook(&merchant, &receiver);
    for run in 0..4 {
        proxy.run();
        for page in 0..10 {
            proxy.client("webshop").get(&format!("/v2/orders?page={page}"));
        }
        if run == 0 {
            all_there(&proxy, &receiver);
        }
        proxy.kill();
    }
    proxy.run();
    all_there(&proxy, &receiver);
    let mut expected = 0;
    for number in receiver.numbers() {
        assert!(number <= expected, "record {number} came before {expected}");
        expected = expected.max(number + 1);
    }
    let lines: BTreeSet<String> = proxy.audit().lines().iter().map(|line| line.text("entry").to_owned()).collect();
    for got in receiver.got() {
        let line: Value = serde_json::from_str(got["line"].as_str().unwrap()).unwrap();
        assert!(lines.contains(line["entry"].as_str().unwrap()), "it got what is not in the log: {line}");
        assert_eq!(got["path"], "/hook");
    }
}

#[test]
fn a_receiver_that_is_away_costs_the_route_nothing_loses_nothing_and_is_told() {
    let Some(mut receiver) = Receiver::start("webhook") else { return };
    let merchant = Merchant::content();
    let mut proxy = webhook(&merchant, &receiver);
    proxy.run();
    all_there(&proxy, &receiver);
    receiver.end();
    let began = Instant::now();
    for page in 0..50 {
        proxy.client("webshop").get(&format!("/v2/orders?page={page}")).must_be(200);
    }
    // Far below the time of one attempt to deliver, so that no call can have waited for one.
    assert!(began.elapsed() < Duration::from_secs(10), "50 calls took {:?}", began.elapsed());
    let detail = until("that it is on record", || event(&proxy, "sink-behind"));
    assert!(detail.starts_with("sink `siem`: from record "), "{detail}");
    let health: Value = serde_json::from_str(&proxy.admin("/health").1).unwrap();
    assert_eq!(health["ok"], true, "a sink that is behind is no reason to take the gate out of its pool");
    assert!(health["sinks"][0]["trouble"].is_string(), "{health}");
    let metrics = until("the lag in the metrics", || {
        let text = proxy.admin("/metrics").1;
        let lag = text.lines().find_map(|line| line.strip_prefix("keygate_sink_lag_records{sink=\"siem\"} "));
        lag.is_some_and(|lag| lag.parse::<u64>().unwrap() > 40).then_some(text)
    });
    assert!(metrics.contains("keygate_sink_ok{sink=\"siem\"} 0"), "{metrics}");
    receiver.run();
    until("that it has caught up, on record", || event(&proxy, "sink-caught-up"));
    all_there(&proxy, &receiver);
    receiver.shall("refuse");
    proxy.client("webshop").get("/v2/orders");
    until("a refusal in health", || {
        let health: Value = serde_json::from_str(&proxy.admin("/health").1).unwrap();
        (health["sinks"][0]["trouble"] == "it answered 503 Service Unavailable").then_some(())
    });
    receiver.shall("take");
    all_there(&proxy, &receiver);
}

#[test]
fn a_receiver_that_asks_to_be_left_alone_is_and_gets_everything_later() {
    let Some(mut receiver) = Receiver::start("webhook") else { return };
    let merchant = Merchant::content();
    let mut proxy = webhook(&merchant, &receiver);
    proxy.run();
    all_there(&proxy, &receiver);
    receiver.shall("wait 3");
    proxy.client("webshop").get("/v2/orders").must_be(200);
    let asked = until("a third question", || Some(receiver.refusals()).filter(|asked| asked.len() >= 3));
    // By itself it would have asked again after half a second, and after one.
    assert!(asked.windows(2).all(|two| two[1] - two[0] >= 3.0), "{asked:?}");
    receiver.shall("take");
    all_there(&proxy, &receiver);
}

#[test]
fn nothing_is_sent_to_a_server_whose_certificate_is_not_trusted() {
    let Some(receiver) = Receiver::start("webhook") else { return };
    let merchant = Merchant::content();
    let address = receiver.address();
    let mut proxy = gate(&merchant, "webhook", &address, Path::new("ca.pem"), &[("secret_file", "secret")]);
    proxy.run();
    let trouble = until("the trouble in health", || {
        let health: Value = serde_json::from_str(&proxy.admin("/health").1).unwrap();
        health["sinks"][0]["trouble"].as_str().map(str::to_owned)
    });
    assert!(trouble.contains("certificate"), "{trouble}");
    assert!(receiver.got().is_empty());
}

#[test]
fn an_otlp_receiver_reads_every_record_with_the_official_schema() {
    let Some(mut receiver) = Receiver::start("otlp") else { return };
    let merchant = Merchant::content();
    let keys = [("authorization_file", "authorization")];
    let mut proxy = gate(&merchant, "otlp", &receiver.address(), &receiver.ca(), &keys);
    proxy.run();
    let reply = proxy.client("webshop").get("/v2/orders");
    proxy.client("webshop").get("/v2/settlements");
    all_there(&proxy, &receiver);
    let record = proxy.record(&reply);
    let of = |got: &Value| got["attributes"]["keygate.id"] == record.text("id");
    let got = receiver.got().into_iter().find(of).unwrap();
    for (field, expected) in [
        ("path", "/v1/logs"),
        ("service", "keygate"),
        ("scope", "keygate.audit"),
        ("event", "keygate.call"),
        ("authorization", "Bearer of-the-collector"),
    ] {
        assert_eq!(got[field], expected, "{got}");
    }
    assert_eq!(got["attributes"]["keygate.status"], 200);
    assert_eq!(got["attributes"]["keygate.endpoint"], "GET /v2/orders");
    assert_eq!(got["severity"], 9);
    let began: jiff::Timestamp = record.text("time").parse().unwrap();
    assert_eq!(i128::from(got["time"].as_u64().unwrap()), began.as_nanosecond());
    receiver.shall("reject");
    proxy.client("webshop").get("/v2/orders");
    let detail = until("that records were refused, on record", || event(&proxy, "sink-refused"));
    assert!(detail.contains("one is too long"), "{detail}");
    receiver.shall("take");
    all_there(&proxy, &receiver);
}

/// What is the same over TLS and over a socket.
fn rsyslog_reads_all(proxy: &Proxy, rsyslog: &Rsyslog) {
    let line = |got: &Value| serde_json::from_str::<Value>(got["line"].as_str().unwrap().trim()).unwrap();
    let got = until("every record in rsyslog's file", || {
        let got = rsyslog.got();
        let numbers_there: BTreeSet<u64> = got.iter().map(|got| line(got)["seq"].as_u64().unwrap()).collect();
        numbers(proxy).is_subset(&numbers_there).then_some(got)
    });
    for record in proxy.audit().lines() {
        let message = got.iter().find(|got| line(got)["seq"] == *record.field("seq")).unwrap();
        assert_eq!(line(message), record.0, "the message is not the record");
        assert_eq!(message["app"], "keygate");
        assert_eq!(message["version"], "1");
        assert_eq!(message["msgid"], record.text("kind"));
        let data = message["data"].as_str().unwrap();
        assert!(data.starts_with(&format!("[keygate@32473 seq=\"{}\" entry=\"", record.number("seq"))), "{data}");
    }
    let refused = got.iter().find(|got| line(got)["refusal"].is_string()).unwrap();
    assert_eq!(refused["pri"], "108", "a refused call is a warning of facility 13");
}

#[test]
fn rsyslog_reads_every_record_over_tls_also_those_of_a_time_when_it_was_away() {
    let Some(mut rsyslog) = Rsyslog::start() else { return };
    let merchant = Merchant::content();
    let address = format!("tls://localhost:{}", rsyslog.port);
    let mut proxy = gate(&merchant, "syslog", &address, &rsyslog.ca(), &[]);
    proxy.run();
    proxy.client("webshop").get("/v2/settlements");
    proxy.client("webshop").send("POST", "/v2/shipments", &serde_json::json!({}));
    rsyslog_reads_all(&proxy, &rsyslog);
    rsyslog.end();
    for _ in 0..5 {
        proxy.client("webshop").get("/v2/orders").must_be(200);
    }
    rsyslog.run();
    rsyslog_reads_all(&proxy, &rsyslog);
}

#[test]
fn rsyslog_reads_every_record_from_its_socket() {
    let Some(rsyslog) = Rsyslog::start() else { return };
    let merchant = Merchant::content();
    let address = format!("unix:{}", rsyslog.socket().display());
    let mut proxy = gate(&merchant, "syslog", &address, &rsyslog.ca(), &[]);
    proxy.run();
    proxy.client("webshop").get("/v2/settlements");
    proxy.client("webshop").get("/v2/orders");
    rsyslog_reads_all(&proxy, &rsyslog);
}
