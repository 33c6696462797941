//! A folder with one file for each credential: what systemd's `LoadCredential=` and a Kubernetes secret mount make.
//!
//! The file `acme` holds the credential `acme` as a [`Document`]. Each fetch follows the name anew, so that a folder that
//! was swapped by a symbolic link, as Kubernetes does it, is noticed.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use super::document::Document;
use super::{Credential, Vault, VaultError, is_plain, private_file};

/// Credentials in a folder.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The folder.
    pub directory: PathBuf,
}

impl Vault for Directory {
    fn fetch(&self, id: &str) -> Result<Credential, VaultError> {
        let path = self.directory.join(id);
        let place = path.display().to_string();
        if !is_plain(id) {
            return Err(self.missing(id));
        }
        let (json, changed) = match private_file::read_mounted(&path) {
            Err(VaultError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                // Without the folder nothing is known of what it holds.
                self.names()?;
                return Err(self.missing(id));
            }
            read => read?,
        };
        let document = Document::read(&json, &place)?;
        let version = document.version.unwrap_or_else(|| {
            let since = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        });
        document.into_credential(id, version, &place)
    }
}

impl Directory {
    fn missing(&self, id: &str) -> VaultError {
        VaultError::Missing { id: id.to_owned(), known: self.names().unwrap_or_default() }
    }

    /// The names in it; hidden ones are the mount's own.
    fn names(&self) -> Result<Vec<String>, VaultError> {
        let unreadable = |source| VaultError::Unreadable { place: self.directory.display().to_string(), source };
        let entries = fs::read_dir(&self.directory).map_err(unreadable)?;
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        Ok(names)
    }
}
