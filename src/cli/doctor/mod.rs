//! `keygate doctor`: everything around the gate that can be wrong although its configuration is right, and what to do.

mod certificate;
mod files;
mod finding;
mod keys;
mod limits;
mod trust;
mod upstream;

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::output;
use super::report::{CONFIG, FAILED, Failure};
use super::settings;
use crate::config::Config;
use finding::{Finding, Level, fine, not_fine};

/// A key that is older than its upstream's `rotate_after`, in words; for `check`.
pub use keys::overdue;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate doctor --config gate/keygate.toml\n  \
    keygate doctor --json | jq -r '.findings[] | select(.level != \"ok\") | .what, .do'\n\n\
    Looks at the vault and its keys' ages, the gate's certificate, each upstream's TLS and clock, disk space, who may read\n\
    which file, the system's limits, and whether the clients' runtimes on this machine trust the gate's CA. It connects\n\
    to the upstreams, without a key. Run it as the user that runs the gate.\n\n\
    Exit code 0 when nothing needs attention (notes are allowed), 1 when something does, 78 when the configuration is wrong.")]
pub struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    findings: Vec<Finding>,
}

/// Runs it; the exit code.
pub fn run(args: &Doctor, path: &Path) -> Result<u8, Failure> {
    match settings::load(path) {
        Ok(config) => {
            let findings = look(&config, path);
            let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
            let code = if worst > Level::Note { FAILED } else { 0 };
            tell(args, findings, code)
        }
        Err(failure) if args.json => {
            let remedy = "`keygate check` shows each problem with its place and remedy";
            let finding = not_fine(Level::Fail, "configuration", failure.chain(), remedy);
            tell(args, vec![finding], CONFIG)
        }
        Err(failure) => Err(failure),
    }
}

fn look(config: &Config, path: &Path) -> Vec<Finding> {
    let mut findings = vec![fine("configuration", format!("`{}` is right", path.display()))];
    // The keys stay in memory until the end, so that the look at memory sees what the gate would see.
    let (vault, held) = keys::look(config);
    findings.extend(vault);
    findings.extend(files::look(config, path));
    findings.extend(limits::look(config));
    drop(held);
    findings.extend(upstream::look(config));
    findings.extend(trust::look(config, path));
    findings
}

fn tell(args: &Doctor, findings: Vec<Finding>, code: u8) -> Result<u8, Failure> {
    if args.json {
        output::json(&Report { ok: code == 0, findings })?;
        return Ok(code);
    }
    for Finding { level, area, what, remedy } in &findings {
        let level = format!("{level:?}").to_lowercase();
        output::result(&format!("{level:<4}  {area:<13}  {what}\n"))?;
        if !remedy.is_empty() {
            output::result(&format!("{:<4}  {:<13}  do: {remedy}\n", "", ""))?;
        }
    }
    let attention = findings.iter().filter(|finding| finding.level > Level::Note).count();
    match attention {
        0 => output::note("nothing needs attention\n"),
        count => output::note(&format!("{count} of {} need attention\n", findings.len())),
    }
    Ok(code)
}

/// `3 days`, `1 day`, `5 hours`.
fn span(seconds: i64) -> String {
    let (count, word) =
        if seconds.abs() >= 2 * 3600 * 24 { (seconds / 86_400, "day") } else { (seconds / 3600, "hour") };
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
