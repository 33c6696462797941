//! A stand-in with keys that have a life of their own, a gate before it, and `credential rotate` as a process that can be
//! watched and killed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::harness::command::{Ran, keygate, typed};
use crate::harness::proxy::EVERYDAY;
use crate::harness::{Proxy, Setup, StandIn, random_hex, until};

/// Where the merchant makes and withdraws keys.
pub(super) struct Portal {
    folder: tempfile::TempDir,
    keys: Mutex<Vec<String>>,
}

impl Portal {
    fn new() -> Self {
        let portal = Self { folder: tempfile::tempdir().unwrap(), keys: Mutex::default() };
        portal.make();
        portal
    }

    /// Makes a new key.
    pub(super) fn make(&self) -> String {
        let key = random_hex(40);
        self.change(|keys| keys.push(key.clone()));
        key
    }

    /// Withdraws a key.
    pub(super) fn withdraw(&self, key: &str) {
        self.change(|keys| keys.retain(|known| known != key));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<String>)) {
        let mut keys = self.keys.lock().unwrap();
        change(&mut keys);
        fs::write(self.folder.path().join("new"), keys.join("\n")).unwrap();
        fs::rename(self.folder.path().join("new"), self.file()).unwrap();
    }

    fn file(&self) -> String {
        self.folder.path().join("keys").display().to_string()
    }
}

/// A gate with one integration before a stand-in with one key.
pub(super) struct Shop {
    pub(super) proxy: Proxy,
    pub(super) portal: Portal,
    /// The key that the gate begins with.
    pub(super) first: String,
    _stand_in: StandIn,
}

impl Shop {
    #[track_caller]
    pub(super) fn open() -> Self {
        let mut shop = Self::closed();
        shop.proxy.run();
        shop
    }

    /// The gate does not run yet.
    pub(super) fn closed() -> Self {
        Self::with(&[], |_| ())
    }

    pub(super) fn with(stand_in: &[&str], choose: impl FnOnce(&mut Setup)) -> Self {
        let portal = Portal::new();
        let first = portal.keys.lock().unwrap()[0].clone();
        let file = portal.file();
        let args = [&["--key-file", &file], stand_in].concat();
        let stand_in = StandIn::start(&args);
        let proxy = Proxy::prepare(&stand_in.target(), |setup| {
            setup.integration("webshop", EVERYDAY).set(&["upstream", "acme", "limit"], "1000000/s");
            setup.key.clone_from(&first);
            choose(setup);
        });
        Self { proxy, portal, first, _stand_in: stand_in }
    }

    /// A new key, which must be seen nowhere.
    pub(super) fn new_key(&mut self) -> String {
        let key = self.portal.make();
        self.proxy.plant("new key", &key);
        key
    }

    /// Runs `credential rotate acme` to its end.
    pub(super) fn rotate(&mut self, args: &[&str], key: &str) -> Ran {
        let all = [&["credential", "rotate", "acme"], args].concat();
        self.proxy.keygate(&all, key.as_bytes())
    }

    /// Starts it.
    pub(super) fn begin(&self, args: &[&str], key: &str) -> Rotating {
        let config = self.proxy.config().display().to_string();
        Rotating::start(&[&["--config", &config, "credential", "rotate", "acme"], args].concat(), key)
    }

    /// `[version, …]` of what the vault holds for `acme`, and nothing else.
    pub(super) fn version(&mut self) -> u64 {
        let listed = self.proxy.keygate(&["credential", "list", "--json"], b"").ok();
        serde_json::from_str::<serde_json::Value>(&listed).unwrap()[0]["version"].as_u64().unwrap()
    }

    /// Events of a rotation on record, and those of the gate's own about second keys.
    pub(super) fn events(&self, code: &str) -> Vec<String> {
        let gate = self.proxy.audit().of_kind("gate").into_iter().filter(|line| line.text("event.code") == code);
        gate.map(|line| line.text("event.detail").to_owned()).collect()
    }

    #[track_caller]
    pub(super) fn await_event(&self, code: &str, count: usize) -> String {
        until(&format!("event {count} of {code}"), || self.events(code).get(count - 1).cloned())
    }

    /// Reads orders so often that a share of 100 % shows enough of a new key.
    pub(super) fn reads(&self, count: usize) {
        let client = self.proxy.client("webshop");
        for _ in 0..count {
            client.get("/v2/orders").must_be(200);
        }
    }
}

/// The command while it runs.
pub(super) struct Rotating {
    command: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Rotating {
    pub(super) fn start(args: &[&str], key: &str) -> Self {
        let mut command = keygate(args);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that reads no key closes its input.
        let _ = child.stdin.take().unwrap().write_all(key.as_bytes());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (into, from) = (lines.clone(), BufReader::new(child.stderr.take().unwrap()));
        let reader = std::thread::spawn(move || {
            from.lines().map_while(Result::ok).for_each(|line| into.lock().unwrap().push(line));
        });
        Self { command: typed(&command), child, lines, reader: Some(reader) }
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Waits until it has said this.
    #[track_caller]
    pub(super) fn says(&mut self, what: &str) {
        until(&format!("`{what}` of {}", self.command), || {
            let said = self.text();
            let ended = self.child.try_wait().unwrap();
            assert!(said.contains(what) || ended.is_none(), "it ended without `{what}`:\n{said}");
            said.contains(what).then_some(())
        });
    }

    /// Its exit code, once it has ended.
    pub(super) fn over(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap())
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(super) fn ends(mut self, code: i32) -> String {
        let status = until("the end of the command", || self.child.try_wait().unwrap());
        self.reader.take().unwrap().join().unwrap();
        let said = self.text();
        assert_eq!(status.code(), Some(code), "{}\n{said}", self.command);
        said
    }
}

impl Drop for Rotating {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
