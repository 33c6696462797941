//! The program: hands over to `cli`, which reads the arguments and dispatches.

use std::process::ExitCode;

/// Many small allocations on many threads is what a proxy does; this allocator is made for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keygate::cli::main()
}
