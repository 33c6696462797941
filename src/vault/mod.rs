//! Where credentials lie, and the one place that puts one into a request.

mod age_file;
mod age_store;
pub mod arena;
pub mod handover;
pub mod inject;
mod prepared;
pub mod private_file;
mod refresh;
mod secret;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use age_file::AgeFile;
pub use age_store::{AgeStore, StoreError, StoredCredential, Unfit, check_value};
pub use handover::{HandOverError, OpenRequest};
pub use prepared::{KeyRing, Prepared, Slot, Unusable};
pub use refresh::{Change, Refresher, fetch_all};
pub use secret::Secret;

/// A credential as a vault hands it out: the real API key of one upstream.
pub struct Credential {
    /// Its name in the vault; configuration files point to it by this.
    pub id: Arc<str>,
    /// Rises by one with each change.
    pub version: u32,
    /// The only base URL it may be sent to: `https://acme.channelengine.net/api`.
    pub bound_to: String,
    /// The key itself.
    pub secret: Secret,
}

/// A place where credentials lie.
pub trait Vault: Send {
    /// Fetches one credential as it is now. May block; is called only at start and from the refresh thread. Must not
    /// cache: what it returns is what the place holds at the time of the call.
    fn fetch(&self, id: &str) -> Result<Credential, VaultError>;
}

/// Why a credential could not be fetched. No variant holds any part of a secret.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The vault is there, the credential is not.
    #[error("the vault holds no credential `{id}`")]
    Missing {
        /// The credential's id.
        id: String,
        /// The ids that it holds.
        known: Vec<String>,
    },
    /// The vault itself cannot be read.
    #[error("cannot read the vault `{place}`")]
    Unreadable {
        /// The file or address.
        place: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The vault opens, what it holds makes no sense.
    #[error("the vault `{place}` is damaged: {why}")]
    Damaged {
        /// The file or address.
        place: String,
        /// What is wrong with it, without any of its content.
        why: String,
    },
    /// A file that must be private is not.
    #[error("`{path}` may be read by others (mode {mode:04o})")]
    Exposed {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// A file that must be ours belongs to somebody else.
    #[error("`{path}` belongs to another user (uid {owner})")]
    Foreign {
        /// The file.
        path: String,
        /// Its owner.
        owner: u32,
    },
    /// The identity does not open the file.
    #[error("the identity `{identity}` does not open the vault `{place}`")]
    WrongIdentity {
        /// The identity file.
        identity: String,
        /// The vault file.
        place: String,
    },
}

/// The credentials that the gate works with, by id: what the refresh thread publishes.
pub type Credentials = BTreeMap<Arc<str>, Arc<Credential>>;
