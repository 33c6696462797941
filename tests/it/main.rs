//! Black-box tests: the real binary, a real TLS upstream, real clients. One binary, so that it links once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on must fail loudly"
)]

mod architecture;
mod audit;
mod cli;
mod clients;
mod closed;
mod corpus;
mod descriptors;
mod doctor;
mod evidence;
mod every_command;
mod find;
mod exports;
mod floods;
mod framing;
mod hand_over;
mod hangup;
mod harness;
mod hostile;
mod httpwg;
mod identity;
mod limits;
mod memory;
mod reload;
mod rotation;
mod route;
mod scrub;
mod secrets;
mod shutdown;
mod scan;
mod sinks;
mod slow;
mod targets;
mod tls;
mod tokens;
mod upstream;
mod vaults;
