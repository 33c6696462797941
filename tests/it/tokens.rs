//! Credentials that are exchanged for a token first: where id and secret go, when there is another token, what happens when
//! there is none.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use toml_edit::value;

use crate::harness::bao::private;
use crate::harness::pki::Pki;
use crate::harness::{Merchant, Proxy, random_hex, until};
use crate::vaults::gate::{events, with_vault};

/// A merchant API, and the endpoint that gives the tokens for it: `answer` gets how many it has given before.
struct Pair {
    api: Merchant,
    desk: Merchant,
    secret: String,
    folder: tempfile::TempDir,
}

/// The token of a number.
fn token(number: usize) -> String {
    format!("a-token-of-the-test-{number}")
}

impl Pair {
    /// Tokens live `seconds`; the endpoint is out of order while `broken` says so.
    fn start(seconds: u64, broken: Arc<AtomicBool>) -> Self {
        let pki = Pki::new();
        let leaf = pki.leaf(&["localhost", "127.0.0.1"]);
        let content = r#"{"orders":[]}"#;
        let api = Merchant::with_certificate(&pki, &leaf, move |exchange| exchange.json(200, content));
        let desk = Merchant::with_certificate(&pki, &leaf, move |exchange| {
            if broken.load(Ordering::SeqCst) {
                return exchange.json(503, "{}");
            }
            let granted =
                json!({"access_token": token(exchange.number()), "token_type": "bearer", "expires_in": seconds});
            exchange.json(200, &granted.to_string())
        });
        Self { api, desk, secret: random_hex(40), folder: tempfile::tempdir().unwrap() }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/token", self.desk.target().port)
    }

    /// A gate with this profile; `{URL}` in it stands for the token endpoint.
    fn gate(&self, profile: &str, base_path: &str, token_url: &str) -> Proxy {
        self.gate_with(&format!("client-7:{}", self.secret), profile, base_path, token_url)
    }

    /// The same with another credential.
    fn gate_with(&self, credential: &str, profile: &str, base_path: &str, token_url: &str) -> Proxy {
        let mut target = self.api.target();
        base_path.clone_into(&mut target.base_path);
        let (place, profile) = (self.folder.path().display().to_string(), profile.replace("{URL}", &self.url()));
        let mut proxy = Proxy::prepare(&target, |setup| {
            with_vault(setup, |vault| {
                vault["type"] = value("directory");
                vault["directory"] = value(place);
                vault["refresh"] = value("50ms");
            });
            setup.edit(move |config, folder| {
                std::fs::write(folder.join("own.toml"), profile).unwrap();
                config["upstream"]["acme"]["profile"] = value("own.toml");
                config["integration"]["webshop"]["allow"] = value(toml_edit::Array::from_iter(["orders:read"]));
            });
        });
        proxy.plant("client secret", &self.secret);
        (0..9).for_each(|number| proxy.plant("token", &token(number)));
        let bound_to = format!("https://localhost:{}{base_path}", target.port);
        let document = json!({"key": credential, "bound_to": bound_to, "token_url": token_url, "version": 1});
        private(&self.folder.path().join("acme"), document.to_string().as_bytes());
        proxy
    }
}

fn profile(client: &str) -> String {
    format!(
        "name = \"own\"\ntitle = \"An API with tokens\"\nenvelope = \"problem\"\nslots = {{}}\n\
         inject = [{{ header = \"authorization\", template = \"Bearer {{key}}\" }}]\n\
         token = {{ url = \"{{URL}}\", client = \"{client}\", parameters = {{ scope = \"orders read\" }} }}\n\
         endpoints = [{{ method = \"GET\", path = \"/orders\", scope = \"orders:read\", effect = \"read\", purpose = \"Lists orders\" }}]\n"
    )
}

fn get(proxy: &Proxy, path: &str) -> crate::harness::Reply {
    let bearer = format!("Bearer {}", proxy.key("webshop"));
    proxy.anonymous().with("authorization", &bearer).get(path)
}

#[test]
fn id_and_secret_go_to_the_token_endpoint_alone_and_the_token_goes_to_the_api() {
    for client in ["basic", "body"] {
        let pair = Pair::start(3600, Arc::default());
        let mut proxy = pair.gate(&profile(client), "/api", &pair.url());
        proxy.run();
        get(&proxy, "/orders").must_be(200);
        get(&proxy, "/orders").must_be(200);
        let asked = pair.desk.only();
        assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/token"));
        let body = String::from_utf8(asked.body.clone()).unwrap();
        let secret = &pair.secret;
        if client == "basic" {
            let pair = STANDARD.encode(format!("client-7:{secret}"));
            assert_eq!(asked.header("authorization"), format!("Basic {pair}"));
            assert_eq!(body, "grant_type=client_credentials&scope=orders%20read");
        } else {
            assert_eq!(asked.count("authorization"), 0);
            let form =
                format!("grant_type=client_credentials&client_id=client-7&client_secret={secret}&scope=orders%20read");
            assert_eq!(body, form);
        }
        for seen in pair.api.seen() {
            assert_eq!(seen.header("authorization"), format!("Bearer {}", token(0)));
            assert!(!format!("{seen:?}").contains(secret));
        }
    }
}

#[test]
fn there_is_another_token_before_one_ends_by_one_exchange_however_many_calls_come() {
    // Time enough between the next token and the end of the last for a machine that is busy.
    let pair = Pair::start(6, Arc::default());
    let mut proxy = pair.gate(&profile("basic"), "/api", &pair.url());
    proxy.run();
    let (begun, over) = (Instant::now(), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    get(&proxy, "/orders").must_be(200);
                }
            });
        }
        pair.desk.await_calls(3);
        let last = format!("Bearer {}", token(2));
        until("a call with the third token", || {
            pair.api.seen().last().is_some_and(|seen| seen.header("authorization") == last).then_some(())
        });
        over.store(true, Ordering::SeqCst);
    });
    let most = 2 + begun.elapsed().as_secs() / 4;
    assert!(pair.desk.seen().len() as u64 <= most, "{} exchanges, {most} at most", pair.desk.seen().len());
    assert_eq!(events(&proxy, "credential-changed"), [""; 0], "another token is no other credential");
}

#[test]
fn a_token_serves_to_its_end_while_its_endpoint_fails_and_no_longer() {
    let broken = Arc::new(AtomicBool::new(false));
    let pair = Pair::start(6, broken.clone());
    let mut proxy = pair.gate(&profile("basic"), "/api", &pair.url());
    proxy.run();
    broken.store(true, Ordering::SeqCst);
    let told = until("the trouble on record", || events(&proxy, "credential-trouble").pop());
    assert!(
        told.contains("gives no token for credential `acme`: status 503; the last good one stays in use"),
        "{told}"
    );
    get(&proxy, "/orders").must_be(200);
    until("the end of the token", || {
        let reply = get(&proxy, "/orders");
        let refused = reply.status != 200;
        (refused && {
            reply.must_be_refused(503, "credential_unavailable");
            true
        })
        .then_some(())
    });
    assert!(pair.desk.seen().len() < 8, "an endpoint in trouble is not asked all the time");
    broken.store(false, Ordering::SeqCst);
    until("a call with another token", || (get(&proxy, "/orders").status == 200).then_some(()));
}

#[test]
fn a_credential_is_exchanged_only_where_it_says_it_may_be() {
    let pair = Pair::start(3600, Arc::default());
    let mut proxy = pair.gate(&profile("basic"), "/api", "https://login.example/token");
    let ran = proxy.try_run().unwrap_err();
    assert!(ran.stderr.contains("does not name it as its `token_url`"), "{ran}");
    assert_eq!(pair.desk.connections(), 0);
}

#[test]
fn the_profile_of_bol_works_against_a_server_of_its_kind() {
    let pair = Pair::start(299, Arc::default());
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/profiles/bol.toml");
    let text = std::fs::read_to_string(own).unwrap().replace("https://login.bol.com/token", "{URL}");
    let mut proxy = pair.gate(&text, "/retailer", &pair.url());
    proxy.run();
    get(&proxy, "/orders").must_be(200);
    assert_eq!(pair.api.only().header("authorization"), format!("Bearer {}", token(0)));
    assert_eq!(pair.api.only().target, "/retailer/orders");
    assert!(pair.desk.only().header("authorization").starts_with("Basic "));
}

#[test]
fn the_profile_of_amazon_exchanges_what_a_seller_granted() {
    let pair = Pair::start(3600, Arc::default());
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/profiles/amazon.toml");
    let text = std::fs::read_to_string(own).unwrap().replace("https://api.amazon.com/auth/o2/token", "{URL}");
    let refresh = format!("Atzr|{}", random_hex(40));
    let credential = format!("client-7:{}:{refresh}", pair.secret);
    let mut proxy = pair.gate_with(&credential, &text, "", &pair.url());
    proxy.plant("refresh token", &refresh);
    proxy.run();
    let key = proxy.key("webshop").to_owned();
    proxy.anonymous().with("x-amz-access-token", &key).get("/orders/v0/orders?MarketplaceIds=A1").must_be(200);
    let seen = pair.api.only();
    assert_eq!(seen.header("x-amz-access-token"), token(0));
    assert!(!format!("{seen:?}").contains(&refresh) && !format!("{seen:?}").contains(&pair.secret));
    let asked = pair.desk.only();
    assert_eq!(asked.count("authorization"), 0);
    let form = format!(
        "grant_type=refresh_token&client_id=client-7&client_secret={}&refresh_token={}",
        pair.secret,
        refresh.replace('|', "%7C")
    );
    assert_eq!(String::from_utf8(asked.body.clone()).unwrap(), form);
}

#[test]
fn a_credential_without_its_refresh_token_is_told() {
    let pair = Pair::start(3600, Arc::default());
    let text = profile("body").replace("client = \"body\"", "client = \"body\", grant = \"refresh-token\"");
    let mut proxy = pair.gate(&text, "/api", &pair.url());
    let ran = proxy.try_run().unwrap_err();
    assert!(ran.stderr.contains("not of the form `id:secret:refresh-token`"), "{ran}");
    assert_eq!(pair.desk.connections(), 0);
}
