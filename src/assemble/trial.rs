//! What commands need of a gate: what an upstream says to a key, and where no gate runs, a record and retention.

use std::time::SystemTime;

use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::clients::{ClientParts, upstreams};
use super::open_log;
use crate::audit::{self, Due, Log, Retention};
use crate::cli::report::Failure;
use crate::config::Config;
use crate::gateway::note_event;
use crate::upstream::{Request, Upload};
use crate::vault::inject::trial_read;
use crate::vault::{Credential, Prepared};

/// Reads one path of an upstream with a key and hands back the status: what the upstream says to that key. The key goes
/// only where its binding lets it, and only through the door that every call goes through.
pub fn try_key(config: &Config, upstream: usize, credential: &Credential, path: &str) -> Result<u16, Failure> {
    let name = &config.upstreams[upstream].name;
    let prepared = Prepared::covered(credential, &config.upstreams[upstream]).0;
    let prepared = prepared.map_err(|why| Failure::new(why.to_string()))?;
    let failed = || Failure::new(format!("upstream `{name}` cannot be asked what it says to the key"));
    let parts = upstreams(config)?.swap_remove(upstream);
    runtime()?.block_on(async {
        let upstream = ClientParts::build(&parts);
        let outbound = trial_read(&prepared, &upstream.base_path, path, &upstream.host)
            .map_err(|why| Failure::new(why.to_string()))?;
        let deadline = Instant::now() + upstream.times.total;
        let request = Request { parts: outbound.into_parts(), body: Upload::default(), deadline };
        let reply = tower::Service::call(&mut &upstream.service, request).await;
        reply.map(|inbound| inbound.head.status.as_u16()).map_err(|error| failed().because(error))
    })
}

/// Puts an event on record while no gate runs: the log is opened and sealed for it as by a gate that lives for a moment.
pub fn note_alone(config: &Config, code: &'static str, detail: String) -> Result<(), Failure> {
    with_log(config, |log, runtime| {
        runtime.block_on(note_event(log, code, detail)).map(drop).map_err(|error| cannot_write().because(error))
    })
}

/// Removes what retention does not keep while no gate runs.
pub fn prune_alone(config: &Config, retention: Retention) -> Result<Option<Due>, Failure> {
    with_log(config, |log, _| {
        audit::remove_old(&config.audit.directory, log, retention, SystemTime::now())
            .map_err(|error| Failure::new("old segments cannot be removed").because(error))
    })
}

fn with_log<T>(config: &Config, what: impl FnOnce(&Log, &Runtime) -> Result<T, Failure>) -> Result<T, Failure> {
    let (log, _, recovered) = open_log(config)?;
    let runtime = runtime()?;
    if let Some(detail) = recovered {
        runtime.block_on(note_event(&log, "recovered", detail)).map_err(|error| cannot_write().because(error))?;
    }
    let done = what(&log, &runtime)?;
    log.seal().map_err(|error| Failure::new("cannot seal the audit log").because(error))?;
    Ok(done)
}

fn cannot_write() -> Failure {
    Failure::new("cannot write the audit log")
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(error))
}
