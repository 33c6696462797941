//! One connection: hello, TLS, then HTTP/1.1 or HTTP/2, each call as a task of its own.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::behind::Behind;
use super::counted::Counted;
use super::frames::{self, Guarded, LastWord};
use super::half_closed::HalfClosed;
use super::hello::{self, First, Hello};
use super::noted::Noted;
use super::obey::{self, Ended, Served};
use super::rest::{self, Apart};
use super::seat::{Cut, Talk};
use super::seats::Taken;
use super::streams::Streams;
use super::{Settings, tls};
use crate::audit::{Http, TlsFacts};
use crate::entry::{Abandoned, Gone, Peer};
use crate::gateway::Gateway;
use crate::refusal::{Malformed, Refusal};
use crate::reply::ReplyBody;
use crate::upstream::Ahead;

/// `alert`, TLS 1.0 record, two bytes: fatal, `protocol_version`.
const ALERT_VERSION: [u8; 7] = [21, 3, 1, 0, 2, 2, 70];
const USE_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
keygate-refusal: plain_http\r\nconnection: close\r\ncontent-length: 65\r\n\r\n\
Keygate: this port speaks TLS only. Use https:// as the scheme.\r\n";
/// What is kept for a client that does not read, and of one that is not read, bytes each. hyper would keep four times as
/// much, and it buys nothing: TLS takes 64 KiB at a time.
const ROOM: usize = 128 * 1024;
/// How long a refused client is listened to, so that it reads the answer before the connection is reset.
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);
/// … and for how many bytes.
const DEAF: usize = 1024 * 1024;

/// A connection that TLS protects.
type Secured = TlsStream<Ahead<Noted>>;

/// One connection, with all it holds while it lives.
pub(super) struct Connection {
    pub(super) gateway: Arc<Gateway>,
    pub(super) settings: Arc<Settings>,
    pub(super) calls: Calls,
    pub(super) peer: IpAddr,
    pub(super) taken: Taken,
    pub(super) _running: mpsc::Sender<()>,
}

impl Connection {
    /// From the first byte to the last.
    pub(super) async fn serve(self, stream: TcpStream) {
        match obey::unless_told(&self.taken.seat, Box::pin(self.handshake(stream))).await {
            Ok(Some((stream, facts))) => self.http(stream, facts).await,
            Ok(None) | Err(Ended::Left) => {}
            Err(Ended::Cut(why)) => self.cut(why, &self.unidentified(TlsFacts::default())),
        }
    }

    async fn handshake(&self, mut stream: TcpStream) -> Option<(Box<Secured>, TlsFacts)> {
        let mut buffer = Vec::new();
        match hello::read(&mut stream, &mut buffer).await {
            // Nothing came, or it broke off: a port scan, a health check. Nobody was refused.
            Err(_) => None,
            Ok(First::Tls(hello)) => {
                let noted = Noted::new(stream, self.taken.seat.clone());
                self.accept(Ahead::new(noted, buffer), hello).await
            }
            Ok(First::Outdated(hello)) => {
                self.refuse("tls_version", tls::offered(hello), None);
                farewell(stream, &ALERT_VERSION).await;
                None
            }
            Ok(First::Http) => {
                self.refuse("plain_http", TlsFacts::default(), None);
                farewell(stream, USE_HTTPS).await;
                None
            }
            Ok(First::Garbage) => {
                self.refuse("not_tls", TlsFacts::default(), None);
                None
            }
        }
    }

    async fn accept(&self, mut stream: Ahead<Noted>, hello: Hello) -> Option<(Box<Secured>, TlsFacts)> {
        let coming = self.gateway.shared().log.expect();
        stream.take_turns();
        let accepted = TlsAcceptor::from(self.settings.tls.clone()).accept(stream).into_fallible().await;
        drop(coming);
        match accepted {
            Ok(stream) => {
                let facts = tls::facts(stream.get_ref().1, hello);
                Some((Box::new(stream), facts))
            }
            Err((error, mut stream)) => {
                self.refuse("tls_handshake", tls::offered(hello), Some(error.to_string()));
                // The alert, which says what is wrong. Whoever does not take it is gone.
                stream.write_directly();
                let _ = timeout(LINGER, stream.flush()).await;
                None
            }
        }
    }

    fn refuse(&self, code: &'static str, facts: TlsFacts, detail: Option<String>) {
        self.gateway.note_connection(&self.unidentified(facts), code, detail);
    }

    fn unidentified(&self, facts: TlsFacts) -> Peer {
        Peer { address: self.peer, tls: facts.into(), http: Http::H1, abandoned: Abandoned::default() }
    }

    /// Puts on record that the connection was cut.
    fn cut(&self, why: Cut, peer: &Peer) {
        match why {
            // It was asked to leave before, and that was counted.
            Cut::Idle => {}
            Cut::MadeRoom if !self.settings.seats.note(why.code(), self.peer) => {
                self.gateway.shared().metrics.refusal(why.code());
            }
            _ => self.gateway.note_connection(peer, why.code(), None),
        }
    }

    async fn http(self, mut stream: Box<Secured>, facts: TlsFacts) {
        let http = if stream.get_ref().1.alpn_protocol() == Some(b"h2") { Http::H2 } else { Http::H1 };
        stream.get_mut().0.write_directly();
        let peer = Arc::new(Peer { address: self.peer, tls: facts.into(), http, abandoned: Abandoned::default() });
        let seat = &self.taken.seat;
        let served = match http {
            Http::H1 => {
                seat.talks(Talk::H1);
                let begin = |stream| self.http1(stream, &peer);
                rest::serve(seat, begin(HalfClosed::new(*stream, seat.clone())), begin).await
            }
            Http::H2 => {
                seat.talks(Talk::H2);
                // Boxed: a connection need not carry the room for what it does not speak.
                Box::pin(self.guarded(stream, &peer)).await
            }
        };
        match served {
            Ok(served) => self.note_error(&peer, served),
            Err(why) => self.cut(why, &peer),
        }
    }

    /// HTTP/2 behind its guard, which has the last word.
    async fn guarded(&self, stream: Box<Secured>, peer: &Arc<Peer>) -> Result<hyper::Result<()>, Cut> {
        let seat = &self.taken.seat;
        let (stream, watch) = frames::guard(Behind::new(*stream), seat.clone(), peer.abandoned.clone());
        let served = obey::serve(seat, self.http2(stream, peer).as_mut()).await;
        if let Some(word) = watch.ended() {
            self.last_word(word, peer).await;
        }
        served.map(|served| served.unwrap_or(Ok(())))
    }

    /// Puts on record what a client did to HTTP/2, and tells it.
    async fn last_word(&self, word: LastWord<Behind<Secured>>, peer: &Peer) {
        if let Some((code, detail)) = word.record() {
            self.gateway.note_connection(peer, code, Some(detail));
        }
        if let Some(stream) = word.say().await {
            hear_out(stream.into_inner().into_inner().0).await;
        }
    }

    fn note_error(&self, peer: &Peer, served: hyper::Result<()>) {
        if let Err(error) = served {
            // hyper has answered 400 or 431 itself; that it did is on record.
            let code = if error.is_parse_too_large() {
                "head_too_large"
            } else if error.is_parse() {
                "malformed_head"
            } else if was_given_up(&error) {
                Cut::Stalled.code()
            } else {
                return tracing::debug!(%error, "a connection ended");
            };
            self.gateway.note_connection(peer, code, Some(error.to_string()));
        }
    }

    fn http1(
        &self,
        stream: HalfClosed<Secured>,
        peer: &Arc<Peer>,
    ) -> Box<impl Apart<Stream = HalfClosed<Secured>> + use<>> {
        let connection = hyper::server::conn::http1::Builder::new()
            // The sweep sees to it; hyper's own would count an idle connection's time too, with a timer for each head.
            .header_read_timeout(None)
            .max_header_size(self.settings.hard_head())
            .max_buf_size(self.settings.hard_head().max(ROOM))
            // Up to a hundred it reads them on the stack.
            .max_headers(100)
            .serve_connection(TokioIo::new(stream), self.service(peer, None));
        Box::new(connection)
    }

    fn http2(&self, stream: Guarded<Behind<Secured>>, peer: &Arc<Peer>) -> Pin<Box<impl Served + use<>>> {
        let streams = Streams::new(self.gateway.clone(), peer.clone(), self.settings.seats.times);
        let connection = hyper::server::conn::http2::Builder::new(streams.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(128)
            .max_header_list_size(u32::try_from(self.settings.hard_head()).unwrap_or(u32::MAX))
            // The guard lets calls pay for resets, but sees ours only when they are sent. These hold at once.
            .max_pending_accept_reset_streams(128)
            .max_local_error_reset_streams(128)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .max_send_buf_size(256 * 1024)
            .keep_alive_interval(self.settings.ping)
            .keep_alive_timeout(self.settings.ping)
            .serve_connection(TokioIo::new(stream), self.service(peer, Some(streams)));
        Box::pin(connection)
    }

    fn service(
        &self,
        peer: &Arc<Peer>,
        streams: Option<Streams>,
    ) -> impl hyper::service::Service<
        Request<Incoming>,
        Response = Response<Counted>,
        Error = h2::Error,
        Future: Future<Output = Result<Response<Counted>, h2::Error>> + Send + 'static,
    > + use<> {
        let (calls, peer, seat) = (self.calls.clone(), peer.clone(), self.taken.seat.clone());
        service_fn(move |mut request: Request<Incoming>| {
            let (under_way, flow) = (seat.call(), streams.as_ref().map(Streams::flow));
            let whole = request.body().is_end_stream();
            seat.arrival.begins(whole);
            if flow.is_none() && !whole {
                request.extensions_mut().insert(seat.arrival.clone());
            }
            let (h2, call) = (peer.http == Http::H2, calls.call(peer.clone(), request));
            async move {
                let Ok(response) = call.await;
                if h2 && response.extensions().get::<Malformed>().is_some() {
                    return Err(h2::Reason::PROTOCOL_ERROR.into());
                }
                Ok(response.map(|body| Counted::new(body, flow, under_way)))
            }
        })
    }
}

/// Whether the kernel gave a connection up because its client took nothing any more.
fn was_given_up(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Says one last thing, and waits until it was read or the client has gone.
async fn farewell(mut stream: TcpStream, bytes: &[u8]) {
    let said = async {
        stream.write_all(bytes).await?;
        stream.shutdown().await
    };
    if let Ok(Ok(())) = timeout(LINGER, said).await {
        hear_out(stream).await;
    }
}

/// Reads what a client still sends and throws it away, so that the last word is not lost to a reset.
async fn hear_out(mut stream: impl AsyncRead + Unpin) {
    let rest = async {
        let (mut heard, mut rest) = (0, [0; 4096]);
        while heard < DEAF {
            match stream.read(&mut rest).await? {
                0 => break,
                n => heard += n,
            }
        }
        io::Result::Ok(())
    };
    // Whatever went wrong, the client is gone.
    let _ = timeout(LINGER, rest).await;
}

/// The way into the route: a place among the calls under way, or a refusal.
#[derive(Clone)]
pub(super) struct Calls {
    gateway: Arc<Gateway>,
    in_flight: Arc<Semaphore>,
    running: mpsc::Sender<()>,
}

impl Calls {
    pub(super) fn new(gateway: Arc<Gateway>, in_flight: Arc<Semaphore>, running: mpsc::Sender<()>) -> Self {
        Self { gateway, in_flight, running }
    }

    fn call(&self, peer: Arc<Peer>, request: Request<Incoming>) -> Waiting {
        let (gateway, running, gone) = (self.gateway.clone(), self.running.clone(), Gone::default());
        let (hung_up, abandoned) = (gone.clone(), peer.abandoned.clone());
        // One more than fit is refused at once instead of waiting for an upstream that is behind.
        let Ok(place) = self.in_flight.clone().try_acquire_owned() else {
            let method = request.into_parts().0.method;
            let call = Box::pin(async move { gateway.turn_away(&peer, method, Refusal::Overloaded).await });
            return Waiting { call: Some(call), hung_up, abandoned };
        };
        let call = Box::pin(gateway.handle(&peer, request, gone, (running, place)));
        Waiting { call: Some(call), hung_up, abandoned }
    }
}

/// A call and its waiting client. The connection drops this when the client hangs up; the call then goes on as a task of
/// its own, and so does its record. (As a task from the start it would cost every call two wake-ups.)
pub(super) struct Waiting {
    call: Option<Pin<Box<dyn Future<Output = Response<ReplyBody>> + Send>>>,
    hung_up: Gone,
    abandoned: Abandoned,
}

impl Future for Waiting {
    type Output = Result<Response<ReplyBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(call) = &mut self.call else { return Poll::Pending };
        let Poll::Ready(response) = call.as_mut().poll(cx) else { return Poll::Pending };
        self.call = None;
        Poll::Ready(Ok(response))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // With the call over, its reply may still be streaming; that is the reply's own business.
        let Some(call) = self.call.take() else { return };
        self.hung_up.set();
        // A panic inside the call comes through here too: such a call is over, and its record writes itself.
        if let (false, Ok(runtime)) = (std::thread::panicking(), Handle::try_current()) {
            runtime.spawn(std::mem::take(&mut self.abandoned).while_running(call));
        }
    }
}
