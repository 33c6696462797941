//! Whether an integration may call an endpoint: the allowlist.

use std::fmt;
use std::sync::Arc;

use super::rights::Standing;
use super::{Call, Client, Integration, Policy};
use crate::profile::Endpoint;

/// Proof that an integration may make a call, with the rule that says so. Only [`Policy::authorise`] makes one, and it
/// cannot be copied.
///
/// ```compile_fail
/// fn forge<'a>(like: keygate::policy::Permit<'a>) -> keygate::policy::Permit<'a> {
///     keygate::policy::Permit { ..like }
/// }
/// ```
///
/// ```compile_fail
/// fn copy<'a>(permit: &keygate::policy::Permit<'a>) -> keygate::policy::Permit<'a> {
///     permit.clone()
/// }
/// ```
pub struct Permit<'a> {
    integration: &'a Arc<Integration>,
    endpoint: &'a Arc<Endpoint>,
    index: usize,
    rule: &'a Arc<str>,
}

impl Permit<'_> {
    /// Who.
    pub fn integration(&self) -> &Arc<Integration> {
        self.integration
    }

    /// What.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.endpoint
    }

    /// The endpoint's position in the profile.
    pub fn endpoint_index(&self) -> usize {
        self.index
    }

    /// By which rule: `allow "orders:read"`.
    pub fn rule(&self) -> &Arc<str> {
        self.rule
    }
}

/// Why not.
#[derive(Clone)]
pub struct Denied {
    /// Who.
    pub integration: Arc<Integration>,
    /// What.
    pub endpoint: Arc<Endpoint>,
    /// The `deny` rule that says so; without one, no `allow` rule names the endpoint.
    pub rule: Option<Arc<str>>,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (integration, endpoint) = (&self.integration.name, &self.endpoint.name);
        match &self.rule {
            Some(rule) => {
                write!(f, "integration `{integration}` may not call `{endpoint}`: its deny rule `{rule}` says so")
            }
            None => write!(
                f,
                "integration `{integration}` may not call `{endpoint}`: no allow rule of it names this endpoint"
            ),
        }
    }
}

impl Denied {
    /// The stable refusal code.
    pub fn code(&self) -> &'static str {
        if self.rule.is_some() { "endpoint_denied" } else { "endpoint_not_allowed" }
    }

    /// What the owner would have to change.
    pub fn ask_for(&self) -> String {
        let section = format!("[integration.{}]", self.integration.name);
        match &self.rule {
            Some(rule) => format!("take `{rule}` out of `deny` in {section}"),
            None => format!("add `{}` (or `{}`) to `allow` in {section}", self.endpoint.name, self.endpoint.scope),
        }
    }
}

impl Policy {
    /// Decides by the integration's rules: `deny` beats `allow`, what no rule names is denied.
    pub fn authorise<'a>(&'a self, client: &Client<'a>, call: &Call<'a>) -> Result<Permit<'a>, Denied> {
        let (integration, endpoint) = (client.integration(), call.endpoint());
        let denied = |rule: Option<&Arc<str>>| Denied {
            integration: integration.clone(),
            endpoint: endpoint.clone(),
            rule: rule.cloned(),
        };
        match self.rights.standing(integration.row, call.index()) {
            Standing::Allowed(rule) => Ok(Permit { integration, endpoint, index: call.index(), rule }),
            Standing::Denied(rule) => Err(denied(Some(rule))),
            Standing::Unlisted => Err(denied(None)),
        }
    }
}
