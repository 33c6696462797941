//! What a client may send, frame by frame. What is cut here is cut because RFC 9113 says so, or because it does no work.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Instant;

use super::budget::Budget;
use super::code::{FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, STREAM_CLOSED};
use super::walk::{Frame, HEAD, Head, Walker, flag, kind};
use super::{Fault, Why};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Largest frame; we announce nothing else.
const MAX_FRAME: u32 = 16_384;
/// Most settings in one frame. Clients send six or so.
const MAX_SETTINGS: u32 = 32;
const ROOM: usize = HEAD + 6 * MAX_SETTINGS as usize;
/// A setting may change the windows of all streams.
const SETTINGS_COST: i64 = 8;
/// A header block that nobody reads is decoded all the same.
const IGNORED_HEADERS_COST: i64 = 10;
/// Streams of which we remember that we reset them: what was on its way then is no error.
const REMEMBERED: usize = 64;
/// Uploads remembered; far above how many streams may be open.
const MAX_UPLOADS: usize = 512;
const LARGEST_WINDOW: u32 = 0x7fff_ffff;

/// What has come from the client so far.
pub struct Rules {
    walker: Walker<ROOM>,
    preface: usize,
    settings_seen: bool,
    /// Highest stream that was begun, and how many were.
    highest: u32,
    begun: u32,
    /// The stream whose header block goes on.
    block: Option<u32>,
    /// The frame at hand is part of a header block.
    heading: bool,
    /// Streams that the client has not ended.
    uploads: Vec<u32>,
    reset_by_us: [u32; REMEMBERED],
    resets_by_us: usize,
    /// Settings of ours that were not acknowledged.
    pub unacknowledged: u32,
    /// What the client may send beside its calls.
    pub budget: Budget,
    /// Frames that did no work, by kind.
    idle: [u32; kind::NAMES.len()],
    resets: u32,
}

type Judged = Result<(), Fault>;

fn broken(code: u32, detail: &str) -> Judged {
    Err(Fault::protocol(code, detail))
}

fn asked(head: Head) -> u32 {
    match head.kind {
        kind::SETTINGS => 6 * MAX_SETTINGS,
        kind::WINDOW_UPDATE => 4,
        kind::DATA | kind::HEADERS if head.has(flag::PADDED) => 1,
        _ => 0,
    }
}

impl Rules {
    /// For a new connection.
    pub fn new(now: Instant) -> Self {
        Self {
            walker: Walker::new(),
            preface: 0,
            settings_seen: false,
            highest: 0,
            begun: 0,
            block: None,
            heading: false,
            uploads: Vec::new(),
            reset_by_us: [0; REMEMBERED],
            resets_by_us: 0,
            unacknowledged: 0,
            budget: Budget::new(now),
            idle: [0; kind::NAMES.len()],
            resets: 0,
        }
    }

    /// The highest stream begun by the client.
    pub fn highest(&self) -> u32 {
        self.highest
    }

    /// Whether a header block has begun and not ended.
    pub fn in_header_block(&self) -> bool {
        self.block.is_some() || self.heading && !self.walker.between_frames()
    }

    /// Looks at more bytes from the client.
    pub fn read(&mut self, mut bytes: &[u8]) -> Judged {
        if self.preface < PREFACE.len() {
            let step = bytes.len().min(PREFACE.len() - self.preface);
            if bytes[..step] != PREFACE[self.preface..self.preface + step] {
                return broken(PROTOCOL_ERROR, "the connection does not begin as HTTP/2");
            }
            self.preface += step;
            bytes = &bytes[step..];
        }
        // Taken out so that the closure may change the rest.
        let mut walker = std::mem::replace(&mut self.walker, Walker::new());
        let flow = walker.walk(bytes, asked, |frame, _| match self.frame(&frame) {
            Ok(()) => Continue(()),
            Err(fault) => Break(fault),
        });
        self.walker = walker;
        match flow {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(fault) => Err(fault),
        }
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Judged {
        let head = frame.head;
        self.heading = matches!(head.kind, kind::HEADERS | kind::CONTINUATION);
        if head.length > MAX_FRAME {
            return broken(FRAME_SIZE_ERROR, "a frame longer than 16,384 bytes");
        }
        if !std::mem::replace(&mut self.settings_seen, true) && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return broken(PROTOCOL_ERROR, "the first frame is not SETTINGS");
        }
        match (self.block, head.kind) {
            (None, kind::CONTINUATION) => return broken(PROTOCOL_ERROR, "CONTINUATION of nothing"),
            (Some(block), kind::CONTINUATION) if block == head.stream => {}
            (Some(_), _) => return broken(PROTOCOL_ERROR, "a frame inside a header block"),
            (None, _) => {}
        }
        match head.kind {
            kind::DATA => self.data(frame),
            kind::HEADERS => self.headers(frame),
            kind::PRIORITY => self.priority(head),
            kind::RST_STREAM => self.reset(head),
            kind::SETTINGS => self.settings(frame),
            kind::PUSH_PROMISE => broken(PROTOCOL_ERROR, "PUSH_PROMISE from a client"),
            kind::PING => self.ping(head),
            kind::GOAWAY => self.goaway(head),
            kind::WINDOW_UPDATE => self.window_update(frame),
            kind::CONTINUATION => {
                self.block = self.block.filter(|_| !head.has(flag::END_HEADERS));
                Ok(())
            }
            _ => self.bother(head, 1),
        }
    }

    fn data(&mut self, frame: &Frame<'_>) -> Judged {
        let head = frame.head;
        self.begun_stream(head, "DATA")?;
        let padding = padding(frame)?;
        let Some(at) = self.uploads.iter().position(|id| *id == head.stream) else {
            if !self.was_reset_by_us(head.stream) {
                return broken(STREAM_CLOSED, "DATA on a stream that has ended");
            }
            return if head.length < 1024 { self.bother(head, 1) } else { Ok(()) };
        };
        if head.has(flag::END_STREAM) {
            self.uploads.swap_remove(at);
        } else if head.length == padding {
            return self.bother(head, 1);
        }
        Ok(())
    }

    fn headers(&mut self, frame: &Frame<'_>) -> Judged {
        let head = frame.head;
        if head.stream.is_multiple_of(2) {
            return broken(PROTOCOL_ERROR, "HEADERS on a stream that no client may begin");
        }
        padding(frame)?;
        self.block = (!head.has(flag::END_HEADERS)).then_some(head.stream);
        let ends = head.has(flag::END_STREAM);
        if head.stream > self.highest {
            self.highest = head.stream;
            self.begun = self.begun.saturating_add(1);
            if !ends {
                if self.uploads.len() >= MAX_UPLOADS {
                    self.uploads.remove(0);
                }
                self.uploads.push(head.stream);
            }
            return Ok(());
        }
        if let Some(at) = self.uploads.iter().position(|id| *id == head.stream) {
            if ends {
                self.uploads.swap_remove(at);
            }
            return Ok(());
        }
        if self.was_reset_by_us(head.stream) {
            return self.bother(head, IGNORED_HEADERS_COST);
        }
        // With no number left out so far, this one was in use; otherwise it may have been skipped.
        let all_used = self.begun == self.highest.div_ceil(2);
        let code = if all_used { STREAM_CLOSED } else { PROTOCOL_ERROR };
        broken(code, "HEADERS on a stream that has ended")
    }

    fn priority(&mut self, head: Head) -> Judged {
        if head.stream == 0 {
            return broken(PROTOCOL_ERROR, "PRIORITY on no stream");
        }
        exactly(head, 5, "PRIORITY")?;
        self.bother(head, 1)
    }

    fn reset(&mut self, head: Head) -> Judged {
        self.begun_stream(head, "RST_STREAM")?;
        exactly(head, 4, "RST_STREAM")?;
        self.uploads.retain(|id| *id != head.stream);
        self.resets = self.resets.saturating_add(1);
        if self.budget.reset(Instant::now) { Ok(()) } else { Err(self.rapid_reset("by the client")) }
    }

    fn settings(&mut self, frame: &Frame<'_>) -> Judged {
        let head = frame.head;
        on_no_stream(head, "SETTINGS")?;
        if head.has(flag::ACK) {
            exactly(head, 0, "the acknowledgement of SETTINGS")?;
            let Some(left) = self.unacknowledged.checked_sub(1) else {
                return broken(PROTOCOL_ERROR, "an acknowledgement of SETTINGS that were not sent");
            };
            self.unacknowledged = left;
            return Ok(());
        }
        if !head.length.is_multiple_of(6) {
            return broken(FRAME_SIZE_ERROR, "SETTINGS of a wrong length");
        }
        if head.length > 6 * MAX_SETTINGS {
            return Err(Fault::calm(Why::Flood, format!("{} settings in one frame", head.length / 6)));
        }
        for setting in frame.start.chunks_exact(6) {
            setting_is_valid(setting)?;
        }
        self.bother(head, SETTINGS_COST)
    }

    fn ping(&mut self, head: Head) -> Judged {
        on_no_stream(head, "PING")?;
        exactly(head, 8, "PING")?;
        self.bother(head, 1)
    }

    fn goaway(&mut self, head: Head) -> Judged {
        on_no_stream(head, "GOAWAY")?;
        if head.length < 8 {
            return broken(FRAME_SIZE_ERROR, "GOAWAY of a wrong length");
        }
        self.bother(head, SETTINGS_COST)
    }

    fn window_update(&mut self, frame: &Frame<'_>) -> Judged {
        exactly(frame.head, 4, "WINDOW_UPDATE")?;
        if frame.head.stream != 0 {
            self.begun_stream(frame.head, "WINDOW_UPDATE")?;
        }
        if frame.number(0) & LARGEST_WINDOW == 0 {
            return broken(PROTOCOL_ERROR, "WINDOW_UPDATE by nothing");
        }
        self.bother(frame.head, 1)
    }

    fn begun_stream(&self, head: Head, what: &str) -> Judged {
        if head.stream == 0 || head.stream > self.highest {
            return Err(Fault::protocol(PROTOCOL_ERROR, format!("{what} on a stream that was not begun")));
        }
        Ok(())
    }

    /// A frame that does no work.
    fn bother(&mut self, head: Head, cost: i64) -> Judged {
        let idle = &mut self.idle[usize::from(head.kind).min(kind::NAMES.len() - 1)];
        *idle = idle.saturating_add(1);
        if self.budget.bother(cost, Instant::now) { Ok(()) } else { Err(Fault::calm(Why::Flood, self.tally())) }
    }

    /// We reset a stream.
    pub fn reset_by_us(&mut self, stream: u32) {
        self.uploads.retain(|id| *id != stream);
        self.reset_by_us[self.resets_by_us % REMEMBERED] = stream;
        self.resets_by_us += 1;
    }

    fn was_reset_by_us(&self, stream: u32) -> bool {
        self.reset_by_us.contains(&stream)
    }

    /// We reset a stream for an error that the client made.
    pub fn provoked(&mut self) -> Judged {
        if self.budget.reset(Instant::now) { Ok(()) } else { Err(self.rapid_reset("for errors of the client")) }
    }

    /// We gave a reply up whose client took nothing.
    pub fn given_up(&mut self) -> Judged {
        if self.budget.reset(Instant::now) {
            Ok(())
        } else {
            Err(Fault::calm(Why::Stalled, "replies of which nothing was taken"))
        }
    }

    /// Streams begun and reset, again and again.
    pub fn rapid_reset(&self, by: &str) -> Fault {
        let detail = format!(
            "too many streams reset {by}: {} begun, {} reset by the client, {} by the gate, {} answered",
            self.begun, self.resets, self.resets_by_us, self.budget.answered
        );
        Fault::calm(Why::RapidReset, detail)
    }

    /// What came most, and what there was to show for it.
    pub fn tally(&self) -> String {
        let most = self.idle.iter().enumerate().max_by_key(|(_, count)| **count);
        let (most, count) = most.map_or((0, 0), |(most, count)| (most, *count));
        format!("{count} {} frames in a connection with {} calls answered", kind::NAMES[most], self.budget.answered)
    }
}

fn exactly(head: Head, length: u32, what: &str) -> Judged {
    if head.length == length {
        return Ok(());
    }
    Err(Fault::protocol(FRAME_SIZE_ERROR, format!("{what} of a wrong length")))
}

fn on_no_stream(head: Head, what: &str) -> Judged {
    if head.stream == 0 {
        return Ok(());
    }
    Err(Fault::protocol(PROTOCOL_ERROR, format!("{what} on a stream")))
}

/// How much of the payload is padding, with its length byte.
fn padding(frame: &Frame<'_>) -> Result<u32, Fault> {
    let padded = frame.head.has(flag::PADDED);
    let padding = if padded { frame.start.first().map_or(u32::MAX, |n| u32::from(*n) + 1) } else { 0 };
    let priority = if frame.head.kind == kind::HEADERS && frame.head.has(flag::PRIORITY) { 5 } else { 0 };
    if padding.saturating_add(priority) > frame.head.length {
        return Err(Fault::protocol(PROTOCOL_ERROR, "more padding than payload"));
    }
    Ok(padding)
}

fn setting_is_valid(setting: &[u8]) -> Judged {
    let name = u16::from_be_bytes([setting[0], setting[1]]);
    let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
    match name {
        2 | 8 if value > 1 => broken(PROTOCOL_ERROR, "a switch in SETTINGS that is neither on nor off"),
        4 if value > LARGEST_WINDOW => broken(FLOW_CONTROL_ERROR, "a window in SETTINGS that is too large"),
        5 if !(16_384..=16_777_215).contains(&value) => {
            broken(PROTOCOL_ERROR, "a frame size in SETTINGS that may not be")
        }
        _ => Ok(()),
    }
}
