//! HTTP/2's streams: each is held to the pace of a client that takes its reply.
//!
//! A client that grants no window stalls one reply and not the connection, so the connection's own limit does not see it.
//! hyper spawns each stream through the executor that it is given; this one watches the stream from there, and resets it
//! by letting it go. A timer runs only while a stream waits for its client.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::seat::Cut;
use super::seats::Times;
use crate::body::{Late, Pace};
use crate::entry::Peer;
use crate::gateway::Gateway;

/// How a reply's body gets on.
#[derive(Default)]
pub(super) struct Flow {
    handed: AtomicU64,
    waits: AtomicBool,
}

impl Flow {
    /// The next piece is asked for: the client has room.
    pub(super) fn asked(&self) {
        self.waits.store(false, Relaxed);
    }

    /// A piece was handed over. Until the next is asked for, the client is waited for.
    pub(super) fn handed(&self, bytes: usize) {
        self.handed.fetch_add(bytes as u64, Relaxed);
        self.waits.store(true, Relaxed);
    }
}

/// Runs a connection's streams.
#[derive(Clone)]
pub(super) struct Streams(Arc<Inner>);

struct Inner {
    gateway: Arc<Gateway>,
    peer: Arc<Peer>,
    times: Times,
    /// One record for all streams of a connection whose client takes nothing; each call's own says how it ended.
    told: AtomicBool,
    /// Of the call that was made just now; hyper spawns its stream next.
    next: Mutex<Option<Arc<Flow>>>,
}

impl Streams {
    pub(super) fn new(gateway: Arc<Gateway>, peer: Arc<Peer>, times: Times) -> Self {
        Self(Arc::new(Inner { gateway, peer, times, told: AtomicBool::new(false), next: Mutex::default() }))
    }

    /// The flow of a call whose stream is spawned next.
    pub(super) fn flow(&self) -> Arc<Flow> {
        let flow = Arc::<Flow>::default();
        *self.0.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(flow.clone());
        flow
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let flow = self.0.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        match flow {
            Some(flow) => drop(tokio::spawn(Watched { stream: Some(stream), flow, wait: None, ours: self.0.clone() })),
            None => drop(tokio::spawn(stream)),
        }
    }
}

pin_project! {
    /// A stream that is held to its pace. Written out: an `async` block would hold the stream twice, and move it once more.
    struct Watched<F> {
        #[pin]
        stream: Option<F>,
        flow: Arc<Flow>,
        wait: Option<Box<Wait>>,
        ours: Arc<Inner>,
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(stream) = this.stream.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        if stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !this.flow.waits.load(Relaxed) {
            *this.wait = None;
            return Poll::Pending;
        }
        let handed = this.flow.handed.load(Relaxed);
        let wait = this.wait.get_or_insert_with(|| Box::new(Wait::new(&this.ours.times, handed)));
        wait.poll(cx, handed).map(|late| {
            // First, for the call's own record stands in front of the connection's.
            this.stream.set(None);
            this.ours.tell(late);
        })
    }
}

impl Inner {
    fn tell(&self, late: Late) {
        let cut = match late {
            Late::Stalled => Cut::Stalled,
            Late::TooSlow => Cut::TooSlow,
        };
        if !self.told.swap(true, Relaxed) {
            let detail = "a stream of HTTP/2, the first of this connection's";
            self.gateway.note_connection(&self.peer, cut.code(), Some(detail.to_owned()));
        }
    }
}

/// A client that is waited for.
struct Wait {
    pace: Pace,
    seen: Instant,
    handed: u64,
    timer: Pin<Box<Sleep>>,
}

impl Wait {
    fn new(times: &Times, handed: u64) -> Self {
        let seen = Instant::now();
        let pace = Pace::new(times.send, times.rate);
        Self { pace, seen, handed, timer: Box::pin(sleep_until(seen + pace.left())) }
    }

    fn poll(&mut self, cx: &mut Context<'_>, handed: u64) -> Poll<Late> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            self.pace.waited(now - self.seen);
            self.pace.moved(handed - self.handed);
            (self.seen, self.handed) = (now, handed);
            if let Some(late) = self.pace.late() {
                return Poll::Ready(late);
            }
            self.timer.as_mut().reset(now + self.pace.left().max(Duration::from_millis(1)));
        }
        Poll::Pending
    }
}
