//! What verifying finds, what proofs and receipts are worth, what a witness refuses.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;

/// A stopped log with so many calls in it.
fn stopped(directory: &Path, calls: usize) {
    let (log, _) = log_in(directory);
    for _ in 0..calls {
        drop(log.append(&record(Kind::Call)));
    }
    log.seal().unwrap();
}

fn checkpoint(directory: &Path) -> String {
    fs::read_to_string(directory.join("checkpoint")).unwrap()
}

fn held_to(directory: &Path, checkpoint: Option<&str>, receipts: &str) -> Report {
    let known = Known {
        key: Some(key().verifier().clone()),
        checkpoints: checkpoint.iter().map(|note| ("noted".into(), (*note).to_owned())).collect(),
        receipts: vec![("receipts".into(), receipts.to_owned())],
        identity: None,
    };
    verify(directory, &known, |_| ()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn changing_any_byte_is_found(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        static LOG: OnceLock<(tempfile::TempDir, Vec<u8>)> = OnceLock::new();
        let (folder, bytes) = LOG.get_or_init(|| {
            let folder = fresh();
            stopped(&folder.path().join("audit"), 3);
            let bytes = fs::read(only_segment(&folder.path().join("audit"))).unwrap();
            (folder, bytes)
        });
        let directory = folder.path().join("audit");
        let mut bytes = bytes.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        fs::write(only_segment(&directory), &bytes).unwrap();
        let report = check(&directory);
        // The very last byte is the newline that ends the seal: without it the seal is a torn tail, and missing.
        let tail = at == bytes.len() - 1 && report.torn_bytes > 0 && !report.complete;
        prop_assert!(!report.intact || tail, "byte {at} bit {bit}: {report:?}");
    }
}

#[test]
fn a_cut_tail_is_intact_and_not_complete() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    stopped(&directory, 4);
    let segment = only_segment(&directory);
    let bytes = fs::read(&segment).unwrap();
    let end = memchr::memchr_iter(b'\n', &bytes).nth(2).unwrap() + 1;
    let zeroed = [&bytes[..end], &vec![0; bytes.len() - end]].concat();
    for cut in [&bytes[..end], &zeroed] {
        fs::write(&segment, cut).unwrap();
        let report = check(&directory);
        assert!(report.intact && !report.complete, "{report:?}");
        assert_eq!(report.missing[0].seqs, (3, 4));
    }
}

#[test]
fn a_log_put_back_to_an_earlier_state_shows_against_what_was_kept_elsewhere() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    stopped(&directory, 3);
    let earlier = folder.path().join("earlier");
    copy(&directory, &earlier);
    let (log, _) = log_in(&directory);
    let receipt = wait(log.append(&record(Kind::Call))).unwrap();
    let receipt = log.receipt_text(&receipt, true).unwrap();
    log.seal().unwrap();
    let now = checkpoint(&directory);
    assert!(held_to(&directory, Some(&now), &receipt).complete);
    assert!(check(&earlier).complete, "it cannot show by itself");
    assert!(!held_to(&earlier, Some(&now), "").complete);
    let report = held_to(&earlier, None, &receipt);
    assert!(report.intact && !report.complete, "{report:?}");
    assert_eq!(report.missing[0].seqs, (4, 4));
}

#[test]
fn a_log_written_anew_with_its_own_key_shows_against_what_was_kept_elsewhere() {
    let folder = fresh();
    let (one, other) = (folder.path().join("audit"), folder.path().join("other"));
    init(&other);
    let (log, _) = log_in(&one);
    let receipt = wait(log.append(&record(Kind::Call))).unwrap();
    let receipt = log.receipt_text(&receipt, false).unwrap();
    log.seal().unwrap();
    stopped(&other, 3);
    assert!(check(&other).complete);
    assert!(!held_to(&other, Some(&checkpoint(&one)), "").intact);
    let report = held_to(&other, None, &receipt);
    assert!(!report.intact, "{report:?}");
    assert_eq!(report.first_bad.unwrap().seq, Some(0));
}

#[test]
fn records_that_nobody_signed_for_are_told() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    stopped(&directory, 2);
    let note = checkpoint(&directory);
    let (log, _) = log_in(&directory);
    wait(log.append(&record(Kind::Call))).unwrap();
    drop(log);
    fs::write(directory.join("checkpoint"), note).unwrap();
    fs::remove_file(directory.join("checkpoints")).unwrap();
    let report = check(&directory);
    assert!(report.complete && report.unsigned == 1 && !report.running, "{report:?}");
}

#[test]
fn a_forgotten_salt_leaves_the_tree_and_the_proofs_whole() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    stopped(&directory, 5);
    let path = directory.join("salts").join(format!("{:020}.keys", 0));
    let mut keys = keys::Keys::parse(&fs::read_to_string(&path).unwrap()).unwrap();
    keys.forget(2);
    fs::write(&path, keys.text().as_bytes()).unwrap();
    for index in 0..5 {
        prove::prove(&directory, key().verifier(), index, None).unwrap();
        assert_eq!(
            prove::prove(&directory, key().verifier(), index, Some(prove::Disclose { identity: None })).is_ok(),
            index != 2
        );
    }
    // Nobody can tell any more what the record was, and that is what is told.
    assert_eq!(check(&directory).first_bad.unwrap().seq, Some(2));
    let (log, recovered) = log_in(&directory);
    assert!(recovered.stopped && !recovered.rebuilt);
    log.seal().unwrap();
}

#[test]
fn records_that_only_the_system_has_are_synced_before_they_are_signed_for() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let disk = Disk { segment_size: 4_000, durability: Durability::Os };
    let (sink, resume, _) = open(&directory, disk, key(), Arc::default()).unwrap();
    let log = Log::start(Box::new(sink), resume).unwrap();
    for _ in 0..40 {
        wait(log.append(&record(Kind::Call))).unwrap();
    }
    signed_for(&directory, 40);
    drop(log);
    assert!(segment::list(&directory).unwrap().len() > 2);
    let (log, recovered) = log_in(&directory);
    assert!(!recovered.stopped && recovered.unsigned == 0);
    log.seal().unwrap();
    assert!(check(&directory).complete);
}

#[test]
fn a_witness_cosigns_what_continues_and_refuses_what_does_not() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let witness = SigningKey::of_a_witness("witness.example.com/w1").unwrap();
    let cosign = |log: &Path, seen: Option<&str>| witness::cosign(&witness, key().verifier(), log, seen, 1_700_000_000);
    let first = cosign(&directory, None).expect("a log without records is a log");
    stopped(&directory, 300);
    let seen = cosign(&directory, Some(&first)).unwrap();
    assert!(tree::note::Note::parse(&seen).unwrap().signed_by(witness.verifier()).is_some());
    let earlier = folder.path().join("earlier");
    copy(&directory, &earlier);
    stopped(&directory, 700);
    let newer = cosign(&directory, Some(&seen)).unwrap();
    assert!(matches!(cosign(&earlier, Some(&newer)), Err(witness::Refused::Smaller { before: 1002, now: 301 })));
    let other = folder.path().join("other");
    init(&other);
    stopped(&other, 1100);
    assert!(matches!(cosign(&other, Some(&newer)), Err(witness::Refused::Forked(1002))));
    fs::remove_dir_all(directory.join("tile/1")).unwrap();
    assert!(cosign(&directory, Some(&seen)).is_err());
}

#[test]
fn checkpoints_are_signed_while_records_come_and_the_history_keeps_the_last_of_each_run() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    wait(log.append(&record(Kind::Call))).unwrap();
    signed_for(&directory, 1);
    wait(log.append(&record(Kind::Call))).unwrap();
    signed_for(&directory, 2);
    log.seal().unwrap();
    stopped(&directory, 1);
    let history = fs::read_to_string(directory.join("checkpoints")).unwrap();
    let sizes: Vec<_> = tree::store::notes(&history).map(|note| note.lines().nth(1).unwrap().to_owned()).collect();
    assert_eq!(sizes.first().map(String::as_str), Some("1"));
    assert!(sizes.contains(&"3".to_owned()) && sizes.ends_with(&["5".to_owned()]), "{sizes:?}");
    // A crash may cut the last one.
    fs::write(directory.join("checkpoints"), &history[..history.len() - 20]).unwrap();
    assert!(check(&directory).complete);
    stopped(&directory, 1);
    assert!(check(&directory).complete);
}
