//! Whether files have changed, seen from outside: without reading them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What tells one state of a file from another; `None` when there is no file to be seen. A name that leads elsewhere now
/// (a link that was swapped) tells as well.
type Facts = Option<[i64; 6]>;

/// Looks at files again and again.
pub(super) struct Watch {
    files: Vec<PathBuf>,
    /// As they were when they were last read.
    read: Vec<Facts>,
    /// As they were at the last look.
    last: Vec<Facts>,
}

impl Watch {
    /// Begins with files that nobody has read yet: what changed since the gate read them at its start is found too.
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        Self { files, last: Vec::new(), read: Vec::new() }
    }

    /// Other files from now on. Those that are new here count as not read.
    pub(super) fn follow(&mut self, files: Vec<PathBuf>) {
        if files != self.files {
            *self = Self::new(files);
        }
    }

    /// Whether they have changed since they were read and have come to rest: at two looks in a row they are the same. An
    /// editor's half-written file, or one half of a pair, is not taken for the whole.
    pub(super) fn changed(&mut self) -> bool {
        let now = look(&self.files);
        let rests = now == self.last;
        self.last = now;
        rests && self.last != self.read
    }

    /// They are about to be read. What changes from here on is another change.
    pub(super) fn about_to_read(&mut self) {
        self.read = look(&self.files);
    }
}

fn look(files: &[PathBuf]) -> Vec<Facts> {
    let facts = |path: &PathBuf| {
        let facts = fs::metadata(path).ok()?;
        let (device, inode, size) = (facts.dev(), facts.ino(), facts.size());
        let whole = |n: u64| i64::from_ne_bytes(n.to_ne_bytes());
        let changed = facts.ctime().wrapping_mul(1_000_000_000).wrapping_add(facts.ctime_nsec());
        let written = facts.mtime().wrapping_mul(1_000_000_000).wrapping_add(facts.mtime_nsec());
        Some([whole(device), whole(inode), whole(size), written, changed, i64::from(facts.mode())])
    };
    files.iter().map(facts).collect()
}
