//! What the gate would say to a call, and why, without making it: `keygate explain`.

use http::Method;

use super::call::Base;
use super::target::read_path;
use super::{Client, Misread, Policy};
use crate::config::Config;
use crate::profile::Effect;

/// A verdict with its grounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Explanation {
    /// Whether the call would be let through (limits aside).
    pub allowed: bool,
    /// `allowed`, or the refusal code.
    pub code: &'static str,
    /// The endpoint the target means.
    pub endpoint: Option<String>,
    /// `read` or `write`.
    pub effect: Option<&'static str>,
    /// The scope that holds the endpoint.
    pub scope: Option<String>,
    /// The rule that decides, as written.
    pub rule: Option<String>,
    /// The refusal's own words.
    pub message: Option<String>,
    /// What the owner would have to change.
    pub ask_for: Option<String>,
    /// Whom to ask.
    pub owner: Option<String>,
    /// Positions of upstream and endpoint in the configuration, for whoever asks what the vault has for them.
    #[serde(skip)]
    pub place: Option<(usize, usize)>,
    /// The credential that would be used, or why there is none; filled in by who can ask the vault.
    pub credential: Option<String>,
    /// The limits that the call is held to, narrow first: `PUT /v2/offer: 10/min`.
    pub limits: Vec<String>,
}

/// Explains a call of the named integration; `None` when there is no such integration. `target` is a path with an
/// optional query, with or without the upstream's base path before it.
pub fn explain(config: &Config, integration: &str, method: &Method, target: &str) -> Option<Explanation> {
    let position = config.integrations.iter().position(|it| &*it.name == integration)?;
    let it = &config.integrations[position];
    let policy = Policy::new(config);
    let client = Client::assumed(&policy.integrations[position]);
    // A fragment is not part of what is asked for: it never gets as far as the gate's own reading.
    let target = target.split('#').next().unwrap_or_default();
    let target = with_base_path(&client.integration().base, target);
    let mut found = Explanation { owner: it.owner.clone(), ..Explanation::default() };
    decide(&policy, &client, method, &target, &mut found);
    let endpoint = found.endpoint.as_deref().and_then(|name| config.upstreams[it.upstream].profile.index_of(name));
    found.place = endpoint.filter(|_| found.allowed).map(|endpoint| (it.upstream, endpoint));
    found.limits = limits(config, position, found.endpoint.as_deref());
    Some(found)
}

fn with_base_path(base: &Base, target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    let has_it = read_path(path).is_ok_and(|segments| base.begins(&segments).is_some());
    match (has_it, target) {
        (true, _) => target.to_owned(),
        (false, "/") => base.path.clone(),
        (false, _) => format!("{}{target}", base.path),
    }
}

fn decide(policy: &Policy, client: &Client<'_>, method: &Method, target: &str, found: &mut Explanation) {
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let call =
        policy.query(query).map_err(Misread::Ambiguous).and_then(|query| policy.read(client, method, path, query));
    let call = match call {
        Ok(call) => call,
        Err(why) => {
            found.code = why.code();
            found.message = Some(why.to_string());
            return;
        }
    };
    found.endpoint = Some(call.endpoint().name.to_string());
    found.scope = Some(call.endpoint().scope.clone());
    found.effect = Some(if call.endpoint().effect == Effect::Read { "read" } else { "write" });
    match policy.authorise(client, &call) {
        Ok(permit) => {
            found.allowed = true;
            found.code = "allowed";
            found.rule = Some(permit.rule().to_string());
        }
        Err(denied) => {
            found.code = denied.code();
            found.message = Some(denied.to_string());
            found.ask_for = Some(denied.ask_for());
            found.rule = denied.rule.as_ref().map(ToString::to_string);
        }
    }
}

fn limits(config: &Config, position: usize, endpoint: Option<&str>) -> Vec<String> {
    let it = &config.integrations[position];
    let upstream = &config.upstreams[it.upstream];
    let index = endpoint.and_then(|name| upstream.profile.index_of(name));
    let narrow = it.limits.iter().filter(|(e, _)| Some(*e) == index);
    let narrow = narrow.map(|(e, quota)| format!("{}: {quota}", upstream.profile.endpoints()[*e].name));
    let own = it.limit.iter().map(|quota| format!("integration `{}`: {quota}", it.name));
    let wide = upstream.limit.iter().map(|quota| format!("upstream `{}`: {quota}", upstream.name));
    narrow.chain(own).chain(wide).collect()
}
