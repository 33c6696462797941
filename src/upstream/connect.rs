//! One connection to an upstream: address, TCP, TLS, protocol.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Ahead, Tcp, Times, UpstreamError};
use crate::config;
use crate::descriptors::ran_out;

/// A connection that TLS protects.
pub type Stream = TlsStream<Ahead<Tcp>>;

/// Connects to one upstream.
pub struct Connector {
    host: String,
    port: u16,
    addresses: Vec<SocketAddr>,
    name: ServerName<'static>,
    tls: TlsConnector,
    /// Time limits.
    pub times: Times,
}

impl Connector {
    /// For an upstream of the configuration. `None` when its host is no name that a certificate can hold.
    pub fn new(upstream: &config::Upstream, tls: Arc<ClientConfig>) -> Option<Self> {
        let host = upstream.base_url.host.clone();
        Some(Self {
            name: ServerName::try_from(host.clone()).ok()?,
            port: upstream.base_url.port,
            addresses: upstream.addresses.clone(),
            tls: TlsConnector::from(tls),
            times: Times {
                connect: upstream.connect_timeout,
                head: upstream.head_timeout,
                body: upstream.body_timeout,
                total: upstream.total_timeout,
            },
            host,
        })
    }

    /// A fresh connection, TLS verified; the flag says whether it speaks HTTP/2.
    pub async fn connect(&self) -> Result<(Stream, bool), UpstreamError> {
        let connecting = async {
            let stream = Ahead::new(Tcp::new(self.tcp().await.map_err(unreachable)?), Vec::new());
            let stream = self.tls.connect(self.name.clone(), stream).await.map_err(UpstreamError::Tls)?;
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok((stream, h2))
        };
        match timeout(self.times.connect, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(UpstreamError::ConnectTimeout(self.times.connect)),
        }
    }

    /// The addresses in turn: the pinned ones, or what DNS says.
    async fn tcp(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let found;
        let addresses = if self.addresses.is_empty() {
            found = tokio::net::lookup_host((&*self.host, self.port)).await?.collect::<Vec<_>>();
            &found
        } else {
            &self.addresses
        };
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Not to reach an upstream is its fault or the network's; to have no descriptor left is ours.
fn unreachable(error: io::Error) -> UpstreamError {
    if ran_out(&error) { UpstreamError::NoDescriptor(error) } else { UpstreamError::Unreachable(error) }
}
