//! Connections to one upstream, kept by one worker.
//!
//! HTTP/2: one connection that all calls share. HTTP/1.1: a stack of idle ones, the last used on top, so that what is
//! not needed grows old at the bottom and is closed.

use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use super::h1::Link;
use super::h2::Shared;

/// Idle for so many sweeps, a connection is not used again: servers close them at about a minute.
const MAX_IDLE: u32 = 10;
/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(5);
/// Idle connections kept at most.
const MAX_KEPT: usize = 256;

/// Where a request can be sent.
pub(super) enum Sender {
    H1(Box<Link>),
    H2(Shared),
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
    /// Each with the number of the sweep before it was put back.
    idle: Vec<(Box<Link>, u32)>,
    sweeps: u32,
    h2: Option<Shared>,
    speaks_h1: bool,
    /// Somebody sweeps.
    swept: bool,
}

impl Pool {
    /// A connection that seems to be usable.
    pub(super) fn take(&self) -> Option<Sender> {
        let mut inner = self.lock();
        if let Some(h2) = &inner.h2 {
            if !h2.sender.is_closed() {
                return Some(Sender::H2(h2.clone()));
            }
            inner.h2 = None;
        }
        while let Some((mut link, _)) = inner.idle.pop() {
            if link.is_usable() {
                return Some(Sender::H1(link));
            }
        }
        None
    }

    /// Closes what has been idle for too long, or was closed by the upstream.
    fn sweep(&self) {
        let Inner { idle, sweeps, .. } = &mut *self.lock();
        *sweeps = sweeps.wrapping_add(1);
        idle.retain_mut(|(link, since)| sweeps.wrapping_sub(*since) <= MAX_IDLE && link.is_usable());
    }

    /// Sweeps for as long as the pool lives.
    pub(super) async fn keep_clean(pool: Weak<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            match pool.upgrade() {
                Some(pool) => pool.sweep(),
                None => return,
            }
        }
    }

    pub(super) fn speaks_h1(&self) -> bool {
        self.lock().speaks_h1
    }

    /// Whether nobody sweeps yet: one is to, as long as the pool lives.
    pub(super) fn opened_h1(&self) -> bool {
        let mut inner = self.lock();
        inner.speaks_h1 = true;
        !std::mem::replace(&mut inner.swept, true)
    }

    pub(super) fn opened_h2(&self, shared: Shared) {
        let mut inner = self.lock();
        (inner.h2, inner.speaks_h1) = (Some(shared), false);
    }

    /// A connection whose last reply was read to its end.
    pub(super) fn put_back(&self, link: Box<Link>) {
        let mut inner = self.lock();
        if inner.idle.len() < MAX_KEPT {
            let sweep = inner.sweeps;
            inner.idle.push((link, sweep));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing in here can be left half-done by a panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
