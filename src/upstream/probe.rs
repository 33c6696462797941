//! A look at an upstream from outside, for `keygate doctor`: its TLS, its certificates, its clock. No key goes along, and the
//! running gate has no part in it.

use std::sync::Arc;

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{Connector, UpstreamError};
use crate::config;

/// A reply's head that is longer is not waited for, bytes.
const LONGEST_HEAD: usize = 16 * 1024;

/// What was seen.
pub struct Probe {
    /// `TLS 1.3`.
    pub version: &'static str,
    /// The suite's name.
    pub suite: String,
    /// Certificates as shown, leaf first, DER.
    pub chain: Vec<Vec<u8>>,
    /// The status of its answer, and the `Date` in it. None when what came is no HTTP.
    pub answer: Option<(u16, Option<String>)>,
}

/// Connects, verifies as the gate does, and asks for nothing in particular. None when the host is no name that a
/// certificate can hold.
pub async fn probe(upstream: &config::Upstream, tls: &ClientConfig) -> Option<Result<Probe, UpstreamError>> {
    // Without ALPN servers speak HTTP/1.1, and that can be asked by hand.
    let mut tls = tls.clone();
    tls.alpn_protocols.clear();
    let connector = Connector::new(upstream, Arc::new(tls))?;
    Some(look(&connector, upstream).await)
}

async fn look(connector: &Connector, upstream: &config::Upstream) -> Result<Probe, UpstreamError> {
    let (mut stream, _) = connector.connect().await?;
    let (authority, path) = (upstream.base_url.authority(), &upstream.base_url.path);
    let request = format!("HEAD {path}/ HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    let asking = async {
        stream.write_all(request.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        let mut head = Vec::new();
        while head.len() < LONGEST_HEAD && !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut head).await.ok()? == 0 {
                break;
            }
        }
        answer(&head)
    };
    let answer = timeout(connector.times.connect, asking).await.ok().flatten();
    let tls = stream.get_ref().1;
    Ok(Probe {
        version: match tls.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        },
        suite: tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default(),
        chain: tls.peer_certificates().unwrap_or_default().iter().map(|der| der.to_vec()).collect(),
        answer,
    })
}

fn answer(head: &[u8]) -> Option<(u16, Option<String>)> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut reply = httparse::Response::new(&mut fields);
    reply.parse(head).ok()?;
    let date = reply.headers.iter().find(|field| field.name.eq_ignore_ascii_case("date"));
    Some((reply.code?, date.map(|field| String::from_utf8_lossy(field.value).into_owned())))
}
