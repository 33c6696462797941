//! The HTTPS client: a connection from the pool or a fresh one, and a request on it.

use std::pin::pin;
use std::sync::Arc;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri, Version, header};
use http_body_util::Either;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{Instant, timeout_at};
use tower::util::BoxCloneSyncService;

use super::pool::{Lease, Pool, Sender};
use super::{Connector, Inbound, Request, Service, Upload, UpstreamError};
use crate::vault::inject::OutboundParts;

/// How often a call moves on to another pooled connection when the one at hand turns out to be closed.
const MAX_STALE: usize = 4;

struct Client {
    connector: Connector,
    authority: Authority,
    host: HeaderValue,
    pool: Arc<Pool>,
    max_head: usize,
}

/// The service of one upstream in one worker. `None` when the authority is none.
pub fn client(connector: Connector, authority: &str, max_head: u32) -> Option<Service> {
    let client = Arc::new(Client {
        connector,
        authority: authority.parse().ok()?,
        host: HeaderValue::from_str(authority).ok()?,
        pool: Arc::default(),
        max_head: max_head as usize,
    });
    Some(BoxCloneSyncService::new(tower::service_fn(move |request| {
        let client = client.clone();
        async move { client.call(request).await }
    })))
}

impl Client {
    async fn call(&self, request: Request) -> Result<Inbound, UpstreamError> {
        let Request { parts, body, deadline } = request;
        let mut message = message(parts, body);
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
                Attempt::NothingSent(_, error) if fresh => return Err(broken(error)),
                Attempt::NothingSent(again, _) => (message, stale) = (*again, stale + 1),
            }
        }
    }

    async fn open(&self) -> Result<Sender, UpstreamError> {
        if self.pool.speaks_h1() {
            return self.connect().await;
        }
        let _first = self.pool.connecting.lock().await;
        match self.pool.take() {
            Some(Sender::H2(sender)) => Ok(Sender::H2(sender)),
            _ => self.connect().await,
        }
    }

    async fn connect(&self) -> Result<Sender, UpstreamError> {
        let (stream, h2) = self.connector.connect().await?;
        let io = TokioIo::new(stream);
        if h2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(u32::try_from(self.max_head).unwrap_or(u32::MAX))
                .initial_stream_window_size(1024 * 1024)
                .initial_connection_window_size(4 * 1024 * 1024)
                .keep_alive_interval(std::time::Duration::from_secs(20))
                .handshake(io)
                .await
                .map_err(broken)?;
            tokio::spawn(async move { log_end(connection.await) });
            self.pool.opened_h2(sender.clone());
            return Ok(Sender::H2(sender));
        }
        let (sender, connection) =
            http1::Builder::new().max_header_size(self.max_head).handshake(io).await.map_err(broken)?;
        tokio::spawn(async move { log_end(connection.await) });
        self.pool.opened_h1();
        Ok(Sender::H1(sender))
    }

    fn too_long(&self) -> UpstreamError {
        UpstreamError::TotalTimeout(self.connector.times.total)
    }

    /// Sends, and waits for the reply's head. While the body still moves, the upstream is not late. One timer serves both
    /// limits: the one that ends first.
    async fn attempt(
        &self,
        sender: Sender,
        message: http::Request<Upload>,
        deadline: Instant,
    ) -> Result<Attempt, UpstreamError> {
        let limit = self.connector.times.head;
        let progress = message.body().progress();
        let mut sending = pin!(self.send(sender, message));
        let mut seen = progress.bytes();
        loop {
            match timeout_at(deadline.min(Instant::now() + limit), &mut sending).await {
                Ok(result) => return result,
                Err(_) if Instant::now() >= deadline => return Err(self.too_long()),
                Err(_) if progress.bytes() > seen => seen = progress.bytes(),
                Err(_) => return Err(UpstreamError::HeadTimeout(limit)),
            }
        }
    }

    async fn send(&self, sender: Sender, mut message: http::Request<Upload>) -> Result<Attempt, UpstreamError> {
        let (sent, lease) = match sender {
            Sender::H1(mut sender) => {
                if let Err(error) = sender.ready().await {
                    return Ok(Attempt::NothingSent(Box::new(message), error));
                }
                message.headers_mut().entry(header::HOST).or_insert_with(|| self.host.clone());
                let sent = sender.try_send_request(message).await;
                (sent, Some(Lease::new(self.pool.clone(), sender)))
            }
            Sender::H2(mut sender) => {
                if let Err(error) = sender.ready().await {
                    return Ok(Attempt::NothingSent(Box::new(message), error));
                }
                self.absolute(&mut message);
                (sender.try_send_request(message).await, None)
            }
        };
        match sent {
            Ok(reply) => {
                let (head, body) = reply.into_parts();
                Ok(Attempt::Reply(Inbound { head, body: Either::Left(body), lease }))
            }
            Err(mut error) => match error.take_message() {
                Some(mut message) => {
                    *message.uri_mut() = message.uri().path_and_query().cloned().map(Uri::from).unwrap_or_default();
                    *message.version_mut() = Version::HTTP_11;
                    Ok(Attempt::NothingSent(Box::new(message), error.into_error()))
                }
                None => Err(broken(error.into_error())),
            },
        }
    }

    /// HTTP/2 carries scheme and authority apart, and no `Host`.
    fn absolute(&self, message: &mut http::Request<Upload>) {
        let mut parts = std::mem::take(message.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(self.authority.clone());
        *message.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        *message.version_mut() = Version::HTTP_2;
        message.headers_mut().remove(header::HOST);
    }
}

/// In origin form; HTTP/2 gets scheme and authority when the connection is known.
fn message(parts: OutboundParts, body: Upload) -> http::Request<Upload> {
    let mut message = http::Request::new(body);
    *message.method_mut() = parts.method;
    *message.headers_mut() = parts.headers;
    *message.uri_mut() = Uri::from(parts.target);
    message
}

/// What came of sending on one connection.
enum Attempt {
    Reply(Inbound),
    NothingSent(Box<http::Request<Upload>>, hyper::Error),
}

fn broken(error: hyper::Error) -> UpstreamError {
    UpstreamError::Broken(Box::new(error))
}

fn log_end(end: hyper::Result<()>) {
    if let Err(error) = end {
        tracing::debug!(%error, "an upstream connection ended");
    }
}
