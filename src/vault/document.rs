//! The form in which every vault but the age file hands out a credential: a small JSON object.
//!
//! `{"key": "…", "bound_to": "https://acme.channelengine.net/api", "scopes": ["orders:*"], "until": "2027-06-30"}`.
//! `scopes` (a list, or one text with commas) and `until` may be left out. A field that is not known is an error: a slip
//! in the name of `scopes` must not make a credential good for everything.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::age_file::Key;
use super::{Credential, Secret, VaultError, check_value};
use crate::config::parse_moment;

/// A credential as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    key: Key,
    bound_to: String,
    #[serde(default)]
    scopes: Option<Scopes>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    token_url: Option<String>,
    /// Rises with each change; left out where the vault itself counts.
    #[serde(default)]
    pub(super) version: Option<u64>,
}

/// Command line tools of vaults write texts more easily than lists.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scopes {
    Listed(Vec<String>),
    Joined(String),
}

impl Document {
    /// Reads one. What an error says holds nothing of the text.
    pub(super) fn read(json: &[u8], place: &str) -> Result<Self, VaultError> {
        serde_json::from_slice(json).map_err(|error| damaged(place, explain_json(&error)))
    }

    /// What it means.
    pub(super) fn into_credential(self, id: &str, version: u64, place: &str) -> Result<Credential, VaultError> {
        check_value(&self.key.0)
            .map_err(|why| damaged(place, format!("the key of `{id}` cannot be an API key: {why}")))?;
        Ok(Credential {
            id: Arc::from(id),
            version,
            bound_to: self.bound_to,
            scopes: self.scopes.map(Scopes::into_list),
            until: self.until.map(|text| until(&text, id, place)).transpose()?,
            token_url: self.token_url,
            since: None,
            other: None,
            secret: Secret::from_locked(self.key.0),
        })
    }
}

impl Scopes {
    fn into_list(self) -> Vec<String> {
        match self {
            Self::Listed(list) => list,
            Self::Joined(text) => {
                text.split(',').map(|scope| scope.trim().to_owned()).filter(|scope| !scope.is_empty()).collect()
            }
        }
    }
}

fn until(text: &str, id: &str, place: &str) -> Result<Timestamp, VaultError> {
    parse_moment(text).map_err(|_| {
        damaged(place, format!("`until` of `{id}` is no date `2027-01-31` and no time `2027-01-31T12:00:00Z`"))
    })
}

/// Where and what kind, never the text itself: serde quotes values it does not like.
pub(super) fn explain_json(error: &serde_json::Error) -> String {
    let what = if error.is_data() {
        "unexpected content; `key` and `bound_to` are texts, `scopes`, `until`, `token_url` and `version` may be there, nothing else"
    } else {
        "no valid JSON"
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

pub(super) fn damaged(place: &str, why: String) -> VaultError {
    VaultError::Damaged { place: place.to_owned(), why }
}
