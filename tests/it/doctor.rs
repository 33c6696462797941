//! `keygate doctor`: what is wrong around a gate whose configuration is right, and what to do about it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use jiff::Timestamp;
use serde_json::Value;

use crate::harness::command::{Ran, found, keygate, run};
use crate::harness::pki::Pki;
use crate::harness::{Merchant, Proxy, Setup, StandIn, have, until};

/// A gate that has nothing to complain of, wherever the test runs.
fn healthy(setup: &mut Setup) -> &mut Setup {
    setup.integration("webshop", &["--allow", "orders:read"]);
    setup
        .set(&["listen", "max_connections"], 50)
        .set(&["listen", "max_in_flight"], 20)
        .set(&["audit", "segment_size"], "64KiB")
}

fn examine(proxy: &mut Proxy) -> (Option<i32>, Vec<Value>) {
    let ran = proxy.keygate(&["doctor", "--json"], b"");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"));
    assert_eq!(report["ok"], ran.code == Some(0), "{ran}");
    (ran.code, report["findings"].as_array().unwrap().clone())
}

/// The one finding that needs attention.
#[track_caller]
fn trouble(proxy: &mut Proxy) -> Value {
    let (code, findings) = examine(proxy);
    let mut troubles = findings.into_iter().filter(|it| it["level"] == "warn" || it["level"] == "fail");
    let first = troubles.next().expect("nothing is found");
    assert!(troubles.next().is_none() && code == Some(1), "{first} and others");
    assert!(first["do"].as_str().is_some_and(|what| what.len() > 10), "it does not say what to do: {first}");
    first
}

#[track_caller]
fn trouble_of(proxy: &mut Proxy, area: &str, level: &str, what: &str) {
    let trouble = trouble(proxy);
    assert_eq!((&trouble["area"], &trouble["level"]), (&area.into(), &level.into()), "{trouble}");
    assert!(trouble["what"].as_str().unwrap().contains(what), "{trouble}");
}

/// A merchant API whose clock is off by so many seconds.
fn merchant_with_clock(off: i64) -> Merchant {
    Merchant::start(move |exchange| {
        let then = Timestamp::now() + jiff::SignedDuration::from_secs(off);
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&then).unwrap();
        exchange.send(format!("HTTP/1.1 401 Unauthorized\r\ndate: {date}\r\ncontent-length: 0\r\n\r\n").as_bytes())
    })
}

#[test]
fn a_gate_in_good_order_needs_no_attention() {
    let stand_in = StandIn::start(&[]);
    let mut proxy = Proxy::prepare(&stand_in.target(), |setup| {
        stand_in.known_to(setup);
        healthy(setup);
    });
    let (code, findings) = examine(&mut proxy);
    assert_eq!(code, Some(0), "{findings:#?}");
    let told: Vec<&str> = findings.iter().map(|it| it["what"].as_str().unwrap()).collect();
    for part in [
        "credential `acme` of upstream `acme`: version 1",
        "`acme` answers (401 to a call without a key) over TLS 1.3",
        "certificates, verified",
        "clock and that of `acme` agree",
        "free of",
        "connections of `max_connections = 50` fit",
        "keys lie in locked memory",
        "no core dump is made",
        "server.pem` is valid for",
    ] {
        assert!(told.iter().any(|what| what.contains(part)), "`{part}` is not told: {told:#?}");
    }
    let ran = proxy.keygate(&["doctor"], b"");
    assert!(ran.code == Some(0) && ran.stderr.contains("nothing needs attention"), "{ran}");
}

#[test]
fn each_trouble_is_told_with_what_to_do() {
    let stand_in = StandIn::start(&[]);
    let mut proxy = Proxy::prepare(&stand_in.target(), |setup| {
        stand_in.known_to(setup);
        healthy(setup);
    });
    let gate = proxy.directory();
    let mode = |name: &str, mode: u32| fs::set_permissions(gate.join(name), fs::Permissions::from_mode(mode)).unwrap();
    mode("server.key", 0o640);
    trouble_of(&mut proxy, "files", "fail", "server.key` is open to others");
    mode("server.key", 0o600);
    mode("audit", 0o755);
    trouble_of(&mut proxy, "files", "warn", "audit` is open to others");
    mode("audit", 0o700);
    let vault = fs::read(proxy.vault()).unwrap();
    fs::write(proxy.vault(), &vault[..100]).unwrap();
    trouble_of(&mut proxy, "vault", "fail", "is damaged");
    fs::write(proxy.vault(), vault).unwrap();
    let config = fs::read_to_string(proxy.config()).unwrap();
    fs::write(proxy.config(), config.replace("upstream-ca.pem", "ca.pem")).unwrap();
    trouble_of(&mut proxy, "upstream", "fail", "no trusted TLS connection");
    fs::write(proxy.config(), config).unwrap();
    drop(stand_in);
    trouble_of(&mut proxy, "upstream", "fail", "cannot be reached");
}

#[test]
fn a_clock_that_is_off_is_told_by_how_much() {
    for (off, level, what) in [(40, "warn", " s behind that of `acme`"), (-3600, "fail", " s ahead of that of `acme`")]
    {
        let merchant = merchant_with_clock(off);
        let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
            healthy(setup);
        });
        trouble_of(&mut proxy, "clock", level, what);
    }
}

#[test]
fn certificates_that_end_soon_or_have_ended_are_told() {
    let merchant = merchant_with_clock(0);
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        healthy(setup);
    });
    let pki = Pki::new();
    for (days, level, what) in [(5, "warn", "is valid for 5 days"), (-1, "fail", "ended on")] {
        let until = Timestamp::now().as_second() + days * 86_400 + 3600;
        let leaf = pki.leaf_with(&["localhost"], |params| {
            params.not_after = std::time::SystemTime::UNIX_EPOCH
                .checked_add(std::time::Duration::from_secs(u64::try_from(until).unwrap()))
                .unwrap()
                .into();
        });
        fs::write(proxy.directory().join("server.pem"), leaf.certificate).unwrap();
        fs::write(proxy.directory().join("server.key"), leaf.key).unwrap();
        trouble_of(&mut proxy, "certificate", level, what);
    }
}

#[test]
fn a_key_above_its_age_is_told_by_doctor_and_by_check() {
    let merchant = merchant_with_clock(0);
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        healthy(setup).set(&["upstream", "acme", "rotate_after"], "1s");
    });
    let check = until("the key above its age", || {
        let ran = proxy.keygate(&["check"], b"");
        assert_eq!(ran.code, Some(0), "a warning is no error: {ran}");
        ran.stderr.contains("warning: credential `acme` of upstream `acme` is").then_some(ran)
    });
    assert!(check.stderr.contains("`rotate_after` is"), "{check}");
    trouble_of(&mut proxy, "vault", "warn", "`rotate_after` is");
    let json: Value = serde_json::from_str(&proxy.keygate(&["check", "--json"], b"").stdout).unwrap();
    assert_eq!(json["warnings"].as_array().map(Vec::len), Some(1), "{json}");
}

#[test]
fn too_few_descriptors_and_memory_that_may_not_be_locked_are_told() {
    if !have("setpriv", found("setpriv")) {
        return;
    }
    let merchant = merchant_with_clock(0);
    let proxy = Proxy::prepare(&merchant.target(), |setup| {
        healthy(setup);
    });
    let mut command = Command::new("sh");
    let limits = "ulimit -n 80; ulimit -l 16; exec setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock \"$@\"";
    let inner = keygate(&["--config", proxy.config().to_str().unwrap(), "doctor"]);
    command.args(["-c", limits, "sh"]).arg(inner.get_program()).args(inner.get_args());
    let ran = run(command, b"");
    assert_eq!(ran.code, Some(1), "{ran}");
    for part in
        ["warn  limits", "80 file descriptors", "LimitNOFILE", "warn  memory", "cannot be locked", "LimitMEMLOCK"]
    {
        assert!(ran.stdout.contains(part), "`{part}` is not told: {ran}");
    }
}

fn trusts(proxy: &Proxy, who: &str, variable: &str, value: &str) -> bool {
    let mut command = keygate(&["--config", proxy.config().to_str().unwrap(), "doctor", "--json"]);
    command.env(variable, value);
    let ran: Ran = run(command, b"");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let trust = report["findings"].as_array().unwrap().iter().filter(|it| it["area"] == "trust");
    let mut of_it = trust.filter(|it| it["what"].as_str().unwrap().starts_with(who));
    let finding = of_it.next().unwrap_or_else(|| panic!("nothing of {who}: {report}"));
    assert!(finding["level"] == "ok" || finding["do"].as_str().unwrap().contains(variable), "{finding}");
    finding["level"] == "ok"
}

#[test]
fn whether_runtimes_trust_the_gates_ca_is_told_with_the_variable_to_set() {
    let merchant = merchant_with_clock(0);
    let proxy = Proxy::prepare(&merchant.target(), |setup| {
        healthy(setup);
    });
    let ca = proxy.directory().join("ca.pem").to_str().unwrap().to_owned();
    let runtimes = [("python3", "Python (ssl", "SSL_CERT_FILE"), ("node", "Node", "NODE_EXTRA_CA_CERTS")];
    for (program, who, variable) in runtimes {
        // Node is looked at where it is; nothing else of the tests needs it.
        if found(program) && (program == "python3" || found("node")) {
            assert!(!trusts(&proxy, who, variable, ""), "{who} trusts a CA that was made a moment ago");
            assert!(trusts(&proxy, who, variable, &ca), "{who} does not see {variable}");
        }
    }
    assert!(have("python3", found("python3")));
}

#[test]
fn a_wrong_configuration_is_78_in_both_forms() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        setup.set(&["listen", "adress"], "127.0.0.1:1");
    });
    assert_eq!(proxy.keygate(&["doctor"], b"").code, Some(78));
    let ran = proxy.keygate(&["doctor", "--json"], b"");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &report["findings"][0]["area"]), (Some(78), &"configuration".into()), "{report}");
}
