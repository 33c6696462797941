//! The log as a whole: what every sink must keep, what recovery keeps, what verify finds.

mod boxes;
mod crashes;
mod evidence;
mod exports;
mod files;
mod forgets;
mod learns;
mod retains;
mod seals;
mod stops;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::config::Durability;

/// Drives futures without a runtime: the writer is a thread of its own.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

fn record(kind: Kind) -> Record {
    let mut record = Record::new(kind, Timestamp::now());
    record.detail = Some("ä \"quoted\" \\ text".to_owned());
    record
}

/// The key of every log here; it is made once, so that a log can be opened again.
fn key() -> Arc<SigningKey> {
    static KEY: std::sync::OnceLock<Arc<SigningKey>> = std::sync::OnceLock::new();
    KEY.get_or_init(|| Arc::new(SigningKey::of_a_log().unwrap())).clone()
}

fn reopen(directory: &Path, segment_size: u64) -> Result<(SegmentFile, Resume, Recovered), OpenError> {
    open(directory, Disk { segment_size, durability: Durability::Sync }, key(), Arc::default())
}

/// Who reads encrypted logs here.
fn auditor() -> &'static (Identity, String) {
    static AUDITOR: std::sync::OnceLock<(Identity, String)> = std::sync::OnceLock::new();
    AUDITOR.get_or_init(|| {
        let (text, recipient) = Identity::generate();
        (Identity::parse(&text).unwrap(), recipient)
    })
}

/// A log that is encrypted to the auditor.
fn boxed_log_in(directory: &Path, segment_size: u64) -> (Log, Recovered) {
    let recipients = Arc::new(Recipients::parse(std::slice::from_ref(&auditor().1)).unwrap());
    let disk = Disk { segment_size, durability: Durability::Sync };
    let (sink, resume, recovered) = open(directory, disk, key(), recipients).unwrap();
    (Log::start(Box::new(sink), resume).unwrap(), recovered)
}

/// What a log says of itself to the auditor.
fn opened(directory: &Path) -> Report {
    let (key, identity) = (Some(key().verifier().clone()), Some(auditor().0.clone()));
    verify(directory, &Known { key, identity, ..Known::default() }, |_| ()).unwrap()
}

/// All lines of a log, as the auditor reads them.
fn read(directory: &Path) -> Vec<serde_json::Value> {
    let mut follow = Follow::from_start(directory, Some(&auditor().0));
    std::iter::from_fn(|| follow.next_line().unwrap()).map(|line| serde_json::from_slice(&line).unwrap()).collect()
}

/// Makes a log's folder.
fn init(directory: &Path) {
    Directory::init(directory, SigningKey::parse(&key().text()).unwrap()).unwrap();
}

/// What a log says of itself.
fn check(directory: &Path) -> Report {
    let known = Known { key: Some(key().verifier().clone()), ..Known::default() };
    verify(directory, &known, |_| ()).unwrap()
}

fn log_in(directory: &Path) -> (Log, Recovered) {
    let (sink, resume, recovered) = reopen(directory, 1 << 20).unwrap();
    (Log::start(Box::new(sink), resume).unwrap(), recovered)
}

/// Waits until a checkpoint is signed for so many records.
fn signed_for(directory: &Path, records: u64) {
    let began = std::time::Instant::now();
    loop {
        let note = fs::read_to_string(directory.join("checkpoint")).unwrap_or_default();
        if note.lines().nth(1).and_then(|size| size.parse().ok()).is_some_and(|size: u64| size >= records) {
            return;
        }
        assert!(began.elapsed().as_secs() < 20, "no checkpoint over {records} records");
        std::thread::yield_now();
    }
}

/// A copy of a log's folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// A log with `count` acknowledged records, not sealed.
fn crashed(directory: &Path, count: usize) {
    let (log, _) = log_in(directory);
    for _ in 0..count {
        wait(log.append(&record(Kind::Call))).unwrap();
    }
}

/// A folder with a log in it; in memory where that is possible, because syncing is not what is tested here.
fn fresh() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    init(&folder.path().join("audit"));
    folder
}

fn only_segment(directory: &Path) -> std::path::PathBuf {
    let mut found = segment::list(directory).unwrap();
    assert_eq!(found.len(), 1);
    found.pop().unwrap()
}

/// What is written in a segment, without the room that is laid out ahead.
fn written(segment: &Path) -> Vec<u8> {
    let mut bytes = fs::read(segment).unwrap();
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1));
    bytes
}

/// The contract of every sink: what `append` has returned for is read back, in order; an error leaves nothing behind.
fn contract(sink: &mut dyn Sink, read_back: &dyn Fn() -> Vec<u8>) {
    let mut written = Vec::new();
    for batch in 0..3u64 {
        let mut lines = Vec::new();
        for n in 0..4 {
            line::push_line(&mut lines, br#"{"kind":"call"}"#, batch * 4 + n, &[7; 32]);
        }
        sink.append(&lines).unwrap();
        written.extend(lines);
        assert_eq!(read_back(), written);
    }
    sink.seal().unwrap();
    assert_eq!(read_back(), written);
}

#[test]
fn segments_keep_the_contract_of_sinks_at_every_size() {
    for size in [1, 200, 1 << 20] {
        let folder = fresh();
        let directory = folder.path().join("audit");
        let (mut sink, ..) = reopen(&directory, size).unwrap();
        let read_back = || segment::list(&directory).unwrap().iter().flat_map(|p| written(p)).collect();
        contract(&mut sink, &read_back);
    }
}

#[test]
fn a_sealed_log_verifies_and_goes_on_where_it_ended() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    for round in 1..=3 {
        let (log, recovered) = log_in(&directory);
        assert!(recovered.stopped && recovered.torn.is_none());
        for _ in 0..10 {
            wait(log.append(&record(Kind::Call))).unwrap();
        }
        log.seal().unwrap();
        let report = check(&directory);
        assert!(report.complete && report.sealed && report.unsigned == 0, "{report:?}");
        assert_eq!(report.records, round * 11);
    }
}

#[test]
fn a_segment_holds_records_alone_once_it_is_closed() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (sink, resume, _) = reopen(&directory, 4_000).unwrap();
    let log = Log::start(Box::new(sink), resume).unwrap();
    for _ in 0..40 {
        wait(log.append(&record(Kind::Call))).unwrap();
    }
    let live = segment::list(&directory).unwrap().pop().unwrap();
    assert!(fs::read(&live).unwrap().ends_with(&[0]), "nothing was laid out ahead");
    assert!(check(&directory).intact);
    log.seal().unwrap();
    let segments = segment::list(&directory).unwrap();
    assert!(segments.len() > 2);
    for segment in segments {
        assert!(fs::metadata(&segment).unwrap().len() <= 4_000);
        assert_eq!(fs::read(&segment).unwrap(), written(&segment));
    }
}

#[test]
fn records_that_were_erased_between_others_are_found() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    crashed(&directory, 6);
    let segment = only_segment(&directory);
    let mut bytes = fs::read(&segment).unwrap();
    let ends: Vec<usize> = memchr::memchr_iter(b'\n', &bytes).map(|at| at + 1).collect();
    bytes[ends[1]..ends[3]].fill(0);
    fs::write(&segment, &bytes).unwrap();
    let report = check(&directory);
    assert!(!report.intact && report.records == 2, "{report:?}");
}

#[test]
fn a_write_without_outcome_is_told() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    let (lost, done) = (record(Kind::Intent), record(Kind::Intent));
    let outcome = Record { kind: Kind::Call, ..done.clone() };
    for record in [&lost, &done, &outcome] {
        wait(log.append(record)).unwrap();
    }
    assert_eq!(check(&directory).unknown, [lost.id.to_string()]);
    drop(log);
    assert_eq!(log_in(&directory).1.unknown, [lost.id.to_string()]);
}

#[test]
fn two_gates_cannot_write_one_log_and_a_missing_one_is_not_made() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let _first = reopen(&directory, 1 << 20).unwrap();
    assert!(matches!(reopen(&directory, 1 << 20), Err(OpenError::InUse(_))));
    assert!(matches!(reopen(&folder.path().join("adit"), 1 << 20), Err(OpenError::Missing(_))));
}

#[test]
fn a_segment_that_is_removed_under_the_gate_closes_the_log_for_good() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    wait(log.append(&record(Kind::Call))).unwrap();
    fs::remove_file(only_segment(&directory)).unwrap();
    assert!(matches!(wait(log.append(&record(Kind::Call))), Err(Closed::Broken(_))));
    assert!(matches!(wait(log.append(&record(Kind::Call))), Err(Closed::Broken(_))));
    assert!(!log.is_open() && log.seal().is_err());
}

/// Fails its second batch.
struct Failing(u32);

impl Sink for Failing {
    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        self.0 += 1;
        assert!(self.0 <= 2, "a sink is not called again after an error");
        if self.0 == 2 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn seal(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn after_an_error_nobody_gets_a_receipt() {
    let log = Log::start(Box::new(Failing(0)), Resume::nowhere()).unwrap();
    assert!(wait(log.append(&record(Kind::Call))).is_ok());
    for _ in 0..3 {
        assert!(wait(log.append(&record(Kind::Call))).is_err());
    }
    assert!(log.trouble().is_some());
}
