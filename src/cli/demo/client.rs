//! A small HTTPS client for `demo --once`: one new TLS connection per call, verified against the demo's CA.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsConnector;

use crate::cli::report::Failure;

/// Time for one whole call.
const PATIENCE: Duration = Duration::from_secs(10);

type Any = Box<dyn std::error::Error + Send + Sync>;

/// Calls one gate.
pub struct Client {
    runtime: Runtime,
    tls: TlsConnector,
    gate: SocketAddr,
}

/// A whole reply.
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Client {
    /// Trusts the CA in `ca` (PEM) and nothing else.
    pub fn new(gate: SocketAddr, ca: &[u8]) -> Result<Self, Failure> {
        Self::build(gate, ca).map_err(|error| Failure::new("cannot make a TLS client").because(error))
    }

    fn build(gate: SocketAddr, ca: &[u8]) -> Result<Self, Any> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca) {
            roots.add(certificate?)?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, tls: TlsConnector::from(Arc::new(tls)), gate })
    }

    /// Makes one call; `target` is path and query.
    pub fn call(&self, method: Method, target: &str, key: Option<&str>) -> Result<Reply, Failure> {
        let what = format!("{method} {target}");
        let call = async { tokio::time::timeout(PATIENCE, self.exchange(method, target, key)).await };
        let done = self.runtime.block_on(call).map_err(Any::from).and_then(|done| done);
        done.map_err(|error| Failure::new(format!("cannot call `{what}`")).because(error))
    }

    async fn exchange(&self, method: Method, target: &str, key: Option<&str>) -> Result<Reply, Any> {
        let host = format!("localhost:{}", self.gate.port());
        let tcp = TcpStream::connect(self.gate).await?;
        let tls = self.tls.connect(ServerName::try_from("localhost")?, tcp).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(target).header("host", host);
        if let Some(key) = key {
            request = request.header("x-ce-key", key);
        }
        let (head, body) = sender.send_request(request.body(Full::<Bytes>::default())?).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        drop(sender);
        // The reply is whole; how the connection ends says nothing more.
        let _ = driver.await;
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }
}

impl Reply {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether a text stands anywhere in it.
    pub fn holds(&self, text: &str) -> bool {
        let text = text.as_bytes();
        let found = |bytes: &[u8]| memchr::memmem::find(bytes, text).is_some();
        found(&self.body) || self.headers.values().any(|value| found(value.as_bytes()))
    }
}
