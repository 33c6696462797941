//! Real clients against the stand-in merchant API: a shop's whole day through the gate, by curl over both versions of
//! HTTP, by the merchant API's official client and by Python's own library.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::command::{found, run, venv_python};
use crate::harness::{Curl, Proxy, Reply, Setup, StandIn, have};

fn shop(setup: &mut Setup) {
    let scopes = ["orders:*", "products:*", "offers:*", "shipments:*", "testing:write"];
    let args: Vec<&str> = scopes.iter().flat_map(|scope| ["--allow", scope]).collect();
    setup.integration("webshop", &args);
}

fn before(stand_in: &StandIn) -> Proxy {
    Proxy::start(&stand_in.target(), |setup| {
        stand_in.known_to(setup);
        shop(setup);
    })
}

/// Products, offers, then an order from its arrival to its shipment, as the API's own test flow asks for. `call` takes
/// method, path and body.
fn a_shops_day(call: &dyn Fn(&str, &str, Option<Value>) -> Reply) {
    let lamp =
        json!([{"MerchantProductNo": "lamp-1", "Name": "Lamp", "Stock": 5, "Price": 19.5, "VatRateType": "STANDARD"}]);
    let made = call("POST", "/v2/products", Some(lamp.clone()));
    assert_eq!(made.must_be(200).json()["Content"]["RejectedCount"], 0, "{made}");
    call("POST", "/v2/products", Some(lamp)).must_be(200);
    call("GET", "/v2/products/lamp-1", None).must_be(200);
    let patch = json!([{"op": "replace", "path": "Name", "value": "Large lamp"}]);
    call("PATCH", "/v2/products/lamp-1", Some(patch)).must_be(200);
    call("PUT", "/v2/offer", Some(json!([{"MerchantProductNo": "lamp-1", "Stock": 3, "Price": 18}]))).must_be(200);

    let order = json!({"Order": {"CurrencyCode": "EUR", "ChannelId": 1, "Lines": [{"MerchantProductNo": "lamp-1", "Quantity": 1}]}});
    let made = call("POST", "/v2/supportorder", Some(order));
    assert!(made.status < 300 && made.refusal().is_empty(), "{made}");
    let new = call("GET", "/v2/orders/new", None);
    let orders = new.must_be(200).json()["Content"].as_array().unwrap().clone();
    let order = orders.first().unwrap_or_else(|| panic!("no new order: {new}"));
    let acknowledge = json!({"OrderId": order["Id"], "MerchantOrderNo": "M-1"});
    call("POST", "/v2/orders/acknowledge", Some(acknowledge.clone())).must_be(201);
    call("POST", "/v2/orders/acknowledge", Some(acknowledge)).must_be(409);
    let left = call("GET", "/v2/orders/new", None);
    assert!(left.must_be(200).json()["Content"].as_array().unwrap().iter().all(|o| o["Id"] != order["Id"]), "{left}");

    let lines: Vec<Value> = order["Lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| json!({"MerchantProductNo": l["MerchantProductNo"], "Quantity": l["Quantity"]}))
        .collect();
    let shipment = json!({"MerchantShipmentNo": "S-1", "MerchantOrderNo": "M-1", "Lines": lines, "Method": "PostNL", "TrackTraceNo": "3S1"});
    call("POST", "/v2/shipments", Some(shipment)).must_be(201);
    call("DELETE", "/v2/products/lamp-1", None).must_be(200);
    call("GET", "/v2/products/lamp-1", None).must_be(404);
    call("GET", "/v2/settings", None).must_be_refused(403, "endpoint_not_allowed");
}

fn content_type(method: &str) -> &'static str {
    if method == "PATCH" { "application/json-patch+json" } else { "application/json" }
}

fn by_curl(h2: bool) {
    if !have("curl", found("curl")) {
        return;
    }
    let stand_in = StandIn::start(&[]);
    let proxy = before(&stand_in);
    let calls = std::cell::Cell::new(0);
    a_shops_day(&|method, path, body| {
        calls.set(calls.get() + 1);
        let curl = Curl::new(&proxy).key("webshop").with(&["-X", method]);
        let curl = if h2 { curl.h2() } else { curl };
        let kind = format!("content-type: {}", content_type(method));
        match body {
            Some(body) => curl.with(&["-H", &kind, "--data-binary", &body.to_string()]).call(path),
            None => curl.call(path),
        }
    });
    assert_eq!(proxy.audit().of_kind("call").len(), calls.get(), "each call has one record");
}

#[test]
fn a_shops_day_by_curl_over_http_1() {
    by_curl(false);
}

#[test]
fn a_shops_day_by_curl_over_http_2() {
    by_curl(true);
}

#[test]
fn a_head_is_answered_by_a_head_alone_whoever_answers() {
    if !have("curl", found("curl")) {
        return;
    }
    let stand_in = StandIn::start(&[]);
    let proxy = before(&stand_in);
    for h2 in [false, true] {
        let curl = || if h2 { Curl::new(&proxy).h2().head() } else { Curl::new(&proxy).head() };
        let of_the_gate = [
            (curl().call("/v2/orders"), 401, "key_missing"),
            (curl().key("webshop").call("/v2/nothing"), 404, "endpoint_unknown"),
            (curl().key("webshop").call("/v2/orders/"), 400, "target_empty_segment"),
        ];
        for (reply, status, code) in of_the_gate {
            assert_eq!((reply.status, reply.refusal()), (status, code), "{reply}");
            assert!(reply.header("content-length").parse::<u32>().unwrap() > 0, "what GET would get: {reply}");
            assert_eq!(proxy.record(&reply).number("bytes_out"), 0, "{reply}");
        }
        // The API knows no HEAD.
        let reply = curl().key("webshop").call("/v2/orders");
        assert_eq!((reply.status, reply.refusal()), (405, ""), "{reply}");
    }
}

#[test]
fn a_shops_day_on_one_connection() {
    let stand_in = StandIn::start(&[]);
    let proxy = before(&stand_in);
    let connection = std::cell::RefCell::new(proxy.client("webshop").connect());
    a_shops_day(&|method, path, body| {
        let mut request = crate::harness::Request::new(method, &format!("/api{path}"));
        if let Some(body) = body {
            request = request.header("content-type", content_type(method)).body(body.to_string());
        }
        connection.borrow_mut().request(&request)
    });
}

/// Runs a Python program of `tests/clients/`, which prints one JSON object, with base URL, CA file and key on its input.
fn python(interpreter: &str, program: &str, proxy: &Proxy, key: &str) -> Value {
    let ca = proxy.directory().join("ca.pem");
    let base = format!("https://localhost:{}{}", proxy.address().port(), proxy.base_path());
    let told = json!({"base_url": base, "ca": ca, "key": key}).to_string();
    let mut command = Command::new(interpreter);
    command.arg("-B").arg(format!("{}/tests/clients/{program}", env!("CARGO_MANIFEST_DIR")));
    let said = run(command, told.as_bytes()).ok();
    proxy.secrets().must_not_be_in(said.as_bytes(), program);
    serde_json::from_str(&said).unwrap_or_else(|e| panic!("{program} said ({e}): {said}"))
}

#[test]
fn the_official_client_changes_its_base_url_and_its_key_and_nothing_else() {
    let interpreter = venv_python();
    if !have("the official Python client", interpreter.is_some()) {
        return;
    }
    let stand_in = StandIn::start(&[]);
    let proxy = before(&stand_in);
    let said = python(&interpreter.unwrap(), "official.py", &proxy, proxy.key("webshop"));
    assert_eq!(said["products_rejected"], 0, "{said}");
    assert_eq!(said["acknowledged"], 201, "{said}");
    assert_eq!(said["refused"]["status"], 403, "{said}");
    assert_eq!(said["refused"]["code"], "endpoint_not_allowed", "{said}");
    assert_eq!(said["wrong_key"]["status"], 401, "{said}");
    let calls = proxy.audit().of_kind("call");
    assert!(
        calls.iter().any(|line| line.text("proof") == "query" && line.number("status") == 200),
        "the key came in the query"
    );
}

#[test]
fn the_official_client_waits_as_long_as_a_limit_tells_it_to() {
    let interpreter = venv_python();
    if !have("the official Python client", interpreter.is_some()) {
        return;
    }
    let stand_in = StandIn::start(&[]);
    let proxy = Proxy::start(&stand_in.target(), |setup| {
        stand_in.known_to(setup);
        setup.integration("webshop", &["--allow", "orders:read", "--limit", "1/s burst 1"]);
    });
    let said = python(&interpreter.unwrap(), "patient.py", &proxy, proxy.key("webshop"));
    assert_eq!(said["answered"], 3, "{said}");
    let refused =
        proxy.audit().of_kind("call").iter().filter(|line| line.text("refusal") == "limit_integration").count();
    assert!(refused >= 1, "it never ran into the limit");
}

#[test]
fn pythons_own_client_sees_lower_case_names_and_whole_bodies() {
    if !have("python3", found("python3")) {
        return;
    }
    let stand_in = StandIn::start(&[]);
    let proxy = before(&stand_in);
    let said = python("python3", "raw.py", &proxy, proxy.key("webshop"));
    assert_eq!(said["statuses"], json!([200, 200, 401, 403, 400, 404]), "{said}");
    for name in said["names"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        assert_eq!(name, name.to_ascii_lowercase(), "{said}");
    }
    assert_eq!(said["one_connection"], true, "{said}");
}

#[test]
fn an_upstream_that_has_had_enough_is_passed_on_as_it_is() {
    let stand_in = StandIn::start(&["--rate", "2/1m"]);
    let proxy = before(&stand_in);
    let client = proxy.client("webshop");
    client.get("/v2/orders").must_be(200);
    client.get("/v2/orders").must_be(200);
    let reply = client.get("/v2/orders");
    reply.must_be(429);
    assert!(reply.header("retry-after").parse::<u32>().is_ok(), "{reply}");
    let record = proxy.record(&reply);
    assert_eq!((record.number("upstream_status"), record.text("verdict")), (429, "allowed"), "{record}");
}

#[test]
fn an_upstream_that_does_not_know_the_key_echoes_it_and_the_gate_does_not() {
    let stand_in = StandIn::start(&[]);
    let proxy = Proxy::start(&stand_in.target(), shop);
    let reply = proxy.client("webshop").get("/v2/orders");
    assert_eq!(reply.must_be(401).json()["Success"], false, "{reply}");
    assert!(proxy.record(&reply).number("scrubbed") >= 1);
}
