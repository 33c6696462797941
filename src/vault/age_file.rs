//! The embedded vault, reading side: an age file that `age -d -i identity vault.age` opens as well.
//!
//! The plaintext is JSON: `{"keygate_vault":1,"credentials":{"acme":{"version":1,"bound_to":"https://…","since":"…",
//! "key":"…"}}}`. Both files are read afresh on each fetch; nothing is kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::{DecryptError, Decryptor, IdentityFile};
use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::arena::Locked;
use super::handover::Request;
use super::rotation::Second;
use super::{Credential, Other, Role, Secret, Vault, VaultError, private_file};

/// The version of the plaintext's layout.
const LAYOUT: u32 = 1;

/// Credentials in an age-encrypted file.
#[derive(Clone, Debug)]
pub struct AgeFile {
    /// The encrypted file.
    pub file: PathBuf,
    /// The file with the age identity that opens it; mode 0600 or 0400, owned by the running user.
    pub identity: PathBuf,
}

impl Vault for AgeFile {
    fn fetch(&self, id: &str) -> Result<Credential, VaultError> {
        let mut document = self.open()?;
        let Some(entry) = document.credentials.remove(id) else {
            let known = document.credentials.into_keys().collect();
            return Err(VaultError::Missing { id: id.to_owned(), known });
        };
        let id: Arc<str> = Arc::from(id);
        let other = document.rotations.remove(&*id).map(|second| Box::new(entry.other(&id, second)));
        Ok(Credential {
            id,
            version: entry.version.into(),
            bound_to: entry.bound_to,
            scopes: entry.scopes,
            until: entry.until,
            token_url: entry.token_url,
            since: Some(entry.since),
            secret: entry.key.reveal(),
            other,
        })
    }
}

impl AgeFile {
    /// Decrypts the file as it is now.
    pub(super) fn open(&self) -> Result<Document, VaultError> {
        let sealed = fs::read(&self.file).map_err(|source| VaultError::Unreadable { place: self.place(), source })?;
        let plain = self.decrypt(&sealed)?;
        let document: Document = serde_json::from_slice(&plain).map_err(|error| self.damaged(explain_json(&error)))?;
        if document.keygate_vault != LAYOUT {
            return Err(self.damaged(format!("layout {} is not known", document.keygate_vault)));
        }
        Ok(document)
    }

    /// Whom the file is encrypted to when it is written again: the identity's own recipients.
    pub(super) fn recipients(&self) -> Result<Vec<Box<dyn age::Recipient + Send>>, VaultError> {
        read_identity(&self.identity)?
            .to_recipients()
            .map_err(|_| damaged(&self.identity, "no age identity in it".to_owned()))
    }

    fn decrypt(&self, sealed: &[u8]) -> Result<Locked, VaultError> {
        let identities = read_identity(&self.identity)?
            .into_identities()
            .map_err(|_| damaged(&self.identity, "no age identity in it".to_owned()))?;
        let mut opened = Decryptor::new_buffered(sealed)
            .and_then(|file| file.decrypt(identities.iter().map(|identity| &**identity as &dyn age::Identity)))
            .map_err(|error| self.cannot_decrypt(&error))?;
        let mut plain = Locked::with_room(sealed.len());
        plain
            .read_all(&mut opened, sealed.len())
            .map_err(|_| self.damaged("its content does not match its seal".to_owned()))?;
        Ok(plain)
    }

    fn cannot_decrypt(&self, error: &DecryptError) -> VaultError {
        match error {
            DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed => {
                VaultError::WrongIdentity { identity: self.identity.display().to_string(), place: self.place() }
            }
            DecryptError::UnknownFormat | DecryptError::InvalidHeader => self.damaged("not an age file".to_owned()),
            _ => self.damaged("its content does not match its seal".to_owned()),
        }
    }

    fn damaged(&self, why: String) -> VaultError {
        damaged(&self.file, why)
    }

    fn place(&self) -> String {
        self.file.display().to_string()
    }
}

fn damaged(path: &Path, why: String) -> VaultError {
    VaultError::Damaged { place: path.display().to_string(), why }
}

fn read_identity(path: &Path) -> Result<IdentityFile<age::NoCallbacks>, VaultError> {
    let text = private_file::read(path)?;
    IdentityFile::from_buffer(text.as_slice()).map_err(|_| damaged(path, "not an age identity file".to_owned()))
}

/// Where and what kind, never the text itself: serde quotes values it does not like.
fn explain_json(error: &serde_json::Error) -> String {
    let what = if error.is_data() { "unexpected content" } else { "no valid JSON" };
    format!("{what} in line {}, column {}", error.line(), error.column())
}

/// The plaintext.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    keygate_vault: u32,
    /// By id.
    pub(super) credentials: BTreeMap<String, Entry>,
    /// Last versions that were given out under a name and stand there no more: of removed credentials, and of keys that a
    /// rotation took back. Counting goes on from there, so that a version in a record means one key for ever.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) retired: BTreeMap<String, u32>,
    /// Keys that are asked for and have not come yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) requests: BTreeMap<String, Request>,
    /// Second slots, by id, while a key is being rotated.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) rotations: BTreeMap<String, Second>,
}

impl Document {
    pub(super) fn empty() -> Self {
        Self {
            keygate_vault: LAYOUT,
            credentials: BTreeMap::new(),
            retired: BTreeMap::new(),
            requests: BTreeMap::new(),
            rotations: BTreeMap::new(),
        }
    }
}

/// One credential in the plaintext.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) version: u32,
    pub(super) bound_to: String,
    pub(super) since: Timestamp,
    /// What it may be used for; everything when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scopes: Option<Vec<String>>,
    /// From when on it is not used any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<Timestamp>,
    /// Where it is exchanged for a token, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token_url: Option<String>,
    pub(super) key: Key,
}

impl Entry {
    /// The credential in the second slot: bound and scoped as this one.
    fn other(&self, id: &Arc<str>, second: Second) -> Other {
        let role = if second.is_former() { Role::Former } else { Role::Candidate { share: second.share } };
        let credential = Credential {
            id: id.clone(),
            version: second.version.into(),
            bound_to: self.bound_to.clone(),
            scopes: self.scopes.clone(),
            until: second.until,
            token_url: self.token_url.clone(),
            since: Some(second.since),
            secret: second.key.reveal(),
            other: None,
        };
        Other { role, credential }
    }
}

/// A key on its way between plaintext and [`Secret`], in locked memory.
pub(super) struct Key(pub(super) Locked);

impl Key {
    /// Of a secret that was found to be text.
    pub(super) fn of(secret: &Secret) -> Self {
        Self(Locked::copy_of(secret.expose()))
    }

    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn reveal(self) -> Secret {
        Secret::from_locked(self.0)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = std::str::from_utf8(&self.0).map_err(|_| serde::ser::Error::custom("a key that is no text"))?;
        serializer.serialize_str(text)
    }
}

impl<'de> Deserialize<'de> for Key {
    /// Undoes the escapes itself: the library would do it in a buffer that is not wiped.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let quoted = raw.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        quoted.and_then(unescaped).map(Key).ok_or_else(|| D::Error::custom("not a key"))
    }
}

/// A JSON string without its escapes. The text is known to be valid JSON.
fn unescaped(text: &str) -> Option<Locked> {
    let mut plain = Locked::with_room(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.extend(before.as_bytes());
        let kind = after.chars().next()?;
        rest = &after[1..];
        match kind {
            '"' | '\\' | '/' => plain.push(kind),
            'u' => {
                // What a key may hold fits one unit; a pair of surrogates is no control character but no key of ours either.
                plain.push(char::from_u32(u32::from_str_radix(rest.get(..4)?, 16).ok()?)?);
                rest = &rest[4..];
            }
            _ => return None,
        }
    }
    plain.extend(rest.as_bytes());
    Some(plain)
}
