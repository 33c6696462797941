//! One call, from its head to its reply: note it, find its endpoint, answer, and let go wrong what should.

use super::auth;
use super::envelope::{Answer, Outcome, Problem};
use super::faults::{self, Faults, Place};
use super::gzip;
use super::keys::Keys;
use super::link::Link;
use super::rate::{Limiter, Verdict};
use super::reply::{End, Piece, Reply};
use super::route::{self, Do, Route, Takes};
use super::seen::{Arrival, Log, Seen};
use super::state::{Call, State};
use super::target::{MAX_TARGET, Target};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, SERVER, TRAILER};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use uuid::Uuid;

/// The most bytes that a request's body may have: the default of the API's web server.
const MAX_BODY: usize = 30_000_000;

/// The API itself, shared by all connections.
pub struct Api {
    /// Accepted keys.
    pub keys: Keys,
    /// The path before `/v2`, as segments.
    pub base: Vec<String>,
    /// The tenant.
    pub state: RwLock<State>,
    /// Counters of the rate limits.
    pub limiter: Mutex<Limiter>,
    /// What goes wrong, at the moment.
    pub faults: RwLock<Arc<Faults>>,
    /// Whether a call may name faults of its own.
    pub faults_by_header: bool,
    /// Calls so far.
    pub calls: AtomicU64,
    /// Who is told of calls.
    pub log: Option<Mutex<Log>>,
}

/// A body that was read, or why not.
enum Body {
    Whole(Bytes),
    TooLarge,
    Broken,
}

impl Api {
    /// Answers a call. Never fails; when the connection is to break before the head, it never returns either.
    pub async fn serve(
        self: Arc<Self>,
        link: Arc<Link>,
        request: Request<Incoming>,
    ) -> Result<Response<Reply>, Infallible> {
        let count = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let (head, body) = request.into_parts();
        let body = read(&head, body).await;
        self.note(&head, &body);
        let faults = self.faults_for(&head.headers);
        if let Some(delay) = faults.delay {
            tokio::time::sleep(delay).await;
        }
        if faults.cut_after_bytes == Some(0) {
            link.cut();
            std::future::pending::<()>().await;
        }
        if let (Some(status), true) = (faults.early, head.version <= Version::HTTP_11) {
            link.send_early(status);
        }
        let target = Target::parse(head.uri.path(), head.uri.query());
        let key = key_of(&head.headers, &target);
        let answer = self.answer(&head, target, body, &faults, count);
        let reply = reply(answer, &faults, &key, link);
        // HTTP/2 would send a body behind the head.
        Ok(if head.method == Method::HEAD { reply.map(|_| Reply::new([])) } else { reply })
    }

    fn note(&self, head: &Parts, body: &Body) {
        let Some(log) = &self.log else { return };
        let (bytes, arrival) = match body {
            Body::Whole(bytes) => (bytes.len(), Arrival::Whole),
            Body::TooLarge => (0, Arrival::TooLarge),
            Body::Broken => (0, Arrival::Broken),
        };
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log(&Seen::new(head, bytes, arrival));
    }

    fn faults_for(&self, headers: &HeaderMap) -> Arc<Faults> {
        let faults = Arc::clone(&self.faults.read().unwrap_or_else(PoisonError::into_inner));
        let own = headers.get(faults::HEADER).filter(|_| self.faults_by_header).and_then(|value| value.to_str().ok());
        let Some(own) = own else { return faults };
        let mut faults = Faults::clone(&faults);
        // A list that cannot be read is the tester's mistake; the call then goes on without the rest of it.
        let _ = faults.set_all(own);
        Arc::new(faults)
    }

    fn answer(&self, head: &Parts, target: Target, body: Body, faults: &Faults, count: u64) -> Answer {
        if faults.maintenance {
            return maintenance();
        }
        let render = |outcome: Outcome| Answer::render(outcome, Uuid::now_v7(), count);
        if faults.fails(count) {
            return render(Err(Problem::server_error()));
        }
        match self.pass(head, target, body) {
            Ok(Passed { limits, outcome }) => {
                let mut answer = render(outcome);
                answer.headers.extend(limits);
                answer
            }
            Err(Stopped::Problem(problem)) => render(Err(problem)),
            Err(Stopped::Answer(answer)) => answer,
        }
    }

    /// Size, key, route, rate limit, content type, endpoint: in this order.
    fn pass(&self, head: &Parts, mut target: Target, body: Body) -> Result<Passed, Stopped> {
        let text = head.uri.path_and_query().map_or("", |target| target.as_str());
        if text.len() > MAX_TARGET {
            return Err(Problem::new(StatusCode::URI_TOO_LONG, "The request address is too long.").into());
        }
        let key = auth::identify(&self.keys, &head.headers, &target.query)?;
        let segments = self.below_base(&mut target.segments)?;
        let now = Timestamp::now();
        let found = route::find(&head.method, segments);
        let name = found.as_ref().map_or("none", |(route, _)| route.name);
        let limits = match self.limiter.lock().unwrap_or_else(PoisonError::into_inner).take(key, name, now) {
            Verdict::Passed(headers) => headers,
            Verdict::Refused(answer) => return Err(Stopped::Answer(answer)),
        };
        let outcome = found.and_then(|(route, params)| {
            let body = whole(body)?;
            check_type(route, &head.headers, &body)?;
            self.run(route, &Call { params, query: target.query, body, now })
        });
        Ok(Passed { limits, outcome })
    }

    fn below_base<'a>(&self, segments: &'a mut [String]) -> Result<&'a [String], Problem> {
        let (base, rest) = segments.split_at_checked(self.base.len()).unwrap_or((&[], &[]));
        let fits = base.len() == self.base.len() && base.iter().zip(&self.base).all(|(a, b)| a.eq_ignore_ascii_case(b));
        if fits { Ok(rest) } else { Err(Problem::new(StatusCode::NOT_FOUND, "The requested resource was not found.")) }
    }

    fn run(&self, route: &Route, call: &Call) -> Outcome {
        match route.does {
            Do::Read(read) => read(&self.state.read().unwrap_or_else(PoisonError::into_inner), call),
            Do::Write(write) => write(&mut self.state.write().unwrap_or_else(PoisonError::into_inner), call),
        }
    }
}

struct Passed {
    limits: Vec<(HeaderName, HeaderValue)>,
    outcome: Outcome,
}

/// Why a call went no further.
enum Stopped {
    Problem(Problem),
    Answer(Answer),
}

impl From<Problem> for Stopped {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

async fn read(head: &Parts, body: Incoming) -> Body {
    let told = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|length| length > MAX_BODY) {
        return Body::TooLarge;
    }
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Body::Whole(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Body::TooLarge,
        Err(_) => Body::Broken,
    }
}

fn whole(body: Body) -> Result<Bytes, Problem> {
    match body {
        Body::Whole(bytes) => Ok(bytes),
        Body::TooLarge => Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "The request body is too large.")),
        Body::Broken => Err(Problem::new(StatusCode::BAD_REQUEST, "The request body could not be read.")),
    }
}

fn check_type(route: &Route, headers: &HeaderMap, body: &Bytes) -> Result<(), Problem> {
    if body.is_empty() || route.takes == Takes::Anything {
        return Ok(());
    }
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let fits = match route.takes {
        Takes::JsonPatch => essence == "application/json-patch+json",
        _ => essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")),
    };
    if fits { Ok(()) } else { Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type")) }
}

fn maintenance() -> Answer {
    let page = "<!DOCTYPE html>\n<html><head><title>Maintenance</title></head><body><h1>We will be back soon</h1></body></html>\n";
    Answer::plain(StatusCode::SERVICE_UNAVAILABLE, "text/html; charset=utf-8", page)
}

/// The key that the call came with, right or wrong, for the faults that repeat it.
fn key_of(headers: &HeaderMap, target: &Target) -> String {
    let header = headers.get("x-ce-key").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    header.or_else(|| target.query.one("apikey").map(str::to_owned)).unwrap_or_default()
}

fn reply(answer: Answer, faults: &Faults, key: &str, link: Arc<Link>) -> Response<Reply> {
    let mut response = Response::new(Reply::new([]));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(SERVER, HeaderValue::from_static("stand-in"));
    response.headers_mut().extend(answer.headers);
    let mut body = answer.body;
    for echo in &faults.echo_key {
        let text = echo.form.write(key);
        match echo.place {
            Place::Body => body = with_field(&body, "Echo", &text),
            Place::Header => {
                // A key that no header can hold came in the query; there is nothing to repeat it in then.
                let _ = HeaderValue::try_from(text).map(|value| response.headers_mut().append("x-echo", value));
            }
        }
    }
    if faults.gzip {
        body = gzip::pack(&body).into();
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let mut reply = Reply::new(pieces(body, faults));
    if faults.chunked {
        reply = reply.of_unknown_length();
    }
    if faults.trailers {
        response.headers_mut().insert(TRAILER, HeaderValue::from_static("x-trailer"));
        reply = reply.with_trailers();
    }
    *response.body_mut() = match (faults.cut_after_bytes, faults.stall_after_bytes) {
        (Some(limit), _) => reply.ending(End::Cut(limit, link)),
        (None, Some(limit)) => reply.ending(End::Stall(limit)),
        (None, None) => reply,
    };
    response
}

/// Adds a text field to a JSON object; anything else gets the text behind it.
fn with_field(body: &Bytes, name: &str, text: &str) -> Bytes {
    match body.strip_suffix(b"}") {
        Some(open) => [open, format!(",\"{name}\":{}}}", serde_json::json!(text)).as_bytes()].concat().into(),
        None => [body, text.as_bytes()].concat().into(),
    }
}

/// The body, with the filler of a huge reply before the last brace.
fn pieces(body: Bytes, faults: &Faults) -> Vec<Piece> {
    let Some(count) = faults.huge_reply_bytes else { return vec![Piece::Bytes(body)] };
    if faults.gzip || !body.ends_with(b"}") {
        return vec![Piece::Bytes(body), Piece::Filler(count)];
    }
    let open = body.slice(..body.len() - 1);
    let field = Piece::Bytes(Bytes::from_static(b",\"Filler\":\""));
    vec![Piece::Bytes(open), field, Piece::Filler(count), Piece::Bytes(Bytes::from_static(b"\"}"))]
}
