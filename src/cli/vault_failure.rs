//! What to do when the vault does not do as asked.

use std::path::Path;

use crate::config::{Config, VaultPlace};
use crate::vault::{AgeFile, AgeStore, RotationError, StoreError, VaultError};

use super::output::{meant, quoted};
use super::report::Failure;

/// The vault of a configuration, for commands that change it. Only the age file is ours to change.
pub fn store(config: &Config) -> Result<AgeStore, Failure> {
    age_file(config).map(AgeStore::new)
}

/// The age file of a configuration.
pub fn age_file(config: &Config) -> Result<AgeFile, Failure> {
    let hint = match &config.vault.place {
        VaultPlace::Age { file, identity } => {
            return Ok(AgeFile { file: file.clone(), identity: identity.clone() });
        }
        VaultPlace::OpenBao(bao) => format!(
            "put the key there with its own tool: `bao kv put -mount={} {}/NAME key=… bound_to=…`; docs/vaults.md shows the fields",
            bao.mount, bao.path
        ),
        VaultPlace::Directory { directory } => format!(
            "put a file with the credential's name into `{}`; docs/vaults.md shows its form",
            directory.display()
        ),
        VaultPlace::Exec(_) => "credentials are kept where the helper of `[vault] command` takes them from".to_owned(),
    };
    let failure = Failure::usage("this command works on an age file, and the vault of this configuration is none");
    Err(failure.hint(hint).hint("`keygate doctor` tells what the vault hands out for each upstream"))
}

/// The same, for a rotation: it happens where the key lies.
pub fn rotated_elsewhere(failure: Failure) -> Failure {
    failure.hint("rotate the key there: docs/rotation.md shows what the gate does with the new version")
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Vault(error) => error.into(),
            StoreError::HandOver(error) => error.into(),
            StoreError::Write { path, source } => {
                Self::new(format!("cannot write `{}`", path.display())).because(source)
            }
            StoreError::Rotation(why) => rotation_failure(&why),
            StoreError::Unfit(why) => Self::usage("this value cannot be an API key")
                .because(why)
                .hint("copy the key again; when it comes from a file, the file must hold the key alone"),
        }
    }
}

fn rotation_failure(why: &RotationError) -> Failure {
    let failure = Failure::new(why.to_string());
    match why {
        RotationError::SameKey(_) => failure.hint("make a new key at the merchant API and give that one"),
        RotationError::UnderWay { id, .. } => {
            let id = quoted(id);
            failure
                .hint(format!("`keygate credential rotate {id} --resume` goes on with it"))
                .hint(format!("`keygate credential rotate {id} --abort` goes back to the old key"))
        }
        RotationError::NotThere { id, .. } => {
            failure.hint(format!("`keygate credential rotate {}` begins one; it reads the new key", quoted(id)))
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
                    failure.hint(
                        "an age vault: `keygate init` makes the file and its identity, and a copy must hold both; any other: `[vault]` names \
                         it, and docs/vaults.md tells where it comes from",
                    )
                } else {
                    failure
                }
            }
            VaultError::Damaged { .. } => Self::new(what).hint(
                "an age vault: restore the file from a copy, or make a new one with `keygate init` in another folder; any other: \
                 docs/vaults.md shows the form of a credential",
            ),
            VaultError::Exposed { path, .. } => Self::new(what).hint(format!("run `chmod 600 {}`", quoted(&path))),
            VaultError::Foreign { path, .. } => Self::new(what).hint(format!(
                "run keygate as the user that owns it, or `chown` `{path}` to the one that runs keygate"
            )),
            VaultError::WrongIdentity { .. } => {
                Self::new(what).hint("`[vault]` must name the identity that was made together with this vault")
            }
            VaultError::Away { .. } => Self::new(what).hint(
                "see that it runs, is unsealed, and that `[vault] address` and `trust_roots` are right; `start_wait = \"60s\"` lets \
                 `run` wait for it",
            ),
            VaultError::Refused { .. } => {
                Self::new(what).hint("docs/vaults.md shows the login and the policy that the gate needs")
            }
            VaultError::NoToken { .. } => Self::new(what).hint(
                "the credential is `id:secret` (where a refresh token is exchanged, `id:secret:refresh-token`), with the profile's token endpoint as its `token_url`: `keygate credential put` sets it",
            ),
            VaultError::Helper { .. } => Self::new(what)
                .hint("run it by hand as the gate's user, with the credential's name as its last argument: `env -i HELPER … NAME`"),
        }
    }
}

/// A file that could not be made.
pub fn cannot_make(path: &Path, error: std::io::Error) -> Failure {
    Failure::new(format!("cannot make `{}`", path.display())).because(error)
}
