//! Listeners, hello, TLS, connections, drain.
//!
//! One worker thread per core, each with its own runtime, its own listener on the shared port and its own connections
//! upstream: nothing on a call's way crosses threads but the audit writer.

mod connection;
mod fingerprint;
pub mod hello;
mod prefixed;
pub mod tls;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{Semaphore, watch};

use crate::config::Listen;
use crate::gateway::Gateway;

/// What all workers of a server share.
pub struct Settings {
    /// TLS towards integrations.
    pub tls: Arc<ServerConfig>,
    /// Largest request head, bytes.
    pub max_head: u32,
    /// Calls under way at once, over all workers.
    pub in_flight: Arc<Semaphore>,
    /// Connections open at once, over all workers.
    pub connections: Arc<Semaphore>,
    /// Time for the hello and the handshake.
    pub handshake_timeout: Duration,
    /// Time to read a head; also how long an idle connection is kept.
    pub head_timeout: Duration,
    /// Time that calls under way get when the gate stops.
    pub drain_timeout: Duration,
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
}

/// Listens on the address, once per worker. Port 0 is chosen once and shared.
pub fn listen(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    // `SO_REUSEPORT` would let a second gate share the port in silence, so the port is first taken without it.
    let probe = socket(address)?;
    probe.bind(&address.into())?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    let mut listeners = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = socket(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        socket.set_nonblocking(true)?;
        listeners.push(socket.into());
    }
    Ok((address, listeners))
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

impl Settings {
    /// From the configuration.
    pub fn new(listen: &Listen, tls: Arc<ServerConfig>) -> Self {
        Self {
            tls,
            max_head: listen.max_head,
            in_flight: Arc::new(Semaphore::new(listen.max_in_flight as usize)),
            connections: Arc::new(Semaphore::new(listen.max_connections as usize)),
            handshake_timeout: listen.handshake_timeout,
            head_timeout: listen.head_timeout,
            drain_timeout: listen.drain_timeout,
        }
    }
}

impl Settings {
    /// Where hyper itself stops reading a head, bytes: far enough above the limit that the gate can refuse in its own
    /// words, near enough that nobody fills memory.
    fn hard_head(&self) -> usize {
        self.max_head as usize * 2 + 8 * 1024
    }
}

impl Server {
    /// Starts a worker thread for each listener; `gateway` makes the gateway of each.
    pub fn start(
        address: SocketAddr,
        listeners: Vec<std::net::TcpListener>,
        settings: Settings,
        mut gateway: impl FnMut() -> Gateway,
    ) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let settings = Arc::new(settings);
        let mut workers = Vec::new();
        for (n, listener) in listeners.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let worker = worker::Worker::new(Arc::new(gateway()), settings.clone(), stopped.clone());
            let thread = std::thread::Builder::new().name(format!("worker-{n}"));
            workers.push(thread.spawn(move || runtime.block_on(worker.run(listener)))?);
        }
        Ok(Self { address, stop, workers })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets calls under way finish within the drain time, and returns when all workers have ended.
    pub fn drain(self) {
        // Without receivers the workers have ended already.
        let _ = self.stop.send(true);
        for worker in self.workers {
            // A panic in it was reported by the panic hook.
            let _ = worker.join();
        }
    }
}
