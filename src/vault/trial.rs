//! Two keys of one credential at the same time, and what the upstream says to each.
//!
//! While a key is being rotated, and for a while after another vault handed out a new one, there are two: the one in use
//! and its twin. A read without a body may be sent with either, and when one is refused, once more with the other. That
//! is what settles it: *one key was refused where the other was not, on the same read*. From then on the better one alone
//! is used, for writes too, without anybody being asked. All of it is a few atomics; where there is no twin, it is nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::prepared::Prepared;

/// What the twin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The key that is to come: a share of the reads goes out with it, in percent.
    Candidate {
        /// Of a hundred reads so many.
        share: u8,
    },
    /// The key that was in use before: it answers for reads that the fresh one is refused.
    Former,
}

/// Which of the two is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// Nothing is settled: as the role says.
    Open = 0,
    /// The twin was refused where the key in use was not.
    TwinRefused = 1,
    /// The key in use was refused where the twin was not.
    TwinBetter = 2,
}

/// The second key of a credential.
#[derive(Clone)]
pub struct Twin {
    pub(super) prepared: Arc<Prepared>,
    pub(super) trial: Arc<Trial>,
}

/// What has been seen of the two.
pub struct Trial {
    role: Role,
    /// The vault knows nothing of this twin: it is a former version that is kept until then.
    until: Option<Instant>,
    standing: AtomicU8,
    reads: AtomicU64,
    good: AtomicU64,
    refused: AtomicU16,
}

impl Twin {
    /// A twin that the vault hands out.
    pub(super) fn new(prepared: Arc<Prepared>, role: Role) -> Self {
        Self { prepared, trial: Arc::new(Trial::new(role, None)) }
    }

    /// A former version, kept for a while.
    pub(super) fn passing(prepared: Arc<Prepared>, time: Duration) -> Self {
        let until = Instant::now() + time;
        Self { prepared, trial: Arc::new(Trial::new(Role::Former, Some(until))) }
    }

    /// Whether it is kept for a while only, and the vault knows nothing of it.
    pub(super) fn is_passing(&self) -> bool {
        self.trial.until.is_some()
    }

    /// Calls under way that use it. Every call holds the key's scrubber to its end, and nobody else does.
    pub(super) fn under_way(&self) -> usize {
        self.prepared.under_way()
    }
}

impl Trial {
    fn new(role: Role, until: Option<Instant>) -> Self {
        let (standing, refused) = (AtomicU8::new(0), AtomicU16::new(0));
        Self { role, until, standing, reads: AtomicU64::new(0), good: AtomicU64::new(0), refused }
    }

    /// What the twin is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Which of the two is used.
    pub fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            1 => Standing::TwinRefused,
            2 => Standing::TwinBetter,
            _ => Standing::Open,
        }
    }

    /// Until when it is kept, if not for as long as the vault says.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Reads that could have gone out with either.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Reads that the upstream answered to the candidate.
    pub fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// The status with which one was refused last, when something is settled.
    pub fn refused(&self) -> Option<u16> {
        Some(self.refused.load(Ordering::Relaxed)).filter(|status| *status > 0)
    }

    /// Whether the next call goes out with the twin. The share is spread evenly, beginning with the first.
    pub(super) fn takes_twin(&self, repeatable: bool) -> bool {
        match (self.standing(), self.role) {
            (Standing::TwinBetter, _) => true,
            (Standing::Open, Role::Candidate { share }) if repeatable => {
                let read = self.reads.fetch_add(1, Ordering::Relaxed);
                read.wrapping_mul(share.into()) % 100 < share.into()
            }
            _ => false,
        }
    }

    /// Whether a read that was answered like this is worth another try with the other key. A 403 may be about the call and
    /// not about the key; it is looked into for a candidate only, which is to prove itself.
    pub fn doubts(&self, by_twin: bool, status: StatusCode) -> bool {
        let candidate = by_twin && matches!(self.role, Role::Candidate { .. });
        status == StatusCode::UNAUTHORIZED || candidate && status == StatusCode::FORBIDDEN
    }

    /// A read was answered, and there is no doubt.
    pub fn answered(&self, by_twin: bool, status: StatusCode) {
        if by_twin && !status.is_server_error() {
            self.good.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A read that was refused to one key was sent with the other. Whether that settled something new.
    pub fn settle(&self, first_by_twin: bool, first: StatusCode, second: StatusCode) -> bool {
        if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&second) || second.is_server_error() {
            return false;
        }
        let standing = if first_by_twin { Standing::TwinRefused } else { Standing::TwinBetter };
        self.refused.store(first.as_u16(), Ordering::Relaxed);
        self.standing.swap(standing as u8, Ordering::Relaxed) != standing as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: StatusCode = StatusCode::OK;
    const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
    const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;

    fn candidate(share: u8) -> Trial {
        Trial::new(Role::Candidate { share }, None)
    }

    #[test]
    fn the_share_is_exact_evenly_spread_and_begins_with_the_first_read() {
        for share in 1..=100 {
            let trial = candidate(share);
            let taken: Vec<bool> = (0..1000).map(|_| trial.takes_twin(true)).collect();
            assert_eq!(taken.iter().filter(|twin| **twin).count(), usize::from(share) * 10, "{share}");
            assert!(taken[0] && (share > 33 || !taken[1]), "{share}");
        }
        let trial = candidate(100);
        assert!(!trial.takes_twin(false), "what cannot be sent twice never goes out with a candidate");
        assert_eq!(trial.reads(), 0);
    }

    #[test]
    fn only_a_read_that_the_other_key_is_answered_settles_something() {
        let trial = candidate(100);
        for second in [UNAUTHORIZED, FORBIDDEN, StatusCode::BAD_GATEWAY] {
            assert!(!trial.settle(true, UNAUTHORIZED, second));
            assert!(trial.takes_twin(true), "{second}");
        }
        assert!(trial.settle(true, FORBIDDEN, OK) && !trial.settle(true, UNAUTHORIZED, OK), "it is told once");
        assert_eq!((trial.standing(), trial.refused()), (Standing::TwinRefused, Some(401)));
        assert!(!trial.takes_twin(true));
        assert!(trial.settle(false, UNAUTHORIZED, StatusCode::NOT_FOUND), "the other way round, it is another matter");
        assert!(trial.takes_twin(false), "writes follow");
    }

    #[test]
    fn a_403_is_a_doubt_for_a_candidate_only() {
        let former = Trial::new(Role::Former, None);
        assert!(!former.takes_twin(true));
        for by_twin in [false, true] {
            assert!(former.doubts(by_twin, UNAUTHORIZED) && !former.doubts(by_twin, FORBIDDEN));
            assert!(candidate(1).doubts(by_twin, UNAUTHORIZED) && candidate(1).doubts(by_twin, FORBIDDEN) == by_twin);
            assert!(!candidate(1).doubts(by_twin, OK) && !candidate(1).doubts(by_twin, StatusCode::BAD_GATEWAY));
        }
    }
}
