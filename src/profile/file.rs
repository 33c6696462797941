//! Reads a profile's file. Everything that is wrong with it is reported at once.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;
use toml::Spanned;

use super::template::{self, Wrong};
use super::{ClientProof, Effect, Endpoint, Envelope, Grant, Placement, Profile, Slots, TokenSource, matcher::Matcher};
use crate::config::base_url;

/// One thing that is wrong with a profile's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileProblem {
    /// Line, from 1.
    pub line: usize,
    /// Where in the text, bytes.
    pub span: Range<usize>,
    /// What is wrong: lower case, no full stop.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// What may be written. Placements and endpoints are read one by one, so that one bad line does not hide the next.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileProfile {
    name: Spanned<String>,
    title: String,
    envelope: Spanned<String>,
    #[serde(default)]
    strip: Vec<Spanned<String>>,
    slots: FileSlots,
    inject: Spanned<Vec<Spanned<toml::Value>>>,
    token: Option<Spanned<toml::Value>>,
    endpoints: Spanned<Vec<Spanned<toml::Value>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSlots {
    #[serde(default)]
    headers: Vec<Spanned<String>>,
    #[serde(default)]
    queries: Vec<Spanned<String>>,
}

/// One of: `header` + `template`, `query`, `basic`, `fixed` + `value`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePlacement {
    header: Option<String>,
    template: Option<String>,
    query: Option<String>,
    basic: Option<String>,
    fixed: Option<String>,
    value: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEndpoint {
    method: String,
    path: String,
    scope: String,
    effect: String,
    #[serde(default)]
    personal_data: Vec<String>,
    purpose: String,
}

/// Where the credential is exchanged for a token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileToken {
    url: String,
    client: String,
    #[serde(default)]
    grant: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
}

/// Headers that the gate itself must own on the way out.
const OWN_HEADERS: [&str; 8] =
    ["host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect"];

/// Parses a profile. On failure the list is not empty and sorted by line.
pub fn parse(text: &str) -> Result<Profile, Vec<ProfileProblem>> {
    let mut desk = Desk { text, problems: Vec::new() };
    let profile = match toml::from_str::<FileProfile>(text) {
        Ok(file) => Some(desk.profile(file)),
        Err(error) => {
            let remedy = "see config/profiles/channelengine.toml for the form";
            desk.report(error.span().unwrap_or(0..0), Wrong::new(error.message(), remedy));
            None
        }
    };
    desk.problems.sort_by_key(|problem| problem.span.start);
    match profile {
        Some(profile) if desk.problems.is_empty() => Ok(profile),
        _ => Err(desk.problems),
    }
}

/// Takes problems while the file is read.
struct Desk<'a> {
    text: &'a str,
    problems: Vec<ProfileProblem>,
}

impl Desk<'_> {
    fn report(&mut self, span: Range<usize>, wrong: Wrong) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        self.problems.push(ProfileProblem { line, span, what: wrong.what, remedy: wrong.remedy });
    }

    /// Keeps a value, or the problem with it.
    fn keep<T>(&mut self, span: Range<usize>, result: Result<T, Wrong>) -> Option<T> {
        result.map_err(|wrong| self.report(span, wrong)).ok()
    }

    fn profile(&mut self, file: FileProfile) -> Profile {
        let name_is_good = template::word(file.name.get_ref(), "profile name");
        self.keep(file.name.span(), name_is_good);
        let envelope = self.keep(file.envelope.span(), envelope(file.envelope.get_ref()));
        let slots = self.slots(file.slots);
        let inject = self.inject(file.inject);
        let token = file.token.and_then(|entry| self.keep(entry.span(), read(entry.into_inner()).and_then(token)));
        let strip = file.strip.into_iter().filter_map(|name| self.header(&name)).collect();
        let (endpoints, matcher) = self.endpoints(file.endpoints);
        Profile {
            name: file.name.into_inner(),
            title: file.title,
            slots,
            inject,
            token,
            strip,
            envelope: envelope.unwrap_or(Envelope::Problem),
            endpoints,
            matcher,
        }
    }

    fn header(&mut self, name: &Spanned<String>) -> Option<HeaderName> {
        self.keep(name.span(), header_name(name.get_ref()))
    }

    fn slots(&mut self, file: FileSlots) -> Slots {
        let headers = file.headers.iter().filter_map(|name| self.header(name)).collect();
        let queries =
            file.queries.into_iter().filter_map(|name| self.keep(name.span(), query_name(name.get_ref()))).collect();
        Slots { headers, queries }
    }

    fn inject(&mut self, file: Spanned<Vec<Spanned<toml::Value>>>) -> Vec<Placement> {
        let span = file.span();
        let problems_before = self.problems.len();
        let placements: Vec<Placement> = file
            .into_inner()
            .into_iter()
            .filter_map(|entry| self.keep(entry.span(), read(entry.into_inner()).and_then(placement)))
            .collect();
        let carries_key = placements.iter().any(|placement| !matches!(placement, Placement::Fixed { .. }));
        if !carries_key && self.problems.len() == problems_before {
            let remedy = "add a placement such as `{ header = \"authorization\", template = \"Bearer {key}\" }`";
            self.report(span, Wrong::new("the key is placed nowhere", remedy));
        }
        placements
    }

    fn endpoints(&mut self, file: Spanned<Vec<Spanned<toml::Value>>>) -> (Vec<Arc<Endpoint>>, Matcher) {
        if file.get_ref().is_empty() {
            self.report(
                file.span(),
                Wrong::new("a profile without endpoints allows nothing", "add at least one endpoint"),
            );
        }
        let mut endpoints = Vec::new();
        let mut matcher = Matcher::new();
        let mut lines = HashMap::new();
        for entry in file.into_inner() {
            let span = entry.span();
            let endpoint = read(entry.into_inner()).and_then(endpoint);
            let Some(endpoint) = self.keep(span.clone(), endpoint) else { continue };
            let index = endpoints.len();
            if let Err(earlier) = matcher.add(&endpoint, index) {
                let earlier_line = lines.get(&earlier).copied().unwrap_or(1);
                let what = format!("`{}` would be found by the same requests as an endpoint above", endpoint.name);
                self.report(
                    span,
                    Wrong::new(what, format!("remove one of the two; the other is in line {earlier_line}")),
                );
                continue;
            }
            lines.insert(index, self.text[..span.start].lines().count());
            endpoints.push(Arc::new(endpoint));
        }
        (endpoints, matcher)
    }
}

/// One inline table into its own type, in which unknown and missing keys are errors.
fn read<T: serde::de::DeserializeOwned>(value: toml::Value) -> Result<T, Wrong> {
    T::deserialize(value)
        .map_err(|error| Wrong::new(error.message(), "compare it with config/profiles/channelengine.toml"))
}

fn endpoint(file: FileEndpoint) -> Result<Endpoint, Wrong> {
    let method = method(&file.method)?;
    let (segments, params) = template::parse(&file.path)?;
    template::scope(&file.scope)?;
    let effect = match file.effect.as_str() {
        "read" => Effect::Read,
        "write" => Effect::Write,
        other => return Err(Wrong::new(format!("effect `{other}` is unknown"), "write `read` or `write`")),
    };
    for kind in &file.personal_data {
        template::personal_data(kind)?;
    }
    Ok(Endpoint {
        name: format!("{method} {}", file.path).into(),
        method,
        template: file.path.into(),
        scope: file.scope,
        effect,
        personal_data: file.personal_data,
        purpose: file.purpose,
        params,
        segments,
    })
}

fn method(text: &str) -> Result<Method, Wrong> {
    match text {
        "HEAD" => Err(Wrong::new("`HEAD` is no endpoint of its own", "remove the line: HEAD follows GET")),
        "GET" => Ok(Method::GET),
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        "DELETE" => Ok(Method::DELETE),
        "OPTIONS" => Ok(Method::OPTIONS),
        _ => {
            let remedy = "methods are GET, POST, PUT, PATCH, DELETE and OPTIONS, in capitals";
            Err(Wrong::new(format!("method `{text}` is unknown"), remedy))
        }
    }
}

fn envelope(text: &str) -> Result<Envelope, Wrong> {
    match text {
        "channelengine" => Ok(Envelope::ChannelEngine),
        "problem" => Ok(Envelope::Problem),
        _ => Err(Wrong::new(format!("envelope `{text}` is unknown"), "write `problem` (RFC 9457) or `channelengine`")),
    }
}

fn placement(file: FilePlacement) -> Result<Placement, Wrong> {
    let FilePlacement { header, template, query, basic, fixed, value } = file;
    match (header, template, query, basic, fixed, value) {
        (Some(name), Some(template), None, None, None, None) => {
            Ok(Placement::Header { name: header_name(&name)?, template: key_template(template)? })
        }
        (None, None, Some(name), None, None, None) => Ok(Placement::Query { name: query_name(&name)? }),
        (None, None, None, Some(form), None, None) => basic_form(&form),
        (None, None, None, None, Some(name), Some(value)) => {
            let name = header_name(&name)?;
            HeaderValue::from_str(&value).map_err(|_| {
                Wrong::new(format!("the value of `{name}` cannot stand in a header"), "use visible ASCII")
            })?;
            Ok(Placement::Fixed { name, value })
        }
        _ => Err(Wrong::new(
            "a placement is exactly one of header + template, query, basic, fixed + value",
            "for example `{ header = \"authorization\", template = \"Bearer {key}\" }` or `{ query = \"api_key\" }`",
        )),
    }
}

fn token(file: FileToken) -> Result<TokenSource, Wrong> {
    let url = base_url(&file.url).map_err(|wrong| {
        Wrong::new(wrong.what.replace("the base URL", "the token's URL"), "`https://login.example/token`")
    })?;
    let client = match file.client.as_str() {
        "basic" => ClientProof::Basic,
        "body" => ClientProof::Body,
        other => {
            let remedy =
                "write `basic` (in `Authorization: Basic`) or `body` (`client_id` and `client_secret` in the body)";
            return Err(Wrong::new(format!("`{other}` is no way to prove a client"), remedy));
        }
    };
    let grant = match file.grant.as_deref() {
        None | Some("client-credentials") => Grant::ClientCredentials,
        Some("refresh-token") => Grant::RefreshToken,
        Some(other) => {
            let remedy = "write `client-credentials` (the default; the credential is `id:secret`) or `refresh-token` \
                          (`id:secret:refresh-token`)";
            return Err(Wrong::new(format!("`{other}` is no grant that the gate can use"), remedy));
        }
    };
    let own = ["grant_type", "client_id", "client_secret", "refresh_token"];
    if let Some(name) = file.parameters.keys().find(|name| own.contains(&name.as_str())) {
        return Err(Wrong::new(format!("the parameter `{name}` is the gate's own"), "remove it"));
    }
    Ok(TokenSource { url, client, grant, parameters: file.parameters.into_iter().collect() })
}

fn basic_form(form: &str) -> Result<Placement, Wrong> {
    match form {
        "key" => Ok(Placement::Basic { pair: false }),
        "pair" => Ok(Placement::Basic { pair: true }),
        _ => {
            let remedy = "write `key` (the key is the user name) or `pair` (the credential is `user:password`)";
            Err(Wrong::new(format!("basic form `{form}` is unknown"), remedy))
        }
    }
}

fn key_template(template: String) -> Result<String, Wrong> {
    let remedy = "write `{key}` where the key goes, once: `{key}` or `Bearer {key}`";
    if template.matches("{key}").count() != 1 {
        return Err(Wrong::new(format!("template `{template}` does not hold `{{key}}` exactly once"), remedy));
    }
    if HeaderValue::from_str(&template).is_err() {
        return Err(Wrong::new(format!("template `{template}` cannot stand in a header"), "use visible ASCII"));
    }
    Ok(template)
}

fn header_name(text: &str) -> Result<HeaderName, Wrong> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| Wrong::new(format!("`{text}` is no header name"), "letters, digits and `-`: `x-api-key`"))?;
    if OWN_HEADERS.contains(&name.as_str()) {
        return Err(Wrong::new(format!("header `{name}` belongs to the connection"), "name another header"));
    }
    Ok(name)
}

fn query_name(text: &str) -> Result<String, Wrong> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.is_empty() || !text.bytes().all(plain) {
        let remedy = "letters, digits, `-`, `.` and `_`: `apikey`";
        return Err(Wrong::new(format!("`{text}` is no name of a query parameter"), remedy));
    }
    Ok(text.to_owned())
}
