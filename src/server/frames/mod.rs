//! A guard in front of the HTTP/2 implementation: it looks at the frames as they pass, holds the client to the letter of
//! RFC 9113 where the implementation is lenient, and ends what is a flood. Payloads are neither kept nor copied.
//!
//! - [`walk`]: where frames begin and end.
//! - [`rules`]: what a client may send.
//! - [`sent`]: what we have sent: it earns, and it shows what the implementation below refused.
//! - [`budget`]: how much a client may send beside its calls.
//! - [`guard`]: the stream that all this is done on, and the last word on it.

mod budget;
mod guard;
mod rules;
mod sent;
#[cfg(test)]
mod flush_tests;
#[cfg(test)]
mod tests;
mod walk;

pub(super) use guard::{Guarded, LastWord, guard};

/// Error codes of RFC 9113, section 7.
pub mod code {
    /// The other side broke the protocol.
    pub const PROTOCOL_ERROR: u32 = 1;
    /// Too much was sent, or a window grew too large.
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    /// A frame for a stream that had ended.
    pub const STREAM_CLOSED: u32 = 5;
    /// A frame of a wrong length.
    pub const FRAME_SIZE_ERROR: u32 = 6;
    /// A stream was not begun at all.
    pub const REFUSED_STREAM: u32 = 7;
    /// A stream is not wanted any more. The gate says so to a client that takes nothing of its reply.
    pub const CANCEL: u32 = 8;
    /// Too much of something that does no work.
    pub const ENHANCE_YOUR_CALM: u32 = 11;

    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];

    /// Its name.
    pub fn name(code: u32) -> &'static str {
        NAMES.get(code as usize).copied().unwrap_or("an unknown code")
    }
}

/// Why a connection is ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// What the client is told in GOAWAY.
    pub code: u32,
    /// What the record says.
    pub why: Why,
    /// In words.
    pub detail: String,
}

/// The kinds of fault that a record tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Frames that do no work, far more of them than the calls account for.
    Flood,
    /// Streams begun and reset, by the client or by us at its instigation.
    RapidReset,
    /// Not HTTP/2 as RFC 9113 has it.
    Protocol,
    /// A header list far above what may be.
    HeadTooLarge,
    /// Replies whose client took nothing, one after the other. The first was put on record when it was given up.
    Stalled,
}

impl Why {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Flood => "h2_flood",
            Self::RapidReset => "h2_rapid_reset",
            Self::Protocol => "h2_protocol_error",
            Self::HeadTooLarge => "head_too_large",
            Self::Stalled => "send_timeout",
        }
    }
}

impl Fault {
    /// The protocol was broken.
    fn protocol(code: u32, detail: impl Into<String>) -> Self {
        Self { code, why: Why::Protocol, detail: format!("{}: {}", code::name(code), detail.into()) }
    }

    /// Too much of something.
    fn calm(why: Why, detail: impl Into<String>) -> Self {
        Self { code: code::ENHANCE_YOUR_CALM, why, detail: detail.into() }
    }
}
