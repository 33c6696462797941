//! Limits of calls that mostly end long before: a thread looks at all of its own together, now and then.
//!
//! A timer of the runtime is put into its wheel and taken out again under locks, for every call. Here a call leaves with its
//! thread until when it may wait, and is woken when that is over, at most [`TICK`] late.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

/// Between two looks.
const TICK: Duration = Duration::from_millis(25);
/// After so many looks that found no call, the next one is waited for.
const IDLE: u32 = 40;

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// The calls of a thread.
struct Watch {
    /// Tells it from others. A call that is dropped on another thread than it began on must not give another one's place away; its
    /// own stays taken. Workers have one thread each, so none is.
    number: usize,
    calls: Vec<Call>,
    free: Vec<usize>,
    /// Nobody looks until this is rung.
    asleep: bool,
    bell: Arc<Notify>,
}

struct Call {
    until: Instant,
    /// None when its time is over, or it has ended.
    waker: Option<Waker>,
}

/// Looks after the calls of this thread until it is dropped.
pub async fn watch() {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    struct Ends;
    impl Drop for Ends {
        /// Whoever still waits goes on with timers.
        fn drop(&mut self) {
            let calls = WATCH.take().map_or_else(Vec::new, |watch| watch.calls);
            calls.into_iter().filter_map(|call| call.waker).for_each(Waker::wake);
        }
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let bell = Arc::new(Notify::new());
    WATCH.set(Some(Watch { number, calls: Vec::new(), free: Vec::new(), asleep: true, bell: bell.clone() }));
    let _ends = Ends;
    loop {
        bell.notified().await;
        let mut idle = 0;
        while idle < IDLE {
            sleep(TICK).await;
            let (due, any) = with(|watch| (watch.due(Instant::now()), watch.is_any())).unwrap_or_default();
            // Not while they are borrowed: a waker may run anything.
            due.into_iter().for_each(Waker::wake);
            idle = if any { 0 } else { idle + 1 };
        }
        with(|watch| {
            watch.asleep = true;
            if watch.is_any() {
                watch.wake();
            }
        });
    }
}

fn with<T>(look: impl FnOnce(&mut Watch) -> T) -> Option<T> {
    // Not there in a thread that ends.
    WATCH.try_with(|watch| watch.borrow_mut().as_mut().map(look)).ok().flatten()
}

impl Watch {
    fn is_any(&self) -> bool {
        self.free.len() < self.calls.len()
    }

    fn wake(&mut self) {
        if std::mem::take(&mut self.asleep) {
            self.bell.notify_one();
        }
    }

    fn take(&mut self, until: Instant, waker: Waker) -> usize {
        self.wake();
        let call = Call { until, waker: Some(waker) };
        if let Some(place) = self.free.pop() {
            self.calls[place] = call;
            return place;
        }
        self.calls.push(call);
        self.calls.len() - 1
    }

    fn due(&mut self, now: Instant) -> Vec<Waker> {
        self.calls.iter_mut().filter(|call| call.until <= now).filter_map(|call| call.waker.take()).collect()
    }
}

/// A call's place with its thread.
struct Place {
    watch: usize,
    place: usize,
}

impl Place {
    fn of(until: Instant, waker: &Waker) -> Option<Self> {
        let waker = waker.clone();
        with(|watch| Self { watch: watch.number, place: watch.take(until, waker) })
    }

    /// Keeps who is to be woken; false when the time is over, or nobody looks any more.
    fn keeps(&self, waker: &Waker) -> bool {
        let waker = waker.clone();
        // The former one is dropped when nothing is borrowed any more: that may run anything, too.
        let former =
            self.look(|watch| watch.calls[self.place].waker.as_mut().map(|kept| std::mem::replace(kept, waker)));
        former.flatten().is_some()
    }

    fn look<T>(&self, look: impl FnOnce(&mut Watch) -> T) -> Option<T> {
        with(|watch| (watch.number == self.watch).then(|| look(watch))).flatten()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let waker = self.look(|watch| {
            watch.free.push(self.place);
            watch.calls[self.place].waker.take()
        });
        drop(waker);
    }
}

/// Does work until then. `None` when it was not done by then; at most [`TICK`] later.
pub(super) async fn until<F: Future + Unpin>(until: Instant, mut work: F) -> Option<F::Output> {
    let mut place = None;
    let watched = poll_fn(|cx: &mut Context<'_>| {
        if let Poll::Ready(done) = Pin::new(&mut work).poll(cx) {
            return Poll::Ready(Some(done));
        }
        match &place {
            Some(place) if Place::keeps(place, cx.waker()) => Poll::Pending,
            Some(_) => Poll::Ready(None),
            None => {
                place = Place::of(until, cx.waker());
                if place.is_some() { Poll::Pending } else { Poll::Ready(None) }
            }
        }
    });
    match watched.await {
        Some(done) => Some(done),
        // Its time is over, or nobody looks here.
        None => timeout_at(until, work).await.ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::sync::oneshot;

    use super::*;

    const SHORT: Duration = Duration::from_millis(60);
    const LONG: Duration = Duration::from_secs(60);

    /// Until this long from now; whether it was late, which must not be too early.
    async fn is_late(time: Duration) -> bool {
        let began = Instant::now();
        let late = until(began + time, pending::<()>()).await.is_none();
        late && (time..LONG).contains(&began.elapsed())
    }

    fn places() -> Option<(usize, usize)> {
        with(|watch| (watch.calls.len(), watch.free.len()))
    }

    #[tokio::test]
    async fn who_waits_too_long_is_woken_with_or_without_somebody_who_looks() {
        assert!(is_late(SHORT).await);
        let watching = tokio::spawn(watch());
        tokio::task::yield_now().await;
        for _ in 0..3 {
            assert_eq!(tokio::join!(is_late(SHORT), is_late(2 * SHORT)), (true, true));
            assert_eq!(places(), Some((2, 2)), "places are used again");
        }
        while with(|watch| watch.asleep) == Some(false) {
            sleep(TICK).await;
        }
        assert!(is_late(SHORT).await, "it fell asleep, and was woken");
        watching.abort();
    }

    #[tokio::test]
    async fn who_ends_in_time_leaves_nothing_behind() {
        let watching = tokio::spawn(watch());
        tokio::task::yield_now().await;
        assert_eq!(until(Instant::now(), ready(7)).await, Some(7));
        assert_eq!(places(), Some((0, 0)), "who need not wait takes no place");
        let (send, receive) = oneshot::channel();
        let waiting = tokio::spawn(async move { until(Instant::now() + LONG, receive).await });
        tokio::task::yield_now().await;
        assert_eq!(places(), Some((1, 0)));
        send.send(8).unwrap();
        assert_eq!(waiting.await.unwrap(), Some(Ok(8)));
        assert_eq!(places(), Some((1, 1)));
        let given_up = tokio::spawn(is_late(LONG));
        tokio::task::yield_now().await;
        assert_eq!(places(), Some((1, 0)));
        given_up.abort();
        assert!(given_up.await.is_err());
        assert_eq!(places(), Some((1, 1)));
        watching.abort();
    }

    #[tokio::test]
    async fn who_waits_when_the_watch_ends_is_late_all_the_same() {
        let watching = tokio::spawn(watch());
        tokio::task::yield_now().await;
        let waiting = tokio::spawn(is_late(SHORT));
        tokio::task::yield_now().await;
        watching.abort();
        assert!(waiting.await.unwrap());
        assert_eq!(places(), None);
    }
}
