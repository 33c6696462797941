//! How cost grows: deciding with more integrations and more endpoints, starting and holding more of everything.
//!
//! `cargo bench --bench scale` runs all and prints tables; `cargo bench --bench scale -- decide` one part: `decide`,
//! `integrations`, `connections`, `log`, `workers`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on has nothing to tell")]

mod connections;
mod decide;
mod gate;
mod integrations;
mod log;
#[path = "../common/record.rs"]
mod record;
mod workers;

use std::env::args;

use keygate::allocator::Wiping;
use mimalloc::MiMalloc;

/// The same as the program's.
#[global_allocator]
static ALLOCATOR: Wiping<MiMalloc> = Wiping(MiMalloc);

fn main() {
    let wanted: Vec<String> = args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let parts: [(&str, fn()); 5] = [
        ("decide", decide::run),
        ("integrations", integrations::run),
        ("connections", connections::run),
        ("log", log::run),
        ("workers", workers::run),
    ];
    for (name, run) in parts {
        if wanted.is_empty() || wanted.iter().any(|part| part == name) {
            run();
        }
    }
}
