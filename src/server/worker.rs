//! One worker: its accept loop, its sweep, and how it ends.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Settings;
use super::connection::{Calls, Connection};
use super::seats::Taken;
use crate::allocator;
use crate::audit::{Http, TlsFacts};
use crate::descriptors::ran_out;
use crate::entry::{Abandoned, Peer};
use crate::gateway::{Gateway, note_event};
use crate::metrics::Open;
use crate::upstream;

/// Between two tries to accept when the system is out of descriptors or memory.
const BACK_OFF: Duration = Duration::from_millis(50);
/// When so many connections went to rest, what they kept is given back to the system.
const MANY: u64 = 1_000;
/// A source that has too many connections already.
const TOO_MANY: &str = "too_many_connections";

pub(super) struct Worker {
    number: usize,
    gateway: Arc<Gateway>,
    settings: Arc<Settings>,
    stop: watch::Receiver<bool>,
    /// Connections that went to rest since memory was given back.
    rested: Cell<u64>,
}

impl Worker {
    pub(super) fn new(
        number: usize,
        gateway: Arc<Gateway>,
        settings: Arc<Settings>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { number, gateway, settings, stop, rested: Cell::new(0) }
    }

    /// Serves until told to stop, then drains.
    pub(super) async fn run(self, listener: std::net::TcpListener) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a worker cannot listen"),
        };
        let (running, ended) = mpsc::channel::<()>(1);
        let mut sweeps = interval(self.settings.seats.times.tick);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let sweep = async {
            loop {
                sweeps.tick().await;
                self.sweep();
            }
        };
        tokio::select! {
            () = sweep => {}
            () = self.serve(listener, running, ended) => {}
        }
        for together in self.settings.seats.rest() {
            self.record_together(together.code, together.source, together.times);
        }
    }

    async fn serve(&self, listener: TcpListener, running: mpsc::Sender<()>, mut ended: mpsc::Receiver<()>) {
        let mut stop = self.stop.clone();
        tokio::spawn(self.gateway.shared().log.clone().attend());
        tokio::spawn(upstream::watch());
        let calls = Calls::new(self.gateway.clone(), self.settings.in_flight.clone(), running.clone());
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.changed() => break,
                accepted = self.accept(&listener) => accepted,
            };
            let Some((stream, peer, taken)) = accepted else { continue };
            let connection = Connection {
                gateway: self.gateway.clone(),
                settings: self.settings.clone(),
                calls: calls.clone(),
                peer,
                taken,
                _running: running.clone(),
            };
            tokio::spawn(connection.serve(stream));
        }
        drop((listener, calls, running));
        // Connections end when their calls do; a call whose client hung up is waited for all the same.
        self.settings.seats.close(self.number);
        let all = async { while ended.recv().await.is_some() {} };
        if timeout(self.settings.drain_timeout, all).await.is_err() {
            tracing::warn!("calls were still under way when the drain time ended; they are on record as cut");
        }
    }

    /// A connection and its seat. With no slot free, the oldest idle connection makes room for it; while there is none,
    /// connections wait in the kernel's queue.
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, IpAddr, Taken)> {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                self.cannot_accept(&error).await;
                return None;
            }
        };
        self.gateway.shared().metrics.connections.accepted();
        let peer = peer.ip().to_canonical();
        let seats = &self.settings.seats;
        let Ok(source) = seats.from_source(peer) else {
            self.turn_away(peer);
            return None;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let taken = seats.take(self.number, source).await?;
        Some((stream, peer, taken))
    }

    async fn cannot_accept(&self, error: &io::Error) {
        if is_about_one_connection(error) {
            return;
        }
        let seats = &self.settings.seats;
        if !ran_out(error) {
            tracing::error!(%error, "cannot accept connections; trying again");
            return tokio::time::sleep(BACK_OFF).await;
        }
        if seats.shortage_begins() {
            tracing::error!(%error, "no file descriptor is left for a connection; idle ones make room");
            let detail = format!("{error}: the connections that are idle for the longest make room");
            drop(note_event(&self.gateway.shared().log, "descriptors-exhausted", detail));
        }
        seats.make_room();
        seats.somebody_left(BACK_OFF).await;
    }

    fn turn_away(&self, peer: IpAddr) {
        if self.settings.seats.note(TOO_MANY, peer) {
            self.gateway.note_connection(&unidentified(peer), TOO_MANY, None);
        } else {
            self.gateway.shared().metrics.refusal(TOO_MANY);
        }
    }

    fn sweep(&self) {
        let (seats, metrics) = (&self.settings.seats, &self.gateway.shared().metrics);
        let count = seats.sweep(self.number);
        metrics.connections.idled(count.idled);
        metrics.connections.rested(count.rested);
        self.give_back(count.rested);
        metrics.connections.open(self.number, Open { handshake: count.handshake, idle: count.idle, busy: count.busy });
        for together in seats.due() {
            self.record_together(together.code, together.source, together.times);
        }
        if seats.shortage_ends() {
            tracing::warn!("there are file descriptors for connections again");
            let detail = "connections are accepted without delay again".to_owned();
            drop(note_event(&self.gateway.shared().log, "descriptors-recovered", detail));
        }
    }

    /// Connections came to rest. When no more do, and many have, gives back what they kept.
    fn give_back(&self, rested: u64) {
        let all = self.rested.get() + rested;
        let due = rested == 0 && all >= MANY;
        self.rested.set(if due { 0 } else { all });
        if due {
            allocator::give_back();
        }
    }

    fn record_together(&self, code: &'static str, source: IpAddr, times: u64) {
        let detail = format!("{times} more connections within ten seconds");
        self.gateway.record_connection(&unidentified(source), code, Some(detail));
    }
}

fn unidentified(address: IpAddr) -> Peer {
    Peer { address, tls: TlsFacts::default().into(), http: Http::H1, abandoned: Abandoned::default() }
}

/// Such an error ends one connection before it began; any other is about the listener or the system.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
