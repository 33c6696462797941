//! The thread that asks the vault again, so that a changed credential is used without a restart.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::prepared::{KeyRing, Prepared, Slot, Unusable};
use super::{Vault, VaultError};
use crate::config::Upstream;

/// Something about an upstream's credential changed. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Another version is used from now on.
    NewVersion {
        /// The upstream's name.
        upstream: String,
        /// Credential id and version.
        credential: (Arc<str>, u32),
    },
    /// The vault does not hand it out; the last good one stays in use, or there is none.
    Trouble {
        /// The upstream's name.
        upstream: String,
        /// Why, for the operator.
        why: String,
        /// Whether a former one is still in use.
        serving: bool,
    },
}

/// Fetches and prepares the credential of each upstream.
pub fn fetch_all(vault: &dyn Vault, upstreams: &[Upstream]) -> Vec<Slot> {
    upstreams.iter().map(|upstream| fetch(vault, upstream)).collect()
}

fn fetch(vault: &dyn Vault, upstream: &Upstream) -> Slot {
    let fetched = vault.fetch(&upstream.credential);
    let credential = fetched.map_err(|error: VaultError| Unusable::from_vault(&error))?;
    Prepared::new(&credential, upstream).map(Arc::new)
}

/// Runs until dropped.
pub struct Refresher {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Refresher {
    /// Asks every `every`, publishes what changed on the ring, and tells `on_change` once per change.
    pub fn start(
        vault: Box<dyn Vault>,
        upstreams: Vec<Upstream>,
        ring: Arc<KeyRing>,
        every: Duration,
        on_change: impl Fn(Change) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("vault".into()).spawn(move || {
            let mut troubles = vec![None; upstreams.len()];
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                refresh(&*vault, &upstreams, &ring, &mut troubles, &on_change);
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It holds nothing that must be saved; a panic in it was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn refresh(
    vault: &dyn Vault,
    upstreams: &[Upstream],
    ring: &KeyRing,
    troubles: &mut [Option<Unusable>],
    on_change: &dyn Fn(Change),
) {
    let mut slots = (*ring.all()).clone();
    for (n, upstream) in upstreams.iter().enumerate() {
        let name = upstream.name.to_string();
        match (fetch(vault, upstream), &slots[n]) {
            (Ok(new), Ok(old)) if new.credential == old.credential => troubles[n] = None,
            (Ok(new), _) => {
                on_change(Change::NewVersion { upstream: name, credential: new.credential.clone() });
                (slots[n], troubles[n]) = (Ok(new), None);
            }
            (Err(why), _) if troubles[n].as_ref() == Some(&why) => {}
            (Err(why), old) => {
                let serving = old.is_ok() && !must_stop(&why);
                on_change(Change::Trouble { upstream: name, why: why.to_string(), serving });
                if !serving {
                    slots[n] = Err(why.clone());
                }
                troubles[n] = Some(why);
            }
        }
    }
    ring.replace(slots);
}

/// A credential that was removed, bound elsewhere or is unfit is no longer one to be used; a vault that cannot be read
/// for a moment does not stop the gate.
fn must_stop(why: &Unusable) -> bool {
    match why {
        Unusable::Missing(_) | Unusable::BoundElsewhere { .. } | Unusable::Unfit(_) => true,
        Unusable::NotFetched(_) => false,
    }
}
