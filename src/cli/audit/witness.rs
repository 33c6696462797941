//! `keygate audit witness`: vouch for what another gate's log held at this time.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use super::{read, verifier_key};
use crate::audit::{SigningKey, witness};
use crate::cli::output;
use crate::cli::report::Failure;
use crate::vault::private_file::{self, PRIVATE, PUBLIC};

/// Arguments of `audit witness`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate audit witness --new-key witness.example.com/audit --key witness.key\n  \
    keygate audit witness --key witness.key --log-key audit-signing.pub --log /mnt/gate/audit --state gate.seen > cosigned\n\n\
    Prints the log's newest checkpoint with the witness's signature (c2sp.org/tlog-cosignature) under it,\n\
    and remembers it in the state file. A checkpoint that does not continue the remembered one is refused:\n\
    the log was cut, or written anew. Of the log only `checkpoint` and `tile/` are needed, no records.")]
pub struct Witness {
    /// The witness's signing key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Make that key, with this name, and `.pub` beside it for those who check
    #[arg(long, value_name = "NAME", conflicts_with_all = ["log", "log_key", "state"])]
    new_key: Option<String>,
    /// The key that the log's checkpoints are signed with
    #[arg(long, value_name = "FILE", required_unless_present = "new_key")]
    log_key: Option<PathBuf>,
    /// The other gate's log, or a copy of its `checkpoint` and `tile/`
    #[arg(long, value_name = "DIR", required_unless_present = "new_key")]
    log: Option<PathBuf>,
    /// Where the last checkpoint that was cosigned is remembered
    #[arg(long, value_name = "FILE", required_unless_present = "new_key")]
    state: Option<PathBuf>,
}

/// Runs it.
pub(super) fn run(args: &Witness) -> Result<(), Failure> {
    match args {
        Witness { new_key: Some(name), key, .. } => make_key(name, key),
        Witness { log: Some(log), log_key: Some(log_key), state: Some(state), key, .. } => {
            cosign(key, log, log_key, state)
        }
        // The parser asks for them.
        _ => Err(Failure::usage("`--log`, `--log-key` and `--state` belong together")),
    }
}

fn make_key(name: &str, path: &Path) -> Result<(), Failure> {
    let key = SigningKey::of_a_witness(name)
        .map_err(|error| Failure::usage(format!("`{name}` cannot be a witness's name")).because(error))?;
    let failed = |path: &Path| {
        let text = format!("cannot make `{}`", path.display());
        move |error| Failure::new(text).because(error)
    };
    private_file::create(path, key.text().as_bytes(), PRIVATE).map_err(failed(path))?;
    let public = path.with_extension("pub");
    let text = format!("{}\n", key.verifier().text());
    private_file::create(&public, text.as_bytes(), PUBLIC).map_err(failed(&public))?;
    output::result(&text)
}

fn cosign(key: &Path, log: &Path, log_key: &Path, state: &Path) -> Result<(), Failure> {
    let text = private_file::read(key)?;
    let key = SigningKey::parse(std::str::from_utf8(&text).unwrap_or_default()).map_err(|error| {
        Failure::new(format!("cannot use the key `{}`", key.display()))
            .because(error)
            .hint("`keygate audit witness --new-key NAME --key FILE` makes one")
    })?;
    let log_key = verifier_key(log_key)?;
    // Two at once must not both go on from the same state.
    let _lock = private_file::lock_folder(state)
        .map_err(|error| Failure::new(format!("cannot use the folder of `{}`", state.display())).because(error))?;
    let seen = if fs::exists(state).unwrap_or(true) { Some(read(state)?) } else { None };
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    let cosigned = witness::cosign(&key, &log_key, log, seen.as_deref(), now).map_err(|error| {
        Failure::new(format!("the checkpoint of `{}` is not cosigned", log.display())).because(error)
    })?;
    // Remembered before anybody has it: whoever holds a cosignature can rely on it.
    private_file::replace(state, cosigned.as_bytes())
        .map_err(|error| Failure::new(format!("cannot write `{}`", state.display())).because(error))?;
    output::result(&cosigned)
}
