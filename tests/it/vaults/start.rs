//! A vault that is down when the gate starts: a clear error, or a wait that has an end.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use toml_edit::{Table, value};

use super::gate::with_vault;
use crate::harness::bao::private;
use crate::harness::command::{keygate, signal};
use crate::harness::{Exchange, Merchant, Proxy};

/// A gate whose vault is `server`, by a token from a file beside the gate's folder.
fn gate(server: &Merchant, merchant: &Merchant, folder: &std::path::Path, more: fn(&mut Table)) -> Proxy {
    private(&folder.join("token"), b"s.a-token-that-nobody-may-see");
    std::fs::write(folder.join("vault-ca.pem"), server.target().ca_pem).unwrap();
    let (port, folder) = (server.target().port, folder.display().to_string());
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        with_vault(setup, move |vault| {
            vault["type"] = value("openbao");
            vault["address"] = value(format!("https://localhost:{port}"));
            vault["trust_roots"] = value(format!("{folder}/vault-ca.pem"));
            vault["auth"] = value("token");
            vault["token_file"] = value(format!("{folder}/token"));
            more(vault);
        });
    });
    proxy.plant("vault's token", "s.a-token-that-nobody-may-see");
    proxy
}

fn sealed(exchange: &mut Exchange) -> std::io::Result<()> {
    exchange.json(503, r#"{"errors":["Vault is sealed"]}"#)
}

#[test]
fn a_vault_that_is_down_at_the_start_is_a_clear_error_at_once() {
    let (server, merchant, folder) = (Merchant::start(sealed), Merchant::content(), tempfile::tempdir().unwrap());
    let mut proxy = gate(&server, &merchant, folder.path(), |_| ());
    let ran = proxy.try_run().unwrap_err();
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("does not answer: status 503: Vault is sealed"), "{ran}");
    assert!(ran.stderr.contains("start_wait"), "{ran}");
    assert_eq!(server.seen().len(), 1, "it was asked once");
}

#[test]
fn a_gate_waits_for_its_vault_as_long_as_it_is_told_and_no_longer() {
    let (server, merchant, folder) = (Merchant::start(sealed), Merchant::content(), tempfile::tempdir().unwrap());
    let mut proxy = gate(&server, &merchant, folder.path(), |vault| vault["start_wait"] = value("1200ms"));
    let begun = Instant::now();
    let ran = proxy.try_run().unwrap_err();
    assert!(begun.elapsed() >= Duration::from_millis(1200), "{ran}");
    assert!(ran.stderr.contains("waiting for the vault") && ran.stderr.contains("Vault is sealed"), "{ran}");
    assert!(server.seen().len() >= 3, "it was asked again and again");
}

#[test]
fn a_gate_that_waited_for_its_vault_starts_when_it_answers() {
    let (merchant, folder) = (Merchant::content(), tempfile::tempdir().unwrap());
    let (key, port) = (crate::harness::random_hex(40), merchant.target().port);
    let document = json!({"key": key, "bound_to": format!("https://localhost:{port}/api")});
    let server = Merchant::start(move |exchange| match (exchange.number(), exchange.seen().target.as_str()) {
        (0..2, _) => sealed(exchange),
        (_, "/v1/auth/token/lookup-self") => exchange.json(200, r#"{"data":{"ttl":0,"renewable":false}}"#),
        (_, "/v1/secret/data/keygate/acme") => {
            exchange.json(200, &json!({"data": {"data": document, "metadata": {"version": 5}}}).to_string())
        }
        _ => exchange.json(404, r#"{"errors":[]}"#),
    });
    let mut proxy = gate(&server, &merchant, folder.path(), |vault| vault["start_wait"] = value("10m"));
    proxy.plant("key in the vault", &key);
    proxy.run();
    proxy.client("webshop").get("/v2/orders").must_be(200);
    assert_eq!(merchant.only().header("x-ce-key"), key);
    let shown = server.seen();
    assert!(shown.iter().all(|seen| seen.header("x-vault-token") == "s.a-token-that-nobody-may-see"));
    assert!(shown.iter().all(|seen| seen.header("x-vault-request") == "true"));
}

#[test]
fn a_redirect_is_not_followed_and_the_token_does_not_go_along() {
    let (merchant, folder) = (Merchant::content(), tempfile::tempdir().unwrap());
    let elsewhere = Merchant::content();
    let location = format!("location: https://localhost:{}/v1/x\r\n", elsewhere.target().port);
    let server = Merchant::start(move |exchange| exchange.reply(307, &location, b""));
    let mut proxy = gate(&server, &merchant, folder.path(), |_| ());
    let ran = proxy.try_run().unwrap_err();
    assert!(ran.stderr.contains("it points to another server"), "{ran}");
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn a_gate_that_waits_for_its_vault_can_be_stopped() {
    let (server, merchant, folder) = (Merchant::start(sealed), Merchant::content(), tempfile::tempdir().unwrap());
    let proxy = gate(&server, &merchant, folder.path(), |vault| vault["start_wait"] = value("10m"));
    let config = proxy.config();
    let mut command = keygate(&["--config", config.to_str().unwrap(), "run"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("waiting for the vault")));
    signal(child.id(), "TERM");
    assert!(lines.any(|line| line.contains("stopped while waiting for the vault")));
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
