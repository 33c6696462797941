//! The vault: which kind it is, what is asked of it at the start, and what is told of it later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::Log;
use crate::cli::report::Failure;
use crate::config::{self, Config, VaultPlace};
use crate::gateway::note_event;
use crate::signals::Signals;
use crate::vault::{
    AgeFile, Change, Directory, Exchanging, Exec, Held, Holdings, KeyRing, OpenBao, Prepared, Refresher, Role,
    SetupError, Times, Vault, VaultError, narrowest,
};

/// Between two questions to a vault that does not answer, at the start.
const AGAIN: Duration = Duration::from_millis(500);

/// The vault of a configuration. Nothing is asked of it yet.
pub(super) fn open(config: &Config) -> Result<Box<dyn Vault>, Failure> {
    let vault: Box<dyn Vault> = match &config.vault.place {
        VaultPlace::Age { file, identity } => Box::new(AgeFile { file: file.clone(), identity: identity.clone() }),
        VaultPlace::OpenBao(bao) => Box::new(server(bao)?),
        VaultPlace::Directory { directory } => Box::new(Directory { directory: directory.clone() }),
        VaultPlace::Exec(exec) => Box::new(Exec(exec.clone())),
    };
    Exchanging::around(vault, &config.upstreams).map_err(|error| {
        let hint = "`token` of the profile names it; `trust_roots` of the upstream are whom it is trusted by";
        Failure::new("cannot use the token endpoint of a profile").because(error).hint(hint)
    })
}

/// The vault of a configuration, for commands that look at what is in it. A secret id that is wrapped is not unwrapped for
/// that: it would be used up, and the gate itself could not start any more.
pub fn to_look_at(config: &Config) -> Result<Box<dyn Vault>, Failure> {
    if let VaultPlace::OpenBao(config::OpenBao { login: config::Login::AppRole { wrapped: true, .. }, .. }) =
        &config.vault.place
    {
        return Err(Failure::new("the vault is not asked: the secret id is wrapped and can be unwrapped only once"));
    }
    open(config)
}

fn server(bao: &config::OpenBao) -> Result<OpenBao, Failure> {
    OpenBao::new(bao).map_err(|error: SetupError| {
        let hint = "`[vault] trust_roots` names a PEM file with CA certificates; `client_certificate` and `client_key` are PEM \
                    files, the key readable by its owner only";
        Failure::new(format!("cannot use the vault `{}`", bao.address)).because(error).hint(hint)
    })
}

/// Fetches every credential. A vault that cannot be asked is an error; one that only does not answer is waited for, as
/// long as `start_wait` says. A credential that is not in it yet is told, and its calls are refused.
pub(super) fn first(vault: &dyn Vault, config: &Config, signals: &mut Signals) -> Result<Holdings, Failure> {
    let deadline = config.vault.start_wait.map(|wait| Instant::now() + wait);
    let mut told = false;
    loop {
        let error = match Holdings::first(vault, &config.upstreams) {
            Ok(holdings) => return Ok(holdings),
            Err(error) => error,
        };
        let waiting = error.may_pass() && deadline.is_some_and(|deadline| Instant::now() < deadline);
        if !waiting {
            return Err(error.into());
        }
        if !told {
            let at_most = config::show_duration(config.vault.start_wait.unwrap_or_default());
            tracing::warn!(%error, at_most, "waiting for the vault");
            told = true;
        }
        if signals.stop_within(AGAIN) {
            return Err(Failure::new("stopped while waiting for the vault").because(error));
        }
    }
}

/// Asks of the vault what `check` wants to know. A secret id that is wrapped is not unwrapped for that: it would be used up.
pub fn inspect(config: &Config) -> Vec<Failure> {
    if let VaultPlace::OpenBao(bao) = &config.vault.place {
        let wrapping = server(bao).map(|server| server.wrapping());
        match wrapping {
            Err(failure) => return vec![failure],
            Ok(Some(wrapping)) => return wrapping.err().map(Failure::from).into_iter().collect(),
            Ok(None) => {}
        }
    }
    let vault = match open(config) {
        Ok(vault) => vault,
        Err(failure) => return vec![failure],
    };
    let mut found = Vec::new();
    for upstream in &config.upstreams {
        for id in &upstream.credentials {
            match credential(&*vault, upstream, id) {
                Err(Asked::Vault(error @ VaultError::Away { .. })) => {
                    // To ask for the next one would say the same.
                    found.push(error.into());
                    return found;
                }
                Err(Asked::Vault(error)) => found.push(error.into()),
                Err(Asked::Unusable(failure)) => found.push(failure),
                Ok(()) => {}
            }
        }
    }
    found
}

/// Why a credential is not right.
enum Asked {
    Vault(VaultError),
    Unusable(Failure),
}

fn credential(vault: &dyn Vault, upstream: &config::Upstream, id: &Arc<str>) -> Result<(), Asked> {
    let credential = vault.fetch(id).map_err(Asked::Vault)?;
    let hint = format!("store it for this upstream with `keygate credential put {id}`");
    let (slot, _) = Prepared::covered(&credential, upstream);
    slot.map(drop).map_err(|why| Asked::Unusable(Failure::new(why.to_string()).hint(hint)))
}

/// Which credential a call would go with.
pub struct Chosen {
    /// Its id and version, or why it cannot be used; `None` when no credential may serve the endpoint.
    pub credential: Option<Result<(Arc<str>, u64), String>>,
    /// How many credentials of the upstream cover the endpoint.
    pub covering: usize,
}

/// Which credential a call of an endpoint would go with: asks the vault, for `explain`. An error says why it cannot be known.
pub fn chosen(config: &Config, upstream: usize, endpoint: usize) -> Result<Chosen, String> {
    let vault = to_look_at(config).map_err(|failure| failure.chain())?;
    let wanted = &config.upstreams[upstream..=upstream];
    let held = Holdings::first(&*vault, wanted).map_err(|error| Failure::from(error).chain())?.of(0);
    let covering = held.iter().filter(|held| held.covers.as_ref().is_some_and(|covers| covers.has(endpoint))).count();
    let told = |held: &Held| held.slot.as_ref().map(|it| it.credential.clone()).map_err(ToString::to_string);
    // What was never seen covers, as far as anybody knows, what no other one does.
    let unseen = || held.iter().position(|held| held.covers.is_none());
    let chosen = narrowest(&held, endpoint).or_else(unseen);
    Ok(Chosen { credential: chosen.map(|position| told(&held[position])), covering })
}

/// Starts the thread that asks again; what changes is put on record.
pub(super) fn refresher(
    config: &Config,
    vault: Box<dyn Vault>,
    holdings: Holdings,
    ring: Arc<KeyRing>,
    log: Log,
) -> Result<Refresher, Failure> {
    let config::Vault { refresh, stale_for, former_for, .. } = config.vault;
    let on_change = move |change| {
        let (code, detail) = tell(change);
        drop(note_event(&log, code, detail));
    };
    Refresher::start(
        vault,
        config.upstreams.clone(),
        holdings,
        ring,
        Times { refresh, stale_for, former_for },
        on_change,
    )
    .map_err(|error| Failure::new("cannot start the vault's thread").because(error))
}

/// A change in the program's own log, and what stands of it in the record.
fn tell(change: Change) -> (&'static str, String) {
    match change {
        Change::NewVersion { upstream, credential: (id, version) } => {
            tracing::info!(%upstream, %id, version, "another version of the credential is in use");
            ("credential-changed", format!("upstream {upstream}: credential {id} version {version}"))
        }
        Change::Trouble { upstream, why, serving } => {
            tracing::error!(%upstream, why, serving, "the vault does not hand out the credential");
            let now = if serving { "the last good one stays in use" } else { "calls are refused" };
            ("credential-trouble", format!("upstream {upstream}: {why}; {now}"))
        }
        Change::Stale { upstream, credential, after } => {
            let after = config::show_duration(after);
            tracing::error!(%upstream, %credential, after, "the vault has not confirmed the credential for too long");
            let detail = format!(
                "upstream {upstream}: credential {credential} was not confirmed for {after}; calls are refused"
            );
            ("credential-stale", detail)
        }
        Change::Second { upstream, credential: (id, version), role } => {
            let role = match role {
                Role::Candidate { share } => format!("{share} % of the reads go out with it"),
                Role::Former => "it answers for reads that the new one is refused".to_owned(),
            };
            tracing::info!(%upstream, %id, version, role, "the credential has a second key");
            ("credential-second", format!("upstream {upstream}: credential {id} version {version}; {role}"))
        }
        Change::Restored { upstream, credential: (id, version) } => {
            tracing::info!(%upstream, %id, version, "the vault hands the credential out again");
            ("credential-restored", format!("upstream {upstream}: credential {id} version {version}"))
        }
        Change::Vault(text) => {
            tracing::info!(text, "the vault");
            ("vault", text)
        }
    }
}
