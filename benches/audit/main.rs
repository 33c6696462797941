//! What the log costs: `cargo bench --bench audit [-- FOLDER] [--waits | --rates]`. Prints a table; the folder says on which disk
//! (default: the system's temporary one). With `--waits` only how long calls wait for their records, with `--rates` only how
//! many a second become durable. `taskset -c 0` before it holds all of its threads to one core. Its logs take 1.2 GB.
//!
//! A current-thread runtime plays a worker: 64 tasks hand a record over and wait for its receipt, as calls do, but do nothing
//! else in between.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on must say so")]

mod latency;
#[path = "../common/record.rs"]
mod record;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keygate::audit::{Directory, Disk, Identity, Known, Log, Recipients, SigningKey, open, seal_all, verify};
use keygate::config::Durability;

use record::{record, tls};

const WAITERS: usize = 64;
const RECORDS: usize = 600_000;

fn main() {
    let place = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).map(PathBuf::from);
    let folder = tempfile::tempdir_in(place.unwrap_or_else(std::env::temp_dir)).unwrap();
    println!("| what | figure |\n| --- | ---: |");
    println!("| `fdatasync` of 4 KiB on this disk, median | {} µs |", sync_time(folder.path()).as_micros());
    let (identity, recipient) = Identity::generate();
    let identity = Identity::parse(&identity).unwrap();
    let only = |what| std::env::args().any(|arg| arg == what);
    if !only("--rates") {
        latency::latency(folder.path(), &recipient);
    }
    if only("--waits") {
        return;
    }
    // All logs stay until the end: ext4 without a journal passes over the inodes of files that were just deleted one by one,
    // which makes each file that is created after them cost 0.2 ms.
    let ways = [(Durability::Sync, false), (Durability::Sync, true), (Durability::Os, false), (Durability::Os, true)];
    for (durability, boxed) in ways {
        let name = format!("{durability:?}, {}", if boxed { "encrypted" } else { "plain" });
        let directory = folder.path().join(&name);
        let key = Arc::new(SigningKey::of_a_log().unwrap());
        Directory::init(&directory, SigningKey::parse(&key.text()).unwrap()).unwrap();
        let recipients = if boxed { vec![recipient.clone()] } else { vec![] };
        write(&name, &directory, &key, durability, Arc::new(Recipients::parse(&recipients).unwrap()));
        if durability == Durability::Sync && !only("--rates") {
            sizes(&name, &directory);
            check(&name, &directory, &key, None);
            let began = cpu();
            seal_all(&directory).unwrap();
            let used = cpu().saturating_sub(began);
            println!("| {name}: sealing, per record | {:.2} µs |", used.as_secs_f64() * 1e6 / RECORDS as f64);
            sizes(&format!("{name}, sealed"), &directory);
            check(&format!("{name}, sealed"), &directory, &key, None);
        }
        if durability == Durability::Sync && boxed && !only("--rates") {
            check(&format!("{name}, sealed, opened"), &directory, &key, Some(&identity));
        }
    }
}

/// How long the disk itself takes.
fn sync_time(folder: &Path) -> Duration {
    let mut file = tempfile::tempfile_in(folder).unwrap();
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            file.seek(SeekFrom::Start(0)).unwrap();
            file.write_all(&[1; 4096]).unwrap();
            let began = Instant::now();
            file.sync_data().unwrap();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn write(name: &str, directory: &Path, key: &Arc<SigningKey>, durability: Durability, recipients: Arc<Recipients>) {
    let disk = Disk { segment_size: 8 << 20, durability };
    let (sink, resume, _) = open(directory, disk, key.clone(), recipients).unwrap();
    let log = Log::start(Box::new(sink), resume).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let tls = tls();
    let local = tokio::task::LocalSet::new();
    let (began, before) = (Instant::now(), cpu());
    local.block_on(&runtime, async {
        tokio::task::spawn_local(log.clone().attend());
        let tasks: Vec<_> = (0..WAITERS)
            .map(|_| {
                let (log, tls) = (log.clone(), tls.clone());
                tokio::task::spawn_local(async move {
                    for _ in 0..RECORDS / WAITERS {
                        let receipt = log.append_among(&record(&tls), WAITERS as u64).await.unwrap();
                        assert!(log.receipt_text(&receipt, false).is_some(), "a receipt came too late");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let (took, used) = (began.elapsed(), cpu().saturating_sub(before));
    log.seal().unwrap();
    let per = |time: Duration| time.as_secs_f64() * 1e6 / RECORDS as f64;
    println!("| {name}: records/s with {WAITERS} waiters, receipts written | {:.0} |", 1e6 / per(took));
    println!("| {name}: processor time per record, all threads | {:.2} µs |", per(used));
}

fn sizes(name: &str, directory: &Path) {
    let each = |folder: &Path| size(folder) as f64 / RECORDS as f64;
    let segments = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    let segments: u64 = segments.filter(|path| path.is_file()).map(|path| fs::metadata(path).unwrap().len()).sum();
    println!("| {name}: bytes per record, segments | {:.0} |", segments as f64 / RECORDS as f64);
    println!("| {name}: bytes per record, tiles | {:.0} |", each(&directory.join("tile")));
    println!("| {name}: bytes per record, key files | {:.3} |", each(&directory.join("salts")));
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries.map(|path| if path.is_dir() { size(&path) } else { fs::metadata(&path).unwrap().len() }).sum()
}

fn check(name: &str, directory: &Path, key: &SigningKey, identity: Option<&Identity>) {
    let known = Known { key: Some(key.verifier().clone()), identity: identity.cloned(), ..Known::default() };
    let (began, before) = (Instant::now(), cpu());
    let report = verify(directory, &known, |_| ()).unwrap();
    let (took, used) = (began.elapsed(), cpu().saturating_sub(before));
    assert!(report.complete, "{report:?}");
    let rate = |time: Duration| report.records as f64 / time.as_secs_f64() / 1e6;
    println!("| {name}: verify, million records/s | {:.2} |", rate(took));
    println!("| {name}: verify, million records/s of processor time | {:.2} |", rate(used));
}

/// Processor time of this process.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
