//! What an export holds: which records, the signed checkpoint that they are in, each file with its hash. While it is being
//! made, the same with how far it has come.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Format;
use crate::audit::tree::note::{Checkpoint, VerifierKey};

/// The form of the manifest.
const FORM: u32 = 1;

/// What an export holds. It has no time of its own: made again from the same log, it is the same byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The form of this manifest.
    pub manifest: u32,
    /// The version that made it.
    pub keygate: String,
    /// What was asked for.
    pub asked: Asked,
    /// The part of the log that was looked through.
    pub looked_through: Range,
    /// The records that stand in the files.
    pub records: Records,
    /// The checkpoint that all of them are in, a signed note.
    pub checkpoint: String,
    /// The files.
    pub files: Vec<File>,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Form of the files.
    pub format: Format,
    /// Records that began at this time or later.
    pub since: Option<Timestamp>,
    /// Records that began before this time.
    pub until: Option<Timestamp>,
    /// Records of these integrations; of all, and those of none, when empty.
    pub integrations: Vec<String>,
}

/// Numbers of records: from the first, up to and without the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first.
    pub from: u64,
    /// The one behind the last.
    pub below: u64,
}

/// The records that stand in the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// How many.
    pub count: u64,
    /// The first one's number.
    pub first: Option<u64>,
    /// The last one's number.
    pub last: Option<u64>,
    /// When the earliest began.
    pub earliest: Option<Timestamp>,
    /// When the latest began.
    pub latest: Option<Timestamp>,
    /// Records that were asked for and that the format has no form for.
    pub left_out: u64,
    /// Records in the range that were forgotten.
    pub forgotten: u64,
}

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name, seen from the manifest.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// How many records stand in it.
    pub records: u64,
}

impl Manifest {
    /// Of an export that begins.
    pub(super) fn begin(asked: Asked, looked_through: Range, checkpoint: String) -> Self {
        let keygate = env!("CARGO_PKG_VERSION").to_owned();
        let (records, files) = (Records::default(), Vec::new());
        Self { manifest: FORM, keygate, asked, looked_through, records, checkpoint, files }
    }

    /// Its text.
    pub fn text(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads it, and checks that its checkpoint is one that this key signed, and that the records are in it.
    pub fn open(text: &[u8], key: &VerifierKey) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(text).map_err(|error| format!("this is no manifest: {error}"))?;
        if manifest.manifest != FORM {
            return Err(format!("it is a manifest of form {}, and this version knows {FORM}", manifest.manifest));
        }
        let checkpoint =
            Checkpoint::open(&manifest.checkpoint, key).map_err(|what| format!("its checkpoint: {what}"))?;
        if manifest.looked_through.below > checkpoint.size {
            return Err("it has records that its checkpoint was not signed for".to_owned());
        }
        Ok(manifest)
    }
}

/// An export that is being made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    pub(super) manifest: Manifest,
    /// The record to go on with.
    pub(super) next: u64,
    /// Bytes of a single file that hold what came before.
    pub(super) length: u64,
}
