//! Who may read an encrypted log: age recipients, to whom its key files are encrypted, and the identities that open them.
//!
//! The gate has recipients alone. It writes, and goes on after a crash, without being able to read what it wrote.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use age::secrecy::ExposeSecret;
use age::x25519;
use age::{Decryptor, Encryptor};
use zeroize::Zeroizing;

use crate::allocator;
use crate::vault::{VaultError, private_file};

/// The recipients of a running gate's key files. They can be exchanged while it runs.
#[derive(Default)]
pub struct Recipients {
    list: Mutex<Arc<[x25519::Recipient]>>,
    /// Counts what ends a key file before its time.
    turn: AtomicU64,
}

impl Recipients {
    /// From their texts, `age1…`. None of them: key files, and records, are not encrypted.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        Ok(Self { list: Mutex::new(read(texts)?), turn: AtomicU64::new(0) })
    }

    /// Others from the next record on, with a key file of its own.
    pub fn replace(&self, texts: &[String]) -> Result<(), String> {
        let list = read(texts)?;
        *self.list.lock().unwrap_or_else(PoisonError::into_inner) = list;
        self.renew();
        Ok(())
    }

    /// The next record begins a key file: the keys of the one before leave the gate's memory.
    pub fn renew(&self) {
        self.turn.fetch_add(1, Ordering::AcqRel);
    }

    /// Changes whenever a key file is to be begun.
    pub(super) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Acquire)
    }

    /// Those of now.
    pub(super) fn now(&self) -> Arc<[x25519::Recipient]> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(texts: &[String]) -> Result<Arc<[x25519::Recipient]>, String> {
    let one =
        |text: &String| x25519::Recipient::from_str(text).map_err(|why| format!("`{text}` is no recipient: {why}"));
    texts.iter().map(one).collect()
}

/// Encrypts to all of them.
pub(super) fn encrypt(recipients: &[x25519::Recipient], text: &[u8]) -> io::Result<Vec<u8>> {
    // The text is keys, and the log's thread is spared from wiping.
    allocator::wiping(|| {
        let all = recipients.iter().map(|one| one as &dyn age::Recipient);
        let mut sealed = Vec::new();
        let mut writer = Encryptor::with_recipients(all).map_err(io::Error::other)?.wrap_output(&mut sealed)?;
        writer.write_all(text)?;
        writer.finish()?;
        Ok(sealed)
    })
}

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It cannot be read, or others could.
    #[error(transparent)]
    File(#[from] VaultError),
    /// There is none in the file.
    #[error("there is no age identity in `{0}`: a line that begins with AGE-SECRET-KEY-1")]
    None(PathBuf),
}

/// What opens an encrypted log: the identities of one file.
#[derive(Clone)]
pub struct Identity(Arc<[x25519::Identity]>);

impl Identity {
    /// Reads a file as `age-keygen` and `init` write it. Nobody but its owner may be able to read it.
    pub fn read(path: &Path) -> Result<Self, IdentityError> {
        let text = private_file::read(path)?;
        let text = std::str::from_utf8(&text).unwrap_or_default();
        Self::parse(text).ok_or_else(|| IdentityError::None(path.to_owned()))
    }

    /// The identities of a text.
    pub fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let found: Option<Vec<_>> = lines.map(|line| x25519::Identity::from_str(line).ok()).collect();
        found.filter(|found| !found.is_empty()).map(|found| Self(found.into()))
    }

    /// A fresh one: the text of its file, and its recipient.
    pub fn generate() -> (Zeroizing<String>, String) {
        let identity = x25519::Identity::generate();
        let recipient = identity.to_public().to_string();
        let secret = identity.to_string();
        let text = format!(
            "# Opens the audit log that is encrypted to\n# public key: {recipient}\n{}\n",
            secret.expose_secret()
        );
        (Zeroizing::new(text), recipient)
    }

    /// What encrypts to it.
    pub(super) fn recipients(&self) -> Vec<x25519::Recipient> {
        self.0.iter().map(x25519::Identity::to_public).collect()
    }

    /// Decrypts a file. `None` when it is not encrypted to this identity, or was changed.
    pub(super) fn decrypt(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let all = self.0.iter().map(|one| one as &dyn age::Identity);
        let mut reader = Decryptor::new_buffered(sealed).ok()?.decrypt(all).ok()?;
        let mut text = Zeroizing::new(Vec::with_capacity(sealed.len()));
        reader.read_to_end(&mut text).ok()?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipient_can_read_and_nobody_else() {
        let (one, to_one) = Identity::generate();
        let (other, to_other) = Identity::generate();
        let (stranger, _) = Identity::generate();
        let recipients = Recipients::parse(&[to_one, to_other]).unwrap();
        let sealed = encrypt(&recipients.now(), b"keys").unwrap();
        for text in [&one, &other] {
            assert_eq!(&**Identity::parse(text).unwrap().decrypt(&sealed).unwrap(), b"keys");
        }
        assert!(Identity::parse(&stranger).unwrap().decrypt(&sealed).is_none());
        assert!(Identity::parse(&[&one[..], &stranger[..]].concat()).unwrap().decrypt(&sealed).is_some());
    }

    #[test]
    fn what_is_no_recipient_is_told_by_name() {
        let why = Recipients::parse(&["age1nonsense".to_owned()]).err().unwrap();
        assert!(why.contains("age1nonsense"), "{why}");
        assert!(Identity::parse("# nothing here\n").is_none());
    }
}
