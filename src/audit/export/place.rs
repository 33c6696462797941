//! Where an export goes: files that appear whole or not at all.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::vault::private_file;

/// Why a place does not take or give something.
pub type Trouble = Box<dyn Error + Send + Sync>;

/// A place for files. Names may have one folder in front: `day=2026-11-28/part-0.parquet`.
pub trait Place {
    /// Puts a file there, whole; a file of this name is replaced. On return it stays.
    fn put(&mut self, name: &str, contents: Vec<u8>) -> Result<(), Trouble>;

    /// What a file holds; none when there is none.
    fn get(&mut self, name: &str) -> Result<Option<Vec<u8>>, Trouble>;

    /// Takes a file away, if there is one.
    fn remove(&mut self, name: &str) -> Result<(), Trouble>;
}

/// A folder on this machine, used by one export at a time.
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes a folder that exists; fails when another export is under way in it.
    pub fn lock(path: &Path) -> io::Result<Self> {
        let lock = File::open(path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(io::Error::other("another export is under way there")),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Place for Folder {
    fn put(&mut self, name: &str, contents: Vec<u8>) -> Result<(), Trouble> {
        let path = self.path.join(name);
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            fs::create_dir(folder)?;
            File::open(&self.path)?.sync_all()?;
        }
        Ok(private_file::replace(&path, &contents)?)
    }

    fn get(&mut self, name: &str) -> Result<Option<Vec<u8>>, Trouble> {
        match fs::read(self.path.join(name)) {
            Ok(contents) => Ok(Some(contents)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn remove(&mut self, name: &str) -> Result<(), Trouble> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// One file that grows beside its place, and takes it when it is whole.
pub struct Single {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    length: u64,
}

impl Single {
    /// Goes on behind the first `length` bytes; what was written behind them is thrown away.
    pub fn open(path: &Path, length: u64) -> io::Result<Self> {
        let partial = partial(path);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&partial)?;
        if file.metadata()?.len() < length {
            return Err(io::Error::other(format!("`{}` is shorter than it was", partial.display())));
        }
        file.set_len(length)?;
        Ok(Self { path: path.to_owned(), partial, file, length })
    }

    /// Whether there is one that is not whole yet.
    pub fn is_begun(path: &Path) -> bool {
        partial(path).exists()
    }

    /// Appends; on return it stays. How long it is then.
    pub fn append(&mut self, contents: &[u8]) -> io::Result<u64> {
        self.file.write_all_at(contents, self.length)?;
        self.file.sync_data()?;
        self.length += contents.len() as u64;
        Ok(self.length)
    }

    /// Puts the whole file in its place.
    pub fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.partial, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Where a file grows.
fn partial(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.partial"))
}
