//! A changed configuration or certificate is taken over without a restart, as a whole or not at all.
//!
//! A thread looks at the files ten times a second and reads them when they have changed and come to rest; SIGHUP makes it
//! read at once. What cannot be used changes nothing: the former configuration stays in force, and the log, the record,
//! health, metrics and `audit/running` say why.

mod difference;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::audit::{Log, Pending};
use crate::cli::report::Failure;
use crate::cli::settings::{self, Source};
use crate::config::Config;
use crate::gateway::Shared;
use crate::running::{Running, Told};
use crate::server::tls::{self, Certificate};
use difference::{Difference, between, in_running_order, needs_restart};
use watch::Watch;

/// Between two looks at the files. A change is taken over after two to three of these.
const LOOK: Duration = Duration::from_millis(100);

/// Writes an event of the gate; whoever cares waits for what it returns.
pub type Note = fn(&Log, &'static str, String) -> Pending;

/// What a reload works on.
pub struct Parts {
    /// What is in force.
    pub config: Config,
    /// Where it came from.
    pub source: Source,
    /// What the workers share.
    pub shared: Arc<Shared>,
    /// What they show to integrations.
    pub certificate: Arc<Certificate>,
    /// How an event is written.
    pub note: Note,
}

/// The thread that does it. It ends on drop.
pub struct Reloader {
    orders: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reloader {
    /// Begins to watch. `parts` describes what runs already.
    pub fn start(parts: Parts) -> std::io::Result<Self> {
        let told = Told { pid: std::process::id(), in_force: parts.source.sha256.clone(), ..Told::default() };
        let running = Running::begin(&parts.config.audit.directory, &told)?;
        let watch = Watch::new(files(&parts.source.path, &parts.config));
        let (orders, ordered) = mpsc::channel();
        let keeper = Keeper { parts, running, told };
        let thread = std::thread::Builder::new().name("reload".into()).spawn(move || keeper.run(watch, &ordered))?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Reads the files now, changed or not.
    pub fn now(&self) {
        if let Some(orders) = &self.orders {
            // A thread that has ended has said so.
            let _ = orders.send(());
        }
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// What a change can touch.
fn files(path: &Path, config: &Config) -> Vec<PathBuf> {
    vec![path.to_owned(), config.listen.certificate.clone(), config.listen.private_key.clone()]
}

struct Keeper {
    parts: Parts,
    running: Running,
    told: Told,
}

/// Everything of a new state, found to be usable.
struct Usable {
    config: Config,
    sha256: String,
    difference: Difference,
    certificate: Option<tls::Pair>,
}

/// Why a new state is not taken over.
struct Unusable {
    sha256: Option<String>,
    problems: Vec<String>,
}

impl Keeper {
    fn run(mut self, mut watch: Watch, orders: &Receiver<()>) {
        loop {
            let ordered = match orders.recv_timeout(LOOK) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if ordered || watch.changed() {
                watch.about_to_read();
                if self.reload(ordered) {
                    watch.follow(files(&self.parts.source.path, &self.parts.config));
                }
            }
        }
    }

    /// Whether something else is in force now.
    fn reload(&mut self, ordered: bool) -> bool {
        match self.read(ordered) {
            Ok(usable) if usable.sha256 == self.told.in_force && usable.certificate.is_none() => {
                if ordered || !self.told.problems.is_empty() {
                    tracing::info!("nothing to reload: what the files say is in force");
                }
                self.parts.shared.metrics.reloads.settled();
                self.tell(None, Vec::new());
                false
            }
            Ok(usable) => {
                self.apply(usable);
                true
            }
            Err(why) => {
                self.refuse(why);
                false
            }
        }
    }

    /// Reads everything and finds everything that is wrong with it. Changes nothing. A text that is in force is not checked
    /// again, unless it was `ordered`: then a profile's file may have changed.
    fn read(&self, ordered: bool) -> Result<Usable, Unusable> {
        let unread = |failure: Failure| Unusable { sha256: None, problems: told(&failure) };
        let (text, source) = settings::read_source(&self.parts.source.path).map_err(unread)?;
        let unusable = |problems| Unusable { sha256: Some(source.sha256.clone()), problems };
        let running = &self.parts.config;
        let config = if source.sha256 == self.told.in_force && !ordered {
            running.clone()
        } else {
            settings::checked(&source.path, &text).map_err(|failure| unusable(told(&failure)))?
        };
        let restart = needs_restart(running, &config);
        if !restart.is_empty() {
            return Err(unusable(restart.iter().map(|key| format!("needs a restart: {key}")).collect()));
        }
        let config = in_running_order(running, config);
        let difference = between(running, &config);
        let pair = tls::read_certificate(&config.listen.certificate, &config.listen.private_key).map_err(|error| {
            unusable(vec![Failure::new("cannot use the server certificate").because(error).chain()])
        })?;
        let certificate = (!self.parts.certificate.shows(&pair)).then_some(pair);
        Ok(Usable { config, sha256: source.sha256, difference, certificate })
    }

    /// Puts it in force. The event stands in the log before the first call that was judged by it.
    fn apply(&mut self, usable: Usable) {
        let Usable { config, sha256, difference, certificate } = usable;
        let Parts { shared, note, .. } = &self.parts;
        let with_certificate = if certificate.is_some() { "; another certificate is shown" } else { "" };
        let detail = format!("{difference}{with_certificate}; keygate.toml has SHA-256 {sha256}");
        tracing::info!("reloaded: {detail}");
        drop(note(&shared.log, "reloaded", detail));
        if difference.recipients.is_some()
            && let Err(error) = shared.log.recipients().replace(&config.audit.recipients)
        {
            // They were read as recipients when the file was checked.
            tracing::error!("the recipients of the log stay as they were: {error}");
        }
        let next = shared.live.load().next(&config, &shared.metrics);
        shared.live.store(Arc::new(next));
        if let Some(pair) = certificate {
            self.parts.certificate.show(pair);
        }
        shared.metrics.reloads.applied();
        self.parts.config = config;
        self.told.in_force = sha256;
        self.tell(None, Vec::new());
    }

    fn refuse(&mut self, why: Unusable) {
        let Unusable { sha256, problems } = why;
        let Parts { shared, note, .. } = &self.parts;
        for problem in &problems {
            tracing::error!("the changed configuration is not taken over: {problem}");
        }
        let hash = sha256.as_deref().map_or_else(String::new, |hash| format!("; keygate.toml has SHA-256 {hash}"));
        drop(note(&shared.log, "reload-refused", format!("{}{hash}", problems.join("; "))));
        shared.metrics.reloads.refused(problems.clone());
        self.tell(sha256, problems);
    }

    fn tell(&mut self, refused: Option<String>, problems: Vec<String>) {
        (self.told.refused, self.told.problems) = (refused, problems);
        if let Err(error) = self.running.tell(&self.told) {
            tracing::error!(%error, "the commands cannot be told which configuration is in force");
        }
    }
}

/// A failure in lines: each problem of the file, or the failure itself.
fn told(failure: &Failure) -> Vec<String> {
    let problems: Vec<String> = failure
        .problems()
        .map(|problem| format!("{}:{}:{}: {}", problem.file, problem.line, problem.column, problem.what))
        .collect();
    if problems.is_empty() { vec![failure.chain()] } else { problems }
}
