//! `keygate integration`: who may call, changed in the configuration file with its comments kept.

use std::path::Path;

use age::x25519::Recipient;
use aws_lc_rs::rand;
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp, Unit};
use zeroize::Zeroizing;

use crate::config::{self, Config, NewIntegration};
use crate::policy::scoped_key::ScopedKey;
use crate::vault::handover;

use super::hand_over::SealTo;
use super::integration_list;
use super::output::{self, quoted, quoted_path};
use super::report::Failure;
use super::run::base_url;
use super::settings;
use super::taken_over::taken_over;

/// Who may call, and with what scoped key.
#[derive(Debug, Subcommand)]
pub enum Integration {
    /// Add an integration and print its scoped key, once
    Add(Add),
    /// Show who may call, and until when
    List(integration_list::List),
    /// Give an integration a new scoped key
    Rotate(Rotate),
    /// Refuse an integration's keys from now on
    Revoke(Revoke),
}

/// Arguments of `integration add`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate integration add webshop --upstream acme --allow orders:read --allow 'POST /v2/shipments' --expires 180d\n  \
    keygate integration add pim --upstream acme --allow 'products:*' --deny 'DELETE /v2/products/{merchantProductNo}'\n  \
    keygate integration add report --upstream acme --allow orders:read --limit '60/min burst 10' --owner ops@example.com\n\n\
    The scoped key is the only thing on standard output: `> webshop.key` keeps it, and nothing else does.\n\
    With `--seal-to age1…` it is sealed to whoever has that age identity: `age --decrypt --identity ID webshop.key`.\n\
    `keygate profile show channelengine` lists the endpoints and scopes that can be allowed.")]
pub struct Add {
    /// Its name
    name: String,
    /// The upstream it may call
    #[arg(long, value_name = "NAME")]
    upstream: String,
    /// What it may do: a scope (`orders:read`, `orders:*`) or `METHOD /path`; may be repeated
    #[arg(long, value_name = "RULE", required = true)]
    allow: Vec<String>,
    /// What it may not do even so; may be repeated
    #[arg(long, value_name = "RULE")]
    deny: Vec<String>,
    /// How often it may call: `60/min burst 10`, `10/s`
    #[arg(long, value_name = "LIMIT")]
    limit: Option<String>,
    /// Whom to ask about it; shown in refusals
    #[arg(long, value_name = "MAIL")]
    owner: Option<String>,
    /// When its key ends: `180d` from now, or a day (`2027-01-31`), or a time (`2027-01-31T12:00:00Z`)
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    #[command(flatten)]
    seal_to: SealTo,
}

/// Arguments of `integration rotate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate integration rotate webshop --keep-old 24h    the old key works for another day\n  \
    keygate integration rotate webshop                   the old key ends at once")]
pub struct Rotate {
    /// Its name
    name: String,
    /// How long the old key may still be used: `24h`, `7d` [default: not at all]
    #[arg(long, value_name = "DURATION")]
    keep_old: Option<String>,
    #[command(flatten)]
    seal_to: SealTo,
}

/// Arguments of `integration revoke`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  keygate integration revoke webshop\n\n\
    The entry stays in the configuration, so that the record of its calls keeps its meaning.")]
pub struct Revoke {
    /// Its name
    name: String,
}

/// Runs one of them.
pub fn run(command: &Integration, config: &Path) -> Result<(), Failure> {
    match command {
        Integration::Add(args) => add(args, config),
        Integration::List(args) => integration_list::run(args, config),
        Integration::Rotate(args) => rotate(args, config),
        Integration::Revoke(args) => revoke(args, config),
    }
}

fn add(args: &Add, path: &Path) -> Result<(), Failure> {
    let recipient = args.seal_to.recipient()?;
    let key = fresh_key()?;
    let expires = args.expires.as_deref().map(|text| when(text, Timestamp::now())).transpose()?;
    let new = NewIntegration {
        name: args.name.clone(),
        upstream: args.upstream.clone(),
        key_sha256: key.sha256(),
        owner: args.owner.clone(),
        expires,
        allow: args.allow.clone(),
        deny: args.deny.clone(),
        limit: args.limit.clone(),
    };
    let config = settings::edit(path, |editor| editor.add_integration(&new))?;
    hand_out(&key, recipient.as_ref(), &args.name, path)?;
    output::note(&format!("added `{}` to `{}`; its key is printed this once\n", args.name, path.display()));
    tell_how_to_use(&config, &args.name);
    taken_over(&config, path, &format!("`{}` is added", args.name))
}

fn rotate(args: &Rotate, path: &Path) -> Result<(), Failure> {
    let recipient = args.seal_to.recipient()?;
    let key = fresh_key()?;
    let keep = args.keep_old.as_deref().map(|text| later(text, Timestamp::now(), "--keep-old")).transpose()?;
    let config = settings::edit(path, |editor| editor.rotate(&args.name, &key.sha256(), keep))?;
    hand_out(&key, recipient.as_ref(), &args.name, path)?;
    let old = keep.map_or_else(|| "the old one ends".to_owned(), |until| format!("the old one works until {until}"));
    output::note(&format!("`{}` has a new key, printed this once; {old}\n", args.name));
    taken_over(&config, path, &format!("`{}` has a new key", args.name))
}

fn revoke(args: &Revoke, path: &Path) -> Result<(), Failure> {
    let config = settings::edit(path, |editor| editor.revoke(&args.name))?;
    output::note(&format!("revoked `{}`: its keys are refused\n", args.name));
    taken_over(&config, path, &format!("`{}` is revoked", args.name))
}

/// A key from the system's randomness.
pub fn fresh_key() -> Result<ScopedKey, Failure> {
    let mut random = Zeroizing::new([0; 32]);
    rand::fill(&mut *random).map_err(|_| Failure::new("the system hands out no random bytes"))?;
    Ok(ScopedKey::from_random(*random))
}

/// The one time a key is shown, or its sealed form. When that fails the key is lost, and the remedy is another one.
fn hand_out(key: &ScopedKey, recipient: Option<&Recipient>, name: &str, path: &Path) -> Result<(), Failure> {
    let line = Zeroizing::new(format!("{}\n", key.expose()));
    let shown = match recipient {
        None => output::secret(line.as_bytes()),
        Some(recipient) => handover::seal_to(recipient, line.as_bytes())
            .map_err(std::io::Error::other)
            .and_then(|sealed| output::secret(&sealed)),
    };
    shown.map_err(|error| {
        Failure::new(format!("`{name}` is in `{}`, but its key could not be printed and is lost", path.display()))
            .because(error)
            .hint(format!("make another: `keygate --config {} integration rotate {}`", quoted_path(path), quoted(name)))
    })
}

fn tell_how_to_use(config: &Config, name: &str) {
    let Some(integration) = config.integrations.iter().find(|it| *it.name == *name) else { return };
    let profile = &config.upstreams[integration.upstream].profile;
    let place = profile
        .slots
        .headers
        .first()
        .map_or_else(|| "`Authorization: Bearer`".to_owned(), |header| format!("`{header}`"));
    let address = config.listen.address;
    if address.port() != 0 {
        output::note(&format!("  base URL  {}\n", base_url(config, address, Some(integration.upstream))));
    }
    output::note(&format!("  key in    {place}, or wherever the merchant API's own key goes\n"));
}

/// A point in time as `--expires` has it.
fn when(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    config::parse_moment(text).or_else(|_| later(text, now, "--expires"))
}

/// A duration from now on, in whole seconds.
pub fn later(text: &str, now: Timestamp, option: &str) -> Result<Timestamp, Failure> {
    let wrong = |why: String| Failure::usage(format!("`{option} {text}` makes no sense: {why}"));
    let duration = config::parse_duration(text).map_err(|why| wrong(why.what).hint(why.remedy))?;
    SignedDuration::try_from(duration)
        .and_then(|duration| now.checked_add(duration))
        .and_then(|time| time.round(Unit::Second))
        .map_err(|_| wrong("it is out of range".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_a_duration_a_day_or_a_time() {
        let now: Timestamp = "2026-08-01T10:00:00.4Z".parse().unwrap();
        let at = |text: &str| when(text, now).map(|time| time.to_string()).map_err(|failure| failure.code());
        assert_eq!(at("180d"), Ok("2027-01-28T10:00:00Z".to_owned()));
        assert_eq!(at("24h"), Ok("2026-08-02T10:00:00Z".to_owned()));
        assert_eq!(at("2027-01-31"), Ok("2027-01-31T00:00:00Z".to_owned()));
        assert_eq!(at("2027-01-31T12:00:00+02:00"), Ok("2027-01-31T10:00:00Z".to_owned()));
        assert_eq!(at("tomorrow"), Err(2));
        assert_eq!(at("99999999999d"), Err(2));
    }
}
