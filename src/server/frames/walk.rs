//! Where HTTP/2 frames begin and end in a stream of bytes. Payloads are stepped over, but for the few bytes that decide.

use std::ops::ControlFlow;

/// Length of a frame's head.
pub const HEAD: usize = 9;

/// Kinds of frames, by number. Anything above is an extension.
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;

    /// Names in the order of their numbers; the last stands for every extension.
    pub const NAMES: [&str; 11] = [
        "DATA",
        "HEADERS",
        "PRIORITY",
        "RST_STREAM",
        "SETTINGS",
        "PUSH_PROMISE",
        "PING",
        "GOAWAY",
        "WINDOW_UPDATE",
        "CONTINUATION",
        "extension",
    ];
}

/// Flags that matter here. `ACK` and `END_STREAM` share a bit.
pub mod flag {
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Length of the payload.
    pub length: u32,
    /// Kind.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream, the reserved bit taken off.
    pub stream: u32,
}

impl Head {
    fn parse(b: &[u8]) -> Self {
        Self {
            length: u32::from_be_bytes([0, b[0], b[1], b[2]]),
            kind: b[3],
            flags: b[4],
            stream: u32::from_be_bytes([b[5], b[6], b[7], b[8]]) & 0x7fff_ffff,
        }
    }

    /// Whether a flag is set.
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A head, and the beginning of its payload as far as it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its head.
    pub head: Head,
    /// What was asked for.
    pub start: &'a [u8],
}

impl Frame<'_> {
    /// Four bytes of the payload as a number; 0 where they are not there.
    pub fn number(&self, at: usize) -> u32 {
        let bytes = self.start.get(at..at + 4).and_then(|b| b.try_into().ok());
        bytes.map_or(0, u32::from_be_bytes)
    }
}

/// Walks over frames, wherever the stream is cut into pieces. `ROOM` is [`HEAD`] and the most that is asked for.
#[derive(Clone)]
pub struct Walker<const ROOM: usize> {
    seen: [u8; ROOM],
    have: usize,
    want: usize,
    skip: u32,
}

impl<const ROOM: usize> Walker<ROOM> {
    /// At the start of a frame.
    pub fn new() -> Self {
        Self { seen: [0; ROOM], have: 0, want: HEAD, skip: 0 }
    }

    /// Whether the last byte seen was the last one of a frame.
    pub fn between_frames(&self) -> bool {
        self.have == 0 && self.skip == 0
    }

    /// Goes over more bytes. `ask` says how much of a payload is needed; `on` gets each frame once that is there, and with
    /// it how many bytes before the end of `bytes` the frame began. It may end the walk.
    pub fn walk<B>(
        &mut self,
        mut bytes: &[u8],
        ask: impl Fn(Head) -> u32,
        mut on: impl FnMut(Frame<'_>, usize) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let step = bytes.len().min(self.skip as usize);
                bytes = &bytes[step..];
                self.skip -= u32::try_from(step).unwrap_or(self.skip);
                continue;
            }
            let step = bytes.len().min(self.want - self.have);
            self.seen[self.have..self.have + step].copy_from_slice(&bytes[..step]);
            self.have += step;
            bytes = &bytes[step..];
            if self.have < self.want {
                break;
            }
            let head = Head::parse(&self.seen);
            let asked = ask(head).min(head.length) as usize;
            let need = (HEAD + asked).min(ROOM);
            if self.have < need {
                self.want = need;
                continue;
            }
            let start = &self.seen[HEAD..self.have];
            self.skip = head.length - u32::try_from(start.len()).unwrap_or(0);
            let flow = on(Frame { head, start }, bytes.len() + self.have);
            (self.have, self.want) = (0, HEAD);
            if flow.is_break() {
                return flow;
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on must fail loudly")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    type Seen = Vec<(Head, Vec<u8>)>;

    fn walk(pieces: &[&[u8]]) -> (Seen, bool) {
        let mut walker = Walker::<{ HEAD + 4 }>::new();
        let mut seen = Vec::new();
        for piece in pieces {
            let flow: ControlFlow<()> = walker.walk(
                piece,
                |head| if head.kind == kind::RST_STREAM { 4 } else { 0 },
                |frame, _| {
                    seen.push((frame.head, frame.start.to_vec()));
                    ControlFlow::Continue(())
                },
            );
            assert!(flow.is_continue());
        }
        (seen, walker.between_frames())
    }

    #[test]
    fn a_walk_can_be_ended_at_a_frame_and_says_where_that_began() {
        let bytes = [frame(kind::PING, 0, 0, &[0; 8]), frame(kind::GOAWAY, 0, 0, &[7; 20])].concat();
        let mut walker = Walker::<HEAD>::new();
        let flow = walker.walk(
            &bytes,
            |_| 0,
            |frame, before_end| {
                if frame.head.kind == kind::GOAWAY { ControlFlow::Break(before_end) } else { ControlFlow::Continue(()) }
            },
        );
        assert_eq!(flow, ControlFlow::Break(29));
    }

    proptest! {
        #[test]
        fn frames_are_found_wherever_the_bytes_are_cut(
            frames in proptest::collection::vec((0u8..12, any::<u8>(), 0u32..9, proptest::collection::vec(any::<u8>(), 0..40)), 1..20),
            cuts in proptest::collection::vec(1usize..50, 0..30),
        ) {
            let all: Vec<u8> = frames.iter().flat_map(|(k, f, s, p)| frame(*k, *f, *s, p)).collect();
            let (whole, ended) = walk(&[&all]);
            prop_assert!(ended);
            let told: Vec<_> = frames.iter().map(|(kind, flags, stream, payload)| {
                let asked = if *kind == kind::RST_STREAM { payload.len().min(4) } else { 0 };
                (Head { length: u32::try_from(payload.len()).unwrap(), kind: *kind, flags: *flags, stream: *stream }, payload[..asked].to_vec())
            }).collect();
            prop_assert_eq!(&whole, &told);
            let (mut rest, mut pieces) = (&all[..], Vec::new());
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert_eq!(walk(&pieces), (told, true));
        }
    }
}
