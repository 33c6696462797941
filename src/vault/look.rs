//! Looking at the vault at once, because somebody asks: what the refresh thread is told, and what it tells then.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::ring::Held;
use super::trial::{Role, Standing};

/// What the refresh thread is told.
pub(super) enum Order {
    /// To look now. It answers when that is done and everything found is in use.
    Look(oneshot::Sender<Vec<Account>>),
    /// To end.
    Stop,
}

/// How a credential stands in a running gate. No part of a secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The credential's name.
    pub credential: Arc<str>,
    /// Version that the vault has in its first place; absent when it cannot be used.
    pub version: Option<u64>,
    /// Why it cannot be used.
    pub trouble: Option<String>,
    /// The second key, if there is one.
    pub second: Option<SecondKey>,
}

/// How a second key stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondKey {
    /// Its version.
    pub version: u64,
    /// Whether it is the one that is to come; else it is the former one.
    pub candidate: bool,
    /// Reads that could have gone out with either.
    pub reads: u64,
    /// Reads that the upstream answered to the candidate.
    pub good: u64,
    /// The version that was refused where the other was not.
    pub refused: Option<u64>,
    /// The status with which.
    pub status: Option<u16>,
    /// Whether a call under way may still use it.
    pub in_use: bool,
}

impl Account {
    /// Of one credential. `readers` says that a call may still be looking at an older ring.
    pub(super) fn of(upstream: &Arc<str>, held: &Held, readers: bool) -> Self {
        let version = held.slot.as_ref().ok().map(|prepared| prepared.credential.1);
        let second = held.twin.as_ref().map(|twin| {
            let (trial, own) = (&twin.trial, twin.prepared.credential.1);
            let refused = match trial.standing() {
                Standing::Open => None,
                Standing::TwinRefused => Some(own),
                Standing::TwinBetter => version,
            };
            SecondKey {
                version: own,
                candidate: matches!(trial.role(), Role::Candidate { .. }),
                reads: trial.reads(),
                good: trial.good(),
                refused,
                status: trial.refused().filter(|_| refused.is_some()),
                in_use: readers || twin.under_way() > 0,
            }
        });
        let trouble = held.slot.as_ref().err().map(ToString::to_string);
        Self { upstream: upstream.clone(), credential: held.id.clone(), version, trouble, second }
    }
}
