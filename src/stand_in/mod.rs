//! An honest little ChannelEngine over TLS with its state in memory: the upstream of the demo and of the tests.
//!
//! It behaves as the Merchant API does, in envelope, paging, per-item rejections inside a 200, 409 on a second
//! acknowledgement, rate-limit headers, and the 401 that repeats an unknown key; and it can misbehave on request
//! ([`Faults`]). It knows nothing of the rest of this crate and imports none of it.
//!
//! In reading order: `server` listens, `service` takes one call through `target`, `auth`, `rate` and `route` to
//! an endpoint (`products`, `orders`, …), which works on the `state` and answers in the `envelope`.

#![allow(clippy::unnecessary_wraps, reason = "endpoints share one signature, also those that cannot fail")]

pub mod args;
mod auth;
mod cancellations;
mod documents;
mod envelope;
mod faults;
mod fields;
mod gzip;
mod keys;
mod link;
mod offers;
mod order_view;
mod orders;
mod product_fields;
mod product_patch;
mod products;
mod rate;
mod reply;
mod returns;
mod route;
mod seed;
mod seen;
mod server;
mod service;
mod shipments;
mod state;
mod target;
mod tenant;
mod test_orders;
mod webhooks;

pub use faults::{Echo, Faults, Form, HEADER as FAULTS_HEADER, NotAFault, Place};
pub use rate::{NotARate, Rate, RateLimits};
pub use seen::{Arrival, Log, Seen};

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use tokio::sync::watch;

/// How a stand-in is to be.
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// Certificate chain, leaf first, PEM.
    pub certificate_pem: Vec<u8>,
    /// Private key of the leaf, PEM.
    pub private_key_pem: Vec<u8>,
    /// Accepted API keys.
    pub keys: Vec<String>,
    /// A file with more of them, one a line, read again whenever it changes.
    pub key_file: Option<PathBuf>,
    /// The path before `/v2`.
    pub base_path: String,
    /// What goes wrong, from the start.
    pub faults: Faults,
    /// Whether a call may add faults of its own with the header [`FAULTS_HEADER`].
    pub faults_by_header: bool,
    /// Rate limits per key and endpoint.
    pub rate_limits: RateLimits,
    /// Threads; each accepts and serves on its own.
    pub threads: usize,
    /// Is told of every call.
    pub log: Option<Log>,
}

impl Options {
    /// A well-behaved stand-in on a free port of 127.0.0.1 with base path `/api`, one thread and limits nobody meets.
    pub fn new(certificate_pem: Vec<u8>, private_key_pem: Vec<u8>, keys: Vec<String>) -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            certificate_pem,
            private_key_pem,
            keys,
            key_file: None,
            base_path: "/api".to_owned(),
            faults: Faults::default(),
            faults_by_header: false,
            rate_limits: RateLimits::generous(),
            threads: 1,
            log: None,
        }
    }
}

/// A running stand-in; dropping it stops it.
pub struct StandIn {
    address: SocketAddr,
    api: Arc<service::Api>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts a stand-in on threads of its own and returns once it listens.
///
/// # Errors
/// Certificate or key cannot be read (`InvalidInput`), or the address cannot be bound.
pub fn start(options: Options) -> io::Result<StandIn> {
    let tls = server::tls(&options.certificate_pem, &options.private_key_pem)?;
    let listener = std::net::TcpListener::bind(options.address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (count, api) = (options.threads.max(1), Arc::new(api(options)?));
    let (stop, stopped) = watch::channel(false);
    let mut stand_in = StandIn { address, api: Arc::clone(&api), stop, threads: Vec::with_capacity(count) };
    for number in 0..count {
        let (runtime, listener) = server::prepare(listener.try_clone()?)?;
        let work = server::accept(listener, tls.clone(), Arc::clone(&api), stopped.clone());
        let thread = std::thread::Builder::new().name(format!("stand-in-{number}"));
        stand_in.threads.push(thread.spawn(move || runtime.block_on(work))?);
    }
    Ok(stand_in)
}

fn api(options: Options) -> io::Result<service::Api> {
    Ok(service::Api {
        keys: keys::Keys::new(options.keys, options.key_file.as_deref())?,
        base: options.base_path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        state: RwLock::new(seed::tenant(jiff::Timestamp::now())),
        limiter: Mutex::new(rate::Limiter::new(options.rate_limits)),
        faults: RwLock::new(Arc::new(options.faults)),
        faults_by_header: options.faults_by_header,
        calls: AtomicU64::new(0),
        log: options.log.map(Mutex::new),
    })
}

impl StandIn {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls that have arrived so far, answered or not.
    pub fn requests(&self) -> u64 {
        self.api.calls.load(Ordering::Relaxed)
    }

    /// Changes what goes wrong, from the next call on.
    pub fn set_faults(&self, faults: Faults) {
        *self.api.faults.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(faults);
    }

    /// Stops listening, gives open calls two seconds, ends. Blocks as long.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // No receiver left means that every thread has ended already.
        let _ = self.stop.send(true);
        for thread in self.threads.drain(..) {
            // A thread that panicked is gone, and that is all we want of it now.
            let _ = thread.join();
        }
    }
}
