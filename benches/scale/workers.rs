//! Whether two workers do twice the work of one: what a call costs must not grow because they share a gate.
//!
//! With gate, upstream and load on the same two cores nobody can see twice the throughput. What would spoil it can be seen in
//! the gate's processor time: locks that are fought over, lines of memory that go to and fro (as often as both workers run at
//! once), the one thread that writes the log. So a gate with two workers is held against one with one worker, each worker
//! with the same number of clients that make no pause; and against two gates with one worker each, which share nothing.

use std::thread;

use keygate::policy::scoped_key::{ScopedKey, sha256};

use super::connections::{Tls, call, connect, trust};
use super::gate::{Place, Running, integration, stand_in};

/// Clients of each worker, with one call at a time, and how many calls each client makes.
const CLIENTS: usize = 64;
const CALLS: usize = 1_000;
/// Before it is measured.
const WARM: usize = 100;
/// In turn, so that a change of the machine's mood hits both.
const ROUNDS: usize = 5;
/// Gates, and workers of each.
const WAYS: [(&str, usize, usize); 3] =
    [("one gate, one worker", 1, 1), ("two gates, one worker each", 2, 1), ("one gate, two workers", 1, 2)];

/// Prints the table.
pub fn run() {
    println!("\n### One worker and two, {CLIENTS} clients for each, without a pause\n");
    println!("| | gate's CPU µs/call | of it the log's thread |\n| --- | ---: | ---: |");
    let mut each = WAYS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, gates, workers), costs) in WAYS.iter().zip(&mut each) {
            costs.push(measured(*gates, *workers));
        }
    }
    for ((name, ..), costs) in WAYS.iter().zip(&each) {
        let part = |of: fn(&(f64, f64)) -> f64| median(costs.iter().map(of).collect());
        println!("| {name} | {:.1} | {:.1} |", part(|(all, _)| *all), part(|(_, log)| *log));
    }
    let [alone, apart, together] = &each;
    let times = |one: &[(f64, f64)]| -> Vec<f64> { one.iter().zip(together).map(|(a, b)| 2.0 * a.0 / b.0).collect() };
    let (least, most) =
        (times(alone).into_iter().fold(f64::MAX, f64::min), times(alone).into_iter().fold(0.0, f64::max));
    println!(
        "\nBy what a call costs, two workers make {:.2} times the calls of one (median of {ROUNDS} rounds, {least:.2} to {most:.2}), and \
         {:.2} times those of one of two gates. The log's thread alone would end at {:.0} calls/s.",
        median(times(alone)),
        median(times(apart)),
        1e6 / median(together.iter().map(|(_, log)| *log).collect())
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Microseconds of the gates together, and of their logs' threads, for each call.
fn measured(gates: usize, workers: usize) -> (f64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let upstream = stand_in(folder.path());
    let key = ScopedKey::from_random(sha256(b"bench"));
    let places: Vec<Place> = (0..gates).map(|_| Place::new(upstream.address.port())).collect();
    let trust_roots = folder.path().join("upstream-ca.pem").display().to_string();
    for place in &places {
        let text = std::fs::read_to_string(place.config()).unwrap();
        let mut config: toml_edit::DocumentMut = text.parse().unwrap();
        config["listen"]["workers"] = toml_edit::value(i64::try_from(workers).unwrap());
        let acme = &mut config["upstream"]["acme"];
        acme["trust_roots"] = toml_edit::value(&trust_roots);
        let address = format!("127.0.0.1:{}", upstream.address.port());
        acme["addresses"] = toml_edit::value(toml_edit::Array::from_iter([address]));
        place.write(&(config.to_string() + &integration("bench", &key)));
    }
    let running: Vec<Running> = places.iter().map(Place::start).collect();
    let all = || running.iter().map(ticks).fold((0, 0), |(all, log), (a, l)| (all + a, log + l));
    let trusted: Vec<_> = places.iter().map(|place| trust(&place.home().join("ca.pem"))).collect();
    let each = running.iter().zip(&trusted).cycle().take(gates * workers * CLIENTS);
    let mut connections: Vec<Tls> = each.map(|(gate, trusted)| connect(gate.address, trusted)).collect();
    load(&mut connections, key.expose(), WARM);
    let before = all();
    load(&mut connections, key.expose(), CALLS);
    let after = all();
    let micros = |ticks: u64| ticks as f64 * 10_000.0 / (connections.len() * CALLS) as f64;
    (micros(after.0 - before.0), micros(after.1 - before.1))
}

fn ticks(gate: &Running) -> (u64, u64) {
    let threads = gate.threads();
    let log = threads.iter().filter(|(name, _)| name == "audit").map(|(_, ticks)| ticks).sum();
    (threads.iter().map(|(_, ticks)| ticks).sum(), log)
}

/// Makes so many calls on each connection.
fn load(connections: &mut [Tls], key: &str, calls: usize) {
    thread::scope(|scope| {
        for connection in connections {
            scope.spawn(move || {
                for _ in 0..calls {
                    assert_eq!(call(connection, "/v2/orders/M-5010/packingslip", key), 200);
                }
            });
        }
    });
}
