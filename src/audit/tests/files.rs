//! What happens to the log's files while the gate runs, and what a start and a reader make of them.

use std::os::unix::fs::PermissionsExt;
use std::thread;

use jiff::{SignedDuration, Timestamp};

use super::*;

/// A log whose every batch is a segment of its own.
fn log_of_small_segments(directory: &Path) -> (Log, Recovered) {
    let (sink, resume, recovered) = reopen(directory, 1).unwrap();
    (Log::start(Box::new(sink), resume).unwrap(), recovered)
}

fn put(log: &Log, record: &Record) {
    wait(log.append(record)).unwrap();
}

#[test]
fn a_folder_that_was_replaced_gets_no_history_of_its_own() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_of_small_segments(&directory);
    put(&log, &record(Kind::Call));
    fs::rename(&directory, folder.path().join("elsewhere")).unwrap();
    init(&directory);
    assert!(wait(log.append(&record(Kind::Call))).is_err(), "the log went on in another folder");
    assert!(segment::list(&directory).unwrap().is_empty());
}

#[test]
fn a_segment_that_was_made_read_only_closes_the_log() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    put(&log, &record(Kind::Call));
    let segment = only_segment(&directory);
    let before = fs::read(&segment).unwrap();
    fs::set_permissions(&segment, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(wait(log.append(&record(Kind::Call))).is_err());
    assert_eq!(fs::read(&segment).unwrap(), before, "what was not acknowledged is in the log");
}

#[test]
fn a_segment_that_somebody_else_writes_to_closes_the_log_and_keeps_what_was_acknowledged() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    put(&log, &record(Kind::Call));
    let segment = only_segment(&directory);
    let before = fs::read(&segment).unwrap();
    let foreign = [&before[..], b"{\"kind\":\"call\"}\n"].concat();
    fs::write(&segment, &foreign).unwrap();
    assert!(wait(log.append(&record(Kind::Call))).is_err());
    assert_eq!(fs::read(&segment).unwrap(), foreign, "what somebody else did is evidence");
}

#[test]
fn a_segment_that_was_cut_under_the_gate_closes_the_log_and_stays_cut() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    put(&log, &record(Kind::Call));
    let segment = only_segment(&directory);
    let before = fs::read(&segment).unwrap();
    fs::write(&segment, &before[..10]).unwrap();
    assert!(wait(log.append(&record(Kind::Call))).is_err());
    assert_eq!(fs::read(&segment).unwrap(), &before[..10]);
}

#[test]
fn a_start_that_was_torn_hides_nothing_of_the_run_before() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    let lost = record(Kind::Intent);
    put(&log, &lost);
    drop(log);
    let mut started = Record::new(Kind::Gate, Timestamp::now());
    started.event = Some(Event { code: "started", detail: String::new() });
    let torn = serde_json::to_vec(&started).unwrap();
    fs::write(directory.join(format!("segment-{:020}.jsonl", 1)), torn).unwrap();
    let (_log, recovered) = log_in(&directory);
    assert!(recovered.torn.is_some() && !recovered.stopped);
    assert_eq!(recovered.unknown, [lost.id.to_string()]);
}

#[test]
fn a_folder_in_which_no_log_was_made_is_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    assert!(reopen(folder.path(), 1 << 20).is_err(), "a disk that is not mounted looks like this");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_segment_that_was_begun_and_not_written_hides_nothing_of_the_run_before() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    let lost = record(Kind::Intent);
    put(&log, &lost);
    drop(log);
    fs::write(directory.join(format!("segment-{:020}.jsonl", 1)), "").unwrap();
    let (log, recovered) = log_in(&directory);
    assert!(!recovered.stopped, "the gate did not stop in good order");
    assert_eq!(recovered.unknown, [lost.id.to_string()]);
    put(&log, &record(Kind::Call));
    log.seal().unwrap();
    let report = check(&directory);
    assert!(report.intact && report.records == 3, "{report:?}");
}

#[test]
fn a_write_without_outcome_is_told_whichever_segment_of_the_run_it_stands_in() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_of_small_segments(&directory);
    let lost = record(Kind::Intent);
    put(&log, &lost);
    let done = record(Kind::Intent);
    put(&log, &done);
    put(&log, &record(Kind::Call));
    put(&log, &Record { kind: Kind::Call, ..done });
    drop(log);
    assert!(segment::list(&directory).unwrap().len() > 2);
    assert_eq!(log_in(&directory).1.unknown, [lost.id.to_string()]);
}

#[test]
fn a_reader_of_no_lines_begins_with_the_next_one() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    put(&log, &record(Kind::Call));
    let mut follow = Follow::from_last(&directory, 0, None).unwrap();
    assert!(follow.next_line().unwrap().is_none());
    let next = record(Kind::Call);
    put(&log, &next);
    let line = String::from_utf8(follow.next_line().unwrap().unwrap()).unwrap();
    assert!(line.contains(&next.id.to_string()));
}

#[test]
fn the_last_lines_are_found_across_segments() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_of_small_segments(&directory);
    (0..7).for_each(|_| put(&log, &record(Kind::Call)));
    for count in 1..10 {
        let mut follow = Follow::from_last(&directory, count, None).unwrap();
        let mut lines = 0;
        while follow.next_line().unwrap().is_some() {
            lines += 1;
        }
        assert_eq!(lines, count.min(7));
    }
}

#[test]
fn the_last_lines_are_found_wherever_a_block_of_reading_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("segment-{:020}.jsonl", 0));
    for length in [(1 << 16) - 2, (1 << 16) - 1, 1 << 16, 3 << 16] {
        let line = "x".repeat(length);
        // Torn, and room behind it.
        fs::write(&path, format!("{line}\n{line}\n{line}\nto{}", "\0".repeat(200_000))).unwrap();
        for count in 0..5 {
            let mut follow = Follow::from_last(folder.path(), count, None).unwrap();
            for _ in 0..count.min(3) {
                assert!(follow.next_line().unwrap().is_some_and(|found| found == line.as_bytes()));
            }
            assert_eq!(follow.next_line().unwrap(), None);
        }
    }
}

#[test]
fn a_reader_begins_with_the_record_that_was_asked_for() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_of_small_segments(&directory);
    (0..5).for_each(|_| put(&log, &record(Kind::Call)));
    drop(log);
    let (log, _) = log_in(&directory);
    (0..5).for_each(|_| put(&log, &record(Kind::Call)));
    let next = |follow: &mut Follow| follow.next_line().unwrap().map(|line| line::Line::parse(&line).unwrap().seq);
    for wanted in 0..10 {
        let mut follow = Follow::from_record(&directory, wanted, None).unwrap();
        assert_eq!([next(&mut follow), next(&mut follow)], [Some(wanted), Some(wanted + 1).filter(|seq| *seq < 10)]);
    }
    let mut ahead = Follow::from_record(&directory, 10, None).unwrap();
    assert_eq!(next(&mut ahead), None);
    put(&log, &record(Kind::Call));
    assert_eq!(next(&mut ahead), Some(10));
    fs::remove_file(&segment::list(&directory).unwrap()[0]).unwrap();
    assert_eq!(next(&mut Follow::from_record(&directory, 0, None).unwrap()), Some(1), "the first one that is there");
}

/// What is laid out ahead may be read before, and what stands in it after, a batch was written: a reader that went on behind
/// such zeros told that there is nothing, and had to be asked again.
#[test]
fn a_follower_has_every_record_once_it_is_durable() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    let durable = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let told = durable.clone();
    let writing = thread::spawn(move || {
        for n in 1..=3000 {
            put(&log, &record(Kind::Call));
            told.store(n, std::sync::atomic::Ordering::Release);
        }
    });
    let mut follow = Follow::from_start(&directory, None);
    let mut read = 0;
    while read < 3000 {
        let there = durable.load(std::sync::atomic::Ordering::Acquire);
        while follow.next_line().unwrap().is_some() {
            read += 1;
        }
        assert!(read >= there, "{there} records were durable, and a reader found {read}");
    }
    writing.join().unwrap();
}

#[test]
fn a_follower_misses_no_line_where_segments_meet() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_of_small_segments(&directory);
    let writing = thread::spawn(move || {
        (0..400).for_each(|_| put(&log, &record(Kind::Call)));
        log.seal().unwrap();
    });
    let mut follow = Follow::from_start(&directory, None);
    let mut expected = 0;
    loop {
        let ended = writing.is_finished();
        while let Some(text) = follow.next_line().unwrap() {
            assert_eq!(line::Line::parse(&text).unwrap().seq, expected, "lines were skipped");
            expected += 1;
        }
        if ended {
            break;
        }
    }
    assert_eq!(expected, 401);
}

#[test]
fn a_clock_that_was_set_back_is_told_and_a_long_call_is_not() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    let now = Timestamp::now();
    let at = |seconds: i64, micros: u32| {
        let mut record = Record::new(Kind::Call, now + SignedDuration::from_secs(seconds));
        record.micros = Some(Steps { body: micros, ..Steps::default() });
        record
    };
    // Number 1 began five minutes before number 0 and ended after it.
    put(&log, &at(0, 0));
    put(&log, &at(-300, 301_000_000));
    put(&log, &at(2, 0));
    put(&log, &at(-20, 0));
    let report = check(&directory);
    assert_eq!(report.clock_steps.len(), 1, "{:?}", report.clock_steps);
    let (seq, by) = report.clock_steps[0];
    assert_eq!((seq, by), (3, 22_000));
    log.seal().unwrap();
}
