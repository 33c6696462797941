//! `keygate demo`: a gate and a stand-in merchant API in one process, in a folder of their own, with commands to copy.

mod client;
mod once;
mod place;
mod tell;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use zeroize::Zeroizing;

use crate::assemble::{self, Gate};
use crate::config::Config;
use crate::policy::scoped_key::ScopedKey;
use crate::stand_in::{self, Options, StandIn};

use super::output::hex;
use super::pki;
use super::report::Failure;
use super::{run, settings};
use place::Place;

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate demo                       starts it and prints commands to copy; Ctrl-C stops it\n  \
    keygate demo --once                makes the calls itself, tells what each showed, exits 0 or 1\n  \
    keygate demo --dir /tmp/d --port 0 --json\n\n\
    Everything it makes lies in its folder, which a later demo uses again; each start makes new keys.\n\
    The merchant API is a stand-in on this machine: nothing leaves it.")]
pub struct Demo {
    /// The demo's folder; made when it is not there
    #[arg(long, value_name = "DIR", default_value = "keygate-demo")]
    dir: PathBuf,
    /// The gate's port; 0 takes any free one
    #[arg(long, value_name = "N", default_value_t = 8443)]
    port: u16,
    /// Make the calls, tell what each showed, and stop
    #[arg(long)]
    once: bool,
    /// Print one JSON object when ready, for scripts
    #[arg(long, conflicts_with = "once")]
    json: bool,
}

/// A demo that runs.
struct Running {
    /// Keeps other demos out of the folder.
    place: Place,
    stand_in: StandIn,
    gate: Gate,
    config: Config,
    keys: Keys,
}

/// The keys of this start, shown once and kept nowhere.
struct Keys {
    webshop: ScopedKey,
    pim: ScopedKey,
    /// The real one, known to the vault and to the stand-in.
    real: Zeroizing<String>,
}

/// Runs it; the exit code.
pub fn run(args: &Demo) -> Result<u8, Failure> {
    let began = Instant::now();
    run::start_quiet_log();
    let running = Running::start(args)?;
    if args.once {
        return once::run(running);
    }
    let told = if args.json { tell::as_json(&running) } else { tell::for_people(&running, began.elapsed()) };
    told?;
    let Running { gate, stand_in, place, .. } = running;
    let ended = gate.run_until_signal();
    stand_in.stop();
    drop(place);
    ended.map(|()| 0)
}

impl Running {
    fn start(args: &Demo) -> Result<Self, Failure> {
        let place = Place::take(&args.dir)?;
        let address = free_address(args.port)?;
        let keys = Keys::new()?;
        let (stand_in, ca) = start_stand_in(&keys)?;
        let text = place.write(&keys, address, stand_in.address().port(), &ca)?;
        let config = settings::checked(&place.config(), &text)?;
        let gate = assemble::start(&config, None)?;
        Ok(Self { place, stand_in, gate, config, keys })
    }

    /// What integrations call. By name, because that is how clients usually do it.
    fn base_url(&self) -> String {
        let path = self.config.upstreams.first().map_or("", |upstream| &upstream.base_url.path);
        format!("https://localhost:{}{path}", self.gate.address().port())
    }
}

impl Keys {
    fn new() -> Result<Self, Failure> {
        let random = super::init::hash_key()?;
        // The form of ChannelEngine's own keys: forty hex digits.
        let real = hex(&random[..20]);
        Ok(Self {
            webshop: super::integration::fresh_key()?,
            pim: super::integration::fresh_key()?,
            real: Zeroizing::new(real),
        })
    }
}

/// Tries the port first: the gate itself shares its port among its workers, and so would share it with another gate.
fn free_address(port: u16) -> Result<SocketAddr, Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(address) {
        Ok(_) => Ok(address),
        Err(error) => Err(Failure::new(format!("cannot listen on `{address}`"))
            .because(error)
            .hint("name another port with `--port N`, or let the system choose with `--port 0`")),
    }
}

/// Starts the merchant API with a certificate of its own; the other half is the CA to trust.
fn start_stand_in(keys: &Keys) -> Result<(StandIn, String), Failure> {
    let failed = || Failure::new("cannot start the stand-in merchant API");
    let pki = pki::make(&[], pki::today()).map_err(|error| failed().because(error))?;
    let (certificate, key) = (pki.server.into_bytes(), pki.server_key.as_bytes().to_vec());
    let options = Options::new(certificate, key, vec![keys.real.to_string()]);
    let stand_in = stand_in::start(options).map_err(|error| failed().because(error))?;
    Ok((stand_in, pki.ca))
}
