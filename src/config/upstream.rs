//! `[upstream.NAME]`

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::check::{ReadProfile, name};
use super::desk::{At, Desk};
use super::field::Field;
use super::file::UpstreamFile;
use super::nearest::{nearest, quoted};
use super::quantity::{parse_duration, parse_quota};
use super::{BaseUrl, Problem, Quota, Upstream, Wrong, defaults, url};
use crate::profile::{self, BUILTIN_NAMES, Profile};

/// All upstreams of the file, by name.
pub(super) struct Tenants {
    /// Index into the list below; `None` for one that has problems of its own.
    pub(super) names: BTreeMap<String, Option<usize>>,
    known: Vec<Upstream>,
}

impl Tenants {
    /// The upstream at an index from `names`.
    pub(super) fn get(&self, index: usize) -> Option<&Upstream> {
        self.known.get(index)
    }

    /// Those without problems.
    pub(super) fn into_known(self) -> Vec<Upstream> {
        self.known
    }
}

/// Checks them in the order of the file.
pub(super) fn all(
    desk: &mut Desk<'_>,
    file: BTreeMap<Spanned<String>, Spanned<UpstreamFile>>,
    read_profile: ReadProfile<'_>,
) -> Tenants {
    let mut tenants = Tenants { names: BTreeMap::new(), known: Vec::new() };
    if file.is_empty() {
        desk.missing("upstream", &(0..0), "add `[upstream.NAME]` with `profile`, `base_url` and `credential`");
    }
    for (key, file) in in_order(file) {
        let upstream = one(desk, &key, file, read_profile);
        let index = upstream.map(|upstream| {
            tenants.known.push(upstream);
            tenants.known.len() - 1
        });
        tenants.names.insert(key.into_inner(), index);
    }
    tenants
}

/// TOML tables come sorted by name; people read files from the top.
pub(super) fn in_order<T>(map: BTreeMap<Spanned<String>, T>) -> Vec<(Spanned<String>, T)> {
    let mut entries: Vec<_> = map.into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn one(
    desk: &mut Desk<'_>,
    key: &Spanned<String>,
    file: Spanned<UpstreamFile>,
    read_profile: ReadProfile<'_>,
) -> Option<Upstream> {
    let path = format!("upstream.{}", key.get_ref());
    let key_of = |name: &str| format!("{path}.{name}");
    let home = file.span();
    let file = file.into_inner();
    let named = desk.keep(key.span(), &path, name(key.get_ref()));
    let profile = desk.required(&key_of("profile"), file.profile, &home, &profile_remedy());
    let profile = profile.and_then(|at| load_profile(desk, &key_of("profile"), at, read_profile));
    let remedy = "write `base_url = \"https://TENANT.channelengine.net/api\"`";
    let base_url = desk.required(&key_of("base_url"), file.base_url, &home, remedy);
    let base_url = base_url.and_then(|at| desk.keep(at.span, &key_of("base_url"), url::base_url(&at.value)));
    let remedy =
        "name the credential: `credential = \"NAME\"`, and put it into the vault with `keygate credential put NAME`";
    let credential = desk.required(&key_of("credential"), file.credential, &home, remedy);
    let credentials =
        credential.and_then(|at| desk.keep(at.span, &key_of("credential"), credential_names(&at.value.0)));
    let port = base_url.as_ref().map_or(443, |url: &BaseUrl| url.port);
    let addresses = desk.list(&key_of("addresses"), file.addresses);
    let addresses = addresses
        .into_iter()
        .filter_map(|at| desk.keep(at.span, &key_of("addresses"), url::fixed_address(&at.value, port)))
        .collect();
    let trust_roots = trust_roots(desk, &key_of("trust_roots"), file.trust_roots);
    let rotate_after = desk.read(&key_of("rotate_after"), file.rotate_after, None, optional_duration);
    let limit = desk.read(&key_of("limit"), file.limit, None, optional_quota);
    let times = times(desk, &path, [file.connect_timeout, file.head_timeout, file.body_timeout, file.total_timeout]);
    let [connect_timeout, head_timeout, body_timeout, total_timeout] = times;
    named?;
    Some(Upstream {
        name: key.get_ref().as_str().into(),
        profile: profile?,
        base_url: base_url?,
        credentials: credentials?,
        rotate_after,
        trust_roots,
        addresses,
        limit,
        connect_timeout,
        head_timeout,
        body_timeout,
        total_timeout,
    })
}

/// A PEM file, or `mozilla` for none.
pub(super) fn trust_roots(desk: &mut Desk<'_>, key: &str, field: Option<Field<String>>) -> Option<PathBuf> {
    let at = desk.optional(key, field).filter(|at| at.value != "mozilla")?;
    let joined = desk.join(&at.value);
    desk.keep(at.span, key, joined)
}

/// Time limits: connect, head, body, total.
fn times(desk: &mut Desk<'_>, path: &str, fields: [Option<Field<String>>; 4]) -> [Duration; 4] {
    let span = fields[3].as_ref().or(fields[1].as_ref()).map(|field| field.span.clone());
    let mut field = fields.into_iter();
    let mut read =
        |name: &str, default| desk.read(&format!("{path}.{name}"), field.next().flatten(), default, parse_duration);
    let connect = read("connect_timeout", defaults::CONNECT_TIMEOUT);
    let head = read("head_timeout", defaults::UPSTREAM_HEAD_TIMEOUT);
    let body = read("body_timeout", defaults::UPSTREAM_BODY_TIMEOUT);
    let total = read("total_timeout", defaults::TOTAL_TIMEOUT);
    if let Some(span) = span.filter(|_| total < head) {
        let what = format!("`{path}`: the whole call has less time than the reply's head alone");
        let wrong = Wrong::new(what, "raise `total_timeout` or lower `head_timeout`");
        desk.report(span, &format!("{path}.total_timeout"), wrong);
    }
    [connect, head, body, total]
}

/// `none`, or a quota.
pub(super) fn optional_quota(text: &str) -> Result<Option<Quota>, Wrong> {
    if text == "none" { Ok(None) } else { parse_quota(text).map(Some) }
}

/// `none`, or a duration.
fn optional_duration(text: &str) -> Result<Option<Duration>, Wrong> {
    if text == "none" { Ok(None) } else { parse_duration(text).map(Some) }
}

/// One name or more, each once.
fn credential_names(names: &[String]) -> Result<Vec<Arc<str>>, Wrong> {
    let mut all: Vec<Arc<str>> = Vec::new();
    for name in names {
        let name = credential_name(name)?;
        if all.contains(&name) {
            return Err(Wrong::new(format!("the credential `{name}` stands here twice"), "name each credential once"));
        }
        all.push(name);
    }
    if all.is_empty() {
        return Err(Wrong::new("no credential is named", "name one: `credential = \"acme\"`"));
    }
    Ok(all)
}

/// The name of a credential; something that looks like the key itself is refused without repeating it.
fn credential_name(text: &str) -> Result<Arc<str>, Wrong> {
    let like_a_key = text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if like_a_key || name(text).is_err() {
        let remedy = "`credential` names an entry of the vault: `credential = \"acme\"` after `keygate credential put acme`; \
                      the key itself never stands in this file (if it did, change it)";
        return Err(Wrong::new("this is no name of a credential", remedy));
    }
    Ok(text.into())
}

fn profile_remedy() -> String {
    format!("built in: {}; or the path of a profile's file, ending in `.toml`", quoted(&BUILTIN_NAMES))
}

fn load_profile(desk: &mut Desk<'_>, key: &str, at: At<String>, read: ReadProfile<'_>) -> Option<Arc<Profile>> {
    let At { value, span } = at;
    if std::path::Path::new(&value).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml")) {
        return profile_file(desk, key, &value, span, read).map(Arc::new);
    }
    let built_in = profile::builtin(&value).map(Arc::new);
    let remedy =
        || nearest(&value, BUILTIN_NAMES).map_or_else(profile_remedy, |near| format!("did you mean `{near}`?"));
    let found = built_in.ok_or_else(|| Wrong::new(format!("there is no profile `{value}`"), remedy()));
    desk.keep(span, key, found)
}

/// A profile of the user's own; its problems are shown in its own file.
fn profile_file(
    desk: &mut Desk<'_>,
    key: &str,
    value: &str,
    span: Range<usize>,
    read: ReadProfile<'_>,
) -> Option<Profile> {
    let joined = desk.join(value);
    let path = desk.keep(span.clone(), key, joined)?;
    let unreadable = |why| {
        let remedy = "paths are relative to this file's folder; `keygate profile show channelengine` shows the form";
        Wrong::new(format!("cannot read the profile `{value}`: {why}"), remedy)
    };
    let text = desk.keep(span, key, read(&path).map_err(unreadable))?;
    match profile::parse(&text) {
        Ok(profile) => Some(profile),
        Err(problems) => {
            for problem in problems {
                let wrong = Wrong::new(problem.what, problem.remedy);
                desk.report_foreign(Problem::new(value, &text, problem.span, key, wrong));
            }
            None
        }
    }
}
