//! What the gate tells the commands about itself: a line of JSON in `audit/running`, locked for as long as the gate lives.
//!
//! So `integration revoke` can say whether a running gate refuses the keys by now. It lies in the log's folder because that
//! is the one folder that the gate may write to; the lock tells a gate that runs from one that was killed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// In the log's folder.
const NAME: &str = "running";

/// What is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The gate's process.
    pub pid: u32,
    /// SHA-256 of the configuration that is in force, hexadecimal.
    pub in_force: String,
    /// SHA-256 of the configuration that was refused, when the file as it stands is not in force.
    pub refused: Option<String>,
    /// Why it was refused.
    pub problems: Vec<String>,
}

/// The gate's end. The file is removed on drop.
pub struct Running {
    path: PathBuf,
    file: File,
}

impl Running {
    /// Begins to tell. The caller is the one gate that writes to this log.
    pub fn begin(directory: &Path, told: &Told) -> io::Result<Self> {
        let path = directory.join(NAME);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        // A command that looks holds it for a moment; no other gate does.
        file.lock()?;
        let running = Self { path, file };
        running.tell(told)?;
        Ok(running)
    }

    /// Tells something else.
    pub fn tell(&self, told: &Told) -> io::Result<()> {
        let mut line = serde_json::to_vec(told)?;
        line.push(b'\n');
        // The new line first, then the end of the file: whoever reads in between takes the first line only.
        self.file.write_all_at(&line, 0)?;
        self.file.set_len(line.len() as u64)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // When it cannot be removed, it is no longer locked, and that says the same.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The command's end: what the gate that writes to this log tells, `None` when none runs.
pub fn ask(directory: &Path) -> io::Result<Option<Told>> {
    let mut file = match File::open(directory.join(NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => return Ok(None),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let line = text.lines().next().unwrap_or_default();
    // Half a line: it is being written at this moment, by a gate that runs.
    Ok(Some(serde_json::from_str(line).unwrap_or_default()))
}
