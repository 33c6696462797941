//! What records are sent to: a Python receiver with the official libraries, and a real rsyslog.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::exports::tools::{program, python};
use crate::harness::command::found;
use crate::harness::pki::Pki;
use crate::harness::{have, until};

/// A folder with certificates for `localhost`.
fn certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new();
    let leaf = pki.leaf(&["localhost", "127.0.0.1"]);
    for (name, text) in [("ca.pem", pki.ca_pem()), ("server.pem", &leaf.certificate), ("server.key", &leaf.key)] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// An HTTPS server that takes records.
pub struct Receiver {
    kind: &'static str,
    python: PathBuf,
    folder: tempfile::TempDir,
    pub port: u16,
    running: Option<(Child, BufReader<ChildStdout>)>,
}

impl Receiver {
    /// Starts one; none when that cannot be done here and need not be.
    pub fn start(kind: &'static str) -> Option<Self> {
        let mut receiver = Self { kind, python: python()?, folder: certificates(), port: 0, running: None };
        fs::write(receiver.secret(), SECRET).unwrap();
        receiver.run();
        Some(receiver)
    }

    /// Starts it on the port that it had, or on any.
    pub fn run(&mut self) {
        let mut command = program(&self.python, "../sinks/receiver.py");
        command.args([self.kind, &self.port.to_string(), "got"]).arg(self.secret()).current_dir(&self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        self.port = line.trim().parse().unwrap_or_else(|_| panic!("the receiver said `{line}`"));
        self.running = Some((child, said));
    }

    /// Ends it at once.
    pub fn end(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// `take`, `refuse`, `reject` or `wait SECONDS` with what comes from now on.
    pub fn shall(&mut self, mode: &str) {
        let (child, said) = self.running.as_mut().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{mode}").unwrap();
        said.read_line(&mut String::new()).unwrap();
    }

    /// When it was asked and did not take what came, in seconds.
    pub fn refusals(&self) -> Vec<f64> {
        let text = fs::read_to_string(self.folder.path().join("asked")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    pub fn secret(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn address(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// What it has accepted.
    pub fn got(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("got")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The numbers of the records that it has accepted, in the order in which they came.
    pub fn numbers(&self) -> Vec<u64> {
        let line = |got: &Value| serde_json::from_str::<Value>(got["line"].as_str().unwrap()).unwrap();
        self.got().iter().map(|got| line(got)["seq"].as_u64().unwrap()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.end();
    }
}

/// What signs webhooks here.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A real rsyslog with one input and a file that it writes messages to.
pub struct Rsyslog {
    folder: tempfile::TempDir,
    pub port: u16,
    running: Option<Child>,
}

/// One object a message: what rsyslog has read of it.
const TEMPLATE: &str = r#"template(name="json" type="list" option.jsonf="on") {
  property(outname="pri" name="pri" format="jsonf")
  property(outname="version" name="protocol-version" format="jsonf")
  property(outname="time" name="timestamp" dateFormat="rfc3339" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="data" name="structured-data" format="jsonf")
  property(outname="line" name="msg" format="jsonf")
}
"#;

impl Rsyslog {
    /// Starts one that listens with TLS, and on a Unix socket; none when that cannot be done here and need not be.
    pub fn start() -> Option<Self> {
        let there = found("rsyslogd") || Path::new("/usr/sbin/rsyslogd").is_file();
        if !have("rsyslog", there) {
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut rsyslog = Self { folder: certificates(), port, running: None };
        let place = |name: &str| rsyslog.folder.path().join(name).display().to_string();
        let config = format!(
            "global(workDirectory=\"{work}\" defaultNetstreamDriver=\"gtls\" defaultNetstreamDriverCAFile=\"{ca}\"\n\
             defaultNetstreamDriverCertFile=\"{certificate}\" defaultNetstreamDriverKeyFile=\"{key}\")\n\
             module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" streamDriver.authMode=\"anon\")\n\
             input(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")\n\
             module(load=\"imuxsock\" sysSock.use=\"off\")\n\
             input(type=\"imuxsock\" socket=\"{socket}\" useSpecialParser=\"off\" parseHostname=\"on\" rateLimit.interval=\"0\")\n\
             {TEMPLATE}action(type=\"omfile\" file=\"{got}\" template=\"json\" flushOnTXEnd=\"on\")\n",
            work = rsyslog.folder.path().display(),
            ca = place("ca.pem"),
            certificate = place("server.pem"),
            key = place("server.key"),
            socket = place("socket"),
            got = place("got"),
        );
        fs::write(rsyslog.folder.path().join("rs.conf"), config).unwrap();
        rsyslog.run();
        Some(rsyslog)
    }

    /// Starts it (again).
    pub fn run(&mut self) {
        let place = |name: &str| self.folder.path().join(name);
        let _ = fs::remove_file(place("pid"));
        let mut command = Command::new(if found("rsyslogd") { "rsyslogd" } else { "/usr/sbin/rsyslogd" });
        command.arg("-n").arg("-f").arg(place("rs.conf")).arg("-i").arg(place("pid"));
        self.running = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let port = self.port;
        until("rsyslog", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    }

    /// Ends it at once.
    pub fn end(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The messages that it wrote.
    pub fn got(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("got")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        self.end();
    }
}
