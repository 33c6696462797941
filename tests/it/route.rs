//! Calls as data: each file in `tests/calls/` sets up one gate and lists calls with what the client, the upstream and the
//! record must show. A new case is a new entry, no code. `tests/calls/README.md` explains the fields.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::harness::{Client, Line, Merchant, Proxy, Reply, Request, Seen, Setup};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    setup: FileSetup,
    call: Vec<Call>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSetup {
    profile: Option<String>,
    /// Where the API begins, `/api` when absent.
    base_path: Option<String>,
    /// The real key, when it has a form of its own.
    key: Option<String>,
    /// Arguments of `keygate integration add` by name.
    integration: BTreeMap<String, Vec<String>>,
    /// Changes of the configuration: `["listen", "max_body"]` and the value.
    #[serde(default)]
    set: Vec<(Vec<String>, toml::Value)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    /// What it shows, as a sentence.
    shows: String,
    /// `METHOD target`, as it goes over the wire.
    send: String,
    /// The integration whose key goes into `x-ce-key`; none when absent.
    #[serde(rename = "as")]
    integration: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    reply: ExpectedReply,
    /// What reached the upstream; nothing may when absent.
    upstream: Option<ExpectedRequest>,
    /// Fields of the record.
    #[serde(default)]
    record: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedReply {
    status: u16,
    #[serde(default)]
    refusal: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    says: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedRequest {
    /// `METHOD target`
    got: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Headers that must not be there.
    #[serde(default)]
    without: Vec<String>,
    body: Option<String>,
}

/// Fills `{key:NAME}` with a scoped key, `{real-key}` with the real one, and `{basic:real-key}` and `{basic-pair:real-key}`
/// with what stands for it in `Authorization: Basic`, as user name alone or as user and password.
fn fill(text: &str, proxy: &Proxy) -> String {
    let key = proxy.real_key();
    let basic = |text: &str| STANDARD.encode(text);
    let filled = text.replace("{basic:real-key}", &basic(&format!("{key}:")));
    let mut filled = filled.replace("{basic-pair:real-key}", &basic(key)).replace("{real-key}", key);
    while let Some((before, name, after)) = placeholder(&filled) {
        filled = format!("{before}{}{after}", proxy.key(&name));
    }
    filled
}

fn placeholder(text: &str) -> Option<(String, String, String)> {
    let (before, rest) = text.split_once("{key:")?;
    let (name, after) = rest.split_once('}')?;
    Some((before.into(), name.into(), after.into()))
}

fn request(call: &Call, proxy: &Proxy) -> Request {
    let (method, target) = call.send.split_once(' ').expect("`send` is METHOD and target");
    let headers = call.headers.iter().map(|(n, v)| (n.clone(), fill(v, proxy))).collect();
    Request { method: method.into(), target: fill(target, proxy), headers, body: call.body.clone().into_bytes() }
}

fn client(call: &Call, proxy: &Proxy) -> Client {
    call.integration.as_ref().map_or_else(|| proxy.anonymous(), |name| proxy.client(name))
}

fn check_reply(call: &Call, reply: &Reply) -> Vec<String> {
    let mut wrong = Vec::new();
    let want = &call.reply;
    if (reply.status, reply.refusal()) != (want.status, &want.refusal) {
        wrong.push(format!("expected {} `{}`, got {reply}", want.status, want.refusal));
    }
    for (name, value) in &want.headers {
        if reply.header(name) != value {
            wrong.push(format!("`{name}` is `{}`, not `{value}`", reply.header(name)));
        }
    }
    let text = reply.text();
    wrong.extend(want.says.iter().filter(|s| !text.contains(*s)).map(|s| format!("does not say `{s}`: {text}")));
    wrong
}

fn check_upstream(want: &ExpectedRequest, seen: &Seen, proxy: &Proxy) -> Vec<String> {
    let mut wrong = Vec::new();
    let got = format!("{} {}", seen.method, seen.target);
    if got != fill(&want.got, proxy) {
        wrong.push(format!("the upstream got `{got}`, not `{}`", want.got));
    }
    for (name, value) in &want.headers {
        if seen.header(name) != fill(value, proxy) || seen.count(name) != 1 {
            wrong.push(format!("the upstream got `{name}: {}` {} times", seen.header(name), seen.count(name)));
        }
    }
    let extra = want.without.iter().filter(|name| seen.count(name) > 0);
    wrong.extend(extra.map(|name| format!("`{name}` reached the upstream")));
    if want.body.as_ref().is_some_and(|body| body.as_bytes() != seen.body) {
        wrong.push(format!("the upstream got the body `{}`", String::from_utf8_lossy(&seen.body)));
    }
    // Whatever a call is about: the real key once, where the profile puts it, and no scoped key anywhere.
    if let Some(leak) = proxy.secrets().without("real key").find(format!("{seen:?}").as_bytes()) {
        wrong.push(format!("{leak} reached the upstream"));
    }
    wrong
}

fn check_record(call: &Call, record: &Line) -> Vec<String> {
    let wanted = call.record.iter().map(|(field, value)| (field, serde_json::to_value(value).unwrap()));
    let differing = wanted.filter(|(field, value)| record.field(field) != value);
    differing.map(|(field, value)| format!("record: `{field}` is {}, not {value}", record.field(field))).collect()
}

/// Makes one call and says what was wrong with it.
fn try_call(call: &Call, proxy: &Proxy, merchant: &Merchant) -> Vec<String> {
    let before = merchant.seen().len();
    let reply = client(call, proxy).call(&request(call, proxy));
    let seen = merchant.seen().split_off(before);
    let mut wrong = check_reply(call, &reply);
    wrong.extend(check_record(call, &proxy.record(&reply)));
    match (&call.upstream, seen.as_slice()) {
        (None, []) => {}
        (Some(want), [one]) => wrong.extend(check_upstream(want, one, proxy)),
        (_, seen) => wrong.push(format!("{} requests reached the upstream: {seen:?}", seen.len())),
    }
    wrong
}

fn choose(setup: &mut Setup, file: &FileSetup) {
    setup.profile.clone_from(&file.profile);
    if let Some(key) = &file.key {
        setup.key.clone_from(key);
    }
    for (name, args) in &file.integration {
        setup.integration(name, &args.iter().map(String::as_str).collect::<Vec<_>>());
    }
    for (key, value) in &file.set {
        let value: toml_edit::Value = value.to_string().parse().unwrap();
        setup.set(&key.iter().map(String::as_str).collect::<Vec<_>>(), value);
    }
}

fn play(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let file: File = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let merchant = Merchant::content();
    let mut target = merchant.target();
    target.base_path = file.setup.base_path.clone().unwrap_or(target.base_path);
    let proxy = Proxy::start(&target, |setup| choose(setup, &file.setup));
    let name = path.file_stem().unwrap().to_string_lossy();
    let wrong = file.call.iter().flat_map(|call| {
        let wrong = try_call(call, &proxy, &merchant);
        wrong.into_iter().map(|w| format!("{name}: {}: {w}", call.shows)).collect::<Vec<_>>()
    });
    wrong.collect()
}

#[test]
fn each_call_in_the_files_shows_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/calls");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    assert!(!files.is_empty());
    let wrong: Vec<String> = files.iter().flat_map(|path| play(path)).collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
