//! Bytes of a client through the whole route, in memory: hyper's server on a pipe, the real gateway, a closure as upstream.
//! HTTP/2 when they begin with its preface, HTTP/1.1 otherwise.

use std::cell::Cell;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use keygate::audit::{Http, TlsFacts};
use keygate::entry::{Abandoned, Gone, Peer};
use keygate::gateway::Gateway;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout};

use super::gate::{Lines, REAL, gateway};

/// Longer than any input takes; what takes longer hangs.
const HANGS: Duration = Duration::from_secs(20);
/// So long is waited for the rest of a body that does not come.
const PATIENCE: Duration = Duration::from_millis(3);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

thread_local! {
    static GATE: (Runtime, Arc<Gateway>, Lines) = {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (gateway, lines) = gateway();
        (runtime, Arc::new(gateway), lines)
    };
}

/// Nothing panics or hangs; what reaches the upstream is one well-formed request; the real key reaches nobody; whoever
/// got a complete reply is on record.
pub fn run(data: &[u8]) {
    if data.len() > 48 * 1024 {
        return;
    }
    GATE.with(|(runtime, gateway, lines)| {
        drop(lines.take());
        let got = runtime.block_on(async { timeout(HANGS, play(data, gateway)).await }).expect("it hangs");
        assert!(memchr::memmem::find(&got, REAL.as_bytes()).is_none(), "the real key reached the client");
        let written = lines.take();
        assert!(memchr::memmem::find(&written, REAL.as_bytes()).is_none(), "the real key is on record");
        for record in records(&got) {
            assert!(memchr::memmem::find(&written, record).is_some(), "a complete reply is not on record");
        }
    });
}

/// Ids of records, as replies over HTTP/1.1 name them.
fn records(got: &[u8]) -> impl Iterator<Item = &[u8]> {
    const NAME: &[u8] = b"keygate-record: ";
    memchr::memmem::find_iter(got, NAME).filter_map(|at| got.get(at + NAME.len()..at + NAME.len() + 36))
}

async fn play(data: &[u8], gateway: &Arc<Gateway>) -> Vec<u8> {
    let http = if data.starts_with(PREFACE) { Http::H2 } else { Http::H1 };
    let peer = Arc::new(Peer {
        address: [127, 0, 0, 1].into(),
        tls: TlsFacts::default().into(),
        http,
        abandoned: Abandoned::default(),
    });
    let under_way = Arc::new(AtomicUsize::new(0));
    let (client, server) = tokio::io::duplex(1 << 20);
    let (calls, gateway) = (under_way.clone(), gateway.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (gateway, peer, one) = (gateway.clone(), peer.clone(), UnderWay::begin(&calls));
        async move { Ok::<_, Infallible>(gateway.handle(&peer, request, Gone::default(), one).await) }
    });
    let server = TokioIo::new(server);
    let gone = Cell::new(false);
    let serving = async {
        // How a connection ends is hyper's word; what must not happen is a panic or a hang.
        let _ = match http {
            Http::H1 => {
                let mut builder = hyper::server::conn::http1::Builder::new();
                builder.timer(TokioTimer::new()).max_header_size(72 * 1024).max_headers(100);
                builder.serve_connection(server, service).await
            }
            Http::H2 => {
                let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                builder.timer(TokioTimer::new()).max_concurrent_streams(128).max_header_list_size(72 * 1024);
                builder.serve_connection(server, service).await
            }
        };
        gone.set(true);
    };
    let ((), got) = tokio::join!(serving, listen(client, data, &under_way, &gone));
    got
}

/// A call that is under way.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(calls: &Arc<AtomicUsize>) -> Self {
        calls.fetch_add(1, Ordering::Relaxed);
        Self(calls.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The client: sends everything, takes what comes, and hangs up once no call is under way or nothing comes any more.
async fn listen(mut client: DuplexStream, data: &[u8], under_way: &AtomicUsize, gone: &Cell<bool>) -> Vec<u8> {
    let mut got = Vec::new();
    if client.write_all(data).await.is_err() {
        return got;
    }
    let (mut calm, mut since) = (0, Instant::now());
    while !gone.get() && calm < 4 && since.elapsed() < PATIENCE {
        let before = got.len();
        // Takes what is there without waiting for more.
        while let Ok(Ok(1..)) = timeout(Duration::ZERO, client.read_buf(&mut got)).await {}
        if got.len() > before {
            since = Instant::now();
        }
        calm = if got.len() == before && under_way.load(Ordering::Relaxed) == 0 { calm + 1 } else { 0 };
        tokio::task::yield_now().await;
    }
    // Both may fail: the server may have gone first.
    let _ = client.shutdown().await;
    let _ = client.read_to_end(&mut got).await;
    got
}
