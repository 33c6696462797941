//! The same for gates that get their key from a server, a folder or a helper program, and look again while we watch.

use serde_json::json;
use toml_edit::{Array, value};

use super::{forms, many_calls, only_in_the_arena, readable};
use crate::harness::bao::Bao;
use crate::harness::memory::search;
use crate::harness::{Merchant, Proxy, random_hex, until};
use crate::vaults::directory::mount;
use crate::vaults::exec::program;
use crate::vaults::gate::{before, events, fields, last_key, with_vault};

/// The key, then another in its place: the first is gone, the second is in the arena alone.
fn only_the_key_in_use_is_in_memory(mut proxy: Proxy, merchant: &Merchant, put: impl Fn(&Proxy, &str, u64)) {
    let key = proxy.real_key().to_owned();
    put(&proxy, &key, 1);
    proxy.run();
    many_calls(&proxy);
    assert_eq!(last_key(merchant), key);
    settled_in_the_arena(&proxy, &key);
    let second = random_hex(40);
    proxy.plant("second key", &second);
    put(&proxy, &second, 2);
    until("the second key in use", || events(&proxy, "credential-changed").first().cloned());
    many_calls(&proxy);
    assert_eq!(last_key(merchant), second);
    settled_in_the_arena(&proxy, &second);
    until("the first key wiped", || search(proxy.pid(), &forms(&key)).is_empty().then_some(()));
}

/// An answer of the vault that is being read holds the key for a moment. What was left behind would still be there at the
/// next look.
fn settled_in_the_arena(proxy: &Proxy, key: &str) {
    let found = until("no question to the vault under way", || {
        let found = search(proxy.pid(), &forms(key));
        found.iter().all(|found| found.guarded).then_some(found)
    });
    only_in_the_arena(&found);
}

#[test]
fn a_key_from_a_server_stands_in_the_arena_and_nowhere_else() {
    let Some(bao) = Bao::start() else { return };
    if !readable() {
        return;
    }
    let merchant = Merchant::content();
    let proxy = before(&bao, &merchant, |vault| vault["former_for"] = value("none"));
    only_the_key_in_use_is_in_memory(proxy, &merchant, |proxy, key, _| {
        bao.put("keygate/acme", &fields(proxy, &merchant, key));
    });
}

#[test]
fn a_key_from_a_folder_stands_in_the_arena_and_nowhere_else() {
    if !readable() {
        return;
    }
    let merchant = Merchant::content();
    let secrets = tempfile::tempdir().unwrap();
    let folder = secrets.path().display().to_string();
    let proxy = Proxy::prepare(&merchant.target(), |setup| {
        with_vault(setup, |vault| {
            vault["type"] = value("directory");
            vault["directory"] = value(folder);
            vault["refresh"] = value("50ms");
            vault["former_for"] = value("none");
        });
    });
    only_the_key_in_use_is_in_memory(proxy, &merchant, |proxy, key, version| {
        mount(secrets.path(), &version.to_string(), &fields(proxy, &merchant, key));
    });
}

#[test]
fn a_key_from_a_helper_stands_in_the_arena_and_nowhere_else() {
    if !readable() {
        return;
    }
    let merchant = Merchant::content();
    let secrets = tempfile::tempdir().unwrap();
    let helper = program(secrets.path(), &format!("cat {}/$1.json", secrets.path().display()));
    let proxy = Proxy::prepare(&merchant.target(), |setup| {
        with_vault(setup, move |vault| {
            vault["type"] = value("exec");
            vault["command"] = value(Array::from_iter([helper.display().to_string()]));
            vault["refresh"] = value("50ms");
            vault["former_for"] = value("none");
        });
    });
    only_the_key_in_use_is_in_memory(proxy, &merchant, |proxy, key, version| {
        let mut document = fields(proxy, &merchant, key);
        document["version"] = json!(version);
        crate::harness::bao::private(&secrets.path().join("new"), document.to_string().as_bytes());
        std::fs::rename(secrets.path().join("new"), secrets.path().join("acme.json")).unwrap();
    });
}
