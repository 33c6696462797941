//! `keygate credential`: the real API keys, in and out of the vault. No command prints one.

use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::config::{self, Config, Upstream, Wrong};
use crate::vault::{OpenRequest, Rotation, Secret, StoredCredential, Terms};

use super::hand_over;
use super::output::{self, meant, names, quoted, table};
use super::report::Failure;
use super::rotate;
use super::settings;
use super::vault_failure::store;

/// More than any key has, bytes.
const LONGEST_INPUT: usize = 64 * 1024;

/// The real API keys of your upstreams.
#[derive(Debug, Subcommand)]
pub enum Credential {
    /// Store a real API key: asked for without echo, or read from standard input
    Put(Put),
    /// Ask for a key that comes sealed, so that nobody on the way sees it
    Request(hand_over::Request),
    /// Put another key in the place of one that is in use, without a failed call
    Rotate(rotate::Rotate),
    /// Show what the vault holds, without the keys
    List(List),
    /// Remove a key from the vault
    Rm(Remove),
}

/// Arguments of `credential put`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate credential put acme                       asks for the key, shows nothing\n  \
    keygate credential put acme < key.txt             one trailing newline is cut\n  \
    pass show channelengine/acme | keygate credential put acme\n  \
    keygate credential put acme --sealed acme.age     what `credential request` asked for; taken once\n  \
    keygate credential put acme-orders --scope 'orders:*' --scope 'shipments:*'\n\n\
    An upstream may have several: `credential = [\"acme-orders\", \"acme\"]`. The narrowest that covers a call is used.\n\
    A key that is put again keeps its scopes unless others are given. A running gate picks it up by itself.")]
pub struct Put {
    /// The credential's name, as `credential = \"…\"` in `[upstream.…]` has it
    name: String,
    /// The upstream it is for, when several use a credential of this name
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Take a key over that was sealed for the open request of this name; `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["upstream", "scopes", "until"])]
    sealed: Option<PathBuf>,
    /// What it may be used for: `orders:*`, `PUT /v2/offer`; may be repeated [default: what it had, or everything]
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// From when on it is not used any more: `2027-01-31`
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    // Takes what must not be there, so that it is refused without being repeated.
    #[arg(hide = true, allow_hyphen_values = true)]
    surplus: Vec<Hidden>,
}

/// Arguments of `credential list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  keygate credential list\n  keygate credential list --json | jq '.[].version'")]
pub struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `credential rm`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  keygate credential rm acme\n\n\
    Upstreams that use it refuse every call from then on. A key that leaked must also be withdrawn at the merchant API.")]
pub struct Remove {
    /// The credential's name
    name: String,
}

/// An argument that must not be shown, not even by `Debug`.
#[derive(Clone)]
pub struct Hidden;

impl std::str::FromStr for Hidden {
    type Err = std::convert::Infallible;
    fn from_str(_: &str) -> Result<Self, Self::Err> {
        Ok(Self)
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// Runs one of them.
pub fn run(command: &Credential, path: &Path) -> Result<u8, Failure> {
    match command {
        Credential::Put(args) => put(args, path)?,
        Credential::Request(args) => hand_over::request(args, path)?,
        Credential::Rotate(args) => return rotate::run(args, path),
        Credential::List(args) => list(args, path)?,
        Credential::Rm(args) => remove(args, path)?,
    }
    Ok(0)
}

/// A key was given as an argument of a command that reads it.
pub fn as_argument(command: &str, name: &str) -> Failure {
    Failure::usage("a key is never given as an argument")
        .hint("arguments stand in the shell's history and in the process list, where others can read them")
        .hint(format!("run `keygate credential {command} {}` and type it, or send it to standard input", quoted(name)))
        .hint("if what you gave was a real key, withdraw it at the merchant API and make a new one")
}

fn put(args: &Put, path: &Path) -> Result<(), Failure> {
    if !args.surplus.is_empty() {
        return Err(as_argument("put", &args.name));
    }
    if let Some(file) = &args.sealed {
        return hand_over::put_sealed(&args.name, file, path);
    }
    let config = settings::load(path)?;
    let upstream = upstream(&config, &args.name, args.upstream.as_deref())?;
    let store = store(&config)?;
    let terms = terms(args, upstream)?;
    let key = read_key(&args.name, &terms.bound_to)?;
    let StoredCredential { id, version, bound_to, scopes, until, .. } = store.put(&args.name, terms, &key)?;
    let scopes = scopes.map_or_else(String::new, |scopes| format!(", {}", names(scopes)));
    let until = until.map_or_else(String::new, |until| format!(", until {until}"));
    output::note(&format!("stored `{id}`, version {version}, for {bound_to} only{scopes}{until}\n"));
    Ok(())
}

/// What the key is to be good for. Scopes must be the profile's own, and an end must lie ahead.
fn terms(args: &Put, upstream: &Upstream) -> Result<Terms, Failure> {
    let wrong = |wrong: Wrong| Failure::usage(wrong.what).hint(wrong.remedy);
    config::resolve_scopes(&upstream.profile, &args.scopes).map_err(wrong)?;
    let until = args.until.as_deref().map(config::parse_moment).transpose().map_err(wrong)?;
    if let Some(past) = until.filter(|until| *until <= Timestamp::now()) {
        return Err(Failure::usage(format!("{past} is over: the key could never be used")));
    }
    let scopes = (!args.scopes.is_empty()).then(|| args.scopes.clone());
    let token_url = upstream.profile.token.as_ref().map(|token| token.url.to_string());
    Ok(Terms { bound_to: upstream.base_url.to_string(), scopes, until, token_url })
}

/// The upstream whose base URL the key is bound to.
pub fn upstream<'a>(config: &'a Config, id: &str, upstream: Option<&str>) -> Result<&'a Upstream, Failure> {
    let using: Vec<&Upstream> = config.upstreams.iter().filter(|upstream| uses(upstream, id)).collect();
    if let Some(name) = upstream {
        let known = config.upstreams.iter().map(|upstream| &*upstream.name);
        let found = config.upstreams.iter().find(|upstream| *upstream.name == *name);
        let found =
            found.ok_or_else(|| Failure::usage(format!("there is no upstream `{name}`")).hint(meant(name, known)))?;
        return if uses(found, id) {
            Ok(found)
        } else {
            Err(Failure::usage(format!("the upstream `{name}` does not use a credential `{id}`")).hint(format!(
                "it uses {}; change `credential` in `[upstream.{name}]` or the name here",
                names(found.credentials.iter().map(|id| &**id))
            )))
        };
    }
    match using.as_slice() {
        [] => Err(Failure::usage(format!("no upstream uses a credential `{id}`")).hint(format!(
            "upstreams use {}; the name is what `credential` in `[upstream.…]` says",
            names(config.upstreams.iter().flat_map(|upstream| &upstream.credentials))
        ))),
        [first, rest @ ..] if rest.iter().all(|other| other.base_url == first.base_url) => Ok(first),
        several => Err(Failure::usage(format!("several upstreams use `{id}`, at different base URLs"))
            .hint(format!(
                "say which with `--upstream`: {}; a key is sent to one base URL only, so the others need a credential of their own",
                names(several.iter().map(|upstream| &*upstream.name))
            ))),
    }
}

/// Asks for a key without echo, or reads it from standard input.
pub fn read_key(name: &str, bound_to: &str) -> Result<Secret, Failure> {
    if io::stdin().is_terminal() {
        let typed = rpassword::prompt_password(format!("API key `{name}` for {bound_to} (not shown): "));
        let typed = typed.map_err(|error| Failure::new("cannot ask for the key").because(error))?;
        return Ok(Secret::new(typed.into_bytes()));
    }
    // A buffer that never grows leaves no copies behind.
    let mut input = Zeroizing::new(Vec::with_capacity(LONGEST_INPUT + 1));
    io::stdin()
        .lock()
        .take(LONGEST_INPUT as u64)
        .read_to_end(&mut input)
        .map_err(|error| Failure::new("cannot read the key from standard input").because(error))?;
    let key = input.strip_suffix(b"\n").unwrap_or(&input);
    Ok(Secret::new(key.strip_suffix(b"\r").unwrap_or(key).to_vec()))
}

fn list(args: &List, path: &Path) -> Result<(), Failure> {
    let config = settings::load(path)?;
    let store = store(&config)?;
    let stored = store.list()?;
    for OpenRequest { id, bound_to, until } in store.requests()? {
        output::note(&format!("`{id}` for {bound_to} is asked for: a sealed key is taken until {until}\n"));
    }
    for facts in &stored {
        if let Some(Rotation { phase, old, new, .. }) = store.rotation(&facts.id)? {
            let id = &facts.id;
            output::note(&format!("`{id}` is being rotated from version {old} to {new}: phase `{phase}`\n"));
        }
    }
    let entries = stored.into_iter().map(|facts| Entry { used_by: users(&config, &facts.id), facts });
    if args.json {
        return output::json(&entries.collect::<Vec<_>>());
    }
    let head = ["name", "version", "since", "until", "only for", "may serve", "used by"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(entries.map(Entry::row));
    if rows.len() == 1 {
        output::note("the vault holds no credential yet\n");
        return Ok(());
    }
    output::result(&table(&rows))
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    facts: StoredCredential,
    used_by: Vec<String>,
}

impl Entry {
    fn row(self) -> Vec<String> {
        let StoredCredential { id, version, bound_to, since, scopes, until } = self.facts;
        let until = until.map_or_else(|| "ever".to_owned(), |until| until.to_string());
        let scopes = scopes.map_or_else(|| "everything".to_owned(), |scopes| scopes.join(", "));
        let used_by = if self.used_by.is_empty() { "nothing".to_owned() } else { self.used_by.join(", ") };
        vec![id, version.to_string(), since.to_string(), until, bound_to, scopes, used_by]
    }
}

fn uses(upstream: &Upstream, id: &str) -> bool {
    upstream.credentials.iter().any(|known| **known == *id)
}

fn users(config: &Config, id: &str) -> Vec<String> {
    let using = config.upstreams.iter().filter(|upstream| uses(upstream, id));
    using.map(|upstream| upstream.name.to_string()).collect()
}

fn remove(args: &Remove, path: &Path) -> Result<(), Failure> {
    let config = settings::load(path)?;
    let removed = store(&config)?.remove(&args.name)?;
    output::note(&format!("removed `{}` (was version {})\n", removed.id, removed.version));
    for user in users(&config, &args.name) {
        output::note(&format!("upstream `{user}` has no key now: calls to it are refused\n"));
    }
    Ok(())
}
