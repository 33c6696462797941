//! The embedded vault, writing side: what `keygate init` and `keygate credential` do with it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use age::Encryptor;
use age::secrecy::ExposeSecret;
use jiff::{Timestamp, Unit};
use zeroize::Zeroizing;

use super::age_file::{Document, Entry, Key};
use super::arena::Locked;
use super::rotation::RotationError;
use super::{AgeFile, HandOverError, Secret, VaultError, private_file};

/// Longest key in bytes; a header has to carry it.
const LONGEST: usize = 4096;

/// The embedded vault, for whoever may change it.
#[derive(Clone, Debug)]
pub struct AgeStore {
    vault: AgeFile,
}

/// What may be known of a credential without its key.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StoredCredential {
    /// Its name in the vault.
    pub id: String,
    /// Rises by one with each change.
    pub version: u32,
    /// The only base URL it may be sent to.
    pub bound_to: String,
    /// When this version was put there.
    pub since: Timestamp,
    /// What it may be used for; everything when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// From when on it is not used any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What a key is good for.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// The only base URL it may be sent to.
    pub bound_to: String,
    /// What it may be used for; everything when absent.
    pub scopes: Option<Vec<String>>,
    /// From when on it is not used any more.
    pub until: Option<Timestamp>,
    /// Where it is exchanged for a token, if it is.
    pub token_url: Option<String>,
}

/// Why the vault could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be read.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// It cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The value cannot be an API key.
    #[error("the value cannot be an API key")]
    Unfit(#[from] Unfit),
    /// A sealed key is not taken.
    #[error(transparent)]
    HandOver(#[from] HandOverError),
    /// A step of a rotation cannot be taken.
    #[error(transparent)]
    Rotation(#[from] RotationError),
}

/// Why a value cannot be an API key. Says nothing of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// So short that cutting it out of replies would cut out other things.
    #[error("it is shorter than 8 bytes")]
    Short,
    /// Longer than a header can carry.
    #[error("it is longer than {LONGEST} bytes")]
    Long,
    /// Not UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
    /// A line break, a tab, a NUL: a header cannot carry it.
    #[error("it has a line break or another control character in it")]
    Control,
    /// White space that a header loses or that came along by copying.
    #[error("it begins or ends with white space, or has white space other than plain spaces in it")]
    Space,
}

impl AgeStore {
    /// Works on an existing vault.
    pub fn new(vault: AgeFile) -> Self {
        Self { vault }
    }

    /// Makes a new identity (X25519, in the form `age-keygen` writes) and an empty vault for it, both mode 0600. Neither
    /// file may exist.
    pub fn create(vault: AgeFile) -> Result<Self, StoreError> {
        let identity = age::x25519::Identity::generate();
        let text = Zeroizing::new(format!(
            "# created: {}\n# public key: {}\n{}\n",
            now(),
            identity.to_public(),
            identity.to_string().expose_secret()
        ));
        private_file::create(&vault.identity, text.as_bytes(), private_file::PRIVATE)
            .map_err(write_error(&vault.identity))?;
        let sealed = seal(&Document::empty(), &[Box::new(identity.to_public())]);
        sealed
            .and_then(|sealed| private_file::create(&vault.file, &sealed, private_file::PRIVATE))
            .map_err(write_error(&vault.file))?;
        Ok(Self { vault })
    }

    /// What is there, by id; never the keys.
    pub fn list(&self) -> Result<Vec<StoredCredential>, StoreError> {
        let document = self.vault.open()?;
        Ok(document.credentials.into_iter().map(|(id, entry)| entry.facts(id)).collect())
    }

    /// Stores a key under `id`, bound to a base URL, in place of the one that may be there; its version is one more than
    /// the last that ever stood under this id. Without scopes it keeps those of the former one: a key that is replaced is
    /// not made good for more by leaving something out. Waits for other writers.
    pub fn put(&self, id: &str, terms: Terms, secret: &Secret) -> Result<StoredCredential, StoreError> {
        self.change(|document| document.put(id, terms, secret))
    }

    /// Removes a credential; its version is remembered, its key is not.
    pub fn remove(&self, id: &str) -> Result<StoredCredential, StoreError> {
        self.change(|document| {
            let Some(entry) = document.credentials.remove(id) else {
                let known = document.credentials.keys().cloned().collect();
                return Err(VaultError::Missing { id: id.to_owned(), known }.into());
            };
            let second = document.rotations.remove(id).map_or(0, |second| second.version);
            document.spent(id, entry.version.max(second));
            Ok(entry.facts(id.to_owned()))
        })
    }

    pub(super) fn open_document(&self) -> Result<Document, StoreError> {
        Ok(self.vault.open()?)
    }

    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut Document) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let file = &self.vault.file;
        let _lock = private_file::lock_folder(file)
            .map_err(|source| VaultError::Unreadable { place: file.display().to_string(), source })?;
        let mut document = self.vault.open()?;
        let done = change(&mut document)?;
        let recipients = self.vault.recipients()?;
        seal(&document, &recipients)
            .and_then(|sealed| private_file::replace(file, &sealed))
            .map_err(write_error(file))?;
        Ok(done)
    }
}

/// Checks that a value can be an API key: 8 to 4096 bytes of text that a header carries unchanged. Hands the text back.
pub fn check_value(value: &[u8]) -> Result<&str, Unfit> {
    let text = std::str::from_utf8(value).map_err(|_| Unfit::NotText)?;
    match text.len() {
        0 => return Err(Unfit::Empty),
        1..8 => return Err(Unfit::Short),
        8..=LONGEST => {}
        _ => return Err(Unfit::Long),
    }
    if text.chars().any(char::is_control) {
        return Err(Unfit::Control);
    }
    if text.trim() != text || text.chars().any(|c| c != ' ' && c.is_whitespace()) {
        return Err(Unfit::Space);
    }
    Ok(text)
}

impl Document {
    /// Puts a key under an id, in place of the one that may be there.
    pub(super) fn put(&mut self, id: &str, terms: Terms, secret: &Secret) -> Result<StoredCredential, StoreError> {
        let text = check_value(secret.expose())?;
        self.no_rotation(id)?;
        let former = self.credentials.get(id).and_then(|entry| entry.scopes.clone());
        let last = self.credentials.get(id).map(|entry| entry.version).max(self.retired.remove(id));
        let entry = Entry {
            version: last.unwrap_or(0).saturating_add(1),
            bound_to: terms.bound_to,
            since: now(),
            scopes: terms.scopes.or(former),
            until: terms.until,
            token_url: terms.token_url,
            key: Key(Locked::copy_of(text.as_bytes())),
        };
        let facts = entry.facts(id.to_owned());
        self.credentials.insert(id.to_owned(), entry);
        Ok(facts)
    }
}

impl Entry {
    /// Bytes of its scopes.
    fn room(&self) -> usize {
        self.scopes.iter().flatten().map(|scope| scope.len() + 4).sum()
    }

    fn facts(&self, id: String) -> StoredCredential {
        let (bound_to, scopes) = (self.bound_to.clone(), self.scopes.clone());
        StoredCredential { id, version: self.version, bound_to, since: self.since, scopes, until: self.until }
    }
}

/// Encrypts the document. The plaintext's buffer never grows, so no copy of it is left behind unwiped.
fn seal(document: &Document, recipients: &[Box<dyn age::Recipient + Send>]) -> io::Result<Vec<u8>> {
    let room: usize =
        document.credentials.iter().map(|(id, e)| 6 * (id.len() + e.bound_to.len() + e.key.0.len() + e.room())).sum();
    let room = room + document.rotations.iter().map(|(id, second)| 6 * (id.len() + second.room())).sum::<usize>();
    let entries = document.credentials.len()
        + document.retired.len()
        + 2 * document.requests.len()
        + document.rotations.len()
        + 1;
    let mut plain = Locked::with_room(room + entries * 512);
    serde_json::to_writer(&mut plain, document)?;
    let encryptor = Encryptor::with_recipients(recipients.iter().map(|recipient| &**recipient as &dyn age::Recipient))
        .map_err(io::Error::other)?;
    let mut sealed = Vec::with_capacity(plain.len() + 1024);
    let mut writer = encryptor.wrap_output(&mut sealed)?;
    writer.write_all(&plain)?;
    writer.finish()?;
    Ok(sealed)
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    |source| StoreError::Write { path, source }
}

/// The present time in whole seconds.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now)
}
