//! A connection's seat: what is known of it while it lives, and what it is told to do.
//!
//! The connection notes plain numbers as it goes (no clock is asked, nothing is locked); a sweep looks at all seats of a
//! worker a few times a second and tells those that must go. So a limit costs a well-behaved connection next to nothing,
//! and a badly-behaved one no timer.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

use crate::upstream::Arrival;

/// Milliseconds since the server started, as of the last sweep.
pub(super) type Moment = u64;

/// One connection's seat.
pub(super) struct Seat {
    clock: Arc<AtomicU64>,
    /// Its place in its room's list.
    pub(super) at: AtomicUsize,
    talk: AtomicU8,
    calls: AtomicU32,
    /// Since when it shakes hands, or since when no call is under way.
    since: AtomicU64,
    /// Since when a head has been coming, plus one; 0 when none is.
    head: AtomicU64,
    /// Bytes that the kernel took.
    sent: AtomicU64,
    /// The kernel takes no more: the client does not read.
    blocked: AtomicBool,
    /// How far the request of HTTP/1.1's call under way has come.
    pub(super) arrival: Arc<Arrival>,
    /// A goodbye was kept from hyper.
    deaf: AtomicBool,
    /// It is told to rest.
    rest: AtomicBool,
    order: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Talk {
    /// Hello and TLS handshake.
    Handshake,
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
}

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Finish the calls under way, then end.
    Leave,
    /// End now, unless a call is under way.
    MakeRoom,
    /// End now.
    Cut(Cut),
}

/// Why a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The handshake took too long.
    Handshake,
    /// A head took too long.
    Head,
    /// The client takes nothing of what it asked for.
    Stalled,
    /// It takes it too slowly.
    TooSlow,
    /// It was asked to leave, had no call under way, and did not.
    Idle,
    /// Its slot was needed.
    MadeRoom,
}

impl Cut {
    /// The code on record and in the counters.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Handshake => "handshake_timeout",
            Self::Head => "head_timeout",
            Self::Stalled => "send_timeout",
            Self::TooSlow => "send_too_slow",
            Self::Idle => "idle_timeout",
            Self::MadeRoom => "made_room",
        }
    }
}

/// Orders as they stand in a seat; a higher one is never replaced by a lower one.
const ORDERS: [Option<Order>; 9] = [
    None,
    Some(Order::Leave),
    Some(Order::MakeRoom),
    Some(Order::Cut(Cut::Idle)),
    Some(Order::Cut(Cut::MadeRoom)),
    Some(Order::Cut(Cut::Handshake)),
    Some(Order::Cut(Cut::Head)),
    Some(Order::Cut(Cut::Stalled)),
    Some(Order::Cut(Cut::TooSlow)),
];

impl Seat {
    pub(super) fn new(clock: Arc<AtomicU64>) -> Self {
        let now = clock.load(Relaxed);
        Self {
            clock,
            at: AtomicUsize::new(0),
            talk: AtomicU8::new(Talk::Handshake as u8),
            calls: AtomicU32::new(0),
            since: AtomicU64::new(now),
            head: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            arrival: Arc::default(),
            deaf: AtomicBool::new(false),
            rest: AtomicBool::new(false),
            order: AtomicU8::new(0),
            waker: Mutex::default(),
        }
    }

    /// The handshake is over.
    pub(super) fn talks(&self, talk: Talk) {
        self.since.store(self.clock.load(Relaxed), Relaxed);
        self.head.store(0, Relaxed);
        self.talk.store(talk as u8, Relaxed);
    }

    pub(super) fn talk(&self) -> Talk {
        match self.talk.load(Relaxed) {
            t if t == Talk::H1 as u8 => Talk::H1,
            t if t == Talk::H2 as u8 => Talk::H2,
            _ => Talk::Handshake,
        }
    }

    /// Bytes came from the client. Between two calls of HTTP/1.1 they are the beginning of a head.
    pub(super) fn came(&self) {
        if self.calls.load(Relaxed) == 0 && self.head.load(Relaxed) == 0 && self.talk() == Talk::H1 {
            self.head_begins();
        }
    }

    /// Whether a header block of HTTP/2 has begun and not ended, as of now.
    pub(super) fn heads(&self, inside: bool) {
        if !inside {
            self.head.store(0, Relaxed);
        } else if self.head.load(Relaxed) == 0 {
            self.head_begins();
        }
    }

    fn head_begins(&self) {
        self.head.store(self.clock.load(Relaxed) + 1, Relaxed);
    }

    /// Bytes went to the client.
    pub(super) fn went(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
        self.blocked.store(false, Relaxed);
    }

    /// The client's window is full.
    pub(super) fn blocks(&self) {
        self.blocked.store(true, Relaxed);
    }

    /// A call begins; it is under way until the guard is dropped.
    pub(super) fn call(self: &Arc<Self>) -> UnderWay {
        if self.talk() == Talk::H1 {
            self.head.store(0, Relaxed);
        }
        self.calls.fetch_add(1, Relaxed);
        UnderWay(self.clone())
    }

    /// The client will send nothing more. Whether it is owed a reply.
    pub(super) fn owes_reply(&self) -> bool {
        let owes = !self.is_idle();
        self.deaf.store(owes, Relaxed);
        owes
    }

    /// Neither a call under way nor a reply that the client has yet to take.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.load(Relaxed) == 0 && !self.blocked.load(Relaxed)
    }

    pub(super) fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }

    pub(super) fn since(&self) -> Moment {
        self.since.load(Relaxed)
    }

    /// Since when a head has been coming.
    pub(super) fn head(&self) -> Option<Moment> {
        self.head.load(Relaxed).checked_sub(1)
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    pub(super) fn blocked(&self) -> bool {
        self.blocked.load(Relaxed)
    }

    /// What it is told to do.
    pub(super) fn order(&self) -> Option<Order> {
        ORDERS.get(usize::from(self.order.load(Relaxed))).copied().flatten()
    }

    /// Tells it, and wakes it. Whether that was news.
    pub(super) fn tell(&self, order: Order) -> bool {
        let number = ORDERS.iter().position(|known| *known == Some(order)).and_then(|n| u8::try_from(n).ok());
        let number = number.unwrap_or_default();
        let news = self.order.fetch_max(number, Relaxed) < number;
        if let Some(waker) = self.waker().as_ref().filter(|_| news) {
            waker.wake_by_ref();
        }
        news
    }

    /// Tells it to rest, unless something comes in between.
    pub(super) fn rest(&self) {
        self.rest.store(true, Relaxed);
        if let Some(waker) = self.waker().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Whether it was told to rest and nothing has come in between: what is owed was sent, the last request was taken whole (a reply
    /// may be over before its request is, and then the rest of that is still to be read as such), and nothing of another is there.
    pub(super) fn may_rest(&self) -> bool {
        self.rest.load(Relaxed)
            && self.rest.swap(false, Relaxed)
            && self.is_idle()
            && self.head().is_none()
            && self.arrival.is_whole()
    }

    /// Has the task of this context woken by an order. `known` is the waker that was left last time.
    pub(super) fn listen(&self, cx: &Context<'_>, known: &mut Option<Waker>) {
        if !known.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *known = Some(cx.waker().clone());
            self.waker().clone_from(known);
        }
    }

    fn waker(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        // Nothing in here can be left half-done by a panic.
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way on a connection.
pub(super) struct UnderWay(Arc<Seat>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.since.store(self.0.clock.load(Relaxed), Relaxed);
        self.0.calls.fetch_sub(1, Relaxed);
        if self.0.deaf.load(Relaxed)
            && let Some(waker) = self.0.waker().as_ref()
        {
            waker.wake_by_ref();
        }
    }
}
