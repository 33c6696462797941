//! A hand-written TLS upstream: it notes what reached it and answers byte for byte what a test tells it to.

use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::pki::{Leaf, Pki};
use super::setup::Target;
use super::wire::{Reader, find};
use super::{PATIENCE, until};

type Tls = StreamOwned<ServerConnection, TcpStream>;
type Answer = dyn Fn(&mut Exchange) -> io::Result<()> + Send + Sync;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Target as it stood on the request line.
    pub target: String,
    /// Headers in order, names as they came.
    pub headers: Vec<(String, String)>,
    /// Body, once it was read.
    pub body: Vec<u8>,
}

impl Seen {
    /// The first header of this name, or empty.
    pub fn header(&self, name: &str) -> &str {
        find(&self.headers, name)
    }

    /// How many headers of this name came.
    pub fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count()
    }
}

/// What the threads share.
struct Shared {
    seen: Mutex<Vec<Seen>>,
    sockets: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
    released: (Mutex<bool>, Condvar),
}

/// The upstream. It ends when it is dropped.
pub struct Merchant {
    port: u16,
    ca_pem: String,
    shared: Arc<Shared>,
}

/// One request to be answered.
pub struct Exchange<'a> {
    reader: &'a mut Reader<Tls>,
    head: super::wire::Head,
    at: usize,
    shared: &'a Shared,
    body_read: bool,
}

impl Merchant {
    /// Starts one with a certificate for localhost.
    pub fn start(answer: impl Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let pki = Pki::new();
        Self::with_certificate(&pki, &pki.leaf(&["localhost", "127.0.0.1"]), answer)
    }

    /// One that answers every call with 200 and an empty page of ChannelEngine's envelope.
    pub fn content() -> Self {
        Self::start(|exchange| {
            exchange.json(200, r#"{"Content":[],"Count":0,"StatusCode":200,"LogId":"m-1","Success":true}"#)
        })
    }

    /// Starts one with this certificate; `pki` is what the gate is told to trust.
    pub fn with_certificate(
        pki: &Pki,
        leaf: &Leaf,
        answer: impl Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let tls = leaf.server(&["http/1.1"]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            sockets: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            released: (Mutex::new(false), Condvar::new()),
        });
        let gate = Arc::new(Gatekeeper { shared: shared.clone(), tls: Arc::new(tls), answer: Box::new(answer) });
        thread::spawn(move || gate.accept(&listener));
        Self { port, ca_pem: pki.ca_pem().to_owned(), shared }
    }

    /// Where the gate should send its calls.
    pub fn target(&self) -> Target {
        Target { port: self.port, ca_pem: self.ca_pem.clone(), base_path: "/api".into() }
    }

    /// Everything that reached it.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// The one request that reached it.
    #[track_caller]
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.into_iter().next().unwrap()
    }

    /// How many connections were opened to it, TLS or not.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until `n` requests have reached it.
    pub fn await_calls(&self, n: usize) {
        until(&format!("{n} calls at the upstream"), || (self.seen().len() >= n).then_some(()));
    }

    /// Lets every [`Exchange::hold`] go on.
    pub fn release(&self) {
        *lock(&self.shared.released.0) = true;
        self.shared.released.1.notify_all();
    }
}

impl Drop for Merchant {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.release();
        for socket in lock(&self.shared.sockets).iter() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        // One last connection wakes the thread that accepts, so that it sees the flag and the port is free again.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// A thread that panicked while it held a lock has failed its own test; the others read on.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections and answers on each in a thread of its own.
struct Gatekeeper {
    shared: Arc<Shared>,
    tls: Arc<ServerConfig>,
    answer: Box<Answer>,
}

impl Gatekeeper {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for tcp in listener.incoming().map_while(Result::ok) {
            if self.shared.stopped.load(Ordering::SeqCst) {
                return;
            }
            self.shared.connections.fetch_add(1, Ordering::SeqCst);
            lock(&self.shared.sockets).extend(tcp.try_clone());
            let keeper = self.clone();
            thread::spawn(move || keeper.serve(tcp));
        }
    }

    /// Ends with the connection; what the gate does to it is for the test to judge, not for this thread.
    fn serve(&self, tcp: TcpStream) -> io::Result<()> {
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_nodelay(true)?;
        let tls = ServerConnection::new(self.tls.clone()).map_err(io::Error::other)?;
        let mut reader = Reader::new(StreamOwned::new(tls, tcp));
        while let Some(head) = reader.head()? {
            let mut line = head.first.split(' ');
            let mut part = || line.next().unwrap_or_default().to_owned();
            let (method, target) = (part(), part());
            let seen = Seen { method, target, headers: head.headers.clone(), body: Vec::new() };
            let at = push(&self.shared.seen, seen);
            let mut exchange = Exchange { reader: &mut reader, head, at, shared: &self.shared, body_read: false };
            (self.answer)(&mut exchange)?;
            if exchange.body().is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn push(seen: &Mutex<Vec<Seen>>, one: Seen) -> usize {
    let mut seen = lock(seen);
    seen.push(one);
    seen.len() - 1
}

impl Exchange<'_> {
    /// The request, with its body when that has been read.
    pub fn seen(&self) -> Seen {
        lock(&self.shared.seen)[self.at].clone()
    }

    /// Which call this is, from 0.
    pub fn number(&self) -> usize {
        self.at
    }

    /// Reads the request's body, if that has not been done.
    pub fn body(&mut self) -> io::Result<Vec<u8>> {
        if !self.body_read {
            let body = self.reader.body(&self.head, false)?;
            self.body_read = true;
            lock(&self.shared.seen)[self.at].body = body;
        }
        Ok(self.seen().body)
    }

    /// Writes bytes as they are and sends them off, in a TLS record of their own.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let stream = self.reader.get_mut();
        stream.write_all(bytes.as_ref())?;
        stream.flush()
    }

    /// Reads the body and answers with these headers (`\r\n` after each) and a body of known length.
    pub fn reply(&mut self, status: u16, headers: &str, body: &[u8]) -> io::Result<()> {
        self.body()?;
        let head = format!("HTTP/1.1 {status} Whatever\r\n{headers}content-length: {}\r\n\r\n", body.len());
        let whole = if self.seen().method == "HEAD" { head.into_bytes() } else { [head.as_bytes(), body].concat() };
        self.send(whole)
    }

    /// Reads the body and answers with JSON.
    pub fn json(&mut self, status: u16, body: &str) -> io::Result<()> {
        self.reply(status, "content-type: application/json\r\n", body.as_bytes())
    }

    /// Cuts the connection without the TLS goodbye.
    pub fn cut(&mut self) -> io::Result<()> {
        self.reader.get_mut().sock.shutdown(Shutdown::Both)?;
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// Waits until the test calls [`Merchant::release`] or ends.
    pub fn hold(&self) {
        let mut released = lock(&self.shared.released.0);
        while !*released {
            released = self.shared.released.1.wait(released).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
