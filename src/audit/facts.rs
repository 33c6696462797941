//! What a file is at the moment: which one, how long, whether it may be written.
//!
//! Its times are not asked for. Whoever asks when a file was changed makes the system note the next change to the nanosecond, which is
//! a change of the file's own block on the disk, and another write with each sync.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Statx, StatxFlags, makedev, statx};

/// What tells a file from all others for as long as it is open: its device, and its number there.
pub(super) type Id = (u64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) id: Id,
    /// Bytes.
    pub(super) length: u64,
    pub(super) mode: u32,
}

const ASKED: StatxFlags = StatxFlags::INO.union(StatxFlags::SIZE).union(StatxFlags::MODE).union(StatxFlags::TYPE);

impl Facts {
    /// Of an open file.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        match statx(file, c"", AtFlags::EMPTY_PATH, ASKED) {
            // Not everywhere.
            Err(rustix::io::Errno::NOSYS) => file.metadata().map(Self::from),
            facts => Ok(facts?.into()),
        }
    }

    /// Of what a name leads to; a link is not followed.
    pub(super) fn named(path: &Path) -> io::Result<Self> {
        match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, ASKED) {
            Err(rustix::io::Errno::NOSYS) => path.symlink_metadata().map(Self::from),
            facts => Ok(facts?.into()),
        }
    }
}

impl From<Statx> for Facts {
    fn from(facts: Statx) -> Self {
        let device = makedev(facts.stx_dev_major, facts.stx_dev_minor);
        Self { id: (device, facts.stx_ino), length: facts.stx_size, mode: facts.stx_mode.into() }
    }
}

impl From<Metadata> for Facts {
    fn from(facts: Metadata) -> Self {
        Self { id: (facts.dev(), facts.ino()), length: facts.len(), mode: facts.mode() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn both_ways_to_ask_have_one_answer() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&path, "twelve bytes").unwrap();
        fs::write(&other, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let file = File::open(&path).unwrap();
        let facts = Facts::of(&file).unwrap();
        assert_eq!((facts.length, facts.mode & 0o777), (12, 0o640));
        assert_eq!(facts, Facts::from(file.metadata().unwrap()));
        assert_eq!(facts, Facts::named(&path).unwrap());
        assert_ne!(facts.id, Facts::named(&other).unwrap().id);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_ne!(Facts::named(&link).unwrap().id, facts.id);
        assert_eq!(Facts::named(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        // Without its name it is the same file.
        fs::remove_file(&path).unwrap();
        assert_eq!(Facts::of(&file).unwrap(), facts);
    }
}
