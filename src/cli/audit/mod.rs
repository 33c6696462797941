//! `keygate audit`: read the log, check that it is whole, prove what stands in it.

mod find;
mod found;
mod looked_for;
mod export;
mod forget;
mod prove;
mod prune;
mod tail;
mod verify;
mod witness;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::report::Failure;
use super::settings;
use crate::audit::{Identity, ReadError, VerifierKey};

/// Arguments of `audit`.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Show the last records, and those to come with -f
    Tail(tail::Tail),
    /// Find records: by integration, endpoint, status, parameter, time
    Find(Box<find::Find>),
    /// Check that no record was changed, dropped or swapped, and that none is missing
    Verify(verify::Verify),
    /// Prove to others that a record stands in the log
    Prove(prove::Prove),
    /// Hand records over in the form that is asked for, with a manifest that can be checked
    Export(export::Export),
    /// Destroy the keys of records, so that nobody can read them any more
    Forget(forget::Forget),
    /// Remove the oldest segments of a log that no gate writes, with a signed tombstone
    Prune(prune::Prune),
    /// Cosign another gate's checkpoint, unless its history was changed
    Witness(witness::Witness),
}

/// Runs it; the exit code.
pub fn run(args: &Audit, config: &Path) -> Result<u8, Failure> {
    match args {
        Audit::Tail(args) => tail::tail(args, config).map(|()| 0),
        Audit::Find(args) => find::run(args, config),
        Audit::Verify(args) => verify::run(args, config),
        Audit::Prove(args) => prove::run(args, config).map(|()| 0),
        Audit::Export(args) => export::run(args, config).map(|()| 0),
        Audit::Forget(args) => forget::run(args, config).map(|()| 0),
        Audit::Prune(args) => prune::run(args, config).map(|()| 0),
        Audit::Witness(args) => witness::run(args).map(|()| 0),
    }
}

fn directory(named: Option<&PathBuf>, config: &Path) -> Result<PathBuf, Failure> {
    match named {
        Some(path) => Ok(path.clone()),
        None => Ok(settings::load(config)?.audit.directory),
    }
}

/// The key that the log's checkpoints are signed with: a file that was named, or the configuration's.
fn log_key(named: Option<&PathBuf>, config: &Path) -> Result<VerifierKey, Failure> {
    let path = match named {
        Some(path) => path.clone(),
        None => settings::load(config)
            .map_err(|error| {
                error.hint("name the log's key with `--key FILE`: `audit-signing.pub` beside the gate's configuration")
            })?
            .audit
            .verifier_key(),
    };
    verifier_key(&path)
}

/// As `init` names it, beside the configuration.
pub const IDENTITY: &str = "audit-identity.txt";

/// What opens an encrypted log: a file that was named, or the one beside the configuration when it is there.
fn identity(named: Option<&PathBuf>, config: &Path) -> Result<Option<Identity>, Failure> {
    let beside = config.with_file_name(IDENTITY);
    let Some(path) = named.or_else(|| beside.exists().then_some(&beside)) else { return Ok(None) };
    let failed = || Failure::new(format!("cannot use the identity `{}`", path.display()));
    Identity::read(path).map(Some).map_err(|error| {
        failed()
            .because(error)
            .hint("it is a file as `age-keygen` and `keygate init` write it, readable by its owner only (chmod 600)")
    })
}

/// Why records cannot be shown.
fn unread(what: &str, error: ReadError) -> Failure {
    let hint = error.hint();
    let failure = Failure::new(what).because(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn verifier_key(path: &Path) -> Result<VerifierKey, Failure> {
    let failed = || Failure::new(format!("cannot use the key `{}`", path.display()));
    let text = fs::read_to_string(path).map_err(|error| failed().because(error))?;
    VerifierKey::parse(&text)
        .map_err(|error| failed().because(error).hint("`keygate init` makes one with the log: `audit-signing.pub`"))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::new(format!("cannot read `{}`", path.display())).because(error))
}
