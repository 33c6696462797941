//! The one place that names concrete backends: it turns a configuration into a running gate.

mod clients;
mod trial;
mod vaults;

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admin::AdminThread;
use crate::audit::find::Indexer;
use crate::audit::{self, Again, Caretaker, Finished, Log, ParamHasher, Recipients, Reserve, SigningKey};
use crate::cli::report::Failure;
use crate::cli::settings::Source;
use crate::config::Config;
use crate::gateway::{Gateway, Shared, note_event, sizes, upload_limits};
use crate::limit::Memory;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::process;
use crate::reload::{self, Reloader};
use crate::server::tls::{self, Certificate};
use crate::server::{Server, Settings, listen};
use crate::signals::Signals;
use crate::sink::{self, NoSink, Sinks};
use crate::vault::{KeyRing, Refresher, private_file};
use arc_swap::ArcSwap;
use clients::{ClientParts, upstreams};
pub use trial::{note_alone, prune_alone, try_key};
pub use vaults::{Chosen, chosen, inspect as inspect_vault, to_look_at};

/// A second signal this soon after the first is the same one, delivered to the process and to its group.
const ECHO: Duration = Duration::from_millis(100);

/// How long a log that somebody else writes to is waited for.
const MOMENT: Duration = Duration::from_secs(1);

/// A running gate.
pub struct Gate {
    server: Server,
    threads: Threads,
    log: Log,
    signals: Signals,
}

/// What runs beside the workers. Each ends on drop.
struct Threads {
    reloader: Option<Reloader>,
    _refresher: Refresher,
    _sinks: Sinks,
    _admin: Option<AdminThread>,
    _indexer: Indexer,
    _caretaker: Caretaker,
}

/// Starts everything. Nothing is created that should have existed before. With the `source` of the configuration, the gate
/// takes changes of it over; without, a hang-up ends it.
pub fn start(config: &Config, source: Option<Source>) -> Result<Gate, Failure> {
    // First of all, so that no signal finds the process without its handlers.
    let mut signals =
        Signals::new(source.is_some()).map_err(|error| Failure::new("cannot wait for signals").because(error))?;
    let certificate = Arc::new(Certificate::new(server_certificate(config)?));
    let tls =
        tls::server_config(certificate.clone()).map_err(|error| Failure::new("cannot set TLS up").because(error))?;
    let hasher = hasher(&config.audit.hash_key)?;
    let clients = upstreams(config)?;
    let vault = vaults::open(config)?;
    let holdings = vaults::first(&*vault, config, &mut signals)?;
    let ring = Arc::new(KeyRing::new(holdings.keys(&config.upstreams)));
    for trouble in ring.troubles() {
        tracing::warn!(%trouble, "an upstream has no usable credential; its calls are refused until it has");
    }
    let workers = workers(config);
    let (address, listeners) =
        listen(&config.listen, workers).map_err(|error| cannot_listen(config.listen.address, error))?;
    let (log, finished, recovered) = open_log(config)?;
    let shared = shared(config, hasher, ring.clone(), log.clone());
    let admin = config.admin.as_ref().map(|admin| open_admin(&admin.socket, &shared)).transpose()?;
    let refresher = vaults::refresher(config, vault, holdings, ring, log.clone())?;
    let server = Server::start(address, listeners, Settings::new(&config.listen, tls, workers), || {
        Gateway::new(shared.clone(), clients.iter().map(ClientParts::build).collect())
    })
    .map_err(|error| Failure::new("cannot start the workers").because(error))?;
    tell_standing();
    // Durable before the first call: it also shows that the log can be written at all.
    let started = format!("keygate {} on {address} with {workers} workers", env!("CARGO_PKG_VERSION"));
    for (code, detail) in recovered.into_iter().map(|text| ("recovered", text)).chain([("started", started)]) {
        let noted = signals.block_on(note_event(&log, code, detail));
        noted.map_err(|error| Failure::new("cannot write the audit log").because(error))?;
    }
    let sinks = Sinks::start(&config.sinks, &log, &config.audit.directory, &shared.metrics).map_err(no_sink)?;
    let reloader = source.map(|source| watch(config, source, &shared, certificate)).transpose()?;
    let indexer = Indexer::start(&config.audit.directory)
        .map_err(|error| Failure::new("cannot start the thread that indexes the audit log").because(error))?;
    let caretaker = Caretaker::start(&config.audit.directory, log.clone(), retention(&config.audit), finished)
        .map_err(|error| Failure::new("cannot start the thread that looks after the audit log").because(error))?;
    let threads = Threads {
        reloader,
        _refresher: refresher,
        _sinks: sinks,
        _admin: admin,
        _indexer: indexer,
        _caretaker: caretaker,
    };
    Ok(Gate { server, threads, log, signals })
}

fn no_sink(error: NoSink) -> Failure {
    Failure::new("cannot start the live sinks")
        .because(error)
        .hint("files with secrets must be readable by their owner only (chmod 600); docs/sinks.md has their form")
}

/// How well the keys are kept from others on this machine. Asked when they lie in memory.
fn tell_standing() {
    let standing = process::standing();
    if standing.is_whole() {
        tracing::info!("{standing}");
    } else {
        tracing::warn!("{standing}");
    }
}

/// What the workers share.
fn shared(config: &Config, hasher: ParamHasher, ring: Arc<KeyRing>, log: Log) -> Arc<Shared> {
    let metrics = Arc::new(Metrics::default());
    let live = Live::new(config, &metrics, |buckets| Box::new(Memory::new(buckets)));
    Arc::new(Shared {
        envelope: live.policy.envelope(),
        live: ArcSwap::from_pointee(live),
        ring,
        log,
        hasher,
        metrics,
        sizes: sizes(config),
        upload: upload_limits(config),
    })
}

fn open_admin(socket: &Path, shared: &Arc<Shared>) -> Result<AdminThread, Failure> {
    AdminThread::start(socket, shared.clone())
        .map_err(|error| Failure::new(format!("cannot open the admin socket `{}`", socket.display())).because(error))
}

fn watch(
    config: &Config,
    source: Source,
    shared: &Arc<Shared>,
    certificate: Arc<Certificate>,
) -> Result<Reloader, Failure> {
    let parts = reload::Parts { config: config.clone(), source, shared: shared.clone(), certificate, note: note_event };
    Reloader::start(parts).map_err(|error| {
        let hint = "the user that runs the gate must be able to write to the audit directory";
        Failure::new("cannot watch the configuration").because(error).hint(hint)
    })
}

impl Gate {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Serves until SIGTERM or SIGINT, then drains. A second signal ends the process at once: what was acknowledged is
    /// on the disk by then, whatever happens.
    pub fn run_until_signal(self) -> Result<(), Failure> {
        let Self { server, threads, log, mut signals } = self;
        signals.wait_for_stop(|| threads.reloader.iter().for_each(Reloader::now));
        let first = Instant::now();
        tracing::info!("draining: no new connections, calls under way are finished; a second signal ends at once");
        std::thread::spawn(move || {
            let ignore = || {};
            signals.wait_for_stop(ignore);
            while first.elapsed() < ECHO {
                signals.wait_for_stop(ignore);
            }
            tracing::warn!("a second signal: ending at once");
            exit_now();
        });
        end(server, threads, &log)
    }

    /// Drains, seals the log, and returns.
    pub fn stop(self) -> Result<(), Failure> {
        end(self.server, self.threads, &self.log)
    }
}

fn end(server: Server, threads: Threads, log: &Log) -> Result<(), Failure> {
    server.drain();
    drop(threads);
    log.seal().map_err(|error| Failure::new("cannot seal the audit log").because(error))
}

#[allow(clippy::disallowed_methods, reason = "the operator asked twice; every acknowledged record is on the disk")]
fn exit_now() {
    std::process::exit(130);
}

/// Asks of a configuration what only the disk can tell. Opens no port and changes nothing.
pub fn inspect(config: &Config) -> Vec<Failure> {
    let mut found = Vec::new();
    found.extend(server_certificate(config).err());
    found.extend(hasher(&config.audit.hash_key).err());
    found.extend(signing_key(&config.audit.signing_key).err());
    found.extend(upstreams(config).err());
    found.extend(audit_directory(&config.audit.directory).err());
    found.extend(config.sinks.iter().filter_map(|sink| sink::inspect(sink).err()).map(no_sink));
    found.extend(inspect_vault(config));
    found
}

fn server_certificate(config: &Config) -> Result<tls::Pair, Failure> {
    tls::read_certificate(&config.listen.certificate, &config.listen.private_key).map_err(|error| {
        Failure::new("cannot use the server certificate")
            .because(error)
            .hint("`[listen] certificate` and `private_key` name PEM files; `keygate init` makes a pair")
    })
}

/// The key of the hashes in the log.
pub fn hasher(path: &Path) -> Result<ParamHasher, Failure> {
    let failed = || Failure::new(format!("cannot use the key for hashes in the audit log, `{}`", path.display()));
    let hint = "`keygate init` makes it; it must hold 32 bytes and be readable by its owner only (chmod 600)";
    let key = private_file::read(path).map_err(|error| failed().because(error).hint(hint))?;
    let key: &[u8; 32] = key.as_slice().try_into().map_err(|_| failed().hint(hint))?;
    Ok(ParamHasher::new(key))
}

fn signing_key(path: &Path) -> Result<SigningKey, Failure> {
    let failed = || Failure::new(format!("cannot use the key that signs the audit log, `{}`", path.display()));
    let hint = "`keygate init` makes it with the log; it must be readable by its owner only (chmod 600)";
    let text = private_file::read(path).map_err(|error| failed().because(error).hint(hint))?;
    let text = std::str::from_utf8(&text).unwrap_or_default();
    SigningKey::parse(text).map_err(|error| failed().because(error).hint(hint))
}

fn workers(config: &Config) -> usize {
    let wanted = config.listen.workers.map(|n| n.get() as usize);
    wanted.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1)
}

fn cannot_listen(address: SocketAddr, error: io::Error) -> Failure {
    let failure = Failure::new(format!("cannot listen on {address}"));
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            failure.because(error).hint("another program has this port; set another one in `[listen] address`")
        }
        io::ErrorKind::PermissionDenied => failure
            .because(error)
            .hint("ports below 1024 need a privilege; use one above, or grant CAP_NET_BIND_SERVICE"),
        _ => failure.because(error),
    }
}

fn audit_directory(path: &Path) -> Result<(), Failure> {
    match std::fs::metadata(path) {
        Ok(facts) if facts.is_dir() => Ok(()),
        Ok(_) => Err(Failure::new(format!("the audit directory `{}` is no folder", path.display()))),
        Err(error) => Err(Failure::new(format!("cannot find the audit directory `{}`", path.display()))
            .because(error)
            .hint("`keygate init` makes it; it is never created by `run`, so that a mistyped path cannot begin a new history")),
    }
}

fn disk(config: &crate::config::Audit) -> audit::Disk {
    audit::Disk { segment_size: config.segment_size, durability: config.durability }
}

fn retention(config: &crate::config::Audit) -> audit::Retention {
    audit::Retention { keep_for: config.keep_for, keep_size: config.keep_size.map(NonZeroU64::get) }
}

/// Whom records are encrypted to.
pub fn recipients(config: &crate::config::Audit) -> Result<Recipients, Failure> {
    Recipients::parse(&config.recipients).map_err(|why| {
        Failure::new(format!("cannot encrypt the audit log: {why}")).hint("`[audit] recipients` names them")
    })
}

/// The log, and what there is to say when the gate had not stopped in good order.
fn open_log(config: &Config) -> Result<(Log, Finished, Option<String>), Failure> {
    let directory = &config.audit.directory;
    let key = Arc::new(signing_key(&config.audit.signing_key)?);
    let recipients = Arc::new(recipients(&config.audit)?);
    let (since, disk) = (Instant::now(), disk(&config.audit));
    let opened = loop {
        match audit::open(directory, disk, key.clone(), recipients.clone()) {
            // A command that puts something on record while no gate runs has it for a moment.
            Err(audit::OpenError::InUse(_)) if since.elapsed() < MOMENT => std::thread::sleep(MOMENT / 20),
            opened => break opened,
        }
    };
    let (sink, resume, recovered) = opened.map_err(|error| {
        let hint = error.hint();
        Failure::new("cannot open the audit log").because(error).hint(hint)
    })?;
    let reserve = config.audit.reserve.map(|size| Reserve::new(directory, size.get()));
    let folder = directory.clone();
    let (finished, noted) = (sink.finished(), sink.finished());
    let reopen = move |kept| audit::open_from(&folder, disk, key.clone(), recipients.clone(), noted.clone(), kept);
    let again = Again::by(Box::new(reopen), reserve, config.audit.on_failure);
    let log = Log::start_again(Box::new(sink), resume, again)
        .map_err(|error| Failure::new("cannot start the audit log's thread").because(error))?;
    Ok((log, finished, (!recovered.stopped).then(|| told(&recovered))))
}

/// What recovery found, for the log and for people.
fn told(recovered: &audit::Recovered) -> String {
    let mut text = "the gate had not stopped in good order".to_owned();
    if recovered.unsigned > 0 {
        let _ = write!(text, "; the last {} records were not signed for yet", recovered.unsigned);
    }
    if let Some(torn) = &recovered.torn {
        let audit::Torn { bytes, records, aside } = torn;
        let _ = write!(
            text,
            "; {bytes} bytes behind the last whole record, torn or changed, are kept in {}",
            aside.display()
        );
        if *records > 0 {
            let _ = write!(text, " ({records} records among them)");
        }
    }
    if recovered.rebuilt {
        text.push_str("; the log's tree was built anew from its records");
    }
    if !recovered.unknown.is_empty() {
        let _ = write!(text, "; outcome unknown of {}", recovered.unknown.join(", "));
    }
    tracing::warn!("{text}");
    text
}
