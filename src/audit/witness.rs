//! Vouching for another gate's log (C2SP tlog-cosignature): a witness signs a checkpoint only when it continues the one
//! that it signed before.

use std::io;
use std::path::Path;

use super::tree::merkle::Hashes;
use super::tree::note::{Checkpoint, SigningKey, VerifierKey};
use super::tree::store::CHECKPOINT;
use super::tree::tiles::Stored;

/// Why a checkpoint is not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It, or the one that was remembered, is none of this log.
    #[error("{0}: {1}")]
    NotThisLog(&'static str, &'static str),
    /// It or its tiles cannot be read.
    #[error("the log cannot be read")]
    Unreadable(#[source] io::Error),
    /// The log has become smaller.
    #[error("the log was cut: it had {before} records when it was last cosigned, and has {now} now")]
    Smaller {
        /// Then.
        before: u64,
        /// Now.
        now: u64,
    },
    /// The log has another history.
    #[error("the log was written anew: its first {0} records are not those that were cosigned")]
    Forked(u64),
    /// The tiles are not those of the checkpoint.
    #[error("the tiles do not hash to the checkpoint")]
    OtherTiles,
}

/// The log's newest checkpoint with the witness's signature. `seen` is what the last call returned; none at first.
pub fn cosign(
    witness: &SigningKey,
    log_key: &VerifierKey,
    log: &Path,
    seen: Option<&str>,
    now: u64,
) -> Result<String, Refused> {
    let open = |what, note: &str| Checkpoint::open(note, log_key).map_err(|why| Refused::NotThisLog(what, why));
    let note = std::fs::read_to_string(log.join(CHECKPOINT)).map_err(Refused::Unreadable)?;
    let new = open("the checkpoint", &note)?;
    let root = |size| match size {
        0 => Ok(super::tree::merkle::sha256(b"")),
        size => Stored { directory: log, size: new.size }.range(0, size).map_err(Refused::Unreadable),
    };
    if root(new.size)? != new.root {
        return Err(Refused::OtherTiles);
    }
    if let Some(seen) = seen {
        let old = open("the checkpoint that is remembered", seen)?;
        if new.size < old.size {
            return Err(Refused::Smaller { before: old.size, now: new.size });
        }
        if root(old.size)? != old.root {
            return Err(Refused::Forked(old.size));
        }
    }
    Ok(witness.cosigned(&note, &new.text(), now))
}
