//! One worker: its accept loop, and how it ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;

use super::Settings;
use super::connection::{Calls, Connection};
use crate::gateway::Gateway;

/// Between two tries to accept when the system is out of descriptors or memory.
const BACK_OFF: Duration = Duration::from_millis(50);

pub(super) struct Worker {
    gateway: Arc<Gateway>,
    settings: Arc<Settings>,
    stop: watch::Receiver<bool>,
}

impl Worker {
    pub(super) fn new(gateway: Arc<Gateway>, settings: Arc<Settings>, stop: watch::Receiver<bool>) -> Self {
        Self { gateway, settings, stop }
    }

    /// Serves until told to stop, then drains.
    pub(super) async fn run(self, listener: std::net::TcpListener) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a worker cannot listen"),
        };
        let mut stop = self.stop.clone();
        let graceful = GracefulShutdown::new();
        let (running, mut ended) = mpsc::channel::<()>(1);
        // The two limits at this edge are tower's own: shed what the in-flight limit does not take at once.
        let calls = ServiceBuilder::new()
            .load_shed()
            .layer(GlobalConcurrencyLimitLayer::with_semaphore(self.settings.in_flight.clone()))
            .service(Calls::new(self.gateway.clone(), running.clone()));
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.changed() => break,
                accepted = self.accept(&listener) => accepted,
            };
            let Some((stream, peer, slot)) = accepted else { continue };
            let connection = Connection {
                gateway: self.gateway.clone(),
                settings: self.settings.clone(),
                calls: calls.clone(),
                peer: peer.ip().to_canonical(),
                _slot: slot,
                _running: running.clone(),
            };
            tokio::spawn(connection.serve(stream, graceful.watcher()));
        }
        drop((listener, calls, running));
        // Connections end when their calls do; a call whose client hung up is waited for all the same.
        let all = async {
            graceful.shutdown().await;
            while ended.recv().await.is_some() {}
        };
        if timeout(self.settings.drain_timeout, all).await.is_err() {
            tracing::warn!("calls were still under way when the drain time ended; they are on record as cut");
        }
    }

    /// A connection and its slot: with no slot free, connections wait in the kernel's queue.
    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> Option<(tokio::net::TcpStream, std::net::SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
        let slot = self.settings.connections.clone().acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY");
                }
                self.gateway.shared().metrics.connection();
                Some((stream, peer, slot))
            }
            Err(error) if is_about_one_connection(&error) => None,
            Err(error) => {
                tracing::error!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(BACK_OFF).await;
                None
            }
        }
    }
}

/// Such an error ends one connection before it began; any other is about the listener or the system.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
