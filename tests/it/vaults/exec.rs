//! A real helper program: what it gets to see, how long it may take, what may come of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keygate::config;
use keygate::vault::{Exec, Vault, VaultError};
use serde_json::json;

use super::contract::{BOUND, Place, chain, contract};
use super::directory::document;
use crate::harness::bao::private;
use crate::harness::until;

/// A program in a folder.
pub fn program(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("helper");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

fn exec(program: &Path, arguments: &[&str], environment: &[&str]) -> Exec {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let command = [vec![program.display().to_string()], words(arguments)].concat();
    Exec(config::Exec { command, environment: words(environment), timeout: Duration::from_secs(20) })
}

#[track_caller]
fn refused(vault: &Exec) -> String {
    match vault.fetch("acme") {
        Ok(_) => panic!("a credential was handed out"),
        Err(error) => chain(&error),
    }
}

#[test]
fn a_helper_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let helper = program(folder.path(), r#"if [ -f "$1/$2.json" ]; then cat "$1/$2.json"; else echo null; fi"#);
    let version = AtomicU64::new(1);
    let file = |id: &str| folder.path().join(format!("{id}.json"));
    contract(&Place {
        vault: &exec(&helper, &[&folder.path().display().to_string()], &[]),
        put: &|id, terms, key| {
            let mut document = document(&terms, key);
            document["version"] = json!(version.fetch_add(1, Ordering::SeqCst));
            private(&file(id), document.to_string().as_bytes());
        },
        remove: &|id| fs::remove_file(file(id)).unwrap(),
    });
}

#[test]
fn there_is_no_shell_and_nothing_of_the_environment_but_what_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let text = format!(
        "(env; printf '%s\\n' \"$@\"; cat) > {}\necho '{}'",
        seen.display(),
        json!({"key": "a-key-of-some-length", "bound_to": BOUND, "version": 1})
    );
    let vault = exec(&program(folder.path(), &text), &["$(id)", "two words; true"], &["CARGO_MANIFEST_DIR", "NOT_SET"]);
    vault.fetch("acme").unwrap_or_else(|error| panic!("{}", chain(&error)));
    let seen = fs::read_to_string(seen).unwrap();
    // The shell that runs this helper adds its own.
    let added = ["PWD=", "SHLVL=", "_=", "OLDPWD="];
    let lines: Vec<&str> = seen.lines().filter(|line| !added.iter().any(|own| line.starts_with(own))).collect();
    let manifest = format!("CARGO_MANIFEST_DIR={}", env!("CARGO_MANIFEST_DIR"));
    assert_eq!(lines, [&manifest, "$(id)", "two words; true", "acme"]);
}

#[test]
fn a_helper_that_takes_too_long_is_ended_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let text = format!("sleep 600 & echo $! > {}.new; mv {0}.new {0}; wait", started.display());
    let mut vault = exec(&program(folder.path(), &text), &[], &[]);
    vault.0.timeout = Duration::from_secs(2);
    let told = refused(&vault);
    assert!(told.contains("had not ended after 2s"), "{told}");
    let id = until("the helper's own child", || fs::read_to_string(&started).ok());
    let status = PathBuf::from(format!("/proc/{}/status", id.trim()));
    until("the end of what the helper started", || {
        // Whoever inherits it may not have looked after it yet.
        fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ")).then_some(())
    });
}

#[test]
fn a_helper_that_leaves_something_running_does_not_hold_the_gate_up() {
    let folder = tempfile::tempdir().unwrap();
    let document = json!({"key": "a-key-of-some-length", "bound_to": BOUND, "version": 1});
    let text = format!("sleep 600 > /dev/null & echo '{document}'");
    assert!(exec(&program(folder.path(), &text), &[], &[]).fetch("acme").is_ok());
}

#[test]
fn what_a_helper_does_wrong_is_told_without_what_it_prints() {
    let folder = tempfile::tempdir().unwrap();
    let key = "0123456789abcdef0123456789abcdef01234567";
    let cases = [
        (format!("echo {key}; echo {key} >&2; exit 3"), "exit status: 3"),
        (format!("echo {key}"), "no valid JSON"),
        (format!(r#"echo '{{"key":"{key}","bound_to":"{BOUND}"}}'"#), "no `version`"),
        (format!("while echo {key}{key}; do :; done"), "more than 65536 bytes"),
        ("kill -9 $$".to_owned(), "signal: 9"),
    ];
    for (text, why) in cases {
        let told = refused(&exec(&program(folder.path(), &text), &[], &[]));
        assert!(told.contains(why) && !told.contains(key), "{text}: {told}");
    }
    let gone = exec(&folder.path().join("nothing"), &[], &[]).fetch("acme");
    assert!(matches!(gone, Err(VaultError::Unreadable { .. })));
}

#[test]
fn a_helper_that_others_may_change_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let ran = folder.path().join("ran");
    let helper = program(folder.path(), &format!("touch {}", ran.display()));
    for mode in [0o722, 0o702, 0o720] {
        fs::set_permissions(&helper, fs::Permissions::from_mode(mode)).unwrap();
        let told = refused(&exec(&helper, &[], &[]));
        assert!(told.contains("may be changed by others"), "{mode:o}: {told}");
    }
    assert!(!ran.exists());
}
