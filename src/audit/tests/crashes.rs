//! What a start makes of a log that was cut or changed at any byte of its end.

use super::*;

/// A log in a folder of its own: some records that a checkpoint is signed for, and some behind it that none is.
struct Crash {
    _folder: tempfile::TempDir,
    origin: std::path::PathBuf,
    /// The last segment: its bytes, and where its lines end.
    segment: std::path::PathBuf,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    signed: u64,
    tries: u32,
    boxed: bool,
}

fn begin(directory: &Path, boxed: bool) -> (Log, Recovered) {
    if boxed { boxed_log_in(directory, 1 << 20) } else { log_in(directory) }
}

impl Crash {
    fn new(signed: usize, behind: usize) -> Self {
        Self::of(signed, behind, false)
    }

    fn of(signed: usize, behind: usize, boxed: bool) -> Self {
        let folder = fresh();
        let origin = folder.path().join("audit");
        let (log, _) = begin(&origin, boxed);
        for _ in 0..signed {
            wait(log.append(&record(Kind::Call))).unwrap();
        }
        signed_for(&origin, signed as u64);
        let checkpoint = fs::read(origin.join("checkpoint")).unwrap();
        for _ in 0..behind {
            wait(log.append(&record(Kind::Call))).unwrap();
        }
        drop(log);
        // Whatever was signed meanwhile did not reach the disk.
        fs::write(origin.join("checkpoint"), checkpoint).unwrap();
        let segment = only_segment(&origin);
        let bytes = written(&segment);
        let ends = memchr::memchr_iter(b'\n', &bytes).map(|at| at + 1).collect();
        Self { _folder: folder, origin, segment, bytes, ends, signed: signed as u64, tries: 0, boxed }
    }

    /// The same log with another end.
    fn with(&mut self, bytes: &[u8]) -> std::path::PathBuf {
        self.tries += 1;
        let folder = self.origin.with_extension(self.tries.to_string());
        copy(&self.origin, &folder);
        fs::write(folder.join(self.segment.file_name().unwrap()), bytes).unwrap();
        folder
    }

    /// Starts a gate on it, which must keep so many records and put the rest aside, and go on.
    fn recovers(&mut self, bytes: &[u8], whole: usize) {
        let folder = self.with(bytes);
        let (log, recovered) = begin(&folder, self.boxed);
        assert!(!recovered.stopped);
        assert_eq!(recovered.unsigned, whole as u64 - self.signed);
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let rest = &bytes[self.ends[whole - 1]..end.max(self.ends[whole - 1])];
        match recovered.torn {
            None => assert!(rest.is_empty(), "torn bytes are not told"),
            Some(torn) => assert_eq!(fs::read(torn.aside).unwrap(), rest, "torn bytes are kept"),
        }
        // The rest is the same whatever the end was, and takes its time.
        if self.tries.is_multiple_of(16) {
            wait(log.append(&record(Kind::Call))).unwrap();
            log.seal().unwrap();
            let report = check(&folder);
            assert!(report.complete && report.unsigned == 0, "{report:?}");
            assert_eq!(report.records, whole as u64 + 2);
        }
        drop(log);
        fs::remove_dir_all(folder).unwrap();
    }
}

fn cut_at_any_byte(mut crash: Crash) {
    let bytes = crash.bytes.clone();
    for cut in crash.ends[1]..=bytes.len() {
        let whole = crash.ends.iter().filter(|end| **end <= cut).count();
        crash.recovers(&bytes[..cut], whole);
        // As where a crash left room that was laid out.
        crash.recovers(&[&bytes[..cut], &[0; 5000]].concat(), whole);
    }
}

fn changed_at_any_byte(mut crash: Crash) {
    let bytes = crash.bytes.clone();
    for at in crash.ends[1]..bytes.len() {
        let whole = crash.ends.iter().filter(|end| **end <= at).count();
        let mut changed = bytes.clone();
        changed[at] ^= [1, 0x80, bytes[at]][at % 3];
        crash.recovers(&changed, whole);
    }
}

#[test]
fn a_log_cut_at_any_byte_behind_its_checkpoint_keeps_every_whole_record() {
    cut_at_any_byte(Crash::new(2, 3));
}

#[test]
fn an_encrypted_log_cut_at_any_byte_keeps_every_whole_record_without_an_identity() {
    cut_at_any_byte(Crash::of(2, 3, true));
}

#[test]
fn a_log_changed_at_any_byte_behind_its_checkpoint_keeps_the_records_before_and_puts_the_rest_aside() {
    changed_at_any_byte(Crash::new(2, 3));
}

#[test]
fn an_encrypted_log_changed_at_any_byte_keeps_the_records_before_and_puts_the_rest_aside() {
    changed_at_any_byte(Crash::of(2, 3, true));
}

#[test]
fn what_a_checkpoint_was_signed_for_is_damage_and_nothing_is_touched() {
    let mut crash = Crash::new(4, 1);
    let bytes = crash.bytes.clone();
    let signed = crash.ends[3];
    let mut tries: Vec<Vec<u8>> = (0..signed).step_by(7).map(|cut| bytes[..cut].to_vec()).collect();
    for at in (0..signed).step_by(3) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        tries.push(changed);
    }
    for (n, bytes) in tries.iter().enumerate() {
        let folder = crash.with(bytes);
        let refused = reopen(&folder, 1 << 20).map(drop);
        assert!(matches!(refused, Err(OpenError::Damaged { .. } | OpenError::Cut { .. })), "{n}: {refused:?}");
        assert_eq!(&fs::read(folder.join(crash.segment.file_name().unwrap())).unwrap(), bytes, "it was touched");
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn a_log_whose_segments_are_gone_is_not_begun_anew() {
    let crash = Crash::new(2, 0);
    fs::remove_file(&crash.segment).unwrap();
    assert!(matches!(reopen(&crash.origin, 1 << 20), Err(OpenError::Cut { signed: 2, found: 0 })));
    fs::remove_file(crash.origin.join("checkpoint")).unwrap();
    assert!(reopen(&crash.origin, 1 << 20).is_err());
}

#[test]
fn a_log_is_not_continued_with_another_key() {
    let crash = Crash::new(2, 0);
    let other = Arc::new(SigningKey::of_a_log().unwrap());
    assert!(matches!(
        open(&crash.origin, Disk { segment_size: 1 << 20, durability: Durability::Sync }, other, Arc::default()),
        Err(OpenError::Damaged { .. })
    ));
}

#[test]
fn a_tree_that_did_not_reach_the_disk_is_built_anew() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    for _ in 0..600 {
        drop(log.append(&record(Kind::Call)));
    }
    log.seal().unwrap();
    let sound = check(&directory);
    for lost in ["tile/0/002.p", "tile/entries/002.p", "tile/1", "tile"] {
        fs::remove_dir_all(directory.join(lost)).unwrap();
        assert!(!check(&directory).intact, "{lost} is missed by nobody");
        let (log, recovered) = log_in(&directory);
        assert!(recovered.rebuilt, "{lost}");
        log.seal().unwrap();
        assert!(check(&directory).complete);
    }
    assert!(sound.complete && sound.records == 601);
}

#[test]
fn a_log_of_an_earlier_version_is_told_and_left_alone() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let old = format!("{{\"kind\":\"call\",\"seq\":0,\"chain\":\"{}\"}}\n", "0".repeat(64));
    let segment = directory.join(format!("segment-{:020}.jsonl", 0));
    fs::write(&segment, &old).unwrap();
    let Err(OpenError::Damaged { what, .. }) = reopen(&directory, 1 << 20) else { panic!("it was opened") };
    assert!(what.contains("earlier version"), "{what}");
    assert_eq!(fs::read_to_string(&segment).unwrap(), old);
}

/// A key file that began in the middle of a batch which was never kept, whole or torn: it serves no record, and must not be taken
/// for the one that serves those of the next run.
#[test]
fn a_key_file_of_a_batch_that_was_not_kept_is_nobodys() {
    for (name, boxed) in [("keys.age", true), ("keys", true), ("keys", false), ("keys.age", false)] {
        for content in ["", "torn", "- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"] {
            let folder = fresh();
            let directory = folder.path().join("audit");
            let stale = directory.join(format!("salts/{:020}.{name}", 5));
            fs::create_dir_all(directory.join("salts")).unwrap();
            fs::write(&stale, content).unwrap();
            let (log, _) = if boxed { boxed_log_in(&directory, 1 << 20) } else { log_in(&directory) };
            for _ in 0..10 {
                wait(log.append(&record(Kind::Call))).unwrap();
            }
            log.seal().unwrap();
            assert!(!stale.exists(), "{name} {boxed} {content}");
            let report = opened(&directory);
            assert!(report.complete, "{name} {boxed} {content}");
            assert_eq!(read(&directory).len() as u64, report.records);
        }
    }
}
