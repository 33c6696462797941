//! Several credentials for one upstream: the narrowest that covers a call goes with it, and none goes where it may not.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use http::{HeaderMap, HeaderValue};
use jiff::{Timestamp, ToSpan};
use keygate::config::{Config, check, resolve_scopes};
use keygate::limit::{Limits, Memory};
use keygate::policy::scoped_key::ScopedKey;
use keygate::policy::{Policy, explain};
use keygate::vault::inject::{Destination, inject};
use keygate::vault::{Credential, Holdings, KeyRing, Secret, Vault, VaultError};
use proptest::prelude::*;
use serde_json::{Value, json};
use toml_edit::{Array, value};

use super::gate::{events, fields, last_key, with_vault};
use crate::harness::bao::private;
use crate::harness::{Merchant, Proxy, random_hex, until};

const BASE: &str = "https://acme.channelengine.net/api";

/// A credential as a test thinks of it.
#[derive(Clone, Debug)]
struct Sketch {
    bound_to: &'static str,
    scopes: Option<Vec<String>>,
    /// Whether it has an end, and whether that lies ahead.
    ahead: Option<bool>,
}

struct Sketched(Vec<Sketch>);

/// The key of the credential at a position.
fn key(position: usize) -> String {
    format!("the-key-at-position-{position}")
}

impl Vault for Sketched {
    fn fetch(&self, id: &str) -> Result<Credential, VaultError> {
        let position: usize = id[1..].parse().unwrap();
        let Sketch { bound_to, scopes, ahead } = self.0[position].clone();
        let until = ahead.map(|ahead| if ahead { "2099-01-01T00:00:00Z" } else { "2020-01-01T00:00:00Z" });
        Ok(Credential {
            id: id.into(),
            version: 1,
            bound_to: bound_to.to_owned(),
            scopes,
            until: until.map(|until| until.parse().unwrap()),
            token_url: None,
            since: None,
            other: None,
            secret: Secret::new(key(position).into_bytes()),
        })
    }
}

fn scoped_key() -> ScopedKey {
    ScopedKey::from_random([7; 32])
}

fn config(credentials: usize, allow: &[String], deny: &[String]) -> Option<Config> {
    let names: Vec<String> = (0..credentials).map(|n| format!("c{n}")).collect();
    let hash = scoped_key().sha256().map(|byte| format!("{byte:02x}")).concat();
    let text = format!(
        "[upstream.acme]\nprofile = \"channelengine\"\nbase_url = \"{BASE}\"\ncredential = {names:?}\n\
         [integration.web]\nupstream = \"acme\"\nkey_sha256 = \"{hash}\"\nallow = {allow:?}\ndeny = {deny:?}\n"
    );
    check(&text, "keygate.toml", Path::new("/"), &|_| Err("no profile file here".to_owned())).ok()
}

/// The key that a call of this endpoint would go with, by the gate's own steps; `None` when nothing would leave.
fn sent(config: &Config, policy: &Policy, limits: &Limits, ring: &KeyRing, method: &str, path: &str) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.insert("x-ce-key", HeaderValue::from_str(scoped_key().expose()).unwrap());
    let query = policy.query(None).unwrap();
    let now = Timestamp::now();
    let client = policy.identify(&headers, &query, now).ok()?;
    let call = policy.read(&client, &method.parse().unwrap(), path, query).ok()?;
    let permit = policy.authorise(&client, &call).ok()?;
    let ticket = limits.take(&permit, Instant::now()).ok()?;
    let host = HeaderValue::from_str(&config.upstreams[0].base_url.authority()).unwrap();
    let to = Destination { upstream: 0, base_path: "/api", host: &host, slots: policy.slots(), now, repeatable: false };
    let (outbound, _) = inject(call, &permit, ticket, headers, ring, &to).ok()?;
    Some(outbound.into_parts().headers["x-ce-key"].to_str().unwrap().to_owned())
}

/// What should go along: the narrowest of those that are bound here and cover the endpoint, unless its time is over.
fn expected(config: &Config, sketches: &[Sketch], endpoint: usize) -> Option<String> {
    let profile = &config.upstreams[0].profile;
    let covered = |sketch: &Sketch| -> BTreeSet<usize> {
        match &sketch.scopes {
            None => (0..profile.endpoints().len()).collect(),
            Some(scopes) => resolve_scopes(profile, scopes).unwrap(),
        }
    };
    let here = sketches.iter().enumerate().filter(|(_, sketch)| sketch.bound_to == BASE);
    let covering = here.map(|(n, sketch)| (covered(sketch), n)).filter(|(covered, _)| covered.contains(&endpoint));
    let (_, position) = covering.map(|(covered, n)| (covered.len(), n)).min()?;
    (sketches[position].ahead != Some(false)).then(|| key(position))
}

fn scopes() -> Vec<String> {
    let profile = keygate::profile::builtin("channelengine").unwrap();
    profile.scopes().into_iter().map(str::to_owned).collect()
}

fn endpoints() -> Vec<String> {
    keygate::profile::builtin("channelengine").unwrap().endpoints().iter().map(|it| it.name.to_string()).collect()
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let places = [
        BASE,
        BASE,
        BASE,
        "https://other.channelengine.net/api",
        "https://acme.channelengine.net:8443/api",
        "https://acme.channelengine.net",
        "http://acme.channelengine.net/api",
    ];
    let some = prop::sample::subsequence([scopes(), endpoints()].concat(), 1..12);
    (prop::sample::select(places.to_vec()), prop::option::weighted(0.8, some), prop::option::of(any::<bool>()))
        .prop_map(|(bound_to, scopes, ahead)| Sketch { bound_to, scopes, ahead })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Where a key can be injected is a part of what the policy allows, of what the key is bound to, of what it may serve, and
    /// of its time; and of several keys it is the narrowest.
    #[test]
    fn a_key_goes_only_where_policy_binding_scope_and_time_allow_it(
        sketches in prop::collection::vec(sketch(), 1..5),
        allow in prop::sample::subsequence(scopes(), 1..8),
        deny in prop::sample::subsequence(endpoints(), 0..10),
    ) {
        let Some(config) = config(sketches.len(), &allow, &deny) else { return Ok(()) };
        let vault = Sketched(sketches.clone());
        let ring = KeyRing::new(Holdings::first(&vault, &config.upstreams).unwrap().keys(&config.upstreams));
        let (policy, limits) = (Policy::new(&config), Limits::new(&config, |buckets| Box::new(Memory::new(buckets))));
        for (index, endpoint) in config.upstreams[0].profile.endpoints().iter().enumerate() {
            let (method, template) = endpoint.name.split_once(' ').unwrap();
            let words = template.split('/').map(|word| if word.starts_with('{') { "1" } else { word });
            let path = format!("/api{}", words.collect::<Vec<_>>().join("/"));
            let sent = sent(&config, &policy, &limits, &ring, method, &path);
            let explained = explain(&config, "web", &method.parse().unwrap(), &path).unwrap();
            prop_assert_eq!(explained.endpoint.as_deref(), Some(&*endpoint.name));
            let wanted = if explained.allowed { expected(&config, &sketches, index) } else { None };
            prop_assert_eq!(&sent, &wanted, "{} {:?}", endpoint.name, sketches);
        }
    }
}

/// Puts a credential into the folder, whole or not at all.
fn write(folder: &Path, proxy: &Proxy, merchant: &Merchant, name: &str, more: &Value) {
    let mut document = fields(proxy, merchant, more["key"].as_str().unwrap());
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    private(&folder.join(".new"), document.to_string().as_bytes());
    std::fs::rename(folder.join(".new"), folder.join(name)).unwrap();
}

/// A gate whose upstream has a key for everything and one for orders, in a folder; and the key for orders.
fn with_two_keys(merchant: &Merchant, folder: &Path) -> (Proxy, String) {
    let place = folder.display().to_string();
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        with_vault(setup, |vault| {
            vault["type"] = value("directory");
            vault["directory"] = value(place);
            vault["refresh"] = value("50ms");
        });
        setup.edit(|config, _| {
            config["upstream"]["acme"]["credential"] = value(Array::from_iter(["acme", "acme-orders"]));
        });
    });
    let orders = random_hex(40);
    proxy.plant("orders key", &orders);
    write(folder, &proxy, merchant, "acme", &json!({"key": proxy.real_key(), "version": 1}));
    let narrow = json!({"key": orders, "version": 1, "scopes": ["orders:*"]});
    write(folder, &proxy, merchant, "acme-orders", &narrow);
    (proxy, orders)
}

#[test]
fn the_narrowest_key_that_covers_a_call_goes_with_it_and_explain_shows_which() {
    let (merchant, folder) = (Merchant::content(), tempfile::tempdir().unwrap());
    let (mut proxy, orders) = with_two_keys(&merchant, folder.path());
    let explain =
        |proxy: &mut Proxy, path: &str| proxy.keygate(&["explain", "GET", path, "--integration", "webshop"], b"").ok();
    assert!(explain(&mut proxy, "/v2/orders").contains("acme-orders version 1, the narrowest of 2 that cover it"));
    assert!(explain(&mut proxy, "/v2/products").contains("acme version 1\n"));
    proxy.run();
    let client = proxy.client("webshop");
    let reply = client.get("/v2/orders");
    assert_eq!(proxy.record(reply.must_be(200)).field("credential"), &json!(["acme-orders", 1]));
    assert_eq!(last_key(&merchant), orders);
    let reply = client.get("/v2/products");
    assert_eq!(proxy.record(reply.must_be(200)).field("credential"), &json!(["acme", 1]));
    assert_eq!(last_key(&merchant), proxy.real_key());

    // One that is not there at all covers nothing: there is nothing to know of it.
    std::fs::remove_file(folder.path().join("acme-orders")).unwrap();
    until("the end of the orders key on record", || events(&proxy, "credential-trouble").pop());
    until("a call with the wide key", || {
        client.get("/v2/orders").must_be(200);
        (last_key(&merchant) == proxy.real_key()).then_some(())
    });
}

#[test]
fn a_key_is_used_to_its_end_and_no_wider_one_takes_its_place() {
    let (merchant, folder) = (Merchant::content(), tempfile::tempdir().unwrap());
    let (mut proxy, orders) = with_two_keys(&merchant, folder.path());
    let soon = Timestamp::now() + 2.seconds();
    let narrow = json!({"key": orders, "version": 2, "scopes": ["orders:*"], "until": soon.to_string()});
    write(folder.path(), &proxy, &merchant, "acme-orders", &narrow);
    proxy.run();
    let client = proxy.client("webshop");
    let refused = until("the end of the orders key", || {
        let reply = client.get("/v2/orders");
        (reply.status != 200).then_some(reply)
    });
    assert!(Timestamp::now() >= soon, "it was refused before its time");
    refused.must_be_refused(503, "credential_unavailable");
    let record = proxy.record(&refused);
    assert!(record.text("detail").contains("may not be used any more"), "{record}");
    until("the end on record", || {
        events(&proxy, "credential-trouble").into_iter().find(|told| told.contains("may not be used any more"))
    });
    client.get("/v2/orders").must_be_refused(503, "credential_unavailable");
    let seen = merchant.seen();
    assert!(seen.iter().all(|seen| seen.header("x-ce-key") == orders), "another key was used");
    client.get("/v2/products").must_be(200);
}
