//! The embedded vault on a real disk: what is put in comes out, by us and by the `age` tool, and what is not private,
//! not ours or not whole is refused.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use keygate::vault::{AgeFile, AgeStore, Secret, StoreError, Terms, Unfit, Vault, VaultError, check_value};

const BOUND: &str = "https://acme.channelengine.net/api";
const KEY: &str = "5b7d2f0c\"quoted\\-and-odd-ü";

fn files(folder: &Path) -> AgeFile {
    AgeFile { file: folder.join("vault.age"), identity: folder.join("identity.txt") }
}

fn terms() -> Terms {
    Terms { bound_to: BOUND.to_owned(), ..Terms::default() }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_put_in_comes_out_with_version_and_binding() {
    let folder = tempfile::tempdir().unwrap();
    let vault = files(folder.path());
    let store = AgeStore::create(vault.clone()).unwrap();
    assert_eq!(store.list().unwrap(), []);
    let stored = store.put("acme", terms(), &secret(KEY)).unwrap();
    assert_eq!((stored.id.as_str(), stored.version, stored.bound_to.as_str()), ("acme", 1, BOUND));
    let fetched = vault.fetch("acme").unwrap();
    assert_eq!((&*fetched.id, fetched.version, fetched.bound_to.as_str()), ("acme", 1, BOUND));
    assert!(fetched.secret.expose() == KEY.as_bytes());
    assert_eq!(store.list().unwrap(), [stored]);
}

#[test]
fn versions_rise_and_go_on_after_a_removal() {
    let folder = tempfile::tempdir().unwrap();
    let store = AgeStore::create(files(folder.path())).unwrap();
    assert_eq!(store.put("acme", terms(), &secret("first-key")).unwrap().version, 1);
    assert_eq!(store.put("acme", terms(), &secret("second-key")).unwrap().version, 2);
    assert_eq!(store.remove("acme").unwrap().version, 2);
    assert!(matches!(store.remove("acme"), Err(StoreError::Vault(VaultError::Missing { .. }))));
    assert_eq!(store.put("acme", terms(), &secret("third-key")).unwrap().version, 3);
}

#[test]
fn a_missing_credential_is_named_with_those_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let vault = files(folder.path());
    let store = AgeStore::create(vault.clone()).unwrap();
    store.put("acme", terms(), &secret("first-key")).unwrap();
    let Err(VaultError::Missing { id, known }) = vault.fetch("acne") else { panic!("`acne` was found") };
    assert_eq!((id.as_str(), known), ("acne", vec!["acme".to_owned()]));
}

#[test]
fn nothing_is_made_over_an_existing_file() {
    let folder = tempfile::tempdir().unwrap();
    let vault = files(folder.path());
    AgeStore::create(vault.clone()).unwrap().put("acme", terms(), &secret("first-key")).unwrap();
    assert!(matches!(AgeStore::create(vault.clone()), Err(StoreError::Write { .. })));
    assert!(vault.fetch("acme").is_ok(), "the old vault must still open");
}

#[test]
fn an_identity_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let vault = files(folder.path());
    let store = AgeStore::create(vault.clone()).unwrap();
    store.put("acme", terms(), &secret("first-key")).unwrap();
    for mode in [0o644, 0o640, 0o604, 0o620, 0o700] {
        set_mode(&vault.identity, mode);
        let refused = vault.fetch("acme");
        assert!(matches!(refused, Err(VaultError::Exposed { mode: seen, .. }) if seen == mode), "mode {mode:o}");
    }
    set_mode(&vault.identity, 0o400);
    assert!(vault.fetch("acme").is_ok());
    assert!(store.put("acme", terms(), &secret("second-key")).is_ok());
}

#[test]
fn an_identity_of_somebody_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let vault = files(folder.path());
    AgeStore::create(vault.clone()).unwrap();
    // Only root can give a file away; for everybody else the case cannot arise here.
    if std::os::unix::fs::chown(&vault.identity, Some(65534), None).is_ok() {
        assert!(matches!(vault.fetch("acme"), Err(VaultError::Foreign { owner: 65534, .. })));
    }
}

#[test]
fn another_identity_does_not_open_it() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mine, other) = (files(one.path()), files(two.path()));
    AgeStore::create(mine.clone()).unwrap();
    AgeStore::create(other.clone()).unwrap();
    let crossed = AgeFile { file: mine.file, identity: other.identity };
    assert!(matches!(crossed.fetch("acme"), Err(VaultError::WrongIdentity { .. })));
}

#[test]
fn a_vault_with_any_byte_changed_or_cut_off_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let vault = files(folder.path());
    AgeStore::create(vault.clone()).unwrap().put("acme", terms(), &secret("first-key")).unwrap();
    let whole = fs::read(&vault.file).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&vault.file, changed).unwrap();
        assert!(vault.fetch("acme").is_err(), "changed at {at}");
        fs::write(&vault.file, &whole[..at]).unwrap();
        assert!(vault.fetch("acme").is_err(), "cut at {at}");
    }
}

#[test]
fn missing_and_foreign_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let vault = files(folder.path());
    assert!(matches!(vault.fetch("acme"), Err(VaultError::Unreadable { .. })));
    AgeStore::create(vault.clone()).unwrap();
    fs::write(&vault.file, "not an age file").unwrap();
    assert!(matches!(vault.fetch("acme"), Err(VaultError::Damaged { .. })));
    fs::write(&vault.identity, "not an identity").unwrap();
    let Err(VaultError::Damaged { place, .. }) = vault.fetch("acme") else { panic!("a wrong identity was read") };
    assert_eq!(place, vault.identity.display().to_string());
}

#[test]
fn writers_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = AgeStore::create(files(folder.path())).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for _ in 0..5 {
                    store.put(&format!("writer-{writer}"), terms(), &secret("some-key")).unwrap();
                }
            });
        }
    });
    let versions: Vec<u32> = store.list().unwrap().into_iter().map(|entry| entry.version).collect();
    assert_eq!(versions, [5, 5, 5, 5]);
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["identity.txt", "vault.age"], "nothing may be left behind");
}

#[test]
fn values_that_no_header_carries_are_refused() {
    let cases: [(&[u8], Unfit); 12] = [
        (b"", Unfit::Empty),
        (b"1234567", Unfit::Short),
        (&[b'x'; 4097], Unfit::Long),
        (b"12345678\xff", Unfit::NotText),
        (b"12345678\n", Unfit::Control),
        (b"1234\r\n5678", Unfit::Control),
        (b"1234\t5678", Unfit::Control),
        (b"1234\x005678", Unfit::Control),
        (b" 12345678", Unfit::Space),
        (b"12345678 ", Unfit::Space),
        ("1234\u{a0}5678".as_bytes(), Unfit::Space),
        ("12345678\u{2028}".as_bytes(), Unfit::Space),
    ];
    for (value, reason) in cases {
        assert_eq!(check_value(value), Err(reason), "{value:?}");
    }
    assert!(check_value(b"12345678").is_ok());
    assert!(check_value(b"user:pass word").is_ok());
}

#[test]
fn the_age_tool_opens_what_we_write_and_we_open_what_it_writes() {
    let Ok(version) = Command::new("age").arg("--version").output() else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "`age` must be installed");
        return;
    };
    assert!(version.status.success());
    let folder = tempfile::tempdir().unwrap();
    let vault = files(folder.path());
    AgeStore::create(vault.clone()).unwrap().put("acme", terms(), &secret(KEY)).unwrap();
    let opened = Command::new("age").arg("-d").arg("-i").arg(&vault.identity).arg(&vault.file).output().unwrap();
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    let document: serde_json::Value = serde_json::from_slice(&opened.stdout).unwrap();
    assert_eq!(document["keygate_vault"], 1);
    assert_eq!(document["credentials"]["acme"]["bound_to"], BOUND);
    assert_eq!(document["credentials"]["acme"]["key"], KEY);

    let plain = folder.path().join("plain.json");
    fs::write(&plain, opened.stdout).unwrap();
    let identity = fs::read_to_string(&vault.identity).unwrap();
    let recipient = identity.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    let sealed = Command::new("age").args(["-r", recipient, "-o"]).arg(&vault.file).arg(&plain).status().unwrap();
    assert!(sealed.success());
    assert!(vault.fetch("acme").unwrap().secret.expose() == KEY.as_bytes());
}
