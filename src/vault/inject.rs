//! The one place that puts a credential into a request.

use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::prepared::{Prepared, Unusable};
use super::ring::{Chosen, KeyRing, Second};
use super::trial::Trial;
use crate::audit::RECEIPT_HEADER;
use crate::body::Scrubber;
use crate::limit::{Left, Ticket};
use crate::policy::{Call, Permit};
use crate::profile::Slots;

/// A request that is ready to leave: judged, permitted, within its limits, with the real key in it. Only [`inject`]
/// makes one, and sending uses it up.
///
/// ```compile_fail
/// fn twice(outbound: keygate::vault::inject::Outbound) {
///     drop(outbound.into_parts());
///     drop(outbound.into_parts());
/// }
/// ```
pub struct Outbound {
    parts: OutboundParts,
}

/// What an [`Outbound`] is made of.
pub struct OutboundParts {
    /// Method.
    pub method: Method,
    /// Path and query below the upstream's authority.
    pub target: PathAndQuery,
    /// The target has the key in its query.
    pub keyed_target: bool,
    /// Headers; the key is marked sensitive.
    pub headers: HeaderMap,
}

/// What the rest of the route keeps of an injection.
pub struct Injected {
    /// Credential id and version.
    pub credential: (Arc<str>, u64),
    /// Cuts the key out of the reply.
    pub scrubber: Arc<Scrubber>,
    /// How full the narrowest limit is.
    pub left: Option<Left>,
    /// The same call with the other key, while there are two and it may be sent twice.
    pub second: Option<Box<SecondTry>>,
}

/// The same read with the credential's other key, ready to leave if the first key is refused.
pub struct SecondTry {
    outbound: Outbound,
    /// The other key. Its scrubber is taken when it is used: a call that could use a key does not keep it in use.
    prepared: Arc<Prepared>,
    /// What is known of the two keys.
    pub trial: Arc<Trial>,
    /// Whether the first key is the twin.
    pub first_is_twin: bool,
}

impl SecondTry {
    /// Hands out what is sent, id and version of its key, and what cuts that out of the reply.
    pub fn into_parts(self) -> (Outbound, (Arc<str>, u64), Arc<Scrubber>) {
        (self.outbound, self.prepared.credential.clone(), self.prepared.scrubber.clone())
    }
}

impl Outbound {
    /// Takes it apart for sending.
    pub fn into_parts(self) -> OutboundParts {
        self.parts
    }
}

/// Where a call goes, and what must not go along.
pub struct Destination<'a> {
    /// Position of the upstream.
    pub upstream: usize,
    /// Base path of the upstream: `/api`.
    pub base_path: &'a str,
    /// `Host` of the upstream.
    pub host: &'a HeaderValue,
    /// Where clients put their scoped keys, over all profiles.
    pub slots: &'a Slots,
    /// The time of the call; a credential may have an end.
    pub now: Timestamp,
    /// Whether it may be sent twice: a read without a body, by GET or HEAD.
    pub repeatable: bool,
}

/// Turns a call into what is sent. It uses up the ticket: one ticket, one request.
///
/// ```compile_fail
/// use keygate::{limit::Ticket, policy::{Call, Permit}, vault::{KeyRing, inject::{Destination, inject}}};
/// fn twice(a: Call, b: Call, permit: &Permit, ticket: Ticket, ring: &KeyRing, to: &Destination) {
///     let _ = inject(a, permit, ticket, http::HeaderMap::new(), ring, to);
///     let _ = inject(b, permit, ticket, http::HeaderMap::new(), ring, to);
/// }
/// ```
#[expect(clippy::needless_pass_by_value, reason = "a call and its ticket are used up: one ticket, one request")]
pub fn inject(
    call: Call<'_>,
    permit: &Permit<'_>,
    ticket: Ticket,
    mut headers: HeaderMap,
    ring: &KeyRing,
    to: &Destination<'_>,
) -> Result<(Outbound, Injected), Unusable> {
    let Chosen { prepared, second } = ring.choose(to.upstream, permit.endpoint_index(), to.repeatable)?;
    if let Some(ended) = prepared.ended(to.now) {
        return Err(ended);
    }
    strip(&mut headers, to.slots, &permit.integration().profile().strip);
    headers.insert(header::HOST, to.host.clone());
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let second = second.filter(|second| second.prepared.ended(to.now).is_none());
    let second = second.map(|second| second_try(&call, headers.clone(), second, to)).transpose()?;
    let outbound = with_key(&call, headers, &prepared, to)?;
    let (credential, scrubber) = (prepared.credential.clone(), prepared.scrubber.clone());
    Ok((outbound, Injected { credential, scrubber, left: ticket.left(), second }))
}

fn second_try(
    call: &Call<'_>,
    headers: HeaderMap,
    second: Second,
    to: &Destination<'_>,
) -> Result<Box<SecondTry>, Unusable> {
    let Second { prepared, trial, first_is_twin } = second;
    let outbound = with_key(call, headers, &prepared, to)?;
    Ok(Box::new(SecondTry { outbound, prepared, trial, first_is_twin }))
}

fn with_key(
    call: &Call<'_>,
    mut headers: HeaderMap,
    prepared: &Prepared,
    to: &Destination<'_>,
) -> Result<Outbound, Unusable> {
    let target = target(call.target(to.base_path), prepared)?;
    for (name, value) in &prepared.headers {
        headers.insert(name.clone(), value.clone());
    }
    let keyed_target = !prepared.query.is_empty();
    Ok(Outbound { parts: OutboundParts { method: call.method().clone(), target, keyed_target, headers } })
}

/// A read that the operator's own command makes to see what the upstream says to a key: `GET` of a fixed path, nothing of
/// anybody's in it.
pub fn trial_read(prepared: &Prepared, base_path: &str, path: &str, host: &HeaderValue) -> Result<Outbound, Unusable> {
    let target = target(format!("{base_path}{path}"), prepared)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, host.clone());
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for (name, value) in &prepared.headers {
        headers.insert(name.clone(), value.clone());
    }
    let keyed_target = !prepared.query.is_empty();
    Ok(Outbound { parts: OutboundParts { method: Method::GET, target, keyed_target, headers } })
}

fn target(judged: String, prepared: &Prepared) -> Result<PathAndQuery, Unusable> {
    let target = if prepared.query.is_empty() { Bytes::from(judged) } else { keyed(&judged, &prepared.query) };
    PathAndQuery::from_maybe_shared(target).map_err(|_| Unusable::Unfit(prepared.credential.0.to_string()))
}

/// The target with the key behind it, wiped when the call is over.
fn keyed(target: &str, query: &[u8]) -> Bytes {
    let separator = if target.contains('?') { "&" } else { "?" };
    let mut whole = Zeroizing::new(Vec::with_capacity(target.len() + 1 + query.len()));
    for part in [target.as_bytes(), separator.as_bytes(), query] {
        whole.extend_from_slice(part);
    }
    Bytes::from_owner(whole)
}

/// Takes out what ends at the gate: the client's keys, hop-by-hop headers, what the profile strips.
fn strip(headers: &mut HeaderMap, slots: &Slots, also: &[HeaderName]) {
    end_hop_by_hop(headers);
    // Most of these are not there; to see that costs less than to look each of them up.
    let ends = |name: &HeaderName| {
        name == header::AUTHORIZATION
            || name == header::EXPECT
            || is_override(name)
            // What is asked of the gate itself.
            || name == RECEIPT_HEADER
            || slots.headers.contains(name)
            || also.contains(name)
    };
    take_out(headers, ends);
}

/// Headers by which some servers take a request for another one than its first line says. What was judged is what is
/// called, so they end here.
fn is_override(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "x-http-method-override" | "x-http-method" | "x-method-override" | "x-original-url" | "x-rewrite-url"
    )
}

/// Removes the headers that a rule names, in one walk over those that are there.
pub fn take_out(headers: &mut HeaderMap, ends: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| ends(name)).cloned() {
        headers.remove(name);
    }
}

/// Hop-by-hop headers end at the gate in both directions, those that `Connection` names too.
pub fn end_hop_by_hop(headers: &mut HeaderMap) {
    let names_none = |value: &HeaderValue| matches!(value.as_bytes(), b"keep-alive" | b"close");
    if !headers.get_all(header::CONNECTION).iter().all(names_none) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            // A length that was judged must not be talked away; the message's framing is the gate's own business.
            .filter(|name| name != header::CONTENT_LENGTH && name != header::HOST)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    take_out(headers, is_hop_by_hop);
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    const STANDARD: [HeaderName; 7] = [
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::PROXY_AUTHORIZATION,
        header::PROXY_AUTHENTICATE,
    ];
    STANDARD.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}
