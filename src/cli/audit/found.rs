//! What `audit find` prints: records on standard output, progress on a terminal.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::tail::one_line;
use crate::audit::find::Progress;
use crate::cli::output;
use crate::cli::report::Failure;

/// A search that ends sooner tells nothing of its progress.
const QUICK: Duration = Duration::from_millis(500);

/// Where records go.
pub(super) struct Out {
    sink: BufWriter<StdoutLock<'static>>,
    json: bool,
    left: Option<u64>,
    found: u64,
    error: Option<io::Error>,
    began: Instant,
    /// Whether progress can be seen, and whether some is to be seen.
    on_terminal: bool,
    told: bool,
}

impl Out {
    /// As JSON or for people; what nobody said is told by who reads. `limit` is how many records are wanted at most.
    pub(super) fn new(json: Option<bool>, limit: Option<u64>) -> Self {
        let stdout = io::stdout().lock();
        Self {
            json: json.unwrap_or_else(|| !stdout.is_terminal()),
            sink: BufWriter::with_capacity(1 << 16, stdout),
            left: limit,
            found: 0,
            error: None,
            began: Instant::now(),
            on_terminal: io::stderr().is_terminal(),
            told: false,
        }
    }

    /// Prints a record. Breaks when no further one is wanted.
    pub(super) fn hit(&mut self, line: &[u8]) -> ControlFlow<()> {
        self.no_progress();
        let written = if self.json { self.sink.write_all(line) } else { self.sink.write_all(row(line).as_bytes()) };
        let written = written.and_then(|()| self.sink.write_all(b"\n"));
        self.found += 1;
        self.left = self.left.map(|left| left - 1);
        let enough = self.left == Some(0);
        if self.noted(written).is_break() || enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    pub(super) fn flush(&mut self) -> ControlFlow<()> {
        let flushed = self.sink.flush();
        self.noted(flushed)
    }

    fn noted(&mut self, written: io::Result<()>) -> ControlFlow<()> {
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.error.get_or_insert(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Tells how far the search is, and lets go of what was found.
    pub(super) fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        if self.on_terminal && self.began.elapsed() > QUICK {
            let percent = progress.done.saturating_mul(100).checked_div(progress.all).unwrap_or(100);
            let indexing = if progress.indexing { ", making the index" } else { "" };
            output::note(&format!("\r{percent} % of {} MiB searched{indexing}\x1b[K", progress.all >> 20));
            self.told = true;
        }
        self.flush()
    }

    /// Wipes it away.
    pub(super) fn no_progress(&mut self) {
        if std::mem::take(&mut self.told) {
            output::note("\r\x1b[K");
        }
    }

    /// How many records were found. That the reader has gone is no error.
    pub(super) fn end(mut self) -> Result<u64, Failure> {
        let _ = self.flush();
        match self.error {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::new("cannot write to standard output").because(error))
            }
            _ => Ok(self.found),
        }
    }
}

/// A record's number, in front of what `audit tail` shows.
fn row(line: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Numbered {
        seq: u64,
    }
    let number = serde_json::from_slice(line).map_or_else(|_| String::new(), |Numbered { seq }| seq.to_string());
    format!("{number:>8}  {}", one_line(line))
}
