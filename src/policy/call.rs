//! Which endpoint a request means: the one reading that is judged, recorded and sent.

use std::fmt;
use std::sync::Arc;

use http::Method;

use super::target::{Ambiguous, Pair, Segment, read_path};
use super::{Client, Policy, Query};
use crate::profile::{self, Endpoint, Found, is_word};

/// A request that means one endpoint. Only [`Policy::read`] makes one.
///
/// ```compile_fail
/// fn forge<'a>(like: keygate::policy::Call<'a>) -> keygate::policy::Call<'a> {
///     keygate::policy::Call { ..like }
/// }
/// ```
pub struct Call<'a> {
    endpoint: &'a Arc<Endpoint>,
    index: usize,
    method: Method,
    path: Vec<Segment<'a>>,
    /// Where the path below the base path begins.
    base: usize,
    query: Vec<Pair<'a>>,
}

/// Why a request means no endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misread {
    /// It can be read in two ways.
    Ambiguous(Ambiguous),
    /// The path lies outside the upstream's base path.
    OutsideBasePath(String),
    /// The profile has no such path.
    UnknownPath(String),
    /// The path exists, the method does not; these do.
    UnknownMethod(Vec<Method>),
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous(why) => write!(f, "{why}"),
            Self::OutsideBasePath(base) => write!(f, "the path does not begin with the upstream's base path `{base}`"),
            Self::UnknownPath(profile) => write!(f, "the profile `{profile}` has no endpoint with this path"),
            Self::UnknownMethod(known) => {
                let known: Vec<_> = known.iter().map(Method::as_str).collect();
                write!(f, "this path is not served with this method, only with {}", known.join(", "))
            }
        }
    }
}

impl Misread {
    /// The stable refusal code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Ambiguous(why) => why.code(),
            Self::OutsideBasePath(_) | Self::UnknownPath(_) => "endpoint_unknown",
            Self::UnknownMethod(_) => "method_unknown",
        }
    }
}

impl Policy {
    /// Reads path and query against the profile of the client's upstream.
    pub fn read<'a>(
        &self,
        client: &Client<'a>,
        method: &Method,
        path: &'a str,
        query: Query<'a>,
    ) -> Result<Call<'a>, Misread> {
        let integration = client.integration();
        let path = read_path(path).map_err(Misread::Ambiguous)?;
        let base =
            integration.base.begins(&path).ok_or_else(|| Misread::OutsideBasePath(integration.base.path.clone()))?;
        match integration.profile.find(method, &path[base..]) {
            Found::Endpoint(index) => Ok(Call {
                endpoint: &integration.profile.endpoints()[index],
                index,
                method: method.clone(),
                base,
                path,
                query: query.pairs,
            }),
            Found::OtherMethods(methods) => Err(Misread::UnknownMethod(methods)),
            Found::Nothing => Err(Misread::UnknownPath(integration.profile.name.clone())),
        }
    }
}

/// The path of an upstream's base URL.
pub(super) struct Base {
    pub(super) path: String,
    segments: Box<[Box<str>]>,
}

impl Base {
    /// `/api`, or empty.
    pub(super) fn new(path: &str) -> Self {
        let segments = path.split('/').filter(|part| !part.is_empty()).map(Box::from).collect();
        Self { path: path.to_owned(), segments }
    }

    /// How many segments it takes, when the path begins with it (ASCII case ignored).
    pub(super) fn begins(&self, path: &[Segment<'_>]) -> Option<usize> {
        let begin = path.get(..self.segments.len())?;
        let same = begin.iter().zip(&self.segments).all(|(sent, base)| is_word(sent.decoded(), base));
        same.then_some(begin.len())
    }
}

impl<'a> Call<'a> {
    /// The endpoint.
    pub fn endpoint(&self) -> &'a Arc<Endpoint> {
        self.endpoint
    }

    /// Its position in the profile.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The method, as it goes upstream.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Path parameters: name and decoded value.
    pub fn params(&self) -> impl Iterator<Item = (&Arc<str>, &str)> {
        self.endpoint.segments.iter().zip(&self.path[self.base..]).filter_map(|(template, sent)| match template {
            profile::Segment::Param(name) => Some((name, sent.decoded())),
            profile::Segment::Literal(_) => None,
        })
    }

    /// Query parameters that go upstream: decoded name and value.
    pub fn query(&self) -> impl Iterator<Item = (&str, &str)> {
        self.query.iter().map(|pair| (&*pair.name, &*pair.value))
    }

    /// The target as it goes upstream: the template's own spelling for literals, the canonical spelling of what was
    /// judged for parameters, the query's pairs as they came.
    pub fn target(&self, base_path: &str) -> String {
        let mut out = String::with_capacity(base_path.len() + self.endpoint.template.len() + 64);
        out.push_str(base_path);
        for (template, sent) in self.endpoint.segments.iter().zip(&self.path[self.base..]) {
            out.push('/');
            match template {
                profile::Segment::Literal(word) => out.push_str(word),
                profile::Segment::Param(_) => out.push_str(sent.canonical()),
            }
        }
        if out.is_empty() {
            out.push('/');
        }
        let mut separator = '?';
        for pair in &self.query {
            out.push(separator);
            out.push_str(pair.raw);
            separator = '&';
        }
        out
    }
}
