//! Listener threads, TLS and HTTP/1.1 and HTTP/2 connections.

use super::link::{Link, Wire};
use super::service::Api;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a client may take for its handshake, and for a request's head.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long open calls get to finish when the server stops.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long to wait after a failed accept, which mostly means that there are no file descriptors left.
const BREATH: Duration = Duration::from_millis(50);

/// Receives `true` when the server stops.
pub type Stop = watch::Receiver<bool>;

/// TLS 1.2 and 1.3, h2 before http/1.1, resumption by tickets.
pub fn tls(certificate_pem: &[u8], private_key_pem: &[u8]) -> io::Result<TlsAcceptor> {
    let invalid = |error: &dyn std::error::Error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
    let chain =
        CertificateDer::pem_slice_iter(certificate_pem).collect::<Result<Vec<_>, _>>().map_err(|e| invalid(&e))?;
    let key = PrivateKeyDer::from_pem_slice(private_key_pem).map_err(|e| invalid(&e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| invalid(&e))?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).map_err(|e| invalid(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|e| invalid(&e))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A runtime for one thread, and the listener bound to it.
pub fn prepare(listener: std::net::TcpListener) -> io::Result<(Runtime, TcpListener)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _context = runtime.enter();
        TcpListener::from_std(listener)?
    };
    Ok((runtime, listener))
}

/// Accepts until it is told to stop, then lets open calls finish for a while.
pub async fn accept(listener: TcpListener, tls: TlsAcceptor, api: Arc<Api>, stop: Stop) {
    let mut own_stop = stop.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut own_stop) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => drop(connections.spawn(connection(tcp, tls.clone(), Arc::clone(&api), stop.clone()))),
                Err(_) => tokio::time::sleep(BREATH).await,
            },
        }
    }
    drop(listener);
    let all_done = async { while connections.join_next().await.is_some() {} };
    // What is still open after that is stalled on purpose or idle at the client; dropping the set ends it.
    let _ = tokio::time::timeout(FAREWELL, all_done).await;
}

/// Waits until the server stops; a sender that is gone means the same.
async fn stopped(stop: &mut Stop) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection(tcp: TcpStream, tls: TlsAcceptor, api: Arc<Api>, stop: Stop) {
    // Without it small frames wait for the client's acknowledgement; a socket that refuses is slow, not wrong.
    let _ = tcp.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(tcp)).await else { return };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let link = Arc::new(Link::default());
    if is_h2 { h2(stream, api, link, stop).await } else { h1(stream, api, link, stop).await }
}

async fn h1(stream: TlsStream<TcpStream>, api: Arc<Api>, link: Arc<Link>, mut stop: Stop) {
    let io = TokioIo::new(Wire::new(stream, Arc::clone(&link)));
    let calls = service_fn(|request| Arc::clone(&api).serve(Arc::clone(&link), request));
    let mut server = http1::Builder::new();
    // Title-Case names, as the real API writes them: whoever must not pass them on as they are can be seen doing it.
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).title_case_headers(true);
    let mut connection = pin!(server.serve_connection(io, calls));
    tokio::select! {
        biased;
        // The connection comes first: what was written before a cut is still flushed.
        _ = connection.as_mut() => return,
        () = link.until_cut() => return,
        () = stopped(&mut stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! { biased; _ = connection => {}, () = link.until_cut() => {} }
}

async fn h2(stream: TlsStream<TcpStream>, api: Arc<Api>, link: Arc<Link>, mut stop: Stop) {
    let io = TokioIo::new(Wire::new(stream, Arc::clone(&link)));
    let calls = service_fn(|request| Arc::clone(&api).serve(Arc::clone(&link), request));
    let mut server = http2::Builder::new(TokioExecutor::new());
    server.timer(TokioTimer::new()).max_concurrent_streams(250);
    let mut connection = pin!(server.serve_connection(io, calls));
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = link.until_cut() => return,
        () = stopped(&mut stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! { biased; _ = connection => {}, () = link.until_cut() => {} }
}
