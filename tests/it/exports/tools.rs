//! The tools that look at exports: a Python with `DuckDB` and the published schemas, and a server with the API of S3.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::harness::command::run;
use crate::harness::have;
use crate::harness::pki::Pki;

/// The Python with the packages of `requirements.txt`, which `tests/all` installs.
pub fn python() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("export-venv/bin/python3");
    let python = std::env::var_os("KEYGATE_TEST_EXPORT_PYTHON").map_or(usual, PathBuf::from);
    have("the Python packages that read exports", python.is_file()).then_some(python)
}

/// A program of this folder.
pub fn program(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/exports").join(name));
    command
}

/// What `check.py` says; none when it cannot be run here and need not be.
pub fn check(args: &[&str]) -> Option<Value> {
    let mut command = program(&python()?, "check.py");
    command.args(args);
    Some(serde_json::from_str(&run(command, b"").ok()).unwrap())
}

/// A bucket named `evidence` on a server of its own, with TLS. It ends when it is dropped.
pub struct Bucket {
    folder: tempfile::TempDir,
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Bucket {
    /// Starts one; none when that cannot be done here and need not be.
    pub fn start() -> Option<Self> {
        let python = python()?;
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::new();
        let leaf = pki.leaf(&["localhost", "127.0.0.1"]);
        fs::write(folder.path().join("ca.pem"), pki.ca_pem()).unwrap();
        fs::write(folder.path().join("server.pem"), leaf.certificate).unwrap();
        fs::write(folder.path().join("server.key"), leaf.key).unwrap();
        let mut command = program(&python, "bucket.py");
        command.current_dir(&folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("the server said `{line}`"));
        Some(Self { folder, child, said, port })
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Every object, by its name.
    pub fn objects(&mut self) -> BTreeMap<String, Vec<u8>> {
        use std::io::Write;
        writeln!(self.child.stdin.as_ref().unwrap(), "objects").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        let named: BTreeMap<String, String> = serde_json::from_str(&line).unwrap();
        named.into_iter().map(|(name, text)| (name, STANDARD.decode(text).unwrap())).collect()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
