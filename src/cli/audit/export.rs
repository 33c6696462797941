//! `keygate audit export`: records in the form that is asked for, with a manifest that can be checked.

use std::env;
use std::fmt::Write;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;

use super::{directory, identity, log_key};
use crate::audit::VerifierKey;
use crate::audit::export::{self, Asked, ExportError, Folder, Format, Keys, Manifest, S3, Target, hash};
use crate::cli::output;
use crate::cli::report::Failure;
use crate::config;

/// Progress is told this often.
const TELL: Duration = Duration::from_millis(200);
/// Width of the bar, in characters.
const BAR: u64 = 30;

/// Arguments of `audit export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate audit export --format csv --since 2026-11-01 --until 2026-12-01 --to november.csv\n  \
    keygate audit export --format parquet --to lake/\n  \
    keygate audit export --format ocsf --integration wms --to s3://evidence/gate-1\n  \
    keygate audit export --verify november.csv.manifest.json\n\n\
    A folder and a bucket get files of parts, by day (`day=2026-11-28/part-….csv`), and `manifest.json`;\n\
    a file gets its manifest beside it. The manifest names the records, the signed checkpoint that they\n\
    are in, and each file with its SHA-256. An export that was interrupted goes on when the same command\n\
    is run again. Times are dates (UTC) or `2026-11-28T12:00:00Z`, and are those when calls began.\n\n\
    A bucket is reached as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL say;\n\
    AWS_CA_BUNDLE names the roots to trust instead of Mozilla's.")]
pub struct Export {
    /// The form of the files
    #[arg(long, value_name = "FORMAT", required_unless_present = "verify")]
    format: Option<Format>,
    /// Where to: a file, a folder (exists, or ends in `/`), or `s3://BUCKET/PREFIX`
    #[arg(long, value_name = "PLACE", required_unless_present = "verify")]
    to: Option<String>,
    /// Only records that began then or later
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only records that began before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only records of this integration; may be repeated
    #[arg(long, value_name = "NAME")]
    integration: Vec<String>,
    /// Check an export that was made: its checkpoint's signature, and every file
    #[arg(long, value_name = "MANIFEST", conflicts_with_all = ["format", "to", "since", "until", "integration", "identity", "directory"])]
    verify: Option<PathBuf>,
    /// What opens an encrypted log [default: audit-identity.txt beside the configuration, when it is there]
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// The key that the log's checkpoints are signed with, another than the configuration's
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Another log than the configuration's
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Runs it.
pub(super) fn run(args: &Export, config: &Path) -> Result<(), Failure> {
    let key = log_key(args.key.as_ref(), config)?;
    match (&args.verify, args.format, &args.to) {
        (Some(manifest), ..) => check(manifest, &key),
        (None, Some(format), Some(to)) => make(args, format, to, &key, config),
        // The parser asks for them.
        _ => Err(Failure::usage("`--format` and `--to` belong together")),
    }
}

fn make(args: &Export, format: Format, to: &str, key: &VerifierKey, config: &Path) -> Result<(), Failure> {
    let directory = directory(args.directory.as_ref(), config)?;
    let asked = Asked {
        format,
        since: moment(args.since.as_deref(), "--since")?,
        until: moment(args.until.as_deref(), "--until")?,
        integrations: args.integration.clone(),
    };
    let identity = identity(args.identity.as_ref(), config)?;
    let keys = Keys { verifier: key, identity: identity.as_ref() };
    let mut target = target(to, format)?;
    let mut bar = Bar::new();
    let made = export::export(&directory, keys, &asked, &mut target, |done, all| bar.tell(done, all));
    bar.close();
    let manifest = made.map_err(|error| failed(error, to))?;
    output::result(&told(&manifest, &target.manifest()))
}

fn told(manifest: &Manifest, name: &str) -> String {
    let Manifest { records, looked_through, files, .. } = manifest;
    let looked = looked_through.below - looked_through.from;
    let mut text = format!("{} records in {} files, of {looked} in the log\n", records.count, files.len());
    if records.left_out > 0 {
        let _ = writeln!(text, "{} records have no form in this format and are left out", records.left_out);
    }
    if records.forgotten > 0 {
        let _ = writeln!(text, "{} records were forgotten", records.forgotten);
    }
    let _ = writeln!(text, "manifest: {name}");
    text
}

fn moment(text: Option<&str>, name: &str) -> Result<Option<Timestamp>, Failure> {
    let wrong = |wrong: config::Wrong| Failure::usage(format!("{name}: {}", wrong.what)).hint(wrong.remedy);
    text.map(config::parse_moment).transpose().map_err(wrong)
}

fn target(to: &str, format: Format) -> Result<Target, Failure> {
    if to.starts_with("s3://") {
        let roots = env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let bucket = S3::open(to, roots.as_deref());
        let bucket = bucket.map_err(|error| Failure::new(format!("cannot export to `{to}`")).because(error))?;
        return Ok(Target::Parts(Box::new(bucket)));
    }
    let path = Path::new(to);
    let failed = |error: io::Error| Failure::new(format!("cannot export to `{to}`")).because(error);
    if to.ends_with('/') || path.is_dir() {
        if !path.exists() {
            fs::create_dir(path).map_err(failed)?;
        }
        return Ok(Target::Parts(Box::new(Folder::lock(path).map_err(failed)?)));
    }
    if format == Format::Parquet {
        return Err(Failure::usage(format!("Parquet is made in parts, by day, and `{to}` is no folder"))
            .hint("name a folder that exists, a new one with `/` at its end, or `s3://BUCKET/PREFIX`"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(Target::Single(Box::new(Folder::lock(folder).map_err(failed)?), path.to_owned()))
}

fn failed(error: ExportError, to: &str) -> Failure {
    let hint = match &error {
        ExportError::Read(error) => error.hint().unwrap_or_default(),
        ExportError::There(_) => "name another place, or remove what is there; nothing is written over",
        ExportError::Another(_) => "run the command that began it once more, or name another place",
        ExportError::Noted(_) => "remove the file that ends in `.export.json` there, and begin anew",
        ExportError::Record { .. } | ExportError::Checkpoint(_) => {
            "`keygate audit verify` shows what is wrong with the log"
        }
        ExportError::Place(_) => "what was made so far stays; run the same command again to go on",
        ExportError::Form(_) => "",
    };
    let failure = Failure::new(format!("cannot export to `{to}`")).because(error);
    if hint.is_empty() { failure } else { failure.hint(hint) }
}

/// Checks an export on this machine.
fn check(path: &Path, key: &VerifierKey) -> Result<(), Failure> {
    let failed = || Failure::new(format!("the export of `{}` is not as it was made", path.display()));
    let text =
        fs::read(path).map_err(|error| Failure::new(format!("cannot read `{}`", path.display())).because(error))?;
    let manifest = Manifest::open(&text, key).map_err(|what| failed().because(what))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for file in &manifest.files {
        let place = folder.join(&file.name);
        let (size, sha256) = hash(&place)
            .map_err(|error| failed().because(error).hint(format!("`{}` must lie beside the manifest", file.name)))?;
        if (size, &sha256) != (file.size, &file.sha256) {
            return Err(failed().because(format!("`{}` was changed", file.name)));
        }
    }
    let (records, below) = (manifest.records.count, manifest.looked_through.below);
    output::result(&format!(
        "as it was made: {records} records in {} files, of a log of {below} records\n{}",
        manifest.files.len(),
        signed(&manifest)
    ))
}

fn signed(manifest: &Manifest) -> String {
    let lines: Vec<&str> = manifest.checkpoint.lines().take(3).collect();
    format!("signed checkpoint: {}\n", lines.join(" "))
}

/// A bar on a terminal, and nothing where none is.
struct Bar {
    shown: bool,
    told: Instant,
    began: Instant,
}

impl Bar {
    fn new() -> Self {
        let now = Instant::now();
        Self { shown: io::stderr().is_terminal(), told: now, began: now }
    }

    fn tell(&mut self, done: u64, all: u64) {
        if !self.shown || (self.told.elapsed() < TELL && done < all) {
            return;
        }
        self.told = Instant::now();
        let full = usize::try_from(done * BAR / all.max(1)).unwrap_or(0);
        let empty = usize::try_from(BAR).unwrap_or(0).saturating_sub(full);
        let rate = done as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        output::note(&format!(
            "\r[{}{}] {done} of {all} records, {rate:.0} a second ",
            "#".repeat(full),
            " ".repeat(empty)
        ));
    }

    fn close(&self) {
        if self.shown {
            output::note("\n");
        }
    }
}
