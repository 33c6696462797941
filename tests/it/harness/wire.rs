//! Just enough HTTP/1.1 to write and read it by hand, on either side.

use std::io::{self, Read};

/// Reads messages from a connection and keeps every byte it took.
pub struct Reader<R> {
    from: R,
    buffer: Vec<u8>,
    taken: Vec<u8>,
}

/// A message's head.
pub struct Head {
    /// Request or status line.
    pub first: String,
    /// Headers in order, names as they came.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of this name, any case, or empty.
    pub fn header(&self, name: &str) -> &str {
        find(&self.headers, name)
    }
}

/// The first header of this name, any case, or empty.
pub fn find<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

impl<R: Read> Reader<R> {
    /// Reads from `from`.
    pub fn new(from: R) -> Self {
        Self { from, buffer: Vec::new(), taken: Vec::new() }
    }

    /// What it reads from.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.from
    }

    /// Everything taken since the last call.
    pub fn take_raw(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.taken)
    }

    /// Everything that came since the last [`Self::take_raw`], read into a message or not.
    pub fn all_raw(&mut self) -> Vec<u8> {
        let mut raw = self.take_raw();
        raw.append(&mut self.buffer);
        raw
    }

    /// Reads once, whatever comes; 0 at the end of the connection.
    pub fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        let n = self.from.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..n]);
        Ok(n)
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(n);
        let taken = std::mem::replace(&mut self.buffer, rest);
        self.taken.extend_from_slice(&taken);
        taken
    }

    fn through(&mut self, mark: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, mark) {
                return Ok(self.take(at + mark.len()));
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Exactly `n` bytes.
    pub fn exactly(&mut self, n: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < n {
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.take(n))
    }

    /// Up to the end of the connection.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(self.take(self.buffer.len()))
    }

    /// A head; `None` when the connection ends before its first byte.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        if self.buffer.is_empty() && self.fill()? == 0 {
            return Ok(None);
        }
        let head = self.through(b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&head);
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let headers = lines.map(|line| line.split_once(':').unwrap_or((line, "")));
        Ok(Some(Head { first, headers: headers.map(|(n, v)| (n.to_owned(), v.trim().to_owned())).collect() }))
    }

    /// A body framed as its head says; `to_end` says whether one without a length goes to the connection's end.
    pub fn body(&mut self, head: &Head, to_end: bool) -> io::Result<Vec<u8>> {
        if head.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
            return self.chunks();
        }
        match head.header("content-length").parse() {
            Ok(length) => self.exactly(length),
            Err(_) if to_end => self.read_to_end(),
            Err(_) => Ok(Vec::new()),
        }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.through(b"\r\n")?;
            let size = std::str::from_utf8(&line)
                .ok()
                .and_then(|l| usize::from_str_radix(l.trim().split(';').next()?, 16).ok());
            let size = size.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no chunk size"))?;
            body.extend(self.exactly(size)?);
            if size == 0 {
                while self.through(b"\r\n")?.len() > 2 {}
                return Ok(body);
            }
            self.exactly(2)?;
        }
    }
}
