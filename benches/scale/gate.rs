//! A gate of the program's own making, in a folder of its own, looked at from outside.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keygate::policy::scoped_key::ScopedKey;

use super::decide::hex;

/// The real key of every benchmark.
const REAL_KEY: &str = "0123456789abcdef0123456789abcdef01234567";

/// The program.
pub fn keygate() -> Command {
    Command::new(env!("CARGO_BIN_EXE_keygate"))
}

/// A program that has printed `ready`.
pub struct Running {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// From its start to `ready`.
    pub took: Duration,
}

impl Running {
    /// Starts one and waits until it is ready.
    pub fn start(command: &mut Command) -> Self {
        let began = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let took = began.elapsed();
        let address = line.strip_prefix("ready https://").and_then(|rest| rest.split(['/', '\n']).next()?.parse().ok());
        Self { child, address: address.unwrap_or_else(|| panic!("it did not start: {line}")), took }
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// Resident memory, KiB.
    pub fn memory(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Processor time of each thread, by name, in hundredths of a second.
    pub fn threads(&self) -> Vec<(String, u64)> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let one = |folder: PathBuf| {
            let stat = fs::read_to_string(folder.join("stat")).unwrap();
            let (name, rest) = stat.split_once(") ").unwrap();
            let fields: Vec<&str> = rest.split(' ').collect();
            let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
            (name.split_once('(').unwrap().1.to_owned(), ticks)
        };
        tasks.map(|task| one(task.unwrap().path())).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        // It ends by itself on SIGTERM; whoever does not is ended.
        if Command::new("kill").args(["-TERM", &id]).status().is_ok_and(|status| status.success()) {
            let _ = self.child.wait();
        } else {
            let _ = self.child.kill();
        }
    }
}

/// The folder of a gate.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// Made by `keygate init`, on a port of the system's choice, before an upstream that may not be there.
    pub fn new(upstream_port: u16) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let base = format!("https://localhost:{upstream_port}/api");
        run(&["init", place.home().to_str().unwrap(), "--upstream", &base, "--upstream-name", "acme"], "");
        let text = fs::read_to_string(place.config()).unwrap();
        let mut config: toml_edit::DocumentMut = text.parse().unwrap();
        config["listen"]["address"] = toml_edit::value("127.0.0.1:0");
        config["listen"]["max_connections"] = toml_edit::value(10_000);
        config["listen"]["max_connections_per_source"] = toml_edit::value(10_000);
        config["listen"]["head_timeout"] = toml_edit::value("5min");
        config["upstream"]["acme"].as_table_mut().unwrap().remove("limit");
        place.write(&config.to_string());
        run(&["--config", place.config().to_str().unwrap(), "credential", "put", "acme"], REAL_KEY);
        place
    }

    /// Where it lies.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("gate")
    }

    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.home().join("keygate.toml")
    }

    /// Replaces the configuration whole.
    pub fn write(&self, text: &str) {
        let beside = self.home().join("keygate.toml.new");
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, self.config()).unwrap();
    }

    /// Adds text to the configuration.
    pub fn append(&self, text: &str) {
        let former = fs::read_to_string(self.config()).unwrap();
        self.write(&(former + text));
    }

    /// Starts it.
    pub fn start(&self) -> Running {
        Running::start(keygate().arg("--config").arg(self.config()).arg("run"))
    }
}

/// Runs a command that must succeed, with `stdin` as its input.
fn run(args: &[&str], stdin: &str) {
    let mut child =
        keygate().args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "`keygate {}` failed", args.join(" "));
}

/// A stand-in merchant API that accepts the real key, with its certificate in `folder`.
pub fn stand_in(folder: &Path) -> Running {
    let ca = folder.join("upstream-ca.pem");
    Running::start(keygate().args(["stand-in", "--key", REAL_KEY, "--ca-out"]).arg(ca))
}

/// The section of an integration that may read orders.
pub fn integration(name: &str, key: &ScopedKey) -> String {
    let hash = hex(&key.sha256());
    format!(
        "\n[integration.{name}]\nupstream = \"acme\"\nkey_sha256 = \"{hash}\"\nallow = [\"orders:read\", \"documents:read\"]\n"
    )
}
