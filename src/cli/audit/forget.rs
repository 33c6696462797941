//! `keygate audit forget`: destroy the keys of records that must not be readable any more.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::{identity, unread};
use crate::assemble;
use crate::audit::forget::{self, Erasure, Match, Wanted};
use crate::cli::output;
use crate::cli::report::Failure;
use crate::cli::settings;
use crate::config::{Config, show_count};
use crate::running;

/// How long a running gate may take to put it on record.
const PATIENCE: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(50);
/// More records than these are counted, not listed.
const LISTED: usize = 20;

/// Arguments of `audit forget`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate audit forget --param merchantOrderNo=M-1 --dry-run\n  \
    keygate audit forget --param merchantOrderNo=M-1 --param emailAddresses=ann@example.com\n  \
    keygate audit forget --record 01a20bf9-9961-750d-ab3b-bf0af6caaf65 --reason 'request 2026-17' --yes\n\n\
    Destroys the keys of all records that match one of these, and of those with the same id: an intent\n\
    and its outcome go together. Nothing but key files is written anew; the log stays intact and\n\
    complete, and what was forgotten stands in it as numbers and the reason, which must name nobody.\n\
    The gate may be running.\n\n\
    What cannot be promised: copies and backups of key files keep the keys, and so may the journal of a\n\
    file system and the spare blocks of an SSD; the old key file is written over as far as the system\n\
    lets it. A record of a time without `[audit] recipients` has no key, and cannot be forgotten.")]
pub struct Forget {
    /// A parameter of path or query, and its value; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", required_unless_present = "records")]
    params: Vec<String>,
    /// A record's id, as the reply carries it in `keygate-record`; may be repeated
    #[arg(long = "record", value_name = "ID")]
    records: Vec<String>,
    /// Why; stands in the log
    #[arg(long, value_name = "TEXT", default_value = "not given")]
    reason: String,
    /// Show what would be forgotten, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// What opens the log [default: audit-identity.txt beside the configuration, when it is there]
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

/// Runs it.
pub(super) fn run(args: &Forget, config_file: &Path) -> Result<(), Failure> {
    let config = settings::load(config_file)?;
    let directory = &config.audit.directory;
    let wanted = wanted(args, &config)?;
    let Some(identity) = identity(args.identity.as_ref(), config_file)? else {
        return Err(Failure::new("only who can read the log can forget records")
            .hint("name the auditor's identity with `--identity FILE`; `keygate init` makes `audit-identity.txt`"));
    };
    let recipients = assemble::recipients(&config.audit)?;
    let failed = |error: io::Error| {
        Failure::new("the keys are not destroyed, or not all of them")
            .because(error)
            .hint("run the same command again: it goes on where it ended")
    };
    if let Some(begun) = forget::begun(directory).map_err(failed)? {
        output::note("going on with what was interrupted\n");
        forget::destroy(directory, &identity, &recipients, &begun).map_err(failed)?;
        put_on_record(&config)?;
    }
    if forget::unrecorded(directory).map_err(failed)?.is_some() {
        put_on_record(&config)?;
    }
    let found =
        forget::find(directory, &identity, &wanted).map_err(|error| unread("cannot look through the log", error))?;
    let (boxed, plain): (Vec<Match>, Vec<Match>) = found.into_iter().partition(|one| one.boxed);
    if boxed.is_empty() && plain.is_empty() {
        return output::result("nothing matches: no record, or only forgotten ones\n");
    }
    if boxed.is_empty() {
        return Err(Failure::new(format!(
            "what matches ({}) is not encrypted: there is no key to destroy",
            counted(plain.len())
        ))
        .hint("with `[audit] recipients` in the configuration the records from then on can be forgotten"));
    }
    output::result(&tell(&boxed, &plain))?;
    if args.dry_run {
        return output::result("nothing was changed\n");
    }
    confirm(args)?;
    let erasure = Erasure::new(&args.reason, boxed.iter().map(|one| one.seq));
    forget::destroy(directory, &identity, &recipients, &erasure).map_err(failed)?;
    put_on_record(&config)?;
    output::result(&format!(
        "forgotten: {}, on record by number. Copies and backups of `{}` made before keep the keys\n",
        counted(boxed.len()),
        directory.join("salts").display()
    ))
}

fn counted(records: usize) -> String {
    show_count(records as u64, "record")
}

fn wanted(args: &Forget, config: &Config) -> Result<Wanted, Failure> {
    let hasher = assemble::hasher(&config.audit.hash_key)?;
    let mut wanted =
        Wanted { ids: args.records.iter().map(|id| id.to_ascii_lowercase()).collect(), params: Vec::new() };
    for text in &args.params {
        let (name, value) =
            text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty()).ok_or_else(|| {
                Failure::usage("`--param` takes a name and a value").hint("`--param merchantOrderNo=M-1`")
            })?;
        if args.reason.contains(value) {
            return Err(Failure::usage("the reason names what is to be forgotten")
                .hint("it stands in the log for good: write the number of the request instead"));
        }
        wanted.params.push((name.to_owned(), hasher.hash(name, value.as_bytes())));
    }
    Ok(wanted)
}

/// What would be forgotten: how many by endpoint, and the first ones.
fn tell(boxed: &[Match], plain: &[Match]) -> String {
    let mut kinds: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for one in boxed {
        *kinds.entry((&one.kind, &one.endpoint)).or_default() += 1;
    }
    let mut text = format!("{}:\n", counted(boxed.len()));
    for ((kind, endpoint), count) in kinds {
        let _ = writeln!(text, "  {count:>6}  {kind}  {endpoint}");
    }
    for one in boxed.iter().take(LISTED) {
        let _ = writeln!(text, "  record {}  {}", one.seq, one.time);
    }
    if boxed.len() > LISTED {
        let _ = writeln!(text, "  and {} more", boxed.len() - LISTED);
    }
    if !plain.is_empty() {
        let _ = writeln!(
            text,
            "and {} that cannot be forgotten: not encrypted, so there is no key to destroy",
            counted(plain.len())
        );
    }
    text
}

fn confirm(args: &Forget) -> Result<(), Failure> {
    if args.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(
            Failure::usage("nothing was changed: nobody is there to be asked").hint("`--yes` forgets without asking")
        );
    }
    output::note("nobody can read them any more after that. Write `forget` to go on: ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::new("cannot read the answer").because(error))?;
    if answer.trim() == "forget" { Ok(()) } else { Err(Failure::new("nothing was changed")) }
}

/// Puts what was forgotten on record: a running gate does it by itself, and lets go of the keys in its memory; without one the log is
/// opened for it.
fn put_on_record(config: &Config) -> Result<(), Failure> {
    let directory = &config.audit.directory;
    let failed = |error: io::Error| Failure::new("whether it is on record cannot be told").because(error);
    let began = Instant::now();
    while let Some(erasure) = forget::unrecorded(directory).map_err(failed)? {
        let alone = running::ask(directory).map_err(failed)?.is_none();
        if alone && note_alone(config, &erasure).is_ok() {
            return forget::recorded(directory).map_err(failed);
        }
        if began.elapsed() > PATIENCE {
            return Err(Failure::new("the keys are destroyed, and the gate has not put it on record yet")
                .hint("it does so, at the latest when it starts; until then it may hold keys of the present key file in memory"));
        }
        thread::sleep(AGAIN);
    }
    Ok(())
}

fn note_alone(config: &Config, erasure: &Erasure) -> Result<(), Failure> {
    erasure.told().into_iter().try_for_each(|detail| assemble::note_alone(config, "forgotten", detail))
}
