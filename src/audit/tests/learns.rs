//! Logs that have learned what calls look like: smaller boxes, the same records, and nothing kept that is to be forgotten.

use super::*;
use crate::audit::forget::{Erasure, Wanted, destroy, find};

/// Enough of them for two key files with pieces.
const MANY: usize = 1_400;

/// A call as most are, with things in it that are this call's alone.
fn call(n: usize, tls: &Arc<TlsText>) -> Record {
    let hasher = ParamHasher::new(&[3; 32]);
    let mut record = Record::new(Kind::Call, Timestamp::now());
    record.integration = Some("webshop".into());
    record.proof = Some(Proof::Header);
    record.peer = Some(std::net::Ipv4Addr::new(10, 1, 2, u8::try_from(n % 200).unwrap()).into());
    record.tls = Some(tls.clone());
    record.http = Some(Http::H2);
    let writes = n % 3 == 2;
    record.method = Some(if writes { "PUT" } else { "GET" }.into());
    record.endpoint = Some(if writes { "PUT /v2/products/{no}" } else { "GET /v2/orders" }.into());
    record.params = if writes { vec![("no".into(), hasher.hash("no", &n.to_be_bytes()))] } else { Vec::new() };
    record.query = vec![(format!("name-of-{}", n % 5).into(), hasher.hash("q", &n.to_be_bytes()))];
    record.verdict = Some(Verdict::Allowed);
    record.rule = Some("orders:read".into());
    record.status = Some(200);
    record.limit_left = Some(u32::try_from(n).unwrap());
    record.envelope = Some(EnvelopeFacts {
        success: Some(true),
        log_id: Some(format!("log-of-{}", n % 5)),
        request_id: Some(record.id.simple().to_string()),
        rejected: None,
    });
    record.outcome = Some(Outcome::Complete);
    record.micros = Some(Steps { decide: 7, intent: u32::from(writes), upstream: 1_000, body: 0 });
    record
}

fn tls() -> Arc<TlsText> {
    TlsFacts {
        version: Some("1.3"),
        ja4: Some("t13d101000_61a7ad8aa9b6_053248755fe4".to_owned()),
        ..TlsFacts::default()
    }
    .into()
}

/// A log of such calls, and their JSON.
fn learned(directory: &Path) -> Vec<serde_json::Value> {
    let (log, _) = boxed_log_in(directory, 100_000);
    let tls = tls();
    let mut written = Vec::new();
    for n in 0..MANY {
        let record = call(n, &tls);
        let pending = log.append(&record);
        // So that no batch is larger than what is learned at once.
        if n % 50 == 0 {
            wait(pending).unwrap();
        }
        written.push(serde_json::to_value(&record).unwrap());
    }
    log.seal().unwrap();
    written
}

fn key_files(directory: &Path) -> Vec<(u64, std::path::PathBuf)> {
    let mut found: Vec<_> = fs::read_dir(directory.join("salts"))
        .unwrap()
        .flatten()
        .map(|entry| (salt::first_of(entry.file_name().to_str().unwrap()).unwrap().0, entry.path()))
        .collect();
    found.sort();
    found
}

fn key_text(path: &Path) -> String {
    String::from_utf8(auditor().0.decrypt(&fs::read(path).unwrap()).unwrap().to_vec()).unwrap()
}

fn lengths(directory: &Path) -> Vec<usize> {
    segment::list(directory)
        .unwrap()
        .iter()
        .flat_map(|path| written(path).split(|byte| *byte == b'\n').map(<[u8]>::len).collect::<Vec<_>>())
        .filter(|length| *length > 0)
        .collect()
}

#[test]
fn records_that_look_alike_get_small_and_come_out_as_they_were() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let written = learned(&directory);
    let files = key_files(&directory);
    assert!(files.len() > 1, "nothing was learned");
    let lengths = lengths(&directory);
    // Both are of writes, whose ids are seen.
    let (fresh, learned) = (lengths[2], lengths[MANY - 3]);
    assert!(learned + 50 < fresh, "{fresh} bytes, then {learned}");
    let alike = |directory: &Path| {
        let mut lines = read(directory);
        lines.truncate(MANY);
        for line in &mut lines {
            let line = line.as_object_mut().unwrap();
            line.remove("seq");
            line.remove("entry");
        }
        assert!(lines == written, "records changed");
        let report = opened(directory);
        assert!(report.complete && report.shut == 0 && report.forgotten == 0, "{report:?}");
    };
    alike(&directory);
    assert!(seal_all(&directory).unwrap() > 1);
    alike(&directory);
    assert!(check(&directory).complete);
    unseal_all(&directory).unwrap();
    alike(&directory);
}

#[test]
fn key_files_keep_nothing_of_a_call_that_is_its_own() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let written = learned(&directory);
    let text: String = key_files(&directory).iter().map(|(_, path)| key_text(path)).collect();
    assert!(text.contains("webshop") && text.contains("GET /v2/orders"), "no pieces: {text}");
    for planted in ["10.1.2.", "name-of-", "log-of-", "\"time\"", "\"no\",\"0"] {
        assert!(!text.contains(planted), "`{planted}` stands in a key file: {text}");
    }
    for record in &written {
        for own in [&record["id"], &record["query"][0][1], &record["envelope"]["request_id"]] {
            assert!(!text.contains(own.as_str().unwrap()), "{own} stands in a key file");
        }
    }
    // What is in no piece is forgotten with the key of its record, in whatever key file that is.
    let id = written[MANY - 3]["id"].as_str().unwrap().to_owned();
    let wanted = Wanted { ids: [id.clone()].into(), ..Wanted::default() };
    let erasure = Erasure::new("", find(&directory, &auditor().0, &wanted).unwrap().iter().map(|one| one.seq));
    destroy(&directory, &auditor().0, &Recipients::parse(&[]).unwrap(), &erasure).unwrap();
    let lines = read(&directory);
    assert_eq!(lines[MANY - 3]["kind"], "forgotten");
    assert_eq!(lines[MANY - 4]["id"], written[MANY - 4]["id"], "its neighbour cannot be read any more");
    assert!(lines.iter().all(|line| line["id"] != id.as_str()));
}

#[test]
fn other_pieces_tell_no_other_story() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    let written = learned(&directory);
    let (_, path) = key_files(&directory).pop().unwrap();
    let text = key_text(&path);
    for (from, to) in [("GET /v2/orders", "GET /v2/admins"), ("\"rule\":\"orders:read\"", "\"rule\":\"orders:rule\"")] {
        assert!(text.contains(from));
        let recipients = Recipients::parse(std::slice::from_ref(&auditor().1)).unwrap();
        let forged = recipients::encrypt(&recipients.now(), text.replace(from, to).as_bytes()).unwrap();
        fs::write(&path, forged).unwrap();
        assert_eq!(opened(&directory).first_bad.unwrap().seq, Some(key_files(&directory).pop().unwrap().0));
    }
    assert!(check(&directory).complete && !written.is_empty());
}

#[test]
fn what_is_shown_of_a_record_is_what_it_is_made_of_and_no_more() {
    let folder = fresh();
    let directory = folder.path().join("audit");
    learned(&directory);
    let shown = |index| {
        let disclose = Some(prove::Disclose { identity: Some(&auditor().0) });
        let proof = prove::prove(&directory, key().verifier(), index, disclose).unwrap();
        let extra = proof.lines().find_map(|line| line.strip_prefix("extra ")).unwrap().to_owned();
        String::from_utf8_lossy(
            &base64::Engine::decode(&base64::engine::general_purpose::STANDARD, extra).unwrap()[32..],
        )
        .into_owned()
    };
    let last = MANY as u64 - 3;
    assert_eq!(shown(0).lines().count(), 1, "the first record is made of no pieces");
    let text = shown(last);
    let read = read(&directory).swap_remove(MANY - 3);
    let other = if read["endpoint"] == "GET /v2/orders" { "PUT /v2/products" } else { "GET /v2/orders" };
    assert!(text.contains(read["endpoint"].as_str().unwrap()), "{text}");
    assert!(!text.contains(other), "it shows what others call: {text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("= ")).count(), 4, "{text}");
    assert!(text.lines().skip(1).any(|line| line.starts_with("# ")), "{text}");
}
