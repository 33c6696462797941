//! Live sinks: records go on to other systems as they come, at least once.
//!
//! Each sink has a thread of its own that reads the log from the disk, behind the writer: the route knows nothing of it and
//! never waits for it. A batch is sent until it is acknowledged; then the sink's cursor, a small file beside the log, moves on.
//! Whatever happens, what was not acknowledged is sent again. In memory lies one batch, no more.

mod backoff;
mod batch;
mod courier;
mod cursor;
mod otlp;
mod syslog;
mod webhook;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::audit::{Event, Follow, Identity, Kind, Log, Record};
use crate::causes::chain;
use crate::config;
use crate::metrics::{Metrics, SinkState};

use backoff::Backoff;
use batch::Batch;
pub use courier::NoSink;
use courier::{Courier, Failed};
use cursor::Cursor;

/// How often a log without news is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// However long a receiver asks to be left alone (`Retry-After`), it is asked again after this time.
const LONGEST_ASKED: Duration = Duration::from_secs(10 * 60);
/// How long the end of the gate waits for a delivery that is under way. What is not acknowledged is sent by the next run.
const GRACE: Duration = Duration::from_secs(2);
/// How often a sink that waits looks whether it is to say that it is behind.
const TELL: Duration = Duration::from_secs(5);

/// The sinks of a gate. Each ends on drop.
pub struct Sinks {
    threads: Vec<(Sender<()>, Receiver<()>)>,
}

/// What only the disk can tell of a sink: its secrets, its roots.
pub fn inspect(sink: &config::Sink) -> Result<(), NoSink> {
    identity(sink)?;
    Courier::open(sink).map(drop)
}

/// What opens the log for it, when it is encrypted: the gate has nothing that does.
fn identity(sink: &config::Sink) -> Result<Option<Identity>, NoSink> {
    let read = |path: &PathBuf| Identity::read(path).map_err(|error| NoSink::new(sink, chain(&error)));
    sink.identity.as_ref().map(read).transpose()
}

impl Sinks {
    /// Starts them.
    pub fn start(sinks: &[config::Sink], log: &Log, directory: &Path, metrics: &Metrics) -> Result<Self, NoSink> {
        let mut threads = Vec::new();
        for sink in sinks {
            let failed = |error| NoSink::new(sink, error);
            let identity = identity(sink)?;
            let cursor = Cursor::open(directory, sink, identity.as_ref()).map_err(failed)?;
            let state = metrics.sinks.add(sink.name.clone());
            let courier = Courier::open(sink)?;
            let (sink, log, directory) = (sink.clone(), log.clone(), directory.to_owned());
            let (stop, stopped) = mpsc::channel();
            let (ending, ended) = mpsc::channel();
            let name = format!("sink-{}", sink.name).chars().take(15).collect();
            let caught_up = Instant::now();
            let worker =
                Worker { sink, log, directory, courier, cursor, identity, state, stopped, caught_up, behind: false };
            let run = move || {
                worker.run();
                // Nobody may be there to hear it any more.
                let _ = ending.send(());
            };
            std::thread::Builder::new().name(name).spawn(run).map_err(failed)?;
            threads.push((stop, ended));
        }
        Ok(Self { threads })
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        let until = Instant::now() + GRACE;
        let ended: Vec<Receiver<()>> = std::mem::take(&mut self.threads).into_iter().map(|(_, ended)| ended).collect();
        for ended in ended {
            // A server that does not answer keeps nobody: its batch is sent again by the next run.
            let _ = ended.recv_timeout(until.saturating_duration_since(Instant::now()));
        }
    }
}

struct Worker {
    sink: config::Sink,
    log: Log,
    directory: PathBuf,
    courier: Courier,
    cursor: Cursor,
    identity: Option<Identity>,
    state: Arc<SinkState>,
    stopped: Receiver<()>,
    /// When nothing was left to send.
    caught_up: Instant,
    /// Whether that it is behind was told.
    behind: bool,
}

impl Worker {
    fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut follow = None;
        let mut held: Option<Batch> = None;
        loop {
            let done = self.step(&mut follow, &mut held);
            let pause = match done {
                Ok(true) => Duration::ZERO,
                Ok(false) => LOOK,
                Err(Failed { why, wait }) => {
                    self.state.failed(&why);
                    tracing::warn!(sink = &*self.sink.name, why, "a sink did not take records; they are sent again");
                    backoff.next().max(wait.unwrap_or_default().min(LONGEST_ASKED))
                }
            };
            if pause <= LOOK {
                backoff = Backoff::default();
            }
            if self.rest(pause).is_break() {
                return;
            }
        }
    }

    /// Rests that long, or until the gate stops. However long that is, it says in time that it is behind.
    fn rest(&mut self, pause: Duration) -> ControlFlow<()> {
        let until = Instant::now() + pause;
        loop {
            self.tell();
            let left = until.saturating_duration_since(Instant::now());
            if !matches!(self.stopped.recv_timeout(left.min(TELL)), Err(RecvTimeoutError::Timeout)) {
                return ControlFlow::Break(());
            }
            if left <= TELL {
                return ControlFlow::Continue(());
            }
        }
    }

    /// Sends one batch, if there is one; whether there was.
    fn step(&mut self, follow: &mut Option<Follow>, held: &mut Option<Batch>) -> Result<bool, Failed> {
        if held.is_none() {
            *held = self.gather(follow)?;
        }
        let Some(batch) = held else {
            self.all_sent();
            return Ok(false);
        };
        let refused = self.courier.deliver(batch)?;
        // Acknowledged, then noted: between the two it may be sent twice, and never not at all.
        let cursor = self.cursor.advance(batch.next());
        cursor.map_err(|error| format!("cannot note how far it has come: {error}"))?;
        self.state.delivered(batch.len(), refused.as_ref().map_or(0, |refused| refused.records));
        if let Some(refused) = refused {
            self.note(
                "sink-refused",
                &format!("{} of records {} to {}: {}", refused.records, batch.first(), batch.next() - 1, refused.why),
            );
        }
        if !batch.is_full() {
            self.all_sent();
        }
        *held = None;
        Ok(true)
    }

    fn all_sent(&mut self) {
        self.caught_up = Instant::now();
    }

    /// The next records; none when there are no further ones yet.
    fn gather(&self, follow: &mut Option<Follow>) -> Result<Option<Batch>, String> {
        let failed = |error: crate::audit::ReadError| chain(&error);
        let mut reading = match follow.take() {
            Some(reading) => reading,
            None => Follow::from_record(&self.directory, self.cursor.next(), self.identity.as_ref()).map_err(failed)?,
        };
        let mut batch = Batch::new(self.sink.batch);
        while !batch.is_full() {
            // What was read of a batch that cannot be finished is read again.
            let Some(line) = reading.next_line().map_err(failed)? else { break };
            batch.push(line)?;
        }
        *follow = Some(reading);
        Ok(batch.closed())
    }

    /// Says once that it falls behind, and once that it has caught up.
    fn tell(&mut self) {
        let since = self.caught_up.elapsed();
        self.state.look(&self.directory, self.cursor.next(), since);
        if !self.behind && since >= self.sink.behind_after {
            self.behind = true;
            let why = self.state.trouble().unwrap_or_else(|| "it takes records more slowly than they come".to_owned());
            self.note("sink-behind", &format!("from record {} on: {why}", self.cursor.next()));
        } else if self.behind && since < self.sink.behind_after {
            self.behind = false;
            self.note("sink-caught-up", &format!("up to record {}", self.cursor.next()));
        }
    }

    fn note(&self, code: &'static str, detail: &str) {
        tracing::warn!(sink = &*self.sink.name, detail, "{code}");
        let mut record = Record::new(Kind::Gate, Timestamp::now());
        record.event = Some(Event { code, detail: format!("sink `{}`: {detail}", self.sink.name) });
        // Nobody waits for it: where the log takes no records, it says so itself.
        drop(self.log.append(&record));
    }
}

/// What the system says, where it is put into a file's words.
fn no_file(path: &Path, error: &io::Error) -> String {
    format!("`{}`: {error}", path.display())
}
