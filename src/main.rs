//! The program: hands over to `cli`, which reads the arguments and dispatches.

use std::process::ExitCode;

use keygate::allocator::Wiping;
use mimalloc::MiMalloc;

/// Many small allocations on many threads is what a proxy does; this allocator is made for it.
#[global_allocator]
static ALLOCATOR: Wiping<MiMalloc> = Wiping(MiMalloc);

fn main() -> ExitCode {
    keygate::cli::main()
}
