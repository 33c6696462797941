//! What every vault must keep, and what the refresh thread makes of one that changes, fails or forgets.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::config::{Config, check};

/// A place that a test can write to behind the vault's back.
struct Place<'a> {
    vault: &'a dyn Vault,
    put: &'a dyn Fn(&str, &str, &[u8]),
    remove: &'a dyn Fn(&str),
}

/// The contract of every vault: it hands out what the place holds at the time of the call, and says what it has not.
fn contract(place: &Place<'_>) {
    let bound = "https://acme.channelengine.net/api";
    assert!(matches!(place.vault.fetch("acme"), Err(VaultError::Missing { known, .. }) if known.is_empty()));
    (place.put)("acme", bound, b"first-key-1234");
    let first = place.vault.fetch("acme").map_err(|e| e.to_string()).ok().unwrap();
    assert_eq!((&*first.id, first.bound_to.as_str(), first.secret.expose()), ("acme", bound, &b"first-key-1234"[..]));
    (place.put)("acme", bound, b"second-key-123");
    let second = place.vault.fetch("acme").map_err(|e| e.to_string()).ok().unwrap();
    assert_eq!(second.secret.expose(), b"second-key-123", "a vault does not cache");
    assert!(second.version > first.version);
    (place.remove)("acme");
    assert!(matches!(place.vault.fetch("acme"), Err(VaultError::Missing { id, .. }) if id == "acme"));
}

#[test]
fn an_age_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let file = || AgeFile { file: folder.path().join("vault.age"), identity: folder.path().join("identity.txt") };
    let store = AgeStore::create(file()).unwrap();
    contract(&Place {
        vault: &file(),
        put: &|id, bound, key| drop(store.put(id, bound, &Secret::new(key.to_vec())).unwrap()),
        remove: &|id| drop(store.remove(id).unwrap()),
    });
}

/// Answers as the test says.
struct Scripted(mpsc::Receiver<Result<(u32, &'static str), VaultError>>);

impl Vault for Scripted {
    fn fetch(&self, id: &str) -> Result<Credential, VaultError> {
        let missing = || VaultError::Missing { id: id.to_owned(), known: Vec::new() };
        let (version, bound_to) = self.0.recv().map_err(|_| missing())??;
        let secret = Secret::new(b"a-secret-of-some-length".to_vec());
        Ok(Credential { id: id.into(), version, bound_to: bound_to.to_owned(), secret })
    }
}

fn config() -> Config {
    let text = include_str!("../../config/minimal.toml");
    check(text, "keygate.toml", Path::new("/"), &|_| Err("no profile file here".to_owned())).unwrap()
}

#[test]
fn a_refreshed_vault_is_used_at_once_and_a_failing_one_does_not_stop_the_gate() {
    let config = config();
    let bound: &'static str = Box::leak(config.upstreams[0].base_url.to_string().into_boxed_str());
    let (script, answers) = mpsc::channel();
    script.send(Ok((1, bound))).unwrap();
    let vault = Scripted(answers);
    let ring = Arc::new(KeyRing::new(fetch_all(&vault, &config.upstreams)));
    let version = |ring: &KeyRing| ring.get(0).map(|prepared| prepared.credential.1).ok();
    assert_eq!(version(&ring), Some(1));
    let (tell, told) = mpsc::channel();
    let every = Duration::from_millis(1);
    let upstreams = config.upstreams.clone();
    let refresher =
        Refresher::start(Box::new(vault), upstreams, ring.clone(), every, move |change| drop(tell.send(change)))
            .unwrap();
    let unreadable = || VaultError::Unreadable { place: "vault".into(), source: std::io::ErrorKind::NotFound.into() };
    script.send(Err(unreadable())).unwrap();
    assert!(matches!(told.recv().unwrap(), Change::Trouble { serving: true, .. }), "the last good one stays in use");
    assert_eq!(version(&ring), Some(1));
    script.send(Err(unreadable())).unwrap();
    script.send(Ok((2, bound))).unwrap();
    assert!(matches!(told.recv().unwrap(), Change::NewVersion { credential: (_, 2), .. }), "a trouble is told once");
    script.send(Ok((3, "https://elsewhere.example/api"))).unwrap();
    assert!(matches!(told.recv().unwrap(), Change::Trouble { serving: false, .. }));
    // Whatever the script says no more, the vault no longer holds.
    drop(script);
    assert!(matches!(told.recv().unwrap(), Change::Trouble { serving: false, .. }));
    drop(refresher);
    assert_eq!(version(&ring), None);
}
