//! `docs/vaults.md` is true: its commands run against a real server, its configurations are right, and a gate that was set up
//! by it serves.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use toml_edit::{DocumentMut, value};

use crate::harness::bao::{Bao, program};
use crate::harness::command::run;
use crate::harness::{Merchant, Proxy};

const DOCUMENT: &str = include_str!("../../../docs/vaults.md");

/// The blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let open = format!("```{language}\n");
    let found: Vec<_> = DOCUMENT.split(open.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!found.is_empty(), "no `{language}` in the document");
    found
}

/// Runs commands as somebody would type them, logged in as root.
fn type_in(bao: &Bao, folder: &Path, commands: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-eu", "-c", commands]).current_dir(folder).env_clear();
    let own = program().parent().map(|parent| parent.display().to_string()).unwrap_or_default();
    let path = std::env::var("PATH").unwrap();
    shell.env("PATH", format!("{own}:{path}")).env("HOME", folder);
    shell.env("BAO_ADDR", bao.address()).env("BAO_CACERT", bao.ca()).env("BAO_TOKEN", bao.root());
    run(shell, b"").ok();
}

#[test]
fn every_configuration_in_the_document_is_right() {
    let rest = "[upstream.acme]\nprofile = \"channelengine\"\nbase_url = \"https://acme.channelengine.net/api\"\ncredential = \"acme\"\n";
    for block in blocks("toml") {
        let read = |_: &Path| Err("no profile file here".to_owned());
        if let Err(problems) = keygate::config::check(&format!("{block}{rest}"), "keygate.toml", Path::new("/"), &read)
        {
            panic!("{block}{problems}");
        }
    }
}

#[test]
fn a_server_and_a_gate_that_were_set_up_by_the_document_serve() {
    let Some(bao) = Bao::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    // The server of the tests has its engine already, as it should be after the first command.
    bao.api("DELETE", "sys/mounts/secret", &serde_json::Value::Null);
    fs::copy(bao.ca(), folder.path().join("vault-ca.pem")).unwrap();
    for block in blocks("sh") {
        type_in(&bao, folder.path(), block);
    }
    let role_id = fs::read_to_string(folder.path().join("role-id")).unwrap();
    let mut tried = 0;
    for block in blocks("toml").into_iter().filter(|block| block.contains("openbao") && !block.contains("kubernetes")) {
        serves(&bao, folder.path(), &block.replace("ROLE-ID", role_id.trim()));
        tried += 1;
    }
    assert_eq!(tried, 4, "approle, approle wrapped, cert, token");
}

/// A gate with this `[vault]`, but for where the server is, serves.
fn serves(bao: &Bao, folder: &Path, vault: &str) {
    let merchant = Merchant::content();
    let mut section: DocumentMut = vault.parse().unwrap();
    section["vault"]["address"] = value(bao.address());
    for key in ["trust_roots", "secret_id_file", "client_certificate", "client_key", "token_file"] {
        if let Some(name) = section["vault"].get(key).and_then(|name| name.as_str()).map(str::to_owned) {
            section["vault"][key] = value(folder.join(name).display().to_string());
        }
    }
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:*"]).edit(move |config, _| {
            config["vault"] = section["vault"].clone();
        });
    });
    let bound_to = format!("https://localhost:{}{}", merchant.target().port, proxy.base_path());
    bao.put("keygate/acme", &json!({"key": proxy.real_key(), "bound_to": bound_to}));
    proxy.run();
    proxy.client("webshop").get("/v2/orders").must_be(200);
    assert_eq!(merchant.only().header("x-ce-key"), proxy.real_key());
}
