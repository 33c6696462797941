//! `keygate audit find`: the records that are asked for, over the whole log.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::found::Out;
use super::looked_for::{Known, Parameter, looked_for, named, status};
use super::{directory, identity, unread};
use crate::audit::find::{End, How, Named, Query, ToCome, Told, find};
use crate::audit::{Identity, ReadError};
use crate::cli::output;
use crate::cli::report::{Failure, USAGE};

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// No record was found.
const NONE: u8 = 1;

/// Arguments of `audit find`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate audit find --integration webshop --status 5xx --since 2h\n  \
    keygate audit find --param merchantOrderNo=M-1\n  \
    keygate audit find --refusal endpoint_not_allowed --since 2026-11-01 --until 2026-11-15 --json\n  \
    keygate audit find --endpoint 'GET /v2/orders' -f\n\n\
    A record is shown when it fits all options; of an option that is given several times, one value is\n\
    enough (several `--param` of one name are such an option, of different names they must all fit).\n\
    A time is a date (from its first moment; in --until to its last, UTC), a time with its offset, or how\n\
    long ago: 2h, 30m, 7d. Times are those at which calls began.\n\n\
    Path and query values stand in the log as hashes: --param makes the same ones with the file\n\
    `[audit] hash_key`, or another (--hash-key).\n\n\
    A finished segment has an index beside it (segment-N.find), made by the gate or, where the log is\n\
    encrypted, by the first search; it saves time and is no evidence. --scan reads every record instead.\n\n\
    Exit codes: 0 records were found, 1 none was, 2 the log could not be searched.")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub struct Find {
    /// Calls of this integration
    #[arg(long, value_name = "NAME")]
    pub(super) integration: Vec<String>,
    /// Calls to this endpoint: `GET /v2/orders`, or a path template alone
    #[arg(long, value_name = "ENDPOINT")]
    pub(super) endpoint: Vec<String>,
    /// Calls that got this status, or `5xx` for all that begin so
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = status)]
    pub(super) status: Vec<String>,
    /// Calls and connections that were refused with this code
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    pub(super) refusal: Vec<String>,
    /// The record with this id (`keygate-record` of a reply) or number
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = named)]
    pub(super) record: Vec<Named>,
    /// Calls with this path or query parameter
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) param: Vec<Parameter>,
    /// Begun then or later
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) since: Option<String>,
    /// Begun before
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) until: Option<String>,
    /// Calls with this method
    #[arg(long, value_name = "METHOD", value_delimiter = ',')]
    pub(super) method: Vec<String>,
    /// Calls to this upstream
    #[arg(long, value_name = "NAME")]
    pub(super) upstream: Vec<String>,
    /// From this address
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(super) peer: Vec<IpAddr>,
    /// Calls that were let through, or not
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(["allowed", "refused"]))]
    pub(super) verdict: Vec<String>,
    /// Calls that ended so
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(["complete", "client-gone", "upstream-cut"]))]
    pub(super) outcome: Vec<String>,
    /// Records of this kind
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(["call", "intent", "connection", "gate"]))]
    pub(super) kind: Vec<String>,
    /// Events of the gate with this code: `started`, `closed`, `reloaded`
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    pub(super) event: Vec<String>,
    /// Go on with records as they come
    #[arg(short, long)]
    follow: bool,
    /// End after so many records
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Print the records as they stand in the log; this is how it is when no terminal reads
    #[arg(long, conflicts_with = "table")]
    json: bool,
    /// Print one line for people for each; this is how it is on a terminal
    #[arg(long)]
    table: bool,
    /// Read every record, whatever the index says
    #[arg(long)]
    scan: bool,
    /// The key of the hashes, another than the configuration's
    #[arg(long, value_name = "FILE")]
    pub(super) hash_key: Option<PathBuf>,
    /// What opens an encrypted log [default: audit-identity.txt beside the configuration, when it is there]
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Another log than the configuration's
    #[arg(long, value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,
}

/// Runs it; the exit code.
pub(super) fn run(args: &Find, config: &Path) -> Result<u8, Failure> {
    search(args, config).map_err(|failure| match failure.code() {
        // 1 means that nothing was found.
        NONE => failure.with_code(USAGE),
        _ => failure,
    })
}

fn search(args: &Find, config: &Path) -> Result<u8, Failure> {
    let directory = directory(args.directory.as_ref(), config)?;
    let identity = identity(args.identity.as_ref(), config)?;
    let known = Known::of(config);
    let query = Query::new(looked_for(args, &known, config)?);
    let form = if args.table { Some(false) } else { args.json.then_some(true) };
    let mut out = Out::new(form, args.limit);
    let ended = through(&directory, &query, args, identity.as_ref(), &mut out)?;
    if let Some(end) = ended.continue_value().filter(|_| args.follow && out.flush().is_continue()) {
        to_come(&directory, &query, end, identity.as_ref(), &mut out)?;
    }
    let found = out.end()?;
    if found == 0 {
        known.hints(args).iter().for_each(|hint| output::note(&format!("hint: {hint}\n")));
        return Ok(NONE);
    }
    Ok(0)
}

fn failed(error: ReadError) -> Failure {
    unread("cannot search the audit log", error)
}

/// Over what is written by now.
fn through(
    directory: &Path,
    query: &Query,
    args: &Find,
    identity: Option<&Identity>,
    out: &mut Out,
) -> Result<ControlFlow<(), End>, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let how = How { by_index: !args.scan, threads };
    let found = find(directory, query, how, identity, |told| match told {
        Told::Hit(line) => out.hit(line),
        Told::Progress(progress) => out.progress(progress),
    });
    out.no_progress();
    found.map_err(failed)
}

/// Over what comes, until nobody wants more.
fn to_come(
    directory: &Path,
    query: &Query,
    end: End,
    identity: Option<&Identity>,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut to_come = ToCome::after(directory, end, identity).map_err(failed)?;
    loop {
        while let Some(line) = to_come.next(query).map_err(failed)? {
            if out.hit(&line).is_break() {
                return Ok(());
            }
        }
        if out.flush().is_break() {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}
