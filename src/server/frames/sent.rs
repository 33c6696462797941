//! What the gate has sent: where its frames end, what they earn, and what the implementation below refused.

use std::ops::ControlFlow::{Break, Continue};

use super::code;
use super::walk::{Frame, HEAD, Head, Walker, flag, kind};

/// Room for GOAWAY's two numbers and the words that the implementation adds.
const GOAWAY: u32 = 8 + 32;
/// Below this a DATA frame is tiny.
const TINY: u32 = 64;
const ROOM: usize = HEAD + GOAWAY as usize;

/// What was in some bytes.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Calls answered to their end.
    pub answered: u32,
    /// DATA frames, but for tiny ones.
    pub fed: u32,
    /// Tiny DATA frames, as a tiny window makes them.
    pub fed_tiny: u32,
    /// SETTINGS that want to be acknowledged.
    pub settings: u32,
    /// Streams reset, with the code. Rare, so it mostly holds nothing.
    pub resets: Vec<(u32, u32)>,
}

/// An end that the implementation below wants to put to the connection.
#[derive(Debug, PartialEq, Eq)]
pub struct GoAway {
    /// Last stream that it has taken up.
    pub last: u32,
    /// Code.
    pub code: u32,
    /// What it says about it.
    pub words: String,
}

/// The frames on their way out.
#[derive(Clone)]
pub struct Sent {
    walker: Walker<ROOM>,
}

fn asked(head: Head) -> u32 {
    match head.kind {
        kind::RST_STREAM => 4,
        kind::GOAWAY => GOAWAY,
        _ => 0,
    }
}

impl Sent {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { walker: Walker::new() }
    }

    /// Whether a frame of another's may be put in here.
    pub fn between_frames(&self) -> bool {
        self.walker.between_frames()
    }

    /// Looks at bytes about to be sent. When the connection is to be ended for an error, tells how many of the bytes come
    /// before that.
    pub fn look(&mut self, bytes: &[u8], tally: &mut Tally) -> Result<(), (usize, GoAway)> {
        let flow = self.walker.walk(bytes, asked, |frame, before_end| {
            let head = frame.head;
            match head.kind {
                kind::DATA | kind::HEADERS => tally.reply(head),
                kind::SETTINGS if !head.has(flag::ACK) => tally.settings += 1,
                kind::RST_STREAM => tally.resets.push((head.stream, frame.number(0))),
                // Without an error it only says that the gate is about to stop.
                kind::GOAWAY if frame.number(4) != 0 => return Break((before_end, goaway(&frame))),
                _ => {}
            }
            Continue(())
        });
        match flow {
            Continue(()) => Ok(()),
            // It cannot have begun before these bytes: what came before it is held back with it.
            Break((before_end, goaway)) => Err((bytes.len().saturating_sub(before_end), goaway)),
        }
    }
}

impl Tally {
    fn reply(&mut self, head: Head) {
        if head.kind == kind::DATA {
            match head.length {
                0 => {}
                1..TINY => self.fed_tiny += 1,
                _ => self.fed += 1,
            }
        }
        if head.has(flag::END_STREAM) {
            self.answered += 1;
        }
    }

    /// Forgets it all, and keeps the room.
    pub fn clear(&mut self) {
        self.resets.clear();
        (self.answered, self.fed, self.fed_tiny, self.settings) = (0, 0, 0, 0);
    }
}

fn goaway(frame: &Frame<'_>) -> GoAway {
    let words = String::from_utf8_lossy(frame.start.get(8..).unwrap_or_default()).into_owned();
    GoAway { last: frame.number(0) & 0x7fff_ffff, code: frame.number(4), words }
}

/// Whether a reset of ours answers an error that the client made.
pub fn is_provoked(code: u32) -> bool {
    matches!(
        code,
        code::PROTOCOL_ERROR
            | code::FLOW_CONTROL_ERROR
            | code::STREAM_CLOSED
            | code::FRAME_SIZE_ERROR
            | code::REFUSED_STREAM
    )
}
