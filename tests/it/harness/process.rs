//! A started gate: its ready line, what it prints, its end.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::command::{Ran, typed};
use super::until;

/// A gate that runs.
pub struct Process {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    output: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

/// A gate that ran.
pub struct Ended {
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Everything it printed.
    pub output: String,
}

impl Process {
    /// Starts it and waits for `ready https://ADDRESS…`; tells what it said when it ends before that.
    pub fn start(mut command: Command) -> Result<Self, Ran> {
        let typed = typed(&command);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Arc::new(Mutex::new(Vec::new()));
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let watcher = watch(child.stderr.take().unwrap(), output.clone());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        output.lock().unwrap().extend(line.bytes());
        let readers = vec![watcher, watch(stdout, output.clone())];
        if let Some(address) = ready(&line) {
            return Ok(Self { child, address, output, readers });
        }
        let code = child.wait().unwrap().code();
        for reader in readers {
            reader.join().unwrap();
        }
        let stderr = String::from_utf8_lossy(&output.lock().unwrap()).into_owned();
        Err(Ran { command: typed, code, stdout: line, stderr })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    /// Waits until it has ended.
    pub fn wait(mut self) -> Ended {
        let status = until("the end of the gate", || self.child.try_wait().unwrap());
        for reader in std::mem::take(&mut self.readers) {
            reader.join().unwrap();
        }
        Ended { code: status.code(), output: self.output() }
    }

    /// Ends it at once.
    pub fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in std::mem::take(&mut self.readers) {
            drop(reader.join());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The address in the ready line.
fn ready(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("ready https://")?.split(['/', '\n']).next()?.parse().ok()
}

/// Reads a stream to its end in a thread of its own, so that the gate never waits for its reader.
fn watch(mut from: impl Read + Send + 'static, into: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(n) = from.read(&mut chunk) {
            if n == 0 {
                return;
            }
            into.lock().unwrap().extend_from_slice(&chunk[..n]);
        }
    })
}
