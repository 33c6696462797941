//! One worker and two under the same offered load: what a call costs must not grow with the workers.
//!
//! With gate, upstream and load on the same two cores nobody can see twice the throughput. What would spoil it can be seen:
//! work that is done twice, locks that are fought over, lines of memory that go to and fro. All of it is processor time of
//! the gate, and so is what remains shared, the one thread that writes the log.

use std::thread;
use std::time::{Duration, Instant};

use keygate::policy::scoped_key::{ScopedKey, sha256};

use super::connections::{call, connect, trust};
use super::gate::{Place, Running, integration, stand_in};

/// Clients, and calls of each a second.
const CLIENTS: u32 = 16;
const RATE: u32 = 125;
const SECONDS: u32 = 8;
/// One worker and two in turn, so that a change of the machine's mood hits both.
const ROUNDS: usize = 4;

/// Prints the table.
pub fn run() {
    let calls = CLIENTS * RATE * SECONDS;
    println!("\n### One worker and two, {} calls/s offered to both\n", CLIENTS * RATE);
    println!("| workers | gate's CPU µs/call | of it the log's thread |\n| ---: | ---: | ---: |");
    let mut each = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for workers in [1_u32, 2] {
            each[workers as usize - 1].push(measured(workers, f64::from(calls)));
        }
    }
    let median = |costs: &mut Vec<(f64, f64)>| {
        costs.sort_by(|a, b| a.0.total_cmp(&b.0));
        costs[costs.len() / 2]
    };
    let costs: Vec<(f64, f64)> = each.iter_mut().map(median).collect();
    for (n, (all, log)) in costs.iter().enumerate() {
        println!("| {} | {all:.1} | {log:.1} |", n + 1);
    }
    let scaling = 2.0 * costs[0].0 / costs[1].0;
    println!(
        "\nWith a core for each worker this makes {scaling:.2} times the calls of one; the log's thread alone would end at {:.0} calls/s.",
        1e6 / costs[1].1
    );
}

/// Microseconds of the whole gate, and of its log's thread, for each call.
fn measured(workers: u32, calls: f64) -> (f64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let upstream = stand_in(folder.path());
    let port = upstream.address.port();
    let place = Place::new(port);
    let key = ScopedKey::from_random(sha256(b"bench"));
    let text = std::fs::read_to_string(place.config()).unwrap();
    let mut config: toml_edit::DocumentMut = text.parse().unwrap();
    config["listen"]["workers"] = toml_edit::value(i64::from(workers));
    let acme = &mut config["upstream"]["acme"];
    acme["trust_roots"] = toml_edit::value(folder.path().join("upstream-ca.pem").display().to_string());
    acme["addresses"] = toml_edit::value(toml_edit::Array::from_iter([format!("127.0.0.1:{port}")]));
    place.write(&(config.to_string() + &integration("bench", &key)));
    let gate = place.start();
    load(&gate, &place, key.expose(), 1);
    let before = ticks(&gate);
    load(&gate, &place, key.expose(), SECONDS);
    let after = ticks(&gate);
    let micros = |ticks: u64| ticks as f64 * 10_000.0 / calls;
    (micros(after.0 - before.0), micros(after.1 - before.1))
}

fn ticks(gate: &Running) -> (u64, u64) {
    let threads = gate.threads();
    let log = threads.iter().filter(|(name, _)| name == "audit").map(|(_, ticks)| ticks).sum();
    (threads.iter().map(|(_, ticks)| ticks).sum(), log)
}

/// Kept connections, each at a pace; who is late does not make up for it by a burst.
fn load(gate: &Running, place: &Place, key: &str, seconds: u32) {
    let config = trust(&place.home().join("ca.pem"));
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let mut connection = connect(gate.address, &config);
            scope.spawn(move || {
                let pause = Duration::from_secs(1) / RATE;
                let mut due = Instant::now() + pause * client / CLIENTS;
                for _ in 0..RATE * seconds {
                    while let Some(left) = due.checked_duration_since(Instant::now()) {
                        thread::park_timeout(left);
                    }
                    assert_eq!(call(&mut connection, "/v2/orders/M-5010/packingslip", key), 200);
                    due += pause;
                }
            });
        }
    });
}
