//! The audit log: one record per call, durable before the reply ends.
//!
//! The route hands a [`Record`] to [`Log::append`] and gets a [`Pending`]; awaiting it yields a [`Receipt`] once the
//! record has outlived a power cut, or [`Closed`] when it could not be kept. One writer thread commits in groups:
//! everything that arrived while the last sync ran goes into the next one. Beside the records grows a Merkle tree over their
//! salted hashes, with a signed checkpoint a second: what `audit verify` and others hold the log to.

mod again;
mod batch;
mod bell;
mod boxed;
mod caretaker;
mod closed;
pub mod find;
pub mod export;
mod facts;
mod finished;
pub mod forget;
mod hash;
mod instant;
mod intents;
mod json;
mod keys;
mod line;
mod lines;
mod opener;
mod pace;
mod pack;
mod pen;
mod picked;
pub mod prove;
mod queue;
mod reader;
mod reads_only;
mod receipt;
mod receipt_text;
mod recent;
mod recipients;
mod record;
mod recover;
mod resume;
mod retain;
mod salt;
mod sealed;
mod segment;
mod spare;
mod tree;
mod verify;
pub mod witness;
mod writer;
#[cfg(test)]
mod tests;

use std::io;

pub use again::{Again, Reopen, Reserve};
pub use caretaker::{Caretaker, remove_old, seal_all, unseal_all};
pub use closed::{Closed, Trouble};
pub use finished::Finished;
pub use hash::{KeyedHash, ParamHasher};
pub use opener::{Opener, Shut};
pub use reader::{Follow, ReadError};
pub use receipt::{Pending, Receipt};
pub use receipt_text::{RECEIPT, RECEIPT_HEADER, push_number};
pub use recipients::{Identity, IdentityError, Recipients};
pub use record::{EnvelopeFacts, Event, Http, Kind, Outcome, Proof, Record, Steps, TlsFacts, TlsText, Verdict};
pub use recover::{Recovered, Torn, open, open_from};
pub use resume::Resume;
pub use retain::{Due, Retention};
pub use segment::{Directory, Disk, OpenError, SegmentFile};
pub use tree::note::{SigningKey, VerifierKey};
pub use verify::{Finding, Known, Missing, Report, verify, verify_bytes};
pub use writer::Log;

/// Where lines go. One writer thread owns it.
pub trait Sink: Send {
    /// Appends whole lines (each ends with `\n`). On return they outlive a power cut. After an error it is not called
    /// again: the lines of the failed call are not acknowledged and must not be found in the log later, nor be half there.
    fn append(&mut self, lines: &[u8]) -> io::Result<()>;

    /// Called once, after the last `append`, on an orderly stop.
    fn seal(&mut self) -> io::Result<()>;
}
