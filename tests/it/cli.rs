//! The walk that the README describes, by the commands alone, and what they refuse. Single commands and their messages
//! are data in `tests/cli/`.

use std::fs;

use crate::harness::command::{Ran, keygate, run};
use crate::harness::{Merchant, Proxy};

fn in_folder(folder: &std::path::Path, args: &[&str], stdin: &str) -> Ran {
    let mut command = keygate(args);
    command.current_dir(folder);
    run(command, stdin.as_bytes())
}

#[test]
fn the_walk_from_init_to_a_checked_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let go = |args: &[&str], stdin: &str| in_folder(folder.path(), args, stdin);
    go(&["init", "gate", "--upstream", "https://acme.channelengine.net/api"], "").ok();
    let here = ["--config", "gate/keygate.toml"];
    let before = fs::read_to_string(folder.path().join("gate/keygate.toml")).unwrap();
    go(&[&here[..], &["credential", "put", "acme"]].concat(), "0123456789abcdef0123456789abcdef01234567\n").ok();
    let add = [
        "integration",
        "add",
        "webshop",
        "--upstream",
        "acme",
        "--allow",
        "orders:read",
        "--allow",
        "POST /v2/shipments",
        "--expires",
        "180d",
    ];
    let added = go(&[&here[..], &add].concat(), "");
    let key = added.stdout.trim().to_owned();
    assert!(key.starts_with("kg_") && key.len() == 52 && !key.contains(char::is_whitespace), "{added}");
    let after = fs::read_to_string(folder.path().join("gate/keygate.toml")).unwrap();
    assert!(!after.contains(&key), "the key stands in the configuration");
    for comment in before.lines().filter(|line| line.trim_start().starts_with('#')) {
        assert!(after.contains(comment), "a comment is gone: {comment}");
    }
    go(&[&here[..], &["check"]].concat(), "").ok();
    let allowed = go(&[&here[..], &["explain", "POST", "/v2/shipments", "--integration", "webshop"]].concat(), "");
    assert!(allowed.ok().contains("POST /v2/shipments"));
    let refused =
        go(&[&here[..], &["explain", "DELETE", "/v2/products/p-1", "--integration", "webshop", "--json"]].concat(), "");
    assert_eq!(refused.code, Some(1), "{refused}");
    let verdict: serde_json::Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!((&verdict["allowed"], &verdict["code"]), (&false.into(), &"endpoint_not_allowed".into()), "{verdict}");
}

#[test]
fn init_never_overwrites_anything() {
    let folder = tempfile::tempdir().unwrap();
    let init = ["init", "gate", "--upstream", "https://acme.channelengine.net/api"];
    in_folder(folder.path(), &init, "").ok();
    let config = folder.path().join("gate/keygate.toml");
    fs::write(&config, "# mine").unwrap();
    let again = in_folder(folder.path(), &init, "");
    assert_ne!(again.code, Some(0), "{again}");
    assert!(again.stderr.contains("keygate.toml"), "{again}");
    assert_eq!(fs::read_to_string(config).unwrap(), "# mine");
}

#[test]
fn a_wrong_configuration_stops_check_and_run_with_78_and_all_problems_at_once() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read"]);
        setup.edit(|config, _| {
            config["listen"]["adress"] = toml_edit::value("127.0.0.1:0");
            config["integration"]["webshop"]["allow"][0] = toml_edit::value("ordres:read");
        });
    });
    for command in ["check", "run"] {
        let ran = proxy.keygate(&[command], b"");
        assert_eq!(ran.code, Some(78), "{ran}");
        for part in ["adress", "address", "ordres:read", "orders:read", "keygate.toml:"] {
            assert!(ran.stderr.contains(part) || ran.stdout.contains(part), "`{part}` is not mentioned: {ran}");
        }
    }
}

#[test]
fn explain_says_what_the_gate_does() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:*", "--deny", "GET /v2/orders/new"]);
    });
    for path in ["/v2/orders", "/v2/orders/new", "/v2/settings", "/v2/nothing", "/v2/orders/%2e%2e"] {
        let reply = proxy.client("webshop").get(path);
        let ran = proxy.keygate(&["explain", "GET", path, "--integration", "webshop", "--json"], b"");
        let verdict: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran}"));
        assert_eq!(verdict["allowed"], reply.refusal().is_empty(), "{path}: {verdict}");
        if !reply.refusal().is_empty() {
            assert_eq!(verdict["code"], reply.refusal(), "{path}: {verdict}");
        }
    }
}

#[test]
fn the_demo_shows_all_that_it_promises() {
    let folder = tempfile::tempdir().unwrap();
    let demo = folder.path().join("demo");
    let shown = in_folder(folder.path(), &["demo", "--once", "--dir", demo.to_str().unwrap(), "--port", "0"], "");
    let text = shown.ok();
    for word in ["200", "403", "429"] {
        assert!(text.contains(word), "`{word}` is not in what the demo shows: {text}");
    }
}
