//! How a log ends, and what the proof of a record is worth.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use super::*;

/// Longer than any of these takes; without it a waiter in vain would hang the tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// What `work` yields, or nothing when it never comes back.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = mpsc::channel();
    thread::spawn(move || drop(done.send(work())));
    result.recv_timeout(PATIENCE).ok()
}

#[test]
fn a_record_yields_its_receipt_once() {
    let folder = fresh();
    let (log, _) = log_in(&folder.path().join("audit"));
    let mut pending = log.append(&record(Kind::Call));
    let mut pinned = Pin::new(&mut pending);
    let _receipt = wait(pinned.as_mut()).unwrap();
    let again = pinned.poll(&mut Context::from_waker(Waker::noop()));
    assert!(!matches!(again, Poll::Ready(Ok(_))), "a second receipt for one record");
}

#[test]
fn a_record_after_the_seal_is_refused_at_once() {
    let folder = fresh();
    let (log, _) = log_in(&folder.path().join("audit"));
    log.seal().unwrap();
    assert!(log.ensure_open().is_err(), "calls are let in that cannot be put on record");
    let late = in_time(move || wait(log.append(&record(Kind::Call))));
    assert!(late.expect("it waits for ever").is_err());
}

#[test]
fn nothing_stands_behind_the_seal() {
    for _ in 0..30 {
        let folder = fresh();
        let directory = folder.path().join("audit");
        let (log, _) = log_in(&directory);
        let sealed = Arc::new(AtomicBool::new(false));
        let (busy, flag) = (log.clone(), sealed.clone());
        let call = record(Kind::Call);
        let caller = thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                drop(busy.append(&call));
            }
        });
        log.seal().unwrap();
        sealed.store(true, Ordering::Relaxed);
        caller.join().unwrap();
        let report = check(&directory);
        assert!(report.intact && report.sealed, "{} records", report.records);
    }
}

#[test]
fn a_log_that_was_sealed_twice_is_sealed() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    log.seal().unwrap();
    log.seal().unwrap();
    assert_eq!(check(&directory).records, 1);
}

#[test]
fn a_log_that_nobody_holds_any_more_is_written_out_and_let_go() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    for _ in 0..100 {
        drop(log.append(&record(Kind::Call)));
    }
    drop(log);
    let report = check(&directory);
    assert_eq!((report.records, report.sealed), (100, false));
    drop(reopen(&directory, 1 << 20).expect("the lock is still held"));
}

/// Goes wrong in the way that nobody thought of.
struct Panicking;

impl Sink for Panicking {
    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        std::panic::panic_any("a sink panics (this is a test)")
    }

    fn seal(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn nobody_waits_for_a_writer_that_is_gone() {
    let log = Log::start(Box::new(Panicking), Resume::nowhere()).unwrap();
    let outcome = in_time(move || (wait(log.append(&record(Kind::Call))), log.is_open()));
    let (outcome, open) = outcome.expect("it waits for ever");
    assert!(outcome.is_err() && !open);
}
