//! HTTP/2 by hand: frames as a test wants them, right or wrong, over real TLS.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

/// Kinds of frames.
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, Default)]
pub struct End {
    /// Last stream and code of the last GOAWAY that came.
    pub goaway: Option<(u32, u32)>,
    /// Everything that came before the end.
    pub frames: Vec<Frame>,
}

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// One field of a header block: a literal with a new name, never indexed.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0x10];
    for text in [name, value] {
        length(&mut bytes, text.len());
        bytes.extend(text.bytes());
    }
    bytes
}

/// An HPACK number with seven bits in its first byte.
fn length(bytes: &mut Vec<u8>, mut n: usize) {
    if n < 127 {
        return bytes.push(u8::try_from(n).unwrap());
    }
    bytes.push(127);
    n -= 127;
    while n >= 128 {
        bytes.push(u8::try_from(n % 128).unwrap() | 0x80);
        n /= 128;
    }
    bytes.push(u8::try_from(n).unwrap());
}

/// The header block of a request.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)];
    pseudo.iter().chain(headers).flat_map(|(name, value)| field(name, value)).collect()
}

/// A connection to the gate that speaks frames.
pub struct Frames {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

impl Frames {
    /// On a connection whose handshake is over; sends the preface and these settings.
    pub fn new(stream: StreamOwned<ClientConnection, TcpStream>, settings: &[(u16, u32)]) -> Self {
        let mut frames = Self { stream, buffer: Vec::new() };
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        frames.write(&[PREFACE, &frame(kind::SETTINGS, 0, 0, &payload)].concat()).unwrap();
        frames
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next frame; `None` at the end of the connection.
    pub fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take() {
                return Ok(Some(frame));
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.conn.reader().read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if !self.receive()? {
                        return Ok(None);
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes in what came, and writes nothing meanwhile: what the gate said before it hung up can still be read. False at
    /// the end.
    fn receive(&mut self) -> io::Result<bool> {
        match self.stream.conn.read_tls(&mut self.stream.sock) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            Err(e) => return Err(e),
        }
        self.stream.conn.process_new_packets().map_err(io::Error::other)?;
        Ok(true)
    }

    fn take(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.buffer.get(..9)?.try_into().unwrap();
        let end = 9 + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if self.buffer.len() < end {
            return None;
        }
        let rest = self.buffer.split_off(end);
        let payload = std::mem::replace(&mut self.buffer, rest).split_off(9);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Puts a frame back, to be read again.
    pub fn put_back(&mut self, one: &Frame) {
        self.buffer.splice(..0, frame(one.kind, one.flags, one.stream, &one.payload));
    }

    /// Reads until a frame is found that fits, and answers every PING, as a client does that is alive.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut fits: impl FnMut(&Frame) -> bool) -> Frame {
        let mut seen = Vec::new();
        while let Some(one) = self.next().unwrap_or_else(|e| panic!("no {what}: {e}; {seen:?}")) {
            if fits(&one) {
                return one;
            }
            if one.kind == kind::PING && one.flags & ACK == 0 {
                // Whether the gate is still there to read it is seen at the next frame.
                let _ = self.write(&frame(kind::PING, ACK, 0, &one.payload));
            }
            seen.push(one);
        }
        panic!("the connection ended without {what}: {seen:?}")
    }

    /// Reads to the end of the connection. Fails when that does not come.
    #[track_caller]
    pub fn end(&mut self) -> End {
        let mut end = End::default();
        while let Some(frame) = self.next().unwrap_or_else(|e| panic!("the connection is not ended: {e}; {end:?}")) {
            if frame.kind == kind::GOAWAY {
                let number = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
                end.goaway = Some((number(0), number(4)));
            }
            end.frames.push(frame);
        }
        end
    }

    /// How long a write may wait for the gate to read.
    pub fn write_timeout(&self, time: Duration) {
        self.stream.sock.set_write_timeout(Some(time)).unwrap();
    }
}
