//! The real binary in a folder of its own: set up by its own commands, started, watched, stopped by its own id, and
//! looked through for secrets at the end of every test.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use toml_edit::DocumentMut;

use super::command::{Ran, keygate, run, signal, typed};
use super::process::{Ended, Process};
use super::secrets::Secrets;
use super::setup::{Setup, Target};
use super::{Audit, Client, Line, Reply};

/// A gate.
pub struct Proxy {
    folder: tempfile::TempDir,
    target: Target,
    setup: Setup,
    keys: BTreeMap<String, String>,
    secrets: Secrets,
    transcript: Vec<String>,
    running: Option<Process>,
}

impl Proxy {
    /// Sets up a gate before `target` and starts it.
    #[track_caller]
    pub fn start(target: &Target, choose: impl FnOnce(&mut Setup)) -> Self {
        let mut proxy = Self::prepare(target, choose);
        proxy.run();
        proxy
    }

    /// One integration named `webshop` with everyday rights, and nothing else unusual.
    #[track_caller]
    pub fn open(target: &Target) -> Self {
        Self::start(target, |setup| {
            setup.integration("webshop", EVERYDAY);
        })
    }

    /// Sets up a gate and does not start it.
    #[track_caller]
    pub fn prepare(target: &Target, choose: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::new();
        choose(&mut setup);
        let mut secrets = Secrets::default();
        secrets.plant("real key", &setup.key);
        let (folder, transcript) = (tempfile::tempdir().unwrap(), Vec::new());
        let (target, keys) = (target.clone(), BTreeMap::new());
        let mut proxy = Self { folder, target, setup, keys, secrets, transcript, running: None };
        proxy.initialise();
        proxy.configure();
        proxy
    }

    fn initialise(&mut self) {
        let base = format!("https://localhost:{}{}", self.target.port, self.target.base_path);
        let directory = self.directory();
        let mut args = vec!["init", directory.to_str().unwrap(), "--upstream", &base, "--upstream-name", "acme"];
        let profile = self.setup.profile.clone().unwrap_or_default();
        if !profile.is_empty() {
            args.extend(["--profile", &profile]);
        }
        let ran = run(keygate(&args), b"");
        self.note(ran).ok();
        let key = self.setup.key.clone();
        self.keygate(&["credential", "put", "acme"], key.as_bytes()).ok();
        for (name, args) in self.setup.integrations.clone() {
            self.add_integration(&name, &args);
        }
    }

    fn add_integration(&mut self, name: &str, args: &[String]) {
        let mut all = vec!["integration", "add", name, "--upstream", "acme"];
        all.extend(args.iter().map(String::as_str));
        self.new_key(name, &all);
    }

    /// Runs a command whose standard output is a scoped key, and remembers the key as that integration's.
    #[track_caller]
    pub fn new_key(&mut self, name: &str, args: &[&str]) -> String {
        let config = self.config();
        let mut command = keygate(&["--config", config.to_str().unwrap()]);
        command.args(args);
        // Not noted as it came: its output is the one place where the scoped key may stand.
        let ran = run(command, b"");
        assert_eq!(ran.code, Some(0), "{ran}");
        let key = ran.stdout.trim().to_owned();
        assert!(key.starts_with("kg_"), "standard output is the scoped key and nothing else: {}", ran.stdout);
        self.secrets.plant(&format!("scoped key of {name}"), &key);
        self.secrets.must_not_be_in(ran.stderr.as_bytes(), "standard error of a command that makes a key");
        self.transcript.push(format!("$ {}\n{}", ran.command, ran.stderr));
        self.keys.insert(name.to_owned(), key.clone());
        key
    }

    /// What every test needs to be different from real use: a port of the system's choice, and an upstream at hand.
    fn configure(&mut self) {
        let path = self.config();
        let mut config: DocumentMut = fs::read_to_string(&path).unwrap().parse().unwrap();
        fs::write(self.directory().join("upstream-ca.pem"), &self.target.ca_pem).unwrap();
        let here = toml_edit::Array::from_iter([format!("127.0.0.1:{}", self.target.port)]);
        super::setup::put(&mut config, &["listen", "address"].map(String::from), "127.0.0.1:0");
        super::setup::put(&mut config, &["upstream", "acme", "trust_roots"].map(String::from), "upstream-ca.pem");
        super::setup::put(&mut config, &["upstream", "acme", "addresses"].map(String::from), here);
        let directory = self.directory();
        for edit in std::mem::take(&mut self.setup.edits) {
            edit(&mut config, &directory);
        }
        fs::write(path, config.to_string()).unwrap();
    }

    /// Starts it and waits for its ready line.
    #[track_caller]
    pub fn run(&mut self) {
        self.try_run().unwrap_or_else(|ran| panic!("the gate did not start\n{ran}"));
    }

    /// Starts it; tells what it said when it ends before it is ready.
    pub fn try_run(&mut self) -> Result<(), Ran> {
        let config = self.config();
        let mut gate = keygate(&["--config", config.to_str().unwrap(), "run"]);
        gate.args(&self.setup.run_args);
        let command = wrapped(&self.setup.wrapper, gate);
        self.transcript.push(format!("$ {}", typed(&command)));
        self.running = Some(Process::start(command)?);
        Ok(())
    }

    /// Runs a command of the program on this gate's configuration.
    pub fn keygate(&mut self, args: &[&str], stdin: &[u8]) -> Ran {
        let config = self.config();
        let mut command = keygate(&["--config", config.to_str().unwrap()]);
        command.args(args);
        let ran = run(command, stdin);
        self.note(ran)
    }

    fn note(&mut self, ran: Ran) -> Ran {
        self.secrets.must_not_be_in(ran.stdout.as_bytes(), &format!("standard output of `{}`", ran.command));
        self.secrets.must_not_be_in(ran.stderr.as_bytes(), &format!("standard error of `{}`", ran.command));
        self.transcript.push(ran.to_string());
        ran
    }

    fn running(&self) -> &Process {
        self.running.as_ref().expect("the gate runs")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running().address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running().id()
    }

    /// The folder it lives in.
    pub fn directory(&self) -> PathBuf {
        self.folder.path().join("gate")
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory().join("keygate.toml")
    }

    /// The vault, as its configuration names it.
    pub fn vault(&self) -> PathBuf {
        self.named(["vault", "file"])
    }

    /// The identity that opens the vault.
    pub fn identity(&self) -> PathBuf {
        self.named(["vault", "identity"])
    }

    fn named(&self, [table, key]: [&str; 2]) -> PathBuf {
        let config: DocumentMut = fs::read_to_string(self.config()).unwrap().parse().unwrap();
        self.directory().join(config[table][key].as_str().unwrap())
    }

    /// Where the API begins at the gate: `/api`.
    pub fn base_path(&self) -> &str {
        &self.target.base_path
    }

    /// The planted secrets.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// One more secret that must be seen nowhere. Clients made before do not look for it.
    pub fn plant(&mut self, name: &str, secret: &str) {
        self.secrets.plant(name, secret);
    }

    /// The real key. Only tests about the key itself ask for it.
    pub fn real_key(&self) -> &str {
        &self.setup.key
    }

    /// An integration's scoped key.
    #[track_caller]
    pub fn key(&self, integration: &str) -> &str {
        &self.keys[integration]
    }

    /// A client that shows an integration's scoped key in `x-ce-key`.
    #[track_caller]
    pub fn client(&self, integration: &str) -> Client {
        self.anonymous().with("x-ce-key", self.key(integration))
    }

    /// A client without a key.
    pub fn anonymous(&self) -> Client {
        let ca = fs::read(self.directory().join("ca.pem")).unwrap();
        Client::new(self.address(), &ca, self.base_path(), self.secrets.clone())
    }

    /// Its audit log.
    pub fn audit(&self) -> Audit {
        Audit::at(self.directory().join("audit"))
    }

    /// The record of a complete reply, which must be there at once.
    #[track_caller]
    pub fn record(&self, reply: &Reply) -> Line {
        self.audit().of(reply)
    }

    /// Asks it to stop and does not wait.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> Ended {
        let ended = self.running.take().expect("the gate runs").wait();
        self.secrets.must_not_be_in(ended.output.as_bytes(), "what the gate printed");
        self.transcript.push(ended.output.clone());
        ended
    }

    /// Stops it in an orderly way and fails unless it ends with 0.
    #[track_caller]
    pub fn stop(&mut self) -> Ended {
        self.signal("TERM");
        let ended = self.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        ended
    }

    /// Ends it as a power cut would: no warning, no clean-up.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.wait();
    }

    /// Every file below its folder must be free of secrets, but for the vault, which is encrypted. The scoped keys are
    /// kept as hashes only, so they must be nowhere either.
    pub fn look_for_secrets(&self) {
        look_through(&self.directory(), &self.secrets);
    }
}

fn look_through(folder: &Path, secrets: &Secrets) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => look_through(&path, secrets),
            kind if kind.is_file() => {
                if let Ok(bytes) = fs::read(&path) {
                    secrets.must_not_be_in(&bytes, &path.display().to_string());
                }
            }
            _ => {}
        }
    }
}

/// `wrapper… keygate …`, or the command itself without a wrapper.
fn wrapped(wrapper: &[String], command: Command) -> Command {
    let Some((program, args)) = wrapper.split_first() else { return command };
    let mut outer = Command::new(program);
    outer.args(args).arg(command.get_program()).args(command.get_args());
    outer
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if thread::panicking() {
            self.explain();
            return;
        }
        if self.running.is_some() {
            let ended = self.stop();
            assert!(!ended.output.contains("panicked at"), "{}", ended.output);
        }
        self.look_for_secrets();
    }
}

impl Proxy {
    /// What one wants to see of a gate whose test has failed.
    fn explain(&mut self) {
        if let Some(mut process) = self.running.take() {
            process.end();
            self.transcript.push(process.output());
        }
        let config = fs::read_to_string(self.config()).unwrap_or_default();
        let audit = self.audit().bytes();
        let tail = &audit[audit.len().saturating_sub(8000)..];
        eprintln!("--- commands\n{}", self.transcript.join("\n"));
        eprintln!("--- keygate.toml\n{config}");
        eprintln!("--- audit (its end)\n{}", String::from_utf8_lossy(tail));
    }
}

/// Rules under which an integration may do what shops do every day.
pub const EVERYDAY: &[&str] =
    &["--allow", "orders:*", "--allow", "products:*", "--allow", "offers:*", "--allow", "shipments:*"];
