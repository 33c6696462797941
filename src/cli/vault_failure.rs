//! What to do when the vault does not do as asked.

use std::path::Path;

use crate::config::{Config, Vault};
use crate::vault::{AgeFile, AgeStore, StoreError, VaultError};

use super::output::{meant, quoted};
use super::report::Failure;

/// The vault of a configuration, for commands that change it.
pub fn store(config: &Config) -> AgeStore {
    let Vault::Age { file, identity, .. } = &config.vault;
    AgeStore::new(AgeFile { file: file.clone(), identity: identity.clone() })
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Vault(error) => error.into(),
            StoreError::HandOver(error) => error.into(),
            StoreError::Write { path, source } => {
                Self::new(format!("cannot write `{}`", path.display())).because(source)
            }
            StoreError::Unfit(why) => Self::usage("this value cannot be an API key")
                .because(why)
                .hint("copy the key again; when it comes from a file, the file must hold the key alone"),
        }
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        let what = error.to_string();
        match error {
            VaultError::Missing { id, known } => Self::new(what)
                .hint(meant(&id, known.iter().map(String::as_str)))
                .hint(format!("store it with `keygate credential put {}`", quoted(&id))),
            VaultError::Unreadable { source, .. } => {
                let failure = Self::new(what);
                let missing = source.kind() == std::io::ErrorKind::NotFound;
                let failure = failure.because(source);
                if missing {
                    failure.hint("`keygate init` makes the vault and its identity; a copy must hold both files")
                } else {
                    failure
                }
            }
            VaultError::Damaged { .. } => Self::new(what)
                .hint("restore the file from a copy, or make a new vault with `keygate init` in another folder"),
            VaultError::Exposed { path, .. } => Self::new(what).hint(format!("run `chmod 600 {}`", quoted(&path))),
            VaultError::Foreign { path, .. } => Self::new(what).hint(format!(
                "run keygate as the user that owns it, or `chown` `{path}` to the one that runs keygate"
            )),
            VaultError::WrongIdentity { .. } => {
                Self::new(what).hint("`[vault]` must name the identity that was made together with this vault")
            }
        }
    }
}

/// A file that could not be made.
pub fn cannot_make(path: &Path, error: std::io::Error) -> Failure {
    Failure::new(format!("cannot make `{}`", path.display())).because(error)
}
