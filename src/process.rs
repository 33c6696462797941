//! What keeps others on the machine away from the keys in this process, and how much of it the system granted.
//!
//! No real key may end in a core dump, and no other process of the same user may read it from memory. The dumpable flag does
//! both (`PR_SET_DUMPABLE`, `ptrace(2)`); the limit of core files' size is there for whoever turns the flag on again. The
//! limit alone would not do: a dump that goes to a handler knows no limit (`core(5)`).

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::Write;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, dumpable_behavior, getrlimit, set_dumpable_behavior, setrlimit,
};

use crate::vault::arena::{Protection, protection};

/// Keeps others out as far as the system allows it. The very first thing that the program does.
pub fn keep_others_out() {
    // Where a sandbox forbids a call there is nothing better to do than to go on; `standing` tells what came of it.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// From now on a panic tells where it happened, and of its words only those that stand in the source: what was put together
/// at run time may quote the data that it happened over, as a slice out of bounds quotes the whole text.
pub fn panics_quote_nothing() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let words = words_of_the_source(panic.payload());
        let backtrace = match Backtrace::capture() {
            taken if taken.status() == BacktraceStatus::Captured => format!("{taken}\n"),
            _ => String::new(),
        };
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(
            std::io::stderr().lock(),
            "thread '{}' panicked at {place}: {words}\n{backtrace}",
            thread.name().unwrap_or("unnamed")
        );
    }));
}

fn words_of_the_source(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(its text is left out: it may quote data)")
}

/// What was granted.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Standing {
    /// Neither core dumps nor debuggers of the same user.
    pub not_dumpable: bool,
    /// Core files may have no byte.
    pub no_core_file: bool,
    /// The memory in which keys lie.
    pub memory: Protection,
}

/// What was granted, as it is now.
pub fn standing() -> Standing {
    Standing {
        not_dumpable: dumpable_behavior() == Ok(DumpableBehavior::NotDumpable),
        no_core_file: getrlimit(Resource::Core).current == Some(0),
        memory: protection(),
    }
}

impl Standing {
    /// Whether everything that was asked for was granted.
    pub fn is_whole(&self) -> bool {
        self.not_dumpable && self.no_core_file && self.memory.is_whole()
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Protection { locked, unlocked, dumped, why } = &self.memory;
        write!(f, "memory for keys: {locked} bytes locked")?;
        if *unlocked > 0 {
            write!(f, ", {unlocked} bytes not locked, which may end in swap (raise `LimitMEMLOCK` or `ulimit -l`)")?;
        }
        match dumped {
            0 => write!(f, ", left out of core dumps")?,
            bytes => write!(f, ", {bytes} bytes not left out of core dumps")?,
        }
        if let Some(why) = why {
            write!(f, " ({why})")?;
        }
        let process = if self.not_dumpable {
            "closed to debuggers of the same user"
        } else {
            "open to debuggers of the same user"
        };
        let core = if self.no_core_file { "no core file" } else { "core files are possible" };
        write!(f, "; process: {process}, {core}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_core_dump_is_made_of_this_process() {
        keep_others_out();
        let standing = standing();
        assert!(standing.not_dumpable && standing.no_core_file, "{standing}");
    }

    #[test]
    fn what_was_not_granted_is_said_with_what_to_do() {
        let memory = Protection { locked: 0, unlocked: 65536, dumped: 0, why: Some("too much".to_owned()) };
        let poor = Standing { not_dumpable: true, no_core_file: true, memory };
        assert!(!poor.is_whole());
        for part in ["65536 bytes not locked", "LimitMEMLOCK", "too much", "closed to debuggers"] {
            assert!(poor.to_string().contains(part), "{poor}");
        }
    }
}
