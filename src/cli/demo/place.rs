//! The demo's folder: taken by one demo at a time, recognised by its lock file, filled anew at each start.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::audit::Directory;
use crate::cli::init::{hash_key, signing_key};
use crate::cli::output::hex;
use crate::cli::pki;
use crate::cli::report::Failure;
use crate::cli::vault_failure::cannot_make;
use crate::vault::private_file::{self, PRIVATE, PUBLIC};
use crate::vault::{AgeFile, AgeStore, Secret, Terms};

use super::Keys;

/// Its presence marks a folder as a demo's; its lock, as a running demo's.
const LOCK: &str = "demo.lock";
const TEMPLATE: &str = include_str!("keygate.toml");

/// The folder, for as long as this demo runs.
pub struct Place {
    folder: PathBuf,
    _lock: File,
}

impl Place {
    /// Makes the folder, or takes over one that an earlier demo made.
    pub fn take(folder: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::new(format!("cannot use the folder `{}`", folder.display())).because(error);
        let elsewhere = "name another folder with `--dir DIR`";
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| failed(error).hint(elsewhere))?;
        let lock = folder.join(LOCK);
        if !lock.exists() && fs::read_dir(folder).map_err(failed)?.next().is_some() {
            return Err(Failure::new(format!("`{}` holds other things than a demo", folder.display())).hint(elsewhere));
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE)
            .open(&lock)
            .map_err(|error| failed(error).hint(elsewhere))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(folder, &lock)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(failed)?;
        // Printed commands must work from any folder.
        let folder = fs::canonicalize(folder).map_err(failed)?;
        Ok(Self { folder, _lock: file })
    }

    /// Fills it: what may stay stays (certificates, vault, log), what belongs to this start is written anew
    /// (configuration, keys). Hands back the configuration's text.
    pub fn write(&self, keys: &Keys, gate: SocketAddr, stand_in: u16, stand_in_ca: &str) -> Result<String, Failure> {
        self.certificates()?;
        self.replace("stand-in-ca.pem", stand_in_ca.as_bytes())?;
        if !self.path("audit-hash.key").exists() {
            self.replace("audit-hash.key", &*hash_key()?)?;
        }
        let base_url = format!("https://localhost:{stand_in}/api");
        let terms = Terms { bound_to: base_url.clone(), ..Terms::default() };
        self.vault()?.put("demo", terms, &Secret::new(keys.real.as_bytes().to_vec()))?;
        self.log()?;
        let text = TEMPLATE
            .replace("GATE", &gate.to_string())
            .replace("STAND_IN_PORT", &stand_in.to_string())
            .replace("WEBSHOP_SHA256", &hex(&keys.webshop.sha256()))
            .replace("PIM_SHA256", &hex(&keys.pim.sha256()));
        self.replace("keygate.toml", text.as_bytes())?;
        Ok(text)
    }

    /// The log and its key, which belong together.
    fn log(&self) -> Result<(), Failure> {
        let audit = self.audit();
        if audit.exists() && self.path("audit-signing.key").exists() {
            return Ok(());
        }
        let key = signing_key()?;
        self.replace("audit-signing.key", key.text().as_bytes())?;
        self.replace("audit-signing.pub", format!("{}\n", key.verifier().text()).as_bytes())?;
        // A log of an earlier version, or an interrupted start's.
        let _ = fs::remove_dir_all(&audit);
        Directory::init(&audit, key).map_err(|error| cannot_make(&audit, error))
    }

    fn certificates(&self) -> Result<(), Failure> {
        let files = ["ca.pem", "server.pem", "server.key"].map(|name| self.path(name));
        if files.iter().all(|file| file.exists()) {
            return Ok(());
        }
        let pki =
            pki::make(&[], pki::today()).map_err(|error| Failure::new("cannot make certificates").because(error))?;
        let contents =
            [(pki.ca.as_bytes(), PUBLIC), (pki.server.as_bytes(), PUBLIC), (pki.server_key.as_bytes(), PRIVATE)];
        for (file, (contents, mode)) in files.iter().zip(contents) {
            // What an interrupted start left does not belong together.
            let _ = fs::remove_file(file);
            private_file::create(file, contents, mode).map_err(|error| cannot_make(file, error))?;
        }
        Ok(())
    }

    fn vault(&self) -> Result<AgeStore, Failure> {
        let files = AgeFile { file: self.path("vault.age"), identity: self.path("vault-identity.txt") };
        if files.file.exists() && files.identity.exists() {
            return Ok(AgeStore::new(files));
        }
        let _ = (fs::remove_file(&files.file), fs::remove_file(&files.identity));
        Ok(AgeStore::create(files)?)
    }

    fn replace(&self, name: &str, contents: &[u8]) -> Result<(), Failure> {
        let path = self.path(name);
        private_file::replace(&path, contents).map_err(|error| cannot_make(&path, error))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.path("keygate.toml")
    }

    /// The CA that clients trust.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// The key that checkpoints of the log are checked with.
    pub fn verifier_key(&self) -> PathBuf {
        self.path("audit-signing.pub")
    }

    /// The audit folder.
    pub fn audit(&self) -> PathBuf {
        self.path("audit")
    }
}

fn taken(folder: &Path, lock: &Path) -> Failure {
    let pid = fs::read_to_string(lock).unwrap_or_default();
    let who = if pid.is_empty() { String::new() } else { format!(" (process {pid})") };
    Failure::new(format!("a demo runs in `{}` already{who}", folder.display()))
        .hint("stop it with Ctrl-C there, or start another with `--dir DIR --port N`")
}
