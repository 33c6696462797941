//! Limits: of calls, of sizes, of time a client may take.

use crate::harness::{Merchant, Proxy, Reply, Request};

fn fields(reply: &Reply) -> (String, String) {
    (reply.header("ratelimit").to_owned(), reply.header("ratelimit-policy").to_owned())
}

#[test]
fn an_integration_that_calls_too_often_is_told_when_to_come_back() {
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read", "--limit", "2/hour"]);
        setup.integration("pim", &["--allow", "orders:read"]);
    });
    let client = proxy.client("webshop");
    let first = client.get("/v2/orders");
    assert_eq!(proxy.record(first.must_be(200)).number("limit_left"), 1);
    client.get("/v2/orders").must_be(200);
    let refused = client.get("/v2/orders");
    refused.must_be_refused(429, "limit_integration");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=1800).contains(&wait), "{refused}");
    let (limit, policy) = fields(&refused);
    assert!(limit.contains("r=0") && limit.contains("t="), "{refused}");
    assert!(policy.contains("q=2") && policy.contains("w=3600"), "{refused}");
    assert_eq!(merchant.seen().len(), 2);
    proxy.client("pim").get("/v2/orders").must_be(200);
    let record = proxy.record(&refused);
    assert_eq!(record.text("verdict"), "refused", "{record}");
    assert_eq!(record.number("limit_left"), 0, "{record}");
}

#[test]
fn a_limit_of_one_endpoint_leaves_the_others_alone_and_takes_nothing_from_wider_ones() {
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read", "--allow", "products:read", "--limit", "3/hour"]);
        setup.set(&["integration", "webshop", "limits", "GET /v2/orders"], "1/hour");
    });
    let client = proxy.client("webshop");
    client.get("/v2/orders").must_be(200);
    for _ in 0..5 {
        client.get("/v2/orders").must_be_refused(429, "limit_endpoint");
    }
    client.get("/v2/products").must_be(200);
    client.get("/v2/products").must_be(200);
    client.get("/v2/products").must_be_refused(429, "limit_integration");
}

#[test]
fn the_upstreams_limit_is_shared_by_all_integrations() {
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read"]).integration("pim", &["--allow", "orders:read"]);
        setup.set(&["upstream", "acme", "limit"], "2/hour");
    });
    proxy.client("webshop").get("/v2/orders").must_be(200);
    proxy.client("pim").get("/v2/orders").must_be(200);
    proxy.client("webshop").get("/v2/orders").must_be_refused(429, "limit_upstream");
    proxy.client("pim").get("/v2/orders").must_be_refused(429, "limit_upstream");
}

#[test]
fn refused_calls_use_up_no_limit() {
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read", "--limit", "1/hour"]);
    });
    let client = proxy.client("webshop");
    for _ in 0..3 {
        client.get("/v2/settings").must_be_refused(403, "endpoint_not_allowed");
    }
    client.get("/v2/orders").must_be(200);
}

#[test]
fn a_body_that_is_announced_too_large_is_refused_before_it_is_sent() {
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "shipments:*"]).set(&["listen", "max_body"], "10KiB");
    });
    let client = proxy.client("webshop");
    let head = format!(
        "POST /api/v2/shipments HTTP/1.1\r\nhost: localhost\r\nx-ce-key: {}\r\ncontent-length: 10241\r\n\r\n",
        proxy.key("webshop")
    );
    let mut connection = client.connect();
    connection.write(head.as_bytes()).unwrap();
    connection.reply("POST /api/v2/shipments").unwrap().must_be_refused(413, "body_too_large");
    assert!(merchant.seen().is_empty());
    let fits = Request::new("POST", "/api/v2/shipments").body(vec![b' '; 10240]);
    client.call(&fits).must_be(200);
}

#[test]
fn a_chunked_body_that_grows_too_large_never_arrives_whole() {
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "shipments:*"]).set(&["listen", "max_body"], "10KiB");
    });
    let chunk = format!("400\r\n{}\r\n", " ".repeat(0x400));
    let request = Request::new("POST", "/api/v2/shipments")
        .header("transfer-encoding", "chunked")
        .body(chunk.repeat(11) + "0\r\n\r\n");
    proxy.client("webshop").call(&request).must_be_refused(413, "body_too_large");
    assert!(merchant.seen().iter().all(|seen| seen.body.is_empty()), "the upstream took the body for whole");
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read"]).set(&["listen", "max_head"], "8KiB");
    });
    let request = Request::new("GET", "/api/v2/orders").header("x-long", &"x".repeat(9000));
    proxy.client("webshop").call(&request).must_be_refused(431, "head_too_large");
    assert!(merchant.seen().is_empty());
}

#[test]
fn a_client_that_stops_inside_its_body_is_refused() {
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "shipments:*"]).set(&["listen", "body_timeout"], "300ms");
    });
    let client = proxy.client("webshop");
    let mut connection = client.connect();
    let head = format!(
        "POST /api/v2/shipments HTTP/1.1\r\nhost: localhost\r\nx-ce-key: {}\r\ncontent-length: 100\r\n\r\nhalf",
        proxy.key("webshop")
    );
    connection.write(head.as_bytes()).unwrap();
    let reply = connection.reply("POST /api/v2/shipments").unwrap();
    reply.must_be_refused(408, "body_timeout");
    assert!(merchant.seen().iter().all(|seen| seen.body.is_empty()), "the upstream took the body for whole");
}

#[test]
fn one_call_more_than_may_be_under_way_is_refused() {
    let merchant = Merchant::start(|e| {
        e.hold();
        e.json(200, "{}")
    });
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read"]).set(&["listen", "max_in_flight"], 1);
    });
    let client = proxy.client("webshop");
    let mut held = client.connect();
    held.start(&Request::new("GET", "/api/v2/orders"));
    merchant.await_calls(1);
    let refused = client.get("/v2/orders");
    refused.must_be_refused(503, "overloaded");
    merchant.release();
    held.reply("GET /api/v2/orders").unwrap().must_be(200);
    client.get("/v2/orders").must_be(200);
}
