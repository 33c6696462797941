//! Hand-over without eyes: a real key that comes in sealed to an identity made for it alone, a scoped key that goes out
//! sealed to its user's. Nobody in between sees either.
//!
//! The identity of an open request lies in the vault, encrypted like the keys. Taking the sealed key over and forgetting the
//! identity is one replacement of the vault's file, so a sealed key is accepted exactly once, whatever crashes.

use std::io::{self, Write};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::ExposeSecret;
use age::x25519::{Identity, Recipient};
use age::{Decryptor, Encryptor};
use jiff::Timestamp;

use super::age_file::Key;
use super::age_store::now;
use super::arena::Locked;
use super::{AgeStore, Secret, StoreError, StoredCredential, Terms};

/// A sealed key is larger than this only if it is none, bytes.
const LONGEST_SEALED: usize = 64 * 1024;

/// An open request for a key, in the vault's plaintext.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    identity: Key,
    bound_to: String,
    /// Where the key is exchanged for a token, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_url: Option<String>,
    since: Timestamp,
    until: Timestamp,
}

/// What may be known of an open request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// The credential's name.
    pub id: String,
    /// The only base URL that the key will be sent to.
    pub bound_to: String,
    /// Until when a sealed key is taken.
    pub until: Timestamp,
}

/// Why a sealed key is not taken. Says nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// Never asked for, or taken already.
    #[error("there is no open request for `{0}`")]
    NoRequest(String),
    /// Its time is over.
    #[error("the request for `{id}` ended on {until}")]
    Over {
        /// The credential's name.
        id: String,
        /// When it ended.
        until: Timestamp,
    },
    /// It was sealed to another recipient, or it is no age file at all, or damaged.
    #[error("this is no age file sealed to the recipient of the open request for `{0}`")]
    NotSealed(String),
    /// Not an age recipient.
    #[error("this is no age recipient")]
    Recipient,
    /// Sealing failed.
    #[error("cannot seal the key")]
    Seal(#[source] io::Error),
}

impl AgeStore {
    /// Opens a request for a key: makes an identity for it alone, and hands its recipient out. A former request of this name
    /// is closed by it.
    pub fn request(&self, id: &str, terms: &Terms, until: Timestamp) -> Result<String, StoreError> {
        let identity = Identity::generate();
        let text = identity.to_string();
        self.change(|document| {
            let identity = Key(Locked::copy_of(text.expose_secret().as_bytes()));
            let (bound_to, token_url) = (terms.bound_to.clone(), terms.token_url.clone());
            let request = Request { identity, bound_to, token_url, since: now(), until };
            document.requests.insert(id.to_owned(), request);
            Ok(())
        })?;
        Ok(identity.to_public().to_string())
    }

    /// Requests that are open, those among them whose time is over too.
    pub fn requests(&self) -> Result<Vec<OpenRequest>, StoreError> {
        let open = self.open_document()?.requests;
        let facts =
            |(id, request): (String, Request)| OpenRequest { id, bound_to: request.bound_to, until: request.until };
        Ok(open.into_iter().map(facts).collect())
    }

    /// Takes a sealed key over and closes its request, both or neither.
    pub fn put_sealed(&self, id: &str, sealed: &[u8], at: Timestamp) -> Result<StoredCredential, StoreError> {
        self.change(|document| {
            let request = document.requests.remove(id).ok_or_else(|| HandOverError::NoRequest(id.to_owned()))?;
            if request.until <= at {
                return Err(HandOverError::Over { id: id.to_owned(), until: request.until }.into());
            }
            let secret = unseal(&request.identity, sealed).ok_or_else(|| HandOverError::NotSealed(id.to_owned()))?;
            let Request { bound_to, token_url, .. } = request;
            document.put(id, Terms { bound_to, token_url, ..Terms::default() }, &secret)
        })
    }
}

/// Opens it; one trailing newline is cut, as of a key on standard input.
fn unseal(identity: &Key, sealed: &[u8]) -> Option<Secret> {
    let identity: Identity = std::str::from_utf8(&identity.0).ok()?.parse().ok()?;
    // Armoured or not: age's own reader sees which.
    let file = Decryptor::new(ArmoredReader::new(sealed)).ok()?;
    let mut opened = file.decrypt(std::iter::once(&identity as &dyn age::Identity)).ok()?;
    let mut plain = Locked::with_room(sealed.len());
    plain.read_all(&mut opened, LONGEST_SEALED).ok()?;
    let key = plain.strip_suffix(b"\n").unwrap_or(&plain);
    let key = key.strip_suffix(b"\r").unwrap_or(key);
    Some(Secret::from_locked(Locked::copy_of(key)))
}

/// An age recipient: `age1…`.
pub fn recipient(text: &str) -> Result<Recipient, HandOverError> {
    text.parse().map_err(|_| HandOverError::Recipient)
}

/// Seals a text to a recipient; the result is armoured, so that it can be mailed.
pub fn seal_to(recipient: &Recipient, text: &[u8]) -> Result<Vec<u8>, HandOverError> {
    let seal = || -> io::Result<Vec<u8>> {
        let mut sealed = Vec::new();
        let encryptor =
            Encryptor::with_recipients(std::iter::once(recipient as &dyn age::Recipient)).map_err(io::Error::other)?;
        let mut writer = encryptor.wrap_output(ArmoredWriter::wrap_output(&mut sealed, Format::AsciiArmor)?)?;
        writer.write_all(text)?;
        writer.finish()?.finish()?;
        Ok(sealed)
    };
    seal().map_err(HandOverError::Seal)
}
