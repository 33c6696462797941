//! The contract of every vault: it hands out what the place holds at the time of the call, says what it has not, and repeats
//! nothing of a secret.

use keygate::vault::{AgeFile, AgeStore, Credential, Secret, Terms, Vault, VaultError};

pub(super) const BOUND: &str = "https://acme.channelengine.net/api";

/// A place that a test can write to behind the vault's back.
pub(super) struct Place<'a> {
    pub(super) vault: &'a dyn Vault,
    pub(super) put: &'a dyn Fn(&str, Terms, &str),
    pub(super) remove: &'a dyn Fn(&str),
}

/// What a credential is good for.
pub(super) fn terms(scopes: Option<&[&str]>, until: Option<&str>) -> Terms {
    Terms {
        bound_to: BOUND.to_owned(),
        scopes: scopes.map(|scopes| scopes.iter().map(|scope| (*scope).to_owned()).collect()),
        until: until.map(|until| until.parse().unwrap()),
        token_url: None,
    }
}

#[track_caller]
pub(super) fn fetched(vault: &dyn Vault, id: &str) -> Credential {
    vault.fetch(id).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Fails unless the vault says that it does not hold this one.
#[track_caller]
fn missing(vault: &dyn Vault, id: &str) {
    match vault.fetch(id) {
        Err(VaultError::Missing { id: told, .. }) => assert_eq!(told, id),
        Err(error) => panic!("{}", chain(&error)),
        Ok(_) => panic!("`{id}` is held"),
    }
}

/// What every vault keeps.
pub(super) fn contract(place: &Place<'_>) {
    let Place { vault, put, remove } = *place;
    missing(vault, "acme");
    put("acme", terms(None, None), "first-key-1234567890");
    let first = fetched(vault, "acme");
    assert_eq!((&*first.id, first.bound_to.as_str()), ("acme", BOUND));
    assert!(first.secret.expose() == b"first-key-1234567890");
    assert_eq!((first.scopes, first.until), (None, None));
    cheap_version_is_the_version(vault, first.version);

    put("acme", terms(Some(&["orders:*", "PUT /v2/offer"]), Some("2099-01-31T00:00:00Z")), "second-key-1234567890");
    let second = fetched(vault, "acme");
    assert!(second.secret.expose() == b"second-key-1234567890", "a vault does not keep the former one");
    assert!(second.version > first.version, "{} after {}", second.version, first.version);
    assert_eq!(second.scopes.unwrap(), ["orders:*", "PUT /v2/offer"]);
    assert_eq!(second.until, Some("2099-01-31T00:00:00Z".parse().unwrap()));
    cheap_version_is_the_version(vault, second.version);

    put("other", terms(None, None), "another-key-1234567890");
    assert!(fetched(vault, "other").secret.expose() == b"another-key-1234567890");
    assert_eq!(fetched(vault, "acme").version, second.version, "one credential does not touch another");

    remove("acme");
    missing(vault, "acme");
    assert!(matches!(vault.version("acme"), Ok(None)), "what is not there has no version");
    assert!(fetched(vault, "other").secret.expose() == b"another-key-1234567890");
    missing(vault, "../other");
    put("acme", terms(None, None), "third-key-1234567890");
    assert!(fetched(vault, "acme").version > second.version, "a version means one key for ever");
}

fn cheap_version_is_the_version(vault: &dyn Vault, version: u64) {
    let cheap = vault.version("acme").unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(cheap.is_none_or(|cheap| cheap == version), "{cheap:?} is not {version}");
}

#[test]
fn an_age_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let file = || AgeFile { file: folder.path().join("vault.age"), identity: folder.path().join("identity.txt") };
    let store = AgeStore::create(file()).unwrap();
    contract(&Place {
        vault: &file(),
        put: &|id, terms, key| drop(store.put(id, terms, &Secret::new(key.as_bytes().to_vec())).unwrap()),
        remove: &|id| drop(store.remove(id).unwrap()),
    });
}

#[test]
fn a_key_that_is_put_again_keeps_its_scopes() {
    let folder = tempfile::tempdir().unwrap();
    let file = AgeFile { file: folder.path().join("vault.age"), identity: folder.path().join("identity.txt") };
    let store = AgeStore::create(file).unwrap();
    let put = |terms| store.put("acme", terms, &Secret::new(b"a-key-of-some-length".to_vec())).unwrap();
    put(terms(Some(&["orders:*"]), Some("2099-01-31T00:00:00Z")));
    let again = put(terms(None, None));
    assert_eq!(again.scopes.unwrap(), ["orders:*"]);
    assert_eq!(again.until, None, "a new key has an end of its own");
    store.remove("acme").unwrap();
    assert_eq!(put(terms(None, None)).scopes, None);
}
