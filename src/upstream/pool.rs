//! Connections to one upstream, kept by one worker.
//!
//! HTTP/2: one connection that all calls share. HTTP/1.1: a stack of idle ones, the last used on top, so that what is
//! not needed grows old at the bottom and is closed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};

use super::Upload;

/// Idle longer than this, a connection is not used again: servers close them at about a minute.
const MAX_IDLE: Duration = Duration::from_secs(50);
/// Idle connections kept at most.
const MAX_KEPT: usize = 256;

/// Where a request can be sent.
pub(super) enum Sender {
    H1(http1::SendRequest<Upload>),
    H2(http2::SendRequest<Upload>),
}

/// The connections of one upstream in one worker.
#[derive(Default)]
pub(super) struct Pool {
    inner: Mutex<Inner>,
    /// Held while connecting, unless the upstream is known to speak HTTP/1.1: calls that arrive meanwhile share the
    /// HTTP/2 connection that comes of it.
    pub(super) connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Inner {
    idle: Vec<(http1::SendRequest<Upload>, Instant)>,
    h2: Option<http2::SendRequest<Upload>>,
    speaks_h1: bool,
}

impl Pool {
    /// A connection that seems to be usable.
    pub(super) fn take(&self) -> Option<Sender> {
        let mut inner = self.lock();
        if let Some(h2) = &inner.h2 {
            if !h2.is_closed() {
                return Some(Sender::H2(h2.clone()));
            }
            inner.h2 = None;
        }
        while let Some((sender, since)) = inner.idle.pop() {
            if since.elapsed() > MAX_IDLE {
                inner.idle.clear();
            } else if !sender.is_closed() {
                return Some(Sender::H1(sender));
            }
        }
        None
    }

    pub(super) fn speaks_h1(&self) -> bool {
        self.lock().speaks_h1
    }

    pub(super) fn opened_h1(&self) {
        self.lock().speaks_h1 = true;
    }

    pub(super) fn opened_h2(&self, sender: http2::SendRequest<Upload>) {
        let mut inner = self.lock();
        (inner.h2, inner.speaks_h1) = (Some(sender), false);
    }

    fn put_back(&self, sender: http1::SendRequest<Upload>) {
        let mut inner = self.lock();
        if inner.idle.len() < MAX_KEPT && !sender.is_closed() {
            inner.idle.push((sender, Instant::now()));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing in here can be left half-done by a panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An HTTP/1.1 connection in use. Given back only when its reply was read to the end; dropped otherwise, which closes it.
pub struct Lease {
    pool: Arc<Pool>,
    sender: http1::SendRequest<Upload>,
}

impl Lease {
    pub(super) fn new(pool: Arc<Pool>, sender: http1::SendRequest<Upload>) -> Self {
        Self { pool, sender }
    }

    /// The reply was read to its end.
    pub fn give_back(self) {
        self.pool.put_back(self.sender);
    }
}
