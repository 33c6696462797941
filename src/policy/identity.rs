//! Who calls: the scoped key, wherever the profile lets it stand.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;

use super::target::{Ambiguous, Pair, read_query};
use super::{Integration, Policy, scoped_key};

/// Where the scoped key stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// In the profile's header.
    Header,
    /// In the profile's query parameter.
    Query,
    /// In `Authorization: Bearer`.
    Bearer,
}

/// A known integration. Only [`Policy::identify`] makes one.
pub struct Client<'a> {
    integration: &'a Arc<Integration>,
    means: Means,
}

impl<'a> Client<'a> {
    /// For `explain`, which asks what would be if this integration called.
    pub(super) fn assumed(integration: &'a Arc<Integration>) -> Self {
        Self { integration, means: Means::Header }
    }

    /// Which integration.
    pub fn integration(&self) -> &'a Arc<Integration> {
        self.integration
    }

    /// How it proved itself.
    pub fn means(&self) -> Means {
        self.means
    }
}

/// A query, read: the key's slots apart from the pairs that go upstream.
pub struct Query<'a> {
    /// What goes upstream.
    pub pairs: Vec<Pair<'a>>,
    keys: Vec<Cow<'a, str>>,
}

/// Why nobody was identified. The integration is named where the key was a known one.
#[derive(Clone)]
pub enum Unproven {
    /// No slot holds anything; these there are.
    Missing(Arc<str>),
    /// Two slots hold different keys.
    Differ,
    /// Not a scoped key: wrong form, or its checksum fails.
    Malformed,
    /// Right form, unknown.
    Unknown,
    /// Known, no longer valid.
    Expired(Arc<Integration>),
    /// Known, revoked.
    Revoked(Arc<Integration>),
}

impl fmt::Display for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(_) => write!(f, "the request carries no scoped key"),
            Self::Differ => write!(f, "the request carries two different keys"),
            Self::Malformed => write!(f, "the key is not a scoped key: it has another form, or a character is wrong"),
            Self::Unknown => write!(f, "no integration has this scoped key"),
            Self::Expired(it) => write!(f, "the scoped key of integration `{}` has expired", it.name),
            Self::Revoked(it) => write!(f, "the scoped key of integration `{}` is revoked", it.name),
        }
    }
}

impl PartialEq for Unproven {
    fn eq(&self, other: &Self) -> bool {
        self.code() == other.code() && self.integration().map(|it| it.index) == other.integration().map(|it| it.index)
    }
}

impl Unproven {
    /// The stable refusal code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "key_missing",
            Self::Differ => "keys_differ",
            Self::Malformed => "key_malformed",
            Self::Unknown => "key_unknown",
            Self::Expired(_) => "key_expired",
            Self::Revoked(_) => "key_revoked",
        }
    }

    /// The integration whose key it was.
    pub fn integration(&self) -> Option<&Arc<Integration>> {
        match self {
            Self::Expired(it) | Self::Revoked(it) => Some(it),
            Self::Missing(_) | Self::Differ | Self::Malformed | Self::Unknown => None,
        }
    }
}

impl Policy {
    /// Reads a query once and takes the key's slots out of it, whatever their case or encoding.
    pub fn query<'a>(&self, query: Option<&'a str>) -> Result<Query<'a>, Ambiguous> {
        let Some(query) = query.filter(|query| !query.is_empty()) else {
            return Ok(Query { pairs: Vec::new(), keys: Vec::new() });
        };
        let mut pairs = read_query(query)?;
        let mut keys = Vec::new();
        pairs.retain_mut(|pair| {
            let slot = self.slots.queries.iter().any(|slot| slot.eq_ignore_ascii_case(&pair.name));
            if slot {
                keys.push(std::mem::take(&mut pair.value));
            }
            !slot
        });
        let is_key = |text: &str| scoped_key::check(text.as_bytes()).is_ok();
        if pairs.iter().any(|pair| is_key(&pair.name) || is_key(&pair.value)) {
            return Err(Ambiguous::KeyMisplaced);
        }
        Ok(Query { pairs, keys })
    }

    /// Identifies the caller. Every slot that holds something must hold the same key.
    pub fn identify(&self, headers: &HeaderMap, query: &Query<'_>, now: Timestamp) -> Result<Client<'_>, Unproven> {
        let (key, means) = self.presented(headers, query)?;
        if !scoped_key::has_the_form(key) {
            return Err(Unproven::Malformed);
        }
        // A known hash says all; the checksum only tells a mistyped key from one that nobody has.
        let found = self.keys.find(&scoped_key::sha256(key));
        let key =
            found.ok_or_else(|| scoped_key::check(key).err().map_or(Unproven::Unknown, |_| Unproven::Malformed))?;
        let integration = &self.integrations[key.integration];
        if integration.revoked {
            return Err(Unproven::Revoked(integration.clone()));
        }
        if [key.until, integration.expires].iter().flatten().any(|end| now >= *end) {
            return Err(Unproven::Expired(integration.clone()));
        }
        Ok(Client { integration, means })
    }

    fn presented<'a>(&self, headers: &'a HeaderMap, query: &'a Query<'_>) -> Result<(&'a [u8], Means), Unproven> {
        let mut found: Option<(&[u8], Means)> = None;
        let in_headers = self.slots.headers.iter().flat_map(|name| {
            let bearer = name == header::AUTHORIZATION;
            headers
                .get_all(name)
                .iter()
                .map(move |v| if bearer { unprefixed(v) } else { (v.as_bytes(), Means::Header) })
        });
        let in_query = query.keys.iter().map(|key| (key.as_bytes(), Means::Query));
        let bearer = headers.get_all(header::AUTHORIZATION).iter().filter_map(|v| Some((bearer(v)?, Means::Bearer)));
        for (key, means) in in_headers.chain(in_query).chain(bearer) {
            match found {
                Some((other, _)) if verify_slices_are_equal(other, key).is_err() => return Err(Unproven::Differ),
                Some(_) => {}
                None => found = Some((key, means)),
            }
        }
        found.ok_or_else(|| Unproven::Missing(self.slots_told.clone()))
    }
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

/// For APIs whose own key stands in `Authorization` without a scheme word.
fn unprefixed(value: &HeaderValue) -> (&[u8], Means) {
    bearer(value).map_or((value.as_bytes(), Means::Header), |key| (key, Means::Bearer))
}
