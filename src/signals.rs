//! The signals that a gate heeds, caught from its first moment on.

use std::io;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP.
pub struct Signals {
    runtime: Runtime,
    term: Signal,
    int: Signal,
    /// `None` leaves a hang-up to the system, which ends the process.
    hup: Option<Signal>,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// An orderly end.
    Stop,
    /// Another look at the configuration.
    Reload,
}

impl Signals {
    /// Catches them. With `reload`, a hang-up asks for a reload.
    pub fn new(reload: bool) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (term, int, hup) = {
            let _inside = runtime.enter();
            let hup = reload.then(|| signal(SignalKind::hangup())).transpose()?;
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, hup)
        };
        Ok(Self { runtime, term, int, hup })
    }

    /// Waits for the next one.
    pub fn wait(&mut self) -> Heard {
        let Self { runtime, term, int, hup } = self;
        let hang_up = async {
            match hup {
                Some(hup) => hup.recv().await,
                None => std::future::pending().await,
            }
        };
        runtime.block_on(async {
            tokio::select! {
                _ = term.recv() => Heard::Stop,
                _ = int.recv() => Heard::Stop,
                _ = hang_up => Heard::Reload,
            }
        })
    }

    /// Whether one that asks for the end comes within a time.
    pub fn stop_within(&mut self, time: Duration) -> bool {
        let Self { runtime, term, int, .. } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = term.recv() => true,
                _ = int.recv() => true,
                () = tokio::time::sleep(time) => false,
            }
        })
    }

    /// Waits for one that asks for the end; `reload` answers the others.
    pub fn wait_for_stop(&mut self, mut reload: impl FnMut()) {
        while self.wait() == Heard::Reload {
            reload();
        }
    }

    /// Waits for something else, at the start.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}
