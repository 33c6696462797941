//! After a change of the configuration: whether a running gate works by it now.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::running::{self, Told};

use super::output::{self, quoted_path};
use super::report::Failure;
use super::settings;

/// How long a gate gets to take a change over. It looks ten times a second.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Waits for the gate that runs on this configuration, if one does, and tells. `done` is what the file says now; a gate
/// that works by something else is a failure, because then it is not done.
pub fn taken_over(config: &Config, path: &Path, done: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = match running::ask(&config.audit.directory) {
            Ok(Some(told)) => told,
            Ok(None) => {
                output::note("no gate runs with this configuration\n");
                return Ok(());
            }
            Err(error) => return Err(not_yet(path, done, None).because(error)),
        };
        // As the file is now: another command may have changed it after ours, and it holds our change all the same.
        let (_, source) = settings::read_source(path)?;
        if told.in_force == source.sha256 {
            output::note(&format!("the running gate (process {}) works by it now\n", told.pid));
            return Ok(());
        }
        if told.refused.as_ref() == Some(&source.sha256) {
            return Err(not_yet(path, done, Some(&told)).because(told.problems.join("; ")));
        }
        if Instant::now() > deadline {
            let why = format!("it has not taken the change over in {} s", PATIENCE.as_secs());
            return Err(not_yet(path, done, Some(&told)).because(why));
        }
        thread::sleep(LOOK);
    }
}

fn not_yet(path: &Path, done: &str, told: Option<&Told>) -> Failure {
    let file = quoted_path(path);
    match told {
        Some(Told { pid, .. }) => Failure::new(format!(
            "{done} in `{file}`, but the running gate (process {pid}) works by the old configuration"
        ))
        .hint("mend the file, and it is taken over by itself; what needs a restart needs one"),
        None => Failure::new(format!("{done} in `{file}`, but whether a gate runs with it cannot be told"))
            .hint("run this command as the user that runs the gate"),
    }
}
