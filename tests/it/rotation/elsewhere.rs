//! Vaults that Keygate does not write: the key is rotated there, and the former version answers for reads for a while.

use std::path::Path;

use serde_json::json;
use toml_edit::{Item, Table, value};

use crate::harness::bao::private;
use crate::harness::{Line, Merchant, Proxy, Request, random_hex, until};

/// A gate before a folder of credentials that keeps a former version for so long.
fn gate(merchant: &Merchant, folder: &Path, former_for: &'static str) -> Proxy {
    let directory = folder.display().to_string();
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:*", "--allow", "offers:*"]).edit(move |config, _| {
            let mut vault = Table::new();
            vault["type"] = value("directory");
            vault["directory"] = value(directory);
            vault["refresh"] = value("20ms");
            vault["former_for"] = value(former_for);
            config["vault"] = Item::Table(vault);
        });
    });
    let key = proxy.real_key().to_owned();
    put(&proxy, merchant, folder, &key, 1);
    proxy.run();
    proxy
}

fn put(proxy: &Proxy, merchant: &Merchant, folder: &Path, key: &str, version: u64) {
    let bound_to = format!("https://localhost:{}{}", merchant.target().port, proxy.base_path());
    let document = json!({"key": key, "bound_to": bound_to, "version": version});
    private(&folder.join(".new"), document.to_string().as_bytes());
    std::fs::rename(folder.join(".new"), folder.join("acme")).unwrap();
}

fn await_event(proxy: &Proxy, code: &str) -> String {
    until(&format!("an event {code}"), || {
        let gate = proxy.audit().of_kind("gate");
        gate.iter().find(|line| line.text("event.code") == code).map(|line| line.text("event.detail").to_owned())
    })
}

/// Knows one key; a 403 for `/forbidden` whatever the key.
fn merchant(good: &str) -> Merchant {
    let good = good.to_owned();
    Merchant::start(move |exchange| {
        exchange.body()?;
        let seen = exchange.seen();
        let knows = seen.header("x-ce-key") == good;
        let status = if knows { 200 } else { 401 };
        exchange.json(status, r#"{"Content":[],"Count":0,"StatusCode":200,"LogId":"m-1","Success":true}"#)
    })
}

fn key_of(line: &Line) -> (u64, Option<u64>) {
    (line.field("credential")[1].as_u64().unwrap(), line.field("retried_with")[1].as_u64())
}

#[test]
fn a_read_that_a_fresh_version_is_refused_is_sent_once_more_with_the_former_and_a_write_never() {
    let former = random_hex(40);
    let (upstream, folder) = (merchant(&former), tempfile::tempdir().unwrap());
    let mut proxy = gate(&upstream, folder.path(), "1h");
    proxy.plant("former key", &former);
    put(&proxy, &upstream, folder.path(), &former, 2);
    until("version 2", || {
        let reply = proxy.client("webshop").get("/v2/orders");
        (reply.status == 200 && key_of(&proxy.record(&reply)) == (2, None)).then_some(())
    });
    // Version 3 is a mistake.
    let wrong = random_hex(40);
    proxy.plant("wrong key", &wrong);
    put(&proxy, &upstream, folder.path(), &wrong, 3);
    until("version 3", || {
        let gate = proxy.audit().of_kind("gate");
        gate.iter().any(|line| line.text("event.detail").contains("acme version 3")).then_some(())
    });
    let client = proxy.client("webshop");
    let count = upstream.seen().len();
    let offer = json!([{"MerchantProductNo": "lamp-1", "Stock": 3, "Price": 18}]);
    let write = client.send("PUT", "/v2/offer", &offer);
    assert_eq!((write.status, key_of(&proxy.record(&write))), (401, (3, None)));
    assert_eq!(upstream.seen().len(), count + 1, "a write is sent once");
    let with_body = client.call(&Request::new("GET", "/api/v2/orders").json(&json!({"a": 1})));
    assert_eq!(upstream.seen().len(), count + 2, "and so is anything with a body: {with_body}");
    let read = client.get("/v2/orders");
    assert_eq!((read.must_be(200).status, key_of(&proxy.record(&read))), (200, (3, Some(2))));
    assert_eq!(upstream.seen().len(), count + 4, "a read is sent twice");
    let told = await_event(&proxy, "rotation-rolled-back");
    assert!(told.contains("version 3 was refused with 401 where version 2 was not"), "{told}");
    // That settled it, for writes too.
    assert_eq!(key_of(&proxy.record(client.send("PUT", "/v2/offer", &offer).must_be(200))), (2, None));
    assert_eq!(upstream.seen().len(), count + 5);
}

#[test]
fn after_two_mistakes_in_a_row_it_is_still_the_last_good_version_that_answers() {
    let good = random_hex(40);
    let (upstream, folder) = (merchant(&good), tempfile::tempdir().unwrap());
    let mut proxy = gate(&upstream, folder.path(), "1h");
    proxy.plant("good key", &good);
    put(&proxy, &upstream, folder.path(), &good, 2);
    let client = proxy.client("webshop");
    until("version 2", || (client.get("/v2/orders").status == 200).then_some(()));
    for version in [3, 4] {
        let wrong = random_hex(40);
        proxy.plant("wrong key", &wrong);
        put(&proxy, &upstream, folder.path(), &wrong, version);
        until("another version", || {
            let gate = proxy.audit().of_kind("gate");
            gate.iter().any(|line| line.text("event.detail").contains(&format!("acme version {version}"))).then_some(())
        });
        let read = proxy.client("webshop").get("/v2/orders");
        assert_eq!((read.must_be(200).status, key_of(&proxy.record(&read))), (200, (version, Some(2))));
    }
}

#[test]
fn a_former_version_is_forgotten_when_its_time_is_over() {
    let former = random_hex(40);
    let (upstream, folder) = (merchant(&former), tempfile::tempdir().unwrap());
    for former_for in ["none", "1ms"] {
        let mut proxy = gate(&upstream, folder.path(), former_for);
        proxy.plant("former key", &former);
        put(&proxy, &upstream, folder.path(), &former, 2);
        await_event(&proxy, "credential-changed");
        let wrong = random_hex(40);
        put(&proxy, &upstream, folder.path(), &wrong, 3);
        let client = proxy.client("webshop");
        until("a read that is refused for good", || {
            let reply = client.get("/v2/orders");
            (reply.status == 401 && key_of(&proxy.record(&reply)) == (3, None)).then_some(())
        });
        proxy.stop();
    }
}

#[test]
fn a_key_is_rotated_where_it_lies() {
    let (upstream, folder) = (Merchant::content(), tempfile::tempdir().unwrap());
    let mut proxy = gate(&upstream, folder.path(), "10m");
    let ran = proxy.keygate(&["credential", "rotate", "acme"], b"0123456789abcdef");
    assert_eq!(ran.code, Some(2), "{ran}");
    assert!(ran.stderr.contains("rotate the key there: docs/rotation.md"), "{ran}");
}
