//! `keygate audit prove`: a proof that a record stands in the log, for somebody who has neither the log nor Keygate.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{directory, identity, log_key};
use crate::audit::prove;
use crate::cli::output;
use crate::cli::report::Failure;

/// Arguments of `audit prove`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate audit prove 4711 > order.tlog-proof\n  \
    keygate audit prove --record 01a20bf9-9961-750d-ab3b-bf0af6caaf65\n  \
    keygate audit prove 4711 --disclose\n\n\
    Prints the way from the record's hash to the root of the newest checkpoint, and the checkpoint, as\n\
    c2sp.org/tlog-proof has it. With --disclose the record itself and its salt stand in it (`extra`):\n\
    whoever gets it can read that one record and check that it is the one in the log.")]
pub struct Prove {
    /// The record's number: `seq` in the log, the second word of a receipt
    #[arg(value_name = "INDEX", required_unless_present = "record", conflicts_with = "record")]
    index: Option<u64>,
    /// The record's id: what the reply carries as `keygate-record`
    #[arg(long, value_name = "ID")]
    record: Option<String>,
    /// Hand the record and its salt over as well
    #[arg(long)]
    disclose: bool,
    /// The key that the log's checkpoints are signed with, another than the configuration's
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// What opens an encrypted log [default: audit-identity.txt beside the configuration, when it is there]
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Another log than the configuration's
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Runs it.
pub(super) fn run(args: &Prove, config: &Path) -> Result<(), Failure> {
    let directory = directory(args.directory.as_ref(), config)?;
    let key = log_key(args.key.as_ref(), config)?;
    let failed = |error: prove::ProveError| {
        let hint = error.hint();
        Failure::new("cannot prove that").because(error).hint(hint)
    };
    let identity = identity(args.identity.as_ref(), config)?;
    let index = match (args.index, &args.record) {
        (Some(index), _) => index,
        (None, id) => prove::find(&directory, id.as_deref().unwrap_or_default(), identity.as_ref()).map_err(failed)?,
    };
    let disclose = args.disclose.then_some(prove::Disclose { identity: identity.as_ref() });
    output::result(&prove::prove(&directory, &key, index, disclose).map_err(failed)?)
}
