//! An upstream that speaks TLS and then only notes bytes: every byte of every connection, read by the strict reader,
//! answered as long as it makes sense.

use std::io::{self, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::strict::{Read, Request, Rules, read};
use crate::harness::pki::Pki;
use crate::harness::{PATIENCE, Target};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 52\r\n\r\n\
{\"Content\":[],\"Count\":0,\"StatusCode\":200,\"LogId\":1 }";

/// What one connection brought.
#[derive(Debug, Default)]
pub struct Noted {
    /// Whole requests.
    pub requests: Vec<Request>,
    /// Bytes behind the last whole one.
    pub rest: Vec<u8>,
    /// What the strict reader found wrong with them.
    pub wrong: Option<String>,
}

struct Shared {
    rules: Rules,
    noted: Mutex<Vec<Noted>>,
    stopped: AtomicBool,
}

/// The upstream. It ends when it is dropped.
pub struct Upstream {
    port: u16,
    ca_pem: String,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Starts one that expects this real key.
    pub fn start(key: &str) -> Self {
        let pki = Pki::new();
        let tls = pki.leaf(&["localhost", "127.0.0.1"]).server(&[]);
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let rules = Rules { host: format!("localhost:{port}"), key: key.to_owned() };
        let shared = Arc::new(Shared { rules, noted: Mutex::default(), stopped: AtomicBool::new(false) });
        let (tls, held) = (Arc::new(tls), shared.clone());
        thread::spawn(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                if held.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (tls, held) = (tls.clone(), held.clone());
                thread::spawn(move || serve(tcp, tls, &held));
            }
        });
        Self { port, ca_pem: pki.ca_pem().to_owned(), shared }
    }

    /// Where the gate finds it.
    pub fn target(&self) -> Target {
        Target { port: self.port, ca_pem: self.ca_pem.clone(), base_path: "/api".into() }
    }

    /// What came, by connection. Connections are noted when they begin, and what came on them as it comes.
    pub fn noted(&self) -> std::sync::MutexGuard<'_, Vec<Noted>> {
        lock(&self.shared.noted)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, so that it sees the flag.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn lock(noted: &Mutex<Vec<Noted>>) -> std::sync::MutexGuard<'_, Vec<Noted>> {
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends with the connection; whether it ended well is for the test to judge by what was noted.
fn serve(tcp: TcpStream, tls: Arc<ServerConfig>, shared: &Shared) -> io::Result<()> {
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_nodelay(true)?;
    let at = {
        let mut noted = lock(&shared.noted);
        noted.push(Noted::default());
        noted.len() - 1
    };
    let mut stream = StreamOwned::new(ServerConnection::new(tls).map_err(io::Error::other)?, tcp);
    let mut chunk = [0; 16 * 1024];
    loop {
        let n = stream.read(&mut chunk)?;
        if n == 0 {
            return Ok(());
        }
        let Some(answers) = note(&mut lock(&shared.noted)[at], &chunk[..n], &shared.rules) else { return Ok(()) };
        for _ in 0..answers {
            stream.write_all(ANSWER)?;
        }
        stream.flush()?;
    }
}

/// Takes bytes in; how many requests they completed. `None` once something was wrong.
fn note(noted: &mut Noted, bytes: &[u8], rules: &Rules) -> Option<usize> {
    noted.rest.extend_from_slice(bytes);
    let before = noted.requests.len();
    while noted.wrong.is_none() && !noted.rest.is_empty() {
        match read(&noted.rest, rules) {
            Read::Whole(request, taken) => {
                noted.requests.push(*request);
                noted.rest.drain(..taken);
            }
            Read::More => break,
            Read::Wrong(why) => noted.wrong = Some(why),
        }
    }
    noted.wrong.is_none().then_some(noted.requests.len() - before)
}

#[test]
fn bytes_behind_a_request_are_noted_as_wrong() {
    let rules = Rules { host: "h".into(), key: "k".into() };
    let mut noted = Noted::default();
    let plain = b"GET /a HTTP/1.1\r\nhost: h\r\nx-ce-key: k\r\n\r\n";
    assert_eq!(note(&mut noted, &[&plain[..], plain].concat(), &rules), Some(2));
    assert!(noted.wrong.is_none() && noted.rest.is_empty());
    assert_eq!(note(&mut noted, b"0\r\n\r\n", &rules), None);
    assert!(noted.wrong.is_some(), "{noted:?}");
}
