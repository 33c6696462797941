//! No command shows a secret, whatever state the gate is in. The commands are read off the program's own help, so that a new
//! one cannot be forgotten: a command that this test does not know how to run fails it.

use std::fs;

use crate::harness::command::{keygate, run};
use crate::harness::secrets::Secrets;
use crate::harness::{Merchant, Proxy, random_hex};

/// How each command is run here, one line per way: arguments with `CONFIG` in front of them, `DIR` for an empty folder.
const PLANS: [(&str, &[&str]); 27] = [
    (
        "init",
        &["init DIR/new --upstream https://acme.channelengine.net/api", "init DIR/new --upstream https://x.example"],
    ),
    ("credential put", &["credential put acme", "credential put nobody", "credential put acme --sealed -"]),
    ("credential request", &["credential request acme", "credential request nobody"]),
    ("credential list", &["credential list", "credential list --json"]),
    (
        "integration add",
        &[
            "integration add fresh --upstream acme --allow orders:read",
            "integration add fresh --upstream acme --allow nonsense",
        ],
    ),
    ("integration list", &["integration list", "integration list --json"]),
    ("integration rotate", &["integration rotate webshop --keep-old 1h", "integration rotate nobody"]),
    (
        "credential rotate",
        &[
            "credential rotate acme --probe /v2/orders",
            "credential rotate acme --resume",
            "credential rotate acme --abort",
        ],
    ),
    ("check", &["check", "check --json", "check --schema"]),
    ("doctor", &["doctor", "doctor --json"]),
    // The gate itself is looked through by every other test; here it fails to start, and tells why.
    ("run", &["--config DIR/none.toml run", "run --log debug --log-format json"]),
    ("profile list", &["profile list", "profile list --json"]),
    ("profile show", &["profile show channelengine", "profile show channelengine --json"]),
    (
        "explain",
        &[
            "explain GET /v2/orders --integration webshop",
            "explain GET /v2/orders?apikey=KEY --integration webshop --json",
        ],
    ),
    ("stand-in", &["stand-in --key-file KEYFILE --certificate DIR/none.pem --private-key DIR/none.pem"]),
    ("audit tail", &["audit tail", "audit tail --json"]),
    (
        "audit find",
        &[
            "audit find --param page=1 --table",
            "audit find --integration KEY --scan",
            "audit find --hash-key KEYFILE --param page=1",
        ],
    ),
    ("audit verify", &["audit verify", "audit verify --json"]),
    ("audit prove", &["audit prove 1 --disclose", "audit prove --record 01a20bf9-9961-750d-ab3b-bf0af6caaf65"]),
    (
        "audit export",
        &[
            "audit export --format csv --to DIR/export.csv",
            "audit export --format ocsf --to DIR/export/ --since 2020-01-01 --until nonsense",
            "audit export --format parquet --to s3://evidence/gate",
            "audit export --verify KEYFILE",
        ],
    ),
    ("audit prune", &["audit prune", "audit prune --keep-for 1d --dry-run", "audit prune --keep-size KEY"]),
    (
        "audit forget",
        &[
            "audit forget --param merchantOrderNo=M-1 --dry-run",
            "audit forget --record 01a20bf9-9961-750d-ab3b-bf0af6caaf65 --yes",
        ],
    ),
    (
        "audit witness",
        &[
            "audit witness --key DIR/none.key",
            "audit witness --key KEYFILE --log-key KEYFILE --log DIR --state DIR/state",
        ],
    ),
    ("scan", &["scan KEYFILE", "scan KEYFILE --json --all"]),
    ("demo", &["demo --once --dir DIR/demo --port 0"]),
    ("integration revoke", &["integration revoke webshop", "integration revoke nobody"]),
    ("credential rm", &["credential rm acme", "credential rm acme"]),
];

/// Every command that does something, by its words, as the help tells them.
fn leaves(words: &[&str]) -> Vec<String> {
    let help = run(keygate(&[words, &["--help"]].concat()), b"").ok();
    let section = help.split("\nCommands:\n").nth(1).map(|rest| rest.split("\n\n").next().unwrap_or_default());
    let Some(section) = section else { return vec![words.join(" ")] };
    let names = section.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.flat_map(|name| leaves(&[words, &[name]].concat())).collect()
}

fn secrets(proxy: &Proxy) -> Secrets {
    let identity = fs::read_to_string(proxy.identity()).unwrap();
    let identity = identity.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    let mut secrets = Secrets::default();
    secrets.plant("real key", proxy.real_key());
    secrets.plant("vault's identity", identity);
    secrets
}

fn run_all(proxy: &Proxy, state: &str) {
    let secrets = secrets(proxy);
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("real.key");
    fs::write(&key_file, proxy.real_key()).unwrap();
    let fill = |word: &str| {
        word.replace("DIR", folder.path().to_str().unwrap())
            .replace("KEYFILE", key_file.to_str().unwrap())
            .replace("KEY", &random_hex(40))
    };
    for line in PLANS.iter().flat_map(|(_, lines)| *lines) {
        let mut command = keygate::<&str>(&[]);
        if !line.starts_with("--config") {
            command.arg("--config").arg(proxy.config());
        }
        command.args(line.split(' ').map(fill));
        command.env("RUST_BACKTRACE", "full").env("RUST_LOG", "trace").current_dir(folder.path());
        let ran = run(command, proxy.real_key().as_bytes());
        for (stream, text) in [("standard output", &ran.stdout), ("standard error", &ran.stderr)] {
            secrets.must_not_be_in(text.as_bytes(), &format!("{stream} of `{line}`, {state}"));
            assert!(!text.contains("panicked at"), "{ran}");
        }
    }
}

#[test]
fn no_command_that_the_help_tells_of_shows_a_secret_whatever_state_the_gate_is_in() {
    let merchant = Merchant::content();
    let open = |_: &str| {
        let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
            setup.integration("webshop", &["--allow", "orders:read"]);
        });
        proxy.run();
        proxy.client("webshop").get("/v2/orders").must_be(200);
        proxy.stop();
        proxy
    };
    for leaf in leaves(&[]) {
        let planned = PLANS.iter().any(|(words, lines)| *words == leaf && !lines.is_empty());
        assert!(planned, "`keygate {leaf}` is new: tell this test how to run it");
    }
    let locked = |proxy: &Proxy| {
        // What was written to the audit folder meanwhile must not let `run` start: it would not end.
        fs::write(proxy.directory().join("audit-hash.key"), "too short").unwrap();
    };
    let proxy = open("whole");
    locked(&proxy);
    run_all(&proxy, "everything in order");
    let proxy = open("damaged vault");
    let vault = fs::read(proxy.vault()).unwrap();
    fs::write(proxy.vault(), &vault[..vault.len() - 20]).unwrap();
    run_all(&proxy, "with a damaged vault");
    let proxy = open("key in the configuration");
    let config = fs::read_to_string(proxy.config()).unwrap();
    let slip = config.replace("credential = \"acme\"", &format!("credential = \"{}\"", proxy.real_key()));
    assert_ne!(slip, config);
    fs::write(proxy.config(), slip).unwrap();
    run_all(&proxy, "with the key in the configuration by a slip");
    fs::write(proxy.config(), config).unwrap();
}
