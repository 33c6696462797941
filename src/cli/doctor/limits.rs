//! What the system allows the gate: descriptors, locked memory, core dumps.

use rustix::process::{Resource, getrlimit};

use super::finding::{Finding, Level, fine, not_fine};
use crate::config::Config;
use crate::{descriptors, process};

pub(super) fn look(config: &Config) -> Vec<Finding> {
    vec![descriptors(config), memory(), core()]
}

fn descriptors(config: &Config) -> Finding {
    let (limit, fit) = descriptors::outlook(&config.listen);
    let wanted = config.listen.max_connections;
    let limit = limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
    let what = format!("{limit} file descriptors: {fit} connections of `max_connections = {wanted}` fit");
    if fit < wanted {
        let remedy = "raise the hard limit (`LimitNOFILE=` in the unit, `ulimit -Hn` in the shell), or lower `[listen] max_connections`";
        return not_fine(Level::Warn, "limits", what, remedy);
    }
    fine("limits", what)
}

/// Looks at what this process got for the keys that it holds at the moment.
fn memory() -> Finding {
    let granted = process::standing().memory;
    let limit =
        getrlimit(Resource::Memlock).current.map_or_else(|| "no limit".to_owned(), |bytes| format!("{bytes} bytes"));
    if granted.is_whole() {
        let what =
            format!("keys lie in locked memory ({} bytes; limit: {limit}), left out of core dumps", granted.locked);
        return fine("memory", what);
    }
    let why = granted.why.unwrap_or_default();
    let what = format!("{} bytes for keys cannot be locked: {why} (limit: {limit})", granted.unlocked);
    let remedy = "keys may end in swap: raise the limit (`LimitMEMLOCK=1M` in the unit, `ulimit -l` in the shell), or encrypt swap";
    not_fine(Level::Warn, "memory", what, remedy)
}

fn core() -> Finding {
    let standing = process::standing();
    if standing.not_dumpable && standing.no_core_file {
        return fine("memory", "no core dump is made, and no debugger of the same user gets in");
    }
    let remedy =
        "something forbids `prctl` or `setrlimit`: set `LimitCORE=0` in the unit, and allow `prctl` in its filter";
    not_fine(Level::Warn, "memory", "core dumps of the gate are possible", remedy)
}
