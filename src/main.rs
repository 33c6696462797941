//! The program: hands over to `cli`, which reads the arguments and dispatches.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// Many small allocations on many threads is what a proxy does; this allocator is made for it. What is given back is wiped:
/// libraries wipe no buffer of theirs, and keys, tokens and people's names pass through them.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

fn main() -> ExitCode {
    keygate::cli::main()
}
