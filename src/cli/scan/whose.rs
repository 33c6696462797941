//! Whose a key is that was found, told by its hash: an integration's of the configuration, or the vault's.

use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::super::output::quoted;
use super::super::settings;
use super::find::{Hit, Kind};
use crate::assemble;
use crate::config::{Config, Integration};
use crate::policy::scoped_key::sha256;

/// What is known of keys here. Without a configuration that is nothing.
#[derive(Default)]
pub(super) struct Owners {
    integrations: Vec<([u8; 32], String, State)>,
    credentials: Vec<([u8; 32], String)>,
}

/// Whether a scoped key still opens anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    Active,
    /// It was rotated, revoked, or its time is over.
    Ended,
}

/// Whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "whose", rename_all = "kebab-case")]
pub(super) enum Whose {
    /// A scoped key of this configuration.
    Integration { integration: String, state: State },
    /// A scoped key that this configuration does not know.
    OtherGate,
    /// The real key in this vault.
    Credential { credential: String },
    /// Hex digits of which nothing is known.
    Unknown { hash: bool },
}

impl Owners {
    /// Those of a configuration, and of the vault that it names, as far as both can be read.
    pub(super) fn of(path: &Path) -> Self {
        let Ok(config) = settings::load(path) else { return Self::default() };
        let now = Timestamp::now();
        let keys = |integration: &Integration| {
            let state = |until: Option<Timestamp>| {
                let over = [until, integration.expires].into_iter().flatten().any(|end| end <= now);
                if over || integration.revoked { State::Ended } else { State::Active }
            };
            let keys = integration.keys.iter().map(|key| (key.sha256, integration.name.to_string(), state(key.until)));
            keys.collect::<Vec<_>>()
        };
        let integrations = config.integrations.iter().flat_map(keys).collect();
        Self { integrations, credentials: credentials(&config) }
    }

    pub(super) fn whose(&self, hit: &Hit) -> Whose {
        if let Some((_, name, state)) = self.integrations.iter().find(|(hash, ..)| *hash == hit.sha256) {
            return Whose::Integration { integration: name.clone(), state: *state };
        }
        if let Some((_, name)) = self.credentials.iter().find(|(hash, _)| *hash == hit.sha256) {
            return Whose::Credential { credential: name.clone() };
        }
        match hit.kind {
            Kind::ScopedKey => Whose::OtherGate,
            kind => Whose::Unknown { hash: kind == Kind::Hash },
        }
    }
}

fn credentials(config: &Config) -> Vec<([u8; 32], String)> {
    let Ok(vault) = assemble::to_look_at(config) else { return Vec::new() };
    let ids = config.upstreams.iter().flat_map(|upstream| &upstream.credentials);
    let fetched = ids.filter_map(|id| vault.fetch(id).ok());
    let hash = |key: &[u8]| sha256(&key.to_ascii_lowercase());
    fetched.map(|credential| (hash(credential.secret.expose()), credential.id.to_string())).collect()
}

impl Whose {
    /// What to do about it.
    pub(super) fn next(&self) -> String {
        match self {
            Self::Integration { integration, state: State::Active } => format!(
                "give `{integration}` another key (`keygate integration rotate {}`), then take this one out of the file",
                quoted(integration)
            ),
            Self::Integration { state: State::Ended, .. } => {
                "a key that has ended opens nothing; take it out of the file".to_owned()
            }
            Self::OtherGate => {
                "a scoped key that this configuration does not know: tell whoever runs the gate that issued it"
                    .to_owned()
            }
            Self::Credential { credential } => format!(
                "the real key lies open: make a new one at the merchant API, store it with `keygate credential put {}`, \
                 withdraw the old one there",
                quoted(credential)
            ),
            Self::Unknown { .. } => {
                "if it is an API key: withdraw it at the merchant API, and let a gate hold the new one".to_owned()
            }
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integration { integration, state: State::Active } => {
                write!(f, "scoped key of `{integration}`, in force")
            }
            Self::Integration { integration, state: State::Ended } => write!(f, "scoped key of `{integration}`, ended"),
            Self::OtherGate => f.write_str("scoped key that is not of this configuration"),
            Self::Credential { credential } => write!(f, "the real key of credential `{credential}`"),
            Self::Unknown { hash: false } => f.write_str("40 hex digits, perhaps an API key"),
            Self::Unknown { hash: true } => f.write_str("40 hex digits, it seems a hash"),
        }
    }
}
