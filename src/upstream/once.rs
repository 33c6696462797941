//! One request over a connection of its own: TLS verified as it is towards every upstream, HTTP/1.1, within a time limit. For
//! places that the gate and its commands send records to; calls of integrations never go this way.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Why there is no answer.
pub type Trouble = Box<dyn Error + Send + Sync>;

/// A server that is spoken to over TLS.
#[derive(Clone)]
pub struct Server {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl Server {
    /// None when the host is no name that a certificate can hold.
    pub fn new(host: &str, port: u16, tls: Arc<ClientConfig>) -> Option<Self> {
        let name = ServerName::try_from(host.to_owned()).ok()?;
        Some(Self { host: host.to_owned(), port, name, tls: TlsConnector::from(tls) })
    }

    /// Connects; the certificate is verified.
    pub async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect((&*self.host, self.port)).await?;
        tcp.set_nodelay(true)?;
        self.tls.connect(self.name.clone(), tcp).await
    }

    /// Asks, and takes the whole answer in. Redirects are not followed: the answer would come from somebody else.
    pub async fn ask<B>(&self, request: Request<B>, longest: usize, limit: Duration) -> Result<Response<Bytes>, Trouble>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Trouble>,
    {
        let late = || format!("no answer within {} s", limit.as_secs());
        timeout(limit, self.exchange(request, longest)).await.map_err(|_| late())?
    }

    async fn exchange<B>(&self, mut request: Request<B>, longest: usize) -> Result<Response<Bytes>, Trouble>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Trouble>,
    {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let authority = if self.port == 443 { host } else { format!("{host}:{}", self.port) };
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(&authority)?);
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect().await?)).await?;
        // Ends with this request, whatever becomes of it.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let (head, mut body) = sender.send_request(request).await?.into_parts();
        let mut taken = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if data.len() > longest.saturating_sub(taken.len()) {
                return Err(format!("the answer is longer than {longest} bytes").into());
            }
            taken.extend_from_slice(&data);
        }
        Ok(Response::from_parts(head, taken.freeze()))
    }
}
