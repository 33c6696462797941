//! Rate limits: endpoint of an integration, integration, upstream. The narrow one is asked before the wide one, so a
//! call that its own narrow limit refuses takes nothing from the others.

mod memory;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;

use crate::config::{Config, Quota};
use crate::policy::Permit;

pub use memory::Memory;

/// One bucket: a stable name (for stores that are shared between gates), and how fast it fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// `webshop/PUT /v2/offer`, `webshop`, `upstream/acme`.
    pub name: Arc<str>,
    /// What is limited, and to how much.
    pub limit: &'static Limit,
}

/// A limit, apart from whose it is. Each stays for the life of the process, once: what thousands of buckets share is near at
/// hand, and workers that hand it to their replies share no count of who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What it limits.
    pub level: Level,
    /// How often, how many at once.
    pub quota: Quota,
    /// What it grants, as the `ratelimit-policy` field says it.
    pub policy: HeaderValue,
}

impl Limit {
    /// The only one of these.
    fn of(level: Level, quota: Quota) -> &'static Self {
        static ALL: LazyLock<Mutex<HashMap<(Level, Quota), &'static Limit>>> = LazyLock::new(Mutex::default);
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry((level, quota)).or_insert_with(|| Box::leak(Box::new(Self::new(level, quota))))
    }

    fn new(level: Level, quota: Quota) -> Self {
        let Quota { count, period, .. } = quota;
        let text = format!("\"{}\";q={count};w={}", level.policy(), period.as_secs().max(1));
        // Words and numbers are a header value.
        let policy = HeaderValue::from_static(text.leak());
        Self { level, quota, policy }
    }
}

/// How wide a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// One endpoint of one integration.
    Endpoint,
    /// All calls of one integration.
    Integration,
    /// All calls to one upstream.
    Upstream,
}

impl Level {
    /// The stable refusal code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Endpoint => "limit_endpoint",
            Self::Integration => "limit_integration",
            Self::Upstream => "limit_upstream",
        }
    }

    /// The policy name in the `ratelimit` header fields.
    pub fn policy(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Integration => "integration",
            Self::Upstream => "upstream",
        }
    }
}

/// Where buckets live. `bucket` is the position in the list that the store was made from.
pub trait Store: Send + Sync {
    /// Takes one place at this moment: that of the call, so that the clock is read once for all of its limits. `Ok` says how
    /// many are left at once, `Err` how long until there is one. Must not wait; a remote store works from a local lease. A
    /// bucket that is not asked for a long time may be dropped only when it is full.
    fn take(&self, bucket: usize, now: Instant) -> Result<u32, Duration>;

    /// A store for another list of buckets. Where `kept` names a position in the list of this one, that bucket goes on
    /// as it stands, in both stores; the others begin full.
    fn next(&self, buckets: &[Bucket], kept: &[Option<usize>]) -> Box<dyn Store>;
}

/// All limits of a configuration.
pub struct Limits {
    store: Box<dyn Store>,
    buckets: Vec<Bucket>,
    /// By integration: its own bucket, those of its endpoints, its upstream's.
    by_integration: Vec<Buckets>,
}

/// What a call of one integration takes from: everything that is needed to let it pass lies here.
#[derive(Default)]
struct Buckets {
    own: Option<Place>,
    /// By endpoint.
    endpoints: Vec<(usize, Place)>,
    upstream: Option<Place>,
}

/// A bucket's position, and its limit.
#[derive(Clone, Copy)]
struct Place {
    bucket: usize,
    limit: &'static Limit,
}

/// How full the narrowest limit of a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Which limit.
    pub limit: &'static Limit,
    /// Calls that could be made at once now.
    pub calls: u32,
}

/// Proof that a call is within its limits. Only [`Limits::take`] makes one; it is used up by the injection.
///
/// ```compile_fail
/// let ticket = keygate::limit::Ticket { left: None };
/// ```
pub struct Ticket {
    left: Option<Left>,
}

impl Ticket {
    /// How full the narrowest limit is; `None` where no limit applies.
    pub fn left(self) -> Option<Left> {
        self.left
    }
}

/// A limit refused the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Which bucket.
    pub bucket: Bucket,
    /// How long until the next call can pass.
    pub wait: Duration,
}

impl Limited {
    /// Whole seconds to wait, at least one: what `retry-after` says.
    pub fn seconds(&self) -> u64 {
        (self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0)).max(1)
    }
}

impl std::fmt::Display for Limited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Bucket { name, limit } = &self.bucket;
        let Limit { level, quota, .. } = limit;
        let of = match level {
            Level::Endpoint | Level::Integration => "integration",
            Level::Upstream => "upstream",
        };
        let what =
            name.split_once('/').map_or(&**name, |(first, rest)| if *level == Level::Upstream { rest } else { first });
        write!(f, "{of} `{what}` has used up its limit of {quota}")?;
        if let (Level::Endpoint, Some((_, endpoint))) = (level, name.split_once('/')) {
            write!(f, " for `{endpoint}`")?;
        }
        write!(f, "; the next call can pass in {} s", self.seconds())
    }
}

impl Limits {
    /// Lays out the buckets of a configuration and has `store` keep them.
    pub fn new(config: &Config, store: impl FnOnce(&[Bucket]) -> Box<dyn Store>) -> Self {
        let (buckets, by_integration) = lay_out(config);
        Self { store: store(&buckets), buckets, by_integration }
    }

    /// The limits of another configuration. A bucket with the same name and quota goes on as it stands: a reload must
    /// not fill what was used up.
    #[must_use]
    pub fn next(&self, config: &Config) -> Self {
        let (buckets, by_integration) = lay_out(config);
        let known: HashMap<&str, usize> = self.buckets.iter().enumerate().map(|(n, b)| (&*b.name, n)).collect();
        let same = |bucket: &Bucket| known.get(&*bucket.name).copied().filter(|n| self.buckets[*n] == *bucket);
        let kept: Vec<_> = buckets.iter().map(same).collect();
        Self { store: self.store.next(&buckets, &kept), buckets, by_integration }
    }

    /// Takes a place in every limit that applies, narrow before wide. `now` is the moment of the call.
    pub fn take(&self, permit: &Permit<'_>, now: Instant) -> Result<Ticket, Limited> {
        let buckets = &self.by_integration[permit.integration().index];
        let narrow = buckets.endpoints.iter().find(|(e, _)| *e == permit.endpoint_index()).map(|(_, place)| place);
        let mut left: Option<Left> = None;
        for place in [narrow, buckets.own.as_ref(), buckets.upstream.as_ref()].into_iter().flatten() {
            let refused = |wait| Limited { bucket: self.buckets[place.bucket].clone(), wait };
            let calls = self.store.take(place.bucket, now).map_err(refused)?;
            if left.is_none_or(|left| calls < left.calls) {
                left = Some(Left { limit: place.limit, calls });
            }
        }
        Ok(Ticket { left })
    }
}

/// The buckets of a configuration, and which of them each integration takes from.
fn lay_out(config: &Config) -> (Vec<Bucket>, Vec<Buckets>) {
    let mut buckets = Vec::new();
    let mut add = |name: String, quota: Quota, level| {
        let limit = Limit::of(level, quota);
        buckets.push(Bucket { name: name.into(), limit });
        Place { bucket: buckets.len() - 1, limit }
    };
    let wide: Vec<_> = config
        .upstreams
        .iter()
        .map(|u| u.limit.map(|quota| add(format!("upstream/{}", u.name), quota, Level::Upstream)))
        .collect();
    let mut by_integration = Vec::with_capacity(config.integrations.len());
    for it in &config.integrations {
        let endpoints = config.upstreams[it.upstream].profile.endpoints();
        by_integration.push(Buckets {
            own: it.limit.map(|quota| add(it.name.to_string(), quota, Level::Integration)),
            endpoints: it
                .limits
                .iter()
                .map(|&(e, quota)| (e, add(format!("{}/{}", it.name, endpoints[e].name), quota, Level::Endpoint)))
                .collect(),
            upstream: wide[it.upstream],
        });
    }
    (buckets, by_integration)
}
