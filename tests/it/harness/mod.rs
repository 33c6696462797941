//! What the tests stand on: the real binary in a folder of its own, upstreams that note what reached them, clients
//! that check every reply for what must never be there.

pub mod admin;
pub mod audit;
pub mod bao;
pub mod client;
pub mod command;
pub mod curl;
pub mod frames;
pub mod memory;
pub mod merchant;
pub mod metrics;
pub mod pki;
pub mod process;
pub mod proxy;
pub mod reply;
pub mod secrets;
mod self_test;
pub mod setup;
pub mod stand_in;
pub mod wire;

use std::time::{Duration, Instant};

pub use audit::{Audit, Line};
pub use client::{Client, Request};
pub use curl::Curl;
pub use merchant::{Exchange, Merchant, Seen};
pub use proxy::Proxy;
pub use reply::Reply;
pub use setup::{Setup, Target};
pub use stand_in::StandIn;

/// How long anything may take before a test gives up on it. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a fact: asks again until `ask` answers, and fails with `what` when it never does. The one place that
/// sleeps.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How a slow peer is slow. Never to wait for something: that is what [`until`] is for.
pub fn dawdle(time: Duration) {
    std::thread::sleep(time);
}

/// Whether something the machine may lack is there. Under `CI=true` nothing may be missing; elsewhere a test that needs
/// it says so and passes.
pub fn have(what: &str, found: bool) -> bool {
    assert!(
        found || std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "`{what}` is missing; `tests/all` installs it"
    );
    if !found {
        eprintln!("skipped: `{what}` is missing");
    }
    found
}

/// `length` random lower-case hex digits, fresh for each call.
pub fn random_hex(length: usize) -> String {
    let mut bytes = vec![0_u8; length.div_ceil(2)];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    let digits: String =
        bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|d| char::from(b"0123456789abcdef"[usize::from(d)])).collect();
    digits[..length].to_owned()
}
