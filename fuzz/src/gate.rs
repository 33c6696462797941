//! One gate, in memory: the real policy, limits, injection and log, a closure as upstream.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Full};
use keygate::audit::{Log, ParamHasher, Resume, Sink};
use keygate::config::Config;
use keygate::gateway::{Gateway, Shared, Upstream, sizes};
use keygate::limit::Memory;
use keygate::live::Live;
use keygate::metrics::Metrics;
use keygate::policy::scoped_key::ScopedKey;
use keygate::upstream::{Inbound, InboundBody, Request, Service, Times, UploadLimits, UpstreamError};
use keygate::vault::{Credential, Holdings, KeyRing, Secret, Vault, VaultError};
use tower::util::BoxCloneSyncService;

use super::strict::{Read, Rules, read};

/// The real key of this gate.
pub const REAL: &str = "c0ffee11c0ffee22c0ffee33c0ffee44c0ffee55";
const HOST: &str = "acme.channelengine.net";

/// The scoped key that the seeds hold; the same in every run.
pub fn scoped_key() -> String {
    ScopedKey::from_random([7; 32]).expose().to_owned()
}

/// A log in memory.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// What was written since the last call.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Sink for Lines {
    fn append(&mut self, lines: &[u8]) -> std::io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(lines);
        Ok(())
    }

    fn seal(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The configuration of this gate.
pub fn config() -> Config {
    let hash: String =
        ScopedKey::from_random([7; 32]).sha256().iter().fold(String::new(), |all, b| all + &format!("{b:02x}"));
    let text = format!(
        "{}\n[integration.webshop]\nupstream = \"acme\"\nkey_sha256 = \"{hash}\"\n\
         allow = [\"orders:*\", \"products:*\", \"offers:*\", \"shipments:*\"]\ndeny = [\"GET /v2/orders/new\"]\n",
        keygate::config::minimal(
            "acme",
            "https://acme.channelengine.net/api",
            "channelengine",
            "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
        )
        .replace("limit = \"10000/15min\"", "limit = \"none\"")
    );
    let checked = keygate::config::check(&text, "keygate.toml", "/nowhere".as_ref(), &|_| Err("no files".into()));
    checked.unwrap_or_else(|problems| panic!("{problems}"))
}

/// A vault that holds the real key, whatever it is asked for.
struct OneKey {
    bound_to: String,
}

impl Vault for OneKey {
    fn fetch(&self, id: &str) -> Result<Credential, VaultError> {
        Ok(Credential {
            id: id.into(),
            version: 1,
            bound_to: self.bound_to.clone(),
            scopes: None,
            until: None,
            token_url: None,
            since: None,
            other: None,
            secret: Secret::new(REAL.into()),
        })
    }
}

/// The gate, and its log.
pub fn gateway() -> (Gateway, Lines) {
    let (config, lines) = (config(), Lines::default());
    let bound_to = config.upstreams[0].base_url.to_string();
    let holdings = Holdings::first(&OneKey { bound_to }, &config.upstreams).unwrap_or_else(|why| panic!("{why}"));
    let metrics = Arc::new(Metrics::default());
    let live = Live::new(&config, &metrics, |buckets| Box::new(Memory::new(buckets)));
    let shared = Shared {
        envelope: live.policy.envelope(),
        live: ArcSwap::from_pointee(live),
        ring: Arc::new(KeyRing::new(holdings.keys(&config.upstreams))),
        log: Log::start(Box::new(lines.clone()), Resume::nowhere()).unwrap(),
        hasher: ParamHasher::new(&[1; 32]),
        metrics,
        sizes: sizes(&config),
        upload: UploadLimits { max: config.listen.max_body, pause: config.listen.body_timeout, rate: None },
    };
    let long = Duration::from_secs(60);
    let upstream = Upstream {
        name: "acme".into(),
        base_path: "/api".into(),
        host: HeaderValue::from_static(HOST),
        times: Times { connect: long, head: long, body: long, total: long },
        service: Service::Other(BoxCloneSyncService::new(tower::service_fn(answer))),
    };
    (Gateway::new(Arc::new(shared), vec![upstream]), lines)
}

/// The upstream: it judges what reached it, and answers with the real key in everything, which must be cut out.
async fn answer(request: Request) -> Result<Inbound, UpstreamError> {
    let Request { parts, body, .. } = request;
    let whole = body.collect().await.ok().map(http_body_util::Collected::to_bytes);
    must_be_one_request(&parts.method, parts.target.as_str(), &parts.headers, whole.as_deref());
    let Some(_) = whole else { return Err(UpstreamError::UploadBroken) };
    let text =
        format!("{{\"Content\":null,\"StatusCode\":200,\"LogId\":\"1\",\"Success\":true,\"Message\":\"{REAL}\"}}");
    let reply = http::Response::builder().header("x-echo", REAL).header("content-type", "application/json").body(());
    let (head, ()) = reply.unwrap().into_parts();
    Ok(Inbound { head, body: InboundBody::Whole(Full::new(Bytes::from(text))) })
}

/// As it would go over the wire, it must be one request in its one spelling. Of a body that broke off the head is judged.
fn must_be_one_request(method: &http::Method, target: &str, headers: &HeaderMap, body: Option<&[u8]>) {
    let mut wire = format!("{method} {target} HTTP/1.1\r\n");
    for (name, value) in headers {
        // Bytes above 127 and tabs may stand in a value; the reader takes plain text only.
        let value: String = value.as_bytes().iter().map(|b| shown(*b)).collect();
        if body.is_some() || name != "content-length" {
            wire = wire + name.as_str() + ": " + &value + "\r\n";
        }
    }
    let mut wire = wire.into_bytes();
    match body {
        Some(body) if !headers.contains_key("content-length") && !body.is_empty() => {
            wire.extend(format!("transfer-encoding: chunked\r\n\r\n{:X}\r\n", body.len()).bytes());
            wire.extend(body);
            wire.extend(b"\r\n0\r\n\r\n");
        }
        body => {
            wire.extend(b"\r\n");
            wire.extend(body.unwrap_or_default());
        }
    }
    must_be_one(&wire);
}

/// Bytes as they would go over the wire must be one request in its one spelling.
pub fn must_be_one(wire: &[u8]) {
    let shown = String::from_utf8_lossy(wire).escape_debug().to_string();
    match read(wire, &Rules { host: HOST.into(), key: REAL.into() }) {
        Read::Whole(_, taken) => assert_eq!(taken, wire.len(), "bytes behind the request: {shown}"),
        Read::More => panic!("a part of a request as a whole one: {shown}"),
        Read::Wrong(why) => panic!("{why}: {shown}"),
    }
}

fn shown(byte: u8) -> char {
    match byte {
        b'\t' => ' ',
        _ if byte.is_ascii() => char::from(byte),
        _ => '?',
    }
}
