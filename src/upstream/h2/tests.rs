//! The real client library writes to a real server through the filling stream: whatever the library does, the server gets the
//! real values, or nothing.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Filling, Misplaced, Waiting};

/// What a call looks like: as it is meant to arrive, and as it arrived.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    target: String,
    fields: Vec<(String, String)>,
    body: usize,
}

/// A call with secrets in it, and which of its parts are.
#[derive(Clone, Debug)]
struct Planned {
    call: Call,
    keyed_target: bool,
    secret: Vec<bool>,
}

impl Planned {
    fn new(target: &str, fields: &[(&str, String, bool)], body: usize) -> Self {
        let secret = fields.iter().map(|(_, _, secret)| *secret).collect();
        let fields = fields.iter().map(|(name, value, _)| ((*name).to_owned(), value.clone())).collect();
        Self { call: Call { target: target.to_owned(), fields, body }, keyed_target: target.contains('?'), secret }
    }

    fn head(&self) -> (PathAndQuery, HeaderMap) {
        let mut headers = HeaderMap::new();
        for ((name, value), secret) in self.call.fields.iter().zip(&self.secret) {
            let mut value = HeaderValue::from_str(value).unwrap();
            value.set_sensitive(*secret);
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        (self.call.target.parse().unwrap(), headers)
    }
}

/// A stream that takes so many bytes at a time, every other time.
struct Slow {
    stream: DuplexStream,
    most: usize,
    vectored: bool,
    ready: bool,
}

impl AsyncRead for Slow {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Slow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.ready = !self.ready;
        if !self.ready {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let most = buf.len().min(self.most);
        Pin::new(&mut self.stream).poll_write(cx, &buf[..most])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        let all = if self.vectored { bufs.iter().flat_map(|buf| buf.to_vec()).collect() } else { first.to_vec() };
        self.poll_write(cx, &all)
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A client's connection, and what arrives at the server.
struct Wire {
    sender: SendRequest<Full<Bytes>>,
    waiting: Arc<Waiting>,
    arrived: Arc<Mutex<Vec<Call>>>,
}

impl Wire {
    async fn new(most: usize, vectored: bool) -> Self {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let notes = arrived.clone();
        let service = service_fn(move |request| note(request, notes.clone()));
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.max_header_list_size(1024 * 1024).max_concurrent_streams(10);
        tokio::spawn(server.serve_connection(TokioIo::new(theirs), service));
        let waiting = Arc::<Waiting>::default();
        let stream = Filling::new(Slow { stream: ours, most, vectored, ready: false }, waiting.clone());
        let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = client.await.unwrap();
        tokio::spawn(connection);
        Self { sender, waiting, arrived }
    }

    fn arrived(&self) -> Vec<Call> {
        let mut arrived = self.arrived.lock().unwrap().clone();
        arrived.sort();
        arrived
    }
}

async fn note(request: Request<Incoming>, notes: Arc<Mutex<Vec<Call>>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let fields = head.headers.iter().filter(|(name, _)| *name != http::header::CONTENT_LENGTH);
    let call = Call {
        target: head.uri.path_and_query().unwrap().to_string(),
        fields: fields.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect(),
        body: body.collect().await.unwrap().to_bytes().len(),
    };
    notes.lock().unwrap().push(call);
    Ok(Response::new(Full::default()))
}

fn request(target: PathAndQuery, headers: HeaderMap, body: usize) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::from(vec![b'b'; body]));
    *request.uri_mut() =
        Uri::builder().scheme("https").authority("api.example").path_and_query(target).build().unwrap();
    *request.headers_mut() = headers;
    request
}

async fn send(mut sender: SendRequest<Full<Bytes>>, waiting: Arc<Waiting>, planned: Planned) -> hyper::Result<()> {
    let (mut target, mut headers) = planned.head();
    waiting.keep(planned.keyed_target.then_some(&mut target), &mut headers, soon()).unwrap();
    // Nothing of what the library gets is secret.
    assert!(!planned.keyed_target || target != planned.call.target);
    assert!(headers.iter().all(|(_, value)| !value.is_sensitive() || !value.as_bytes().contains(&b'k')));
    sender.ready().await?;
    let reply = sender.send_request(request(target, headers, planned.call.body)).await?;
    assert_eq!(reply.status(), 200);
    Ok(())
}

/// Sends all of them at once; they must arrive as they are.
async fn all_arrive(plan: Vec<Planned>, most: usize, vectored: bool) {
    let wire = Wire::new(most, vectored).await;
    let mut calls = JoinSet::new();
    for planned in plan.iter().cloned() {
        calls.spawn(send(wire.sender.clone(), wire.waiting.clone(), planned));
    }
    while let Some(ended) = calls.join_next().await {
        ended.unwrap().unwrap();
    }
    let mut meant: Vec<_> = plan.into_iter().map(|planned| planned.call).collect();
    meant.sort();
    let arrived = wire.arrived();
    assert!(arrived == meant, "{} of {} calls arrived as they were", arrived.len(), meant.len());
    assert_eq!((wire.waiting.count(), wire.waiting.fault()), (0, None));
}

/// Longer than a test takes.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// Text of that length that no blank looks like.
fn key(length: usize, seed: usize) -> String {
    (0..length).map(|n| char::from(b"k0123456789abcdef "[if n % 7 == 0 { 0 } else { (n * 31 + seed) % 17 }])).collect()
}

fn planned() -> impl Strategy<Value = Planned> {
    let lengths = proptest::collection::vec(1usize..300, 1..4);
    (lengths, prop_oneof![Just(0), 1usize..300], 0usize..2000, prop_oneof![Just(0), 1usize..3000], any::<usize>())
        .prop_map(|(lengths, query, plain, body, seed)| {
            let names = ["x-ce-key", "authorization", "x-second"];
            let seed = seed % 1000;
            let mut fields = vec![("x-before", "p".repeat(plain / 2), false)];
            fields.extend(names.iter().zip(lengths).map(|(name, length)| (*name, key(length, seed), true)));
            fields.push(("x-after", "&*,;XZ".repeat(plain / 12), false));
            let target = format!(
                "/v2/orders{}",
                if query > 0 { format!("?apikey={}", "k".repeat(query)) } else { String::new() }
            );
            Planned::new(&target, &fields, body)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_server_gets_the_real_values_whatever_their_lengths_and_however_little_is_written_at_once(
        plan in proptest::collection::vec(planned(), 1..6),
        most in prop_oneof![Just(1usize), 2usize..60, Just(100_000)],
        vectored in any::<bool>(),
    ) {
        run(all_arrive(plan, most, vectored));
    }
}

#[test]
fn many_calls_at_once_each_get_their_own_key_and_large_bodies_pass() {
    let plan = (0..200).map(|n| {
        let fields = [("x-call", n.to_string(), false), ("x-ce-key", key(8 + n % 40, n), true)];
        let target = if n % 3 == 0 { format!("/v2/orders?apikey=k{n}") } else { "/v2/orders".to_owned() };
        Planned::new(&target, &fields, if n % 10 == 0 { 300_000 } else { n * 20 })
    });
    run(all_arrive(plan.collect(), 20_000, true));
}

#[test]
fn a_head_that_is_cut_anywhere_arrives_whole() {
    // A frame takes 16,384 bytes. The length of what stands before the key moves the cut over its literal, byte by byte.
    let plan = (16_300..16_370).map(|before| {
        let fields = [("x-long", "X".repeat(before), false), ("x-ce-key", key(20, before), true)];
        Planned::new("/v2/orders", &fields, 0)
    });
    run(all_arrive(plan.collect(), 100_000, true));
    let fields = [("x-long", "X".repeat(60_000), false), ("x-ce-key", key(20_000, 1), true), ("x", key(9, 2), true)];
    run(all_arrive(vec![Planned::new("/v2/orders?key=kkkkkkkk", &fields, 0)], 1000, false));
}

/// A request that must not leave: the connection ends, and the server saw nothing of it.
async fn ends(make: impl FnOnce(&Arc<Waiting>, &mut PathAndQuery, &mut HeaderMap), why: Misplaced) {
    let wire = Wire::new(100_000, true).await;
    let planned = Planned::new("/v2/orders?apikey=kkkkkkkk", &[("x-ce-key", key(40, 1), true)], 0);
    let (mut target, mut headers) = planned.head();
    make(&wire.waiting, &mut target, &mut headers);
    let mut sender = wire.sender.clone();
    sender.ready().await.unwrap();
    sender.send_request(request(target, headers, 0)).await.unwrap_err();
    assert_eq!((wire.waiting.fault(), wire.arrived()), (Some(why), Vec::new()));
    assert!(sender.is_closed());
}

#[test]
fn a_call_whose_time_is_up_or_that_was_taken_back_leaves_no_key_behind_and_its_head_does_not_leave() {
    run(ends(
        |waiting, target, headers| {
            let kept = waiting.keep(Some(target), headers, soon());
            assert_eq!(waiting.count(), 1);
            waiting.take_back(kept.unwrap());
            assert_eq!(waiting.count(), 0);
        },
        Misplaced::NoKeyWaits,
    ));
    run(ends(
        |waiting, target, headers| {
            waiting.keep(Some(target), headers, Instant::now());
            assert_eq!(waiting.count(), 1);
            waiting.clean();
            assert_eq!(waiting.count(), 0);
        },
        Misplaced::NoKeyWaits,
    ));
    run(ends(
        |waiting, target, headers| _ = waiting.keep(Some(target), headers, Instant::now()),
        Misplaced::NoKeyWaits,
    ));
}

#[test]
fn on_a_connection_on_which_nothing_happens_secrets_are_let_go_in_time() {
    run(async {
        let waiting = Arc::<Waiting>::default();
        for until in [Instant::now() + Duration::from_millis(200), soon()] {
            let (mut target, mut headers) = Planned::new("/?k=0123456789", &[], 0).head();
            let kept = waiting.keep(Some(&mut target), &mut headers, until).unwrap();
            waiting.given_up(&kept);
        }
        assert_eq!(waiting.count(), 2);
        let one_goes = async {
            while waiting.count() > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), one_goes).await.unwrap();
        assert_eq!(waiting.count(), 1);
    });
}

#[test]
fn a_connection_that_is_over_keeps_nothing() {
    let waiting = Arc::<Waiting>::default();
    let stream = Filling::new((), waiting.clone());
    let (mut target, mut headers) = Planned::new("/?k=0123456789", &[], 0).head();
    waiting.keep(Some(&mut target), &mut headers, soon());
    assert_eq!(waiting.count(), 1);
    drop(stream);
    assert_eq!(waiting.count(), 0);
}

#[test]
fn a_head_without_a_key_or_with_a_key_that_came_another_way_does_not_leave() {
    run(ends(|_, _, _| {}, Misplaced::NoKeyWaits));
    run(ends(|_, _, headers| headers.clear(), Misplaced::NoKeyWaits));
    // One more secret than its call has.
    run(ends(
        |waiting, target, headers| {
            waiting.keep(Some(target), headers, soon());
            let mut other = HeaderValue::from_static("0123456789");
            other.set_sensitive(true);
            headers.append("x-other", other);
        },
        Misplaced::NotWhole,
    ));
    // One fewer.
    run(ends(
        |waiting, target, headers| {
            waiting.keep(Some(target), headers, soon());
            headers.clear();
        },
        Misplaced::NotWhole,
    ));
}

#[test]
fn a_library_that_forgets_what_is_sensitive_is_not_trusted() {
    run(ends(
        |waiting, target, headers| {
            waiting.keep(Some(target), headers, soon());
            for value in headers.values_mut() {
                value.set_sensitive(false);
            }
        },
        Misplaced::NotWhole,
    ));
}
