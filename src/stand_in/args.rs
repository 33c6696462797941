//! The command `stand-in`: its arguments, and how it runs until a signal ends it.

use super::keys::Keys;
use super::{Faults, Log, NotAFault, Options, Rate, RateLimits, Seen, StandIn};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};

const EXAMPLES: &str = "\
Examples:
  A merchant API on a free port, with a certificate of its own:
    keygate stand-in --key 0123456789abcdef0123456789abcdef01234567 --ca-out ca.pem
  The first orders, as the API shows them (take the port from the `ready` line):
    curl --cacert ca.pem -H 'X-CE-KEY: 0123456789abcdef0123456789abcdef01234567' https://localhost:PORT/api/v2/orders/new
  Two calls a minute for one endpoint, and what a client makes of the 429:
    keygate stand-in --key K --rate 'PUT /v2/offer=2/1m'
  Slow, and every fifth call a 500:
    keygate stand-in --key K --delay 200ms --error-every 5
  Faults chosen call by call:
    keygate stand-in --key K --faults-by-header
    curl … -H 'x-stand-in-faults: cut-after=100, chunked'";

/// Run a small merchant API with products, orders and returns in memory, for trying things out.
///
/// It speaks TLS as ChannelEngine's Merchant API does, keeps everything in memory, and forgets it at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct StandInArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "IP:PORT")]
    pub address: SocketAddr,
    /// Certificate chain, PEM [default: one made for localhost]
    #[arg(long, value_name = "FILE", requires = "private_key")]
    pub certificate: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub private_key: Option<PathBuf>,
    /// Write the certificate that clients must trust to this file
    #[arg(long, value_name = "FILE")]
    pub ca_out: Option<PathBuf>,
    /// An API key to accept (repeatable)
    #[arg(long, value_name = "KEY", required_unless_present = "key_file")]
    pub key: Vec<String>,
    /// A file with API keys to accept, one a line; read again when it changes
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// The path before `/v2`
    #[arg(long, default_value = "/api", value_name = "PATH")]
    pub base_path: String,
    /// Limit every endpoint (`60/1m`) or one (`PUT /v2/offer=10/1m`); repeatable [default: no limit that is met]
    #[arg(long, value_name = "[ENDPOINT=]N/PERIOD", value_parser = rate)]
    pub rate: Vec<(Option<String>, Rate)>,
    /// Threads that accept and serve
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub threads: usize,
    /// Append each call as it arrives to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub request_log: Option<PathBuf>,
    /// What goes wrong on purpose
    #[command(flatten)]
    pub faults: FaultArgs,
}

/// What goes wrong on purpose, for every call.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Faults")]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own, and any of them go together")]
pub struct FaultArgs {
    /// Wait before each reply, such as `200ms` or `2s`
    #[arg(long, value_name = "TIME")]
    pub delay: Option<String>,
    /// Break the connection after N bytes of the reply's body; 0 is before its head
    #[arg(long, value_name = "N")]
    pub cut_after: Option<u64>,
    /// Send N bytes of the reply's body, then nothing more
    #[arg(long, value_name = "N")]
    pub stall_after: Option<u64>,
    /// Answer every Nth call with a 500
    #[arg(long, value_name = "N")]
    pub error_every: Option<u64>,
    /// Answer every call with a 503 and a page of HTML
    #[arg(long)]
    pub maintenance: bool,
    /// Encode replies with gzip, whatever the client accepts
    #[arg(long)]
    pub gzip: bool,
    /// Do not tell the length of replies (chunked on HTTP/1.1)
    #[arg(long)]
    pub chunked: bool,
    /// Repeat the call's key: `header-` or `body-`, then `raw`, `percent` or `base64` (repeatable)
    #[arg(long, value_name = "PLACE-FORM")]
    pub echo_key: Vec<String>,
    /// Make every reply N bytes longer
    #[arg(long, value_name = "N")]
    pub huge_reply: Option<u64>,
    /// Send an interim reply first: 100, 102 or 103 (HTTP/1.1 only)
    #[arg(long, value_name = "STATUS")]
    pub early: Option<u16>,
    /// End replies with a trailer field
    #[arg(long)]
    pub trailers: bool,
    /// Let calls add faults with the header `x-stand-in-faults: delay=200ms, gzip`
    #[arg(long)]
    pub faults_by_header: bool,
}

/// Why the stand-in could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file cannot be read or written.
    #[error("cannot {verb} `{path}`")]
    File {
        /// `read` or `write`.
        verb: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file of keys holds none.
    #[error("`{0}` holds no key")]
    NoKey(String),
    /// A fault's value is wrong.
    #[error(transparent)]
    Fault(#[from] NotAFault),
    /// The certificate cannot be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The server cannot start.
    #[error("cannot listen on `{address}`")]
    Start {
        /// Where it should have listened.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Signals or standard output do not work.
    #[error("cannot talk to the outside")]
    Outside(#[source] io::Error),
}

impl FaultArgs {
    /// The same as [`Faults`].
    pub fn faults(&self) -> Result<Faults, NotAFault> {
        let mut faults = Faults {
            cut_after_bytes: self.cut_after,
            stall_after_bytes: self.stall_after,
            error_every: self.error_every,
            maintenance: self.maintenance,
            gzip: self.gzip,
            chunked: self.chunked,
            huge_reply_bytes: self.huge_reply,
            trailers: self.trailers,
            ..Faults::default()
        };
        for echo in &self.echo_key {
            faults.set("echo-key", echo)?;
        }
        if let Some(delay) = &self.delay {
            faults.set("delay", delay)?;
        }
        if let Some(early) = self.early {
            faults.set("early", &early.to_string())?;
        }
        Ok(faults)
    }
}

/// Runs the stand-in: writes `ready https://IP:PORT/api` to `out`, then waits for SIGINT or SIGTERM.
pub fn run(args: StandInArgs, out: &mut dyn io::Write) -> Result<(), RunError> {
    let base_path = format!("/{}", args.base_path.trim_matches('/'));
    let address = args.address;
    let options = options(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Outside)?;
    runtime.block_on(async {
        // Before the ready line: who reads it may send the signal at once.
        let mut ends = [SignalKind::interrupt(), SignalKind::terminate()].map(signal).into_iter();
        let (Some(Ok(mut interrupt)), Some(Ok(mut terminate))) = (ends.next(), ends.next()) else {
            return Err(RunError::Outside(io::Error::other("signals cannot be caught")));
        };
        let stand_in = super::start(options).map_err(|source| RunError::Start { address, source })?;
        tell(out, &stand_in, &base_path).map_err(RunError::Outside)?;
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        stand_in.stop();
        Ok(())
    })
}

fn tell(out: &mut dyn io::Write, stand_in: &StandIn, base_path: &str) -> io::Result<()> {
    writeln!(out, "ready https://{}{}", stand_in.address(), base_path.trim_end_matches('/'))?;
    out.flush()
}

fn options(args: StandInArgs) -> Result<Options, RunError> {
    let (certificate, private_key) = match (&args.certificate, &args.private_key) {
        (Some(certificate), Some(private_key)) => (read(certificate)?, read(private_key)?),
        _ => own_certificate(args.address.ip())?,
    };
    if let Some(path) = &args.ca_out {
        fs::write(path, &certificate).map_err(file("write", path))?;
    }
    let mut options = Options::new(certificate, private_key, args.key.clone());
    options.key_file = key_file(&args)?;
    options.address = args.address;
    options.faults = args.faults.faults()?;
    options.faults_by_header = args.faults.faults_by_header;
    options.rate_limits = rate_limits(args.rate);
    options.base_path = args.base_path;
    options.threads = args.threads;
    options.log = args.request_log.as_deref().map(log_to).transpose()?;
    Ok(options)
}

fn file(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunError {
    let path = path.display().to_string();
    move |source| RunError::File { verb, path, source }
}

fn read(path: &Path) -> Result<Vec<u8>, RunError> {
    fs::read(path).map_err(file("read", path))
}

/// The file of keys, which holds one at least.
fn key_file(args: &StandInArgs) -> Result<Option<PathBuf>, RunError> {
    let Some(path) = &args.key_file else { return Ok(None) };
    let keys = Keys::new(Vec::new(), Some(path)).map_err(file("read", path))?;
    if keys.is_empty() {
        return Err(RunError::NoKey(path.display().to_string()));
    }
    Ok(Some(path.clone()))
}

/// A self-signed certificate for localhost and the address: it is its own root, so clients trust the file itself.
fn own_certificate(ip: IpAddr) -> Result<(Vec<u8>, Vec<u8>), RunError> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !ip.is_unspecified() && !names.contains(&ip.to_string()) {
        names.push(ip.to_string());
    }
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "stand-in merchant API");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem().into_bytes(), key.serialize_pem().into_bytes()))
}

/// `60/1m`, or `PUT /v2/offer=10/1m`.
fn rate(text: &str) -> Result<(Option<String>, Rate), super::NotARate> {
    match text.rsplit_once('=') {
        Some((endpoint, rate)) => Ok((Some(endpoint.trim().to_owned()), rate.parse()?)),
        None => Ok((None, text.parse()?)),
    }
}

fn rate_limits(rates: Vec<(Option<String>, Rate)>) -> RateLimits {
    let mut limits = RateLimits::generous();
    for (endpoint, rate) in rates {
        match endpoint {
            Some(endpoint) => limits.endpoints.push((endpoint, rate)),
            None => limits.every = Some(rate),
        }
    }
    limits
}

fn log_to(path: &Path) -> Result<Log, RunError> {
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(file("write", path))?;
    Ok(Box::new(move |seen: &Seen| {
        // A log that cannot be written must not change what the API answers; the test that reads it will notice.
        if let Ok(mut line) = serde_json::to_vec(seen) {
            line.push(b'\n');
            let _ = file.write_all(&line);
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: StandInArgs,
    }

    fn parse(line: &str) -> Result<StandInArgs, clap::Error> {
        Cli::try_parse_from(std::iter::once("stand-in").chain(line.split(' '))).map(|cli| cli.args)
    }

    #[test]
    fn rates_are_for_all_endpoints_or_for_one() {
        let args = Cli::try_parse_from(["stand-in", "--key", "k", "--rate", "60/1m", "--rate", "PUT /v2/offer=10/1m"])
            .unwrap()
            .args;
        let limits = rate_limits(args.rate);
        assert_eq!(limits.every.unwrap().calls, 60);
        assert_eq!(limits.endpoints[0].0, "PUT /v2/offer");
    }

    #[test]
    fn a_key_is_needed_and_a_certificate_needs_its_private_key() {
        assert!(parse("--threads 2").is_err() && parse("--key k --certificate c.pem").is_err());
        assert!(parse("--key k").is_ok() && parse("--key-file keys").is_ok());
    }

    #[test]
    fn faults_are_taken_over_from_the_command_line() {
        let args = parse("--key k --delay 200ms --cut-after 5 --echo-key body-raw --early 103 --trailers").unwrap();
        let faults = args.faults.faults().unwrap();
        assert_eq!(
            (faults.cut_after_bytes, faults.early, faults.trailers, faults.echo_key.len()),
            (Some(5), Some(103), true, 1)
        );
        assert!(parse("--key k --delay soon").unwrap().faults.faults().is_err());
    }

    #[test]
    fn the_certificate_that_it_makes_is_one_that_it_can_use() {
        let (certificate, private_key) = own_certificate(IpAddr::from([127, 0, 0, 2])).unwrap();
        assert!(super::super::server::tls(&certificate, &private_key).is_ok());
    }
}
