//! Files that must be private or must never be half written: how they are checked, read, made and replaced.
//!
//! A replaced file is written beside the old one, synced, renamed over it, and the folder is synced: after a power cut
//! there is the old file or the new one, never a mixture (`fsync(2)` on why the folder needs its own).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::VaultError;

/// Mode of a file that its owner alone reads and writes.
pub const PRIVATE: u32 = 0o600;
/// Mode of a file that everybody may read: certificates.
pub const PUBLIC: u32 = 0o644;

/// Reads a file that nobody but us may be able to read: mode 0600 or 0400, owned by the running user. The check is made
/// on the open file, not on its name.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let (file, facts) = open(path)?;
    let (mode, owner) = (facts.mode() & 0o7777, facts.uid());
    if mode & 0o177 != 0 {
        return Err(VaultError::Exposed { path: path.display().to_string(), mode });
    }
    if owner != rustix::process::geteuid().as_raw() {
        return Err(VaultError::Foreign { path: path.display().to_string(), owner });
    }
    contents(file, &facts, path)
}

/// Reads a file that somebody else puts there for us, and tells when it was last changed. systemd and Kubernetes leave
/// such files to root and let a group read them: that is enough, as long as nobody else can read or change them.
pub fn read_mounted(path: &Path) -> Result<(Zeroizing<Vec<u8>>, SystemTime), VaultError> {
    let (file, facts) = open(path)?;
    let (mode, owner) = (facts.mode() & 0o7777, facts.uid());
    if mode & 0o027 != 0 {
        return Err(VaultError::Exposed { path: path.display().to_string(), mode });
    }
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(VaultError::Foreign { path: path.display().to_string(), owner });
    }
    let changed = facts.modified().map_err(unreadable(path))?;
    Ok((contents(file, &facts, path)?, changed))
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> VaultError {
    move |source| VaultError::Unreadable { place: path.display().to_string(), source }
}

/// The open file and what is known of it; what is asked is asked of this one, not of its name.
fn open(path: &Path) -> Result<(File, fs::Metadata), VaultError> {
    let file = File::open(path).map_err(unreadable(path))?;
    let facts = file.metadata().map_err(unreadable(path))?;
    if !facts.is_file() {
        return Err(unreadable(path)(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    Ok((file, facts))
}

fn contents(mut file: File, facts: &fs::Metadata, path: &Path) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    // Room for one byte more than there should be: a buffer that never grows leaves no copies behind.
    let room = usize::try_from(facts.len()).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.read_to_end(&mut bytes).map_err(unreadable(path))?;
    Ok(bytes)
}

/// Makes a new file; fails when there is one already.
pub fn create(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    write_new(path, contents, mode, None)?;
    sync_folder(path)
}

/// Replaces a file as a whole, keeping its mode and owner; makes a private one when there is none. A symbolic link stays
/// a link. The caller holds [`lock_folder`].
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let (path, facts) = match fs::canonicalize(path) {
        Ok(real) => (real.clone(), Some(fs::metadata(&real)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_path_buf(), None),
        Err(error) => return Err(error),
    };
    let beside = beside(&path);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mode = facts.as_ref().map_or(PRIVATE, |facts| facts.mode() & 0o7777);
    write_new(&beside, contents, mode, facts.map(|facts| (facts.uid(), facts.gid())))
        .and_then(|()| fs::rename(&beside, &path))
        .inspect_err(|_| drop(fs::remove_file(&beside)))?;
    sync_folder(&path)
}

/// Keeps other writers of the same folder out for as long as the returned file lives; waits for them.
pub fn lock_folder(path: &Path) -> io::Result<File> {
    let folder = File::open(folder(path))?;
    folder.lock()?;
    Ok(folder)
}

fn write_new(path: &Path, contents: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path)?;
    if let Some((uid, gid)) =
        owner.filter(|(uid, gid)| file.metadata().is_ok_and(|f| (f.uid(), f.gid()) != (*uid, *gid)))
    {
        fchown(&file, Some(uid), Some(gid))?;
    }
    file.write_all(contents)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `.NAME.new` in the same folder: a rename never crosses file systems, and what a crash left is found and replaced.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}
