//! Takes a batch to its place, in the place's form.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use jiff::Timestamp;
use tokio::runtime::Runtime;

use super::batch::Batch;
use super::otlp::Otlp;
use super::syslog::{Datagram, Stream};
use super::webhook::Webhook;
use crate::config::{BaseUrl, Sink, SinkPlace};
use crate::upstream::client_config;
use crate::upstream::once::Server;

/// Longest answer, bytes: nothing in it is needed but a few words.
const LONGEST: usize = 64 * 1024;

/// Why a sink cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the sink `{name}`: {why}")]
pub struct NoSink {
    name: Arc<str>,
    why: String,
}

impl NoSink {
    pub(super) fn new(sink: &Sink, why: impl std::fmt::Display) -> Self {
        Self { name: sink.name.clone(), why: why.to_string() }
    }
}

/// Why a batch was not taken, and how long its receiver asks to be left alone.
pub(super) struct Failed {
    pub(super) why: String,
    pub(super) wait: Option<Duration>,
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self { why, wait: None }
    }
}

/// Records that the receiver took and will not keep, for good.
pub(super) struct Refused {
    pub(super) records: u64,
    pub(super) why: String,
}

/// A sink that can be sent to.
pub(super) struct Courier {
    runtime: Runtime,
    place: Place,
    limit: Duration,
}

enum Place {
    Stream(Stream),
    Datagram(Datagram),
    Webhook(Post, Box<Webhook>),
    Otlp(Post, Otlp),
}

impl Courier {
    pub(super) fn open(sink: &Sink) -> Result<Self, NoSink> {
        let failed = |why: String| NoSink::new(sink, why);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(error.to_string()))?;
        let server = |host: &str, port| {
            let mut tls = (*client_config(sink.trust_roots.as_deref())
                .map_err(|error| failed(crate::causes::chain(&error)))?)
            .clone();
            tls.alpn_protocols.clear();
            let no_name = || failed(format!("`{host}` is no name that a certificate can hold"));
            Server::new(host, port, Arc::new(tls)).ok_or_else(no_name)
        };
        let post = |url: &BaseUrl| Ok(Post { server: server(&url.host, url.port)?, path: url.path.clone() });
        let place = match &sink.place {
            SinkPlace::SyslogTls { host, port } => Place::Stream(Stream::new(server(host, *port)?)),
            SinkPlace::SyslogUnix { path } => Place::Datagram(Datagram::new(path)),
            SinkPlace::Webhook { url, secret_file } => {
                Place::Webhook(post(url)?, Box::new(Webhook::open(&sink.name, secret_file).map_err(failed)?))
            }
            SinkPlace::Otlp { url, authorization_file } => {
                Place::Otlp(post(url)?, Otlp::open(authorization_file.as_deref()).map_err(failed)?)
            }
        };
        Ok(Self { runtime, place, limit: sink.timeout })
    }

    /// Sends; on return the receiver has acknowledged all of it, in the way that its protocol has.
    pub(super) fn deliver(&mut self, batch: &Batch) -> Result<Option<Refused>, Failed> {
        let Self { runtime, place, limit } = self;
        match place {
            Place::Stream(stream) => Ok(runtime.block_on(stream.send(batch, *limit)).map(|()| None)?),
            Place::Datagram(datagram) => Ok(datagram.send(batch, *limit).map(|()| None)?),
            Place::Webhook(post, webhook) => {
                let request = webhook.request(batch)?;
                runtime.block_on(post.send(request, *limit)).map(|_| None)
            }
            Place::Otlp(post, otlp) => {
                let request = otlp.request(batch);
                runtime.block_on(post.send(request, *limit)).map(|answer| Otlp::refused(answer.body()))
            }
        }
    }
}

/// A server that is posted to.
struct Post {
    server: Server,
    path: String,
}

impl Post {
    async fn send(&self, mut request: Request<Full<Bytes>>, limit: Duration) -> Result<Response<Bytes>, Failed> {
        *request.method_mut() = http::Method::POST;
        let path = if self.path.is_empty() { "/" } else { &self.path };
        *request.uri_mut() = path.parse().map_err(|_| format!("`{path}` is no path"))?;
        let agent = HeaderValue::from_static(concat!("keygate/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        let answer = self.server.ask(request, LONGEST, limit).await.map_err(|error| crate::causes::chain(&*error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let wait =
            answer.headers().get(RETRY_AFTER).and_then(|value| asked_wait(value.to_str().ok()?, Timestamp::now()));
        Err(Failed { why: format!("it answered {}", answer.status()), wait })
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110). A date that is over asks for nothing.
fn asked_wait(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Duration::try_from(until.duration_since(now)).ok()
}

/// A request with this body; method and target are the post's.
pub(super) fn request(kind: &'static str, body: Vec<u8>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from(body)));
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_says_how_long_it_wants_to_be_left_alone_in_seconds_or_by_a_date() {
        let now: Timestamp = "2026-11-28T10:00:00Z".parse().unwrap();
        for (value, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sat, 28 Nov 2026 10:01:30 GMT", Some(90)),
            ("Sat, 28 Nov 2026 09:00:00 GMT", None),
            ("soon", None),
            ("-5", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(asked_wait(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
