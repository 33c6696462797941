//! The log as evidence: what the second verifier says of logs of the real gate, whole ones and tampered ones, and what
//! receipts, proofs and witnesses are worth to somebody who has no Keygate.

mod kept;
mod tampers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::command::{found, run};
use crate::harness::{Merchant, Proxy, Request, have, until};
use kept::{Kept, Verdict, copy, second};
use tampers::{Expected, TAMPERS, Tamper, lines, number};

/// What boxed records were packed with.
const DICTIONARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/audit/dictionary/records.zdict");

#[test]
fn two_verifiers_agree_on_whole_logs_and_on_tampered_ones() {
    agree_on_tampered(Kept::plain(), &TAMPERS);
}

#[test]
fn two_verifiers_agree_on_whole_logs_and_on_tampered_ones_that_are_encrypted() {
    let (last, others) = TAMPERS.split_last().unwrap();
    assert!(last.0.contains("salt"), "of an encrypted log nobody needs the key files to check it");
    agree_on_tampered(Kept::new(), others);
}

fn agree_on_tampered(mut kept: Kept, tampers: &[Tamper]) {
    let whole = kept.proxy.audit().directory().to_owned();
    let Some(verdict) = kept.verdict(&whole, true) else { return };
    assert_eq!(verdict, Verdict { code: Some(0), intact: true, complete: true, unsigned: 0, seq: None });
    let first: Vec<u64> = lines(&whole).keys().map(|path| number(path)).collect();
    assert!(first.len() > 2, "one segment is too few to be tampered with");
    for (name, tamper, expected) in tampers {
        let log = kept.scratch.path().join("tampered");
        copy(&whole, &log);
        tamper(&log);
        for held in [false, true] {
            let verdict = kept.verdict(&log, held).unwrap();
            match expected {
                Expected::Bad(segment, line) => {
                    assert_eq!((verdict.intact, verdict.seq), (false, Some(first[*segment] + *line as u64)), "{name}");
                }
                Expected::Unsigned => assert!(!verdict.intact && verdict.seq.is_none(), "{name}: {verdict:?}"),
                Expected::Incomplete => assert!(verdict.intact && !verdict.complete, "{name}: {verdict:?}"),
            }
        }
        fs::remove_dir_all(log).unwrap();
    }
}

#[test]
fn two_verifiers_agree_on_flipped_bits_wherever_they_are() {
    agree_on_flipped_bits(Kept::plain(), Some("salts/00000000000000000000.keys"));
}

#[test]
fn two_verifiers_agree_on_flipped_bits_of_an_encrypted_log() {
    agree_on_flipped_bits(Kept::new(), None);
}

#[test]
fn two_verifiers_agree_on_sealed_segments_and_on_flipped_bits_in_them() {
    for kept in [Kept::plain(), Kept::new()] {
        let folder = kept.proxy.audit().directory().to_owned();
        assert!(keygate::audit::seal_all(&folder).unwrap() >= 2);
        agree_on_flipped_bits(kept, None);
    }
}

#[test]
fn two_verifiers_agree_on_a_log_that_lost_its_beginning_to_retention() {
    let mut kept = Kept::new();
    let folder = kept.proxy.audit().directory().to_owned();
    let removed = |kept: &mut Kept| {
        let config = fs::read_to_string(kept.proxy.config()).unwrap();
        fs::write(kept.proxy.config(), config.replace("[audit]\n", "[audit]\nkeep_size = \"64KiB\"\n")).unwrap();
        kept.proxy.run();
        kept.proxy.client("webshop").get("/v2/orders").must_be(200);
        until("a tombstone", || folder.join("removed").exists().then_some(()));
        kept.proxy.stop();
    };
    removed(&mut kept);
    let Some(verdict) = kept.verdict(&folder, true) else { return };
    assert!(verdict.complete && verdict.code == Some(0), "{verdict:?}");
    let told = kept.proxy.keygate(&["audit", "verify"], b"").ok();
    assert!(told.contains("removed by retention: records 0 to "), "{told}");
    let tombstone = fs::read(folder.join("removed")).unwrap();
    for at in (0..tombstone.len()).step_by(9) {
        let mut bytes = tombstone.clone();
        bytes[at] ^= 1;
        fs::write(folder.join("removed"), bytes).unwrap();
        assert!(!kept.verdict(&folder, false).unwrap().intact, "byte {at} of the tombstone");
    }
    fs::remove_file(folder.join("removed")).unwrap();
    assert!(!kept.verdict(&folder, false).unwrap().complete, "without its tombstone nobody misses the beginning");
}

#[test]
fn two_verifiers_agree_on_a_log_that_was_pruned_while_no_gate_ran() {
    let mut kept = Kept::new();
    let folder = kept.proxy.audit().directory().to_owned();
    let segments = kept.proxy.audit().segments();
    let unsaid = kept.proxy.keygate(&["audit", "prune"], b"");
    assert_eq!(unsaid.code, Some(2), "{}", unsaid.stderr);
    let prune = ["audit", "prune", "--keep-size", "64KiB"];
    kept.proxy.run();
    let running = kept.proxy.keygate(&prune, b"");
    assert!(running.code == Some(1) && running.stderr.contains("a gate writes this log"), "{}", running.stderr);
    kept.proxy.stop();
    let dry = kept.proxy.keygate(&[&prune[..], &["--dry-run"]].concat(), b"").ok();
    assert!(dry.starts_with("records 0 to ") && dry.ends_with("nothing was changed\n"), "{dry}");
    assert!(kept.proxy.audit().segments().len() >= segments.len() && !folder.join("removed").exists());
    let done = kept.proxy.keygate(&prune, b"").ok();
    assert!(done.starts_with("records 0 to ") && done.contains(" are removed, "), "{done}");
    assert_ne!(kept.proxy.audit().segments()[0], segments[0], "the first one is still there");
    let Some(verdict) = kept.verdict(&folder, true) else { return };
    assert!(verdict.complete && verdict.code == Some(0), "{verdict:?}");
    let again = kept.proxy.keygate(&prune, b"").ok();
    assert!(again.starts_with("everything is kept"), "{again}");
    let event = kept.proxy.keygate(&["audit", "find", "--event", "removed", "--json"], b"").ok();
    assert_eq!(event.lines().count(), 1, "{event}");
    kept.proxy.run();
    kept.proxy.client("webshop").get("/v2/orders").must_be(200);
    kept.proxy.stop();
    assert!(kept.verdict(&folder, false).unwrap().complete, "the gate goes on where it was");
}

fn agree_on_flipped_bits(mut kept: Kept, salts: Option<&str>) {
    let whole = kept.proxy.audit().directory().to_owned();
    let log = kept.scratch.path().join("flipped");
    copy(&whole, &log);
    let files = ["checkpoint", "checkpoints", "tile/0/000", "tile/entries/000", "tile/1/000.p/2"];
    let mut files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    files.extend(salts.map(PathBuf::from));
    files.extend(kept.proxy.audit().segments().iter().map(|path| PathBuf::from(path.file_name().unwrap())));
    for (n, file) in files.iter().enumerate() {
        let sound = fs::read(whole.join(file)).unwrap();
        for flip in 0..6 {
            let mut bytes = sound.clone();
            // Spread over the file, and the same each time.
            let at = (flip * 7919 + n * 104_729) % bytes.len();
            bytes[at] ^= 1 << (flip % 8);
            fs::write(log.join(file), bytes).unwrap();
            let Some(verdict) = kept.verdict(&log, false) else { return };
            assert!(!verdict.intact, "{}, byte {at}: {verdict:?}", file.display());
        }
        fs::write(log.join(file), sound).unwrap();
    }
    assert!(kept.verdict(&log, false).unwrap().complete);
}

#[test]
fn the_second_verifier_opens_an_encrypted_log_as_the_gate_does() {
    let mut kept = Kept::new();
    let (log, folder) = (kept.proxy.audit().directory().display().to_string(), kept.proxy.directory());
    let identity = folder.join("audit-identity.txt").display().to_string();
    let open = ["open", &log, "--identity", &identity, "--dictionary", DICTIONARY];
    let Some(theirs) = second(&open) else { return };
    let own = kept.proxy.keygate(&["audit", "tail", "--json", "-n", "100000"], b"").ok();
    let theirs = theirs.ok();
    assert!(theirs.lines().count() > 400 && theirs == own, "the second verifier reads something else");
    fs::remove_dir_all(Path::new(&log).join("salts")).unwrap();
    assert!(
        kept.verdict(Path::new(&log), true).unwrap().complete,
        "without keys nobody can read it, and all can check it"
    );
}

#[test]
fn a_log_that_is_put_back_or_written_anew_shows_against_what_was_kept_elsewhere() {
    let mut kept = Kept::new();
    let earlier = kept.earlier.clone();
    let Some(alone) = kept.verdict(&earlier, false) else { return };
    assert!(alone.complete, "by itself it is fine: {alone:?}");
    let held = kept.verdict(&earlier, true).unwrap();
    assert!(held.intact && !held.complete, "{held:?}");
    // A fork: the gate goes on from the earlier state, with its own key.
    let audit = kept.proxy.audit().directory().to_owned();
    fs::rename(&audit, kept.scratch.path().join("hidden")).unwrap();
    copy(&earlier, &audit);
    kept.proxy.run();
    for _ in 0..250 {
        kept.proxy.client("webshop").get("/v2/orders").must_be(200);
    }
    kept.proxy.stop();
    assert!(kept.verdict(&audit, false).unwrap().complete);
    let held = kept.verdict(&audit, true).unwrap();
    assert!(!held.intact && held.seq.is_some_and(|seq| seq > 150), "{held:?}");
}

#[test]
fn records_behind_the_last_checkpoint_are_told_as_unsigned() {
    let mut kept = Kept::new();
    let log = kept.proxy.audit().directory().to_owned();
    // What a crash leaves when the checkpoint of the last second did not reach the disk.
    fs::copy(kept.earlier.join("checkpoint"), log.join("checkpoint")).unwrap();
    fs::copy(kept.earlier.join("checkpoints"), log.join("checkpoints")).unwrap();
    let Some(verdict) = kept.verdict(&log, false) else { return };
    assert!(verdict.complete && verdict.unsigned > 200 && verdict.code == Some(4), "{verdict:?}");
}

#[test]
fn a_proof_convinces_somebody_who_has_no_log() {
    let mut kept = Kept::new();
    let path = kept.scratch.path().join("proof");
    let (proof, key) = (path.display().to_string(), kept.key().display().to_string());
    for receipt in kept.receipts.iter().step_by(70).cloned().collect::<Vec<_>>() {
        let index = receipt.split(' ').nth(1).unwrap();
        fs::write(&path, kept.proxy.keygate(&["audit", "prove", index], b"").ok()).unwrap();
        let Some(ran) = second(&["proof", &proof, "--key", &key, "--receipt", &receipt]) else { return };
        assert_eq!(ran.ok(), "ok\n");
        let other = kept.receipts.iter().find(|other| **other != receipt).unwrap();
        let other = format!("{} {index} {}", other.split(' ').next().unwrap(), other.split(' ').nth(2).unwrap());
        let ran = second(&["proof", &proof, "--key", &key, "--receipt", &other]).unwrap();
        assert_eq!(ran.code, Some(1), "{ran}");
        fs::write(&path, kept.proxy.keygate(&["audit", "prove", index, "--disclose"], b"").ok()).unwrap();
        let told = second(&["proof", &proof, "--key", &key, "--dictionary", DICTIONARY]).unwrap().ok();
        let record: Value = serde_json::from_str(told.strip_prefix("ok\n").unwrap()).unwrap();
        assert_eq!(record["seq"].to_string(), index);
        let by_id = ["audit", "prove", "--record", record["id"].as_str().unwrap(), "--disclose"];
        assert_eq!(kept.proxy.keygate(&by_id, b"").ok(), fs::read_to_string(&path).unwrap());
    }
    let ran = kept.proxy.keygate(&["audit", "prove", "100000"], b"");
    assert!(ran.code == Some(1) && ran.stderr.contains("hint: "), "{ran}");
}

#[test]
fn a_witness_cosigns_once_and_refuses_a_fork() {
    let mut kept = Kept::new();
    let at = |name: &str| kept.scratch.path().join(name).display().to_string();
    let (key, public, state, cosigned) = (at("w.key"), at("w.pub"), at("state"), at("cosigned"));
    let log_key = kept.key().display().to_string();
    kept.proxy.keygate(&["audit", "witness", "--new-key", "witness.example.com/w1", "--key", &key], b"").ok();
    let log = kept.proxy.audit().directory().display().to_string();
    let earlier = kept.earlier.display().to_string();
    let mut cosign = |log: &str| {
        let args = ["audit", "witness", "--key", &key, "--log-key", &log_key, "--log", log, "--state", &state];
        kept.proxy.keygate(&args, b"")
    };
    cosign(&earlier).ok();
    fs::write(&cosigned, cosign(&log).ok()).unwrap();
    let refused = cosign(&earlier);
    assert!(refused.code == Some(1) && refused.stderr.contains("was cut"), "{refused}");
    let Some(ran) = second(&["cosigned", &cosigned, "--key", &log_key, "--witness", &public]) else { return };
    assert_eq!(ran.ok(), "ok\n");
}

#[test]
fn a_receipt_names_the_record_and_a_forged_one_of_the_upstream_does_not_pass() {
    let merchant = Merchant::start(|exchange| {
        let headers = "content-type: application/json\r\nkeygate-receipt: forged 1 x\r\nkeygate-refusal: x\r\n";
        exchange.reply(200, headers, b"{}")
    });
    let proxy = Proxy::open(&merchant.target());
    let client = proxy.client("webshop");
    let request = Request::new("GET", "/api/v2/orders");
    let plain = client.call(&request);
    let words: Vec<&str> = plain.must_be(200).header("keygate-receipt").split(' ').collect();
    let record = proxy.record(&plain);
    assert_eq!((words.len(), words[1].to_owned()), (3, record.number("seq").to_string()));
    assert_eq!(plain.header("keygate-refusal"), "");
    let signed = client.call(&request.header("keygate-receipt", "signed"));
    assert_eq!(signed.header("keygate-receipt").split(' ').count(), 4);
    assert!(signed.header("keygate-receipt").len() < 200);
    let seen = merchant.seen();
    assert!(seen.iter().all(|call| call.header("keygate-receipt").is_empty()), "the upstream is asked for receipts");
    let refused = client.get("/v2/settings");
    assert_eq!(refused.header("keygate-receipt").split(' ').count(), 3, "a refusal has a receipt too");
}

/// Answers with 200 KB whose length nobody is told before.
fn long_replies() -> Merchant {
    Merchant::start(|exchange| {
        exchange.body()?;
        exchange.send("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for _ in 0..20 {
            exchange.send(format!("2710\r\n{}\r\n", "x".repeat(10_000)))?;
        }
        exchange.send("0\r\n\r\n")
    })
}

#[test]
fn a_long_reply_has_its_receipt_behind_its_body_for_clients_that_read_there() {
    let merchant = long_replies();
    let mut proxy = Proxy::open(&merchant.target());
    let request = Request::new("GET", "/api/v2/orders").header("connection", "close");
    let mut plain = proxy.client("webshop").connect();
    plain.start(&request);
    let text = String::from_utf8_lossy(&plain.rest()).into_owned();
    assert!(!text.split_once("\r\n\r\n").unwrap().1.contains("keygate-receipt"), "nobody asked for it");
    let mut asking = proxy.client("webshop").connect();
    asking.start(&request.header("te", "trailers"));
    let text = String::from_utf8_lossy(&asking.rest()).into_owned();
    let (head, rest) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("trailer: keygate-receipt"), "{head}");
    let receipt = rest.rsplit_once("0\r\nkeygate-receipt: ").expect("no receipt behind the body").1.trim();
    let id = head.split("keygate-record: ").nth(1).unwrap().lines().next().unwrap();
    assert_eq!(receipt.split(' ').nth(1).unwrap(), proxy.audit().find(id).unwrap().number("seq").to_string());
    proxy.stop();
    let kept = proxy.directory().join("receipts");
    fs::write(&kept, receipt).unwrap();
    proxy.keygate(&["audit", "verify", "--receipts", &kept.display().to_string()], b"").ok();
}

#[test]
fn a_long_reply_of_known_length_has_the_receipt_of_its_beginning_in_its_head() {
    let merchant =
        Merchant::start(|exchange| exchange.reply(200, "content-type: text/plain\r\n", &vec![b'x'; 200_000]));
    let mut proxy = Proxy::open(&merchant.target());
    let client = proxy.client("webshop");
    let replies = [
        client.get("/v2/orders"),
        client.send("POST", "/v2/shipments", &serde_json::json!({})),
        client.call(&Request::new("GET", "/api/v2/orders").header("keygate-receipt", "signed")),
    ];
    let mut receipts = String::new();
    for reply in &replies {
        assert_eq!((reply.must_be(200).header("content-length"), reply.body.len()), ("200000", 200_000));
        let receipt = reply.header("keygate-receipt");
        receipts = receipts + receipt + "\n";
        let index = receipt.split(' ').nth(1).unwrap_or_else(|| panic!("a long reply has no receipt"));
        let begun: Vec<_> =
            proxy.audit().of_kind("intent").into_iter().filter(|line| line.text("id") == reply.record()).collect();
        assert_eq!(begun.len(), 1, "a write has its intent, a read one record of its beginning");
        assert_eq!(begun[0].number("seq").to_string(), index);
        let call = proxy.record(reply);
        assert!(call.number("seq") > begun[0].number("seq") && call.number("bytes_out") == 200_000);
    }
    assert_eq!(replies[2].header("keygate-receipt").split(' ').count(), 4, "signed on request");
    proxy.stop();
    fs::write(proxy.directory().join("receipts"), receipts).unwrap();
    let kept = proxy.directory().join("receipts");
    let ran = proxy.keygate(&["audit", "verify", "--receipts", &kept.display().to_string()], b"").ok();
    assert!(!ran.contains("unknown"), "{ran}");
}

#[test]
fn a_long_reply_over_http_2_has_its_receipt_behind_its_body() {
    let merchant = long_replies();
    let proxy = Proxy::open(&merchant.target());
    if !have("curl", found("curl")) {
        return;
    }
    let url = format!("https://localhost:{}/api/v2/orders", proxy.address().port());
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--http2", "--output", "/dev/null", "--dump-header", "-"]);
    command.arg("--cacert").arg(proxy.directory().join("ca.pem"));
    command.args(["--header", "TE: trailers", "--header", &format!("X-CE-KEY: {}", proxy.key("webshop")), &url]);
    let head = run(command, b"").ok();
    assert!(head.starts_with("HTTP/2 200"), "{head}");
    let receipts: Vec<&str> = head.lines().filter_map(|line| line.strip_prefix("keygate-receipt: ")).collect();
    assert_eq!(receipts.len(), 2, "one of its beginning, one behind its body: {head}");
    assert!(receipts.iter().all(|receipt| receipt.split(' ').count() == 3), "{head}");
    let number = |receipt: &str| receipt.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    assert!(number(receipts[0]) < number(receipts[1]), "{head}");
}

#[test]
fn gos_reference_accepts_checkpoint_tiles_and_proofs() {
    let library = Path::new("/usr/share/gocode/src/golang.org/x/mod/sumdb");
    if !have("Go with its `sumdb` packages", found("go") && library.is_dir()) {
        return;
    }
    let mut kept = Kept::new();
    let mut command = Command::new("go");
    command.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").env("GOCACHE", kept.scratch.path().join("go"));
    command.args(["run", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify/go/main.go")]);
    command.arg(kept.proxy.audit().directory()).arg(kept.key());
    for index in ["0", "255", "256", "300"] {
        let path = kept.scratch.path().join(index);
        fs::write(&path, kept.proxy.keygate(&["audit", "prove", index], b"").ok()).unwrap();
        command.arg(path);
    }
    let said = run(command, b"").ok();
    assert!(said.contains("4 printed proofs: ok"), "{said}");
}
