//! Every input that fuzzing has left in `fuzz/corpus/`, replayed through the same functions on the stable compiler.

use std::fs;
use std::path::Path;

/// The fuzz targets themselves. By their path: the gate's library holds nothing that only fuzzing needs, and what is
/// replayed here is what is fuzzed, to the letter.
#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// Replays one target's folder; how many inputs there were.
fn replay(name: &str, run: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in &files {
        let data = fs::read(path).unwrap();
        if let Err(panic) = std::panic::catch_unwind(|| run(&data)) {
            eprintln!("the input is {}", path.display());
            std::panic::resume_unwind(panic);
        }
    }
    files.len()
}

#[test]
fn every_target_in_the_corpus_is_read_in_one_way() {
    assert!(replay("target", targets::target::run) >= 40);
}

#[test]
fn every_configuration_in_the_corpus_is_checked_without_a_panic() {
    assert!(replay("config", targets::config::run) >= 10);
}

#[test]
fn every_head_in_the_corpus_reaches_the_upstream_as_one_request_or_not_at_all() {
    assert!(replay("head", targets::head::run) >= 200);
}

#[test]
fn every_hello_in_the_corpus_is_seen_the_same_however_it_is_cut() {
    assert!(replay("hello", targets::hello::run) >= 10);
}

#[test]
fn no_log_in_the_corpus_that_was_changed_passes_for_intact() {
    assert!(replay("record", targets::record::run) >= 8);
}

#[test]
fn a_gate_that_lets_two_requests_pass_as_one_would_be_noticed() {
    let smuggled = |bytes: &'static [u8]| std::panic::catch_unwind(|| targets::must_be_one_request(bytes)).is_err();
    let head = "POST /api/v2/orders/acknowledge HTTP/1.1\r\nhost: acme.channelengine.net\r\n";
    let key = "x-ce-key: c0ffee11c0ffee22c0ffee33c0ffee44c0ffee55\r\n";
    let leak = |text: String| smuggled(Box::leak(text.into_boxed_str()).as_bytes());
    assert!(!leak(format!("{head}{key}content-length: 2\r\n\r\nhi")));
    assert!(leak(format!("{head}{key}content-length: 2\r\n\r\nhiGET /")));
    assert!(leak(format!("{head}{key}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\nhi")));
    assert!(leak(format!("{head}{key}{key}\r\n")));
    assert!(leak(format!("{head}\r\n")));
}

/// The targets are built by their own lock file; a version that differs would be fuzzed and not shipped.
#[test]
fn fuzzing_builds_the_versions_that_the_gate_ships() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = |path: &str| -> Vec<(String, String)> {
        let lock: toml::Table = fs::read_to_string(root.join(path)).unwrap().parse().unwrap();
        let all = lock["package"].as_array().unwrap().iter();
        all.map(|p| (p["name"].as_str().unwrap().to_owned(), p["version"].as_str().unwrap().to_owned())).collect()
    };
    let (gate, fuzz) = (packages("Cargo.lock"), packages("fuzz/Cargo.lock"));
    let names: Vec<_> = gate.iter().map(|(name, _)| name).collect();
    let differing: Vec<_> = fuzz.iter().filter(|p| names.contains(&&p.0) && !gate.contains(p)).collect();
    assert!(differing.is_empty(), "copy the versions of Cargo.lock to fuzz/Cargo.lock: {differing:?}");
}
