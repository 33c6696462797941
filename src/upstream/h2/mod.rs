//! HTTP/2 to an upstream without the HTTP/2 library ever having the real key: it keeps what it writes in buffers that it does
//! not wipe. It is handed a *blank* in the place of each secret, and behind it, right in front of TLS, the secret takes the
//! blank's place in the header block, straight out of the arena.
//!
//! - [`blank`]: a text that takes as many bytes in a header block as the secret does that it stands for.
//! - [`waiting`]: the secrets of calls whose heads are not written yet.
//! - [`block`]: the literals of a header block.
//! - [`frames`]: header blocks are kept until they are whole and then filled in; everything else passes.
//! - [`stream`]: the stream that this is done on.

mod blank;
mod block;
mod frames;
mod stream;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;

use hyper::client::conn::http2::SendRequest;

use super::Upload;

pub use stream::Filling;
pub use waiting::{Kept, Waiting};

/// Why a connection is ended: better no call than one with the wrong key, or with none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// The HTTP/2 library writes heads in a way that is not known here, or a call was given up before its head was written.
    #[error("a head is to be written for which no key is waiting")]
    NoKeyWaits,
    /// A head holds some of its call's secrets, or one besides.
    #[error("a head does not hold each key of its call once")]
    NotWhole,
    /// These are no frames, or no header block.
    #[error("what the HTTP/2 library writes cannot be followed")]
    Unreadable,
}

/// A connection that calls share.
#[derive(Clone)]
pub struct Shared {
    /// Takes requests that have blanks in the place of secrets.
    pub sender: SendRequest<Upload>,
    /// The secrets.
    pub waiting: Arc<Waiting>,
}
