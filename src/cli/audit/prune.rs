//! `keygate audit prune`: retention for a log that no gate writes.

use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::log_key;
use crate::assemble;
use crate::audit::{Due, Retention};
use crate::cli::output;
use crate::cli::report::Failure;
use crate::cli::settings;
use crate::config::{parse_duration, parse_size};
use crate::running;

/// Arguments of `audit prune`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate audit prune --dry-run\n  \
    keygate audit prune --keep-for 400d\n  \
    keygate audit prune --keep-size 20GiB\n\n\
    A running gate does this by itself, by `[audit] keep_for` and `keep_size`. This is for the log of a gate\n\
    that does not run any more. Finished segments go, the oldest first; the last one stays, and so does what\n\
    no checkpoint was signed for. It is on record (`removed`), the log's key signs for it, and `audit verify`\n\
    holds what is left to the same checkpoints.")]
pub struct Prune {
    /// Remove segments whose newest record is older [default: `[audit] keep_for`]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    keep_for: Option<Duration>,
    /// Keep so much of segments, at most [default: `[audit] keep_size`]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    keep_size: Option<u64>,
    /// Show what would be removed, and change nothing
    #[arg(long)]
    dry_run: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|wrong| format!("{}: {}", wrong.what, wrong.remedy))
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|wrong| format!("{}: {}", wrong.what, wrong.remedy))
}

/// Runs it.
pub(super) fn run(args: &Prune, config_file: &Path) -> Result<(), Failure> {
    let config = settings::load(config_file)?;
    let audit = &config.audit;
    // What is said here counts alone: to keep a month must not mean to keep 20 GiB of it.
    let by_config = args.keep_for.is_none() && args.keep_size.is_none();
    let retention = Retention {
        keep_for: args.keep_for.or(audit.keep_for.filter(|_| by_config)),
        keep_size: args.keep_size.or(audit.keep_size.map(Into::into).filter(|_| by_config)),
    };
    if retention.keep_for.is_none() && retention.keep_size.is_none() {
        return Err(Failure::usage("nothing says what is to be kept")
            .hint("`--keep-for 400d`, `--keep-size 20GiB`, or `keep_for` and `keep_size` in `[audit]`"));
    }
    let key = log_key(None, config_file)?;
    let due = retention.due(&audit.directory, &key, SystemTime::now());
    let due = due.map_err(|error| Failure::new("cannot look through the audit log").because(error))?;
    if args.dry_run {
        return output::result(&format!("{}nothing was changed\n", told(due.as_ref(), "would be removed")));
    }
    let asked = running::ask(&audit.directory).map_err(|error| Failure::new("cannot ask for a gate").because(error))?;
    if let Some(gate) = asked {
        return Err(Failure::new(format!("a gate writes this log (process {})", gate.pid))
            .hint("it removes old segments by itself, by `[audit] keep_for` and `keep_size`; or stop it first"));
    }
    if due.is_none() {
        // The log is not opened for it: that would be on record each time.
        return output::result(&told(None, ""));
    }
    let due = assemble::prune_alone(&config, retention)?;
    output::result(&told(due.as_ref(), "are removed"))
}

fn told(due: Option<&Due>, what: &str) -> String {
    match due {
        None => "everything is kept: no finished segment is too old or too much\n".to_owned(),
        Some(due) => {
            let Due { first, end, bytes, why } = due;
            format!("records {first} to {} {what}, {} KiB: {why}\n", end - 1, bytes >> 10)
        }
    }
}
