//! The API keys that are accepted. Those that stand in a file have a life of their own, as in a merchant's portal: a line
//! that is added is a key from the next call on, a line that is gone is none any more.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The keys.
pub struct Keys {
    fixed: Vec<String>,
    file: Option<Mutex<KeyFile>>,
}

struct KeyFile {
    path: PathBuf,
    /// Inode, time of change and length: what differs when the file was written or replaced.
    seen: Option<(u64, i64, i64, u64)>,
    /// Every key that ever stood there, so that a key keeps its place; and whether it still does.
    keys: Vec<(String, bool)>,
}

impl Keys {
    /// These, and what stands in a file, one a line.
    pub fn new(fixed: Vec<String>, file: Option<&Path>) -> io::Result<Self> {
        let file = file.map(|path| {
            let mut file = KeyFile { path: path.to_owned(), seen: None, keys: Vec::new() };
            file.look().map(|()| Mutex::new(file))
        });
        Ok(Self { fixed, file: file.transpose()? })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        let known = |file: &Mutex<KeyFile>| !file.lock().unwrap_or_else(PoisonError::into_inner).keys.is_empty();
        self.fixed.is_empty() && !self.file.as_ref().is_some_and(known)
    }

    /// A number for an accepted key, always the same for the same key.
    pub fn place(&self, key: &str) -> Option<usize> {
        if let Some(place) = self.fixed.iter().position(|known| known == key) {
            return Some(place);
        }
        let mut file = self.file.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        // A file that cannot be read at this moment is being replaced; what was read last holds.
        let _ = file.look();
        let place = file.keys.iter().position(|(known, valid)| *valid && known == key)?;
        Some(self.fixed.len() + place)
    }
}

impl KeyFile {
    /// Reads the file again if it is another one than before.
    fn look(&mut self) -> io::Result<()> {
        let facts = fs::metadata(&self.path)?;
        let now = Some((facts.ino(), facts.mtime(), facts.mtime_nsec(), facts.len()));
        if self.seen == now {
            return Ok(());
        }
        let text = fs::read_to_string(&self.path)?;
        self.seen = now;
        self.keys.iter_mut().for_each(|(_, valid)| *valid = false);
        for key in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match self.keys.iter_mut().find(|(known, _)| known == key) {
                Some((_, valid)) => *valid = true,
                None => self.keys.push((key.to_owned(), true)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_file_come_and_go_and_keep_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let write = |text: &str| {
            fs::write(folder.path().join("new"), text).unwrap();
            fs::rename(folder.path().join("new"), &path).unwrap();
        };
        write("one\ntwo\n\n");
        let keys = Keys::new(vec!["fixed".to_owned()], Some(&path)).unwrap();
        let places = |texts: [&str; 4]| texts.map(|key| keys.place(key));
        assert_eq!(places(["fixed", "one", "two", "three"]), [Some(0), Some(1), Some(2), None]);
        write("three\ntwo\n");
        assert_eq!(places(["fixed", "one", "two", "three"]), [Some(0), None, Some(2), Some(3)]);
        fs::remove_file(&path).unwrap();
        assert_eq!(keys.place("two"), Some(2));
        assert!(Keys::new(Vec::new(), Some(&path)).is_err());
    }
}
