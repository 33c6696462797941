//! `[integration.NAME]`

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use jiff::Timestamp;
use toml::Spanned;

use super::check::{name, suggest};
use super::desk::{At, Desk};
use super::field::{Field, Moment};
use super::file::IntegrationFile;
use super::upstream::{Tenants, in_order, optional_quota};
use super::{Integration, KeyHash, Quota, Rule, Wrong, rules};

/// Key hashes seen so far, with the integration that has each.
type Seen = BTreeMap<[u8; 32], String>;

/// Checks them in the order of the file.
pub(super) fn all(
    desk: &mut Desk<'_>,
    file: BTreeMap<Spanned<String>, Spanned<IntegrationFile>>,
    tenants: &Tenants,
) -> Vec<Integration> {
    let mut seen = Seen::new();
    let mut integrations = Vec::new();
    for (key, file) in in_order(file) {
        integrations.extend(one(desk, &key, file, tenants, &mut seen));
    }
    integrations
}

fn one(
    desk: &mut Desk<'_>,
    key: &Spanned<String>,
    file: Spanned<IntegrationFile>,
    tenants: &Tenants,
    seen: &mut Seen,
) -> Option<Integration> {
    let path = format!("integration.{}", key.get_ref());
    let key_of = |name: &str| format!("{path}.{name}");
    let home = file.span();
    let mut file = file.into_inner();
    let named = desk.keep(key.span(), &path, name(key.get_ref()));
    let keys = keys(desk, &path, &home, &mut file, seen);
    let owner = desk.optional(&key_of("owner"), file.owner.take()).map(|at| at.value).filter(|owner| !owner.is_empty());
    let expires = moment(desk, &key_of("expires"), file.expires.take());
    let revoked = desk.optional(&key_of("revoked"), file.revoked.take()).is_some_and(|at| at.value);
    let limit = desk.read(&key_of("limit"), file.limit.take(), None, optional_quota);
    let remedy = format!("name the upstream that it may call: {}", suggest("", &tenants.names));
    let upstream = desk.required(&key_of("upstream"), file.upstream.take(), &home, &remedy);
    let upstream = upstream.and_then(|at| upstream_index(desk, &key_of("upstream"), at, tenants));
    if file.allow.is_none() {
        let remedy =
            "nothing is allowed by default: `allow = [\"orders:read\"]`; `keygate profile list` shows the scopes";
        desk.missing(&key_of("allow"), &home, remedy);
    }
    let (allow, deny, limits) = permissions(desk, &path, file, upstream, tenants);
    named?;
    Some(Integration {
        name: key.get_ref().as_str().into(),
        upstream: upstream?,
        keys,
        owner,
        expires,
        revoked,
        allow,
        deny,
        limit,
        limits,
    })
}

fn upstream_index(desk: &mut Desk<'_>, key: &str, at: At<String>, tenants: &Tenants) -> Option<usize> {
    let found = tenants
        .names
        .get(&at.value)
        .ok_or_else(|| Wrong::new(format!("there is no upstream `{}`", at.value), suggest(&at.value, &tenants.names)));
    *desk.keep(at.span, key, found)?
}

/// Rules can only be resolved when the upstream's profile is known; without it, what is wrong with them stays unsaid.
fn permissions(
    desk: &mut Desk<'_>,
    path: &str,
    file: IntegrationFile,
    upstream: Option<usize>,
    tenants: &Tenants,
) -> (Vec<Rule>, Vec<Rule>, Vec<(usize, Quota)>) {
    let allow_is_empty = file.allow.as_ref().filter(|list| list.entries.as_ref().is_ok_and(Vec::is_empty));
    if let Some(list) = allow_is_empty {
        let wrong =
            Wrong::new(format!("`{path}` may do nothing"), "name a scope or an endpoint: `allow = [\"orders:read\"]`");
        desk.report(list.span.clone(), &format!("{path}.allow"), wrong);
    }
    let allow = desk.list(&format!("{path}.allow"), file.allow);
    let deny = desk.list(&format!("{path}.deny"), file.deny);
    let Some(upstream) = upstream.and_then(|index| tenants.get(index)) else { return Default::default() };
    let (allow, deny) = rules::lists(desk, path, &upstream.profile, allow, deny);
    let mut allowed: BTreeSet<usize> = allow.iter().flat_map(|rule| rule.endpoints.iter().copied()).collect();
    for endpoint in deny.iter().flat_map(|rule| &rule.endpoints) {
        allowed.remove(endpoint);
    }
    let mut limits: Vec<(usize, Quota)> = Vec::new();
    for (name, quota) in in_order(file.limits) {
        let key = format!("{path}.limits");
        let Some(quota) = desk.optional(&key, Some(quota)) else { continue };
        let name = At { span: name.span(), value: name.into_inner() };
        let limit = rules::limit(desk, path, &upstream.profile, &name, quota, &allowed);
        let Some((index, quota)) = limit else { continue };
        if limits.iter().any(|(known, _)| *known == index) {
            let wrong = Wrong::new(format!("`{}` has two limits", name.value), "remove one of the two");
            desk.report(name.span, &key, wrong);
            continue;
        }
        limits.push((index, quota));
    }
    (allow, deny, limits)
}

/// The present key and the previous one.
fn keys(
    desk: &mut Desk<'_>,
    path: &str,
    home: &Range<usize>,
    file: &mut IntegrationFile,
    seen: &mut Seen,
) -> Vec<KeyHash> {
    let key_of = |name: &str| format!("{path}.{name}");
    let remedy = "`keygate integration add` makes an integration with its key, `keygate integration rotate` a new key";
    let present = desk.required(&key_of("key_sha256"), file.key_sha256.take(), home, remedy);
    let present = present.and_then(|at| hash(desk, &key_of("key_sha256"), path, at, seen));
    let until_span = file.previous_key_until.as_ref().map(|field| field.span.clone());
    let has_until = until_span.is_some();
    let until = moment(desk, &key_of("previous_key_until"), file.previous_key_until.take());
    let previous = desk.optional(&key_of("previous_key_sha256"), file.previous_key_sha256.take());
    let previous = previous.filter(|at| at.value != "none");
    match &previous {
        Some(at) if !has_until => {
            let remedy = "write `previous_key_until = 2027-01-31T12:00:00Z`, or take the previous key out";
            let wrong = Wrong::new(format!("the previous key of `{path}` has no end"), remedy);
            desk.report(at.span.clone(), &key_of("previous_key_until"), wrong);
        }
        None if until.is_some() => {
            let wrong = Wrong::new(format!("`{path}` has no previous key"), "remove `previous_key_until`");
            desk.report(until_span.unwrap_or_default(), &key_of("previous_key_until"), wrong);
        }
        _ => {}
    }
    let previous = previous.and_then(|at| hash(desk, &key_of("previous_key_sha256"), path, at, seen));
    let present = present.map(|sha256| KeyHash { sha256, until: None });
    present.into_iter().chain(previous.map(|sha256| KeyHash { sha256, until })).collect()
}

/// 64 hexadecimal digits that no other key has. The value is never repeated: it might be the key itself.
fn hash(desk: &mut Desk<'_>, key: &str, path: &str, at: At<String>, seen: &mut Seen) -> Option<[u8; 32]> {
    let remedy = if at.value.starts_with("kg_") {
        "this looks like the scoped key itself: whoever reads this file could use it; make a new one with `keygate \
         integration rotate`"
    } else {
        "64 hexadecimal digits, as `keygate integration add` and `rotate` write them"
    };
    let parsed = unhex(&at.value).ok_or_else(|| Wrong::new(format!("`{key}` is no SHA-256"), remedy));
    let sha256 = desk.keep(at.span.clone(), key, parsed)?;
    if let Some(other) = seen.insert(sha256, path.to_owned()) {
        let what = format!("`{other}` has the same key");
        let remedy = "each key proves one integration: make a new one with `keygate integration rotate`";
        desk.report(at.span, key, Wrong::new(what, remedy));
    }
    Some(sha256)
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// A date (its first moment, UTC), a time with its offset, or `never`.
fn moment(desk: &mut Desk<'_>, key: &str, field: Option<Field<Moment>>) -> Option<Timestamp> {
    let At { value: Moment(text), span } = desk.optional(key, field)?;
    if text == "never" {
        return None;
    }
    desk.keep(span, key, parse_moment(&text))
}

/// Reads `2027-01-31` (its first moment, UTC) or `2027-01-31T12:00:00Z`.
pub fn parse_moment(text: &str) -> Result<Timestamp, Wrong> {
    let date = || (text.len() == 10).then(|| format!("{text}T00:00:00Z"))?.parse().ok();
    text.parse().ok().or_else(date).ok_or_else(|| {
        let remedy = "write a date `2027-01-31` (from its first moment on, UTC) or a time with its offset `2027-01-31T12:00:00Z`";
        Wrong::new(format!("`{text}` is no point in time"), remedy)
    })
}
