//! Syslog messages (RFC 5424): over TLS, counted in octets (RFC 5425), or as datagrams to a socket on this machine.
//!
//! Syslog has no acknowledgement. Over TLS each batch has a connection of its own, and it counts as taken when the receiver,
//! having read to its end, has closed its side: bytes that only its system has taken do not count. A datagram counts as taken
//! when it lies in the receiver's socket.

use std::fmt::Write as _;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::batch::{Batch, Item};
use crate::audit::export::Row;
use crate::upstream::once::Server;

/// Facility 13, log audit.
const FACILITY: u8 = 13 * 8;
/// The element with our fields. 32473 is the number for examples (RFC 5612): Keygate has none of its own.
const ELEMENT: &str = "keygate@32473";

/// A server that is spoken to over TLS.
pub(super) struct Stream {
    server: Server,
    host: String,
}

impl Stream {
    pub(super) fn new(server: Server) -> Self {
        Self { server, host: host() }
    }

    pub(super) async fn send(&self, batch: &Batch, limit: Duration) -> Result<(), String> {
        let mut bytes = Vec::new();
        for item in batch.items() {
            let message = message(item, &self.host);
            bytes.extend_from_slice(message.len().to_string().as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(&message);
        }
        let sent = timeout(limit, self.put(&bytes)).await;
        sent.map_err(|_| format!("it did not take them within {} s", limit.as_secs()))?
            .map_err(|error| crate::causes::chain(&error))
    }

    async fn put(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = self.server.connect().await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        let mut rest = [0; 64];
        loop {
            match stream.read(&mut rest).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // Its end without a closing word is its end as well; a reset would be another error.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// A socket on this machine.
pub(super) struct Datagram {
    path: PathBuf,
    host: String,
}

impl Datagram {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), host: host() }
    }

    pub(super) fn send(&self, batch: &Batch, limit: Duration) -> Result<(), String> {
        let send = || -> io::Result<()> {
            let socket = UnixDatagram::unbound()?;
            socket.connect(&self.path)?;
            // A receiver whose socket is full is waited for.
            socket.set_write_timeout(Some(limit))?;
            batch.items().iter().try_for_each(|item| socket.send(&message(item, &self.host)).map(drop))
        };
        send().map_err(|error| super::no_file(&self.path, &error))
    }
}

/// This machine's name; `-` where it has none that fits.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let fits = !name.is_empty() && name.len() <= 255 && name.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { name.to_owned() } else { "-".to_owned() }
}

fn message(item: &Item, host: &str) -> Vec<u8> {
    let Item { line, row } = item;
    let time = row.time.unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y-%m-%dT%H:%M:%S.%6fZ");
    let mut text =
        format!("<{}>1 {time} {host} keygate {} {} ", FACILITY + severity(row), std::process::id(), row.kind);
    elements(&mut text, row);
    text.push(' ');
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(line);
    bytes
}

/// Informational; a refused call is a warning, an event of the gate a notice.
fn severity(row: &Row) -> u8 {
    match (row.verdict.as_deref(), row.kind.as_str()) {
        (Some("refused"), _) | (_, "connection") => 4,
        (_, "gate") => 5,
        _ => 6,
    }
}

fn elements(text: &mut String, row: &Row) {
    let _ = write!(text, "[{ELEMENT} seq=\"{}\" entry=\"{}\"", row.seq, row.entry);
    let status = row.status.map(|status| status.to_string());
    let fields = [
        ("id", row.id.as_deref()),
        ("integration", row.integration.as_deref()),
        ("endpoint", row.endpoint.as_deref()),
        ("status", status.as_deref()),
        ("refusal", row.refusal.as_deref()),
        ("event", row.event.as_ref().map(|event| &*event.code)),
    ];
    for (name, value) in fields {
        let Some(value) = value else { continue };
        let _ = write!(text, " {name}=\"");
        for c in value.chars() {
            if ['"', '\\', ']'].contains(&c) {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('"');
    }
    text.push(']');
}
