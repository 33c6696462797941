//! Where a body ends: the three framings of HTTP/1.1, read and written. Pure.

use bytes::{Buf, Bytes, BytesMut};

/// Longest line with a chunk's size or a trailer field, bytes.
const MAX_LINE: usize = 4 * 1024;
/// Most bytes of trailers.
const MAX_TRAILERS: usize = 16 * 1024;

/// How a request's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// There is none, and nothing says so.
    Nothing,
    /// This many bytes are still to come.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// How a reply's body is framed, and how much of it has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes are still to come.
    Length(u64),
    /// In chunks.
    Chunked(Chunk),
    /// Until the upstream closes.
    ToEnd,
}

/// Where in its chunks a body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Before a line with a size.
    Size,
    /// Inside a chunk, with this much to come.
    Data(u64),
    /// Behind a chunk, before the end of its line.
    End,
    /// Behind the last chunk, with this many bytes of trailers seen.
    Trailers(usize),
    /// Behind everything.
    Done,
}

/// A body that is not framed as it was announced.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reply's chunks are malformed")]
pub struct BadChunk;

impl Framing {
    /// At the first chunk.
    pub fn chunked() -> Self {
        Self::Chunked(Chunk::Size)
    }

    /// Whether the body has been read to its end.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Done))
    }

    /// Takes the next piece of the body off the front of `buffer`. `None` when there is none yet, or none any more.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, BadChunk> {
        match self {
            Self::Length(left) => Ok(take(buffer, left)),
            Self::ToEnd => Ok((!buffer.is_empty()).then(|| buffer.split().freeze())),
            Self::Chunked(chunk) => chunk.next(buffer),
        }
    }
}

fn take(buffer: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    let count = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= count as u64;
    (count > 0).then(|| buffer.split_to(count).freeze())
}

impl Chunk {
    fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, BadChunk> {
        loop {
            let step = match self {
                Self::Size => size(buffer)?,
                Self::Data(left) => {
                    let data = take(buffer, left);
                    if *left == 0 {
                        *self = Self::End;
                    }
                    return Ok(data);
                }
                Self::End => crlf(buffer)?,
                Self::Trailers(seen) => trailer(buffer, *seen)?,
                Self::Done => None,
            };
            match step {
                Some(step) => *self = step,
                None => return Ok(None),
            }
        }
    }
}

fn size(buffer: &mut BytesMut) -> Result<Option<Chunk>, BadChunk> {
    match httparse::parse_chunk_size(buffer) {
        Ok(httparse::Status::Complete((line, size))) => {
            buffer.advance(line);
            Ok(Some(if size == 0 { Chunk::Trailers(0) } else { Chunk::Data(size) }))
        }
        Ok(httparse::Status::Partial) if buffer.len() <= MAX_LINE => Ok(None),
        Ok(httparse::Status::Partial) | Err(_) => Err(BadChunk),
    }
}

fn crlf(buffer: &mut BytesMut) -> Result<Option<Chunk>, BadChunk> {
    match buffer.get(..2) {
        Some(b"\r\n") => {
            buffer.advance(2);
            Ok(Some(Chunk::Size))
        }
        Some(_) => Err(BadChunk),
        None => Ok(None),
    }
}

/// Trailers end at the gate: they are read and dropped.
fn trailer(buffer: &mut BytesMut, seen: usize) -> Result<Option<Chunk>, BadChunk> {
    let Some(end) = memchr::memchr(b'\n', buffer) else {
        return if buffer.len() <= MAX_LINE { Ok(None) } else { Err(BadChunk) };
    };
    if end == 0 || buffer[end - 1] != b'\r' {
        return Err(BadChunk);
    }
    buffer.advance(end + 1);
    let seen = seen + end + 1;
    match end {
        1 => Ok(Some(Chunk::Done)),
        _ if seen > MAX_TRAILERS => Err(BadChunk),
        _ => Ok(Some(Chunk::Trailers(seen))),
    }
}

/// Frames one chunk of a request: what stands before its bytes; `\r\n` stands behind them.
pub fn chunk_size(length: usize) -> String {
    format!("{length:X}\r\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a body that comes in pieces of the given sizes.
    fn read(wire: &[u8], pieces: &[usize], mut framing: Framing) -> Result<(Vec<u8>, Framing, usize), BadChunk> {
        let (mut buffer, mut body, mut at) = (BytesMut::new(), Vec::new(), 0);
        let mut pieces = pieces.iter().cycle();
        while at < wire.len() {
            let end = (at + pieces.next().copied().unwrap_or(1).max(1)).min(wire.len());
            buffer.extend_from_slice(&wire[at..end]);
            at = end;
            while let Some(bytes) = framing.next(&mut buffer)? {
                body.extend_from_slice(&bytes);
            }
        }
        Ok((body, framing, buffer.len()))
    }

    proptest! {
        #[test]
        fn chunks_are_put_together_however_they_come(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            pieces in prop::collection::vec(1usize..50, 1..8),
            trailers in any::<bool>(),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend(chunk_size(chunk.len()).into_bytes());
                wire.extend(chunk);
                wire.extend(b"\r\n");
            }
            wire.extend(if trailers { &b"0;a=b\r\nx: y\r\n\r\n"[..] } else { b"0\r\n\r\n" });
            let (body, framing, left) = read(&wire, &pieces, Framing::chunked()).unwrap();
            prop_assert_eq!((body, framing.is_done(), left), (chunks.concat(), true, 0));
        }

        #[test]
        fn no_bytes_make_it_panic(wire in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&wire, &[7], Framing::chunked());
        }
    }

    #[test]
    fn a_length_takes_its_own_bytes_and_leaves_the_rest() {
        let (body, framing, left) = read(b"hello more", &[10], Framing::Length(5)).unwrap();
        assert_eq!((&body[..], framing, left), (&b"hello"[..], Framing::Length(0), 5));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for wire in [&b"g\r\n"[..], b"-1\r\n", b"1\r\nab\r\n", b"fffffffffffffffff\r\n", b"0\r\n\n", b"1\nx\r\n"] {
            assert_eq!(read(wire, &[1], Framing::chunked()).map(drop), Err(BadChunk), "{wire:?}");
        }
        let long = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(4000)].concat();
        assert_eq!(read(&long, &[1000], Framing::chunked()).map(drop), Err(BadChunk));
    }
}
