//! A merchant API as data: endpoints, key placement, reply envelope.
//!
//! A profile is read from a TOML file (`config/profiles/*.toml`; the built-in ones are compiled in from there). Every
//! rule is keyed on method + path template: operation ids are not unique in the Merchant API's own description.

mod builtin;
mod file;
mod matcher;
mod template;

use std::sync::Arc;

use http::{HeaderName, Method};

use crate::config::BaseUrl;

pub use builtin::{BUILTIN_NAMES, builtin, source};
pub use file::{ProfileProblem, parse};
pub(crate) use matcher::is_word;

/// What an endpoint does upstream. A write has a durable intent before its first byte leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Changes nothing that matters.
    Read,
    /// Changes something.
    Write,
}

/// One endpoint: method and path template, with what a policy needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The method, upper case.
    pub method: Method,
    /// The path template below the base URL: `/v2/orders/{merchantOrderNo}/invoice`.
    pub template: Arc<str>,
    /// `METHOD /template`, the name used in rules, records and messages.
    pub name: Arc<str>,
    /// The scope that holds it: `orders:read`.
    pub scope: String,
    /// Read or write.
    pub effect: Effect,
    /// Kinds of personal data: `response:customer`, `query:email`; empty for none.
    pub personal_data: Vec<String>,
    /// One sentence for people.
    pub purpose: String,
    /// The template's parameter names, in order.
    pub params: Vec<Arc<str>>,
    /// The template, segment by segment.
    pub segments: Vec<Segment>,
}

/// One segment of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A fixed word in the template's own spelling.
    Literal(Arc<str>),
    /// Any one segment; its name without braces.
    Param(Arc<str>),
}

impl Endpoint {
    /// The template's own spelling of segment `i`; `None` where a parameter stands, or past the end. So a caller can
    /// send literals as the template spells them and parameters as they were judged.
    pub fn literal(&self, i: usize) -> Option<&str> {
        match self.segments.get(i)? {
            Segment::Literal(text) => Some(text),
            Segment::Param(_) => None,
        }
    }
}

/// Where an integration's scoped key may stand in a request (besides `Authorization: Bearer`): exactly where the
/// API's own key goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Header names.
    pub headers: Vec<HeaderName>,
    /// Query names, compared without regard to ASCII case.
    pub queries: Vec<String>,
}

/// Where the real key is put on the way out. `template` has `{key}` once: `{key}`, `Bearer {key}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// A header whose value is the filled template.
    Header {
        /// Header name.
        name: HeaderName,
        /// Value template.
        template: String,
    },
    /// A query parameter whose value is the percent-encoded key.
    Query {
        /// Parameter name.
        name: String,
    },
    /// `Authorization: Basic` with the key as user name (empty password), or with `user:password` when the credential
    /// itself holds a colon and `pair` is set.
    Basic {
        /// The credential is `user:password` already.
        pair: bool,
    },
    /// A fixed header, no secret in it.
    Fixed {
        /// Header name.
        name: HeaderName,
        /// Value.
        value: String,
    },
}

/// Where a credential of `id:secret` is exchanged for an access token (OAuth 2.0, client credentials, RFC 6749 section 4.4),
/// which is then what is placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSource {
    /// The token endpoint, always `https`.
    pub url: BaseUrl,
    /// How id and secret are sent there.
    pub client: ClientProof,
    /// What the token is granted for.
    pub grant: Grant,
    /// More parameters of the request: `scope`, `audience`.
    pub parameters: Vec<(String, String)>,
}

/// How a client proves itself to a token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientProof {
    /// `Authorization: Basic`.
    Basic,
    /// `client_id` and `client_secret` in the body.
    Body,
}

/// What an access token is granted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The client itself: the credential is `id:secret`.
    ClientCredentials,
    /// What its owner granted to the client: the credential is `id:secret:refresh-token`.
    RefreshToken,
}

/// The shape of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// ChannelEngine's JSON envelope.
    ChannelEngine,
    /// RFC 9457 problem+json.
    Problem,
}

/// A merchant API as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// `channelengine`
    pub name: String,
    /// One line for people.
    pub title: String,
    /// Where integrations put their scoped key.
    pub slots: Slots,
    /// Where the real key goes.
    pub inject: Vec<Placement>,
    /// Where the credential is exchanged for what is placed, when it is not placed itself.
    pub token: Option<TokenSource>,
    /// Request headers that never go upstream, besides hop-by-hop headers and key slots.
    pub strip: Vec<HeaderName>,
    /// The shape of refusals.
    pub envelope: Envelope,
    endpoints: Vec<Arc<Endpoint>>,
    matcher: matcher::Matcher,
}

/// What a path and method lead to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// An endpoint: its index in [`Profile::endpoints`].
    Endpoint(usize),
    /// The path exists, the method does not; these do.
    OtherMethods(Vec<Method>),
    /// No such path.
    Nothing,
}

impl Profile {
    /// All endpoints, in the order of the file.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Finds the endpoint for decoded path segments (below the base path). Literals are compared without regard to
    /// ASCII case and win over parameters, segment by segment; `HEAD` finds what `GET` finds.
    pub fn find<S: AsRef<str>>(&self, method: &Method, segments: &[S]) -> Found {
        self.matcher.find(method, segments)
    }

    /// The index of `METHOD /template` (the method's case and the template's case are ignored).
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.endpoints.iter().position(|e| e.name.eq_ignore_ascii_case(name))
    }

    /// All scopes, sorted, without duplicates.
    pub fn scopes(&self) -> Vec<&str> {
        let mut scopes: Vec<&str> = self.endpoints.iter().map(|e| e.scope.as_str()).collect();
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }
}

#[cfg(test)]
mod tests;
