//! Encrypted logs: what others see of them, who reads them, and that nothing is lost by it.

use super::*;

fn call(name: &str) -> Record {
    let mut record = record(Kind::Call);
    record.detail = Some(name.to_owned());
    record
}

fn details(directory: &Path) -> Vec<String> {
    let text = |line: serde_json::Value| line["detail"].as_str().unwrap_or_default().to_owned();
    read(directory).into_iter().map(text).collect()
}

fn raw(directory: &Path) -> Vec<u8> {
    segment::list(directory).unwrap().iter().flat_map(|path| written(path)).collect()
}

fn has(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

#[test]
fn only_the_identity_reads_what_everybody_can_check() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = boxed_log_in(&directory, 1 << 20);
    let names: Vec<String> = (0..300).map(|n| format!("call number {n}")).collect();
    for name in &names {
        drop(log.append(&call(name)));
    }
    log.seal().unwrap();
    assert_eq!(details(&directory)[..300], names);
    let raw = raw(&directory);
    for shown in ["call number", "\"time\"", "\"kind\""] {
        assert!(!has(&raw, shown), "`{shown}` can be read by everybody");
    }
    let report = check(&directory);
    assert!(report.complete && report.sealed, "{report:?}");
    assert_eq!((report.shut, report.forgotten), (301, 0));
    let report = opened(&directory);
    assert!(report.complete && report.sealed, "{report:?}");
    assert_eq!((report.shut, report.forgotten), (0, 0));
    let Err(error) = Follow::from_start(&directory, None).next_line() else {
        panic!("it was read without an identity")
    };
    assert!(error.hint().unwrap().contains("--identity"));
    let stranger = Identity::parse(&Identity::generate().0).unwrap();
    let Err(error) = Follow::from_start(&directory, Some(&stranger)).next_line() else { panic!("a stranger read it") };
    assert!(error.hint().unwrap().contains("recipients"));
}

#[test]
fn what_a_start_must_know_is_seen_without_an_identity() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = boxed_log_in(&directory, 1 << 20);
    let (lost, done, read) = (record(Kind::Intent), record(Kind::Intent), record(Kind::Call));
    let mut read = Record { method: Some("GET".into()), micros: Some(Steps::default()), ..read };
    read.detail = None;
    let outcome = Record { kind: Kind::Call, method: Some("POST".into()), ..done.clone() };
    for record in [&lost, &done, &outcome, &read] {
        wait(log.append(record)).unwrap();
    }
    drop(log);
    assert!(has(&raw(&directory), &lost.id.to_string()) && !has(&raw(&directory), &read.id.to_string()));
    assert_eq!(check(&directory).unknown, [lost.id.to_string()]);
    let (log, recovered) = boxed_log_in(&directory, 1 << 20);
    assert_eq!((recovered.stopped, recovered.unknown), (false, vec![lost.id.to_string()]));
    log.seal().unwrap();
    assert!(boxed_log_in(&directory, 1 << 20).1.stopped);
}

#[test]
fn other_recipients_begin_a_key_file_and_plain_and_encrypted_records_live_side_by_side() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = log_in(&directory);
    wait(log.append(&call("plain"))).unwrap();
    log.recipients().replace(std::slice::from_ref(&auditor().1)).unwrap();
    wait(log.append(&call("to the auditor"))).unwrap();
    let (text, recipient) = Identity::generate();
    log.recipients().replace(&[recipient, auditor().1.clone()]).unwrap();
    wait(log.append(&call("to both"))).unwrap();
    assert!(log.recipients().replace(&["age1x".to_owned()]).is_err());
    log.recipients().replace(&[]).unwrap();
    wait(log.append(&call("plain again"))).unwrap();
    log.seal().unwrap();
    assert_eq!(details(&directory)[..4], ["plain", "to the auditor", "to both", "plain again"]);
    let names: Vec<String> = fs::read_dir(directory.join("salts"))
        .unwrap()
        .flatten()
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(names.iter().filter(|name| name.ends_with(".keys.age")).count(), 2);
    let other = Identity::parse(&text).unwrap();
    let known = Known { key: Some(key().verifier().clone()), identity: Some(other.clone()), ..Known::default() };
    let report = verify(&directory, &known, |_| ()).unwrap();
    assert!(report.complete && report.shut == 1, "{report:?}");
    let mut follow = Follow::from_last(&directory, 3, Some(&other)).unwrap();
    assert!(has(&follow.next_line().unwrap().unwrap(), "to both"));
}

#[test]
fn an_encrypted_record_can_be_shown_to_others() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = boxed_log_in(&directory, 1 << 20);
    let shown = call("shown");
    wait(log.append(&shown)).unwrap();
    log.seal().unwrap();
    let identity = Some(&auditor().0);
    assert_eq!(prove::find(&directory, &shown.id.to_string(), identity).unwrap(), 0);
    let disclose = |identity| prove::prove(&directory, key().verifier(), 0, Some(prove::Disclose { identity }));
    assert!(matches!(disclose(None), Err(prove::ProveError::Shut(Shut::NoIdentity(0)))));
    assert!(disclose(identity).unwrap().contains("\nextra "));
    assert!(prove::prove(&directory, key().verifier(), 0, None).is_ok());
}

#[test]
fn a_record_without_its_key_is_forgotten_and_nothing_else_changes() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = boxed_log_in(&directory, 1 << 20);
    (0..5).for_each(|n| drop(log.append(&call(&format!("call {n}")))));
    log.seal().unwrap();
    fs::remove_file(directory.join("salts").join(format!("{:020}.keys.age", 0))).unwrap();
    let report = opened(&directory);
    assert!(report.complete && report.forgotten == 6, "{report:?}");
    let lines = read(&directory);
    assert!(lines.iter().zip(0..).all(|(line, seq)| line["kind"] == "forgotten" && line["seq"] == seq));
    // The gate goes on all the same.
    let (log, recovered) = boxed_log_in(&directory, 1 << 20);
    assert!(recovered.stopped);
    wait(log.append(&call("new"))).unwrap();
    log.seal().unwrap();
    assert_eq!(details(&directory)[6], "new");
}

#[test]
fn a_damaged_key_file_is_told_to_who_could_open_it() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let (log, _) = boxed_log_in(&directory, 1 << 20);
    wait(log.append(&call("one"))).unwrap();
    log.seal().unwrap();
    // Keys of somebody else's making, encrypted to the auditor.
    let recipients = Recipients::parse(std::slice::from_ref(&auditor().1)).unwrap();
    let forged =
        recipients::encrypt(&recipients.now(), keys::Keys::random(Arc::default()).unwrap().text().as_bytes()).unwrap();
    fs::write(directory.join("salts").join(format!("{:020}.keys.age", 0)), forged).unwrap();
    assert!(check(&directory).complete, "nobody else can tell");
    assert_eq!(opened(&directory).first_bad.unwrap().seq, Some(0));
    assert!(matches!(
        Opener::new(&directory, Some(&auditor().0)).open(raw(&directory).split(|b| *b == b'\n').next().unwrap()),
        Err(Shut::Damaged(0))
    ));
}
