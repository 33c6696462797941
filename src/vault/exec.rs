//! A helper program that prints a credential: the way to any vault that Keygate does not speak to itself.
//!
//! It is started without a shell, with the credential's name as its last argument, nothing on standard input, and none of
//! the gate's environment but the variables that the configuration names. It prints a [`Document`] with a `version`, or
//! `null` when there is no such credential, and ends with 0, all within a time limit. Its standard error goes nowhere: it
//! might hold what must not be in a log.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use zeroize::Zeroizing;

use super::document::Document;
use super::{Credential, Vault, VaultError, is_plain};
use crate::config;

/// More than any credential needs, bytes.
const LONGEST: usize = 64 * 1024;

/// Between two looks whether a helper that has closed its output has ended.
const LOOK: Duration = Duration::from_millis(2);

/// Credentials from a program.
#[derive(Clone, Debug)]
pub struct Exec(pub config::Exec);

impl Vault for Exec {
    fn fetch(&self, id: &str) -> Result<Credential, VaultError> {
        if !is_plain(id) {
            return Err(VaultError::Missing { id: id.to_owned(), known: Vec::new() });
        }
        self.trusted()?;
        let printed = self.run(id)?;
        let place = self.program();
        if printed.trim_ascii() == b"null" {
            return Err(VaultError::Missing { id: id.to_owned(), known: Vec::new() });
        }
        let document = Document::read(&printed, place)?;
        let version = document.version.ok_or_else(|| {
            self.failed("what it prints has no `version`, a whole number that rises with each change".to_owned())
        })?;
        document.into_credential(id, version, place)
    }
}

impl Exec {
    fn program(&self) -> &str {
        self.0.command.first().map_or("", String::as_str)
    }

    fn failed(&self, why: String) -> VaultError {
        VaultError::Helper { program: self.program().to_owned(), why }
    }

    /// Whoever may change the program may read every credential: that is root and us, and nobody else.
    fn trusted(&self) -> Result<(), VaultError> {
        let unreadable = |source| VaultError::Unreadable { place: self.program().to_owned(), source };
        let facts = File::open(self.program()).and_then(|file| file.metadata()).map_err(unreadable)?;
        let ours = [0, rustix::process::geteuid().as_raw()].contains(&facts.uid());
        if !ours || facts.mode() & 0o022 != 0 {
            return Err(self.failed("it may be changed by others than root and the gate's own user".to_owned()));
        }
        Ok(())
    }

    fn run(&self, id: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let deadline = Instant::now() + self.0.timeout;
        let (program, arguments) = self.0.command.split_first().ok_or_else(|| self.failed("no program".to_owned()))?;
        let mut command = Command::new(program);
        command.args(arguments).arg(id).env_clear().current_dir("/");
        command.envs(self.0.environment.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        // A group of its own, so that what it starts ends with it.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let child = command.spawn().map_err(|error| self.failed(format!("it does not start: {error}")))?;
        let mut running = Running { child, finished: false };
        let printed = self.read(&mut running, deadline)?;
        let broken = |error: io::Error| self.failed(error.to_string());
        if !running.ended(deadline).map_err(broken)? {
            return Err(self.too_late());
        }
        let status = running.finish().map_err(broken)?;
        if !status.success() {
            return Err(self.failed(format!("it ended with {status}; run it by hand to see what it says")));
        }
        Ok(printed)
    }

    fn too_late(&self) -> VaultError {
        self.failed(format!("it had not ended after {}", config::show_duration(self.0.timeout)))
    }

    /// What it prints until it closes its output. The buffer never grows: no copy is left behind unwiped.
    fn read(&self, running: &mut Running, deadline: Instant) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let mut printed = Zeroizing::new(vec![0; LONGEST + 1]);
        let mut length = 0;
        let Some(mut output) = running.child.stdout.take() else { return Ok(Zeroizing::new(Vec::new())) };
        while length < printed.len() {
            if !readable(&output, deadline).map_err(|error| self.failed(error.to_string()))? {
                return Err(self.too_late());
            }
            match output.read(&mut printed[length..]) {
                Ok(0) => {
                    printed.truncate(length);
                    return Ok(printed);
                }
                Ok(more) => length += more,
                Err(error) => return Err(self.failed(error.to_string())),
            }
        }
        Err(self.failed(format!("it prints more than {LONGEST} bytes")))
    }
}

/// Whether there is something to read (or the end) before the deadline.
fn readable(output: &impl AsFd, deadline: Instant) -> io::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left =
        Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
    Ok(retry_on_intr(|| poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&left)))? > 0)
}

/// A helper that runs. On drop its whole group is ended and it is waited for.
struct Running {
    child: Child,
    finished: bool,
}

impl Running {
    fn id(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Whether it has ended before the deadline. It is only looked at: its number stays taken until it is waited for.
    fn ended(&self, deadline: Instant) -> io::Result<bool> {
        let Some(id) = self.id() else { return Ok(false) };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            if waitid(WaitId::Pid(id), look)?.is_some() {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::park_timeout(LOOK);
        }
    }

    /// Ends what is left of its group, while its own number is still taken, and tells how it ended itself.
    fn finish(&mut self) -> io::Result<ExitStatus> {
        if let Some(group) = self.id() {
            // A group without a living member is no trouble.
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.finished = true;
        self.child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.finished {
            // There is nobody left to tell.
            let _ = self.finish();
        }
    }
}
