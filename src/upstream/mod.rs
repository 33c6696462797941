//! Verified TLS to the merchant API.
//!
//! An upstream is a tower service from [`Request`] to [`Inbound`]: the HTTPS client of `client.rs`, which the calls of a worker
//! share, or a closure in tests. Requests are retried only when nothing of them was sent.

mod ahead;
mod client;
mod connect;
mod h1;
mod h2;
mod late;
pub mod once;
mod pool;
mod probe;
mod tcp;
mod tls;
mod unsent;
mod upload;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use crate::vault::inject::OutboundParts;

pub use ahead::Ahead;
pub use client::Client;
pub use connect::Connector;
pub use late::watch;
pub use probe::{Probe, probe};
pub use tcp::Tcp;
pub use tls::{TlsSetupError, client_builder, client_config};
pub(crate) use unsent::Unsent;
pub use upload::{Arrival, Progress, Upload, UploadLimits};

/// What is sent: an outbound request and the body that streams behind it.
pub struct Request {
    /// Method, target, headers.
    pub parts: OutboundParts,
    /// The body.
    pub body: Upload,
    /// When the whole call must be over.
    pub deadline: Instant,
}

/// What comes back: the head, and the body as it streams in.
pub struct Inbound {
    /// Status and headers, as the upstream sent them.
    pub head: http::response::Parts,
    /// The body; a closure in tests hands in whole bytes.
    pub body: InboundBody,
}

/// A reply's body. Read to its end, it gives its connection back.
pub enum InboundBody {
    /// On an HTTP/1.1 connection.
    H1(h1::Body),
    /// A stream of an HTTP/2 connection.
    H2(Incoming),
    /// At hand already.
    Whole(Full<Bytes>),
}

impl Body for InboundBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::H1(body) => Pin::new(body).poll_frame(cx),
            Self::H2(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::H1(body) => body.is_end_stream(),
            Self::H2(body) => body.is_end_stream(),
            Self::Whole(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::H1(body) => body.size_hint(),
            Self::H2(body) => body.size_hint(),
            Self::Whole(body) => body.size_hint(),
        }
    }
}

/// An upstream, as the route sees it. A call borrows it.
pub enum Service {
    /// The HTTPS client.
    Client(Box<Client>),
    /// What stands in for one.
    Other(BoxCloneSyncService<Request, Inbound, UpstreamError>),
}

impl<'a> tower::Service<Request> for &'a Service {
    type Response = Inbound;
    type Error = UpstreamError;
    type Future = Pin<Box<dyn Future<Output = Result<Inbound, UpstreamError>> + Send + 'a>>;

    /// A call waits for a connection itself, while its time runs.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self {
            Service::Client(client) => Box::pin(client.call(request)),
            Service::Other(service) => Box::pin(service.clone().oneshot(request)),
        }
    }
}

/// Why a call did not get a reply. `Display` is for the client: it names no address.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No address of it took a connection.
    #[error("the merchant API cannot be reached")]
    Unreachable(#[source] io::Error),
    /// This process has no file descriptor left for a connection.
    #[error("the gate has no file descriptor left for a connection to the merchant API")]
    NoDescriptor(#[source] io::Error),
    /// It does not speak TLS 1.2 or 1.3, or its certificate does not hold.
    #[error("no trusted TLS connection to the merchant API can be made")]
    Tls(#[source] io::Error),
    /// Connecting took too long.
    #[error("connecting to the merchant API took longer than {0:?}")]
    ConnectTimeout(Duration),
    /// No reply head came in time.
    #[error("the merchant API did not begin its reply within {0:?}")]
    HeadTimeout(Duration),
    /// The whole call took too long.
    #[error("the call took longer than {0:?}")]
    TotalTimeout(Duration),
    /// The reply's body stalled.
    #[error("the merchant API paused inside its reply for longer than {0:?}")]
    BodyTimeout(Duration),
    /// The connection broke, or what came was no HTTP.
    #[error("the merchant API broke off before its reply was whole")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A reply that this gate cannot check for the real key.
    #[error("the merchant API's reply is encoded as `{0}`, although it was asked not to encode it")]
    Encoded(String),
    /// The client's own body was too large, bytes.
    #[error("the request body is larger than {0} bytes")]
    BodyTooLarge(u64),
    /// The client paused too long inside its body.
    #[error("the request body paused for longer than {0:?}")]
    UploadTimeout(Duration),
    /// The client sent its body too slowly: for this long below this many bytes a second.
    #[error("the request body came at less than {1} bytes a second for {0:?}")]
    UploadTooSlow(Duration, u32),
    /// The client broke off inside its body.
    #[error("the request body broke off")]
    UploadBroken,
}

impl UpstreamError {
    /// The stable refusal code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "upstream_unreachable",
            Self::NoDescriptor(_) => "descriptors_exhausted",
            Self::Tls(_) => "upstream_tls",
            Self::ConnectTimeout(_) => "upstream_connect_timeout",
            Self::HeadTimeout(_) => "upstream_head_timeout",
            Self::TotalTimeout(_) => "upstream_total_timeout",
            Self::BodyTimeout(_) => "upstream_body_timeout",
            Self::Broken(_) => "upstream_broken",
            Self::Encoded(_) => "reply_encoded",
            Self::BodyTooLarge(_) => "body_too_large",
            Self::UploadTimeout(_) => "body_timeout",
            Self::UploadTooSlow(..) => "body_too_slow",
            Self::UploadBroken => "body_broken",
        }
    }
}

/// Time limits of one upstream.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// To connect, TLS included.
    pub connect: Duration,
    /// From the request's end to the reply's head.
    pub head: Duration,
    /// Longest pause in the reply's body.
    pub body: Duration,
    /// For the whole call.
    pub total: Duration,
}
