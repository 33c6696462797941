//! `allow`, `deny` and `limits`: from words to endpoints.

use std::collections::BTreeSet;

use super::desk::{At, Desk};
use super::nearest::nearest;
use super::quantity::parse_quota;
use super::{Quota, Rule, Wrong};
use crate::profile::{Found, Profile};

/// Reads both lists and reports what in them is unknown, written twice, or without effect.
pub(super) fn lists(
    desk: &mut Desk<'_>,
    path: &str,
    profile: &Profile,
    allow: Vec<At<String>>,
    deny: Vec<At<String>>,
) -> (Vec<Rule>, Vec<Rule>) {
    let deny: Vec<Rule> = list(desk, &format!("{path}.deny"), profile, deny).into_iter().map(|at| at.value).collect();
    let denied: BTreeSet<usize> = deny.iter().flat_map(|rule| rule.endpoints.iter().copied()).collect();
    let key = format!("{path}.allow");
    let allow = list(desk, &key, profile, allow);
    for At { value: rule, span } in &allow {
        if rule.endpoints.iter().all(|endpoint| denied.contains(endpoint)) {
            let what = format!("`{}` allows nothing: `deny` takes all of it away", rule.text);
            desk.report(span.clone(), &key, Wrong::new(what, "`deny` beats `allow`: remove one of the two"));
        }
    }
    (allow.into_iter().map(|at| at.value).collect(), deny)
}

fn list(desk: &mut Desk<'_>, key: &str, profile: &Profile, entries: Vec<At<String>>) -> Vec<At<Rule>> {
    let mut rules: Vec<At<Rule>> = Vec::new();
    for At { value, span } in entries {
        let Some(endpoints) = desk.keep(span.clone(), key, resolve(profile, &value)) else { continue };
        if rules.iter().any(|known| known.value.endpoints == endpoints) {
            desk.report(span, key, Wrong::new(format!("`{value}` stands here twice"), "remove one of the two"));
            continue;
        }
        rules.push(At { value: Rule { text: value.as_str().into(), endpoints }, span });
    }
    rules
}

/// The endpoints that an entry names: `METHOD /template`, `scope`, or `group:*`.
pub(super) fn resolve(profile: &Profile, entry: &str) -> Result<Vec<usize>, Wrong> {
    if entry.contains(' ') || entry.contains('/') {
        return endpoint(profile, entry).map(|index| vec![index]);
    }
    let prefix = entry.strip_suffix('*').filter(|prefix| prefix.len() > 1 && prefix.ends_with(':'));
    let fits = |scope: &str| prefix.map_or(scope == entry, |prefix| scope.starts_with(prefix));
    let endpoints = profile.endpoints().iter().enumerate().filter(|(_, endpoint)| fits(&endpoint.scope));
    let endpoints: Vec<usize> = endpoints.map(|(index, _)| index).collect();
    if endpoints.is_empty() { Err(unknown_scope(profile, entry)) } else { Ok(endpoints) }
}

/// The endpoints that any of several entries names.
pub fn resolve_scopes(profile: &Profile, entries: &[String]) -> Result<BTreeSet<usize>, Wrong> {
    let mut all = BTreeSet::new();
    for entry in entries {
        all.extend(resolve(profile, entry)?);
    }
    Ok(all)
}

fn unknown_scope(profile: &Profile, entry: &str) -> Wrong {
    if entry == "*" || entry == "*:*" {
        let remedy =
            "name what the integration needs: a scope `orders:read`, all scopes of a kind `orders:*`, or an endpoint";
        return Wrong::new("a rule that allows everything is no rule", remedy);
    }
    let scopes = profile.scopes();
    let mut groups: Vec<String> =
        scopes.iter().filter_map(|s| s.split_once(':')).map(|(group, _)| format!("{group}:*")).collect();
    groups.dedup();
    let within: Vec<&str> = match entry.split_once(':') {
        Some((group, _)) => scopes.iter().copied().filter(|scope| scope.split(':').next() == Some(group)).collect(),
        None => scopes.iter().copied().filter(|scope| scope.split(':').next() == Some(entry)).collect(),
    };
    let candidates = scopes.iter().copied().chain(groups.iter().map(String::as_str));
    let remedy = match nearest(entry, candidates) {
        Some(near) => format!("did you mean `{near}`?"),
        None if !within.is_empty() => format!("there is {}", super::nearest::quoted(&within)),
        None => format!("`keygate profile show {}` lists scopes and endpoints", profile.name),
    };
    Wrong::new(format!("`{entry}` is no scope of `{}`", profile.name), remedy)
}

/// The index of `METHOD /template`.
pub(super) fn endpoint(profile: &Profile, entry: &str) -> Result<usize, Wrong> {
    if let Some(index) = profile.index_of(entry) {
        return Ok(index);
    }
    let what = format!("`{entry}` is no endpoint of `{}`", profile.name);
    let remedy = match by_path(profile, entry).or_else(|| nearest(entry, profile.endpoints().iter().map(|e| &*e.name)))
    {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write method and path template; `keygate profile show {}` lists them", profile.name),
    };
    Err(Wrong::new(what, remedy))
}

/// The endpoint that a request for this path would reach: for paths with values in place of parameters, and for
/// methods that the path does not have.
fn by_path<'a>(profile: &'a Profile, entry: &str) -> Option<&'a str> {
    let (method, path) = entry.split_once(' ').unwrap_or(("GET", entry));
    let method = method.to_ascii_uppercase().parse().ok()?;
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let method = match profile.find(&method, &segments) {
        Found::OtherMethods(methods) => methods.into_iter().next()?,
        _ => method,
    };
    match profile.find(&method, &segments) {
        Found::Endpoint(index) => Some(&profile.endpoints()[index].name),
        _ => None,
    }
}

/// Reads one line of `limits`. It must be about an endpoint that the integration may call.
pub(super) fn limit(
    desk: &mut Desk<'_>,
    path: &str,
    profile: &Profile,
    name: &At<String>,
    quota: At<String>,
    allowed: &BTreeSet<usize>,
) -> Option<(usize, Quota)> {
    let key = format!("{path}.limits");
    let index = if name.value.contains(' ') {
        endpoint(profile, &name.value)
    } else {
        let remedy = "limits are for single endpoints: `limits.\"PUT /v2/offer\" = \"10/min\"`; `limit` is for all calls together";
        Err(Wrong::new(format!("`{}` is no endpoint", name.value), remedy))
    };
    let index = desk.keep(name.span.clone(), &key, index);
    let quota = desk.keep(quota.span, &key, parse_quota(&quota.value));
    let index = index?;
    if !allowed.contains(&index) {
        let what = format!("the limit of `{}` has no effect: the integration may not call it", name.value);
        desk.report(name.span.clone(), &key, Wrong::new(what, "allow the endpoint, or remove the limit"));
    }
    Some((index, quota?))
}
