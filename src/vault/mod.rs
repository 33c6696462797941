//! Where credentials lie, and the one place that puts one into a request.

mod age_file;
mod age_store;
pub mod arena;
mod directory;
mod document;
mod exec;
pub mod handover;
mod https;
pub mod inject;
mod look;
mod openbao;
mod prepared;
pub mod private_file;
mod refresh;
mod ring;
mod rotation;
mod secret;
mod token;
#[cfg(test)]
mod tests;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use age_file::AgeFile;
pub use age_store::{AgeStore, StoreError, StoredCredential, Terms, Unfit, check_value};
pub use directory::Directory;
pub use exec::Exec;
pub use handover::{HandOverError, OpenRequest};
pub use look::{Account, SecondKey};
pub use openbao::{OpenBao, SetupError};
pub use prepared::{Prepared, Unusable};
pub use refresh::{Change, Holdings, Refresher, Times};
pub use ring::{Age, Chosen, Covers, Held, KeyRing, Keys, Slot, Unconfirmed, narrowest};
pub use rotation::{Begin, Phase, Rotation, RotationError};
pub use secret::Secret;
pub use token::{Exchanging, TokenSetup};
pub use trial::{Role, Standing, Trial, Twin};

/// A credential as a vault hands it out: the real API key of one upstream.
pub struct Credential {
    /// Its name in the vault; configuration files point to it by this.
    pub id: Arc<str>,
    /// Rises with each change.
    pub version: u64,
    /// The only base URL it may be sent to: `https://acme.channelengine.net/api`.
    pub bound_to: String,
    /// What it may be used for, in the words of an integration's `allow`; for everything when absent.
    pub scopes: Option<Vec<String>>,
    /// From when on it is not used any more.
    pub until: Option<Timestamp>,
    /// The only other place it may be sent to: where it is exchanged for a token, if it is.
    pub token_url: Option<String>,
    /// Since when the vault holds this version, where that is known.
    pub since: Option<Timestamp>,
    /// The key itself.
    pub secret: Secret,
    /// A second key for the same, while the one is being replaced by the other.
    pub other: Option<Box<Other>>,
}

/// The second key of a credential, with everything that the first one has.
pub struct Other {
    /// Whether it comes or goes.
    pub role: Role,
    /// The credential. It has no other of its own.
    pub credential: Credential,
}

/// A place where credentials lie.
pub trait Vault: Send {
    /// Fetches one credential as it is now. May block; is called only at start and from the refresh thread. Must not
    /// cache: what it returns is what the place holds at the time of the call.
    fn fetch(&self, id: &str) -> Result<Credential, VaultError>;

    /// The version that `fetch` would hand out now, where that can be known without taking the secret out; `None` where it
    /// cannot. A version means one credential for ever.
    fn version(&self, _id: &str) -> Result<Option<u64>, VaultError> {
        Ok(None)
    }

    /// Keeps alive what it needs to answer (a token), and tells in how long it wants to be asked again; with no time at all,
    /// it wants `fetch` to be asked. What fails here fails again in `fetch`, which says so.
    fn tend(&self) -> Option<Duration> {
        None
    }

    /// What happened inside since it was last asked, for the record: a login, for one.
    fn news(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Whether an id is one word of a path. Ids come from the configuration, which lets nothing else through; a vault must not
/// depend on that.
fn is_plain(id: &str) -> bool {
    !id.is_empty() && !id.starts_with(['.', '-']) && !id.contains(['/', '?', '#', '%'])
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
    /// The vault itself, or a file that is needed to open it, cannot be read.
    #[error("cannot read `{place}`")]
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
    /// A server that does not answer, is sealed, or cannot be reached.
    #[error("the vault `{place}` does not answer: {why}")]
    Away {
        /// Its address.
        place: String,
        /// Why.
        why: String,
    },
    /// A server that answers, and says no.
    #[error("the vault `{place}` refuses {what}: {why}")]
    Refused {
        /// Its address.
        place: String,
        /// What was asked of it.
        what: String,
        /// Its answer.
        why: String,
    },
    /// A token endpoint that gives no token for a credential.
    #[error("`{place}` gives no token for credential `{id}`: {why}")]
    NoToken {
        /// Its address.
        place: String,
        /// The credential's id.
        id: String,
        /// Why.
        why: String,
        /// Whether it may give one in a while.
        may_pass: bool,
    },
    /// A helper program that does not do as it should.
    #[error("the vault's helper `{program}` failed: {why}")]
    Helper {
        /// Its path.
        program: String,
        /// Why, without anything that it printed.
        why: String,
    },
}

impl VaultError {
    /// Whether the same question may be answered in a while, without anybody changing anything here.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Helper { .. } | Self::NoToken { may_pass: true, .. })
    }
}
