//! One reading of a request's head, and whether the integration may make the call.
//!
//! In the order of the route: [`head::judge`] (is it a request this gate serves at all), [`Policy::query`] and
//! [`Policy::identify`] (who), [`Policy::read`] (which endpoint), [`Policy::authorise`] (may it). Each returns what the
//! next one needs. Nothing here knows the time, the disk or the network.

mod call;
mod explain;
mod framing;
pub mod head;
mod identity;
mod rules;
pub mod scoped_key;
pub mod target;

use std::collections::HashMap;
use std::sync::Arc;

pub use call::{Call, Misread};
pub use explain::{Explanation, explain};
pub use identity::{Client, Means, Query, Unproven};
pub use rules::{Denied, Permit};

use crate::config::{self, Config, KeyHash};
use crate::profile::{Endpoint, Envelope, Profile, Slots};

/// What is decided by: the compiled form of a configuration's integrations.
pub struct Policy {
    integrations: Vec<Arc<Integration>>,
    /// Integrations by the first eight bytes of a key's hash; the whole hash is compared afterwards, in constant time.
    by_key: HashMap<[u8; 8], Vec<(KeyHash, usize)>>,
    slots: Slots,
    slots_told: Arc<str>,
    envelope: Envelope,
}

/// An integration, compiled.
pub struct Integration {
    /// Position in the configuration.
    pub index: usize,
    /// Its name.
    pub name: Arc<str>,
    /// Position of its upstream in the configuration.
    pub upstream: usize,
    /// Whom to ask.
    pub owner: Option<String>,
    profile: Arc<Profile>,
    base_path: String,
    expires: Option<jiff::Timestamp>,
    revoked: bool,
    allow: Vec<config::Rule>,
    deny: Vec<config::Rule>,
    standing: Vec<Standing>,
}

/// How an endpoint stands with an integration: the position of the rule that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Unlisted,
    Allowed(u16),
    Denied(u16),
}

impl Policy {
    /// Compiles a configuration that has been checked.
    pub fn new(config: &Config) -> Self {
        let integrations: Vec<_> =
            config.integrations.iter().enumerate().map(|(i, it)| Arc::new(Integration::new(i, it, config))).collect();
        let mut by_key: HashMap<_, Vec<_>> = HashMap::new();
        for (index, integration) in config.integrations.iter().enumerate() {
            for key in &integration.keys {
                by_key.entry(short(&key.sha256)).or_default().push((key.clone(), index));
            }
        }
        let slots = all_slots(config);
        let slots_told = tell(&slots).into();
        Self { integrations, by_key, slots, slots_told, envelope: common_envelope(config) }
    }

    /// The shape of refusals for callers that are not known yet: the profiles' own where all share one.
    pub fn envelope(&self) -> Envelope {
        self.envelope
    }

    /// The integrations, in the order of the configuration.
    pub fn integrations(&self) -> &[Arc<Integration>] {
        &self.integrations
    }

    /// Header and query names that may hold a scoped key, over all profiles. They never go upstream.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }
}

impl Integration {
    fn new(index: usize, it: &config::Integration, config: &Config) -> Self {
        let upstream = &config.upstreams[it.upstream];
        let mut standing = vec![Standing::Unlisted; upstream.profile.endpoints().len()];
        // The first rule that names an endpoint decides; a deny overwrites.
        for (n, rule) in it.allow.iter().enumerate().rev() {
            rule.endpoints.iter().for_each(|&e| standing[e] = Standing::Allowed(position(n)));
        }
        for (n, rule) in it.deny.iter().enumerate().rev() {
            rule.endpoints.iter().for_each(|&e| standing[e] = Standing::Denied(position(n)));
        }
        Self {
            index,
            name: it.name.clone(),
            upstream: it.upstream,
            owner: it.owner.clone(),
            profile: upstream.profile.clone(),
            base_path: upstream.base_url.path.clone(),
            expires: it.expires,
            revoked: it.revoked,
            allow: it.allow.clone(),
            deny: it.deny.clone(),
            standing,
        }
    }

    /// The profile of its upstream.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// The endpoints it may call.
    pub fn allowed(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let endpoints = self.profile.endpoints().iter();
        endpoints.zip(&self.standing).filter(|(_, s)| matches!(s, Standing::Allowed(_))).map(|(e, _)| e)
    }
}

/// `check` refuses longer lists, so nothing is lost here.
fn position(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

fn short(hash: &[u8; 32]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&hash[..8]);
    short
}

fn all_slots(config: &Config) -> Slots {
    let mut all = Slots::default();
    for slots in config.upstreams.iter().map(|u| &u.profile.slots) {
        for header in &slots.headers {
            if !all.headers.contains(header) {
                all.headers.push(header.clone());
            }
        }
        for query in &slots.queries {
            if !all.queries.iter().any(|q| q.eq_ignore_ascii_case(query)) {
                all.queries.push(query.clone());
            }
        }
    }
    all
}

/// The slots, for people: "header `x-ce-key`, query `apikey`".
fn tell(slots: &Slots) -> String {
    let headers = slots.headers.iter().map(|name| format!("header `{name}`"));
    let queries = slots.queries.iter().map(|name| format!("query `{name}`"));
    headers.chain(queries).collect::<Vec<_>>().join(", ")
}

fn common_envelope(config: &Config) -> Envelope {
    let mut envelopes = config.upstreams.iter().map(|u| u.profile.envelope);
    let first = envelopes.next().unwrap_or(Envelope::Problem);
    if envelopes.all(|e| e == first) { first } else { Envelope::Problem }
}
