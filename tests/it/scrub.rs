//! The real key does not come back, in whatever form and place an upstream echoes it. ChannelEngine's 401 does.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::harness::secrets::percent_form;
use crate::harness::{Exchange, Merchant, Proxy, Reply};

type Form = fn(&str) -> String;

/// What a merchant may make of the key it was sent.
const FORMS: [(&str, Form); 8] = [
    ("raw", str::to_owned),
    ("in capitals", |key| key.to_uppercase()),
    ("percent-encoded", percent_form),
    ("half percent-encoded", |key| format!("{}{}", percent_form(&key[..20]), &key[20..])),
    ("in base64", |key| STANDARD.encode(key)),
    ("in base64 after one byte", |key| STANDARD.encode(format!(":{key}"))),
    ("in base64 after two bytes", |key| URL_SAFE_NO_PAD.encode(format!("u:{key}"))),
    ("twice", |key| format!("{key} and {key}")),
];

fn echo(write: impl Fn(&mut Exchange, &str) -> std::io::Result<()> + Send + Sync + 'static) -> Merchant {
    Merchant::start(move |e| {
        let key = e.seen().header("x-ce-key").to_owned();
        assert_eq!(key.len(), 40, "the real key came");
        write(e, &key)
    })
}

/// The harness looks for the secret in each reply; here it is enough that a reply came and that the record counts.
fn scrubbed(merchant: &Merchant, status: u16) -> Reply {
    let proxy = Proxy::open(&merchant.target());
    let reply = proxy.client("webshop").get("/v2/orders");
    let record = proxy.record(reply.must_be(status));
    assert!(record.number("scrubbed") >= 1, "{record}");
    reply
}

#[test]
fn a_key_echoed_in_a_body_is_cut_out_in_every_form() {
    for (form, make) in FORMS {
        let merchant = echo(move |e, key| {
            e.json(401, &format!(r#"{{"StatusCode":401,"Message":"API key is unknown: {}","LogId":"m-1"}}"#, make(key)))
        });
        let reply = scrubbed(&merchant, 401);
        assert!(reply.text().contains("API key is unknown"), "{form}: the rest stays: {reply}");
        assert!(reply.text().ends_with('}'), "{form}: {reply}");
    }
}

#[test]
fn a_key_echoed_in_a_header_is_cut_out_in_every_form() {
    for (_, make) in FORMS {
        let merchant = echo(move |e, key| {
            e.reply(
                302,
                &format!(
                    "location: https://localhost/?apikey={0}\r\netag: \"{0}\"\r\ncontent-type: text/plain\r\n",
                    make(key)
                ),
                b"",
            )
        });
        scrubbed(&merchant, 302);
    }
}

#[test]
fn a_key_echoed_as_an_encoding_or_in_a_headers_name_is_seen_nowhere() {
    // The gate tells the encoding that it refuses. A name comes in small letters: what is left of Base64 then is no key.
    let merchant = echo(|e, key| match e.number() {
        0 => e.reply(200, &format!("content-type: application/json\r\ncontent-encoding: {key}\r\n"), b"{}"),
        n => {
            let (_, make) = FORMS[n - 1];
            e.reply(200, &format!("content-type: text/plain\r\nx-{}: told\r\netag: \"kept\"\r\n", make(key)), b"")
        }
    });
    let mut proxy = Proxy::open(&merchant.target());
    let client = proxy.client("webshop");
    let mut replies = vec![client.get("/v2/orders")];
    replies[0].must_be_refused(502, "reply_encoded");
    for (form, _) in &FORMS[..4] {
        let reply = client.get("/v2/orders");
        assert_eq!(reply.must_be(200).header("etag"), "\"kept\"", "{form}");
        replies.push(reply);
    }
    for reply in &replies {
        let record = proxy.record(reply);
        assert!(record.number("scrubbed") >= 1, "{record}");
        proxy.secrets().must_not_be_in(record.to_string().as_bytes(), "the record");
    }
    // What it printed is looked through.
    proxy.stop();
}

#[test]
fn a_key_split_over_chunks_at_every_place_is_cut_out() {
    for at in [1, 2, 13, 20, 38, 39] {
        let merchant = echo(move |e, key| {
            e.send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")?;
            for piece in ["{\"a\":\"", &key[..at], &key[at..], "\"}"] {
                e.send(format!("{:x}\r\n{piece}\r\n", piece.len()))?;
            }
            e.send("0\r\n\r\n")
        });
        scrubbed(&merchant, 200);
    }
}

#[test]
fn a_key_sent_byte_by_byte_is_cut_out() {
    let merchant = echo(|e, key| {
        e.send("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for byte in key.chars() {
            e.send(format!("1\r\n{byte}\r\n"))?;
        }
        e.send("0\r\n\r\n")
    });
    scrubbed(&merchant, 200);
}

#[test]
fn a_key_deep_inside_a_large_reply_of_known_length_is_cut_out() {
    let merchant = echo(|e, key| {
        let body = [" ".repeat(700_001).as_str(), key, &" ".repeat(300_000)].concat();
        e.json(200, &body)
    });
    scrubbed(&merchant, 200);
}

#[test]
fn half_a_key_and_other_keys_pass_as_they_are() {
    let merchant = echo(|e, key| {
        let other: String = key.chars().rev().collect();
        e.json(200, &format!(r#"{{"a":"{}","b":"{other}"}}"#, &key[..39]))
    });
    let proxy = Proxy::open(&merchant.target());
    let reply = proxy.client("webshop").get("/v2/orders");
    let key = proxy.real_key();
    let other: String = key.chars().rev().collect();
    assert_eq!(reply.must_be(200).text(), format!(r#"{{"a":"{}","b":"{other}"}}"#, &key[..39]));
}
