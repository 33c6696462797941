//! A credential made ready for one upstream: header values, query pairs and scrubber, built once per version.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, header};
use jiff::Timestamp;

use super::arena::Locked;
use super::ring::{Covers, Slot};
use super::{Credential, Secret, VaultError};
use crate::body::Scrubber;
use crate::config::{Upstream, resolve_scopes, show_duration};
use crate::profile::Placement;

/// What is put into a request. Made only for the upstream that the credential is bound to.
pub struct Prepared {
    /// The credential's id and version, for the record.
    pub credential: (Arc<str>, u64),
    /// From when on it is not used any more.
    pub(super) until: Option<Timestamp>,
    /// Since when the vault holds this version, where that is known.
    pub(super) since: Option<Timestamp>,
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
    /// It may serve a scope that the profile does not have.
    UnknownScope {
        /// The credential's id.
        id: String,
        /// What is wrong, and with which scope.
        why: String,
    },
    /// Its time is over.
    Ended {
        /// The credential's id.
        id: String,
        /// Since when.
        until: Timestamp,
    },
    /// The vault has not confirmed it for too long.
    Stale {
        /// The credential's id.
        id: String,
        /// For how long.
        after: std::time::Duration,
    },
    /// The upstream has no credential that may serve the endpoint.
    NoneCovers,
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
            Self::UnknownScope { id, why } => write!(f, "the scopes of credential `{id}` make no sense: {why}"),
            Self::Ended { id, until } => write!(f, "credential `{id}` may not be used any more since {until}"),
            Self::Stale { id, after } => {
                let after = show_duration(*after);
                write!(f, "credential `{id}` is out of use: the vault has not confirmed it for {after} (`stale_for`)")
            }
            Self::NoneCovers => write!(f, "no credential of the upstream may serve this endpoint"),
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

impl Unusable {
    /// Whether a former credential may not stay in use either. One that was removed, bound elsewhere or is unfit may not; a
    /// vault that cannot be read for a moment does not stop the gate.
    pub(super) fn must_stop(&self) -> bool {
        !matches!(self, Self::NotFetched(_))
    }
}

impl Prepared {
    /// Prepares a credential for an upstream, and tells which endpoints it may serve, as far as that can be known. A wrong
    /// binding, unknown scopes and an end that has come are refused before the secret is touched.
    pub fn covered(credential: &Credential, upstream: &Upstream) -> (Slot, Option<Covers>) {
        if let Err(why) = bound(credential, upstream) {
            return (Err(why), None);
        }
        let covers = match covers(credential, upstream) {
            Ok(covers) => covers,
            Err(why) => return (Err(why), None),
        };
        if let Some(until) = credential.until.filter(|until| *until <= Timestamp::now()) {
            return (Err(Unusable::Ended { id: credential.id.to_string(), until }), Some(covers));
        }
        (Self::new(credential, upstream).map(Arc::new), Some(covers))
    }

    fn new(credential: &Credential, upstream: &Upstream) -> Result<Self, Unusable> {
        let unfit = || Unusable::Unfit(credential.id.to_string());
        let keep = |bytes: &[u8]| bytes::Bytes::from_owner(Locked::copy_of(bytes));
        let scrubber = Scrubber::new(&secrets(credential, upstream), keep).ok_or_else(unfit)?;
        let mut prepared = Self {
            credential: (credential.id.clone(), credential.version),
            until: credential.until,
            since: credential.since,
            headers: Vec::new(),
            query: Locked::default(),
            scrubber: Arc::new(scrubber),
        };
        for placement in &upstream.profile.inject {
            prepared.place(&credential.secret, placement).ok_or_else(unfit)?;
        }
        Ok(prepared)
    }

    /// Calls under way that use it. Every call holds the scrubber to its end, and besides this place nobody does.
    pub(super) fn under_way(&self) -> usize {
        Arc::strong_count(&self.scrubber) - 1
    }

    /// Whether the other one puts the same into a request, under the same version.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.credential == other.credential
            && self.until == other.until
            && self.headers == other.headers
            && *self.query == *other.query
    }

    /// Whether its time is over.
    pub(super) fn ended(&self, now: Timestamp) -> Option<Unusable> {
        let until = self.until.filter(|until| *until <= now)?;
        Some(Unusable::Ended { id: self.credential.0.to_string(), until })
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

/// What must not be seen in a reply: the credential, and of two secrets in one the second alone, too. The first is a name.
fn secrets<'a>(credential: &'a Credential, upstream: &Upstream) -> Vec<&'a [u8]> {
    let whole = credential.secret.expose();
    let pair = upstream.profile.inject.contains(&Placement::Basic { pair: true });
    let colon = whole.iter().position(|byte| *byte == b':').filter(|_| pair);
    let password = colon.map(|colon| &whole[colon + 1..]).filter(|password| password.len() >= 8);
    std::iter::once(whole).chain(password).collect()
}

/// Whether it may be sent there: scheme, host, port and path must be those that it is bound to.
fn bound(credential: &Credential, upstream: &Upstream) -> Result<(), Unusable> {
    let wanted = upstream.base_url.to_string();
    if credential.bound_to == wanted {
        return Ok(());
    }
    let (id, bound_to) = (credential.id.to_string(), credential.bound_to.clone());
    Err(Unusable::BoundElsewhere { id, bound_to, wanted })
}

/// The endpoints that its scopes name; all of them when it has none.
fn covers(credential: &Credential, upstream: &Upstream) -> Result<Covers, Unusable> {
    let endpoints = upstream.profile.endpoints().len();
    let Some(scopes) = &credential.scopes else { return Ok(Covers::all(endpoints)) };
    let unknown = |why: String| Unusable::UnknownScope { id: credential.id.to_string(), why };
    if scopes.is_empty() {
        return Err(unknown("there is none".to_owned()));
    }
    let indexes = resolve_scopes(&upstream.profile, scopes);
    indexes
        .map(|indexes| Covers::these(endpoints, indexes))
        .map_err(|wrong| unknown(format!("{} ({})", wrong.what, wrong.remedy)))
}

fn sensitive(bytes: bytes::Bytes) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(bytes).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Percent-encodes what a query or a form cannot hold as it is.
pub(super) fn push_encoded(out: &mut Locked, bytes: &[u8]) {
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
