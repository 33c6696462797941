//! Records that are forgotten: nothing of them is left, and everything else stays.

use super::*;
use crate::audit::forget::{Erasure, Wanted, begun, destroy, find, recorded, unrecorded};

const NAME: &str = "merchantOrderNo";

fn hasher() -> ParamHasher {
    ParamHasher::new(&[3; 32])
}

fn of(value: &str, kind: Kind) -> Record {
    let mut record = record(kind);
    record.detail = Some(format!("about {value}"));
    record.params = vec![(NAME.into(), hasher().hash(NAME, value.as_bytes()))];
    record
}

fn wanted(value: &str) -> Wanted {
    Wanted { params: vec![("merchantorderno".to_owned(), hasher().hash(NAME, value.as_bytes()))], ..Wanted::default() }
}

fn recipients() -> Recipients {
    Recipients::parse(std::slice::from_ref(&auditor().1)).unwrap()
}

/// Every file of a folder, as it lies there.
fn all_bytes(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        bytes.extend(if path.is_dir() { all_bytes(&path) } else { fs::read(&path).unwrap() });
    }
    bytes
}

/// Everything that can be opened with the identity: lines, key files, and boxes with every key there is.
fn all_opened(directory: &Path) -> Vec<u8> {
    let mut bytes: Vec<u8> = read(directory).iter().flat_map(|line| serde_json::to_vec(line).unwrap()).collect();
    for entry in fs::read_dir(directory.join("salts")).unwrap().flatten() {
        bytes.extend(&*auditor().0.decrypt(&fs::read(entry.path()).unwrap()).unwrap());
    }
    // Boxes that a crash tore out of the log, with all key files that may have had their keys.
    for torn in
        fs::read_dir(directory).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().starts_with("torn-"))
    {
        let bytes_of = fs::read(torn.path()).unwrap();
        for text in bytes_of.split(|byte| *byte == b'\n') {
            let Some(line) = line::Line::parse(text) else { continue };
            for entry in fs::read_dir(directory.join("salts")).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                let (first, _) = salt::first_of(&name).unwrap();
                let text_of = auditor().0.decrypt(&fs::read(entry.path()).unwrap()).unwrap();
                let mut keys = keys::Keys::parse(std::str::from_utf8(&text_of).unwrap()).unwrap();
                let Some(salt) = line.seq.checked_sub(first).and_then(|at| keys.salt(u16::try_from(at).unwrap()))
                else {
                    continue;
                };
                bytes.extend(boxed::Unboxer::new().unwrap().open(&line, &salt, keys.pieces()).unwrap_or_default());
            }
        }
    }
    bytes
}

fn has(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

#[test]
fn nothing_of_a_forgotten_record_is_left_and_everything_else_is() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = boxed_log_in(&directory, 8_000);
    let hash = hasher().hash(NAME, b"M-1").to_string();
    let mut expected = Vec::new();
    for n in 0..60 {
        if n % 7 == 3 {
            let intent = of("M-1", Kind::Intent);
            let outcome = Record { kind: Kind::Call, params: Vec::new(), ..intent.clone() };
            let _ = (log.append(&intent), log.append(&outcome));
        } else {
            let other = of(&format!("M-{}", n + 100), Kind::Call);
            expected.push(other.id.to_string());
            wait(log.append(&other)).unwrap();
        }
        if n == 30 {
            log.recipients().renew();
        }
    }
    assert!(has(&all_opened(&directory), "about M-1\"") && has(&all_opened(&directory), &hash));
    let before = check(&directory).root;
    // The log is in use, and its present key file is one of those that lose keys.
    let found = find(&directory, &auditor().0, &wanted("M-1")).unwrap();
    assert_eq!(found.len(), 18, "intents and outcomes, though only one of them names it");
    assert!(found.iter().all(|one| one.boxed));
    let erasure = Erasure::new("request 17", found.iter().map(|one| one.seq));
    destroy(&directory, &auditor().0, &recipients(), &erasure).unwrap();
    log.recipients().renew();
    wait(log.append(&of("M-999", Kind::Call))).unwrap();
    recorded(&directory).unwrap();
    log.seal().unwrap();
    for (what, bytes) in [("as it lies there", all_bytes(&directory)), ("opened", all_opened(&directory))] {
        for planted in ["about M-1\"", &hash] {
            assert!(!has(&bytes, planted), "`{planted}` is found, {what}");
        }
    }
    let lines = read(&directory);
    let ids: Vec<&str> = lines.iter().filter_map(|line| line["id"].as_str()).collect();
    assert!(expected.iter().all(|id| ids.contains(&&**id)), "other records are gone as well");
    assert_eq!(lines.iter().filter(|line| line["kind"] == "forgotten").count(), 18);
    let report = opened(&directory);
    assert!(report.complete && report.forgotten == 18 && check(&directory).complete, "{report:?}");
    assert_ne!(before, report.root, "records came since");
    assert!(find(&directory, &auditor().0, &wanted("M-1")).unwrap().is_empty());
    assert!(boxed_log_in(&directory, 8_000).1.stopped, "the gate does not start any more");
}

#[test]
fn what_a_crash_tore_is_forgotten_as_well() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = boxed_log_in(&directory, 1 << 20);
    wait(log.append(&of("M-1", Kind::Call))).unwrap();
    signed_for(&directory, 1);
    let checkpoint = fs::read(directory.join("checkpoint")).unwrap();
    (0..2).for_each(|_| wait(log.append(&of("M-1", Kind::Call))).map(drop).unwrap());
    drop(log);
    fs::write(directory.join("checkpoint"), checkpoint).unwrap();
    // The second record is damaged, so the third, which is whole, is put aside with it.
    let segment = only_segment(&directory);
    let mut bytes = written(&segment);
    let second = memchr::memchr(b'\n', &bytes).unwrap() + 20;
    bytes[second] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (log, recovered) = boxed_log_in(&directory, 1 << 20);
    assert_eq!(recovered.torn.unwrap().records, 2);
    wait(log.append(&of("M-2", Kind::Call))).unwrap();
    log.seal().unwrap();
    assert!(has(&all_opened(&directory), "about M-1\""));
    let found = find(&directory, &auditor().0, &wanted("M-1")).unwrap();
    let erasure = Erasure::new("", found.iter().map(|one| one.seq));
    destroy(&directory, &auditor().0, &recipients(), &erasure).unwrap();
    assert!(!has(&all_opened(&directory), "about M-1\""), "it is found in the bytes that were put aside");
    assert!(has(&all_opened(&directory), "about M-2\""));
}

#[test]
fn forgetting_goes_on_where_it_was_interrupted() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = boxed_log_in(&directory, 1 << 20);
    for n in 0..4 {
        wait(log.append(&of(&format!("M-{n}"), Kind::Call))).unwrap();
    }
    log.seal().unwrap();
    let erasure = Erasure::new("why", [1, 2, 3]);
    assert_eq!(erasure.told(), ["3 records were forgotten, reason: why; their numbers: 1-3"]);
    assert_eq!(Erasure::new("why", [7]).told(), ["1 record was forgotten, reason: why; its number: 7"]);
    // A key file that cannot be opened stops it in the middle.
    let stranger = Identity::parse(&Identity::generate().0).unwrap();
    assert!(destroy(&directory, &stranger, &recipients(), &erasure).is_err());
    assert!(unrecorded(&directory).unwrap().is_none());
    let again = begun(&directory).unwrap().expect("what was begun is not known");
    destroy(&directory, &auditor().0, &recipients(), &again).unwrap();
    destroy(&directory, &auditor().0, &recipients(), &again).unwrap();
    assert!(begun(&directory).unwrap().is_none() && unrecorded(&directory).unwrap().is_some());
    let kinds: Vec<_> = read(&directory).into_iter().map(|line| line["kind"].clone()).collect();
    assert_eq!(kinds, ["call", "forgotten", "forgotten", "forgotten", "gate"]);
    assert_eq!(Erasure::new("", (0..1000).map(|n| n * 2)).told().len(), 5, "one record would be too long");
}

#[test]
fn a_log_that_is_not_encrypted_has_nothing_to_destroy() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    wait(log.append(&of("M-1", Kind::Call))).unwrap();
    log.seal().unwrap();
    let found = find(&directory, &auditor().0, &wanted("M-1")).unwrap();
    assert!(found.len() == 1 && !found[0].boxed);
}
