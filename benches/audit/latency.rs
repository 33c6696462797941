//! What a call waits for its record: the same paced load on a log that syncs and on one that does not, in turn on one disk.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keygate::audit::{Directory, Disk, Log, Recipients, SigningKey, open};
use keygate::config::Durability;

use super::WAITERS;
use super::record::{record, tls};

/// Records a second, of all tasks together.
const RATE: u32 = 1_000;
const ROUNDS: usize = 6;
const ROUND: Duration = Duration::from_secs(2);

/// Prints the table's lines for this folder.
pub fn latency(folder: &Path, recipient: &str) {
    let ways = [Durability::Os, Durability::Sync];
    let logs = ways.map(|durability| log(&folder.join(format!("paced {durability:?}")), durability, recipient));
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (log, times) in logs.iter().zip(&mut times) {
            times.extend(paced(log));
        }
    }
    for log in &logs {
        log.seal().unwrap();
    }
    for times in &mut times {
        times.sort_unstable();
    }
    for (name, part) in [("p50", 50), ("p99", 99)] {
        let [os, sync] = [0, 1].map(|way| times[way][times[way].len() * part / 100].as_secs_f64() * 1e3);
        println!("| {RATE} records/s, wait for a receipt with `os`, {name} | {os:.3} ms |");
        println!("| {RATE} records/s, the same with `sync`, {name} | {sync:.3} ms |");
        println!("| {RATE} records/s, what `sync` adds, {name} | {:.3} ms |", sync - os);
    }
}

fn log(directory: &Path, durability: Durability, recipient: &str) -> Log {
    let key = Arc::new(SigningKey::of_a_log().unwrap());
    Directory::init(directory, SigningKey::parse(&key.text()).unwrap()).unwrap();
    let recipients = Arc::new(Recipients::parse(&[recipient.to_owned()]).unwrap());
    let (sink, resume, _) = open(directory, Disk { segment_size: 64 << 20, durability }, key, recipients).unwrap();
    Log::start(Box::new(sink), resume).unwrap()
}

/// A round: how long each record waited for its receipt.
fn paced(log: &Log) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (local, tls) = (tokio::task::LocalSet::new(), tls());
    let under_way = Rc::new(Cell::new(0));
    local.block_on(&runtime, async {
        tokio::task::spawn_local(log.clone().attend());
        let tasks: Vec<_> = (0..u32::try_from(WAITERS).unwrap())
            .map(|n| {
                let (log, tls, under_way) = (log.clone(), tls.clone(), under_way.clone());
                tokio::task::spawn_local(async move {
                    let between = Duration::from_secs(WAITERS as u64) / RATE;
                    let mut clock = tokio::time::interval_at(
                        tokio::time::Instant::now() + between * n / u32::try_from(WAITERS).unwrap(),
                        between,
                    );
                    let (start, mut times) = (Instant::now(), Vec::new());
                    while start.elapsed() < ROUND {
                        clock.tick().await;
                        let record = record(&tls);
                        under_way.set(under_way.get() + 1);
                        let began = Instant::now();
                        log.append_among(&record, under_way.get()).await.unwrap();
                        times.push(began.elapsed());
                        under_way.set(under_way.get() - 1);
                    }
                    times
                })
            })
            .collect();
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.unwrap());
        }
        all
    })
}
