//! The real key and the scoped keys are nowhere where they need not be. Every test looks for them in each reply, in what
//! the gate printed and in the files it left; these look where no other test goes.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::command::run;
use crate::harness::{Merchant, Proxy, random_hex};

#[test]
fn the_process_shows_no_key_to_others_on_the_machine() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    proxy.client("webshop").get("/v2/orders").must_be(200);
    for name in ["cmdline", "environ"] {
        let shown = fs::read(format!("/proc/{}/{name}", proxy.pid())).unwrap();
        proxy.secrets().must_not_be_in(&shown, name);
    }
}

#[test]
fn a_verbose_gate_logs_no_key() {
    let merchant = Merchant::start(|e| {
        let key = e.seen().header("x-ce-key").to_owned();
        e.json(401, &format!(r#"{{"StatusCode":401,"Message":"API key is unknown: {key}"}}"#))
    });
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read"]).run_args = vec!["--log".into(), "debug".into()];
    });
    proxy.run();
    let client = proxy.client("webshop");
    client.get("/v2/orders").must_be(401);
    client.get("/v2/settings");
    client.get(&format!("/v2/orders?apikey={}", proxy.key("webshop")));
    proxy.stop();
}

#[test]
fn files_with_secrets_may_be_read_by_their_owner_only() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&proxy.directory()) & 0o077, 0, "the folder is open to others");
    assert_eq!(mode(proxy.audit().directory()) & 0o077, 0, "the audit folder is open to others");
    for entry in fs::read_dir(proxy.directory()).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if ["key", "identity", "age"].iter().any(|secret| name.contains(secret)) && name != "keygate.toml" {
            assert_eq!(mode(&path) & 0o077, 0, "`{name}` is open to others");
        }
    }
}

#[test]
fn a_key_as_an_argument_is_refused_and_not_repeated() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    let key = proxy.real_key().to_owned();
    let ran = proxy.keygate(&["credential", "put", "acme", &key], b"");
    assert_ne!(ran.code, Some(0), "{}", ran.command.replace(&key, "…"));
}

#[test]
fn lists_show_names_and_no_keys() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    for args in [
        &["credential", "list"][..],
        &["credential", "list", "--json"],
        &["integration", "list"],
        &["integration", "list", "--json"],
        &["check", "--json"],
    ] {
        // `keygate` looks through what each command printed.
        let shown = proxy.keygate(args, b"").ok();
        assert!(args[0] == "check" || shown.contains("acme") || shown.contains("webshop"), "{shown}");
    }
}

#[test]
fn an_exposed_identity_keeps_the_gate_from_starting() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    proxy.stop();
    let identity = proxy.identity();
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = proxy.try_run().unwrap_err();
    assert!(ran.stderr.contains("may be read by others"), "{ran}");
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_credential_of_another_upstream_is_never_sent() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read"]);
        // The credential was bound to the base URL when it was put; the configuration is changed afterwards.
        setup.edit(|config, _| {
            let base = config["upstream"]["acme"]["base_url"].as_str().unwrap().replace("/api", "/other");
            config["upstream"]["acme"]["base_url"] = toml_edit::value(base);
        });
    });
    if let Err(ran) = proxy.try_run() {
        assert!(ran.stderr.contains("bound"), "{ran}");
    } else {
        let request = crate::harness::Request::new("GET", "/other/v2/orders");
        proxy.client("webshop").call(&request).must_be_refused(503, "credential_unavailable");
    }
    assert!(merchant.seen().is_empty());
}

#[test]
fn the_vault_opens_with_age_and_with_nothing_else() {
    if !crate::harness::have("age", crate::harness::command::found("age")) {
        return;
    }
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let open = |identity: &std::path::Path| {
        let mut command = std::process::Command::new("age");
        command.arg("--decrypt").arg("--identity").arg(identity).arg(proxy.vault());
        crate::harness::command::run(command, b"")
    };
    let plain = open(&proxy.identity());
    assert!(plain.stdout.contains(proxy.real_key()), "age opened the vault and the key is not in it");
    assert_ne!(open(&proxy.config()).code, Some(0));
}

#[test]
fn a_panic_tells_where_and_quotes_nothing() {
    const CHILD: &str = "KEYGATE_TEST_PANIC";
    if let Some(key) = std::env::var_os(CHILD) {
        keygate::process::panics_quote_nothing();
        let key = key.into_string().unwrap();
        // The library quotes the text that is not as long as it was thought to be.
        drop(std::panic::catch_unwind(|| key[..100].len()));
        drop(std::panic::catch_unwind(|| key.parse::<u8>().map_err(|_| &key).unwrap()));
        panic!("words of the source");
    }
    let key = random_hex(40);
    let name = "secrets::a_panic_tells_where_and_quotes_nothing";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name, "--nocapture"]).env(CHILD, &key).env("RUST_BACKTRACE", "1");
    let ran = run(child, b"");
    assert_eq!(ran.stderr.matches("panicked at tests/it/secrets.rs:").count(), 3, "{ran}");
    assert!(ran.stderr.contains("words of the source") && ran.stderr.contains("it may quote data"), "{ran}");
    assert!(ran.stderr.contains("a_panic_tells_where_and_quotes_nothing"), "the backtrace is left out\n{ran}");
    let shown = format!("{}{}", ran.stdout, ran.stderr);
    assert!(!shown.contains(&key[..12]), "{shown}");
}
