//! `keygate profile`: the merchant APIs that Keygate knows, endpoint by endpoint.

use std::fs;
use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::profile::{BUILTIN_NAMES, Effect, Endpoint, Profile, builtin, parse};

use super::output::{self, meant, table};
use super::report::Failure;

/// The merchant APIs that Keygate knows.
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// List the built-in profiles
    List(List),
    /// Show the endpoints of a profile: method, path, scope, effect, personal data
    Show(Show),
}

/// Arguments of `profile list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  keygate profile list\n  keygate profile list --json")]
pub struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `profile show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate profile show channelengine\n  \
    keygate profile show channelengine | grep orders:read\n  \
    keygate profile show my-api.toml        checks a profile of your own\n  \
    keygate profile show channelengine --json | jq -r '.endpoints[] | select(.effect == \"write\") | .name'")]
pub struct Show {
    /// A built-in name, or a profile's file (ends in `.toml`)
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary {
    name: String,
    title: String,
    endpoints: usize,
    scopes: Vec<String>,
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    summary: Summary,
    key_headers: Vec<&'a str>,
    key_queries: &'a [String],
    #[serde(rename = "endpoints")]
    list: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    method: &'a str,
    template: &'a str,
    scope: &'a str,
    effect: &'static str,
    personal_data: &'a [String],
    purpose: &'a str,
}

/// Runs one of them.
pub fn run(command: &ProfileCommand) -> Result<(), Failure> {
    match command {
        ProfileCommand::List(args) => list(args),
        ProfileCommand::Show(args) => show(args),
    }
}

fn list(args: &List) -> Result<(), Failure> {
    let summaries: Vec<Summary> = BUILTIN_NAMES.iter().filter_map(|name| builtin(name)).map(|p| summary(&p)).collect();
    if args.json {
        return output::json(&summaries);
    }
    let mut rows = vec![["name", "endpoints", "scopes", "what"].map(str::to_owned).to_vec()];
    rows.extend(
        summaries.into_iter().map(|it| vec![it.name, it.endpoints.to_string(), it.scopes.len().to_string(), it.title]),
    );
    output::result(&table(&rows))
}

fn summary(profile: &Profile) -> Summary {
    Summary {
        name: profile.name.clone(),
        title: profile.title.clone(),
        endpoints: profile.endpoints().len(),
        scopes: profile.scopes().into_iter().map(str::to_owned).collect(),
    }
}

fn show(args: &Show) -> Result<(), Failure> {
    let profile = find(&args.name)?;
    let lines: Vec<Line> = profile.endpoints().iter().map(|endpoint| line(endpoint)).collect();
    if args.json {
        return output::json(&Whole {
            summary: summary(&profile),
            key_headers: profile.slots.headers.iter().map(http::HeaderName::as_str).collect(),
            key_queries: &profile.slots.queries,
            list: lines,
        });
    }
    let mut rows = vec![["method", "path", "scope", "effect", "personal data"].map(str::to_owned).to_vec()];
    rows.extend(lines.iter().map(Line::row));
    output::result(&table(&rows))
}

fn find(name: &str) -> Result<Profile, Failure> {
    if let Some(profile) = builtin(name) {
        return Ok(profile);
    }
    if Path::new(name).extension().is_none_or(|extension| extension != "toml") {
        return Err(Failure::usage(format!("there is no profile `{name}`"))
            .hint(meant(name, BUILTIN_NAMES))
            .hint("a profile of your own is a file whose name ends in `.toml`"));
    }
    let text = fs::read_to_string(name)
        .map_err(|error| Failure::new(format!("cannot read the profile `{name}`")).because(error))?;
    parse(&text).map_err(|problems| {
        let count = problems.len();
        problems
            .iter()
            .fold(Failure::new(format!("the profile `{name}` has {count} problem(s)")), |failure, problem| {
                failure.hint(format!("{name}:{}: {}; {}", problem.line, problem.what, problem.remedy))
            })
    })
}

fn line(endpoint: &Endpoint) -> Line<'_> {
    Line {
        name: &endpoint.name,
        method: endpoint.method.as_str(),
        template: &endpoint.template,
        scope: &endpoint.scope,
        effect: if endpoint.effect == Effect::Read { "read" } else { "write" },
        personal_data: &endpoint.personal_data,
        purpose: &endpoint.purpose,
    }
}

impl Line<'_> {
    fn row(&self) -> Vec<String> {
        let personal = if self.personal_data.is_empty() { "-".to_owned() } else { self.personal_data.join(", ") };
        vec![self.method.to_owned(), self.template.to_owned(), self.scope.to_owned(), self.effect.to_owned(), personal]
    }
}
