//! Who calls: what the cases in `tests/calls/keys.toml` cannot show because the keys change on the way.

use std::fs;

use toml_edit::DocumentMut;

use crate::harness::{Merchant, Proxy, Request};

fn change(proxy: &Proxy, edit: impl FnOnce(&mut DocumentMut)) {
    let mut config: DocumentMut = fs::read_to_string(proxy.config()).unwrap().parse().unwrap();
    edit(&mut config);
    fs::write(proxy.config(), config.to_string()).unwrap();
}

fn get_orders_with(proxy: &Proxy, key: &str) -> crate::harness::Reply {
    proxy.anonymous().with("x-ce-key", key).get("/v2/orders")
}

#[test]
fn a_well_formed_key_that_nobody_has_is_unknown() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read"]).integration("gone", &["--allow", "orders:read"]);
    });
    change(&proxy, |config| drop(config["integration"].as_table_mut().unwrap().remove("gone")));
    proxy.run();
    let reply = get_orders_with(&proxy, proxy.key("gone"));
    let record = proxy.record(reply.must_be_refused(401, "key_unknown"));
    assert_eq!(record.text("integration"), "", "{record}");
    assert_ne!(reply.header("www-authenticate"), "", "{reply}");
    assert!(merchant.seen().is_empty());
}

#[test]
fn every_character_of_a_key_counts() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let key = proxy.key("webshop").to_owned();
    for at in [0, 3, 20, key.len() - 7, key.len() - 1] {
        let mut wrong = key.clone().into_bytes();
        wrong[at] = if wrong[at] == b'a' { b'b' } else { b'a' };
        get_orders_with(&proxy, &String::from_utf8(wrong).unwrap()).must_be_refused(401, "key_malformed");
    }
    for wrong in [format!("{key}a"), key[..key.len() - 1].to_owned(), key.to_uppercase()] {
        get_orders_with(&proxy, &wrong).must_be_refused(401, "key_malformed");
    }
    get_orders_with(&proxy, &key).must_be(200);
}

#[test]
fn a_rotated_key_is_replaced_and_the_old_one_can_be_kept_for_a_while() {
    let merchant = Merchant::content();
    for (keep, status) in [(true, 200), (false, 401)] {
        let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
            setup.integration("webshop", &["--allow", "orders:read"]);
        });
        let old = proxy.key("webshop").to_owned();
        let args = ["integration", "rotate", "webshop", "--keep-old", "24h"];
        let new = proxy.new_key("webshop", &args[..if keep { 5 } else { 3 }]);
        assert_ne!(old, new);
        proxy.run();
        get_orders_with(&proxy, &new).must_be(200);
        assert_eq!(get_orders_with(&proxy, &old).status, status);
    }
}

#[test]
fn a_revoked_integration_is_told_so() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read"]);
    });
    proxy.keygate(&["integration", "revoke", "webshop"], b"").ok();
    proxy.run();
    proxy.client("webshop").get("/v2/orders").must_be_refused(401, "key_revoked");
}

#[test]
fn a_key_is_judged_before_the_target_so_that_strangers_learn_nothing_of_the_endpoints() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    for target in ["/api/v2/orders", "/api/v2/settings", "/api/v2/nothing", "/elsewhere"] {
        proxy.anonymous().call(&Request::new("GET", target)).must_be_refused(401, "key_missing");
    }
}
