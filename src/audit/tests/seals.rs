//! Sealed segments: the same log in less room.

use super::*;

/// A log of many segments, plain, then encrypted, then plain again, and its lines as they stood there.
fn log_of_both(directory: &Path) -> Vec<u8> {
    known_log_of_both(directory).0
}

/// The same, and what its writer knows of its segments.
fn known_log_of_both(directory: &Path) -> (Vec<u8>, Finished) {
    let (sink, resume, _) = reopen(directory, 60_000).unwrap();
    let finished = sink.finished();
    let log = Log::start(Box::new(sink), resume).unwrap();
    for n in 0..3000 {
        if n == 700 {
            log.recipients().replace(std::slice::from_ref(&auditor().1)).unwrap();
        }
        if n == 2500 {
            log.recipients().replace(&[]).unwrap();
        }
        let kind = [Kind::Call, Kind::Intent, Kind::Call, Kind::Connection][n % 4];
        let pending = log.append(&record(kind));
        if n % 50 == 0 {
            wait(pending).unwrap();
        }
    }
    log.seal().unwrap();
    (segment::list(directory).unwrap().iter().flat_map(|path| written(path)).collect(), finished)
}

fn lines_of(directory: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for path in segment::list(directory).unwrap() {
        let (mut lines, mut line) = (lines::Lines::open(&path).unwrap(), Vec::new());
        while lines.next(&mut line).unwrap() {
            all.extend_from_slice(&line);
        }
    }
    all
}

fn sealed_segments(directory: &Path) -> Vec<std::path::PathBuf> {
    segment::list(directory).unwrap().into_iter().filter(|path| segment::is_sealed(path)).collect()
}

#[test]
fn a_sealed_log_is_the_same_log_in_less_room() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let before = log_of_both(&directory);
    let (lines, report) = (read(&directory), opened(&directory));
    let count = segment::list(&directory).unwrap().len();
    assert_eq!(seal_all(&directory).unwrap(), count - 1, "all but the last one");
    assert_eq!(seal_all(&directory).unwrap(), 0);
    assert_eq!(lines_of(&directory), before, "the lines are not the very same");
    let room: u64 = sealed_segments(&directory).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(room * 3 < before.len() as u64, "{room} of {}", before.len());
    assert_eq!(read(&directory), lines);
    let sealed = opened(&directory);
    assert!(sealed == report && sealed.complete && check(&directory).complete, "{sealed:?}");
    for count in [1, 2, 500, 2999, 3000, 5000] {
        let mut follow = Follow::from_last(&directory, count, Some(&auditor().0)).unwrap();
        let last: Vec<_> = std::iter::from_fn(|| follow.next_line().unwrap()).collect();
        assert_eq!(last.len(), count.min(3001));
        let first: serde_json::Value = serde_json::from_slice(&last[0]).unwrap();
        assert_eq!(first, lines[3001 - last.len()]);
    }
    let mut follow = Follow::from_record(&directory, 1234, Some(&auditor().0)).unwrap();
    let line: serde_json::Value = serde_json::from_slice(&follow.next_line().unwrap().unwrap()).unwrap();
    assert_eq!(line["seq"], 1234);
    assert!(
        prove::prove(&directory, key().verifier(), 1234, Some(prove::Disclose { identity: Some(&auditor().0) }))
            .is_ok()
    );
    unseal_all(&directory).unwrap();
    assert_eq!(lines_of(&directory), before);
}

#[test]
fn a_gate_goes_on_behind_sealed_segments() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    log_of_both(&directory);
    seal_all(&directory).unwrap();
    let last = segment::list(&directory).unwrap().pop().unwrap();
    sealed::seal(&last, None).unwrap();
    let (log, recovered) = log_in(&directory);
    assert!(recovered.stopped && recovered.torn.is_none() && !recovered.rebuilt, "{recovered:?}");
    wait(log.append(&record(Kind::Call))).unwrap();
    drop(log);
    fs::remove_dir_all(directory.join("tile")).unwrap();
    let (log, recovered) = log_in(&directory);
    assert!(recovered.rebuilt, "{recovered:?}");
    log.seal().unwrap();
    let report = check(&directory);
    assert!(report.complete && report.records == 3003, "{report:?}");
}

#[test]
fn a_crash_while_sealing_costs_nothing() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let before = log_of_both(&directory);
    let first = segment::list(&directory).unwrap()[0].clone();
    let text = fs::read(&first).unwrap();
    // Half written beside it.
    fs::write(first.with_extension("sealing"), b"kgs1").unwrap();
    assert!(check(&directory).complete);
    // In its place, and the one that it was made of not yet removed: that one counts.
    sealed::seal(&first, None).unwrap();
    let sealed = fs::read(first.with_extension("sealed")).unwrap();
    fs::write(&first, &text).unwrap();
    fs::write(first.with_extension("sealed"), &sealed[..sealed.len() / 2]).unwrap();
    assert!(check(&directory).complete);
    assert_eq!(lines_of(&directory), before);
    log_in(&directory).0.seal().unwrap();
    seal_all(&directory).unwrap();
    assert_eq!(fs::read(first.with_extension("sealed")).unwrap(), sealed);
    assert!(check(&directory).complete && !first.exists() && !first.with_extension("sealing").exists());
}

#[test]
fn what_cannot_be_made_again_is_not_sealed() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    log_of_both(&directory);
    let first = segment::list(&directory).unwrap()[0].clone();
    let mut text = fs::read(&first).unwrap();
    text[30] = b'\n';
    fs::write(&first, &text).unwrap();
    assert!(sealed::seal(&first, None).is_err());
    assert_eq!(fs::read(&first).unwrap(), text, "it was touched");
    assert!(!first.with_extension("sealed").exists() && !first.with_extension("sealing").exists());
    assert!(seal_all(&directory).unwrap() > 1, "the others are sealed all the same");
}

#[test]
fn a_segment_as_its_writer_left_it_is_sealed_as_any_other() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (_, finished) = known_log_of_both(&directory);
    let segments = segment::list(&directory).unwrap();
    assert!(segments.len() > 5, "{}", segments.len());
    // The next start looks at each line of the last one.
    let last = segment::number(segments.last().unwrap());
    let (sink, ..) = reopen(&directory, 60_000).unwrap();
    assert!(finished.get(last).is_some() && sink.finished().get(last) == finished.get(last));
    drop(sink);
    for path in segments {
        let lines = fs::read(&path).unwrap();
        let known = finished.get(segment::number(&path));
        assert!(known.is_some(), "{}", path.display());
        let sealed = fs::read(sealed::seal(&path, known).unwrap()).unwrap();
        fs::write(&path, lines).unwrap();
        assert!(fs::read(sealed::seal(&path, None).unwrap()).unwrap() == sealed, "{}", path.display());
    }
    assert!(check(&directory).complete);
}

#[test]
fn a_segment_that_was_changed_since_it_was_written_is_not_sealed() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (_, finished) = known_log_of_both(&directory);
    let segments = segment::list(&directory).unwrap();
    let is_boxed = |path: &Path| {
        let text = fs::read(path).unwrap();
        let (first, last) = (text.split(|b| *b == b'\n').next().unwrap(), text.rsplit(|b| *b == b'\n').nth(1).unwrap());
        [first, last].map(|line| line.starts_with(b"{\"box\":"))
    };
    let of = |wanted: bool| segments.iter().find(|path| is_boxed(path) == [wanted; 2]).unwrap();
    for path in [of(true), of(false)] {
        let known = finished.get(segment::number(path));
        let sound = fs::read(path).unwrap();
        let middle = sound.len() / 2 + sound[sound.len() / 2..].iter().position(|b| *b == b'\n').unwrap();
        // All of them are lines in the form of one: a text with the entry of what stood there, an entry, a line less.
        let mut other_text = sound.clone();
        let at = middle + if sound.starts_with(b"{\"box\":") { 20 } else { 12 };
        other_text[at] = if other_text[at] == b'1' { b'2' } else { b'1' };
        let mut other_entry = sound.clone();
        other_entry[middle - 10] = if other_entry[middle - 10] == b'A' { b'B' } else { b'A' };
        let shorter = sound[..=middle].to_vec();
        for changed in [other_text, other_entry, shorter] {
            assert!(changed != sound);
            fs::write(path, &changed).unwrap();
            let error = sealed::seal(path, known).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
            assert!(fs::read(path).unwrap() == changed, "it was touched");
            assert!(!path.with_extension("sealed").exists() && !path.with_extension("sealing").exists());
        }
        fs::write(path, &sound).unwrap();
        sealed::seal(path, known).unwrap();
    }
    assert!(check(&directory).complete);
}

#[test]
fn the_caretaker_knows_what_the_writer_wrote_also_when_the_log_was_opened_again() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (_, finished) = known_log_of_both(&directory);
    let segments = segment::list(&directory).unwrap();
    let (changed, last) = (&segments[0], segments.last().unwrap());
    // Sound in itself: a line less.
    let mut text = fs::read(changed).unwrap();
    let end = text[..text.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    text.truncate(end + 1);
    fs::write(changed, &text).unwrap();
    let disk = Disk { segment_size: 60_000, durability: Durability::Sync };
    let (sink, resume, _) = open_from(&directory, disk, key(), Arc::default(), finished.clone(), 0).unwrap();
    let log = Log::start(Box::new(sink), resume).unwrap();
    wait(log.append(&record(Kind::Call))).unwrap();
    let retention = Retention { keep_for: None, keep_size: None };
    let caretaker = Caretaker::start(&directory, log.clone(), retention, finished.clone()).unwrap();
    let begun = std::time::Instant::now();
    // The last one of before is the last to be sealed.
    while !last.with_extension("sealed").exists() || last.exists() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "it was not sealed");
        std::thread::yield_now();
    }
    drop(caretaker);
    log.seal().unwrap();
    assert!(fs::read(changed).unwrap() == text && !changed.with_extension("sealed").exists());
    assert_eq!(sealed_segments(&directory).len(), segments.len() - 1);
    assert!(segments.iter().all(|path| finished.get(segment::number(path)).is_none()), "it is not forgotten");
}

#[test]
fn every_change_of_a_sealed_segment_is_found_and_the_gate_does_not_start_on_the_last_one() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    log_of_both(&directory);
    seal_all(&directory).unwrap();
    let path = sealed_segments(&directory)[1].clone();
    let sound = fs::read(&path).unwrap();
    for n in 0..60 {
        let mut bytes = sound.clone();
        let at = if n < 30 { n } else { (n * 7919) % bytes.len() };
        bytes[at] ^= 1 << (n % 8);
        fs::write(&path, &bytes).unwrap();
        let report = check(&directory);
        assert_eq!(
            report.first_bad.as_ref().and_then(|bad| bad.seq),
            Some(segment::number(&path)),
            "byte {at}: {report:?}"
        );
    }
    for cut in [0, 10, sound.len() / 2, sound.len() - 1] {
        fs::write(&path, &sound[..cut]).unwrap();
        assert!(!check(&directory).intact, "cut to {cut}");
    }
    fs::write(&path, &sound).unwrap();
    let last = sealed::seal(&segment::list(&directory).unwrap().pop().unwrap(), None).unwrap();
    let mut bytes = fs::read(&last).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&last, &bytes).unwrap();
    assert!(matches!(reopen(&directory, 1 << 20).map(drop), Err(OpenError::Damaged { .. })));
    assert_eq!(fs::read(&last).unwrap(), bytes, "it was touched");
}

#[test]
fn a_follower_misses_nothing_while_segments_are_sealed_behind_the_writer() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = boxed_log_in(&directory, 3_000);
    let sealing = directory.clone();
    let writing = std::thread::spawn(move || {
        for n in 0..600 {
            wait(log.append(&record(Kind::Call))).unwrap();
            if n % 20 == 0 {
                seal_all(&sealing).unwrap();
            }
        }
        log.seal().unwrap();
    });
    let mut follow = Follow::from_start(&directory, Some(&auditor().0));
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
    assert_eq!(expected, 601);
    assert!(sealed_segments(&directory).len() > 10 && check(&directory).complete);
}

#[test]
fn lines_that_are_picked_out_of_a_block_are_the_very_lines() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    log_of_both(&directory);
    seal_all(&directory).unwrap();
    let mut picker = picked::Picker::new().unwrap();
    let (mut boxed, mut plain, mut text) = (0, 0, Vec::new());
    for path in sealed_segments(&directory) {
        let (sealed, file) = (sealed::SealedFile::open(&path).unwrap(), fs::File::open(&path).unwrap());
        for n in 0.. {
            let Some(offset) = sealed.offset(n).unwrap() else { break };
            let front = sealed.front(offset).unwrap();
            sealed.block_at(offset, &mut text).unwrap();
            let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
            *if text.starts_with(b"{\"box\"") { &mut boxed } else { &mut plain } += 1;
            for step in [1, 2, 7, 60, lines.len()] {
                for from in [0, step / 2, lines.len() - 1] {
                    let rows: Vec<usize> = (from..lines.len()).step_by(step).collect();
                    let mut made = Vec::new();
                    picker.pick(&file, (offset, front), &rows, &mut made).unwrap();
                    let expected: Vec<u8> = rows.iter().flat_map(|row| lines[*row]).copied().collect();
                    assert!(made == expected, "{rows:?} of block {n} of {}", path.display());
                }
            }
            let mut out = Vec::new();
            assert!(picker.pick(&file, (offset, front), &[lines.len()], &mut out).is_err(), "a line that is not there");
            let other = picked::Front { length: front.length + 1, ..front };
            assert!(picker.pick(&file, (offset, other), &[0], &mut out).is_err(), "an index that lies");
            assert!(picker.pick(&file, (offset + 1, front), &[0], &mut out).is_err(), "an index that lies");
        }
    }
    assert!(boxed > 2 && plain > 2, "{boxed} and {plain} blocks");
}

#[test]
fn a_changed_plain_block_yields_no_line() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    log_of_both(&directory);
    seal_all(&directory).unwrap();
    let path = sealed_segments(&directory).remove(0);
    let (bytes, sealed) = (fs::read(&path).unwrap(), sealed::SealedFile::open(&path).unwrap());
    let (offset, mut picker) = (sealed.offset(0).unwrap().unwrap(), picked::Picker::new().unwrap());
    let front = sealed.front(offset).unwrap();
    for at in (0..front.length).step_by(31) {
        let mut changed = bytes.clone();
        changed[at] ^= 4;
        let place = folder.path().join("changed");
        fs::write(&place, changed).unwrap();
        let made = picker.pick(&fs::File::open(&place).unwrap(), (offset, front), &[3], &mut Vec::new());
        assert!(made.is_err(), "byte {at}");
    }
}
