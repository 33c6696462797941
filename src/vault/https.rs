//! One question to a server, and its answer: a fresh connection, TLS verified, HTTP/1.1, all within a time limit.
//!
//! What comes and goes is kept in buffers that are wiped. Redirects are not followed: they would carry secrets along.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::VaultError;
use crate::causes::chain;
use crate::config::{BaseUrl, show_duration};

/// Longest answer, bytes: the metadata of a credential with some hundred versions.
const LONGEST: usize = 128 * 1024;

/// A server, and how it is reached.
pub(super) struct Https {
    runtime: Runtime,
    address: BaseUrl,
    host: HeaderValue,
    name: ServerName<'static>,
    tls: TlsConnector,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Https {
    /// `None` when its host is no name that a certificate can hold.
    pub(super) fn new(address: &BaseUrl, tls: ClientConfig) -> std::io::Result<Option<Self>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let name = ServerName::try_from(address.host.clone()).ok();
        let host = HeaderValue::from_str(&address.authority()).ok();
        let Some((name, host)) = name.zip(host) else { return Ok(None) };
        let (address, tls) = (address.clone(), TlsConnector::from(Arc::new(tls)));
        Ok(Some(Self { runtime, address, host, name, tls }))
    }

    /// Its address, for people.
    pub(super) fn place(&self) -> String {
        self.address.to_string()
    }

    /// The path of its address.
    pub(super) fn path(&self) -> &str {
        &self.address.path
    }

    /// A server that does not answer.
    pub(super) fn away(&self, why: impl Into<String>) -> VaultError {
        VaultError::Away { place: self.place(), why: why.into() }
    }

    /// Asks. The request has everything but the headers that every request to this server has.
    pub(super) fn ask(&self, mut request: Request<Full<Bytes>>, limit: Duration) -> Result<Answer, VaultError> {
        request.headers_mut().insert(header::HOST, self.host.clone());
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        let asked = self.runtime.block_on(async { timeout(limit, self.exchange(request)).await });
        asked
            .map_err(|_| self.away(format!("no answer within {}", show_duration(limit))))?
            .map_err(|error| self.away(chain(&*error)))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, Box<dyn Error + Send + Sync>> {
        let tcp = TcpStream::connect((&*self.address.host, self.address.port)).await?;
        let tls = self.tls.connect(self.name.clone(), tcp).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        // Ends with this question, whatever becomes of it.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        answer(&mut sender, request).await
    }
}

async fn answer(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Box<dyn Error + Send + Sync>> {
    let reply = sender.send_request(request).await?;
    let status = reply.status();
    let mut frames = reply.into_body();
    // A buffer that never grows leaves no copies behind.
    let mut body = Zeroizing::new(Vec::with_capacity(LONGEST));
    while let Some(frame) = frames.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if data.len() > LONGEST - body.len() {
            return Err(format!("its answer is longer than {LONGEST} bytes").into());
        }
        body.extend_from_slice(&data);
    }
    Ok(Answer { status, body })
}
