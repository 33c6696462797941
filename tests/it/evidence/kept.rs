//! A gate that has stopped, what its client kept, and what two verifiers say of its log.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::command::{Ran, run, venv_python};
use crate::harness::setup::Setup;
use crate::harness::{Merchant, Proxy, Request, have};

/// The verifier that was written from the specification alone.
const SECOND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify/verify.py");

/// The second verifier, when its Python has what it needs.
pub fn second(args: &[&str]) -> Option<Ran> {
    let python = venv_python().unwrap_or_else(|| "python3".to_owned());
    let mut command = Command::new(&python);
    command.args(["-c", "import cryptography, zstandard"]);
    let there = run(command, b"").code == Some(0);
    have("Python's `cryptography` and `zstandard`", there).then(|| {
        let mut command = Command::new(python);
        command.arg("-B").arg(SECOND).args(args);
        run(command, b"")
    })
}

/// A copy of a folder.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// A gate that stopped after some calls, with what its client kept.
pub struct Kept {
    /// The gate; it has stopped.
    pub proxy: Proxy,
    _merchant: Merchant,
    /// The receipts of its replies.
    pub receipts: Vec<String>,
    /// The checkpoint that somebody noted half-way.
    pub noted: PathBuf,
    /// That log.
    pub earlier: PathBuf,
    /// Room for copies.
    pub scratch: tempfile::TempDir,
}

impl Kept {
    /// Makes calls, stops it, makes more, stops it. The log is encrypted, as `init` has it.
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    /// The same with a log that is not encrypted.
    pub fn plain() -> Self {
        Self::with(|setup| {
            setup.set(&["audit", "recipients"], toml_edit::Array::new());
        })
    }

    fn with(more: impl FnOnce(&mut Setup)) -> Self {
        let merchant = Merchant::content();
        let mut proxy = Proxy::start(&merchant.target(), |setup| {
            setup.integration("webshop", crate::harness::proxy::EVERYDAY);
            setup.set(&["audit", "segment_size"], "64KiB");
            more(setup);
        });
        let scratch = tempfile::tempdir().unwrap();
        let call = |proxy: &Proxy, count: usize| -> Vec<String> {
            let mut connection = proxy.client("webshop").connect();
            let request = Request::new("GET", "/api/v2/orders").header("keygate-receipt", "signed");
            let replies = (0..count).map(|_| connection.try_request(&request).unwrap());
            replies.map(|reply| reply.must_be(200).header("keygate-receipt").to_owned()).collect()
        };
        let mut receipts = call(&proxy, 400);
        proxy.stop();
        let (noted, earlier) = (scratch.path().join("noted"), scratch.path().join("earlier"));
        fs::copy(proxy.audit().directory().join("checkpoint"), &noted).unwrap();
        copy(proxy.audit().directory(), &earlier);
        proxy.run();
        receipts.extend(call(&proxy, 200));
        proxy.stop();
        fs::write(scratch.path().join("receipts"), receipts.join("\n")).unwrap();
        // The gate seals finished segments when it comes to it; here they are all lines, until a test wants them sealed.
        keygate::audit::unseal_all(proxy.audit().directory()).unwrap();
        Self { proxy, _merchant: merchant, receipts, noted, earlier, scratch }
    }

    /// The key that its checkpoints are checked with.
    pub fn key(&self) -> PathBuf {
        self.proxy.directory().join("audit-signing.pub")
    }

    /// Both verifiers on one folder, held to what was kept elsewhere or not. They must agree.
    pub fn verdict(&mut self, log: &Path, held: bool) -> Option<Verdict> {
        let text = |path: &Path| path.display().to_string();
        let (log, key, noted) = (text(log), text(&self.key()), text(&self.noted));
        let receipts = text(&self.scratch.path().join("receipts"));
        let more = ["--checkpoint", &noted, "--receipts", &receipts];
        let more = if held { &more[..] } else { &[] };
        let own = self
            .proxy
            .keygate(&[&["audit", "verify", "--json", "--directory", &log, "--key", &key], more].concat(), b"");
        let theirs = second(&[&["log", &log, "--key", &key], more].concat())?;
        let (own, theirs) = (Verdict::of(&own), Verdict::of(&theirs));
        assert_eq!(own, theirs, "the two verifiers disagree on {log}");
        Some(own)
    }
}

/// What both verifiers say.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Exit code.
    pub code: Option<i32>,
    /// Nothing was changed.
    pub intact: bool,
    /// Nothing is missing.
    pub complete: bool,
    /// Records that nobody has signed for.
    pub unsigned: u64,
    /// The first record in doubt.
    pub seq: Option<u64>,
}

impl Verdict {
    fn of(ran: &Ran) -> Self {
        let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran}"));
        let seq = report.get("seq").unwrap_or(&report["first_bad"]["seq"]).as_u64();
        let intact = report["intact"].as_bool().unwrap();
        let unsigned = if intact { report["unsigned"].as_u64().unwrap() } else { 0 };
        Self { code: ran.code, intact, complete: report["complete"].as_bool().unwrap(), unsigned, seq }
    }
}
