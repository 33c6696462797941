//! The record of one call while it is being made. It is written whatever happens: by commit, or when it is dropped.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use http::HeaderValue;
use jiff::Timestamp;

use crate::audit::{Closed, Http, Kind, Log, Outcome, Pending, Receipt, Record, Steps, TlsText};
use crate::metrics::{InFlight, Metrics};
use crate::profile::Envelope;

/// Who is at the other end of a connection.
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// What TLS agreed on.
    pub tls: Arc<TlsText>,
    /// HTTP version.
    pub http: Http,
    /// Calls that go on although the client has given them up.
    pub abandoned: Abandoned,
}

/// How many calls of a connection go on although their client has given them up.
#[derive(Clone, Default)]
pub struct Abandoned(Arc<AtomicU32>);

impl Abandoned {
    /// How many at the moment.
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts a call until it is over or dropped.
    pub async fn while_running<T>(self, call: impl Future<Output = T>) -> T {
        struct Counted(Abandoned);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        let _counted = Counted(self);
        call.await
    }
}

/// Whether a call's client has hung up: set by the connection, read when the record is written.
#[derive(Clone, Default)]
pub struct Gone(Arc<AtomicBool>);

impl Gone {
    /// The client has hung up.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A record in the making.
pub struct Entry {
    /// What will be written.
    pub record: Record,
    log: Log,
    metrics: Arc<Metrics>,
    envelope: Envelope,
    gone: Gone,
    steps: Steps,
    step: Instant,
    written: bool,
    signed_receipt: bool,
    trailers: bool,
    /// The receipt of the record that was made before this one.
    begun: Option<HeaderValue>,
    _in_flight: InFlight,
}

impl Entry {
    /// Begins a call's record. Boxed: it is handed from step to step.
    pub fn begin(peer: &Peer, log: Log, metrics: Arc<Metrics>, envelope: Envelope, gone: Gone) -> Box<Self> {
        let mut record = Record::new(Kind::Call, Timestamp::now());
        record.peer = Some(peer.address);
        record.tls = Some(peer.tls.clone());
        record.http = Some(peer.http);
        let in_flight = metrics.begin();
        let (steps, step) = (Steps::default(), Instant::now());
        Box::new(Self {
            record,
            log,
            metrics,
            envelope,
            gone,
            steps,
            step,
            written: false,
            signed_receipt: false,
            trailers: false,
            begun: None,
            _in_flight: in_flight,
        })
    }

    /// The shape of refusals to this caller.
    pub fn envelope(&self) -> Envelope {
        self.envelope
    }

    /// The caller is known now, and with it the shape of refusals.
    pub fn speaks(&mut self, envelope: Envelope) {
        self.envelope = envelope;
    }

    /// A step ended; `of` picks its field.
    pub fn step(&mut self, of: impl FnOnce(&mut Steps) -> &mut u32) {
        let now = Instant::now();
        *of(&mut self.steps) = u32::try_from((now - self.step).as_micros()).unwrap_or(u32::MAX);
        self.step = now;
    }

    /// When the last step ended.
    pub fn last_step(&self) -> Instant {
        self.step
    }

    /// The real key was cut out of the reply.
    pub fn scrubbed(&mut self, times: u32) {
        if times > 0 {
            self.record.scrubbed += times;
            self.metrics.scrubbed(times);
        }
    }

    /// The client has hung up, as its own broken body shows.
    pub fn hung_up(&self) {
        self.gone.set();
    }

    /// Counts a refusal.
    pub fn count(&self, code: &'static str) {
        self.metrics.refusal(code);
    }

    /// The record's id, as the reply carries it.
    pub fn id_header(&self) -> HeaderValue {
        let mut buffer = uuid::Uuid::encode_buffer();
        let id: &str = self.record.id.hyphenated().encode_lower(&mut buffer);
        // Hex digits and hyphens are a header value.
        once(HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("unknown")))
    }

    /// The receipt of the record, for the reply.
    pub fn receipt_header(&self, receipt: &Receipt) -> Option<HeaderValue> {
        let text = self.log.receipt_text(receipt, self.signed_receipt)?;
        // Base64 and digits are a header value, and the origin was checked.
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok().map(once)
    }

    /// The caller asks for a signed receipt.
    pub fn sign_receipt(&mut self) {
        self.signed_receipt = true;
    }

    /// The caller reads what stands behind a body.
    pub fn take_trailers(&mut self) {
        self.trailers = true;
    }

    /// Whether it does.
    pub fn takes_trailers(&self) -> bool {
        self.trailers
    }

    /// Whether the call left for the upstream.
    pub fn left_for_upstream(&self) -> bool {
        self.record.credential.is_some()
    }

    /// The intent of a write: the call as known now, durable before it leaves.
    pub async fn intend(&mut self) -> Result<(), Closed> {
        self.begin_record().await?;
        self.step(|s| &mut s.intent);
        // Never 0: that stands for a call without such a record.
        self.steps.intent = self.steps.intent.max(1);
        Ok(())
    }

    /// A long reply is about to begin: the call as known now, durable before the reply's head leaves, unless its intent is already. The
    /// receipt of that record, for the head.
    pub async fn begin_reply(&mut self) -> Result<Option<HeaderValue>, Closed> {
        if self.steps.intent == 0 {
            let began = Instant::now();
            self.begin_record().await?;
            let waited = began.elapsed();
            self.steps.intent = u32::try_from(waited.as_micros()).unwrap_or(u32::MAX).max(1);
            // What follows is counted without it.
            self.step += waited;
        }
        Ok(self.begun.take())
    }

    async fn begin_record(&mut self) -> Result<(), Closed> {
        let mut intent = self.record.clone();
        intent.kind = Kind::Intent;
        // Not 0 from here on: whoever is dropped while it waits may have that record all the same.
        self.steps.intent = 1;
        let receipt = self.log.append_among(&intent, self.metrics.in_flight()).await?;
        self.begun = self.receipt_header(&receipt);
        Ok(())
    }

    /// Writes the record. The receipt comes of awaiting what this returns.
    pub fn commit(&mut self, outcome: Outcome) -> Pending {
        self.step(|s| &mut s.body);
        let gone = outcome == Outcome::Complete && self.gone.is_set();
        self.record.outcome = Some(if gone { Outcome::ClientGone } else { outcome });
        self.record.micros = Some(self.steps);
        self.written = true;
        self.log.append_among(&self.record, self.metrics.in_flight())
    }
}

/// A value that stands in one reply alone. HTTP/2 would keep it in its table of headers, in the place of one that comes again.
pub fn once(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

impl Drop for Entry {
    /// Whoever dropped it without a commit no longer wants the reply; the call happened all the same.
    fn drop(&mut self) {
        if !self.written {
            drop(self.commit(Outcome::ClientGone));
        }
    }
}
