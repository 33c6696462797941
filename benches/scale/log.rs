//! A longer log: time to start behind it, and to verify it.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use keygate::audit::{Disk, Log, Pending, SigningKey, open};
use keygate::config::Durability;

use super::gate::{Place, keygate};
use super::record::{record, tls};

/// Records handed over before one waits for the disk.
const TOGETHER: usize = 5_000;
/// The defaults of `[audit]`.
const DISK: Disk = Disk { segment_size: 64 * 1024 * 1024, durability: Durability::Sync };

/// Prints the table.
pub fn run() {
    println!("\n### A longer log\n");
    println!(
        "| records | size, MiB | ready after, ms | memory, MiB | `audit verify`, s |\n| ---: | ---: | ---: | ---: | ---: |"
    );
    for count in [10_000, 100_000, 1_000_000] {
        let place = Place::new(1);
        let directory = place.home().join("audit");
        write(&directory, count);
        let size: u64 = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        let gate = place.start();
        let (took, memory) = (gate.took, gate.memory());
        drop(gate);
        let began = Instant::now();
        let verified = keygate().arg("--config").arg(place.config()).args(["audit", "verify"]).output().unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
        println!(
            "| {count} | {:.1} | {} | {:.1} | {:.2} |",
            size as f64 / f64::from(1 << 20),
            took.as_millis(),
            memory as f64 / 1024.0,
            began.elapsed().as_secs_f64()
        );
    }
}

/// A log as a gate would have written it, which then stopped in good order.
fn write(directory: &std::path::Path, count: usize) {
    let key = fs::read_to_string(directory.with_file_name("audit-signing.key")).unwrap();
    let (sink, resume, _) = open(directory, DISK, Arc::new(SigningKey::parse(&key).unwrap()), Arc::default()).unwrap();
    let log = Log::start(Box::new(sink), resume).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let wait = |pending: Pending| runtime.block_on(pending).map(drop).unwrap();
    let tls = tls();
    for n in 1..=count {
        let pending = log.append(&record(&tls));
        if n % TOGETHER == 0 || n == count {
            wait(pending);
        }
    }
    log.seal().unwrap();
}
