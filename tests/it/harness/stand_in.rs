//! The stand-in merchant API as a process of its own, started as anybody would start it.

use std::process::Command;

use super::command::keygate;
use super::pki::Pki;
use super::process::Process;
use super::{Setup, Target, random_hex};

/// A running stand-in. It ends when it is dropped.
pub struct StandIn {
    process: Process,
    pki: Pki,
    key: String,
    /// Certificate and key lie here for as long as it runs.
    _folder: tempfile::TempDir,
}

impl StandIn {
    /// Starts one with more arguments: `--delay 200ms`.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        let (pki, key) = (Pki::new(), random_hex(40));
        let folder = tempfile::tempdir().unwrap();
        let leaf = pki.leaf(&["localhost", "127.0.0.1"]);
        let (certificate, private_key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        std::fs::write(&certificate, leaf.certificate).unwrap();
        std::fs::write(&private_key, leaf.key).unwrap();
        let mut command: Command = keygate(&["stand-in", "--address", "127.0.0.1:0", "--key", &key]);
        command.arg("--certificate").arg(&certificate).arg("--private-key").arg(&private_key).args(args);
        let process = Process::start(command).unwrap_or_else(|ran| panic!("the stand-in did not start\n{ran}"));
        Self { process, pki, key, _folder: folder }
    }

    /// Where the gate should send its calls.
    pub fn target(&self) -> Target {
        Target { port: self.process.address.port(), ca_pem: self.pki.ca_pem().to_owned(), base_path: "/api".into() }
    }

    /// Makes the gate's credential the key that this stand-in knows.
    pub fn known_to(&self, setup: &mut Setup) {
        setup.key.clone_from(&self.key);
    }
}
