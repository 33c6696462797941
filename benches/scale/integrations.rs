//! More integrations: time to start, memory, and time until a changed file is in force.

use std::fs;
use std::time::{Duration, Instant};

use keygate::policy::scoped_key::{ScopedKey, sha256};

use super::gate::{Place, integration};

/// Prints the table.
pub fn run() {
    println!("\n### More integrations\n");
    println!("| integrations | ready after, ms | memory, MiB | a changed file in force after, ms | memory then, MiB |");
    println!("| ---: | ---: | ---: | ---: | ---: |");
    for count in [10, 1_000, 10_000_usize] {
        let place = Place::new(1);
        let key = |n: usize| ScopedKey::from_random(sha256(&n.to_le_bytes()));
        place.append(
            &(0..count).map(|n| integration(&format!("it-{n}"), &key(n)) + "limit = \"60/min\"\n").collect::<String>(),
        );
        let gate = place.start();
        let (took, memory) = (gate.took, gate.memory());
        let in_force = || fs::read_to_string(place.home().join("audit/running")).unwrap();
        let (before, began) = (in_force(), Instant::now());
        place.append("owner = \"ops@example.com\"\n");
        while in_force() == before {
            assert!(began.elapsed() < Duration::from_secs(30), "the change was not taken over");
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let changed = began.elapsed();
        println!(
            "| {count} | {} | {:.1} | {} | {:.1} |",
            took.as_millis(),
            memory as f64 / 1024.0,
            changed.as_millis(),
            gate.memory() as f64 / 1024.0
        );
    }
}
