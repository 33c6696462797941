//! One call, top to bottom. [`Gateway::handle`] records and renders, `decide` and `serve` use `?`.

mod second;

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use hyper::body::{Body, Incoming};
use jiff::Timestamp;
use tokio::time::Instant;
use tower::Service as _;

use crate::audit::{Event, Http, Kind, Log, ParamHasher, Pending, Proof, RECEIPT_HEADER, Record, Verdict, push_number};
use crate::config::Config;
use crate::entry::{Entry, Gone, Peer, once};
use crate::limit::Left;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::policy::head::{Head, Sizes, judge};
use crate::policy::{Call, Client, Means, Permit, Policy};
use crate::profile::{Effect, Envelope};
use crate::refusal::{Fault, Malformed, Refusal};
use crate::reply::{BodyTimes, Reply, ReplyBody, respond, take_in};
use crate::upstream::{self, Arrival, Inbound, Service, Times, Upload, UploadLimits, UpstreamError};
use crate::vault::KeyRing;
use crate::vault::inject::{Destination, Injected, Outbound, inject};

/// What a worker needs to serve calls. Everything but the upstreams is shared between workers.
pub struct Gateway {
    shared: Arc<Shared>,
    upstreams: Vec<Upstream>,
}

/// What all workers share.
pub struct Shared {
    /// Who may do what, and how often: replaced as a whole when the configuration changes.
    pub live: ArcSwap<Live>,
    /// The shape of refusals for callers that are not known yet.
    pub envelope: Envelope,
    /// With which credential.
    pub ring: Arc<KeyRing>,
    /// On which record.
    pub log: Log,
    /// Hashes of what must not be in a record.
    pub hasher: ParamHasher,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What heads and bodies are held to.
    pub sizes: Sizes,
    /// What a request's body is held to on its way.
    pub upload: UploadLimits,
}

/// One upstream, as one worker reaches it.
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// Base path.
    pub base_path: String,
    /// `Host`.
    pub host: HeaderValue,
    /// Time limits.
    pub times: Times,
    /// The way there.
    pub service: Service,
}

/// A call that may be made, and what is needed to make it. Boxed: it is handed on, and each hand would hold room for it.
struct Decided {
    upstream: usize,
    effect: Effect,
    outbound: Outbound,
    body: Upload,
    injected: Injected,
}

impl Gateway {
    /// For one worker.
    pub fn new(shared: Arc<Shared>, upstreams: Vec<Upstream>) -> Self {
        Self { shared, upstreams }
    }

    /// What all workers share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Serves one call. It never fails: a refusal is a reply too. `held` is let go when the call is over.
    ///
    /// The request is used up before anything is waited for: the future carries what was decided, and not both.
    pub fn handle<H: Send>(
        self: Arc<Self>,
        peer: &Peer,
        request: Request<Incoming>,
        gone: Gone,
        held: H,
    ) -> impl Future<Output = Response<ReplyBody>> + Send + use<H> {
        let mut entry = self.begin(peer, request.method(), gone);
        async move {
            let reply = match self.decide(&mut entry, request) {
                Ok(decided) => self.serve(&mut entry, decided).await,
                Err(refusal) => Err(refusal),
            };
            let reply = reply.unwrap_or_else(|refusal| refuse(&mut entry, &refusal));
            let response = respond(reply, entry).await;
            drop(held);
            response
        }
    }

    /// Answers a call that was not let in at all.
    pub async fn turn_away(&self, peer: &Peer, method: Method, refusal: Refusal) -> Response<ReplyBody> {
        let mut entry = self.begin(peer, &method, Gone::default());
        let reply = refuse(&mut entry, &refusal);
        respond(reply, entry).await
    }

    fn begin(&self, peer: &Peer, method: &Method, gone: Gone) -> Box<Entry> {
        let Shared { log, metrics, envelope, .. } = &*self.shared;
        let mut entry = Entry::begin(peer, log.clone(), metrics.clone(), *envelope, gone);
        entry.record.method = Some(method_name(method));
        entry
    }

    async fn serve(&self, entry: &mut Entry, decided: Box<Decided>) -> Result<Reply, Refusal> {
        if decided.effect == Effect::Write {
            // Boxed, here and below: what few calls do need not have its room in all of them.
            Box::pin(entry.intend()).await?;
        }
        let Decided { upstream, outbound, body, mut injected, .. } = *decided;
        let first = self.forward(entry, upstream, outbound, body).await?;
        let (mut inbound, times) = match injected.second.take() {
            None => first,
            Some(second) => Box::pin(self.judge_key(entry, upstream, &mut injected, *second, first)).await?,
        };
        let mut reply = take_in(&mut inbound, &injected, times, entry).await?;
        say_what_is_left(&mut reply, injected.left);
        Ok(reply)
    }

    /// Who calls, what, may it, how often, with which key: all by the configuration in force at this moment. Nothing here
    /// waits, and nothing after it asks again.
    fn decide(&self, entry: &mut Entry, request: Request<Incoming>) -> Result<Box<Decided>, Refusal> {
        self.shared.log.ensure_open()?;
        let (mut head, body) = request.into_parts();
        let (arrival, has_body) = (head.extensions.remove::<Arc<Arrival>>(), !body.is_end_stream());
        let live = self.shared.live.load();
        let Live { policy, limits, .. } = &**live;
        let Parts { method, uri, headers, .. } = &head;
        judge(Head { method, uri, headers, has_body }, &policy.slots().headers, self.shared.sizes)?;
        let query = policy.query(head.uri.query())?;
        let now = entry.record.time;
        let client = policy.identify(&head.headers, &query, now)?;
        identified(entry, &client);
        if head.headers.get(RECEIPT_HEADER).is_some_and(|wanted| wanted.as_bytes().eq_ignore_ascii_case(b"signed")) {
            entry.sign_receipt();
        }
        if head.headers.get(header::TE).is_some_and(|te| takes_trailers(te.as_bytes())) {
            entry.take_trailers();
        }
        live.count_call(client.integration());
        let call = policy.read(&client, &head.method, head.uri.path(), query)?;
        self.described(entry, &call);
        let permit = policy.authorise(&client, &call)?;
        entry.record.rule = Some(permit.rule().clone());
        if permit.endpoint().effect == Effect::Write {
            // Before a place in a limit is taken for it.
            self.shared.log.ensure_takes_writes()?;
        }
        let ticket = limits.take(&permit, entry.last_step())?;
        let repeatable = !has_body
            && permit.endpoint().effect == Effect::Read
            && (*call.method() == Method::GET || *call.method() == Method::HEAD);
        let to = Destination { repeatable, ..self.destination(policy, &permit, now) };
        let (outbound, injected) = inject(call, &permit, ticket, head.headers, &self.shared.ring, &to)?;
        allowed(entry, &injected, &self.upstreams[to.upstream].name);
        entry.step(|s| &mut s.decide);
        let body = Upload::new(body, self.shared.upload, arrival);
        Ok(Box::new(Decided { upstream: to.upstream, effect: permit.endpoint().effect, outbound, body, injected }))
    }

    fn destination<'a>(&'a self, policy: &'a Policy, permit: &Permit<'_>, now: Timestamp) -> Destination<'a> {
        let upstream = permit.integration().upstream;
        let Upstream { base_path, host, .. } = &self.upstreams[upstream];
        Destination { upstream, base_path, host, slots: policy.slots(), now, repeatable: false }
    }

    /// Sends the call, and waits for the head of its reply. What is sent is handed over before anything is waited for.
    fn forward<'a>(
        &'a self,
        entry: &'a mut Entry,
        upstream: usize,
        outbound: Outbound,
        body: Upload,
    ) -> impl Future<Output = Result<(Inbound, BodyTimes), UpstreamError>> + Send + 'a {
        let Upstream { times, service, .. } = &self.upstreams[upstream];
        let progress = body.progress();
        let deadline = Instant::from_std(entry.last_step()) + times.total;
        let sent = (&mut &*service).call(upstream::Request { parts: outbound.into_parts(), body, deadline });
        async move {
            let sent = sent.await;
            entry.record.bytes_in = progress.as_ref().map_or(0, |progress| progress.bytes());
            entry.step(|s| &mut s.upstream);
            // When the client's own body was the trouble, that is the reason to give.
            let trouble = |why| progress.and_then(|p| Upload::trouble(&p, self.shared.upload)).unwrap_or(why);
            let inbound = sent.map_err(trouble)?;
            entry.record.upstream_status = Some(inbound.head.status.as_u16());
            Ok((inbound, BodyTimes { pause: times.body, deadline, total: times.total }))
        }
    }

    /// What the call means, without what it says about people.
    fn described(&self, entry: &mut Entry, call: &Call<'_>) {
        let hasher = &self.shared.hasher;
        entry.record.endpoint = Some(call.endpoint().name.clone());
        entry.record.params = call.params().map(|(name, v)| (name.clone(), hasher.hash(name, v.as_bytes()))).collect();
        entry.record.query =
            call.query().map(|(name, v)| (shown(name, hasher), hasher.hash(name, v.as_bytes()))).collect();
    }

    /// A connection that ended before any call, or that was cut.
    pub fn note_connection(&self, peer: &Peer, code: &'static str, detail: Option<String>) {
        self.shared.metrics.refusal(code);
        self.record_connection(peer, code, detail);
    }

    /// Puts on record what was counted before.
    pub fn record_connection(&self, peer: &Peer, code: &'static str, detail: Option<String>) {
        let mut record = Record::new(Kind::Connection, Timestamp::now());
        record.peer = Some(peer.address);
        record.tls = Some(peer.tls.clone());
        record.verdict = Some(Verdict::Refused);
        record.refusal = Some(code);
        record.detail = detail;
        tracing::info!(peer = %peer.address, code, "a connection was refused");
        // Nobody waits for this one.
        drop(self.shared.log.append(&record));
    }
}

/// An event of the gate itself. It is written whether or not anybody waits for it.
pub fn note_event(log: &Log, code: &'static str, detail: String) -> Pending {
    let mut record = Record::new(Kind::Gate, Timestamp::now());
    record.event = Some(Event { code, detail });
    log.append(&record)
}

/// Whether a client says that it reads what stands behind a body.
fn takes_trailers(te: &[u8]) -> bool {
    te.split(|byte| *byte == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// A method as it stands in the record: one that nobody knows is cut short.
fn method_name(method: &Method) -> Cow<'static, str> {
    const USUAL: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    let usual = USUAL.into_iter().find(|name| *name == method.as_str());
    usual.map_or_else(|| method.as_str().chars().take(20).collect::<String>().into(), Cow::Borrowed)
}

/// A query name as it stands in the record. The API's own names are short words; whatever else a client puts there, a
/// key or a mail address by mistake, is hashed like a value.
fn shown(name: &str, hasher: &ParamHasher) -> Arc<str> {
    let word = name.len() <= 40 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-[]".contains(&b));
    if word { Arc::from(name) } else { format!("#{}", hasher.hash("", name.as_bytes())).into() }
}

fn identified(entry: &mut Entry, client: &Client<'_>) {
    let integration = client.integration();
    entry.record.integration = Some(integration.name.clone());
    entry.record.proof = Some(match client.means() {
        Means::Header => Proof::Header,
        Means::Query => Proof::Query,
        Means::Bearer => Proof::Bearer,
    });
    entry.speaks(integration.profile().envelope);
}

fn allowed(entry: &mut Entry, injected: &Injected, upstream: &Arc<str>) {
    entry.record.verdict = Some(Verdict::Allowed);
    entry.record.upstream = Some(upstream.clone());
    entry.record.credential = Some(injected.credential.clone());
    entry.record.limit_left = injected.left.as_ref().map(|left| left.calls);
}

/// The refusal as a reply, and in the record.
fn refuse(entry: &mut Entry, refusal: &Refusal) -> Reply {
    let code = refusal.code();
    entry.record.refusal = Some(code);
    entry.record.detail = refusal.detail();
    entry.record.verdict.get_or_insert(Verdict::Refused);
    if let Refusal::Identity(why) = refusal {
        entry.record.integration = why.integration().map(|it| it.name.clone());
    }
    match refusal {
        Refusal::Upstream(UpstreamError::UploadBroken) => entry.hung_up(),
        Refusal::Policy(denied) => entry.record.rule.clone_from(&denied.rule),
        _ => {}
    }
    entry.count(code);
    let detail = entry.record.detail.as_deref().unwrap_or_default();
    let record = entry.record.id;
    match refusal.fault() {
        Fault::Client => tracing::debug!(code, %record, "refused"),
        Fault::Merchant => tracing::warn!(code, %record, detail, "the merchant API failed"),
        Fault::Operator | Fault::Us => tracing::error!(code, %record, detail, "the gate cannot serve"),
    }
    let mut reply = Reply::refusal(refusal.render(entry.envelope(), entry.record.id));
    if refusal.is_malformed() {
        reply.head_mut().extensions.insert(Malformed);
    }
    if matches!(refusal, Refusal::Head(_)) && entry.record.http == Some(Http::H1) {
        // Whoever sends such a head may mean the bytes behind it in another way than they would be read here.
        reply.head_mut().headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Refusal::Limit(why) = refusal {
        entry.record.limit_left = Some(0);
        say_limit(&mut reply, Left { limit: why.bucket.limit, calls: 0 }, why.seconds());
    }
    reply
}

/// The IETF `ratelimit` fields, for the narrowest limit of the call.
fn say_what_is_left(reply: &mut Reply, left: Option<Left>) {
    if let Some(left) = left {
        let quota = &left.limit.quota;
        let one = quota.period.as_secs_f64() / f64::from(quota.count.get());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
        let full = (one * f64::from(quota.burst.get().saturating_sub(left.calls))).ceil() as u64;
        say_limit(reply, left, full);
    }
}

fn say_limit(reply: &mut Reply, left: Left, reset: u64) {
    const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
    const NOW: HeaderName = HeaderName::from_static("ratelimit");
    let headers = &mut reply.head_mut().headers;
    headers.insert(POLICY, left.limit.policy.clone());
    // A short word and two numbers.
    let mut now = String::with_capacity(64);
    now.push('"');
    now.push_str(left.limit.level.policy());
    now.push_str("\";r=");
    push_number(&mut now, left.calls.into());
    now.push_str(";t=");
    push_number(&mut now, reset);
    if let Ok(now) = HeaderValue::from_maybe_shared(Bytes::from(now)) {
        headers.insert(NOW, once(now));
    }
}

/// What a request's body is held to on its way, from the configuration.
pub fn upload_limits(config: &Config) -> UploadLimits {
    let listen = &config.listen;
    UploadLimits { max: listen.max_body, pause: listen.body_timeout, rate: listen.min_rate }
}

/// What heads and bodies are held to, from the configuration.
pub fn sizes(config: &Config) -> Sizes {
    Sizes { max_head: config.listen.max_head, max_target: config.listen.max_target, max_body: config.listen.max_body }
}
