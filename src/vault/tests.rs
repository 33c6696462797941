//! What the refresh thread makes of a vault that changes, fails or forgets. The contract that every vault keeps is tested
//! from outside, in `tests/it/vaults/`.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::*;
use crate::config::{Config, check};

/// Answers as the test says.
struct Scripted(mpsc::Receiver<Result<(u64, &'static str), VaultError>>);

impl Vault for Scripted {
    fn fetch(&self, id: &str) -> Result<Credential, VaultError> {
        let missing = || VaultError::Missing { id: id.to_owned(), known: Vec::new() };
        let (version, bound_to) = self.0.recv().map_err(|_| missing())??;
        let secret = Secret::new(b"a-secret-of-some-length".to_vec());
        let (bound_to, scopes) = (bound_to.to_owned(), None);
        let (until, since, other) = (None, None, None);
        Ok(Credential { id: id.into(), version, bound_to, scopes, until, token_url: None, since, secret, other })
    }
}

fn config() -> Config {
    let text = include_str!("../../config/minimal.toml");
    check(text, "keygate.toml", Path::new("/"), &|_| Err("no profile file here".to_owned())).unwrap()
}

struct Setting {
    script: mpsc::Sender<Result<(u64, &'static str), VaultError>>,
    told: mpsc::Receiver<Change>,
    ring: Arc<KeyRing>,
    bound: &'static str,
    refresher: Refresher,
}

/// A refresh thread that asks every millisecond, and has got version 1 already.
fn setting(stale_for: Duration) -> Setting {
    let upstreams = config().upstreams;
    let bound: &'static str = Box::leak(upstreams[0].base_url.to_string().into_boxed_str());
    let (script, answers) = mpsc::channel();
    script.send(Ok((1, bound))).unwrap();
    let vault = Scripted(answers);
    let holdings = Holdings::first(&vault, &upstreams).unwrap();
    let ring = Arc::new(KeyRing::new(holdings.keys(&upstreams)));
    let (tell, told) = mpsc::channel();
    let times = Times { refresh: Duration::from_millis(1), stale_for, former_for: None };
    let on_change = move |change| drop(tell.send(change));
    let refresher = Refresher::start(Box::new(vault), upstreams, holdings, ring.clone(), times, on_change).unwrap();
    Setting { script, told, ring, bound, refresher }
}

fn away() -> VaultError {
    VaultError::Away { place: "https://vault.example".into(), why: "sealed".into() }
}

fn version(ring: &KeyRing) -> Option<u64> {
    ring.get(0, 0).map(|prepared| prepared.credential.1).ok()
}

#[test]
fn a_refreshed_vault_is_used_at_once_and_a_failing_one_does_not_stop_the_gate() {
    let Setting { script, told, ring, bound, refresher } = setting(Duration::from_secs(3600));
    assert_eq!(version(&ring), Some(1));
    script.send(Err(away())).unwrap();
    assert!(matches!(told.recv().unwrap(), Change::Trouble { serving: true, .. }), "the last good one stays in use");
    assert_eq!(version(&ring), Some(1));
    script.send(Err(away())).unwrap();
    script.send(Ok((1, bound))).unwrap();
    assert!(matches!(told.recv().unwrap(), Change::Restored { credential: (_, 1), .. }), "a trouble is told once");
    script.send(Ok((2, bound))).unwrap();
    assert!(matches!(told.recv().unwrap(), Change::NewVersion { credential: (_, 2), .. }));
    script.send(Ok((3, "https://elsewhere.example/api"))).unwrap();
    assert!(matches!(told.recv().unwrap(), Change::Trouble { serving: false, .. }));
    // Whatever the script says no more, the vault no longer holds.
    drop(script);
    assert!(matches!(told.recv().unwrap(), Change::Trouble { serving: false, .. }));
    drop(refresher);
    assert_eq!(version(&ring), None);
}

#[test]
fn a_credential_that_is_not_confirmed_for_too_long_is_out_of_use_until_it_is() {
    let Setting { script, told, ring, bound, refresher } = setting(Duration::from_millis(20));
    script.send(Err(away())).unwrap();
    // The vault is silent: the script says nothing until the credential is stale.
    assert!(matches!(told.recv().unwrap(), Change::Trouble { serving: true, .. }));
    script.send(Err(away())).unwrap();
    for _ in 0..50 {
        // Between two of them lie ten milliseconds at least: together they last well beyond its time.
        script.send(Err(away())).unwrap();
    }
    assert!(matches!(told.recv().unwrap(), Change::Stale { .. }));
    script.send(Ok((1, bound))).unwrap();
    assert!(matches!(told.recv().unwrap(), Change::Restored { credential: (_, 1), .. }), "it is the one it was");
    drop(script);
    assert!(matches!(told.recv().unwrap(), Change::Trouble { serving: false, .. }));
    drop(refresher);
    assert_eq!(ring.troubles().len(), 1);
}
