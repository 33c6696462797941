//! The HTTPS client: a connection from the pool or a fresh one, and a request on it.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri, Version, header};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{Instant, timeout_at};

use super::h1::{self, Exchange, Link};
use super::h2::{Filling, Kept, Shared, Waiting};
use super::late;
use super::pool::{Pool, Sender};
use super::upload::Progress;
use super::{Connector, Inbound, InboundBody, Request, Upload, UpstreamError};
use crate::vault::inject::OutboundParts;

/// How often a call moves on to another pooled connection when the one at hand turns out to be closed.
const MAX_STALE: usize = 4;
/// How long behind a call's end its secrets may still be needed. A head that waits for a stream gets one when other calls end,
/// and those that came with this one run out of time about when it does: it may be written just then.
const LATE: Duration = Duration::from_secs(1);

/// One upstream in one worker: its connections, and how requests are sent on them.
pub struct Client {
    connector: Connector,
    authority: Authority,
    host: HeaderValue,
    pool: Arc<Pool>,
    max_head: usize,
}

impl Client {
    /// `None` when the authority is none.
    pub fn new(connector: Connector, authority: &str, max_head: u32) -> Option<Self> {
        Some(Self {
            connector,
            authority: authority.parse().ok()?,
            host: HeaderValue::from_str(authority).ok()?,
            pool: Arc::default(),
            max_head: max_head as usize,
        })
    }

    /// Sends a request, and waits for the head of its reply.
    pub(super) fn call(&self, request: Request) -> impl Future<Output = Result<Inbound, UpstreamError>> + Send + '_ {
        let Request { parts, body, deadline } = request;
        let mut message = Message::new(parts, body);
        async move { self.send(&mut message, deadline).await }
    }

    async fn send(&self, message: &mut Message, deadline: Instant) -> Result<Inbound, UpstreamError> {
        let mut stale = 0;
        loop {
            let pooled = if stale < MAX_STALE { self.pool.take() } else { None };
            let fresh = pooled.is_none();
            let sender = match pooled {
                Some(sender) => sender,
                // Boxed: a call that finds a connection need not carry the room for making one.
                None => match timeout_at(deadline, Box::pin(self.open())).await {
                    Ok(opened) => opened?,
                    Err(_) => return Err(self.too_long()),
                },
            };
            match self.attempt(sender, message, deadline).await? {
                Attempt::Reply(inbound) => return Ok(inbound),
                Attempt::NothingSent(error) if fresh => return Err(UpstreamError::Broken(error)),
                Attempt::NothingSent(_) => stale += 1,
            }
        }
    }

    async fn open(&self) -> Result<Sender, UpstreamError> {
        if self.pool.speaks_h1() {
            return self.connect().await;
        }
        let _first = self.pool.connecting.lock().await;
        match self.pool.take() {
            Some(Sender::H2(shared)) => Ok(Sender::H2(shared)),
            _ => self.connect().await,
        }
    }

    async fn connect(&self) -> Result<Sender, UpstreamError> {
        let (stream, h2) = self.connector.connect().await?;
        if h2 {
            let waiting = Arc::<Waiting>::default();
            let io = TokioIo::new(Filling::new(stream, waiting.clone()));
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(u32::try_from(self.max_head).unwrap_or(u32::MAX))
                .initial_stream_window_size(1024 * 1024)
                .initial_connection_window_size(4 * 1024 * 1024)
                .keep_alive_interval(Duration::from_secs(20))
                .handshake(io)
                .await
                .map_err(broken)?;
            tokio::spawn(async move { log_end(connection.await) });
            let shared = Shared { sender, waiting };
            self.pool.opened_h2(shared.clone());
            return Ok(Sender::H2(shared));
        }
        if self.pool.opened_h1() {
            tokio::spawn(Pool::keep_clean(Arc::downgrade(&self.pool)));
        }
        Ok(Sender::H1(Link::new(stream)))
    }

    fn too_long(&self) -> UpstreamError {
        UpstreamError::TotalTimeout(self.connector.times.total)
    }

    /// Sends, and waits for the reply's head. While the body still moves, the upstream is not late. One look serves both
    /// limits: at the one that ends first.
    async fn attempt(
        &self,
        sender: Sender,
        message: &mut Message,
        deadline: Instant,
    ) -> Result<Attempt, UpstreamError> {
        let progress = message.request.body().progress();
        match sender {
            Sender::H1(link) => self.on_h1(link, &mut message.request, deadline, progress).await,
            // Boxed: few upstreams are worth the room in every call.
            Sender::H2(shared) => Box::pin(self.on_h2(shared, message, deadline, progress)).await,
        }
    }

    async fn on_h1(
        &self,
        link: Box<Link>,
        message: &mut http::Request<Upload>,
        deadline: Instant,
        progress: Option<Arc<Progress>>,
    ) -> Result<Attempt, UpstreamError> {
        let mut exchange = Box::new(Exchange::new(link, message, &self.host, self.max_head));
        match self.in_time(poll_fn(|cx| exchange.poll_head(cx)), deadline, progress).await? {
            Ok(head) => {
                let body = h1::Body::new(exchange, &head, self.pool.clone());
                Ok(Attempt::Reply(Inbound { head: head.parts, body: InboundBody::H1(body) }))
            }
            Err(error) => match exchange.take_back() {
                Some(body) => {
                    *message.body_mut() = body;
                    Ok(Attempt::NothingSent(error))
                }
                None => Err(UpstreamError::Broken(error)),
            },
        }
    }

    async fn on_h2(
        &self,
        shared: Shared,
        message: &mut Message,
        deadline: Instant,
        progress: Option<Arc<Progress>>,
    ) -> Result<Attempt, UpstreamError> {
        let Shared { mut sender, waiting } = shared;
        match self.in_time(poll_fn(|cx| sender.poll_ready(cx)), deadline, None).await? {
            Ok(()) => {}
            Err(error) => return Ok(Attempt::NothingSent(error.into())),
        }
        let (kept, sending) = self.with_blanks(message, &waiting, deadline + LATE)?;
        let sent = std::pin::pin!(sender.try_send_request(sending));
        let ended = self.in_time(sent, deadline, progress).await.inspect_err(|_| waiting.given_up(&kept));
        match ended? {
            Ok(reply) => {
                let (head, body) = reply.into_parts();
                Ok(Attempt::Reply(Inbound { head, body: InboundBody::H2(body) }))
            }
            Err(mut error) => match (error.take_message(), waiting.fault()) {
                (Some(unsent), _) => {
                    waiting.take_back(kept);
                    *message.request.body_mut() = unsent.into_body();
                    Ok(Attempt::NothingSent(error.into_error().into()))
                }
                (None, Some(fault)) => Err(UpstreamError::Broken(fault.into())),
                (None, None) => {
                    waiting.given_up(&kept);
                    Err(broken(error.into_error()))
                }
            },
        }
    }

    /// What the library is given: the body, and a copy of the head with a blank in the place of each secret. The head itself
    /// stays, in case that this connection takes nothing. A secret waits until its head is written, and for no longer than it is
    /// told.
    fn with_blanks(
        &self,
        message: &mut Message,
        waiting: &Waiting,
        until: Instant,
    ) -> Result<(Kept, http::Request<Upload>), UpstreamError> {
        let Message { request, keyed_target } = message;
        let mut target = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut headers = request.headers().clone();
        let kept = waiting.keep(keyed_target.then_some(&mut target), &mut headers, until);
        let kept = kept.ok_or_else(|| UpstreamError::Broken("the system hands out no random bytes".into()))?;
        let mut sending = http::Request::new(std::mem::take(request.body_mut()));
        sending.method_mut().clone_from(request.method());
        *sending.uri_mut() = target.into();
        *sending.headers_mut() = headers;
        Ok((kept, self.absolute(sending)))
    }

    async fn in_time<F: Future + Unpin>(
        &self,
        mut sending: F,
        deadline: Instant,
        progress: Option<Arc<Progress>>,
    ) -> Result<F::Output, UpstreamError> {
        let limit = self.connector.times.head;
        let bytes = || progress.as_ref().map_or(0, |progress| progress.bytes());
        let mut seen = bytes();
        loop {
            match late::until(deadline.min(Instant::now() + limit), &mut sending).await {
                Some(result) => return Ok(result),
                None if Instant::now() >= deadline => return Err(self.too_long()),
                None if bytes() > seen => seen = bytes(),
                None => return Err(UpstreamError::HeadTimeout(limit)),
            }
        }
    }

    /// HTTP/2 carries scheme and authority apart, and no `Host`.
    fn absolute(&self, mut message: http::Request<Upload>) -> http::Request<Upload> {
        let mut parts = std::mem::take(message.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(self.authority.clone());
        *message.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        *message.version_mut() = Version::HTTP_2;
        message.headers_mut().remove(header::HOST);
        message
    }
}

/// What is sent, in origin form; HTTP/2 gets scheme and authority when the connection is known.
struct Message {
    request: http::Request<Upload>,
    keyed_target: bool,
}

impl Message {
    fn new(parts: OutboundParts, body: Upload) -> Self {
        let mut request = http::Request::new(body);
        *request.method_mut() = parts.method;
        *request.headers_mut() = parts.headers;
        *request.uri_mut() = Uri::from(parts.target);
        Self { request, keyed_target: parts.keyed_target }
    }
}

/// What came of sending on one connection.
enum Attempt {
    Reply(Inbound),
    NothingSent(Box<dyn std::error::Error + Send + Sync>),
}

fn broken(error: hyper::Error) -> UpstreamError {
    UpstreamError::Broken(Box::new(error))
}

fn log_end(end: hyper::Result<()>) {
    if let Err(error) = end {
        tracing::debug!(%error, "an upstream connection ended");
    }
}
