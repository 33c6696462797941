//! The admin socket, asked as `curl --unix-socket` would.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::Proxy;

impl Proxy {
    /// Asks the admin socket of this gate: status and body.
    #[track_caller]
    pub fn admin(&self, path: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(self.directory().join("audit/admin.sock")).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        self.secrets().must_not_be_in(answer.as_bytes(), "what the admin socket says");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The value of one sample of the metrics, by its name and labels as they are written.
    #[track_caller]
    pub fn metric(&self, sample: &str) -> Option<u64> {
        let (_, text) = self.admin("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ').map(str::to_owned))?;
        Some(line.parse().unwrap())
    }
}
