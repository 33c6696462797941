//! What is fuzzed: a function from bytes to nothing for each target, which panics when a promise is broken.
//!
//! libFuzzer calls them through `fuzz_targets/`; `tests/it/corpus.rs` takes this same file in by its path and replays
//! every committed input on the stable compiler. So the gate's own library holds nothing that only fuzzing needs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a target that cannot go on must fail loudly")]

pub mod config;
mod gate;
pub mod head;
pub mod hello;
pub mod record;
pub mod target;

/// The strict reader of the tests: what reaches an upstream must be one request in its one spelling.
#[allow(dead_code, clippy::duplicate_mod, reason = "the tests need more of it, and take it in themselves")]
#[path = "../../tests/it/hostile/strict.rs"]
mod strict;

pub use gate::must_be_one as must_be_one_request;
