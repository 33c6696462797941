//! The hostile client: TLS from an address of its own, bytes as they are, and what comes back.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::harness::PATIENCE;
use crate::harness::wire::Reader;

/// A TLS connection from an address by which its records are found.
pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// The address of a case.
pub fn address_of(case: usize) -> Ipv4Addr {
    let low = u8::try_from(case % 250).unwrap() + 1;
    Ipv4Addr::new(127, 1, u8::try_from(case / 250).unwrap(), low)
}

/// TLS that offers one protocol.
pub fn offering(protocol: &str, ca_pem: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls::pki_types::CertificateDer::pem_slice_iter(ca_pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Arc::new(tls)
}

/// Connects from a case's own address.
pub fn connect(gate: SocketAddr, case: usize, tls: Arc<ClientConfig>) -> io::Result<Tls> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((address_of(case), 0)).into())?;
    socket.connect_timeout(&gate.into(), PATIENCE)?;
    let tcp = TcpStream::from(socket);
    tcp.set_read_timeout(Some(Duration::from_secs(10)))?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(tls, name).unwrap(), tcp);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// What a client saw, and every byte of it.
#[derive(Debug, Default)]
pub struct Saw {
    /// `200`, `reset PROTOCOL_ERROR`, …; `nothing in time` when the gate kept silent and the connection open.
    pub events: Vec<String>,
    /// All that came, decrypted.
    pub raw: Vec<u8>,
}

/// Sends bytes over HTTP/1.1 and reads `replies` replies, then says goodbye and reads whatever else comes.
pub fn http1(mut stream: Tls, bytes: &[u8], replies: usize) -> Saw {
    // A gate that answers before everything was sent may close: what it said counts, not whether it listened on.
    let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    let mut reader = Reader::new(stream);
    let mut events = Vec::new();
    let mut raw = Vec::new();
    let mut goodbye = false;
    loop {
        if events.len() >= replies && !goodbye {
            let stream = reader.get_mut();
            stream.conn.send_close_notify();
            let _ = stream.conn.complete_io(&mut stream.sock);
            goodbye = true;
        }
        match reply(&mut reader) {
            Ok(Some(status)) => events.push(status),
            Err(error) if is_silence(&error) => {
                events.push("nothing in time".into());
                break;
            }
            // The end; or closed without TLS's goodbye, or reset because something was left unread.
            Ok(None) | Err(_) => break,
        }
        raw.extend(reader.take_raw());
    }
    raw.extend(reader.all_raw());
    Saw { events, raw }
}

fn is_silence(error: &io::Error) -> bool {
    [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind())
}

fn reply(reader: &mut Reader<Tls>) -> io::Result<Option<String>> {
    loop {
        let Some(head) = reader.head()? else { return Ok(None) };
        let status = head.first.split(' ').nth(1).unwrap_or_default().to_owned();
        if status == "100" {
            continue;
        }
        reader.body(&head, true)?;
        return Ok(Some(status));
    }
}

/// Frames as they come, and the preface before them.
pub struct Frames {
    stream: Tls,
    buffer: VecDeque<u8>,
    /// Everything that came.
    pub raw: Vec<u8>,
}

/// One frame.
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

impl Frame {
    /// As it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut out = vec![length[1], length[2], length[3], self.kind, self.flags];
        out.extend(self.stream.to_be_bytes());
        out.extend(&self.payload);
        out
    }
}

impl Frames {
    /// On a connection that has agreed on `h2`.
    pub fn new(stream: Tls) -> Self {
        Self { stream, buffer: VecDeque::new(), raw: Vec::new() }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Says goodbye.
    pub fn close(&mut self) {
        self.stream.conn.send_close_notify();
        let _ = self.stream.conn.complete_io(&mut self.stream.sock);
    }

    /// The next frame.
    pub fn next(&mut self) -> io::Result<Frame> {
        let head = self.exactly(9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Ok(Frame { kind: head[3], flags: head[4], stream, payload: self.exactly(length)? })
    }

    fn exactly(&mut self, n: usize) -> io::Result<Vec<u8>> {
        let mut chunk = [0; 4096];
        while self.buffer.len() < n {
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                got => {
                    self.buffer.extend(&chunk[..got]);
                    self.raw.extend(&chunk[..got]);
                }
            }
        }
        Ok(self.buffer.drain(..n).collect())
    }

    /// Whether an error says that nothing came in time.
    pub fn is_silence(error: &io::Error) -> bool {
        is_silence(error)
    }
}
