//! The seats of all connections: who may sit down, who goes when all are taken, and the sweep that finds who is late.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::digest::{Digest, Together};
use super::seat::{Cut, Moment, Order, Seat, Talk};
use crate::body::{Late, Pace};
use crate::config::Listen;
use crate::descriptors::Shortage;

/// A handshake is let alone for about so long, even when its slot is needed.
const SETTLING: Moment = 500;
/// Who was asked to leave, and has no call under way, is given so long.
const LEAVING: Moment = 3_000;
/// Whom room is made for asks again this often.
const AGAIN: Duration = Duration::from_millis(100);
/// An HTTP/1.1 connection without a call for so long is told to rest.
const QUIET: Moment = 1_000;
/// So many at most in one sweep, so that calls need not wait behind them.
const RESTS: u64 = 1_000;
/// Candidates that are found in one go when room must be made.
const CANDIDATES: usize = 64;

/// Time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    handshake: Moment,
    head: Moment,
    idle: Moment,
    pub(super) send: Duration,
    pub(super) rate: Option<NonZeroU32>,
    /// Between two sweeps.
    pub(super) tick: Duration,
}

/// All seats of a server, in a room for each worker.
pub(super) struct Seats {
    start: Instant,
    clock: Arc<AtomicU64>,
    pub(super) times: Times,
    slots: Arc<Semaphore>,
    per_source: u32,
    sources: Mutex<HashMap<IpAddr, u32>>,
    rooms: Vec<Mutex<Vec<Sitting>>>,
    /// Who was idle for the longest when somebody last looked.
    oldest: Mutex<VecDeque<(Moment, Arc<Seat>)>>,
    /// Somebody has left.
    left: Notify,
    digest: Mutex<Digest>,
    shortage: Shortage,
}

/// A seat, and what the sweep remembers of it.
struct Sitting {
    seat: Arc<Seat>,
    /// Since when it has been asked to leave.
    leaving: Option<Moment>,
    /// It was told to rest when it had been idle since then.
    rested: Moment,
    /// Of a client that does not read as fast as it is written to.
    sending: Option<Box<Sending>>,
}

struct Sending {
    pace: Pace,
    sent: u64,
    seen: Moment,
}

/// How many connections a worker has, by state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) handshake: u64,
    pub(super) idle: u64,
    pub(super) busy: u64,
    /// Asked to leave by this sweep.
    pub(super) idled: u64,
    /// Told to rest by this sweep.
    pub(super) rested: u64,
}

/// A seat that is taken; free again when this is dropped.
pub(super) struct Taken {
    seats: Arc<Seats>,
    room: usize,
    pub(super) seat: Arc<Seat>,
    _slot: OwnedSemaphorePermit,
    _source: FromSource,
}

/// A source has as many connections as it may have.
pub(super) struct TooMany;

/// One connection of a source.
pub(super) struct FromSource(Arc<Seats>, IpAddr);

impl Times {
    fn new(listen: &Listen) -> Self {
        let shortest = [listen.handshake_timeout, listen.head_timeout, listen.idle_timeout, listen.send_timeout];
        let shortest = shortest.into_iter().min().unwrap_or_default();
        let tick = (shortest / 8).clamp(Duration::from_millis(10), Duration::from_millis(500));
        // A moment is that of the last sweep: up to a tick before what it is noted for. Nobody is cut before his time.
        let limit = |time: Duration| millis(time) + millis(tick);
        Self {
            handshake: limit(listen.handshake_timeout),
            head: limit(listen.head_timeout),
            idle: limit(listen.idle_timeout),
            send: listen.send_timeout,
            rate: listen.min_rate,
            tick,
        }
    }
}

fn millis(time: Duration) -> Moment {
    Moment::try_from(time.as_millis()).unwrap_or(Moment::MAX / 4)
}

/// Who counts as one source: an IPv4 address, or the /64 that one IPv6 customer has at least.
fn source_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

impl Seats {
    pub(super) fn new(listen: &Listen, slots: u32, workers: usize) -> Self {
        Self {
            start: Instant::now(),
            clock: Arc::default(),
            times: Times::new(listen),
            slots: Arc::new(Semaphore::new(slots as usize)),
            per_source: listen.max_connections_per_source,
            sources: Mutex::default(),
            rooms: (0..workers).map(|_| Mutex::default()).collect(),
            oldest: Mutex::default(),
            left: Notify::new(),
            digest: Mutex::default(),
            shortage: Shortage::default(),
        }
    }

    fn tick(&self) {
        self.clock.fetch_max(millis(self.start.elapsed()), Relaxed);
    }

    fn now(&self) -> Moment {
        self.clock.load(Relaxed)
    }

    /// One more connection of this source, if it may have one.
    pub(super) fn from_source(self: &Arc<Self>, address: IpAddr) -> Result<FromSource, TooMany> {
        let source = source_of(address);
        let mut sources = lock(&self.sources);
        let count = sources.entry(source).or_default();
        if *count >= self.per_source {
            return Err(TooMany);
        }
        *count += 1;
        Ok(FromSource(self.clone(), source))
    }

    /// Takes a seat in a worker's room; waits until there is one. When all are taken, whoever is idle for the longest goes.
    pub(super) async fn take(self: &Arc<Self>, room: usize, source: FromSource) -> Option<Taken> {
        let slot = match self.slots.clone().try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => self.slot_when_free().await?,
        };
        let seat = Arc::new(Seat::new(self.clock.clone()));
        let mut seats = lock(self.rooms.get(room)?);
        seat.at.store(seats.len(), Relaxed);
        seats.push(Sitting { seat: seat.clone(), leaving: None, rested: Moment::MAX, sending: None });
        drop(seats);
        Some(Taken { seats: self.clone(), room, seat, _slot: slot, _source: source })
    }

    async fn slot_when_free(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            self.make_room();
            if let Ok(slot) = timeout(AGAIN, self.slots.clone().acquire_owned()).await {
                return slot.ok();
            }
        }
    }

    /// Tells the connection that is idle for the longest to go. A call under way is never cut for this.
    pub(super) fn make_room(&self) -> bool {
        self.tick();
        let mut oldest = lock(&self.oldest);
        for look_again in [true, false] {
            while let Some((since, seat)) = oldest.pop_front() {
                if seat.since() == since && self.may_go(&seat) && seat.tell(Order::MakeRoom) {
                    return true;
                }
            }
            if look_again {
                *oldest = self.longest_idle();
            }
        }
        false
    }

    fn may_go(&self, seat: &Arc<Seat>) -> bool {
        let settled = seat.talk() != Talk::Handshake || self.now().saturating_sub(seat.since()) >= SETTLING;
        // Whoever has left is held by the list of candidates alone.
        settled && seat.is_idle() && seat.order().is_none() && Arc::strong_count(seat) > 1
    }

    /// The first ones to go, in order. Who becomes idle later is behind all of them, so the list stays good while it lasts.
    fn longest_idle(&self) -> VecDeque<(Moment, Arc<Seat>)> {
        let mut idle = Vec::new();
        for room in &self.rooms {
            let seats = lock(room);
            let may_go = seats.iter().map(|sitting| &sitting.seat).filter(|seat| self.may_go(seat));
            idle.extend(may_go.map(|seat| (seat.since(), seat.clone())));
        }
        idle.sort_unstable_by_key(|(since, _)| *since);
        idle.truncate(CANDIDATES);
        idle.into()
    }

    /// Waits until somebody has left, a moment at most.
    pub(super) async fn somebody_left(&self, at_most: Duration) {
        // Whether somebody did is seen by who tries again.
        let _ = timeout(at_most, self.left.notified()).await;
    }

    /// Notes an event of which there may be many; true when it is to be put on record now.
    pub(super) fn note(&self, code: &'static str, source: IpAddr) -> bool {
        lock(&self.digest).note(code, source_of(source), self.now())
    }

    /// Events to be put on record together.
    pub(super) fn due(&self) -> Vec<Together> {
        lock(&self.digest).due(self.now())
    }

    /// The same at the end.
    pub(super) fn rest(&self) -> Vec<Together> {
        lock(&self.digest).rest()
    }

    /// No descriptor was left; true when that is news.
    pub(super) fn shortage_begins(&self) -> bool {
        self.shortage.begins(self.now())
    }

    /// Descriptors have been there for a while; true when that is news.
    pub(super) fn shortage_ends(&self) -> bool {
        self.shortage.ends(self.now())
    }

    /// Asks everybody in a room to leave.
    pub(super) fn close(&self, room: usize) {
        for sitting in self.rooms.get(room).map(lock).iter().flat_map(|seats| seats.iter()) {
            sitting.seat.tell(Order::Leave);
        }
    }

    /// Looks at everybody in a room, tells those who are late, and counts.
    pub(super) fn sweep(&self, room: usize) -> Count {
        self.tick();
        let now = self.now();
        let mut count = Count::default();
        let Some(seats) = self.rooms.get(room) else { return count };
        for sitting in lock(seats).iter_mut() {
            match sitting.seat.talk() {
                Talk::Handshake => count.handshake += 1,
                _ if sitting.seat.is_idle() => count.idle += 1,
                _ => count.busy += 1,
            }
            if let Some(order) = sitting.judge(now, &self.times) {
                let news = sitting.seat.tell(order);
                count.idled += u64::from(news && order == Order::Leave);
            } else if count.rested < RESTS && sitting.is_quiet(now) {
                sitting.seat.rest();
                count.rested += 1;
            }
        }
        count
    }
}

impl Sitting {
    /// What a seat is to be told now.
    fn judge(&mut self, now: Moment, times: &Times) -> Option<Order> {
        let over = |since: Moment, limit: Moment| now.saturating_sub(since) > limit;
        let (talk, since) = (self.seat.talk(), self.seat.since());
        if talk == Talk::Handshake {
            return over(since, times.handshake).then_some(Order::Cut(Cut::Handshake));
        }
        if let Some(cut) = self.late(now, times) {
            return Some(Order::Cut(cut));
        }
        let head = self.seat.head().filter(|_| talk == Talk::H2 || self.seat.calls() == 0);
        if head.is_some_and(|begun| over(begun, times.head)) {
            return Some(Order::Cut(Cut::Head));
        }
        if !self.seat.is_idle() {
            return None;
        }
        if self.seat.order().is_some() {
            let asked = *self.leaving.get_or_insert(now);
            return over(asked, LEAVING).then_some(Order::Cut(Cut::Idle));
        }
        over(since, times.idle).then_some(Order::Leave)
    }

    /// Whether it is to rest now: once for each time that it is idle.
    fn is_quiet(&mut self, now: Moment) -> bool {
        let (seat, since) = (&self.seat, self.seat.since());
        let quiet = now.saturating_sub(since) > QUIET && seat.talk() == Talk::H1 && seat.is_idle();
        quiet && std::mem::replace(&mut self.rested, since) != since
    }

    /// Whether the client takes what it is sent too slowly.
    fn late(&mut self, now: Moment, times: &Times) -> Option<Cut> {
        if !self.seat.blocked() {
            self.sending = None;
            return None;
        }
        let sent = self.seat.sent();
        let fresh = || Box::new(Sending { pace: Pace::new(times.send, times.rate), sent, seen: now });
        let sending = self.sending.get_or_insert_with(fresh);
        sending.pace.waited(Duration::from_millis(now.saturating_sub(sending.seen)));
        sending.pace.moved(sent.saturating_sub(sending.sent));
        (sending.sent, sending.seen) = (sent, now);
        sending.pace.late().map(|late| match late {
            Late::Stalled => Cut::Stalled,
            Late::TooSlow => Cut::TooSlow,
        })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Some(room) = self.seats.rooms.get(self.room) else { return };
        let mut seats = lock(room);
        let at = self.seat.at.load(Relaxed);
        seats.swap_remove(at);
        if let Some(moved) = seats.get(at) {
            moved.seat.at.store(at, Relaxed);
        }
        drop(seats);
        self.seats.left.notify_waiters();
    }
}

impl Drop for FromSource {
    fn drop(&mut self) {
        let mut sources = lock(&self.0.sources);
        if let Some(count) = sources.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&self.1);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in there stays sound whatever panicked meanwhile.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
