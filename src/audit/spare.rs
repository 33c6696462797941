//! Descriptors saved up for worse times: what the log needs when the process has none left.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::descriptors::ran_out;

/// Enough for a file and its folder, and some that others may snatch.
const SPARE: usize = 6;

/// Descriptors that are let go of when there are none left and one is needed.
pub(super) struct Spare {
    directory: PathBuf,
    files: Vec<File>,
}

impl Spare {
    /// Saves up, with the log's folder as what is open.
    pub(super) fn new(directory: &Path) -> Self {
        let mut spare = Self { directory: directory.to_owned(), files: Vec::new() };
        spare.save_up();
        spare
    }

    /// Without them whoever needs one is no worse off than anybody else.
    fn save_up(&mut self) {
        while self.files.len() < SPARE {
            let Ok(one) = File::open(&self.directory) else { return };
            self.files.push(one);
        }
    }

    /// Does what needs a descriptor or two in the log's folder. Whenever there are none, one that was saved up is let go
    /// of; somebody else may snatch it, so there are more of them than are needed.
    pub(super) fn with<T>(&mut self, work: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
        loop {
            let done = work(&self.directory);
            match done {
                Err(error) if ran_out(&error) && !self.files.is_empty() => drop(self.files.pop()),
                done => {
                    self.save_up();
                    return done;
                }
            }
        }
    }
}
