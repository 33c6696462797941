//! A small blocking client, HTTP/1.1 over TLS, that sends bytes exactly as told and checks every reply.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::frames::Frames;
use super::secrets::Secrets;
use super::wire::Reader;
use super::{PATIENCE, Reply};

/// Speaks to one gate as one integration.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    secrets: Secrets,
    base_path: String,
    headers: Vec<(String, String)>,
}

/// A request; it is sent as it stands here.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method, any token.
    pub method: String,
    /// Target as it goes on the request line.
    pub target: String,
    /// Headers after `host`.
    pub headers: Vec<(String, String)>,
    /// Body; a length is announced when there is one or the method usually has one.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a JSON body.
    pub fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.header("content-type", "application/json")
    }

    /// Adds a body of any kind.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn bytes(&self, standing: &[(String, String)]) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let has = |name: &str| self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let mut add = |name: &str, value: &str| bytes.extend(format!("{name}: {value}\r\n").bytes());
        if !has("host") {
            add("host", "localhost");
        }
        standing.iter().filter(|(n, _)| !has(n)).chain(&self.headers).for_each(|(n, v)| add(n, v));
        let usual = ["POST", "PUT", "PATCH"].contains(&self.method.as_str()) || !self.body.is_empty();
        if usual && !has("content-length") && !has("transfer-encoding") {
            add("content-length", &self.body.len().to_string());
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.body);
        bytes
    }
}

/// A connection that ended inside a reply.
#[derive(Debug)]
pub struct Broken {
    /// Why.
    pub why: io::Error,
    /// What had come until then.
    pub raw: Vec<u8>,
}

impl Client {
    /// A client of the gate at `address`, which must show a certificate signed by `ca_pem`.
    pub fn new(address: SocketAddr, ca_pem: &[u8], base_path: &str, secrets: Secrets) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { address, tls: Arc::new(tls), secrets, base_path: base_path.into(), headers: Vec::new() }
    }

    /// The same client with one more header on each request.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Reads a path below the base path: `/v2/orders`.
    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.call(&Request::new("GET", &format!("{}{path}", self.base_path)))
    }

    /// Sends JSON to a path below the base path.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, body: &serde_json::Value) -> Reply {
        self.call(&Request::new(method, &format!("{}{path}", self.base_path)).json(body))
    }

    /// Makes one call on a connection of its own.
    #[track_caller]
    pub fn call(&self, request: &Request) -> Reply {
        self.try_call(request)
            .unwrap_or_else(|b| panic!("no whole reply to {request:?}: {}\n{}", b.why, String::from_utf8_lossy(&b.raw)))
    }

    /// Makes one call; tells when the reply did not come whole.
    pub fn try_call(&self, request: &Request) -> Result<Reply, Broken> {
        let mut connection = self.connect();
        connection.write(&request.bytes(&self.headers)).map_err(|why| Broken { why, raw: Vec::new() })?;
        connection.reply(&format!("{} {}", request.method, request.target))
    }

    /// Opens a connection to write on by hand.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        self.try_connect().unwrap_or_else(|e| panic!("cannot connect to the gate: {e}"))
    }

    /// TLS as this client speaks it, for HTTP/2.
    pub fn h2(&self) -> ClientConfig {
        let mut tls = (*self.tls).clone();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        tls
    }

    /// Opens a connection on which frames of HTTP/2 are written by hand, with these settings of the client's.
    #[track_caller]
    pub fn frames(&self, settings: &[(u16, u32)]) -> Frames {
        let tcp = TcpStream::connect_timeout(&self.address, PATIENCE).unwrap();
        let stream = Self::handshake(Arc::new(self.h2()), tcp).unwrap_or_else(|e| panic!("no handshake: {e}"));
        Frames::new(stream, settings)
    }

    /// Opens a connection, handshake and all.
    pub fn try_connect(&self) -> io::Result<Connection> {
        self.over(TcpStream::connect_timeout(&self.address, PATIENCE)?)
    }

    /// The same over a TCP connection of the test's own making.
    pub fn over(&self, tcp: TcpStream) -> io::Result<Connection> {
        let stream = Self::handshake(self.tls.clone(), tcp)?;
        Ok(Connection { reader: Reader::new(stream), secrets: self.secrets.clone(), headers: self.headers.clone() })
    }

    fn handshake(tls: Arc<ClientConfig>, tcp: TcpStream) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(tls, name).unwrap(), tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }
}

/// One connection to the gate.
pub struct Connection {
    reader: Reader<StreamOwned<ClientConnection, TcpStream>>,
    secrets: Secrets,
    headers: Vec<(String, String)>,
}

impl Connection {
    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.reader.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Sends a request with the client's standing headers.
    #[track_caller]
    pub fn request(&mut self, request: &Request) -> Reply {
        self.write(&request.bytes(&self.headers)).unwrap();
        self.reply(&format!("{} {}", request.method, request.target))
            .unwrap_or_else(|b| panic!("no whole reply: {}", b.why))
    }

    /// Sends a request; tells when no whole reply came.
    pub fn try_request(&mut self, request: &Request) -> Result<Reply, Broken> {
        self.write(&request.bytes(&self.headers)).map_err(|why| Broken { why, raw: Vec::new() })?;
        self.reply(&format!("{} {}", request.method, request.target))
    }

    /// Sends a request and does not wait.
    #[track_caller]
    pub fn start(&mut self, request: &Request) {
        self.write(&request.bytes(&self.headers)).unwrap();
    }

    /// Reads one reply and checks it. `asked` is `METHOD target`.
    pub fn reply(&mut self, asked: &str) -> Result<Reply, Broken> {
        let read = self.read_reply(asked);
        let raw = self.reader.take_raw();
        match read {
            Ok(mut reply) => {
                reply.raw = raw;
                reply.check(&self.secrets);
                Ok(reply)
            }
            Err(why) => {
                let raw = [raw, self.reader.all_raw()].concat();
                self.secrets.must_not_be_in(&raw, "a broken reply");
                Err(Broken { why, raw })
            }
        }
    }

    fn read_reply(&mut self, asked: &str) -> io::Result<Reply> {
        let mut interim = Vec::new();
        loop {
            let head = self.reader.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let status = head.first.split(' ').nth(1).and_then(|s| s.parse().ok());
            let status: u16 = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, head.first.clone()))?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let bodiless = asked.starts_with("HEAD ") || [204, 304].contains(&status);
            let body = if bodiless { Vec::new() } else { self.reader.body(&head, true)? };
            return Ok(Reply { asked: asked.into(), status, headers: head.headers, body, interim, raw: Vec::new() });
        }
    }

    /// Reads one interim or final head without its body: for replies that are not to be read whole.
    pub fn head(&mut self) -> io::Result<Option<super::wire::Head>> {
        self.reader.head()
    }

    /// Reads exactly `n` bytes.
    pub fn exactly(&mut self, n: usize) -> io::Result<Vec<u8>> {
        self.reader.exactly(n)
    }

    /// Everything up to the end of the connection, whether it ends well or badly.
    pub fn rest(&mut self) -> Vec<u8> {
        let _ = self.reader.read_to_end();
        let raw = self.reader.all_raw();
        self.secrets.must_not_be_in(&raw, "the rest of a connection");
        raw
    }

    /// Waits for the gate to end the connection, at most so long. Whatever comes meanwhile is kept for [`Self::rest`].
    pub fn ended_within(&mut self, time: std::time::Duration) -> bool {
        self.socket().set_read_timeout(Some(time)).unwrap();
        let ended = loop {
            match self.reader.fill() {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
            }
        };
        self.socket().set_read_timeout(Some(PATIENCE)).unwrap();
        ended
    }

    /// Writes up to `most` blanks as far as they are taken without waiting; `None` when nothing is.
    pub fn write_some(&mut self, most: usize) -> Option<usize> {
        let stream = self.reader.get_mut();
        let blanks = [b' '; 16 * 1024];
        stream.write(&blanks[..most.min(blanks.len())]).ok()
    }

    /// Says that nothing more will be sent, and still listens: TLS's goodbye, then TCP's.
    pub fn half_close(&mut self) {
        let stream = self.reader.get_mut();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        stream.sock.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// The TCP connection below.
    pub fn socket(&mut self) -> &TcpStream {
        &self.reader.get_mut().sock
    }

    /// Whether the handshake picked up a former session.
    pub fn resumed(&mut self) -> bool {
        self.reader.get_mut().conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// Hangs up without a word: a reset, as a client that crashed would leave behind.
    pub fn hang_up(mut self) {
        let socket = socket2::SockRef::from(&self.reader.get_mut().sock);
        socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}
