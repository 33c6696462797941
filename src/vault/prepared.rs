//! A credential made ready for one upstream: header values, query pairs and scrubber, built once per version.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, header};

use super::arena::Locked;
use super::{Credential, Secret, VaultError};
use crate::body::Scrubber;
use crate::config::Upstream;
use crate::profile::Placement;

/// What is put into a request. Made only for the upstream that the credential is bound to.
pub struct Prepared {
    /// The credential's id and version, for the record.
    pub credential: (Arc<str>, u32),
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Pairs with `&` between them, in locked memory.
    pub(super) query: Locked,
    /// Cuts the key out of replies.
    pub scrubber: Arc<Scrubber>,
}

/// Why an upstream has no usable credential. No part of a secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The vault could not hand it out; the text is for the operator.
    NotFetched(String),
    /// The vault opens and does not hold it (any more); the text is for the operator.
    Missing(String),
    /// It is bound to another base URL.
    BoundElsewhere {
        /// The credential's id.
        id: String,
        /// What it is bound to.
        bound_to: String,
        /// Where it was to go.
        wanted: String,
    },
    /// It cannot be carried where the profile puts it.
    Unfit(String),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFetched(why) | Self::Missing(why) => write!(f, "{why}"),
            Self::BoundElsewhere { id, bound_to, wanted } => {
                write!(f, "credential `{id}` is bound to `{bound_to}` and may not be sent to `{wanted}`")
            }
            Self::Unfit(id) => {
                write!(f, "credential `{id}` cannot be carried in a request: too short, or not visible ASCII")
            }
        }
    }
}

impl Unusable {
    /// From the vault's own error, with its causes.
    pub fn from_vault(error: &VaultError) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(why) = cause {
            text = format!("{text}: {why}");
            cause = why.source();
        }
        if matches!(error, VaultError::Missing { .. }) { Self::Missing(text) } else { Self::NotFetched(text) }
    }
}

impl Prepared {
    /// Prepares a credential for an upstream. A wrong binding is refused before the secret is touched.
    pub fn new(credential: &Credential, upstream: &Upstream) -> Result<Self, Unusable> {
        let wanted = upstream.base_url.to_string();
        if credential.bound_to != wanted {
            let (id, bound_to) = (credential.id.to_string(), credential.bound_to.clone());
            return Err(Unusable::BoundElsewhere { id, bound_to, wanted });
        }
        let unfit = || Unusable::Unfit(credential.id.to_string());
        let keep = |bytes: &[u8]| bytes::Bytes::from_owner(Locked::copy_of(bytes));
        let scrubber = Scrubber::new(credential.secret.expose(), keep).ok_or_else(unfit)?;
        let mut prepared = Self {
            credential: (credential.id.clone(), credential.version),
            headers: Vec::new(),
            query: Locked::default(),
            scrubber: Arc::new(scrubber),
        };
        for placement in &upstream.profile.inject {
            prepared.place(&credential.secret, placement).ok_or_else(unfit)?;
        }
        Ok(prepared)
    }

    fn place(&mut self, secret: &Secret, placement: &Placement) -> Option<()> {
        match placement {
            Placement::Header { name, template } => {
                self.headers.push((name.clone(), sensitive(secret.to_shared(template))?));
            }
            Placement::Query { name } => {
                let separator = if self.query.is_empty() { "" } else { "&" };
                for part in [separator, name, "="] {
                    self.query.extend(part.as_bytes());
                }
                push_encoded(&mut self.query, secret.expose());
            }
            Placement::Basic { pair } => {
                let mut user = Locked::copy_of(secret.expose());
                if !pair {
                    user.push(':');
                }
                let encoded = Secret::new(STANDARD.encode(&*user).into_bytes());
                self.headers.push((header::AUTHORIZATION, sensitive(encoded.to_shared("Basic {key}"))?));
            }
            Placement::Fixed { name, value } => {
                self.headers.push((name.clone(), HeaderValue::from_str(value).ok()?));
            }
        }
        Some(())
    }
}

fn sensitive(bytes: bytes::Bytes) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(bytes).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn push_encoded(out: &mut Locked, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// A prepared credential, or why there is none.
pub type Slot = Result<Arc<Prepared>, Unusable>;

/// What is injected at the moment, by upstream. Swapped whole; readers never wait.
pub struct KeyRing(ArcSwap<Vec<Slot>>);

impl KeyRing {
    /// One slot per upstream, in the order of the configuration.
    pub fn new(slots: Vec<Slot>) -> Self {
        Self(ArcSwap::from_pointee(slots))
    }

    /// The slot of an upstream.
    pub fn get(&self, upstream: usize) -> Slot {
        self.0.load().get(upstream).cloned().unwrap_or_else(|| Err(Unusable::NotFetched("no such upstream".into())))
    }

    /// Why upstreams are without a usable credential; empty when all have one.
    pub fn troubles(&self) -> Vec<Unusable> {
        self.0.load().iter().filter_map(|slot| slot.as_ref().err().cloned()).collect()
    }

    pub(super) fn replace(&self, slots: Vec<Slot>) {
        self.0.store(Arc::new(slots));
    }

    pub(super) fn all(&self) -> Arc<Vec<Slot>> {
        self.0.load_full()
    }
}
