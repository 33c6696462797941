//! `keygate check`: everything that `keygate run` would complain about, without opening a port.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use crate::assemble;
use crate::config::{self, Config};

use super::doctor::overdue;
use super::output;
use super::report::{CONFIG, Failure};
use super::settings;

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate check --config gate/keygate.toml\n  \
    keygate check --json | jq '.problems[].remedy'\n  \
    keygate check --schema > keygate.schema.json     for editors\n\n\
    Exit code 0 when everything is right, 78 when not.")]
pub struct Check {
    /// Print the JSON Schema of the configuration file and do nothing else
    #[arg(long, conflicts_with = "json")]
    schema: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Verdict<'a> {
    ok: bool,
    problems: Vec<Finding<'a>>,
    /// What works and should not go on for ever.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// A problem; what only the disk can tell has no line.
#[derive(Serialize)]
struct Finding<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    what: String,
    remedy: String,
}

/// Runs it; the exit code.
pub fn run(args: &Check, path: &Path) -> Result<u8, Failure> {
    if args.schema {
        output::json(&config::schema())?;
        return Ok(0);
    }
    let text = settings::read(path)?;
    match settings::checked(path, &text) {
        Err(failure) if args.json => verdict(failure.problems().map(from_file).collect(), Vec::new()),
        Err(failure) => Err(failure),
        Ok(config) => {
            let troubles = assemble::inspect(&config);
            if args.json {
                return verdict(troubles.iter().map(from_disk).collect(), overdue(&config));
            }
            tell(path, &config, &troubles)
        }
    }
}

fn tell(path: &Path, config: &Config, troubles: &[Failure]) -> Result<u8, Failure> {
    if troubles.is_empty() {
        let (upstreams, integrations) = (config.upstreams.len(), config.integrations.len());
        let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        output::result(&format!(
            "`{}` is right: {}, {}\n",
            path.display(),
            plural(upstreams, "upstream"),
            plural(integrations, "integration")
        ))?;
        for what in overdue(config) {
            output::note(&format!("warning: {what}\n"));
        }
        return Ok(0);
    }
    troubles.iter().for_each(Failure::print);
    Ok(CONFIG)
}

fn verdict(problems: Vec<Finding>, warnings: Vec<String>) -> Result<u8, Failure> {
    let ok = problems.is_empty();
    output::json(&Verdict { ok, problems, warnings })?;
    Ok(if ok { 0 } else { CONFIG })
}

fn from_file(problem: &config::Problem) -> Finding<'_> {
    Finding {
        file: Some(&problem.file),
        line: Some(problem.line),
        column: Some(problem.column),
        key: Some(&problem.key),
        what: problem.what.clone(),
        remedy: problem.remedy.clone(),
    }
}

fn from_disk(failure: &Failure) -> Finding<'_> {
    Finding {
        file: None,
        line: None,
        column: None,
        key: None,
        what: failure.chain(),
        remedy: failure.hints().join("; "),
    }
}
