//! A running gate before each kind of vault: changes are used at once, outages are survived for a while, all of it is on
//! record, and no secret of the vault is seen anywhere.

use std::fs;
use std::path::Path;

use serde_json::json;
use toml_edit::{Array, Table, value};

use super::directory::mount;
use super::exec::program;
use crate::harness::bao::{Bao, private};
use crate::harness::setup::Setup;
use crate::harness::{Merchant, Proxy, Reply, until};

/// Puts another `[vault]` into the configuration.
pub fn with_vault(setup: &mut Setup, fill: impl FnOnce(&mut Table) + Send + Sync + 'static) -> &mut Setup {
    setup.integration("webshop", &["--allow", "orders:*", "--allow", "products:read"]).edit(|config, _| {
        let mut vault = Table::new();
        fill(&mut vault);
        config["vault"] = toml_edit::Item::Table(vault);
    })
}

/// A gate in front of this server that logs in by approle.
pub fn before(bao: &Bao, merchant: &Merchant, more: impl FnOnce(&mut Table) + Send + Sync + 'static) -> Proxy {
    let (role_id, secret_id) = bao.approle(&json!({"token_ttl": "1h"}));
    let file = bao.secret_file("secret-id", &secret_id);
    let (address, ca) = (bao.address(), bao.ca());
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        with_vault(setup, move |vault| {
            vault["type"] = value("openbao");
            vault["address"] = value(address);
            vault["trust_roots"] = value(ca.display().to_string());
            vault["auth"] = value("approle");
            vault["role_id"] = value(role_id);
            vault["secret_id_file"] = value(file.display().to_string());
            vault["refresh"] = value("50ms");
            more(vault);
        });
    });
    proxy.plant("root token", bao.root());
    proxy.plant("secret id", &secret_id);
    proxy
}

pub fn fields(proxy: &Proxy, merchant: &Merchant, key: &str) -> serde_json::Value {
    json!({"key": key, "bound_to": format!("https://localhost:{}{}", merchant.target().port, proxy.base_path())})
}

pub fn events(proxy: &Proxy, code: &str) -> Vec<String> {
    let gate = proxy.audit().of_kind("gate").into_iter().filter(|line| line.text("event.code") == code);
    gate.map(|line| line.text("event.detail").to_owned()).collect()
}

#[track_caller]
fn await_event(proxy: &Proxy, code: &str, count: usize) -> String {
    until(&format!("event {count} of {code}"), || events(proxy, code).get(count - 1).cloned())
}

/// Version of the credential that a call went with.
fn version(proxy: &Proxy, reply: &Reply) -> u64 {
    proxy.record(reply).field("credential")[1].as_u64().expect("a credential stands in the record")
}

/// The key that reached the upstream last.
pub fn last_key(merchant: &Merchant) -> String {
    merchant.seen().last().unwrap().header("x-ce-key").to_owned()
}

/// The tokens that a server issues begin in a way that is easy to find.
fn no_token_in(text: &[u8], place: &str) {
    let letters = |bytes: &[u8]| bytes.len() >= 20 && bytes[..20].iter().all(u8::is_ascii_alphanumeric);
    let text = text.to_ascii_lowercase();
    let found = text.windows(2).enumerate().any(|(at, two)| two == b"s." && letters(&text[at + 2..]));
    assert!(!found, "a token of the vault stands in {place}");
}

#[test]
fn a_gate_before_openbao_uses_a_new_version_survives_an_outage_for_a_while_and_has_it_all_on_record() {
    let Some(bao) = Bao::start() else { return };
    let merchant = Merchant::content();
    let mut proxy = before(&bao, &merchant, |vault| vault["stale_for"] = value("4s"));
    let key = proxy.real_key().to_owned();
    bao.put("keygate/acme", &fields(&proxy, &merchant, &key));
    proxy.run();
    let client = proxy.client("webshop");
    let get = || client.get("/v2/orders");
    assert_eq!(version(&proxy, get().must_be(200)), 1);
    assert_eq!(last_key(&merchant), key);
    assert!(await_event(&proxy, "vault", 1).contains("logged in by approle"));

    let second = crate::harness::random_hex(40);
    proxy.plant("second key", &second);
    bao.put("keygate/acme", &fields(&proxy, &merchant, &second));
    assert!(await_event(&proxy, "credential-changed", 1).contains("credential acme version 2"));
    assert_eq!(version(&proxy, get().must_be(200)), 2);
    assert_eq!(last_key(&merchant), second);

    bao.seal();
    assert!(await_event(&proxy, "credential-trouble", 1).contains("Vault is sealed; the last good one stays in use"));
    get().must_be(200);
    let warned = || proxy.admin("/health");
    let (status, health) = until("a warning", || Some(warned()).filter(|(_, text)| text.contains("stays in use")));
    assert_eq!(status, 200, "calls are served: {health}");
    assert!(health.contains("the last good `acme` stays in use"), "{health}");
    assert_eq!(proxy.metric("keygate_credentials_unconfirmed"), Some(1));
    bao.unseal();
    until("no warning", || warned().1.contains("\"warnings\":[]").then_some(()));
    assert_eq!(proxy.metric("keygate_credentials_unconfirmed"), Some(0));
    assert!(await_event(&proxy, "credential-restored", 1).contains("version 2"));
    bao.seal();
    await_event(&proxy, "credential-trouble", 2);
    assert!(await_event(&proxy, "credential-stale", 1).contains("not confirmed for 4s; calls are refused"));
    get().must_be_refused(503, "credential_unavailable");
    bao.unseal();
    await_event(&proxy, "credential-restored", 2);
    assert_eq!(version(&proxy, get().must_be(200)), 2);

    bao.api("DELETE", "secret/data/keygate/acme", &serde_json::Value::Null);
    assert!(await_event(&proxy, "credential-trouble", 3).contains("holds no credential `acme`; calls are refused"));
    get().must_be_refused(503, "credential_unavailable");
    let ended = proxy.stop();
    no_token_in(ended.output.as_bytes(), "what the gate printed");
    no_token_in(&proxy.audit().bytes(), "the log");
}

#[test]
fn no_command_shows_anything_of_the_vaults_secrets() {
    let Some(bao) = Bao::start() else { return };
    let merchant = Merchant::content();
    let mut proxy = before(&bao, &merchant, |_| ());
    let key = proxy.real_key().to_owned();
    bao.put("keygate/acme", &fields(&proxy, &merchant, &key));
    proxy.keygate(&["check"], b"").ok();
    let explained = proxy.keygate(&["explain", "GET", "/v2/orders", "--integration", "webshop"], b"").ok();
    assert!(explained.contains("acme version 1"), "{explained}");
    let refused = proxy.keygate(&["credential", "put", "acme"], b"some-key-1234567890");
    assert_eq!(refused.code, Some(2), "{refused}");
    assert!(refused.stderr.contains("bao kv put -mount=secret keygate/NAME"), "{refused}");
    // With a wrong secret id, a sealed server, and none at all.
    bao.api("DELETE", "auth/approle/role/keygate", &serde_json::Value::Null);
    for why in ["refuses the login by approle", "is sealed", "onnection refused"] {
        for args in [&["check"][..], &["check", "--json"], &["run"]] {
            let ran = proxy.keygate(args, b"");
            assert_ne!(ran.code, Some(0), "{ran}");
            let told = format!("{}{}", ran.stdout, ran.stderr);
            assert!(told.contains(why), "`{why}` is not in\n{told}");
            no_token_in(told.as_bytes(), "what a command printed");
        }
        if why.starts_with("refuses") {
            bao.seal();
        } else {
            bao.signal("KILL");
            until("the end of the server", || (bao.status() == 0).then_some(()));
        }
    }
}

#[test]
fn check_does_not_use_a_wrapped_secret_id_up_and_run_does() {
    let Some(bao) = Bao::start() else { return };
    let merchant = Merchant::content();
    let file = bao.path("wrapped");
    let mut proxy = before(&bao, &merchant, move |vault| {
        vault["secret_id_file"] = value(file.display().to_string());
        vault["secret_id_wrapped"] = value(true);
    });
    let wrapping = bao.wrapped("auth/approle/role/keygate/secret-id");
    proxy.plant("wrapping token", &wrapping);
    bao.secret_file("wrapped", &wrapping);
    let key = proxy.real_key().to_owned();
    bao.put("keygate/acme", &fields(&proxy, &merchant, &key));
    proxy.keygate(&["check"], b"").ok();
    let explained = proxy.keygate(&["explain", "GET", "/v2/orders", "--integration", "webshop"], b"").ok();
    assert!(explained.contains("the secret id is wrapped"), "{explained}");
    proxy.run();
    proxy.client("webshop").get("/v2/orders").must_be(200);
    proxy.stop();
    let ran = proxy.try_run().unwrap_err();
    assert!(ran.stderr.contains("somebody else has"), "{ran}");
    assert!(proxy.keygate(&["check"], b"").stderr.contains("the wrapping token"));
}

#[test]
fn a_gate_notices_a_folder_that_is_swapped_by_a_link() {
    let merchant = Merchant::content();
    let secrets = tempfile::tempdir().unwrap();
    let folder = secrets.path().display().to_string();
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        with_vault(setup, |vault| {
            vault["type"] = value("directory");
            vault["directory"] = value(folder);
            vault["refresh"] = value("50ms");
        });
    });
    let key = proxy.real_key().to_owned();
    mount(secrets.path(), "1", &fields(&proxy, &merchant, &key));
    proxy.run();
    let client = proxy.client("webshop");
    client.get("/v2/orders").must_be(200);
    assert_eq!(last_key(&merchant), key);
    let second = crate::harness::random_hex(40);
    proxy.plant("second key", &second);
    mount(secrets.path(), "2", &fields(&proxy, &merchant, &second));
    await_event(&proxy, "credential-changed", 1);
    client.get("/v2/orders").must_be(200);
    assert_eq!(last_key(&merchant), second);
}

#[test]
fn a_gate_gets_its_credential_from_a_helper() {
    let merchant = Merchant::content();
    let secrets = tempfile::tempdir().unwrap();
    let helper = program(secrets.path(), &format!("cat {}/$1.json", secrets.path().display()));
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        with_vault(setup, move |vault| {
            vault["type"] = value("exec");
            vault["command"] = value(Array::from_iter([helper.display().to_string()]));
            vault["refresh"] = value("50ms");
        });
    });
    let write = |proxy: &Proxy, key: &str, version: u64| {
        let mut document = fields(proxy, &merchant, key);
        document["version"] = json!(version);
        let path: &Path = secrets.path();
        private(&path.join("new"), document.to_string().as_bytes());
        fs::rename(path.join("new"), path.join("acme.json")).unwrap();
    };
    let key = proxy.real_key().to_owned();
    write(&proxy, &key, 7);
    proxy.run();
    let client = proxy.client("webshop");
    assert_eq!(version(&proxy, client.get("/v2/orders").must_be(200)), 7);
    let second = crate::harness::random_hex(40);
    proxy.plant("second key", &second);
    write(&proxy, &second, 8);
    assert!(await_event(&proxy, "credential-changed", 1).contains("version 8"));
    assert_eq!(version(&proxy, client.get("/v2/orders").must_be(200)), 8);
    assert_eq!(last_key(&merchant), second);
    fs::remove_file(secrets.path().join("acme.json")).unwrap();
    let told = await_event(&proxy, "credential-trouble", 1);
    assert!(told.contains("exit status") && told.contains("the last good one stays in use"), "{told}");
    client.get("/v2/orders").must_be(200);
}
