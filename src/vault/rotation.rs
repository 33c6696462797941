//! Rotation in the embedded vault: a second slot beside the key in use, and how far the play has come.
//!
//! Each step is one replacement of the vault's file, so it is there whole or not at all, and a command that was killed
//! finds on disk what comes next:
//!
//! | step | in use | second slot | phase |
//! | --- | --- | --- | --- |
//! | begin | old | new | canary |
//! | promote | new | old | drain |
//! | drained | new | old | certify |
//! | finish | new | | |
//! | take back, at any time | old | | |

use std::mem;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::age_file::{Document, Entry, Key};
use super::age_store::now;
use super::{AgeStore, Secret, StoreError, VaultError, check_value};

/// How far a rotation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The new key lies in the second slot; a share of the reads goes out with it.
    Canary,
    /// The new key is in use; calls under way may still use the old one, which lies in the second slot.
    Drain,
    /// Nothing uses the old key any more; the upstream is still to refuse it.
    Certify,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Canary => "canary",
            Self::Drain => "drain",
            Self::Certify => "certify",
        })
    }
}

/// A rotation as it stands in the plaintext.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Second {
    phase: Phase,
    began: Timestamp,
    /// Of a hundred reads that may be sent twice, so many go out with the new key.
    pub(super) share: u8,
    pub(super) version: u32,
    pub(super) since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<Timestamp>,
    pub(super) key: Key,
}

/// What may be known of a rotation without its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// How far it has come.
    pub phase: Phase,
    /// When it began.
    pub began: Timestamp,
    /// Percent of the reads that go out with the new key.
    pub share: u8,
    /// Version of the key that goes.
    pub old: u32,
    /// Version of the key that comes.
    pub new: u32,
}

/// What a new key is to be good for; everything else it has from the one before.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// Percent of the reads that go out with it at first.
    pub share: u8,
    /// From when on it is not used any more.
    pub until: Option<Timestamp>,
}

/// Why a step cannot be taken. Says nothing of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// The new key is the one in use.
    #[error("this is the key of `{0}` that is in use already")]
    SameKey(String),
    /// Another one is not over.
    #[error("a rotation of `{id}` to another key is under way, in phase `{phase}`")]
    UnderWay {
        /// The credential.
        id: String,
        /// How far it has come.
        phase: Phase,
    },
    /// There is none, or somebody else took the step.
    #[error("no rotation of `{id}` is in phase `{phase}`")]
    NotThere {
        /// The credential.
        id: String,
        /// Where it was to be.
        phase: Phase,
    },
}

impl Second {
    pub(super) fn is_former(&self) -> bool {
        self.phase != Phase::Canary
    }

    fn swap(&mut self, entry: &mut Entry) {
        mem::swap(&mut self.key, &mut entry.key);
        mem::swap(&mut self.version, &mut entry.version);
        mem::swap(&mut self.since, &mut entry.since);
        mem::swap(&mut self.until, &mut entry.until);
    }

    fn facts(&self, entry: &Entry) -> Rotation {
        let (old, new) = if self.is_former() { (self.version, entry.version) } else { (entry.version, self.version) };
        Rotation { phase: self.phase, began: self.began, share: self.share, old, new }
    }

    /// Bytes that it takes at most in the plaintext, besides names and numbers.
    pub(super) fn room(&self) -> usize {
        self.key.expose().len()
    }
}

impl Document {
    /// Fails while a rotation is under way: what changes the key must not leave its second slot behind.
    pub(super) fn no_rotation(&self, id: &str) -> Result<(), RotationError> {
        let under_way = |second: &Second| RotationError::UnderWay { id: id.to_owned(), phase: second.phase };
        self.rotations.get(id).map(under_way).map_or(Ok(()), Err)
    }

    /// The rotation that is under way, if it is one to this key.
    fn under_way(&self, id: &str, secret: &Secret) -> Result<Option<Rotation>, RotationError> {
        let Some((second, entry)) = self.rotations.get(id).zip(self.credentials.get(id)) else { return Ok(None) };
        let coming = if second.is_former() { &entry.key } else { &second.key };
        let other = RotationError::UnderWay { id: id.to_owned(), phase: second.phase };
        if coming.expose() == secret.expose() { Ok(Some(second.facts(entry))) } else { Err(other) }
    }

    /// A version was given out under this name and is not to be given out again.
    pub(super) fn spent(&mut self, id: &str, version: u32) {
        let last = self.retired.entry(id.to_owned()).or_default();
        *last = version.max(*last);
    }

    fn parts(&mut self, id: &str, phase: Phase) -> Result<(&mut Entry, &mut Second), StoreError> {
        let missing = || RotationError::NotThere { id: id.to_owned(), phase };
        let second = self.rotations.get_mut(id).filter(|second| second.phase == phase).ok_or_else(missing)?;
        let entry = self.credentials.get_mut(id).ok_or_else(missing)?;
        Ok((entry, second))
    }
}

impl AgeStore {
    /// The rotation of a credential that is under way.
    pub fn rotation(&self, id: &str) -> Result<Option<Rotation>, StoreError> {
        let document = self.open_document()?;
        Ok(document.rotations.get(id).zip(document.credentials.get(id)).map(|(second, entry)| second.facts(entry)))
    }

    /// Puts a new key into the second slot. With the key of the rotation that is under way, nothing changes: whoever was
    /// killed comes with the same key again.
    pub fn begin_rotation(&self, id: &str, terms: Begin, secret: &Secret) -> Result<Rotation, StoreError> {
        check_value(secret.expose())?;
        if let Some(rotation) = self.open_document()?.under_way(id, secret)? {
            return Ok(rotation);
        }
        self.change(|document| {
            if !document.credentials.contains_key(id) {
                let known = document.credentials.keys().cloned().collect();
                return Err(VaultError::Missing { id: id.to_owned(), known }.into());
            }
            if let Some(rotation) = document.under_way(id, secret)? {
                return Ok(rotation);
            }
            let spent = document.retired.get(id).copied().unwrap_or(0);
            let Some(entry) = document.credentials.get(id) else { return Err(same_key(id)) };
            if entry.key.expose() == secret.expose() {
                return Err(same_key(id));
            }
            let (began, Begin { share, until }) = (now(), terms);
            let version = entry.version.max(spent).saturating_add(1);
            let key = Key::of(secret);
            let second = Second { phase: Phase::Canary, began, share, version, since: began, until, key };
            let facts = second.facts(entry);
            document.rotations.insert(id.to_owned(), second);
            Ok(facts)
        })
    }

    /// The new key is used from now on, the old one lies in the second slot.
    pub fn promote(&self, id: &str) -> Result<Rotation, StoreError> {
        self.change(|document| {
            let (entry, second) = document.parts(id, Phase::Canary)?;
            second.swap(entry);
            second.phase = Phase::Drain;
            Ok(second.facts(entry))
        })
    }

    /// No call under way uses the old key any more.
    pub fn drained(&self, id: &str) -> Result<Rotation, StoreError> {
        self.change(|document| {
            let (entry, second) = document.parts(id, Phase::Drain)?;
            second.phase = Phase::Certify;
            Ok(second.facts(entry))
        })
    }

    /// The old key is dead: it is forgotten.
    pub fn finish_rotation(&self, id: &str) -> Result<(), StoreError> {
        self.change(|document| {
            document.parts(id, Phase::Certify)?;
            document.rotations.remove(id);
            Ok(())
        })
    }

    /// Back to the old key alone, from wherever it stands. The new key's version is spent.
    pub fn take_back(&self, id: &str) -> Result<Rotation, StoreError> {
        self.change(|document| {
            let missing = || RotationError::NotThere { id: id.to_owned(), phase: Phase::Canary };
            let mut second = document.rotations.remove(id).ok_or_else(missing)?;
            let entry = document.credentials.get_mut(id).ok_or_else(missing)?;
            let facts = second.facts(entry);
            if second.is_former() {
                second.swap(entry);
            }
            document.spent(id, facts.new);
            Ok(facts)
        })
    }
}

fn same_key(id: &str) -> StoreError {
    RotationError::SameKey(id.to_owned()).into()
}
