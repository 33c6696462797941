//! `keygate run`: the gate itself.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use clap::{Args, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

use crate::allocator;
use crate::assemble;
use crate::config::Config;

use super::output;
use super::report::Failure;
use super::settings;

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate run --config gate/keygate.toml\n  \
    keygate run --log-format json --log warn\n\n\
    Prints `ready URL` on standard output once it accepts connections, and its own log on standard error.\n\
    SIGTERM or Ctrl-C: no new connections, calls under way are finished, the audit log is sealed, exit 0.\n\
    A second signal ends it at once; no durable record is lost by that.\n\
    A changed configuration or certificate is taken over by itself, within a second, or at once on SIGHUP. One that is\n\
    wrong, or that needs a restart, changes nothing; why stands in the log, in health and in the record.")]
pub struct Run {
    /// Form of the program's own log (the audit log is always JSON lines)
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// How much of it
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: LogLevel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// Runs until a signal.
pub fn run(args: &Run, path: &Path) -> Result<(), Failure> {
    start_log(args.log, args.log_format);
    let (text, source) = settings::read_source(path)?;
    let config = settings::checked(path, &text)?;
    let gate = assemble::start(&config, Some(source))?;
    output::result(&format!("ready {}\n", base_url(&config, gate.address(), None)))?;
    // What the start has read and opened; this thread waits from here on.
    allocator::give_back();
    allocator::let_go_of_code();
    gate.run_until_signal()
}

/// The program's own log for commands that run a gate inside: warnings as text.
pub fn start_quiet_log() {
    start_log(LogLevel::Warn, LogFormat::Text);
}

fn start_log(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr);
    // There is one log per process; a second call changes nothing.
    let _ = match format {
        LogFormat::Text => log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

/// What an integration writes in place of the merchant API's base URL. `upstream` names the one it calls; without it
/// the path is left out when upstreams differ in it.
pub fn base_url(config: &Config, address: SocketAddr, upstream: Option<usize>) -> String {
    let mut paths = config.upstreams.iter().map(|upstream| upstream.base_url.path.as_str());
    let path = if let Some(index) = upstream {
        paths.nth(index).unwrap_or_default()
    } else {
        let first = paths.next().unwrap_or_default();
        if paths.all(|path| path == first) { first } else { "" }
    };
    format!("https://{address}{path}")
}
