//! Listeners, hello, TLS, connections, drain.
//!
//! One worker thread per core, each with its own runtime, its own listener on the shared port and its own connections
//! upstream: nothing on a call's way crosses threads but the audit writer.

mod behind;
mod connection;
mod counted;
mod digest;
mod fingerprint;
mod frames;
mod half_closed;
pub mod hello;
mod noted;
mod obey;
mod rest;
mod seat;
mod seats;
mod streams;
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

use self::seats::Seats;
use crate::allocator;
use crate::config::Listen;
use crate::descriptors;
use crate::gateway::Gateway;

/// Bytes that the kernel takes for a client beyond what is on its way. Much less costs fast clients wake-ups.
const UNSENT: u32 = 128 * 1024;

/// What all workers of a server share.
pub struct Settings {
    /// TLS towards integrations.
    pub tls: Arc<ServerConfig>,
    /// Largest request head, bytes.
    pub max_head: u32,
    /// Calls under way at once, over all workers.
    pub in_flight: Arc<Semaphore>,
    /// All connections, over all workers.
    seats: Arc<Seats>,
    /// Between two signs of life of an HTTP/2 client whose calls are under way.
    ping: Duration,
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
pub fn listen(listen: &Listen, workers: usize) -> io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    let address = listen.address;
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
        // Connections inherit both. What a client does not read must not pile up in the kernel, where nobody sees it move;
        // and what the kernel holds when a client has vanished is given up in the same time as what the gate holds.
        socket.set_tcp_notsent_lowat(UNSENT)?;
        socket.set_tcp_user_timeout(Some(listen.send_timeout))?;
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
    pub fn new(listen: &Listen, tls: Arc<ServerConfig>, workers: usize) -> Self {
        let slots = descriptors::connections_that_fit(listen);
        Self {
            tls,
            max_head: listen.max_head,
            in_flight: Arc::new(Semaphore::new(listen.max_in_flight as usize)),
            seats: Arc::new(Seats::new(listen, slots, workers)),
            ping: listen.send_timeout,
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
            let worker = worker::Worker::new(n, Arc::new(gateway()), settings.clone(), stopped.clone());
            let thread = std::thread::Builder::new().name(format!("worker-{n}"));
            workers.push(thread.spawn(move || {
                let _spared = allocator::spare_this_thread();
                runtime.block_on(worker.run(listener));
            })?);
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
