//! A folder of files, as systemd and Kubernetes make it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use keygate::vault::{Directory, Terms, Vault, VaultError};
use serde_json::{Value, json};

use super::contract::{BOUND, Place, chain, contract, fetched};
use crate::harness::bao::private;

/// A credential as it is written into a file.
pub(super) fn document(terms: &Terms, key: &str) -> Value {
    let mut document = json!({"key": key, "bound_to": terms.bound_to});
    if let Some(scopes) = &terms.scopes {
        document["scopes"] = json!(scopes);
    }
    if let Some(until) = terms.until {
        document["until"] = json!(until.to_string());
    }
    document
}

#[test]
fn a_directory_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let clock = AtomicU64::new(1_700_000_000);
    contract(&Place {
        vault: &Directory { directory: folder.path().to_owned() },
        put: &|id, terms, key| {
            let path = folder.path().join(id);
            private(&path, document(&terms, key).to_string().as_bytes());
            // Changes of one second need not have different times; these have.
            let at = UNIX_EPOCH + Duration::from_secs(clock.fetch_add(1, Ordering::SeqCst));
            fs::File::options().append(true).open(path).unwrap().set_modified(at).unwrap();
        },
        remove: &|id| fs::remove_file(folder.path().join(id)).unwrap(),
    });
}

/// What the kubelet makes of a secret: `acme` → `..data/acme`, `..data` → a folder of this version.
pub fn mount(root: &Path, version: &str, document: &Value) {
    let folder = root.join(format!("..2026_{version}"));
    fs::create_dir(&folder).unwrap();
    private(&folder.join("acme"), document.to_string().as_bytes());
    symlink(folder.file_name().unwrap(), root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    if !root.join("acme").exists() {
        symlink("..data/acme", root.join("acme")).unwrap();
    }
}

#[test]
fn a_folder_that_is_swapped_by_a_link_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Directory { directory: folder.path().to_owned() };
    let document = |key: &str, version| json!({"key": key, "bound_to": BOUND, "version": version});
    mount(folder.path(), "1", &document("the-first-key-there", 1));
    assert!(fetched(&vault, "acme").secret.expose() == b"the-first-key-there");
    mount(folder.path(), "2", &document("the-second-key-there", 2));
    let second = fetched(&vault, "acme");
    assert!(second.secret.expose() == b"the-second-key-there");
    assert_eq!(second.version, 2, "a version that is written wins over the time of the file");
}

#[test]
fn a_file_that_others_may_read_or_a_group_may_change_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acme");
    private(&path, json!({"key": "a-key-of-some-length", "bound_to": BOUND}).to_string().as_bytes());
    let vault = Directory { directory: folder.path().to_owned() };
    for (mode, good) in [(0o400, true), (0o440, true), (0o640, true), (0o644, false), (0o404, false), (0o660, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        match vault.fetch("acme") {
            Ok(_) => assert!(good, "{mode:o} was let pass"),
            Err(error) => assert!(!good && matches!(error, VaultError::Exposed { .. }), "{mode:o}: {error}"),
        }
    }
}

#[test]
fn what_makes_no_sense_is_told_without_repeating_any_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Directory { directory: folder.path().to_owned() };
    let key = "0123456789abcdef0123456789abcdef01234567";
    for text in [
        key.to_owned(),
        format!("\"{key}\""),
        format!("{{\"{key}\": 1}}"),
        format!(r#"{{"key": ["{key}"], "bound_to": "{BOUND}"}}"#),
        format!(r#"{{"key": "{key}"}}"#),
        format!(r#"{{"key": "{key}", "bound_to": "{BOUND}", "scope": "orders:*"}}"#),
        format!(r#"{{"key": "{key}", "bound_to": "{BOUND}", "until": "{key}"}}"#),
        format!(r#"{{"key": "{key}\n", "bound_to": "{BOUND}"}}"#),
        format!(r#"{{"key": "{key}", "bound_to": "{BOUND}"}} {key}"#),
    ] {
        private(&folder.path().join("acme"), text.as_bytes());
        let Err(error) = vault.fetch("acme") else { panic!("{text} was let pass") };
        assert!(matches!(error, VaultError::Damaged { .. }), "{text}: {error}");
        assert!(!chain(&error).contains(key), "{error}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_no_folder_without_the_credential() {
    let vault = Directory { directory: "/nowhere/at/all".into() };
    assert!(matches!(vault.fetch("acme"), Err(VaultError::Unreadable { .. })));
}
