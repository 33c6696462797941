//! `keygate scan`: where keys lie about, told without showing one. What counts as a key is shown by the unit tests of
//! `src/cli/scan/find.rs`.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::command::{Ran, found, keygate, run};
use crate::harness::{Merchant, Proxy, have, random_hex};

fn scan(folder: &Path, args: &[&str]) -> Ran {
    let mut command = keygate(&["scan"]);
    command.args(args).current_dir(folder).env("HOME", folder).env_remove("HISTFILE");
    run(command, b"")
}

fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
}

fn files(report: &Value) -> Vec<&str> {
    report["findings"].as_array().unwrap().iter().map(|finding| finding["file"].as_str().unwrap()).collect()
}

#[test]
fn keys_are_found_told_with_their_owner_and_never_shown() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::prepare(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read"]).integration("pim", &["--allow", "products:read"]);
    });
    let revoked = proxy.key("pim").to_owned();
    proxy.keygate(&["integration", "revoke", "pim"], b"").ok();
    // Outside of the gate's own folder, which is looked through at the end of the test.
    let folder = tempfile::tempdir().unwrap();
    let foreign = "kg_0000000000000000000000000000000000000000000";
    assert!(foreign.len() < 52, "not a whole key, so it must not be found");
    let text = format!("first line\nexport KEY={}\nold {revoked} x\n{foreign}\n", proxy.key("webshop"));
    fs::write(folder.path().join("env"), text).unwrap();
    fs::write(folder.path().join("real"), proxy.real_key()).unwrap();
    fs::write(folder.path().join("other"), format!("X-CE-KEY: {}", random_hex(40))).unwrap();
    let place = folder.path().to_str().unwrap();
    let ran = proxy.keygate(&["scan", place], b"");
    assert_eq!(ran.code, Some(1), "{ran}");
    for part in [
        "env:2:12: kg_",
        "env:3:5: kg_",
        "scoped key of `webshop`, in force",
        "scoped key of `pim`, ended",
        "real:1:1:",
        "the real key of credential `acme`",
        "other:1:11:",
    ] {
        assert!(ran.stdout.contains(part), "`{part}` is not told: {ran}");
    }
    for part in ["4 found in 3 files", "keygate integration rotate webshop", "keygate credential put acme"] {
        assert!(ran.stderr.contains(part), "`{part}` is not told: {ran}");
    }
    let told = report(&proxy.keygate(&["scan", place, "--json"], b""));
    assert_eq!(files(&told).len(), 4, "{told}");
    assert_eq!(told["findings"][0]["integration"], "webshop", "{told}");
    assert_eq!((&told["findings"][0]["line"], &told["findings"][0]["column"]), (&2.into(), &12.into()), "{told}");
}

#[test]
fn whatever_lies_in_a_folder_is_looked_through_and_nothing_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let key = random_hex(40);
    fs::create_dir_all(at("a/.hidden/b")).unwrap();
    fs::write(at("a/.hidden/b/env"), format!("token={key}")).unwrap();
    fs::write(at("binary"), [&[0, 255, 254, 10, 0][..], key.as_bytes(), &[0, 200]].concat()).unwrap();
    fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"na\xffme\n")), &key).unwrap();
    std::os::unix::fs::symlink("..", at("a/loop")).unwrap();
    std::os::unix::fs::symlink("/etc", at("a/outside")).unwrap();
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    // Far larger than any buffer, most of it a hole; the key lies across a border of what is read at once.
    let mut huge = File::create(at("huge")).unwrap();
    huge.seek(SeekFrom::Start(64 * 1024 * 1024 - 20)).unwrap();
    write!(huge, "\n{key}\n").unwrap();
    huge.set_len(80 * 1024 * 1024).unwrap();
    drop(huge);
    let ran = scan(folder.path(), &[".", "--json"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stdout.replace(&key, "…"));
    let told = report(&ran);
    assert_eq!(files(&told), ["./a/.hidden/b/env", "./binary", "./huge", "./na\u{fffd}me?"], "{told}");
    assert_eq!(told["findings"][2]["line"], 2, "{told}");
    assert_eq!(told["unreadable"], Value::Array(vec![]), "{told}");
    assert!(!ran.stdout.contains(&key) && !ran.stderr.contains(&key));
}

#[test]
fn what_git_ignores_is_left_out_on_demand_only_and_hashes_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at(".git/refs/heads")).unwrap();
    fs::write(at(".git/refs/heads/main"), random_hex(40)).unwrap();
    fs::write(at(".gitignore"), "*.log\n").unwrap();
    fs::write(at("debug.log"), format!("apikey={}", random_hex(40))).unwrap();
    fs::write(at("CHANGES"), format!("commit {}", random_hex(40))).unwrap();
    let told = report(&scan(folder.path(), &[".", "--json"]));
    assert_eq!((files(&told), &told["hashes"]), (vec!["./debug.log"], &2.into()), "{told}");
    let ran = scan(folder.path(), &[".", "--gitignore"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("0 found") && ran.stderr.contains("2 hex values"), "{ran}");
    let told = report(&scan(folder.path(), &[".", "--all", "--json"]));
    assert_eq!(files(&told), ["./.git/refs/heads/main", "./CHANGES", "./debug.log"], "{told}");
}

#[test]
fn what_was_typed_into_shells_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let key = random_hex(40);
    fs::write(folder.path().join(".bash_history"), format!("ls\ncurl -H 'X-CE-KEY: {key}' https://x\n")).unwrap();
    fs::write(folder.path().join(".zsh_history"), format!(": 1700000000:0;curl 'https://x/api?apikey={key}'\n"))
        .unwrap();
    let ran = scan(folder.path(), &["--history"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains(".bash_history:2:20:") && ran.stdout.contains(".zsh_history:1:43:"), "{}", ran.stdout);
    assert!(!ran.stdout.contains(&key));
}

#[test]
fn nothing_found_is_0_nothing_readable_is_2_and_a_path_that_is_not_there_too() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("clean"), "nothing here").unwrap();
    assert_eq!(scan(folder.path(), &["."]).code, Some(0));
    // Its first byte cannot be read by anybody.
    let ran = scan(folder.path(), &["clean", "/proc/self/mem"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("could not look into `/proc/self/mem`"), "{ran}");
    let ran = scan(folder.path(), &["nowhere"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("there is no `nowhere`"), "{ran}");
    assert_eq!(scan(folder.path(), &[]).code, Some(2));
}

#[test]
fn on_a_terminal_a_bar_shows_how_far_it_is() {
    if !have("script", found("script")) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // A hole costs no disk, and takes longer than a frame of the bar.
    File::create(folder.path().join("large")).unwrap().set_len(512 << 20).unwrap();
    let line = format!("{} scan large", env!("CARGO_BIN_EXE_keygate"));
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(folder.path()).env_remove("KEYGATE_CONFIG");
    let ran = run(command, b"");
    assert!(ran.stdout.contains("[#") && ran.stdout.contains("of 536.8 MB"), "{ran}");
}
