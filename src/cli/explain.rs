//! `keygate explain`: what the gate would say to a call, and why.

use std::path::Path;

use clap::Args;
use http::Method;

use crate::assemble::{self, Chosen};
use crate::config::Config;
use crate::policy::{self, Explanation};

use super::output::{self, meant, table};
use super::report::{FAILED, Failure};
use super::settings;

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate explain GET /v2/orders --integration webshop\n  \
    keygate explain PUT '/v2/offer?x=1' --integration webshop --json\n\n\
    Nothing is called. Exit code 0 when the call would be let through, 1 when not.")]
pub struct Explain {
    /// The method, as it would be sent
    method: String,
    /// The path, with or without the base path, with or without a query
    #[arg(value_name = "PATH")]
    target: String,
    /// Who calls
    #[arg(long, value_name = "NAME")]
    integration: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it; the exit code.
pub fn run(args: &Explain, path: &Path) -> Result<u8, Failure> {
    let config = settings::load(path)?;
    let method: Method = args.method.parse().map_err(|_| {
        Failure::usage(format!("`{}` is not a method", args.method))
            .hint("write `GET`, `POST`, `PUT`, `PATCH` or `DELETE`")
    })?;
    let mut found = policy::explain(&config, &args.integration, &method, &args.target).ok_or_else(|| {
        let known = config.integrations.iter().map(|it| &*it.name);
        Failure::usage(format!("there is no integration `{}`", args.integration)).hint(meant(&args.integration, known))
    })?;
    found.credential = found.place.map(|(upstream, endpoint)| credential(&config, upstream, endpoint));
    if args.json {
        output::json(&found)?;
    } else {
        output::result(&render(args, &found))?;
    }
    Ok(if found.allowed { 0 } else { FAILED })
}

/// The credential that the call would go with, in words.
fn credential(config: &Config, upstream: usize, endpoint: usize) -> String {
    let Chosen { credential, covering } = match assemble::chosen(config, upstream, endpoint) {
        Ok(chosen) => chosen,
        Err(why) => return format!("not known: {why}"),
    };
    let of = if covering > 1 { format!(", the narrowest of {covering} that cover it") } else { String::new() };
    match credential {
        Some(Ok((id, version))) => format!("{id} version {version}{of}"),
        Some(Err(why)) => format!("none: {why}{of}"),
        None => "none: no credential of the upstream may serve this endpoint".to_owned(),
    }
}

fn render(args: &Explain, found: &Explanation) -> String {
    let verdict = if found.allowed { "allowed" } else { "refused" };
    let mut rows = Vec::new();
    let mut row = |label: &str, value: Option<&str>| {
        rows.extend(value.map(|value| vec![format!("  {label}"), value.to_owned()]));
    };
    row("code", (!found.allowed).then_some(found.code));
    row("because", found.message.as_deref());
    row("endpoint", found.endpoint.as_deref());
    row("scope", found.scope.as_deref());
    row("effect", found.effect);
    row("rule", found.rule.as_deref());
    row("ask for", found.ask_for.as_deref());
    row("ask", (!found.allowed).then_some(found.owner.as_deref()).flatten());
    row("credential", found.credential.as_deref());
    found.limits.iter().for_each(|limit| row("limit", Some(limit)));
    format!("{verdict}: `{}` calling {} {}\n{}", args.integration, args.method, args.target, table(&rows))
}
