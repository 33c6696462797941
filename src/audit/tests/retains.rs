//! Retention: old segments go, and what is left still proves itself.

use std::time::{Duration, SystemTime};

use super::*;
use crate::audit::caretaker::remove_old;

const DAY: Duration = Duration::from_secs(86_400);

fn filled(directory: &Path) -> Log {
    let (log, _) = boxed_log_in(directory, 30_000);
    for n in 0..700 {
        if n % 200 == 100 {
            log.recipients().renew();
        }
        let pending = log.append(&record(Kind::Call));
        if n % 20 == 0 {
            wait(pending).unwrap();
        }
    }
    wait(log.append(&record(Kind::Call))).unwrap();
    signed_for(directory, 701);
    seal_all(directory).unwrap();
    log
}

fn by_size(keep_size: u64) -> Retention {
    Retention { keep_size: Some(keep_size), keep_for: None }
}

fn room(directory: &Path) -> u64 {
    segment::list(directory).unwrap().iter().map(|path| fs::metadata(path).unwrap().len()).sum()
}

#[test]
fn what_is_over_the_size_goes_and_the_rest_is_held_to_the_same_tree() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let log = filled(&directory);
    let (before, segments) = (room(&directory), segment::list(&directory).unwrap());
    remove_old(&directory, &log, by_size(before), SystemTime::now()).unwrap();
    assert_eq!(segment::list(&directory).unwrap(), segments, "nothing is over it");
    let live = fs::metadata(segments.last().unwrap()).unwrap().len();
    let keep = live + (before - live) / 2;
    let keys = fs::read_dir(directory.join("salts")).unwrap().count();
    remove_old(&directory, &log, by_size(keep), SystemTime::now()).unwrap();
    let left = segment::list(&directory).unwrap();
    assert!(left.len() < segments.len() && left.len() > 1 && room(&directory) <= keep);
    assert!(fs::read_dir(directory.join("salts")).unwrap().count() < keys, "keys of removed records are still there");
    let removed = segment::number(&left[0]);
    let told = read(&directory);
    assert_eq!(told[0]["seq"], removed, "what is left can be read");
    assert!(told.iter().any(|line| line["event"]["code"] == "removed"));
    for report in [check(&directory), opened(&directory)] {
        assert!(report.complete && report.removed == removed && report.records == 702, "{report:?}");
    }
    assert!(prove::prove(&directory, key().verifier(), 3, None).is_ok(), "a removed record still has its proof");
    // However little is wanted: the live segment stays.
    remove_old(&directory, &log, by_size(1), SystemTime::now()).unwrap();
    assert_eq!(segment::list(&directory).unwrap(), segments[segments.len() - 1..]);
    log.seal().unwrap();
    assert!(opened(&directory).complete);
    let (log, recovered) = boxed_log_in(&directory, 30_000);
    assert!(recovered.stopped && !recovered.rebuilt, "{recovered:?}");
    drop(log);
    fs::remove_dir_all(directory.join("tile/1")).unwrap();
    let (log, recovered) = boxed_log_in(&directory, 30_000);
    assert!(recovered.rebuilt, "the tree is built anew from entries and records");
    log.seal().unwrap();
    assert!(opened(&directory).complete);
}

#[test]
fn what_is_too_old_goes() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let log = filled(&directory);
    let segments = segment::list(&directory).unwrap();
    let retention = Retention { keep_for: Some(400 * DAY), keep_size: None };
    let begun = SystemTime::now();
    for (n, path) in segments.iter().enumerate() {
        let age = DAY * u32::try_from(500 - 40 * n.min(12)).unwrap();
        fs::File::options().write(true).open(path).unwrap().set_modified(begun - age).unwrap();
    }
    remove_old(&directory, &log, retention, begun).unwrap();
    assert_eq!(segment::list(&directory).unwrap(), segments[3..], "500, 460 and 420 days are too old");
    assert!(check(&directory).complete);
}

#[test]
fn a_segment_that_is_gone_without_a_tombstone_is_missed_and_a_forged_one_is_found() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let log = filled(&directory);
    let segments = segment::list(&directory).unwrap();
    let first = fs::read(&segments[0]).unwrap();
    fs::remove_file(&segments[0]).unwrap();
    assert!(!check(&directory).complete, "nobody misses it");
    fs::write(&segments[0], first).unwrap();
    log.seal().unwrap();
    let end = segment::number(&segments[1]);
    let other = SigningKey::of_a_log().unwrap();
    retain::bury(&directory, &other, end).unwrap();
    assert!(!check(&directory).intact, "anybody can say that records were removed");
    assert!(matches!(reopen(&directory, 1 << 20).map(drop), Err(OpenError::Damaged { .. })));
    // The right key, and more than was removed.
    retain::bury(&directory, &key(), end + 1).unwrap();
    assert!(!check(&directory).intact);
    retain::bury(&directory, &key(), 1_000_000).unwrap();
    assert!(!check(&directory).intact);
}

#[test]
fn a_crash_between_the_tombstone_and_the_files_costs_nothing() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let log = filled(&directory);
    let segments = segment::list(&directory).unwrap();
    let end = segment::number(&segments[2]);
    retain::bury(&directory, &key(), end).unwrap();
    assert!(check(&directory).complete);
    fs::remove_file(&segments[0]).unwrap();
    assert!(check(&directory).complete);
    drop(log);
    let (log, _) = boxed_log_in(&directory, 30_000);
    remove_old(&directory, &log, Retention::default(), SystemTime::now()).unwrap();
    assert_eq!(segment::number(&segment::list(&directory).unwrap()[0]), end);
    assert!(check(&directory).complete);
}
