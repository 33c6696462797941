//! The vault, and how old its keys are.

use std::sync::Arc;

use jiff::Timestamp;

use super::super::report::Failure;
use super::super::vault_failure::store;
use super::finding::{Finding, Level, fine, not_fine};
use super::span;
use crate::assemble;
use crate::config::{Config, Upstream};
use crate::vault::{Credential, Prepared, StoredCredential};

/// Looks at each upstream's credential. Hands out what was fetched, so that it stays in memory for a moment.
pub(super) fn look(config: &Config) -> (Vec<Finding>, Vec<Credential>) {
    let vault = match assemble::to_look_at(config) {
        Ok(vault) => vault,
        Err(failure) => return (vec![unasked(config, &failure)], Vec::new()),
    };
    let (mut findings, mut held) = (Vec::new(), Vec::new());
    for (upstream, id) in all(config) {
        match vault.fetch(id) {
            Ok(credential) => {
                findings.push(usable(&credential, upstream, &stored(config)));
                held.push(credential);
            }
            Err(error) => findings.push(failed(&Failure::from(error))),
        }
    }
    (findings, held)
}

/// Each credential of each upstream.
fn all(config: &Config) -> impl Iterator<Item = (&Upstream, &Arc<str>)> {
    config.upstreams.iter().flat_map(|upstream| upstream.credentials.iter().map(move |id| (upstream, id)))
}

/// What is known of the keys' ages; nothing where the vault is not ours.
fn stored(config: &Config) -> Vec<StoredCredential> {
    store(config).ok().and_then(|store| store.list().ok()).unwrap_or_default()
}

/// A vault that a look would use something up of.
fn unasked(config: &Config, why: &Failure) -> Finding {
    match assemble::inspect_vault(config).first() {
        Some(failure) => failed(failure),
        None => fine("vault", why.chain()),
    }
}

fn failed(failure: &Failure) -> Finding {
    not_fine(Level::Fail, "vault", failure.chain(), failure.hints().join("; "))
}

fn usable(credential: &Credential, upstream: &Upstream, stored: &[StoredCredential]) -> Finding {
    let put = format!("keygate credential put {}", credential.id);
    if let (Err(why), _) = Prepared::covered(credential, upstream) {
        return not_fine(Level::Fail, "vault", why.to_string(), format!("store it for this upstream: `{put}`"));
    }
    let facts = stored.iter().find(|facts| *facts.id == *credential.id);
    let age = facts.map_or_else(|| "age unknown".to_owned(), |facts| format!("{} old", span(age(facts))));
    let what = format!(
        "credential `{}` of upstream `{}`: version {}, {age}",
        credential.id, upstream.name, credential.version
    );
    match facts.and_then(|facts| too_old(upstream, facts)) {
        Some(limit) => {
            let remedy =
                format!("make a new key at the merchant API, then `keygate credential rotate {}`", credential.id);
            not_fine(Level::Warn, "vault", format!("{what}; `rotate_after` is {limit}"), remedy)
        }
        None => fine("vault", what),
    }
}

fn age(facts: &StoredCredential) -> i64 {
    Timestamp::now().as_second() - facts.since.as_second()
}

/// The limit that its age is above.
fn too_old(upstream: &Upstream, facts: &StoredCredential) -> Option<String> {
    let limit = i64::try_from(upstream.rotate_after?.as_secs()).ok()?;
    (age(facts) > limit).then(|| span(limit))
}

/// Credentials that are older than their upstream's `rotate_after`, in words. Empty where the vault cannot tell.
pub fn overdue(config: &Config) -> Vec<String> {
    if config.upstreams.iter().all(|upstream| upstream.rotate_after.is_none()) {
        return Vec::new();
    }
    let stored = stored(config);
    let old = all(config).filter_map(|(upstream, id)| {
        let facts = stored.iter().find(|facts| *facts.id == **id)?;
        let limit = too_old(upstream, facts)?;
        let (id, name, age) = (&facts.id, &upstream.name, span(age(facts)));
        Some(format!("credential `{id}` of upstream `{name}` is {age} old, and `rotate_after` is {limit}"))
    });
    old.collect()
}
