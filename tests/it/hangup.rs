//! A client that has gone is still on the record, and its call runs to its end.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::harness::command::{found, signal};
use crate::harness::{Line, Merchant, Proxy, Request, have, until};

fn outcome(proxy: &Proxy, wanted: &str) -> Line {
    until(&format!("a record with the outcome `{wanted}`"), || {
        proxy.audit().of_kind("call").into_iter().find(|line| line.text("outcome") == wanted)
    })
}

#[test]
fn a_client_that_hangs_up_before_the_reply_is_still_on_the_record() {
    let merchant = Merchant::start(|e| {
        e.body()?;
        e.hold();
        e.json(200, "{}")
    });
    let proxy = Proxy::open(&merchant.target());
    for request in [Request::new("GET", "/api/v2/orders"), Request::new("POST", "/api/v2/shipments").body("{}")] {
        let before = merchant.seen().len();
        let mut connection = proxy.client("webshop").connect();
        connection.start(&request);
        merchant.await_calls(before + 1);
        connection.hang_up();
        // A reply that comes before the gate has seen it go is one that it could have had.
        proxy.await_connections(0);
    }
    merchant.release();
    until("both records", || {
        let gone = proxy.audit().of_kind("call").into_iter().filter(|line| line.text("outcome") == "client-gone");
        (gone.count() == 2).then_some(())
    });
    let writes = proxy.audit().of_kind("call").into_iter().find(|line| line.text("method") == "POST").unwrap();
    assert_eq!(writes.number("upstream_status"), 200, "the write ran to its end: {writes}");
}

#[test]
fn a_client_that_hangs_up_inside_the_reply_is_still_on_the_record() {
    let merchant = Merchant::start(|e| {
        e.send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50000000\r\n\r\n")?;
        for _ in 0..500 {
            e.send(vec![b'x'; 100_000])?;
        }
        Ok(())
    });
    let proxy = Proxy::open(&merchant.target());
    let mut connection = proxy.client("webshop").connect();
    connection.start(&Request::new("GET", "/api/v2/orders"));
    connection.exactly(200_000).unwrap();
    connection.hang_up();
    let record = outcome(&proxy, "client-gone");
    assert_eq!(record.number("upstream_status"), 200, "{record}");
    assert!(record.number("bytes_out") < 50_000_000, "{record}");
}

#[test]
fn a_client_that_hangs_up_inside_its_body_is_still_on_the_record() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let mut connection = proxy.client("webshop").connect();
    let head = format!(
        "POST /api/v2/shipments HTTP/1.1\r\nhost: localhost\r\nx-ce-key: {}\r\ncontent-length: 100\r\n\r\nhalf",
        proxy.key("webshop")
    );
    connection.write(head.as_bytes()).unwrap();
    until("the intent", || (!proxy.audit().of_kind("intent").is_empty()).then_some(()));
    connection.hang_up();
    outcome(&proxy, "client-gone");
    assert!(merchant.seen().iter().all(|seen| seen.body.is_empty()), "the upstream took the body for whole");
}

#[test]
fn curl_that_is_killed_over_http_2_is_still_on_the_record() {
    if !have("curl", found("curl")) {
        return;
    }
    let merchant = Merchant::start(|e| {
        e.hold();
        e.json(200, "{}")
    });
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read"]).set(&["listen", "workers"], 1);
    });
    let url = format!("https://localhost:{0}/api/v2/orders", proxy.address().port());
    let mut command = Command::new("curl");
    command.args(["--disable", "-sS", "--http2", "-K", "-", "--cacert"]).arg(proxy.directory().join("ca.pem")).arg(url);
    let mut curl = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let config = format!(
        "resolve = localhost:{}:127.0.0.1\nheader = \"x-ce-key: {}\"\n",
        proxy.address().port(),
        proxy.key("webshop")
    );
    curl.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
    merchant.await_calls(1);
    signal(curl.id(), "KILL");
    curl.wait().unwrap();
    proxy.await_connections(0);
    // Its stream hears of that right behind it; the one worker has seen to that when it has answered another call.
    proxy.client("webshop").get("/v2/settlements").must_be_refused(403, "endpoint_not_allowed");
    merchant.release();
    assert_eq!(outcome(&proxy, "client-gone").text("http"), "h2");
}
