//! The harness against itself: the upstream and the client speak to each other without a gate, and the client is shown
//! to notice what it is there to notice.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::secrets::Secrets;
use super::{Client, Merchant, Request, random_hex};

const RECORD: &str = "keygate-record: 01890a5d-ac96-774b-bcce-b302099a8057\r\n";

fn client_of(merchant: &Merchant, secret: &str) -> Client {
    let mut secrets = Secrets::default();
    secrets.plant("secret", secret);
    let target = merchant.target();
    Client::new(SocketAddr::from(([127, 0, 0, 1], target.port)), target.ca_pem.as_bytes(), "/api", secrets)
}

#[test]
fn the_client_and_the_upstream_understand_each_other() {
    let merchant = Merchant::start(|e| {
        let body = e.body()?;
        e.send("HTTP/1.1 103 Early Hints\r\n\r\n")?;
        e.reply(200, &format!("{RECORD}content-type: text/plain\r\n"), &body)
    });
    let client = client_of(&merchant, &random_hex(40));
    let mut connection = client.connect();
    for (framing, body, whole) in [
        ("content-length: 5", "hello", "hello"),
        ("transfer-encoding: chunked", "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "hello"),
    ] {
        let (name, value) = framing.split_once(": ").unwrap();
        let reply = connection.request(&Request::new("POST", "/api/echo").header(name, value).body(body));
        assert_eq!((reply.must_be(200).text().as_str(), &reply.interim[..]), (whole, &[103][..]));
    }
    assert_eq!((merchant.seen().len(), merchant.connections()), (2, 1));
    assert_eq!(merchant.seen()[1].body, b"hello");
}

#[test]
fn the_client_notices_what_must_never_be_in_a_reply() {
    let secret = random_hex(40);
    let wrong = [
        format!("HTTP/1.1 200 OK\r\n{RECORD}content-length: 40\r\n\r\n{secret}"),
        format!("HTTP/1.1 200 OK\r\n{RECORD}etag: {secret}\r\ncontent-length: 0\r\n\r\n"),
        format!(
            "HTTP/1.1 200 OK\r\n{RECORD}transfer-encoding: chunked\r\n\r\n14\r\n{}\r\n14\r\n{}\r\n0\r\n\r\n",
            &secret[..20],
            &secret[20..]
        ),
        format!("HTTP/1.1 200 OK\r\n{RECORD}x-internal: 1\r\ncontent-length: 0\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{RECORD}Content-Length: 0\r\n\r\n"),
        format!("HTTP/1.1 299 Odd\r\n{RECORD}content-length: 0\r\n\r\n"),
        format!(
            "HTTP/1.1 403 No\r\n{RECORD}keygate-refusal: no\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        ),
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
    ];
    for text in wrong {
        let bytes = text.clone();
        let merchant = Merchant::start(move |e| e.send(&bytes));
        let client = client_of(&merchant, &secret);
        let noticed = catch_unwind(AssertUnwindSafe(|| client.get("/x"))).is_err();
        assert!(noticed, "not noticed: {text}");
    }
}
