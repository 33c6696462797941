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
mod keys;
mod rights;
mod rules;
pub mod scoped_key;
pub mod target;

use std::sync::Arc;

pub use call::{Call, Misread};
pub use explain::{Explanation, explain};
pub use identity::{Client, Means, Query, Unproven};
pub use rules::{Denied, Permit};

use crate::config::{self, Config};
use crate::profile::{Envelope, Profile, Slots};
use call::Base;
use keys::{Entry, Keys};
use rights::{Layout, Rights};

/// What is decided by: the compiled form of a configuration's integrations.
pub struct Policy {
    integrations: Vec<Arc<Integration>>,
    keys: Keys,
    rights: Rights,
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
    base: Arc<Base>,
    expires: Option<jiff::Timestamp>,
    revoked: bool,
    /// Where its row in the policy's rights begins.
    row: usize,
}

impl Policy {
    /// Compiles a configuration that has been checked.
    pub fn new(config: &Config) -> Self {
        let mut layout = Layout::default();
        let bases: Vec<_> = config.upstreams.iter().map(|u| Arc::new(Base::new(&u.base_url.path))).collect();
        let integrations = config.integrations.iter().enumerate().map(|(index, it)| {
            let row = layout.row(it, config.upstreams[it.upstream].profile.endpoints().len());
            Arc::new(Integration::new(index, it, config, bases[it.upstream].clone(), row))
        });
        let integrations = integrations.collect();
        let keys = config.integrations.iter().enumerate().flat_map(|(integration, it)| {
            it.keys.iter().map(move |key| Entry { sha256: key.sha256, until: key.until, integration })
        });
        let keys = Keys::new(keys.collect());
        let slots = all_slots(config);
        let slots_told = tell(&slots).into();
        Self { integrations, keys, rights: layout.done(), slots, slots_told, envelope: common_envelope(config) }
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
    fn new(index: usize, it: &config::Integration, config: &Config, base: Arc<Base>, row: usize) -> Self {
        Self {
            index,
            name: it.name.clone(),
            upstream: it.upstream,
            owner: it.owner.clone(),
            profile: config.upstreams[it.upstream].profile.clone(),
            base,
            expires: it.expires,
            revoked: it.revoked,
            row,
        }
    }

    /// The profile of its upstream.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }
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
